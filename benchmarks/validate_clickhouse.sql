-- The rules by hand in ClickHouse. @file and @out are put in before it runs.
-- Only what is not ASCII needs the regular expression to be stripped of its white space.
create function strip as field -> nullIf(if(
    isValidASCII(field),
    trimBoth(field, ' \t\n\v\f\r'),
    replaceRegexpAll(
        field,
        '^[\\t\\n\\x0B\\f\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}]+|[\\t\\n\\x0B\\f\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}]+$',
        ''
    )
), '');

create database work engine = Atomic;

create table work.read_rows engine = MergeTree order by source_row as
    with fields as (
        select
            rowNumberInAllBlocks() as source_row,
            strip(c1) as transaction_id,
            strip(c2) as product,
            strip(c3) as price,
            strip(c4) as quantity,
            strip(c5) as date
        from file(
            '@file', 'CSV', 'c1 String, c2 String, c3 String, c4 String, c5 String'
        )
        settings input_format_csv_skip_first_lines = 1, input_format_csv_trim_whitespaces = 0
    )

    select
        source_row,
        lower(hex(SHA256(transaction_id))) as token,
        product,
        price,
        quantity,
        date,
        ifNull(match(price, '^0*[0-9]{1,16}(\\.[0-9]+)?$'), 1) as price_is_plain,
        ifNull(match(price, '^[0-9]+(\\.[0-9]{0,2})?$'), 1) as price_fits,
        toDecimal128OrNull(price, 9) as price_value,
        quantity is null or (match(quantity, '^[0-9]+$') and toInt64OrNull(quantity) is not null)
            as quantity_is_plain,
        toInt64OrNull(quantity) as quantity_value,
        date is null or (
            match(date, '^[0-9]{4}-[0-9]{2}-[0-9]{2}$') and date >= '0001'
            and toString(toDate32OrNull(date)) = date
        ) as date_is_real,
        ifNull(
            transaction_id is not null
            and startsWith(product, 'Halal')
            and price_is_plain and price_fits and price_value >= 10
            and quantity_is_plain and quantity_value between 1 and 100
            and date is not null and date_is_real,
            0
        ) as valid
    from fields;

create table work.winners engine = MergeTree order by source_row as
    select min(source_row) as source_row from work.read_rows where valid group by token;

insert into function file('@out/valid.parquet', 'Parquet')
    select
        assumeNotNull(token) as transaction_id,
        product,
        toDecimal64(assumeNotNull(price), 2) as price,
        quantity_value as quantity,
        toDate32(assumeNotNull(date)) as sale_date,
        source_row
    from work.read_rows
    where valid and source_row in (select source_row from work.winners)
    settings output_format_parquet_compression_method = 'none';

insert into function file('@out/quarantine.parquet', 'Parquet')
    select
        token as transaction_id,
        product,
        price,
        quantity,
        date,
        source_row,
        if(valid, ['duplicate_transaction_id'], arrayFilter(reason -> reason != '', [
            if(token is null, 'missing_transaction_id', ''),
            if(product is null, 'missing_product', ''),
            if(ifNull(not startsWith(product, 'Halal'), 0), 'product_prefix', ''),
            if(price is null, 'missing_price', ''),
            if(not price_is_plain, 'price_format', ''),
            if(price is not null and price_is_plain and not price_fits, 'price_decimals', ''),
            if(ifNull(price_is_plain and price_value < 10, 0), 'price_too_low', ''),
            if(quantity is null, 'missing_quantity', ''),
            if(not quantity_is_plain, 'quantity_format', ''),
            if(ifNull(quantity_is_plain and quantity_value not between 1 and 100, 0), 'quantity_range', ''),
            if(date is null, 'missing_date', ''),
            if(not date_is_real, 'date_format', '')
        ])) as reasons
    from work.read_rows
    where not valid or source_row not in (select source_row from work.winners)
    settings output_format_parquet_compression_method = 'none';
