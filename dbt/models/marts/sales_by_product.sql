{# All months of all products: those of the window as just computed, the others as published. #}
with months as (
    select
        product
        {{- currency() }},
        total_amount,
        total_quantity,
        total_price,
        transaction_count
        {{- returned() }}
    from {{ ref('sales_by_product_month') }}
    {%- set published = source('sales', 'published_product_months') %}
    {%- if var('window') is not none %}

    union all

    select
        product
        {{- currency() }},
        total_amount,
        total_quantity,
        total_price,
        transaction_count
        {{- returned() }}
    from {{ published }}
    where not {{ is_in_window_months('sale_month') }}
    {%- endif %}
),

products as (
    select
        product
        {{- currency() }},
        sum(total_amount) as total_amount,
        sum(total_quantity) as total_quantity,
        sum(total_price) as total_price,
        sum(transaction_count) as transaction_count
        {{- returned_sums() }}
    from months
    group by product{{ currency() }}
)

select
    product
    {{- currency() }},
    {{ as_amount('total_amount') }} as total_amount,
    {{ as_quantity('total_quantity') }} as total_quantity,
    {{ as_count('transaction_count') }} as transaction_count,
    {{ mean_of_sales() }} as avg_price
    {{- typed_returned() }}
from products
