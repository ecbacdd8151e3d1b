"""Rows that reach the raw table in several streams side by side, or in one.

A transaction has one connection. So each of several streams fills a table of its own, which nobody
reads. When all of them are filled and committed, the load's transaction makes the raw table their
parent: from its commit on, whoever reads the raw table reads them too. A load that does not come so
far leaves tables without a parent, which the next load drops.
"""

from __future__ import annotations

import os
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context
from threading import Lock
from typing import TYPE_CHECKING, Any, LiteralString

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import Error
from psycopg.sql import SQL, Composable, Identifier, Literal

from sales_mart.names import raw_schema
from sales_mart.schema import arrow_schema, schema_of
from sales_mart.warehouses.postgres.connection import Connection, connect
from sales_mart.warehouses.postgres.owners_sql import CHILD
from sales_mart.warehouses.postgres.tables import parts, raw_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_mart.config import Config

__all__ = ["copy_rows", "copy_side_by_side", "drop_children", "drop_left_over", "streams_for"]

_LEFT_OVER: LiteralString = """
    select relname
    from pg_class
    where
        relnamespace = (select oid from pg_namespace where nspname = {schema})
        and relname ~ {child}
        and relkind = 'r'
        and pg_has_role(relowner, 'usage')
        and not exists (select from pg_inherits where inhrelid = pg_class.oid)
"""
# What an administrator has given the raw table, a table that inherits from it would not have.
_IS_AS_WE_MADE_IT: LiteralString = """
    select
        relowner = (select oid from pg_roles where rolname = current_user)
        and relpersistence = 'p'
        and reltablespace = 0
        and reloptions is null
        and not relrowsecurity
        and not exists (select from pg_index where indrelid = pg_class.oid)
        and not exists (select from pg_constraint where conrelid = pg_class.oid and contype <> 'n')
        and not exists (select from pg_publication_rel where prrelid = pg_class.oid)
        and not exists (
            select
            from pg_attribute
            where attrelid = pg_class.oid and (attgenerated <> '' or attidentity <> '')
        )
    from pg_class
    where oid = to_regclass({table})
"""
# As the catalogue has it now: the table may have columns that a run has no more.
_COLUMNS: LiteralString = """
    select
        attname,
        format_type(atttypid, atttypmod)
        || case
            when attcollation <> typcollation then ' collate ' || attcollation::regcollation
            else ''
        end
        || case when attnotnull then ' not null' else '' end
    from pg_attribute
    inner join pg_type on pg_type.oid = atttypid
    where attrelid = to_regclass({table}) and attnum > 0 and not attisdropped
    order by attnum
"""


class _Batches:
    """Batches of rows of which every stream takes the next one, until they are stopped."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches, self._lock, self.stopped = batches, Lock(), False

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._lock:
                batch = None if self.stopped else next(self._batches, None)
            if batch is None:
                return
            yield batch


def streams_for(connection: Connection, config: Config) -> int:
    """Return in how many streams the emptied raw table is filled."""
    wanted = config.data_warehouse.postgres.load_streams
    if wanted == 1:
        return 1
    query = SQL(_IS_AS_WE_MADE_IT).format(table=_named(connection, config))
    return wanted if connection.execute(query).fetchone() == (True,) else 1


def copy_rows(
    connection: Connection,
    config: Config,
    table: Composable,
    batches: Iterator[Any] | _Batches,
) -> int:
    """COPY batches of valid rows into an empty table of this transaction; gives their number."""
    schema = arrow_schema(schema_of(config).valid)
    encoder = ArrowToPostgresBinaryEncoder(schema)
    statement = SQL("copy {} ({}) from stdin with (format binary, freeze)").format(
        table, SQL(", ").join(map(Identifier, schema.names))
    )
    cursor = connection.cursor()
    with cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        for batch in batches:
            copy.write(encoder.write_batch(_fitted(batch, schema)))
        copy.write(encoder.finish())
    return cursor.rowcount


def copy_side_by_side(
    connection: Connection,
    config: Config,
    batches: Iterator[Any],
    streams: int,
    defaults: Mapping[str, object],
) -> int:
    """COPY batches of valid rows into tables that the emptied raw table becomes the parent of.

    Args:
        connection: The load's connection. Its transaction has written to the raw table.
        config: The configuration.
        batches: The rows.
        streams: How many tables are filled at the same time.
        defaults: Columns that are the same in every row.

    Returns:
        The number of rows.
    """
    # This session says nothing until the others are ready.
    connection.execute("set local idle_in_transaction_session_timeout = 0")
    columns = _definition(connection, config, defaults)
    shared = _Batches(batches)
    tables = [
        Identifier(raw_schema(config), f"sales_mart_load_{secrets.token_hex(8)}")
        for _ in range(streams)
    ]

    def fill(stream: Connection, table: Identifier) -> int:
        try:
            # Made in the transaction that fills it: frozen, and without a log where there is none.
            stream.execute(SQL("create table {} ({})").format(table, columns))
            rows = copy_rows(stream, config, table, shared)
            # The planner is told the number of rows. Their statistics are the raw table's.
            stream.execute("set local default_statistics_target = 1")
            stream.execute(SQL("analyze {} (source_row)").format(table))
        except BaseException:
            shared.stopped = True
            raise
        return rows

    with ExitStack() as stack:
        others = [stack.enter_context(connect(config)) for _ in tables]
        pool = stack.enter_context(ThreadPoolExecutor(streams))
        try:
            # Each in a context of its own, which has the measure of progress.
            filling = [
                pool.submit(copy_context().run, fill, other, table)
                for other, table in zip(others, tables, strict=True)
            ]
            rows = sum(each.result() for each in filling)
            list(pool.map(Connection.commit, others))
        except BaseException:
            shared.stopped = True
            for other in others:
                _hang_up(other)
            raise
    for table in tables:
        connection.execute(
            SQL("alter table {} inherit {}").format(table, raw_table(config)),
        )
    return rows


def drop_children(connection: Connection, config: Config) -> None:
    """Drop the tables that inherit from the raw one, with their rows."""
    for _, name in parts(connection, config)[1:]:
        connection.execute(SQL("drop table {}").format(Identifier(raw_schema(config), name)))


def drop_left_over(connection: Connection, config: Config) -> None:
    """Drop what loads have filled that did not come to their end.

    At once, in a transaction of its own, so that its room on the disk is free for this load.

    Args:
        connection: A connection that holds the target's lock, so that no load is under way.
        config: The configuration.
    """
    query = SQL(_LEFT_OVER).format(schema=Literal(raw_schema(config)), child=Literal(CHILD))
    found = connection.execute(query).fetchall()
    if found:
        with connect(config) as other:
            for (name,) in found:
                other.execute(SQL("drop table {}").format(Identifier(raw_schema(config), name)))
            other.commit()


def _definition(
    connection: Connection, config: Config, defaults: Mapping[str, object]
) -> Composable:
    query = SQL(_COLUMNS).format(table=_named(connection, config))
    return SQL(", ").join(
        SQL("{} {}{}").format(
            Identifier(name),
            SQL(kind),
            SQL(" default {}").format(Literal(defaults[name])) if name in defaults else SQL(""),
        )
        for name, kind in connection.execute(query).fetchall()
    )


def _named(connection: Connection, config: Config) -> Literal:
    return Literal(raw_table(config).as_string(connection))


def _hang_up(connection: Connection) -> None:
    """End a connection under whoever waits for its server."""
    with suppress(Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:  # pyright: ignore[reportUnknownParameterType]
    """Return a batch with the columns of a schema; those that its part has not are null.

    Parts of version 0.1 have no amount.
    """
    if batch.schema == schema:
        return batch
    columns = [
        batch[field.name].cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
