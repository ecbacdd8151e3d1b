{# No token of the window stands on a sale date outside of it as well. Without a window the model
holds all dates, and that its tokens are unique says as much. #}
{% test tokens_stand_on_one_date(model, column_name) %}

{%- set transactions = ref('stg_transactions') -%}
select model.{{ column_name }}
from {{ model }} as model
inner join {{ transactions }} as transactions
    on model.{{ column_name }} = transactions.{{ column_name }}
where
    {{ 'false' if var('window') is none else 'not ' ~ is_in_window('transactions.sale_date') }}

{% endtest %}
