{# The columns that the configuration adds to every sale, each with a comma before it. #}
{% macro attributes() -%}
    {{ return(sales_mart.also(var('attributes'))) }}
{%- endmacro %}

{# The currency, which stands in the grain of every sum, with a comma before it; or nothing. #}
{% macro currency() -%}
    {{ return(sales_mart.also(var('currency'))) }}
{%- endmacro %}

{% macro also(names) -%}
    {%- for name in names -%}
        ,
        {{ adapter.quote(name) }}
    {%- endfor -%}
{%- endmacro %}
