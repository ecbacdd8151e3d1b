"""What `load_runs` and `publications` say about a PostgreSQL target."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from psycopg.sql import SQL, Identifier

from sales_mart.errors import ConfigurationError, SupersededError
from sales_mart.names import LOAD_RUNS, PUBLICATIONS, published_tables, raw_schema
from sales_mart.records import Load, Mode, Target
from sales_mart.warehouse.postgres import Connection, exists
from sales_mart.warehouse.windows import Publication, Window, union_windows, window_from_json

if TYPE_CHECKING:
    from datetime import date

    from sales_mart.config import Config

__all__ = [
    "Publication",
    "check_latest",
    "latest_load",
    "latest_publication",
    "loaded_days",
    "pending_window",
]


def latest_load(connection: Connection, config: Config) -> Load | None:
    """Give the load with the highest sequence; None when there was none."""
    schema = raw_schema(config)
    if not exists(connection, schema, LOAD_RUNS):
        return None
    row = connection.execute(
        SQL("""
            select
                run_id, mode, sequence, rows, yielded_rows, sale_date_window,
                seal_digest, loaded_at
            from {}
            order by sequence desc
            limit 1
        """).format(Identifier(schema, LOAD_RUNS))
    ).fetchone()
    if row is None:
        return None
    return Load(
        run_id=row[0],
        target=Target.POSTGRES,
        mode=Mode(row[1]),
        sequence=row[2],
        rows=row[3],
        yielded_rows=row[4],
        window=window_from_json(row[5]),
        seal_digest=row[6],
        loaded_at=row[7],
    )


def check_latest(connection: Connection, config: Config, run_id: str) -> Load:
    """Give the latest load if it is this run's.

    Call it under the target's lock (`lock_target`) when what follows must not be overtaken.

    Raises:
        SupersededError: Another run was loaded later.
        ConfigurationError: Nothing was loaded yet.
    """
    latest = latest_load(connection, config)
    if latest is None:
        msg = "nothing is loaded into PostgreSQL yet"
        raise ConfigurationError(msg, remedy="Run `sales-mart load` for the run first.")
    if latest.run_id != run_id:
        msg = f"run {run_id} is superseded by {latest.run_id} in PostgreSQL"
        raise SupersededError(
            msg, remedy="Let the newer run finish; to show this one again, load it again first."
        )
    return latest


def pending_window(connection: Connection, config: Config) -> tuple[int, Window]:
    """Give the latest load's sequence and the sale dates changed since the last publication.

    The window is None, everything, when a load since then replaced the table, nothing was
    published yet, the marts' rules have changed, or one of the published tables is gone. When the
    latest load is published already, it is that load's own window: whoever runs it again builds
    and compares what the first time did.

    Raises:
        ConfigurationError: Nothing was loaded yet.
    """
    latest = latest_load(connection, config)
    if latest is None:
        msg = "nothing is loaded into PostgreSQL yet"
        raise ConfigurationError(msg, remedy="Run `sales-mart load` for the run first.")
    published = latest_publication(connection, config)
    tables = published_tables(config, Target.POSTGRES)
    if (
        published is None
        or published.mart_rules_digest != config.mart_rules_digest
        or not all(exists(connection, schema, table) for table, (schema, _) in tables.items())
    ):
        return latest.sequence, None
    if published.sequence == latest.sequence:
        return latest.sequence, latest.window
    rows = connection.execute(
        SQL("select sale_date_window from {} where sequence > %s").format(
            Identifier(raw_schema(config), LOAD_RUNS)
        ),
        (published.sequence,),
    )
    return latest.sequence, union_windows(window_from_json(text) for (text,) in rows)


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
            select sequence, mart_rules_digest, mart_rows
            from {}
            order by sequence desc, published_at desc
            limit 1
        """).format(Identifier(schema, PUBLICATIONS))
    ).fetchone()
    return None if row is None else Publication(row[0], row[1], json.loads(row[2]))
