"""Frames into and out of tables of the DuckDB file, in one transaction."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import duckdb
import pyarrow as pa

from sales_mart.errors import ConfigurationError
from sales_mart.lake.disk import temporary_folder
from sales_mart.lake.temporary import make_folder
from sales_mart.warehouses.duckdb.connection import alone, refused, translated, wait
from sales_mart.warehouses.frames import FoundColumn, Written, fitted, write_parquet

if TYPE_CHECKING:
    from collections.abc import Generator

    from sales_mart.warehouses.duckdb import DuckDB
    from sales_mart.warehouses.frames import Place, Rows, TableMode

__all__ = ["read_table", "write_table"]

_TYPES: dict[str, Any] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "SMALLINT": pa.int16(),
    "TINYINT": pa.int8(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "BLOB": pa.binary(),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_COLUMNS: LiteralString = """
    select column_name, data_type, not is_nullable and column_default is null
    from duckdb_columns()
    where database_name = current_database() and schema_name = ? and table_name = ?
    order by column_index
"""


def write_table(warehouse: DuckDB, place: Place, rows: Rows, mode: TableMode) -> Written:
    """Make rows a table's, in one transaction.

    Raises:
        ConfigurationError: A column has another type, or the file cannot be opened.
        DataError: A value does not fit; nothing was changed.
        TemporaryError: Another process has the file open for `lock_timeout` seconds.
    """
    quoted = warehouse.dialect.identifier
    name = f"{quoted(place.schema)}.{quoted(place.name)}"
    with _opened(warehouse, read_only=False) as connection:
        connection.execute("begin transaction")
        connection.execute(f"create schema if not exists {quoted(place.schema)}")
        table = _columns(connection, place)
        fields, added = fitted(rows, table, place)
        if not table:
            columns = ", ".join(f"{quoted(each)} {_ddl(kind)}" for each, kind in fields)
            connection.execute(f"create table {name} ({columns})")
        else:
            for each, kind in added:
                connection.execute(f"alter table {name} add column {quoted(each)} {_ddl(kind)}")
        if mode == "replace":
            connection.execute(f"delete from {name}")
        listed = ", ".join(quoted(each) for each, _ in fields)
        with temporary_folder("sales-mart-load") as folder:
            path = folder / "rows.parquet"
            count = write_parquet(rows, fields, path)
            connection.execute(
                f"insert into {name} ({listed}) select {listed} from read_parquet(?)", [str(path)]
            )
        connection.execute("commit")
    return Written(count, not table, () if not table else tuple(each for each, _ in added))


def read_table(warehouse: DuckDB, place: Place) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
    """Read a table whole.

    Raises:
        ConfigurationError: There is no such table, or the file cannot be opened.
    """
    missing = ConfigurationError(
        f"there is no table {place} in DuckDB {warehouse.path}", remedy="Check its name."
    )
    if not warehouse.path.exists():
        raise missing
    quoted = warehouse.dialect.identifier
    with _opened(warehouse, read_only=True) as connection:
        if not _columns(connection, place):
            raise missing
        found = connection.execute(f"select * from {quoted(place.schema)}.{quoted(place.name)}")
        return found.to_arrow_table()


@contextmanager
def _opened(warehouse: DuckDB, *, read_only: bool) -> Generator[duckdb.DuckDBPyConnection]:
    """Open the file that readers open, while no run publishes."""
    deadline = time.monotonic() + warehouse.config.data_warehouse.lock_timeout
    try:
        make_folder(warehouse.path.parent)
        with alone(warehouse, deadline):
            while True:
                try:
                    connection = duckdb.connect(str(warehouse.path), read_only=read_only)
                except duckdb.IOException as error:
                    if "lock" not in str(error).lower():
                        raise
                    wait(warehouse, deadline)
                    continue
                break
            with connection:
                connection.execute("set TimeZone = 'UTC'")
                yield connection
    except duckdb.Error as error:
        raise translated(warehouse, error) from None
    except OSError as error:
        raise refused(warehouse, error.strerror or type(error).__name__) from error


def _columns(connection: duckdb.DuckDBPyConnection, place: Place) -> list[FoundColumn]:
    found = connection.execute(_COLUMNS, [place.schema, place.name]).fetchall()
    return [
        FoundColumn(name, _type(shown), shown.lower(), bool(must)) for name, shown, must in found
    ]


def _type(shown: str) -> Any:
    decimal = _DECIMAL.fullmatch(shown)
    return pa.decimal128(int(decimal[1]), int(decimal[2])) if decimal else _TYPES.get(shown)


def _ddl(kind: Any) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return next(shown for shown, each in _TYPES.items() if each == kind).lower()
