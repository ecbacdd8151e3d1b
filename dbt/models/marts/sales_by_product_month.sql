{# Days first: rounding a date down to its month costs more than adding a row up, and there are
far fewer days than rows. #}
with transactions as (
    select
        product,
        price,
        quantity,
        amount,
        sale_date
    from {{ ref('stg_transactions') }}
    where
        is_in_marts
        and {{ is_in_window_months('sale_date') }}
),

days as (
    select
        product,
        sale_date,
        sum(amount) as total_amount,
        sum(quantity) as total_quantity,
        sum(price) as total_price,
        count(*) as transaction_count
    from transactions
    group by product, sale_date
),

dated as (
    select
        product,
        {{ month_start('sale_date') }} as sale_month,
        total_amount,
        total_quantity,
        total_price,
        transaction_count
    from days
)

select
    product,
    sale_month,
    {{ as_amount('sum(total_amount)') }} as total_amount,
    {{ as_count('sum(total_quantity)') }} as total_quantity,
    {{ as_amount('sum(total_price)') }} as total_price,
    {{ as_count('sum(transaction_count)') }} as transaction_count
from dated
group by product, sale_month
