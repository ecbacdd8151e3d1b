{# Literals for values that are data: they can hold anything and mean nothing but themselves. #}

{# A text. Only quotes, backslashes and line breaks mean something inside of a literal; a percent
sign or an underscore does not, since the marts use `starts_with`, not `like`. #}
{% macro text_literal(value) -%}
    {{ return(adapter.dispatch('text_literal', 'sales_mart')(value | string)) }}
{%- endmacro %}

{# E'…' reads backslashes the same way whatever `standard_conforming_strings` says. #}
{% macro postgres__text_literal(value) -%}
    {%- set escaped = value | replace('\\', '\\\\') | replace("'", "''") -%}
    {{ return(("E'" if '\\' in value else "'") ~ escaped ~ "'") }}
{%- endmacro %}

{% macro duckdb__text_literal(value) -%}
    {{ return("'" ~ value | replace("'", "''") ~ "'") }}
{%- endmacro %}

{% macro bigquery__text_literal(value) -%}
    {%- set escaped = value | replace('\\', '\\\\') | replace("'", "\\'") -%}
    {%- set escaped = escaped | replace('\n', '\\n') | replace('\r', '\\r') -%}
    {{ return("'" ~ escaped ~ "'") }}
{%- endmacro %}


{# A date of the form YYYY-MM-DD. #}
{% macro date_literal(value) -%}
    {%- if not modules.re.fullmatch('[0-9]{4}-[0-9]{2}-[0-9]{2}', value | string) -%}
        {{ exceptions.raise_compiler_error("a date of `window` is not of the form YYYY-MM-DD") }}
    {%- endif -%}
    {{ return("date '" ~ value ~ "'") }}
{%- endmacro %}


{# An exact number, given as digits with an optional point. #}
{% macro decimal_literal(value) -%}
    {%- if not modules.re.fullmatch('[0-9]+([.][0-9]+)?', value | string) -%}
        {{ exceptions.raise_compiler_error("`min_price` is not a decimal number such as '10.00'") }}
    {%- endif -%}
    {{ return(adapter.dispatch('numeric_literal', 'sales_mart')(value)) }}
{%- endmacro %}

{% macro postgres__numeric_literal(value) -%}
    {{ return("numeric '" ~ value ~ "'") }}
{%- endmacro %}

{% macro duckdb__numeric_literal(value) -%}
    {%- set decimals = (value | string).partition('.')[2] | length -%}
    {{ return("cast('" ~ value ~ "' as decimal(29, " ~ decimals ~ "))") }}
{%- endmacro %}

{# The emulator cuts a `numeric` literal in a view to three decimals, this one not. #}
{% macro bigquery__numeric_literal(value) -%}
    {{ return("parse_numeric('" ~ value ~ "')") }}
{%- endmacro %}
