with days as (
    select
        sale_date,
        sum(amount) as total_amount,
        sum(quantity) as total_quantity,
        sum(price) as total_price,
        count(*) as transaction_count
    from {{ ref('fact_sales') }}
    group by sale_date
)

select
    sale_date,
    {{ as_amount('total_amount') }} as total_amount,
    {{ as_count('total_quantity') }} as total_quantity,
    transaction_count,
    {{ mean('total_price', 'transaction_count') }} as avg_price
from days
