{# Every row keeps every rule. All rules of a model stand in one test, so that a large table is
read once; a failing row is shown with the first rule that it breaks.

Arguments:
    tokens: columns that hold 64 lower-case hex characters
    not_null: columns that are never null
    mart_rules: the configured rules for product, price, quantity and amount hold
    expressions: name of a rule → condition
    of_plain_sales: the same, where there are neither returns nor line totals, and quantities are
        whole numbers
    with_returns: the same, where there are returns #}
{% test rows_are_valid(
    model, tokens=[], not_null=[], mart_rules=false, expressions={}, of_plain_sales={},
    with_returns={}
) %}

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
        'price_is_in_range': is_price_in_range(),
        'quantity_is_in_range': is_quantity_in_range(),
    }) -%}
    {%- if not var('has_line_total') -%}
        {%- do rules.update({'amount_is_price_times_quantity': 'amount = ' ~ computed_amount()}) -%}
    {%- endif -%}
{%- endif -%}
{%- do rules.update(expressions) -%}
{%- if var('allow_returns') -%}
    {%- do rules.update(with_returns) -%}
{%- elif not (var('has_line_total') or var('quantity_decimals')) -%}
    {%- do rules.update(of_plain_sales) -%}
{%- endif -%}

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
