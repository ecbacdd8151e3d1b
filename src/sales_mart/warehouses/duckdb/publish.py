"""Publish on DuckDB: a new file takes the place of the old one, all marts at once."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.lake.temporary import sync
from sales_mart.names import PRODUCT_MONTHS
from sales_mart.warehouses.duckdb.connection import DuckDBSession, ensure_tables, opened
from sales_mart.warehouses.duckdb.dialect import PUBLISHED, WORK
from sales_mart.warehouses.history import (
    Publication,
    check_built,
    check_latest,
    check_sequence,
)
from sales_mart.warehouses.own_tables import PUBLISH_TABLES, QUALITY_TABLES
from sales_mart.warehouses.published import mart_window
from sales_mart.warehouses.publishing import (
    check_next,
    column_changes,
    publish_in_transaction,
    shown_already,
)
from sales_mart.warehouses.windows import Window

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.marts import Mart
    from sales_mart.warehouses.base import Session
    from sales_mart.warehouses.duckdb import DuckDB
    from sales_mart.warehouses.publishing import NextMarts

__all__ = ["built_tables", "copy_published", "publish"]

_log = logging.getLogger(__name__)


def copy_published(warehouse: DuckDB) -> None:
    """Copy into the pipeline's own file, which is all that dbt opens, what models read.

    These are the sums by product and month, and the facts where the user's own models may read all
    of them.
    """
    read = {PRODUCT_MONTHS}
    if warehouse.config.transformation.models_path is not None:
        read.add(warehouse.fact_table)
    with opened(warehouse) as session:
        execute = session.connection.execute
        for mart in warehouse.marts:
            if mart.name not in read:
                continue
            schema = warehouse.schema_of(mart)
            folder = f"{WORK}.{warehouse.dialect.identifier(schema)}"
            name = f"{folder}.{warehouse.dialect.identifier(mart.name)}"
            execute(f"create schema if not exists {folder}")
            if session.exists(schema, mart.name):
                execute(f"create or replace table {name} as from {warehouse.live(mart)}")
            else:
                execute(f"drop table if exists {name}")


def built_tables(session: Session) -> dict[str, str]:
    """Return rows and a checksum of each next mart that is there."""
    warehouse = session.warehouse
    found: dict[str, str] = {}
    for mart in warehouse.marts:
        if session.exists(warehouse.next_schema, mart.name):
            table = warehouse.following(mart)
            ((rows, checksum),) = session.query(
                f"select count(*), coalesce(sum(hash(each)), 0) from {table} as each"
            )
            found[mart.name] = f"{rows}-{checksum}"
    return found


def publish(warehouse: DuckDB, following: NextMarts) -> Publication:
    """Make the next marts the published ones, by a new file."""
    with opened(warehouse) as session:
        published, recorded = shown_already(session, following)
        if published is not None:
            return published
        _check_columns(session, following.window)
        check_next(session, following, built_tables(session))
    new = warehouse.path.with_name(f".{warehouse.path.name}.next")
    try:
        _remove(new)  # what a killed attempt has left
        with suppress(FileNotFoundError):
            shutil.copyfile(warehouse.path, new)
        with opened(warehouse, new) as session:
            execute = session.connection.execute
            execute("begin transaction")
            check_sequence(check_latest(session, following.run_id), following.sequence)
            _check_columns(session, following.window)
            check_built(warehouse.name, following.built, built_tables(session))
            ensure_tables(session, warehouse.raw_schema, PUBLISH_TABLES)
            ensure_tables(session, warehouse.mart_schema, QUALITY_TABLES)
            made = publish_in_transaction(
                session,
                execute,
                following,
                lambda mart: _publish_mart(session, mart, following.window),
                recorded=recorded,
            )
            execute("commit")
            execute(f"use memory; detach {PUBLISHED}")
            sync(new)
            # Within the lock: no other run's file can take its place.
            new.replace(warehouse.path)
            sync(warehouse.path.parent)
    finally:
        _remove(new)
    return made


def _remove(path: Path) -> None:
    for each in (path, path.with_name(f"{path.name}.wal")):
        each.unlink(missing_ok=True)


def _check_columns(session: DuckDBSession, window: Window) -> None:
    """Check that the next marts are there, with columns that the live ones have or may get."""
    warehouse = session.warehouse
    for mart in warehouse.marts:
        schema, name = warehouse.schema_of(mart), mart.name
        following = _types(session, WORK, warehouse.next_schema, name)
        if not following:
            msg = f"{warehouse.next_schema}.{name} has not been built"
            raise ConfigurationError(msg, remedy="Run `sales-mart transform` for the run first.")
        live = _types(session, PUBLISHED, schema, name)
        if not live and window is not None:
            msg = f"{schema}.{name} is gone, and only some of its days were built"
            raise ConfigurationError(
                msg,
                remedy="Run `sales-mart transform` and `reconcile` again, which build all of it.",
            )
        if live:
            column_changes(mart, f"{schema}.{name}", live, following, window)


def _types(session: DuckDBSession, catalog: str, schema: str, name: str) -> dict[str, str]:
    found = session.connection.execute(
        "select column_name, data_type from duckdb_columns()"
        " where database_name = ? and schema_name = ? and table_name = ?",
        [catalog, schema, name],
    )
    return dict(found.fetchall())


def _publish_mart(session: DuckDBSession, mart: Mart, window: Window) -> None:
    execute = session.connection.execute
    live, following = session.warehouse.live(mart), session.warehouse.following(mart)
    if window is None or mart.slice is None:
        schema = session.warehouse.schema_of(mart)
        before = _types(session, PUBLISHED, schema, mart.name)
        execute(f"create or replace table {live} as from {following}")
        now = _types(session, PUBLISHED, schema, mart.name)
        # A column that the mart has no more stays, as it does in other warehouses.
        for name in before.keys() - now.keys():
            column = session.warehouse.dialect.identifier(name)
            execute(f"alter table {live} add column {column} {before[name]}")
    else:
        execute(f"delete from {live} where {mart_window(mart, window)}")
        execute(f"insert into {live} by name from {following}")
