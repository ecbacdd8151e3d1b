{# Totals of the model equal totals of another one; each to the cent.

Arguments:
    to: the other model
    measures: columns of this model, each of which is added up
    of_rows: the other model has single sales: what each adds is told by `measures_of_row`, not by
        a column of the same name
    only_whole: compare only when everything is built, since within a window the models hold
        different dates #}
{% test sums_agree(model, to, measures, of_rows=false, only_whole=false) %}

with ours as (
    select
        {%- for column in measures %}
        coalesce(sum({{ column }}), 0) as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ model }}
),

theirs as (
    select
        {%- for column in measures %}
        {%- set expression = measures_of_row()[column] if of_rows else column %}
        coalesce(sum({{ expression }}), 0) as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ to }}
)

select
    {%- for column in measures %}
    ours.{{ column }},
    theirs.{{ column }} as expected_{{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
from ours
cross join theirs
where
    {%- if only_whole and var('window') is not none %}
    false
    {%- else %}
    not (
        {%- for column in measures %}
        ours.{{ column }} = theirs.{{ column }}{{ ' and' if not loop.last }}
        {%- endfor %}
    )
    {%- endif %}

{% endtest %}
