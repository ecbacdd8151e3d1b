"""Step `load` for DuckDB: the sealed rows become the raw table's in one transaction.

A row is visible unless a later business date has its identifier; on one date a delivery goes before
the snapshot. Each superseded row is marked with the business date of the next later row of its
identifier.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sales_mart.errors import UnexpectedError
from sales_mart.lake.records import Load, Mode, Seal
from sales_mart.names import LOAD_RUNS
from sales_mart.progress import advance
from sales_mart.schema import schema_of
from sales_mart.warehouses.admission import (
    check_admission,
    check_removed_share,
    earlier_delivery,
    last_snapshot,
)
from sales_mart.warehouses.duckdb.connection import DuckDBSession, ensure_tables, opened
from sales_mart.warehouses.history import Change, check_latest, latest_load, load_values, past_loads
from sales_mart.warehouses.own_tables import LOAD_TABLES
from sales_mart.warehouses.supersede import COUNTS, HIDE, INSERT, SETTLED, SHOW, WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.admission import LoadOptions, PastLoad
    from sales_mart.warehouses.duckdb import DuckDB

__all__ = ["load"]

_log = logging.getLogger(__name__)


def load(warehouse: DuckDB, run: RunFolder, options: LoadOptions) -> Load:
    """Load a sealed run, and write the record `load-duckdb`.

    Raises:
        ConfigurationError: A column has another type, or key ids would mix.
        DataError: The load is refused: by age, by rules, or for the rows that it would take away.
        SourceChangedError: A part is not the one that was sealed.
        TemporaryError: The file is in use.
        UnexpectedError: The table does not hold what the seal says; nothing was changed.
    """
    seal = run.read("seal", Seal)
    run.check_digest(seal.config_digest, warehouse.config.digest)
    with opened(warehouse) as session:
        execute = session.connection.execute
        execute("begin transaction")
        raw = {warehouse.config.data_warehouse.table: schema_of(warehouse.config).raw}
        ensure_tables(session, warehouse.raw_schema, {**LOAD_TABLES, **raw})
        record = _already_loaded(session, seal) or _load(session, run, seal, options)
        execute("commit")
    run.write(f"load-{warehouse.name}", record)
    _log.info(
        "duckdb: %d rows in %s mode, load %d%s",
        record.rows,
        record.mode,
        record.sequence,
        ", loaded already" if record.already_loaded else "",
    )
    return record


def _raw(session: DuckDBSession) -> str:
    warehouse = session.warehouse
    return warehouse.dialect.table(warehouse.raw_schema, warehouse.config.data_warehouse.table)


def _already_loaded(session: DuckDBSession, seal: Seal) -> Load | None:
    latest = latest_load(session)
    if latest is None or (latest.run_id, latest.seal_digest) != (seal.run_id, seal.digest):
        return None
    return latest.model_copy(update={"already_loaded": True})


def _load(session: DuckDBSession, run: RunFolder, seal: Seal, options: LoadOptions) -> Load:
    config, execute = session.warehouse.config, session.connection.execute
    past = past_loads(session)
    raw = _raw(session)
    ((holds_rows, before),) = session.query(
        f"select count(*) > 0, count(*) filter (where superseded_by is null) from {raw}"
    )
    check_admission(config, run, seal, options, past, holds_rows=holds_rows)
    _read_batch(session, run, seal)
    if seal.mode is Mode.REPLACE:
        check_removed_share(config, seal, before, seal.rows_valid)
        execute(f"delete from {raw}")
        dialect = session.warehouse.dialect
        listed = ", ".join(_names(session))
        execute(
            f"insert into {raw} ({listed}, run_id, business_date) select {listed}, "
            f"{dialect.literal(seal.run_id)}, {dialect.literal(seal.business_date)} from batch"
        )
        change = Change(None, seal.rows_valid, removed_rows=before)
    else:
        change = _append(session, seal, past)
        check_removed_share(config, seal, before, change.visible_after(before))
    ((rows,),) = session.query(f"select count(*) from {raw} where {_of_run(session, seal)}")
    if not rows == change.rows + change.hidden_rows == seal.rows_valid:
        raise _lost(rows, seal)
    values = load_values(config, seal, change, change.visible_after(before))
    names = ", ".join(map(session.warehouse.dialect.identifier, values))
    loads = session.warehouse.dialect.table(session.warehouse.raw_schema, LOAD_RUNS)
    execute(
        f"insert into {loads} (sequence, loaded_at, {names}) select coalesce(max(sequence), 0) + 1,"
        f" {session.warehouse.dialect.now}, {', '.join('?' * len(values))} from {loads}",
        list(values.values()),
    )
    return check_latest(session, seal.run_id)


def _names(session: DuckDBSession) -> list[str]:
    """Return the quoted names of what comes with a sealed part."""
    columns = schema_of(session.warehouse.config).valid
    return [session.warehouse.dialect.identifier(column.name) for column in columns]


def _of_run(session: DuckDBSession, seal: Seal) -> str:
    dialect = session.warehouse.dialect
    return (
        f"run_id = {dialect.literal(seal.run_id)} "
        f"and business_date = {dialect.literal(seal.business_date)}"
    )


def _lost(rows: int, seal: Seal) -> UnexpectedError:
    msg = f"{rows} rows reached DuckDB, {seal.rows_valid} were sealed"
    return UnexpectedError(msg, remedy="Nothing was changed. Please report this as a bug.")


def _read_batch(session: DuckDBSession, run: RunFolder, seal: Seal) -> None:
    """Read the sealed parts into the temporary table of the batch."""
    execute = session.connection.execute
    columns = schema_of(session.warehouse.config).valid
    listed = ", ".join(map(session.warehouse.dialect.definition, columns))
    execute(f"create or replace temporary table batch ({listed})")
    for part in seal.valid:
        with run.sealed_part(part) as path:
            # By name: parts of version 0.1 have no amount.
            execute("insert into batch by name select * from read_parquet(?)", [str(path)])
        advance(part.rows, part.rows)
    ((rows,),) = session.query("select count(*) from batch")
    if rows != seal.rows_valid:
        raise _lost(rows, seal)


def _append(session: DuckDBSession, seal: Seal, past: Sequence[PastLoad]) -> Change:
    """Replace the delivery of one business date, and settle which rows are visible."""
    dialect, execute = session.warehouse.dialect, session.connection.execute
    snapshot, earlier = last_snapshot(past), earlier_delivery(past, seal.business_date)
    raw, day = _raw(session), dialect.literal(seal.business_date)
    of_earlier = (
        f"business_date = {day} and run_id = {dialect.literal(earlier.run_id)}"
        if earlier
        else "false"
    )
    execute(
        "create or replace temporary table removed as select transaction_id, sale_date,"
        f" superseded_by is null as was_visible from {raw} where {of_earlier}"
    )
    execute(f"delete from {raw} where {of_earlier}")
    names = {
        "raw": raw,
        "part": "0",
        "this_part": "0",
        "place": "rowid",
        "batch": "batch",
        "removed": "removed",
        "settled": "settled",
        "day": day,
        "run": dialect.literal(seal.run_id),
        "snapshot": dialect.literal(snapshot.run_id if snapshot else None),
        "columns": ", ".join(_names(session)),
        "listed": ", ".join(f"batch.{name}" for name in _names(session)),
    }
    for statement in (
        f"create or replace temporary table settled as {SETTLED}",
        HIDE,
        SHOW,
        INSERT,
    ):
        execute(statement.format(**names))
    (counts,) = session.query(COUNTS.format(**names))
    return Change(tuple(day for (day,) in session.query(WINDOW.format(**names))), *counts)
