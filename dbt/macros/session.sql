{# Settings of a session before it builds or tests something large.

They hold for the transaction only, and travel as statements, since connection poolers refuse
settings in the start-up packet. #}

{% macro session_settings() -%}
    {{ return(adapter.dispatch('session_settings', 'sales_mart')()) }}
{%- endmacro %}

{% macro default__session_settings() -%}{%- endmacro %}

{% macro postgres__session_settings() -%}
    set local work_mem = '128MB'; set local statement_timeout = '{{
        env_var('SALES_MART_DATA_WAREHOUSE__POSTGRES__STATEMENT_TIMEOUT', '3600') | int
    }}s'; set local lock_timeout = '{{
        env_var('SALES_MART_DATA_WAREHOUSE__POSTGRES__LOCK_TIMEOUT', '60') | int
    }}s';
{%- endmacro %}


{# Tests have no hooks, so their settings stand before the query.

A new table has no statistics, and the grouping that proves uniqueness has one group per row:
sorting 64-bit numbers takes half the time of hashing them. #}
{% macro postgres__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) -%}
    {{ session_settings() }}
    set local enable_hashagg = off;
    {{ default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) }}
{%- endmacro %}
