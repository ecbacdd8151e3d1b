{# The rules of a row that the marts show. A missing value passes no rule and fails none: what is
missing is a reason of its own. #}

{# dbt takes a var that is a text for a template and would run what stands in braces, so a prefix
that may hold anything comes as a list with one text. #}
{% macro has_prefix(column) -%}
    {%- set prefix = var('product_prefix') -%}
    starts_with({{ column }}, {{ text_literal(prefix if prefix is string else prefix | join) }})
{%- endmacro %}

{# Returns and gifts have no lowest price. Where the source has a line total it says which rows those
are; else the numbers do that it is made of, since a product may be rounded to 0. A price that was
computed from the line total is rounded, so the total itself is asked. #}
{% macro is_price_in_range() -%}
    {%- set lowest = decimal_literal(var('min_price')) -%}
    {%- set high_enough = 'price >= ' ~ lowest ~ ' and price > 0' -%}
    {%- if var('is_price_computed') -%}
        {%- set high_enough = 'amount >= ' ~ lowest ~ ' * abs(quantity)' -%}
    {%- endif -%}
    {%- if var('allow_returns') and var('has_line_total') -%}
        {{ return('(amount <= 0 or (' ~ high_enough ~ '))') }}
    {%- elif var('allow_returns') -%}
        {{ return(
            '(price >= 0 or quantity >= 0) and (price <= 0 or quantity <= 0 or price >= ' ~ lowest ~ ')'
        ) }}
    {%- elif var('is_price_computed') -%}
        {{ return(high_enough ~ ' and amount > 0') }}
    {%- elif var('has_line_total') -%}
        {{ return(high_enough ~ ' and amount >= 0') }}
    {%- endif -%}
    {{ return(high_enough) }}
{%- endmacro %}

{% macro is_quantity_in_range() -%}
    {%- set highest = var('max_quantity') | int -%}
    {%- if var('allow_returns') -%}
        quantity <> 0 and abs(quantity) <= {{ highest }}
    {%- elif var('quantity_decimals') -%}
        quantity > 0 and quantity <= {{ highest }}
    {%- else -%}
        quantity between 1 and {{ highest }}
    {%- endif -%}
{%- endmacro %}

{# 64 lower-case hex digits. Looking for another character takes a tenth of the time of matching
`^[0-9a-f]{64}$`. #}
{% macro is_token(column) -%}
    {{ return(adapter.dispatch('is_token', 'sales_mart')(column)) }}
{%- endmacro %}

{% macro postgres__is_token(column) -%}
    length({{ column }}) = 64 and {{ column }} !~ '[^0-9a-f]'
{%- endmacro %}

{% macro duckdb__is_token(column) -%}
    length({{ column }}) = 64 and not regexp_matches({{ column }}, '[^0-9a-f]')
{%- endmacro %}

{% macro bigquery__is_token(column) -%}
    length({{ column }}) = 64 and not regexp_contains({{ column }}, r'[^0-9a-f]')
{%- endmacro %}
