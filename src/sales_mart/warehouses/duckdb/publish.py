"""Publish on DuckDB: a new file takes the place of the old one, all marts at once."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.lake.temporary import sync
from sales_mart.names import PRODUCT_MONTHS, PUBLICATIONS, PUBLISHED_SLICES, published_tables
from sales_mart.warehouses.duckdb.connection import DuckDBSession, opened
from sales_mart.warehouses.duckdb.dialect import PUBLISHED, WORK
from sales_mart.warehouses.history import (
    Publication,
    Window,
    check_built,
    check_latest,
    check_sequence,
    has_live_tables,
    is_shown,
    latest_publication,
    window_months,
)
from sales_mart.warehouses.published import PublishedMarts, check_published, check_reconciled
from sales_mart.warehouses.questions import Questions, within

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from decimal import Decimal
    from pathlib import Path

    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.base import Session
    from sales_mart.warehouses.duckdb import DuckDB

__all__ = ["built_tables", "copy_product_months", "publish"]

_log = logging.getLogger(__name__)

_PUBLICATIONS_DDL = """
    create table if not exists {} (
        sequence bigint not null,
        run_id varchar not null,
        mart_rules_digest varchar not null,
        mart_rows varchar not null,
        published_at timestamp not null,
        slices bigint
    )
"""
_SLICES_DDL = """
    create table if not exists {} (
        mart varchar not null,
        slice date,
        row_count bigint not null,
        amount decimal(38, {scale}),
        quantity decimal(38, 0),
        checksum decimal(38, 0) not null
    )
"""


def copy_product_months(warehouse: DuckDB) -> None:
    """Copy the published sums by product and month into the pipeline's own file, for dbt."""
    name = ".".join(f'"{each}"' for each in (WORK, warehouse.raw_schema, PRODUCT_MONTHS))
    with opened(warehouse) as session:
        shown = session.exists(warehouse.raw_schema, PRODUCT_MONTHS)
        table = warehouse.dialect.table(warehouse.raw_schema, PRODUCT_MONTHS)
        session.connection.execute(
            f"create or replace table {name} as from {table}"
            if shown
            else f"drop table if exists {name}"
        )


def built_tables(session: Session) -> dict[str, str]:
    """Return rows and a checksum of each next mart that is there."""
    warehouse = session.warehouse
    found: dict[str, str] = {}
    for name in published_tables(warehouse.config, warehouse.name):
        if session.exists(warehouse.next_schema, name):
            table = warehouse.dialect.table(warehouse.next_schema, name)
            ((rows, checksum),) = session.query(
                f"select count(*), coalesce(sum(hash(each)), 0) from {table} as each"
            )
            found[name] = f"{rows}-{checksum}"
    return found


def publish(  # noqa: PLR0913 - what was found out about the next marts
    warehouse: DuckDB,
    run: RunFolder,
    window: Window,
    sequence: int,
    built: Mapping[str, str],
    *,
    reconciled: Mapping[date, tuple[int, Decimal, int]] | None,
    full_refresh: bool,
) -> Publication:
    """Make the next marts the published ones.

    Raises:
        ConfigurationError: A table is missing, or has other columns than the next one.
        MartsChangedError: The marts would not be what they should; nothing is changed.
        SupersededError: There is a later load.
        TemporaryError: The file is in use, or another attempt builds the tables anew.
    """
    with opened(warehouse) as session:
        check_sequence(check_latest(session, run.run_id), sequence)
        published = latest_publication(session)
        recorded = published is not None
        if (
            is_shown(published, warehouse.config, sequence)
            and has_live_tables(session)
            and not full_refresh
        ):
            found = PublishedMarts(warehouse).differences(session.query, window, recorded=True)
            check_published(warehouse.name, found, "Nothing was changed.", run.run_id)
            _log.info("duckdb: load %d is published already", sequence)
            return published
        _check_next(session, built, window)
        if reconciled is not None:
            days = Questions(warehouse, session.query).days(checksum=False)
            check_reconciled(warehouse.name, reconciled, days, run.run_id)
    following = warehouse.path.with_name(f".{warehouse.path.name}.next")
    try:
        _remove(following)  # what a killed attempt has left
        with suppress(FileNotFoundError):
            shutil.copyfile(warehouse.path, following)
        with opened(warehouse, following) as session:
            session.connection.execute("begin transaction")
            check_sequence(check_latest(session, run.run_id), sequence)
            _check_next(session, built, window)
            made = _write(session, run.run_id, sequence, window, recorded=recorded)
            session.connection.execute("commit")
            session.connection.execute(f"use memory; detach {PUBLISHED}")
            sync(following)
            # Within the lock: no other run's file can take its place.
            following.replace(warehouse.path)
            sync(warehouse.path.parent)
    finally:
        _remove(following)
    return made


def _remove(path: Path) -> None:
    for each in (path, path.with_name(f"{path.name}.wal")):
        each.unlink(missing_ok=True)


def _check_next(session: DuckDBSession, built: Mapping[str, str], window: Window) -> None:
    """See that the next marts are the ones that were tested, with the columns of the live ones."""
    warehouse = session.warehouse
    for name, (schema, _) in published_tables(warehouse.config, warehouse.name).items():
        following = _types(session, WORK, warehouse.next_schema, name)
        if not following:
            msg = f"{warehouse.next_schema}.{name} has not been built"
            raise ConfigurationError(msg, remedy="Run `sales-mart transform` for the run first.")
        live = _types(session, PUBLISHED, schema, name)
        if not live and window is not None:
            msg = f"{schema}.{name} is gone, and only a window of it was built"
            raise ConfigurationError(
                msg, remedy="Run `sales-mart transform` and `reconcile` again: they build all."
            )
        if live and live != following:
            differing = sorted({each for each, _ in live ^ following})
            msg = f"{schema}.{name} has other columns than the run: {', '.join(differing)}"
            raise ConfigurationError(
                msg,
                remedy="Put ingestion.validation.max_decimals back, or remove the file and run "
                "transform, reconcile and publish again: it is made anew.",
            )
    check_built(warehouse.name, built, built_tables(session))


def _types(
    session: DuckDBSession, catalog: str, schema: str, name: str
) -> frozenset[tuple[str, str]]:
    found = session.connection.execute(
        "select column_name, data_type from duckdb_columns()"
        " where database_name = ? and schema_name = ? and table_name = ?",
        [catalog, schema, name],
    )
    return frozenset((column, kind) for column, kind in found.fetchall())


def _write(
    session: DuckDBSession, run_id: str, sequence: int, window: Window, *, recorded: bool
) -> Publication:
    """Write the next marts into the new file, with what is recorded of them."""
    warehouse, execute = session.warehouse, session.connection.execute
    config, dialect = warehouse.config, warehouse.dialect
    for schema in (warehouse.raw_schema, warehouse.mart_schema):
        execute(f"create schema if not exists {PUBLISHED}.{dialect.identifier(schema)}")
    publications = dialect.table(warehouse.raw_schema, PUBLICATIONS)
    slices = dialect.table(warehouse.raw_schema, PUBLISHED_SLICES)
    execute(_PUBLICATIONS_DDL.format(publications))
    execute(_SLICES_DDL.format(slices, scale=config.rules.max_decimals))
    marts = PublishedMarts(warehouse)
    for statement in marts.record_sql(window, recorded=recorded):
        execute(statement)
    for name, (_, column) in published_tables(config, warehouse.name).items():
        live, following = marts.live[name], marts.next[name]
        if window is None or not column:
            execute(f"create or replace table {live} as from {following}")
        else:
            days = window if column == "sale_date" else window_months(window)
            execute(f"delete from {live} where {within(days, column)}")
            execute(f"insert into {live} by name from {following}")
    found = marts.differences(session.query, window if recorded else None, recorded=True)
    check_published(warehouse.name, found, "Nothing was published.", run_id)
    counts = dict(session.query(marts.rows_sql()))
    rows = {name: int(counts.get(name, 0)) for name in published_tables(config, warehouse.name)}
    execute(
        f"insert into {publications} select ?, ?, ?, ?,"
        f" cast(get_current_timestamp() as timestamp), count(*) from {slices}",
        [sequence, run_id, config.mart_rules_digest, json.dumps(rows)],
    )
    made = latest_publication(session)
    if made is None:
        msg = "the publication is not there"
        raise ConfigurationError(msg, remedy="Please report this as a bug.")
    return made
