{# Schemas and names are the configuration's, word for word. #}

{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%}
        {{ target.schema }}
    {%- else -%}
        {{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}


{# One fact model: analysts of PostgreSQL know it as pg_sales. #}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {%- if custom_alias_name -%}
        {{ custom_alias_name | trim }}
    {%- elif node.name == 'fact_sales' and target.type == 'postgres' -%}
        pg_sales
    {%- else -%}
        {{ node.name }}
    {%- endif -%}
{%- endmacro %}
