with days as (
    select
        sale_date
        {{- currency() }},
        {{ sums_of_rows() }}
    from {{ ref('fact_sales') }}
    group by sale_date{{ currency() }}
)

select
    sale_date
    {{- currency() }},
    {{ as_amount('total_amount') }} as total_amount,
    {{ as_quantity('total_quantity') }} as total_quantity,
    {{ as_count('transaction_count') }} as transaction_count,
    {{ mean_of_sales() }} as avg_price
    {{- typed_returned() }}
from days
