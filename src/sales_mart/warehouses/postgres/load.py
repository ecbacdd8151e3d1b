"""Stop `load` for PostgreSQL: the sealed rows become the raw table's in one transaction.

Rows go from Parquet row groups through Arrow into `COPY … BINARY`; no Python object is made per
row. A binary COPY applies no casts: where widths match and types do not, it stores garbage without
an error. So the catalogue's column types are compared with the encoder's before the first byte.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, LiteralString

import pyarrow.parquet as pq
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import Cursor
from psycopg.sql import SQL, Composable, Identifier, Literal

from sales_mart.errors import (
    ConfigurationError,
    UnexpectedError,
)
from sales_mart.lake.records import Load, Mode, Seal
from sales_mart.names import LOAD_RUNS, clean_schema, raw_schema
from sales_mart.steps.plan import check_digest
from sales_mart.warehouses.history import Window, check_key, window_to_json
from sales_mart.warehouses.postgres.connection import (
    Connection,
    connect,
    ensure_schema,
    exists,
    lock_target,
)
from sales_mart.warehouses.postgres.history import check_latest, latest_load
from sales_mart.warehouses.postgres.owners import check_owners

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

__all__ = ["load"]

_log = logging.getLogger(__name__)

_BATCH_ROWS = 65_536
_COLUMN_TYPES: dict[str, LiteralString] = {
    "transaction_id": 'text collate "C" not null',
    "product": 'text collate "C"',
    "price": "numeric(18, {scale})",
    "quantity": "bigint",
    "sale_date": "date not null",
    "source_file": "integer not null",
    "source_row": "bigint not null",
}
_STAMP_TYPES: dict[str, LiteralString] = {
    "run_id": "text not null",
    "business_date": "date not null",
}
_LOAD_RUNS_DDL: LiteralString = """
    create table {} (
        sequence bigint primary key,
        run_id text not null,
        business_date date not null,
        mode text not null,
        rows bigint not null,
        yielded_rows bigint not null,
        key_id text not null,
        sale_date_window text,
        seal_digest text not null,
        loaded_at timestamptz not null default clock_timestamp()
    )
"""
# The four steps of an append. Each looks rows up by an index, so that its cost follows the batch.
_YIELD: LiteralString = """
    with yielded as (
        delete from {batch}
        using {raw}
        where {raw}.transaction_id = {batch}.transaction_id and {raw}.business_date > {day}
        returning {batch}.transaction_id
    )
    select count(*) from yielded
"""
_REMOVE_BATCH: LiteralString = """
    with removed as (delete from {raw} where business_date = {day} returning sale_date)
    select distinct sale_date from removed
"""
_REMOVE_MOVED: LiteralString = """
    with removed as (
        delete from {raw}
        using {batch}
        where {raw}.transaction_id = {batch}.transaction_id
        returning {raw}.sale_date
    )
    select distinct sale_date from removed
"""
_NEW_DATES: LiteralString = "select distinct sale_date from {batch}"
_INSERT: LiteralString = """
    insert into {raw} ({columns}, run_id, business_date)
    select {columns}, {run}, {day} from {batch}
"""


def load(config: Config, run: RunFolder) -> Load:
    """Load a sealed run into PostgreSQL and write the record `load-postgres`.

    One transaction under the target's lock: a step killed at any instant leaves no trace.
    Loading the run that is the latest already changes nothing.

    Raises:
        ConfigurationError: A column has another type, or key ids would mix.
        SourceChangedError: A part is not the one that was sealed.
        TemporaryError: The server or the lock is away.
        UnexpectedError: The table does not hold what the seal says; nothing was changed.
    """
    seal = run.read("seal", Seal)
    check_digest(config, run, seal.config_digest)
    with connect(config) as connection:
        lock_target(connection, config)
        _ensure_tables(connection, config)
        # Now that all of them exist, nobody can put another in their place.
        check_owners(connection, config)
        record = _already_loaded(connection, config, seal)
        if record is None:
            record = _load(connection, config, run, seal)
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
    latest = latest_load(connection, config)
    if latest is None or (latest.run_id, latest.seal_digest) != (seal.run_id, seal.digest):
        return None
    return latest.model_copy(update={"already_loaded": True})


def _load(connection: Connection, config: Config, run: RunFolder, seal: Seal) -> Load:
    yielded = 0
    window: Window = None
    if seal.mode is Mode.REPLACE:
        rows = _replace(connection, config, run, seal)
    else:
        _check_key(connection, config, seal)
        rows, yielded, window = _append(connection, config, run, seal)
    if rows != seal.rows_clean - yielded:
        msg = f"{rows} rows reached PostgreSQL, {seal.rows_clean - yielded} were sealed for it"
        raise UnexpectedError(msg, remedy="Nothing was changed. Please report this as a bug.")
    connection.execute(
        SQL("""
            insert into {0} (
                sequence, run_id, business_date, mode, rows, yielded_rows, key_id,
                sale_date_window, seal_digest
            )
            select coalesce(max(sequence), 0) + 1, %s, %s, %s, %s, %s, %s, %s, %s from {0}
        """).format(Identifier(raw_schema(config), LOAD_RUNS)),
        (
            seal.run_id,
            seal.business_date,
            seal.mode,
            rows,
            yielded,
            seal.key_id,
            window_to_json(window),
            seal.digest,
        ),
    )
    return check_latest(connection, config, seal.run_id)


def _replace(connection: Connection, config: Config, run: RunFolder, seal: Seal) -> int:
    """Make the table the run's rows.

    The table is emptied by TRUNCATE in this transaction, which lets COPY write frozen rows: no
    later scan has to stamp them. The staging view survives, since the table itself stays.
    """
    table = _raw_table(config)
    for name in _indexes(config):
        connection.execute(
            SQL("drop index if exists {}").format(Identifier(raw_schema(config), name))
        )
    connection.execute(SQL("truncate {}").format(table))
    # The two columns that are the same in every row travel once, as defaults.
    connection.execute(
        SQL(
            "alter table {} alter run_id set default {}, alter business_date set default {}"
        ).format(table, Literal(seal.run_id), Literal(seal.business_date))
    )
    rows = _copy(connection, config, run, seal, table)
    connection.execute(
        SQL("alter table {} alter run_id drop default, alter business_date drop default").format(
            table
        )
    )
    # Without it the transform plans by guesses until autovacuum comes round.
    connection.execute(SQL("analyze {} (product, sale_date)").format(table))
    return rows


def _append(
    connection: Connection, config: Config, run: RunFolder, seal: Seal
) -> tuple[int, int, Window]:
    """Replace one business date, and settle identifiers that other dates hold.

    Returns:
        Rows inserted, rows that stay out, and the sale dates of all rows that came or went.
    """
    table = _raw_table(config)
    _ensure_indexes(connection, config)
    batch = Identifier("sales_mart_batch")
    columns = SQL(", ").join(map(Identifier, _COLUMN_TYPES))
    connection.execute(
        SQL("create temporary table {} on commit drop as select {} from {} with no data").format(
            batch, columns, table
        )
    )
    copied = _copy(connection, config, run, seal, batch)
    if copied != seal.rows_clean:
        msg = f"{copied} rows reached PostgreSQL, {seal.rows_clean} were sealed"
        raise UnexpectedError(msg, remedy="Nothing was changed. Please report this as a bug.")
    connection.execute(SQL("analyze {}").format(batch))
    # At the default, made for discs that turn, the planner would rather read the whole history
    # than look the batch's tokens up in the index.
    connection.execute("set local random_page_cost = 1.1")

    def execute(statement: LiteralString) -> Cursor[tuple[Any, ...]]:
        query = SQL(statement).format(
            raw=table,
            batch=batch,
            columns=columns,
            day=Literal(seal.business_date),
            run=Literal(seal.run_id),
        )
        return connection.execute(query)

    yielded = int(execute(_YIELD).fetchall()[0][0])
    changed = [*execute(_REMOVE_BATCH), *execute(_REMOVE_MOVED), *execute(_NEW_DATES)]
    inserted = execute(_INSERT).rowcount
    return inserted, yielded, tuple(sorted({day for (day,) in changed}))


def _check_key(connection: Connection, config: Config, seal: Seal) -> None:
    row = connection.execute(
        SQL(
            "select key_id from {} where exists (select from {}) order by sequence desc limit 1"
        ).format(Identifier(raw_schema(config), LOAD_RUNS), _raw_table(config))
    ).fetchone()
    check_key(None if row is None else row[0], seal)


def _copy(
    connection: Connection, config: Config, run: RunFolder, seal: Seal, table: Composable
) -> int:
    """COPY the sealed parts into an empty table of this transaction; gives the rows copied."""
    schema = clean_schema(config.rules.max_decimals)
    encoder = ArrowToPostgresBinaryEncoder(schema)
    statement = SQL("copy {} ({}) from stdin with (format binary, freeze)").format(
        table, SQL(", ").join(map(Identifier, schema.names))
    )
    cursor = connection.cursor()
    with cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        for part in seal.clean:
            with run.sealed_part(part) as path, pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    fitted = batch if batch.schema == schema else batch.cast(schema)
                    copy.write(encoder.write_batch(fitted))
        copy.write(encoder.finish())
    return cursor.rowcount


def _raw_table(config: Config) -> Identifier:
    return Identifier(raw_schema(config), config.data_warehouse.table)


def _indexes(config: Config) -> dict[str, LiteralString]:
    """Indexes of a table that is appended to: name -> definition."""
    table = config.data_warehouse.table
    return {
        f"{table}_token": "create unique index {} on {} (transaction_id)",
        f"{table}_date": "create index {} on {} (sale_date)",
        f"{table}_batch": "create index {} on {} (business_date)",
    }


def _ensure_indexes(connection: Connection, config: Config) -> None:
    for name, definition in _indexes(config).items():
        if not exists(connection, raw_schema(config), name):
            connection.execute(SQL(definition).format(Identifier(name), _raw_table(config)))


def _ensure_tables(connection: Connection, config: Config) -> None:
    """Create what is missing, then compare the raw table's columns with what COPY will write."""
    schema, table = raw_schema(config), config.data_warehouse.table
    ensure_schema(connection, schema)
    if not exists(connection, schema, LOAD_RUNS):
        connection.execute(SQL(_LOAD_RUNS_DDL).format(Identifier(schema, LOAD_RUNS)))
    if not exists(connection, schema, table):
        scale = Literal(config.rules.max_decimals)
        columns = [
            SQL("{} {}").format(Identifier(name), SQL(kind).format(scale=scale))
            for name, kind in (_COLUMN_TYPES | _STAMP_TYPES).items()
        ]
        connection.execute(
            SQL("create table {} ({})").format(_raw_table(config), SQL(", ").join(columns))
        )
    _check_columns(connection, config)


def _check_columns(connection: Connection, config: Config) -> None:
    schema = clean_schema(config.rules.max_decimals)
    encoded = {
        column.name: type(column.data_type).__name__.lower()
        for column in ArrowToPostgresBinaryEncoder(schema).schema().columns
    }
    expected = {
        name: f"numeric(18,{config.rules.max_decimals})" if kind == "numeric" else kind
        for name, kind in encoded.items()
    } | {"run_id": "text", "business_date": "date"}
    found: dict[str, tuple[str, str]] = {
        name: (kind, shown)
        for name, kind, shown in connection.execute(
            "select attname, typname, format_type(atttypid, atttypmod)"
            " from pg_attribute join pg_type on pg_type.oid = atttypid"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (f'"{raw_schema(config)}"."{config.data_warehouse.table}"',),
        )
    }
    for name, kind in expected.items():
        have, shown = found.get(name, ("", "missing"))
        if kind not in (have, shown):
            where = f"{raw_schema(config)}.{config.data_warehouse.table}"
            msg = f"column {name} of {where} is {shown}, the run writes {kind}"
            raise ConfigurationError(
                msg,
                remedy="Move the table away or drop it and load the history anew, or put "
                "ingestion.validation.max_decimals back.",
            )
