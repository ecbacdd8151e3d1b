"""The processes that run dbt."""
