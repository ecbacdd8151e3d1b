{# The rules of a row that the marts show. A missing value passes no rule and fails none: what is
missing is a reason of its own. #}

{# dbt takes a var that is a text for a template and would run what stands in braces, so a prefix
that may hold anything comes as a list with one text. #}
{% macro has_prefix(column) -%}
    {%- set prefix = var('product_prefix') -%}
    starts_with({{ column }}, {{ text_literal(prefix if prefix is string else prefix | join) }})
{%- endmacro %}

{% macro is_price_in_range(column) -%}
    {{ column }} >= {{ decimal_literal(var('min_price')) }} and {{ column }} > 0
{%- endmacro %}

{% macro is_quantity_in_range(column) -%}
    {{ column }} between 1 and {{ var('max_quantity') | int }}
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
