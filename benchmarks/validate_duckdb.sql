-- The rules by hand in DuckDB. @file and @out are put in before it runs.
set preserve_insertion_order = true;

create macro spaces() as
    '^[\t\n\x0B\f\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+'
    || '|[\t\n\x0B\f\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+$';

create macro strip(field) as nullif(regexp_replace(field, spaces(), '', 'g'), '');

create table read_rows as
    with fields as (
        select
            row_number() over () as source_row,
            strip(transaction_id) as transaction_id,
            strip(product) as product,
            strip(price) as price,
            strip(quantity) as quantity,
            strip("date") as "date"
        from read_csv('@file', all_varchar = true, header = true, quote = '', escape = '')
    ),

    typed as (
        select
            *,
            sha256(transaction_id) as token,
            regexp_full_match(price, '0*[0-9]{1,16}(\.[0-9]+)?') as price_is_plain,
            regexp_full_match(price, '[0-9]+(\.[0-9]{0,2})?') as price_fits,
            try_cast(price as decimal(38, 9)) as price_value,
            quantity is null
                or (
                    regexp_full_match(quantity, '[0-9]+')
                    and try_cast(quantity as bigint) is not null
                ) as quantity_is_plain,
            try_cast(quantity as bigint) as quantity_value,
            "date" is null
                or (
                    regexp_full_match("date", '[0-9]{4}-[0-9]{2}-[0-9]{2}')
                    and "date" >= '0001'
                    and try_cast("date" as date) is not null
                ) as date_is_real
        from fields
    ),

    checked as (
        select
            *,
            coalesce(
                transaction_id is not null
                and starts_with(product, 'Halal')
                and price_is_plain and price_fits and price_value >= 10
                and quantity_is_plain and quantity_value between 1 and 100
                and "date" is not null and date_is_real,
                false
            ) as valid
        from typed
    )

    select
        * exclude (transaction_id),
        valid and row_number() over (partition by token, valid order by source_row) > 1 as again
    from checked;

copy (
    select
        token as transaction_id,
        product,
        cast(price as decimal(18, 2)) as price,
        quantity_value as quantity,
        cast("date" as date) as sale_date,
        source_row
    from read_rows
    where valid and not again
) to '@out/valid.parquet' (format parquet, compression 'uncompressed');

copy (
    select
        token as transaction_id,
        product,
        price,
        quantity,
        "date",
        source_row,
        if(again, ['duplicate_transaction_id'], list_filter([
            if(token is null, 'missing_transaction_id', null),
            if(product is null, 'missing_product', null),
            if(not starts_with(product, 'Halal'), 'product_prefix', null),
            if(price is null, 'missing_price', null),
            if(not price_is_plain, 'price_format', null),
            if(price_is_plain and not price_fits, 'price_decimals', null),
            if(price_is_plain and price_value < 10, 'price_too_low', null),
            if(quantity is null, 'missing_quantity', null),
            if(not quantity_is_plain, 'quantity_format', null),
            if(quantity_is_plain and quantity_value not between 1 and 100, 'quantity_range', null),
            if("date" is null, 'missing_date', null),
            if(not date_is_real, 'date_format', null)
        ], lambda reason: reason is not null)) as reasons
    from read_rows
    where again or not valid
) to '@out/quarantine.parquet' (format parquet, compression 'uncompressed');
