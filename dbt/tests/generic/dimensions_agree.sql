{# The totals of each dimension equal those of another model; each to the cent.

Arguments:
    to: the other model
    measures: columns of both models, each of which is added up #}
{% test dimensions_agree(model, to, measures) %}

with ours as (
    select
        dimension,
        {%- for column in measures %}
        sum({{ column }}) as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ model }}
    group by dimension
),

theirs as (
    select
        {%- for column in measures %}
        coalesce(sum({{ column }}), 0) as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ to }}
),

dimensions as (
    {%- for name in var('dimensions') %}
    select {{ text_literal(name) }} as dimension{{ ' union all' if not loop.last }}
    {%- endfor %}
)

select
    dimensions.dimension,
    {%- for column in measures %}
    ours.{{ column }},
    theirs.{{ column }} as expected_{{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
from dimensions
cross join theirs
left join ours on dimensions.dimension = ours.dimension
where
    not (
        {%- for column in measures %}
        coalesce(ours.{{ column }}, 0) = theirs.{{ column }}{{ ' and' if not loop.last }}
        {%- endfor %}
    )

{% endtest %}
