select
    product,
    sale_month
    {{- currency() }},
    total_amount,
    {{ mean_of_sales() }} as avg_price,
    transaction_count
    {{- returned() }}
from {{ ref('sales_by_product_month') }}
