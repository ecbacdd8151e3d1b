{{ config(schema=var('raw_schema')) }}

with source as (
    select
        transaction_id,
        product,
        price,
        quantity,
        coalesce(amount, {{ computed_amount() }}) as amount,
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
    {{ 'amount' if var('has_line_total') else computed_amount() }} as expected_amount,
    product is null as is_missing_product,
    price is null as is_missing_price,
    quantity is null as is_missing_quantity,
    coalesce(not {{ has_prefix('product') }}, false) as is_wrong_prefix,
    coalesce(not ({{ is_price_in_range() }}), false) as is_price_too_low,
    coalesce(not ({{ is_quantity_in_range() }}), false) as is_quantity_out_of_range,
    coalesce(
        price is not null
        and {{ has_prefix('product') }}
        and {{ is_price_in_range() }}
        and {{ is_quantity_in_range() }},
        false
    ) as is_in_marts
from source
