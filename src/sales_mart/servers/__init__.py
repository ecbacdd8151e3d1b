"""The local servers: PostgreSQL, and one that speaks BigQuery's API."""
