{# Every row keeps every rule. All rules of a model stand in one test, so that a large table is
read once; a failing row is shown with the first rule that it breaks.

Arguments:
    tokens: columns that hold 64 lower-case hex characters
    not_null: columns that are never null
    mart_rules: the configured rules for product, price and quantity hold
    expressions: name of a rule → condition #}
{% test rows_are_valid(model, tokens=[], not_null=[], mart_rules=false, expressions={}) %}

{%- set rules = {} -%}
{%- for column in tokens -%}
    {%- do rules.update({column ~ '_is_a_token': is_token(column)}) -%}
{%- endfor -%}
{%- for column in not_null -%}
    {%- do rules.update({column ~ '_is_not_null': column ~ ' is not null'}) -%}
{%- endfor -%}
{%- if mart_rules -%}
    {%- do rules.update({
        'product_has_prefix': has_prefix('product'),
        'price_is_in_range': is_price_in_range('price'),
        'quantity_is_in_range': is_quantity_in_range('quantity'),
    }) -%}
{%- endif -%}
{%- do rules.update(expressions) -%}

select
    *,
    case
        {%- for name, condition in rules.items() %}
        when ({{ condition }}) is not true then {{ text_literal(name) }}
        {%- endfor %}
    end as broken_rule
from {{ model }}
where
    (
        {%- for condition in rules.values() %}
        ({{ condition }}){{ ' and' if not loop.last }}
        {%- endfor %}
    ) is not true

{% endtest %}
