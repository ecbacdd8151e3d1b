{# The model holds rows of the window only: `publish` replaces nothing else. #}
{% test rows_are_in_window(model, column_name, months=false) %}

select {{ column_name }}
from {{ model }}
where not {{ is_in_window_months(column_name) if months else is_in_window(column_name) }}

{% endtest %}
