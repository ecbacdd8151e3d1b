"""What `load_runs` and `publications` say about a PostgreSQL target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from sales_mart.lake.records import Target
from sales_mart.names import LOAD_RUNS, PUBLICATIONS, published_tables, raw_schema
from sales_mart.warehouses.admission import PAST_LOAD_COLUMNS, PastLoad
from sales_mart.warehouses.history import (
    Publication,
    Window,
    load_of,
    pending,
    publication_of,
    require_latest,
    require_marks,
)
from sales_mart.warehouses.postgres.connection import Connection, exists

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


def latest_load(connection: Connection, config: Config) -> Load | None:
    """Give the load with the highest sequence; None when there was none."""
    schema = raw_schema(config)
    if not exists(connection, schema, LOAD_RUNS):
        return None
    # All columns, since a table that 0.1 made has fewer.
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            SQL("select * from {} order by sequence desc limit 1").format(
                Identifier(schema, LOAD_RUNS)
            )
        ).fetchone()
    return None if row is None else load_of(Target.POSTGRES, row)


def past_loads(connection: Connection, config: Config) -> list[PastLoad]:
    """Return the last snapshot and every load after it, in their order."""
    rows = connection.execute(
        SQL("""
            select {columns}
            from {loads}
            where sequence >= coalesce(
                (select max(sequence) from {loads} where mode = 'replace'), 0
            )
            order by sequence
        """).format(
            columns=SQL(", ").join(map(Identifier, PAST_LOAD_COLUMNS)),
            loads=Identifier(raw_schema(config), LOAD_RUNS),
        )
    )
    return [PastLoad(*row) for row in rows]


def check_latest(connection: Connection, config: Config, run_id: str) -> Load:
    """Give the latest load if it is this run's.

    Call it under the target's lock (`lock_target`) when what follows must not be overtaken.

    Raises:
        SupersededError: Another run was loaded later.
        ConfigurationError: Nothing was loaded yet.
    """
    return require_latest(Target.POSTGRES, latest_load(connection, config), run_id)


def pending_window(
    connection: Connection, config: Config, run_id: str | None = None
) -> tuple[int, Window]:
    """Give the latest load's sequence and the sale dates that `pending` finds.

    Raises:
        SupersededError: The latest load is not of the run that is named.
        ConfigurationError: Nothing was loaded yet.
    """

    def windows_since(sequence: int) -> list[str | None]:
        rows = connection.execute(
            SQL("select sale_date_window from {} where sequence > %s").format(
                Identifier(raw_schema(config), LOAD_RUNS)
            ),
            (sequence,),
        )
        return [text for (text,) in rows]

    latest = require_latest(Target.POSTGRES, latest_load(connection, config), run_id)
    marks = connection.execute(
        "select from pg_attribute where attrelid = to_regclass(%s) and attname = 'superseded_by'",
        (f'"{raw_schema(config)}"."{config.data_warehouse.table}"',),
    ).fetchone()
    require_marks(Target.POSTGRES, latest, found=marks is not None)
    return pending(
        config,
        latest,
        latest_publication(connection, config),
        lambda: has_live_tables(connection, config),
        windows_since,
    )


def has_live_tables(connection: Connection, config: Config) -> bool:
    """Tell whether every table that `publish` makes current is there."""
    tables = published_tables(config, Target.POSTGRES)
    return all(exists(connection, schema, name) for name, (schema, _) in tables.items())


def loaded_days(connection: Connection, config: Config) -> set[date]:
    """Give the business dates of the batches that the raw table was put together from."""
    schema = raw_schema(config)
    if not exists(connection, schema, LOAD_RUNS):
        return set()
    rows = connection.execute(
        SQL("""
            select distinct business_date
            from {0}
            where
                mode = 'append'
                and sequence > coalesce(
                    (select max(sequence) from {0} where mode = 'replace'), 0
                )
        """).format(Identifier(schema, LOAD_RUNS))
    )
    return {day for (day,) in rows}


def latest_publication(connection: Connection, config: Config) -> Publication | None:
    """Give the publication of the highest load; None when there was none."""
    schema = raw_schema(config)
    if not exists(connection, schema, PUBLICATIONS):
        return None
    row = connection.execute(
        SQL("""
            select
                sequence, mart_rules_digest, mart_rows, published_at, run_id,
                -- a table that version 0.1 made has no such column
                cast(to_jsonb(publications) ->> 'slices' as bigint)
            from {} as publications
            order by sequence desc, published_at desc
            limit 1
        """).format(Identifier(schema, PUBLICATIONS))
    ).fetchone()
    return None if row is None else publication_of(row)
