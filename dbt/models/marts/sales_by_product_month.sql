{# Days first: rounding a date down to its month costs more than adding a row up, and there are
far fewer days than rows. #}
with transactions as (
    select
        product,
        price,
        quantity,
        amount,
        sale_date
        {{- currency() }}
    from {{ ref('stg_transactions') }}
    where
        is_in_marts
        and {{ is_in_window_months('sale_date') }}
),

days as (
    select
        product,
        sale_date
        {{- currency() }},
        {{ sums_of_rows() }}
    from transactions
    group by product, sale_date{{ currency() }}
),

dated as (
    select
        product,
        {{ month_start('sale_date') }} as sale_month
        {{- currency() }},
        total_amount,
        total_quantity,
        total_price,
        transaction_count
        {{- returned() }}
    from days
)

select
    product,
    sale_month
    {{- currency() }},
    {{ as_amount('sum(total_amount)') }} as total_amount,
    {{ as_quantity('sum(total_quantity)') }} as total_quantity,
    {{ as_amount('sum(total_price)') }} as total_price,
    {{ as_count('sum(transaction_count)') }} as transaction_count
    {{- typed_returned('sum(%s)') }}
from dated
group by product, sale_month{{ currency() }}
