select
    transaction_id,
    product,
    price,
    quantity,
    {{ as_amount('amount') }} as amount,
    sale_date
    {{- attributes() }}
from {{ ref('stg_transactions') }}
where
    is_in_marts
    and {{ is_in_window('sale_date') }}
