-- What an expert would write for the file of a day: an identifier that is there takes the new values,
-- and the months that are touched are added up again. It keeps no rejected row and no reason.
\set ON_ERROR_STOP on
begin;
create temporary table landing (
    source_row bigint generated always as identity,
    transaction_id text, product text, price text, quantity text, date text
);
\copy landing (transaction_id, product, price, quantity, date) from pstdin with (format csv, header)

create function pg_temp.strip(field text) returns text language sql immutable parallel safe as $$
    select nullif(btrim(field, E'\t\n\x0B\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'), '')
$$;

create temporary table batch as
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

select distinct on (transaction_id)
    transaction_id, product, price, quantity, price * quantity as amount, sale_date
from valid
order by transaction_id, source_row;

create temporary table months as
select distinct date_trunc('month', sale_date) as sale_month from batch
union
select distinct date_trunc('month', pg_sales.sale_date)
from expert.pg_sales
inner join batch using (transaction_id);

insert into expert.pg_sales
select * from batch
on conflict (transaction_id) do update
    set
        product = excluded.product,
        price = excluded.price,
        quantity = excluded.quantity,
        amount = excluded.amount,
        sale_date = excluded.sale_date;

delete from expert.summary_sales where sale_month in (select sale_month from months);

insert into expert.summary_sales
select
    product,
    cast(date_trunc('month', sale_date) as date) as sale_month,
    sum(amount) as total_amount,
    round(avg(price), 2) as avg_price,
    count(*) as transaction_count
from expert.pg_sales
inner join months on
    pg_sales.sale_date >= months.sale_month
    and pg_sales.sale_date < months.sale_month + interval '1 month'
group by 1, 2;
commit;

copy (select * from expert.summary_sales order by sale_month, product) to stdout with (format csv, header);
