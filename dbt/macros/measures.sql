{# What the marts add up. A row with a negative amount is a return: totals are net, prices and
transactions are those of sales only, and what was returned is added up beside them. #}

{# What one row adds to each measure: name → expression. #}
{% macro measures_of_row() -%}
    {%- if not var('allow_returns') -%}
        {{ return({
            'total_amount': 'amount',
            'total_quantity': 'quantity',
            'total_price': 'price',
            'transaction_count': '1',
        }) }}
    {%- endif -%}
    {%- set as_return = 'case when amount < 0 then %s else %s end' -%}
    {{ return({
        'total_amount': 'amount',
        'total_quantity': as_return % ('-abs(quantity)', 'quantity'),
        'total_price': as_return % ('0', 'price'),
        'transaction_count': as_return % ('0', '1'),
        'returned_amount': as_return % ('-amount', '0'),
        'returned_quantity': as_return % ('abs(quantity)', '0'),
    }) }}
{%- endmacro %}

{# The sums over rows, as columns of a select. #}
{% macro sums_of_rows() -%}
    {%- for name, expression in measures_of_row().items() %}
        {{- 'count(*)' if expression == '1' else 'sum(' ~ expression ~ ')' }} as {{ name }}
        {%- if not loop.last %},
        {% endif %}
    {%- endfor %}
{%- endmacro %}

{# The mean price of the sales; null where there are returns only. #}
{% macro mean_of_sales() -%}
    {%- set count = 'transaction_count' -%}
    {{ return(mean('total_price', 'nullif(' ~ count ~ ', 0)' if var('allow_returns') else count)) }}
{%- endmacro %}

{# What was returned, each with a comma before it: names, or sums of what is named so already. #}
{% macro returned() -%}
    {%- if var('allow_returns') -%}
        ,
        returned_amount,
        returned_quantity
    {%- endif -%}
{%- endmacro %}

{% macro returned_sums() -%}
    {%- if var('allow_returns') -%}
        ,
        sum(returned_amount) as returned_amount,
        sum(returned_quantity) as returned_quantity
    {%- endif -%}
{%- endmacro %}

{# The last columns of a mart, in their types. #}
{% macro typed_returned(form='%s') -%}
    {%- if var('allow_returns') -%}
        ,
        {{ as_amount(form % 'returned_amount') }} as returned_amount,
        {{ as_quantity(form % 'returned_quantity') }} as returned_quantity
    {%- endif -%}
{%- endmacro %}
