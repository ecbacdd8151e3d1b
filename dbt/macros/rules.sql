{# The rules of a row that the marts show. A missing value passes no rule and fails none: what is
missing is a reason of its own. #}

{# dbt takes a var that is a text for a template and would run what stands in braces, so a prefix
that may hold anything comes as a list with one text. #}
{% macro has_prefix(column) -%}
    {%- set prefix = var('product_prefix') -%}
    starts_with({{ column }}, {{ text_literal(prefix if prefix is string else prefix | join) }})
{%- endmacro %}

{# Returns and gifts, whose amount is not above 0, have no lowest price. A price that was computed
from the line total is rounded, so the total itself is asked. #}
{% macro is_price_in_range() -%}
    {%- set lowest = decimal_literal(var('min_price')) -%}
    {%- if var('is_price_computed') -%}
        {%- set rule = 'amount >= ' ~ lowest ~ ' * abs(quantity)' -%}
        {%- set rule = rule if var('allow_returns') else rule ~ ' and amount > 0' -%}
    {%- else -%}
        {%- set rule = 'price >= ' ~ lowest ~ ' and price > 0' -%}
        {%- if var('has_line_total') and not var('allow_returns') -%}
            {%- set rule = rule ~ ' and amount >= 0' -%}
        {%- endif -%}
    {%- endif -%}
    {{ return('(amount <= 0 or (' ~ rule ~ '))' if var('allow_returns') else rule) }}
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
