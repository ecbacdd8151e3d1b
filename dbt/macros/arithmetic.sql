{# Exact arithmetic, the same in both warehouses. #}

{# Amounts and totals are NUMERIC(29, max_decimals): 29 digits hold the sum of 10^11 of the largest
prices. On BigQuery the column list of the contract says so; what is computed from NUMERIC(18, …)
is an exact NUMERIC before and after. #}
{% macro as_amount(expression) -%}
    {{ return(adapter.dispatch('as_amount', 'sales_mart')(expression)) }}
{%- endmacro %}

{% macro postgres__as_amount(expression) -%}
    cast({{ expression }} as numeric(29, {{ var('max_decimals') | int }}))
{%- endmacro %}

{% macro duckdb__as_amount(expression) -%}
    cast({{ expression }} as decimal(29, {{ var('max_decimals') | int }}))
{%- endmacro %}

{% macro bigquery__as_amount(expression) -%}
    {{ return(expression) }}
{%- endmacro %}

{# A whole number: PostgreSQL adds bigints up to a numeric, and so does the BigQuery emulator. #}
{% macro as_count(expression) -%}
    {{ return(adapter.dispatch('as_count', 'sales_mart')(expression)) }}
{%- endmacro %}

{% macro postgres__as_count(expression) -%}
    cast({{ expression }} as bigint)
{%- endmacro %}

{% macro duckdb__as_count(expression) -%}
    cast({{ expression }} as bigint)
{%- endmacro %}

{% macro bigquery__as_count(expression) -%}
    cast({{ expression }} as int64)
{%- endmacro %}

{# A sum of quantities: a whole number, or NUMERIC(29, quantity_decimals). #}
{% macro as_quantity(expression) -%}
    {%- if var('quantity_decimals') -%}
        {{ return(adapter.dispatch('as_decimal_quantity', 'sales_mart')(expression)) }}
    {%- endif -%}
    {{ return(sales_mart.as_count(expression)) }}
{%- endmacro %}

{% macro postgres__as_decimal_quantity(expression) -%}
    cast({{ expression }} as numeric(29, {{ var('quantity_decimals') | int }}))
{%- endmacro %}

{% macro duckdb__as_decimal_quantity(expression) -%}
    cast({{ expression }} as decimal(29, {{ var('quantity_decimals') | int }}))
{%- endmacro %}

{% macro bigquery__as_decimal_quantity(expression) -%}
    {{ return(expression) }}
{%- endmacro %}

{# Price times quantity. A quantity with decimals makes more of them than an amount has: the product
is rounded half away from zero, once. #}
{% macro computed_amount() -%}
    {%- if var('quantity_decimals') -%}
        {{ return(adapter.dispatch('rounded_product', 'sales_mart')('price', 'quantity')) }}
    {%- endif -%}
    price * quantity
{%- endmacro %}

{% macro postgres__rounded_product(price, quantity) -%}
    round({{ price }} * {{ quantity }}, {{ var('max_decimals') | int }})
{%- endmacro %}

{% macro duckdb__rounded_product(price, quantity) -%}
    round({{ price }} * {{ quantity }}, {{ var('max_decimals') | int }})
{%- endmacro %}

{# NUMERIC would round the product to nine decimals first. The emulator is a DuckDB underneath. #}
{% macro bigquery__rounded_product(price, quantity) -%}
    {%- if var('emulator') -%}
        {{ return(sales_mart.duckdb__rounded_product(price, quantity)) }}
    {%- endif -%}
    cast(
        round(
            cast({{ price }} as bignumeric) * cast({{ quantity }} as bignumeric),
            {{ var('max_decimals') | int }}
        ) as numeric
    )
{%- endmacro %}

{# The mean at two decimals, half away from zero, rounded only once.

Both warehouses round a quotient of NUMERIC to some decimals before it could be rounded to two
(BigQuery to 9, PostgreSQL to as few as 4 when the mean is large), and the first rounding can lift
a mean just below half a cent onto it. 30 and 38 decimals hold the distance of any mean from half
a cent. #}
{% macro mean(total, count) -%}
    {{ return(adapter.dispatch('mean', 'sales_mart')(total, count)) }}
{%- endmacro %}

{% macro postgres__mean(total, count) -%}
    cast(round(cast({{ total }} as numeric(60, 30)) / {{ count }}, 2) as numeric(20, 2))
{%- endmacro %}

{# DuckDB divides decimals as doubles, so the digits are divided as whole numbers. A total has 29
digits at most, and a whole number 38. #}
{% macro duckdb__mean(total, count) -%}
    {%- set decimals = var('max_decimals') | int -%}
    {%- set above = 'cast(abs(' ~ total ~ ') * ' ~ 10 ** ([2, decimals] | max) ~ ' as hugeint)' -%}
    {%- set below = 'cast(' ~ count ~ ' as hugeint) * ' ~ 10 ** ([decimals - 2, 0] | max) -%}
    cast(
        cast(divide(2 * {{ above }} + {{ below }}, 2 * {{ below }}) as decimal(20, 0))
        * cast('0.01' as decimal(3, 2)) * cast(sign({{ total }}) as decimal(1, 0))
        as decimal(20, 2)
    )
{%- endmacro %}

{# The emulator is a DuckDB underneath, and divides as that does. #}
{% macro bigquery__mean(total, count) -%}
    {%- if var('emulator') -%}
        {{ return(sales_mart.duckdb__mean(total, count)) }}
    {%- endif -%}
    cast(round(cast({{ total }} as bignumeric(38, 9)) / {{ count }}, 2) as numeric(20, 2))
{%- endmacro %}


{# The first day of a date's month. #}
{% macro month_start(column) -%}
    {{ return(adapter.dispatch('month_start', 'sales_mart')(column)) }}
{%- endmacro %}

{# By way of `timestamp`: the cast to `timestamptz` that PostgreSQL would choose depends on the
session's time zone. #}
{% macro postgres__month_start(column) -%}
    cast(date_trunc('month', cast({{ column }} as timestamp)) as date)
{%- endmacro %}

{% macro duckdb__month_start(column) -%}
    cast(date_trunc('month', {{ column }}) as date)
{%- endmacro %}

{# The cast says what is so anyway; the emulator has a DATETIME otherwise. #}
{% macro bigquery__month_start(column) -%}
    cast(date_trunc({{ column }}, month) as date)
{%- endmacro %}
