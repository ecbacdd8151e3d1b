{# All months of all products: those of the window as just computed, the others as published. #}
with months as (
    select
        product,
        total_amount,
        total_quantity,
        total_price,
        transaction_count
    from {{ ref('sales_by_product_month') }}
    {%- set published = source('sales', 'published_product_months') %}
    {%- if var('window') is not none %}

    union all

    select
        product,
        total_amount,
        total_quantity,
        total_price,
        transaction_count
    from {{ published }}
    where not {{ is_in_window_months('sale_month') }}
    {%- endif %}
),

products as (
    select
        product,
        sum(total_amount) as total_amount,
        sum(total_quantity) as total_quantity,
        sum(total_price) as total_price,
        sum(transaction_count) as transaction_count
    from months
    group by product
)

select
    product,
    {{ as_amount('total_amount') }} as total_amount,
    {{ as_count('total_quantity') }} as total_quantity,
    {{ as_count('transaction_count') }} as transaction_count,
    {{ mean('total_price', 'transaction_count') }} as avg_price
from products
