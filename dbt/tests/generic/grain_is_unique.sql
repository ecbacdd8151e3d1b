{# No two rows have the same values in the columns of the grain. #}
{% test grain_is_unique(model, columns) %}

{%- set listed = [] -%}
{%- for column in columns -%}
    {%- do listed.append(adapter.quote(column)) -%}
{%- endfor %}

select
    {{ listed | join(', ') }},
    count(*) as occurrences
from {{ model }}
group by {{ listed | join(', ') }}
having count(*) > 1

{% endtest %}
