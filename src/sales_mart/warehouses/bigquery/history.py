"""What `load_runs` and `publications` say about a BigQuery target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.cloud import bigquery

from sales_mart.lake.records import Target
from sales_mart.names import LOAD_RUNS, PUBLICATIONS, published_tables, raw_schema
from sales_mart.warehouses.admission import PAST_LOAD_COLUMNS, PastLoad
from sales_mart.warehouses.bigquery.connection import Client, existing_table, query, table_id
from sales_mart.warehouses.history import (
    Publication,
    Window,
    load_of,
    pending,
    publication_of,
    require_latest,
    require_marks,
)

if TYPE_CHECKING:
    from datetime import date

    from sales_mart.config import Config
    from sales_mart.lake.records import Load

__all__ = [
    "check_latest",
    "has_live_tables",
    "latest_load",
    "latest_publication",
    "loaded_days",
    "past_loads",
    "pending_window",
]


def latest_load(client: Client, config: Config) -> Load | None:
    """Give the load with the highest sequence; None when there was none."""
    name = table_id(config, raw_schema(config), LOAD_RUNS)
    if existing_table(client, name) is None:
        return None
    # All columns, since a table that 0.1 made has fewer.
    rows = query(client, f"select * from `{name}` order by sequence desc limit 1")
    return next((load_of(Target.BIGQUERY, dict(row.items())) for row in rows), None)


def past_loads(client: Client, config: Config) -> list[PastLoad]:
    """Return the last snapshot and every load after it, in their order."""
    name = table_id(config, raw_schema(config), LOAD_RUNS)
    rows = query(
        client,
        f"""
        select {", ".join(PAST_LOAD_COLUMNS)}
        from `{name}`
        where sequence >= coalesce(
            (select max(sequence) from `{name}` where mode = 'replace'), 0
        )
        order by sequence
        """,
    )
    return [PastLoad(*row.values()) for row in rows]


def check_latest(client: Client, config: Config, run_id: str) -> Load:
    """Give the latest load if it is this run's.

    Raises:
        SupersededError: Another run was loaded later.
        ConfigurationError: Nothing was loaded yet.
    """
    return require_latest(Target.BIGQUERY, latest_load(client, config), run_id)


def pending_window(client: Client, config: Config, run_id: str | None = None) -> tuple[int, Window]:
    """Give the latest load's sequence and the sale dates that `pending` finds.

    Raises:
        SupersededError: The latest load is not of the run that is named.
        ConfigurationError: Nothing was loaded yet.
    """

    def windows_since(sequence: int) -> list[str | None]:
        rows = query(
            client,
            f"""
            select sale_date_window
            from `{table_id(config, raw_schema(config), LOAD_RUNS)}`
            where sequence > @published
            """,
            [bigquery.ScalarQueryParameter("published", "INT64", sequence)],
        )
        return [row[0] for row in rows]

    latest = require_latest(Target.BIGQUERY, latest_load(client, config), run_id)
    raw = existing_table(client, table_id(config, raw_schema(config), config.data_warehouse.table))
    marks = raw is not None and "superseded_by" in {field.name for field in raw.schema}
    require_marks(Target.BIGQUERY, latest, found=marks)
    return pending(
        config,
        latest,
        latest_publication(client, config),
        lambda: has_live_tables(client, config),
        windows_since,
    )


def has_live_tables(client: Client, config: Config) -> bool:
    """Tell whether every table that `publish` makes current is there."""
    tables = published_tables(config, Target.BIGQUERY)
    names = (table_id(config, dataset, name) for name, (dataset, _) in tables.items())
    return all(existing_table(client, name) for name in names)


def loaded_days(client: Client, config: Config) -> set[date]:
    """Give the business dates of the batches that the raw table was put together from."""
    name = table_id(config, raw_schema(config), LOAD_RUNS)
    if existing_table(client, name) is None:
        return set()
    rows = query(
        client,
        f"""
        select distinct business_date
        from `{name}`
        where
            mode = 'append'
            and sequence > coalesce(
                (select max(sequence) from `{name}` where mode = 'replace'), 0
            )
        """,
    )
    return {row[0] for row in rows}


def latest_publication(client: Client, config: Config) -> Publication | None:
    """Give the publication of the highest load; None when there was none."""
    name = table_id(config, raw_schema(config), PUBLICATIONS)
    table = existing_table(client, name)
    if table is None:
        return None
    # A table that version 0.1 made has no such column.
    has_slices = any(field.name == "slices" for field in table.schema)
    slices = "slices" if has_slices else "cast(null as int64)"
    rows = query(
        client,
        f"""
        select sequence, mart_rules_digest, mart_rows, published_at, run_id, {slices}
        from `{name}`
        order by sequence desc, published_at desc
        limit 1
        """,
    )
    return next((publication_of(row.values()) for row in rows), None)
