{# One scan of the staging view for each dimension; days first, as in sales_by_product_month. #}
with days as (
    {%- for name in var('dimensions') %}
    select
        {{ text_literal(name) }} as dimension,
        {{ adapter.quote(name) }} as value,
        sale_date
        {{- currency() }},
        {{ sums_of_rows() }}
    from {{ ref('stg_transactions') }}
    where
        is_in_marts
        and {{ is_in_window_months('sale_date') }}
    group by {{ adapter.quote(name) }}, sale_date{{ currency() }}
    {%- if not loop.last %}

    union all
    {% endif %}
    {%- endfor %}
),

dated as (
    select
        dimension,
        value,
        {{ month_start('sale_date') }} as sale_month
        {{- currency() }},
        total_amount,
        total_quantity,
        transaction_count
        {{- returned() }}
    from days
)

select
    dimension,
    value,
    sale_month
    {{- currency() }},
    {{ as_amount('sum(total_amount)') }} as total_amount,
    {{ as_quantity('sum(total_quantity)') }} as total_quantity,
    {{ as_count('sum(transaction_count)') }} as transaction_count
    {{- typed_returned('sum(%s)') }}
from dated
group by dimension, value, sale_month{{ currency() }}
