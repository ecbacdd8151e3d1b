"""How the two files are opened: by one process and one thread at a time."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb

from sales_mart.errors import ConfigurationError, SalesMartError, TemporaryError, UnexpectedError
from sales_mart.lake.temporary import make_folder
from sales_mart.warehouses.base import Session
from sales_mart.warehouses.duckdb.dialect import PUBLISHED, WORK
from sales_mart.warehouses.own_tables import check_columns, table_definition

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from sales_mart.schema import TableColumn
    from sales_mart.warehouses.base import Findings
    from sales_mart.warehouses.duckdb import DuckDB

__all__ = [
    "DuckDBSession",
    "alone",
    "check",
    "ensure_tables",
    "opened",
    "published_only",
    "refused",
    "snapshot",
    "translated",
    "wait",
]

_PAGE = 10_000
_PAUSE = 0.02
_OPEN_HERE = "Unique file handle conflict"
_LOCKED = "lock"  # in the message of a file that another process has open


class DuckDBSession(Session):
    """What a connection reads and writes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, warehouse: DuckDB) -> None:
        """Take a connection to which both files are attached."""
        self.warehouse = warehouse
        self.connection = connection

    def query(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run one statement, and give its rows."""
        return iter([_row(row) for row in self.connection.execute(sql).fetchall()])

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run one statement, and fetch its rows page by page."""
        # A cursor is a connection of its own, so what was asked before is not lost.
        found = self.connection.cursor().execute(sql)
        while page := found.fetchmany(_PAGE):
            yield from map(_row, page)

    def columns(self, schema: str, table: str) -> tuple[str, ...]:
        """Return the names of a table's columns; none when there is no such table."""
        catalog = _catalog(self.warehouse.dialect.table(schema, table))
        found = self.connection.execute(
            "select column_name from duckdb_columns()"
            " where database_name = ? and schema_name = ? and table_name = ?"
            " order by column_index",
            [catalog, schema, table],
        )
        return tuple(name for (name,) in found.fetchall())


def _row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Say of the times that they are UTC, which DuckDB's plain timestamps don't."""
    return tuple(
        value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in row
    )


@contextmanager
def opened(warehouse: DuckDB, published: Path | None = None) -> Generator[DuckDBSession]:
    """Open the pipeline's own file, and attach that of the published marts to read.

    Args:
        warehouse: The warehouse.
        published: A file to write the marts to instead.

    Raises:
        ConfigurationError: A file cannot be opened.
        TemporaryError: Another process has the pipeline's file open for `lock_timeout` seconds.
    """
    deadline = time.monotonic() + warehouse.config.data_warehouse.lock_timeout
    try:
        make_folder(warehouse.path.parent)
        with alone(warehouse, deadline), duckdb.connect(":memory:") as connection:
            _attach(connection, warehouse, deadline, published)
            yield DuckDBSession(connection, warehouse)
    except duckdb.Error as error:
        raise translated(warehouse, error) from None
    except OSError as error:
        raise refused(warehouse, error.strerror or type(error).__name__) from error


@contextmanager
def alone(warehouse: DuckDB, deadline: float) -> Generator[None]:
    """Keep other threads and processes of ours out: DuckDB's own lock is of a process."""
    import fcntl

    name = warehouse.path.with_name(f".{warehouse.path.name}.lock")
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                wait(warehouse, deadline)
                continue
            break
        yield
    finally:
        os.close(descriptor)


def wait(warehouse: DuckDB, deadline: float) -> None:
    """Wait a moment for somebody else.

    Raises:
        TemporaryError: The time is over.
    """
    if time.monotonic() > deadline:
        msg = f"another run holds the lock: {warehouse.work} is open in another process"
        raise TemporaryError(
            msg,
            remedy="Run the same command again when the other run is done, or raise "
            "data_warehouse.lock_timeout.",
        )
    time.sleep(_PAUSE)


def _attach(
    connection: duckdb.DuckDBPyConnection,
    warehouse: DuckDB,
    deadline: float,
    published: Path | None,
) -> None:
    connection.execute("set TimeZone = 'UTC'")
    while True:
        try:
            connection.execute(f"attach {_quoted(warehouse.work)} as {WORK}")
        except duckdb.IOException as error:
            if _LOCKED not in str(error).lower():
                raise
            wait(warehouse, deadline)  # such as dbt's process, of a run that was killed
            continue
        break
    if published is not None:
        connection.execute(f"attach {_quoted(published)} as {PUBLISHED}")
    else:
        _attach_published(connection, warehouse)
    connection.execute(f"use {WORK}")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def ensure_tables(
    session: DuckDBSession, schema: str, tables: Mapping[str, Sequence[TableColumn]]
) -> None:
    """Create the pipeline's own tables that are missing; add the columns that the others lack.

    Raises:
        ConfigurationError: A column has another type, or cannot be added.
    """
    execute, dialect = session.connection.execute, session.warehouse.dialect
    for table, columns in tables.items():
        name = dialect.table(schema, table)
        execute(f"create schema if not exists {name.rpartition('.')[0]}")
        execute(f"create table if not exists {table_definition(dialect, schema, table, columns)}")
        found = dict(
            execute(
                "select column_name, lower(data_type) from duckdb_columns()"
                " where database_name = ? and schema_name = ? and table_name = ?",
                [_catalog(name), schema, table],
            ).fetchall()
        )
        for column in check_columns(dialect, f"{schema}.{table}", columns, found):
            execute(f"alter table {name} add column {dialect.definition(column)}")


def _catalog(table: str) -> str:
    """Return the name under which the file of a table is attached."""
    return table.partition(".")[0].strip('"')


@contextmanager
def snapshot(warehouse: DuckDB) -> Generator[DuckDBSession]:
    """Open both files and one transaction that changes nothing."""
    with opened(warehouse) as session:
        session.connection.execute("begin transaction")
        yield session
        session.connection.execute("rollback")


@contextmanager
def published_only(warehouse: DuckDB) -> Generator[DuckDBSession]:
    """Open the file of the published marts alone, to read; a run goes on meanwhile."""
    try:
        with duckdb.connect(":memory:") as connection:
            connection.execute("set TimeZone = 'UTC'")
            _attach_published(connection, warehouse)
            yield DuckDBSession(connection, warehouse)
    except duckdb.Error as error:
        raise translated(warehouse, error) from None


def _attach_published(connection: duckdb.DuckDBPyConnection, warehouse: DuckDB) -> None:
    if warehouse.path.exists():
        connection.execute(f"attach {_quoted(warehouse.path)} as {PUBLISHED} (read_only)")
    else:
        connection.execute(f"attach ':memory:' as {PUBLISHED}")


def translated(warehouse: DuckDB, error: duckdb.Error) -> SalesMartError:
    """Turn DuckDB's errors into ours; the text of most of them may quote values of rows."""
    if _OPEN_HERE in str(error):
        msg = f"DuckDB {warehouse.path}: one of the two files is open in this process"
        return ConfigurationError(msg, remedy="Close that connection first.")
    if isinstance(error, duckdb.IOException):
        return refused(warehouse, " ".join(str(error).split()))
    kind = type(error).__name__
    if isinstance(error, duckdb.OutOfMemoryException):
        return TemporaryError(
            f"DuckDB {warehouse.work}: {kind}", remedy="Give the process more memory."
        )
    return UnexpectedError(
        f"DuckDB {warehouse.work}: {kind}", remedy="Please report this as a bug, with the details."
    )


def refused(warehouse: DuckDB, text: str) -> ConfigurationError:
    """Return the error that says why a file cannot be used."""
    return ConfigurationError(
        f"DuckDB {warehouse.path} cannot be used: {text}",
        remedy="Name a file that this user may write to in data_warehouse.duckdb.path.",
    )


def check(warehouse: DuckDB, findings: Findings) -> None:
    """Check that both files can be opened, and written where they stand."""
    had = warehouse.work.exists()
    with opened(warehouse) as session:
        session.connection.execute("create temporary table sales_mart_doctor (number integer)")
    if not had:
        warehouse.work.unlink(missing_ok=True)
    version = duckdb.__version__
    findings.add(warehouse.name, "ok", f"DuckDB {version}, {warehouse.path}")
