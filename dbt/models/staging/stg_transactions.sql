{{ config(schema=var('raw_schema')) }}

with source as (
    select
        transaction_id,
        product,
        price,
        quantity,
        coalesce(amount, price * quantity) as amount,
        sale_date,
        run_id
        {{- attributes() }}
    from {{ source('sales', 'raw_transactions') }}
    where superseded_by is null
)

select
    transaction_id,
    product,
    price,
    quantity,
    amount,
    sale_date,
    run_id
    {{- attributes() }},
    product is null as is_missing_product,
    price is null as is_missing_price,
    quantity is null as is_missing_quantity,
    coalesce(not {{ has_prefix('product') }}, false) as is_wrong_prefix,
    coalesce(not ({{ is_price_in_range('price') }}), false) as is_price_too_low,
    coalesce(not ({{ is_quantity_in_range('quantity') }}), false) as is_quantity_out_of_range,
    coalesce(
        {{ has_prefix('product') }}
        and {{ is_price_in_range('price') }}
        and {{ is_quantity_in_range('quantity') }},
        false
    ) as is_in_marts
from source
