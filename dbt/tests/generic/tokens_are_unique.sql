{# No token stands twice. #}
{% test tokens_are_unique(model, column_name) %}
{{ repeated_tokens(model, column_name) }}
{% endtest %}
