"""Frames into and out of PostgreSQL tables: COPY, in one transaction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, LiteralString, cast

import polars as pl
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg.errors import DuplicateSchema, DuplicateTable, UniqueViolation
from psycopg.sql import SQL, Identifier

from sales_mart.errors import ConfigurationError, DataError, TemporaryError
from sales_mart.warehouses.frames import Field, FoundColumn, Written, fitted, table_of
from sales_mart.warehouses.postgres.connection import Connection, connect, ensure_schema
from sales_mart.warehouses.postgres.owners import check_relations, exists
from sales_mart.warehouses.postgres.reader import PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config
    from sales_mart.warehouses.frames import Place, Rows, TableMode

__all__ = ["read_table", "write_table"]

_TYPES: dict[str, Any] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "smallint": pa.int16(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "time without time zone": pa.time64("us"),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "bytea": pa.binary(),
}
_PARAMETERS = re.compile(r"(numeric|character varying)(?:\((\d+)(?:,(\d+))?\))?")
_MOST_DIGITS = 38
_COLUMNS: LiteralString = """
    select
        attname,
        format_type(atttypid, atttypmod),
        attnotnull and not atthasdef and attidentity = ''
    from pg_attribute
    where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
    order by attnum
"""


def write_table(config: Config, place: Place, rows: Rows, mode: TableMode) -> Written:
    """Make rows a table's, in one transaction.

    Readers see the former rows until it ends. Another load of the table waits.

    Raises:
        ConfigurationError: A column has another type, the table is another role's, or access is
            refused.
        DataError: A value does not fit; nothing was changed.
        TemporaryError: The server is away, or somebody makes the same table at this moment.
    """
    table = Identifier(*place)
    with connect(config) as connection:
        created = _ensure_table(connection, place, rows)
        connection.execute(SQL("lock table {} in exclusive mode").format(table))
        # What its triggers and defaults call would run with our rights.
        check_relations(connection, [(place.schema, place.name, "r")])
        fields, added = fitted(rows, _columns(connection, place), place)
        if added:
            columns = SQL(", ").join(
                SQL("add column {}").format(_definition(each)) for each in added
            )
            connection.execute(SQL("alter table {} {}").format(table, columns))
        if mode == "replace" and not created:
            connection.execute(SQL("delete from {}").format(table))
        count = _copy(connection, table, rows, fields)
        connection.commit()
    return Written(count, created, tuple(name for name, _ in added))


def read_table(config: Config, place: Place) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
    """Read a table whole, of one snapshot.

    Raises:
        ConfigurationError: There is no such table, or access is refused.
    """
    with connect(config, read_only=True) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        columns = _columns(connection, place) if exists(connection, *place) else []
        if not columns:
            msg = f"there is no table {place} in PostgreSQL"
            raise ConfigurationError(msg, remedy="Check its name.")
        check_relations(connection, [(place.schema, place.name, "rpvm")])
        listed = SQL(", ").join(
            SQL("{}" if each.type or each.is_loose else "cast({} as text)").format(
                Identifier(each.name)
            )
            for each in columns
        )
        with connection.cursor("sales_mart_read", binary=True) as cursor:
            cursor.itersize = PAGE
            cursor.execute(SQL("select {} from {}").format(listed, Identifier(*place)))
            return table_of(iter(cursor), columns)


def _ensure_table(connection: Connection, place: Place, rows: Rows) -> bool:
    try:
        ensure_schema(connection, place.schema)
        if exists(connection, *place):
            return False
        columns = SQL(", ").join(map(_definition, rows.fields))
        connection.execute(SQL("create table {} ({})").format(Identifier(*place), columns))
    except (DuplicateSchema, DuplicateTable, UniqueViolation):
        msg = f"somebody else makes {place} at this moment"
        raise TemporaryError(msg, remedy="Run it again.") from None
    return True


def _definition(field: Field) -> Any:
    return SQL("{} {}").format(Identifier(field.name), _ddl(field.type))


def _ddl(kind: Any) -> SQL:
    if pa.types.is_decimal(kind):
        return SQL(f"numeric({kind.precision}, {kind.scale})")  # pyright: ignore[reportArgumentType] - two numbers
    return SQL(next(shown for shown, each in _TYPES.items() if each == kind))  # pyright: ignore[reportArgumentType] - of our table


def _columns(connection: Connection, place: Place) -> list[FoundColumn]:
    found = connection.execute(_COLUMNS, (f'"{place.schema}"."{place.name}"',))
    return [
        FoundColumn(name, _type(shown), shown, bool(must), shown == "numeric")
        for name, shown, must in found
    ]


def _type(shown: str) -> Any:
    found = _PARAMETERS.fullmatch(shown)
    if found is None:
        return _TYPES.get(shown)
    if found[1] != "numeric":
        return pa.string()
    if found[2] is None:
        return None
    return pa.decimal128(min(int(found[2]), _MOST_DIGITS), int(found[3] or 0))


def _copy(connection: Connection, table: Identifier, rows: Rows, fields: Sequence[Field]) -> int:
    """COPY the rows in binary: the types of frame and table are known to be the same."""
    schema = pa.schema([pa.field(name, kind) for name, kind in fields])
    encoder = ArrowToPostgresBinaryEncoder(schema)
    statement = SQL("copy {} ({}) from stdin with (format binary)").format(
        table, SQL(", ").join(Identifier(name) for name, _ in fields)
    )
    cursor = connection.cursor()
    with cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        for batch in rows.batches(fields):
            _refuse_nul(batch)
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())
    return cursor.rowcount


def _refuse_nul(batch: Any) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if not pa.types.is_string(column.type):
            continue
        texts = cast("pl.Series", pl.from_arrow(column))
        if texts.str.contains("\0", literal=True).any():
            msg = f"the column {name} holds a text with a NUL, which PostgreSQL does not take"
            raise DataError(msg, remedy="Nothing was changed. Remove the NUL.")
