"""Step `load` for PostgreSQL: the sealed rows become the raw table's in one transaction.

Rows go from Parquet row groups through Arrow into `COPY … BINARY`; no Python object is made per
row. A binary COPY applies no casts: where widths match and types do not, it stores garbage without
an error. So the catalogue's column types are compared with the encoder's before the first byte.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from psycopg.sql import SQL, Identifier, Literal, Placeholder

from sales_mart.errors import UnexpectedError
from sales_mart.lake.records import Load, Mode, Seal
from sales_mart.names import LOAD_RUNS, raw_schema
from sales_mart.progress import advance
from sales_mart.schema import schema_of
from sales_mart.warehouses.admission import (
    LoadOptions,
    check_admission,
    check_removed_share,
    earlier_delivery,
    last_snapshot,
)
from sales_mart.warehouses.history import Change, check_latest, latest_load, load_values, past_loads
from sales_mart.warehouses.postgres.append import BATCH, append_batch
from sales_mart.warehouses.postgres.connection import Connection, connect, lock_target
from sales_mart.warehouses.postgres.owners import check_owners
from sales_mart.warehouses.postgres.reader import PostgresSession
from sales_mart.warehouses.postgres.streams import (
    copy_rows,
    copy_side_by_side,
    drop_children,
    drop_left_over,
    streams_for,
)
from sales_mart.warehouses.postgres.tables import (
    drop_indexes,
    ensure_indexes,
    ensure_tables,
    raw_table,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.admission import PastLoad

__all__ = ["load"]

_log = logging.getLogger(__name__)

_BATCH_ROWS = 65_536
_ANALYSES_CHILDREN = 180_000
_NOTHING_SAID = LoadOptions()


def load(config: Config, run: RunFolder, options: LoadOptions = _NOTHING_SAID) -> Load:
    """Load a sealed run into PostgreSQL and write the record `load-postgres`.

    One transaction under the target's lock: a step killed at any instant leaves the rows of before,
    and at most tables that nobody reads, which the next load drops.
    Loading the run that is the latest already changes nothing.

    Raises:
        ConfigurationError: A column has another type, or key ids would mix.
        DataError: The load is refused: by age, by rules, or for the rows that it would take away.
        SourceChangedError: A part is not the one that was sealed.
        TemporaryError: The server or the lock is away.
        UnexpectedError: The table does not hold what the seal says; nothing was changed.
    """
    seal = run.read("seal", Seal)
    run.check_digest(seal.config_digest, config.digest)
    with connect(config) as connection:
        lock_target(connection, config)
        ensure_tables(connection, config)
        # Now that all of them exist, nobody can put another in their place.
        check_owners(connection, config)
        drop_left_over(connection, config)
        record = _already_loaded(connection, config, seal)
        if record is None:
            record = _load(connection, config, run, seal, options)
        connection.commit()
    run.write("load-postgres", record)
    _log.info(
        "postgres: %d rows in %s mode, load %d%s",
        record.rows,
        record.mode,
        record.sequence,
        ", loaded already" if record.already_loaded else "",
    )
    return record


def _already_loaded(connection: Connection, config: Config, seal: Seal) -> Load | None:
    latest = latest_load(PostgresSession(connection, config))
    if latest is None or (latest.run_id, latest.seal_digest) != (seal.run_id, seal.digest):
        return None
    return latest.model_copy(update={"already_loaded": True})


def _load(
    connection: Connection, config: Config, run: RunFolder, seal: Seal, options: LoadOptions
) -> Load:
    past = past_loads(PostgresSession(connection, config))
    holds_rows = _has_rows(connection, config)
    check_admission(config, run, seal, options, past, holds_rows=holds_rows)
    before = _visible_rows(connection, config, past)
    if seal.mode is Mode.REPLACE:
        check_removed_share(config, seal, before, seal.rows_valid)
        rows = _replace(connection, config, run, seal)
        change = Change(None, rows, removed_rows=before)
    else:
        rows, change = _append(connection, config, run, seal, past, before)
        check_removed_share(config, seal, before, change.visible_after(before))
    if not rows == change.rows + change.hidden_rows == seal.rows_valid:
        raise _lost(rows, seal)
    values = load_values(config, seal, change, change.visible_after(before))
    connection.execute(
        SQL("""
            insert into {loads} (sequence, loaded_at, {columns})
            select coalesce(max(sequence), 0) + 1, clock_timestamp(), {values} from {loads}
        """).format(
            loads=Identifier(raw_schema(config), LOAD_RUNS),
            columns=SQL(", ").join(map(Identifier, values)),
            values=SQL(", ").join(Placeholder() * len(values)),
        ),
        tuple(values.values()),
    )
    return check_latest(PostgresSession(connection, config), seal.run_id)


def _lost(rows: int, seal: Seal) -> UnexpectedError:
    msg = f"{rows} rows reached PostgreSQL, {seal.rows_valid} were sealed"
    return UnexpectedError(msg, remedy="Nothing was changed. Please report this as a bug.")


def _has_rows(connection: Connection, config: Config) -> bool:
    query = SQL("select exists (select from {})").format(raw_table(config))
    return connection.execute(query).fetchone() == (True,)


def _visible_rows(connection: Connection, config: Config, past: Sequence[PastLoad]) -> int:
    """Return how many rows are visible: as the last load noted, else by counting them."""
    if past and past[-1].visible_rows is not None:
        return past[-1].visible_rows
    query = SQL("select count(*) from {} where superseded_by is null").format(raw_table(config))
    return connection.execute(query).fetchall()[0][0]


def _replace(connection: Connection, config: Config, run: RunFolder, seal: Seal) -> int:
    """Make the table the run's rows.

    The table is emptied by TRUNCATE in this transaction, which lets COPY write frozen rows: no
    later scan has to stamp them. The staging view survives, since the table itself stays.
    """
    table = raw_table(config)
    drop_indexes(connection, config)
    connection.execute(SQL("truncate only {}").format(table))
    drop_children(connection, config)
    # The two columns that are the same in every row travel once, as defaults.
    connection.execute(
        SQL(
            "alter table {} alter run_id set default {}, alter business_date set default {}"
        ).format(table, Literal(seal.run_id), Literal(seal.business_date))
    )
    streams = streams_for(connection, config)
    with closing(_batches(run, seal)) as batches:
        if streams == 1:
            rows = copy_rows(connection, config, table, batches)
        else:
            defaults = {"run_id": seal.run_id, "business_date": seal.business_date}
            rows = copy_side_by_side(connection, config, batches, streams, defaults)
    connection.execute(
        SQL("alter table {} alter run_id drop default, alter business_date drop default").format(
            table
        )
    )
    # Without it the transform plans by guesses until autovacuum comes round. From version 18 on the
    # server would analyse the tables that inherit too, each for itself.
    only = SQL("only" if connection.info.server_version >= _ANALYSES_CHILDREN else "")
    grain = SQL(", ").join(map(Identifier, schema_of(config).grain))
    connection.execute(SQL("analyze {} {} ({})").format(only, table, grain))
    return rows


def _append(  # noqa: PLR0913 - what a delivery is, and what it meets
    connection: Connection,
    config: Config,
    run: RunFolder,
    seal: Seal,
    past: Sequence[PastLoad],
    history: int,
) -> tuple[int, Change]:
    """Replace the delivery of one business date, and settle which rows are visible."""
    ensure_indexes(connection, config)
    sales = schema_of(config)
    columns = SQL(", ").join(Identifier(column.name) for column in sales.valid)
    connection.execute(
        SQL("create temporary table {} on commit drop as select {} from {} with no data").format(
            BATCH, columns, raw_table(config)
        )
    )
    with closing(_batches(run, seal)) as batches:
        copied = copy_rows(connection, config, BATCH, batches)
    if copied != seal.rows_valid:
        raise _lost(copied, seal)
    return append_batch(
        connection,
        config,
        seal,
        history=history,
        snapshot=last_snapshot(past),
        earlier=earlier_delivery(past, seal.business_date),
    )


def _batches(run: RunFolder, seal: Seal) -> Generator[Any]:
    for part in seal.valid:
        with run.sealed_part(part) as path, pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield batch
                advance(batch.num_rows, batch.num_rows)
