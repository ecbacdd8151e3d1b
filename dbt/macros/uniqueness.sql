{# Rows whose token stands more than once; the body of the test `tokens_are_unique`. #}

{% macro repeated_tokens(model, column) -%}
    {{ return(adapter.dispatch('repeated_tokens', 'sales_mart')(model, column)) }}
{%- endmacro %}

{# Grouping 64-bit fingerprints is several times cheaper than grouping 64 characters. Equal tokens
have equal fingerprints, so only the tokens behind a fingerprint that occurs twice are compared
themselves: no repetition is missed, none is invented. #}
{% macro postgres__repeated_tokens(model, column) %}
with repeated as (
    select hashtextextended({{ column }}, 0) as fingerprint
    from {{ model }}
    group by hashtextextended({{ column }}, 0)
    having count(*) > 1
)

select
    {{ column }},
    count(*) as occurrences
from {{ model }}
where
    exists (select 1 from repeated)
    and hashtextextended({{ column }}, 0) in (select repeated.fingerprint from repeated)
group by {{ column }}
having count(*) > 1
{% endmacro %}

{% macro default__repeated_tokens(model, column) %}
select
    {{ column }},
    count(*) as occurrences
from {{ model }}
group by {{ column }}
having count(*) > 1
{% endmacro %}
