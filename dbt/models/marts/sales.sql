{# The facts as they will be after publication: the window as just computed, the rest as published. #}
{{ config(materialized='view', enabled=var('has_own_models')) }}

select
    transaction_id,
    product,
    price,
    quantity,
    amount,
    sale_date
    {{- attributes() }}
from {{ ref('fact_sales') }}
{%- set published = source('published', 'published_sales') %}
{%- if var('window') is not none %}

union all

select
    transaction_id,
    product,
    price,
    quantity,
    amount,
    sale_date
    {{- attributes() }}
from {{ published }}
where not {{ is_in_window('sale_date') }}
{%- endif %}
