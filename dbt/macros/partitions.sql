{# The `partition_by` of a model is BigQuery's; a DuckDB file has no partitions. #}
{% macro duckdb__get_partitioned_by(relation, temporary) -%}
    {{ return(none) }}
{%- endmacro %}
