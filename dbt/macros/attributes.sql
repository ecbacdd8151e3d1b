{# The columns that the configuration adds to every sale, each with a comma before it. #}
{% macro attributes() -%}
    {%- for name in var('attributes') -%}
        ,
        {{ adapter.quote(name) }}
    {%- endfor -%}
{%- endmacro %}
