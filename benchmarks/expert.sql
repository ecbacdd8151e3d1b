-- What an expert would write by hand: one psql script from the file to the summary.
-- It keeps no rejected row and no reason, and shows the mart only when it is whole.
\set ON_ERROR_STOP on
\if :{?target}
\else
\set target expert
\endif
begin;
create schema if not exists :target;
create temporary table landing (
    source_row bigint generated always as identity,
    transaction_id text, product text, price text, quantity text, date text
);
\copy landing (transaction_id, product, price, quantity, date) from pstdin with (format csv, header)

create function pg_temp.strip(field text) returns text language sql immutable parallel safe as $$
    select nullif(btrim(field, E'\t\n\x0B\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'), '')
$$;

create table :target.pg_sales (
    transaction_id text collate "C" not null,
    product text collate "C" not null,
    price numeric(18, 2) not null,
    quantity bigint not null,
    amount numeric(29, 2) not null,
    sale_date date not null
);

with fields as (
    select
        source_row,
        pg_temp.strip(transaction_id) as transaction_id,
        pg_temp.strip(product) as product,
        pg_temp.strip(price) as price,
        pg_temp.strip(quantity) as quantity,
        pg_temp.strip(date) as date
    from landing
),

valid as (
    select
        source_row,
        encode(sha256(convert_to(transaction_id, 'UTF8')), 'hex') as transaction_id,
        product,
        cast(price as numeric(18, 2)) as price,
        cast(quantity as bigint) as quantity,
        cast(date as date) as sale_date
    from fields
    -- `case` keeps the casts from being tried on what does not look right.
    where
        transaction_id is not null
        and product like 'Halal%'
        and case when price ~ '^0*[0-9]{1,16}(\.[0-9]{1,2})?$' then cast(price as numeric) >= 10 end
        and case
            when quantity ~ '^0*[0-9]{1,18}$' then cast(quantity as bigint) between 1 and 100
        end
        and case
            when date ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' and date >= '0001'
                then pg_input_is_valid(date, 'date')
        end
)

insert into :target.pg_sales
select distinct on (transaction_id)
    transaction_id, product, price, quantity, price * quantity, sale_date
from valid
order by transaction_id, source_row;

create index on :target.pg_sales (sale_date);
drop table landing;

create table :target.summary_sales as
select
    product,
    cast(date_trunc('month', sale_date) as date) as sale_month,
    sum(amount) as total_amount,
    round(avg(price), 2) as avg_price,
    count(*) as transaction_count
from :target.pg_sales
group by 1, 2;
analyze :target.pg_sales;
commit;

copy (select * from :target.summary_sales order by sale_month, product) to stdout with (format csv, header);
