select
    product,
    sale_month,
    total_amount,
    {{ mean('total_price', 'transaction_count') }} as avg_price,
    transaction_count
from {{ ref('sales_by_product_month') }}
