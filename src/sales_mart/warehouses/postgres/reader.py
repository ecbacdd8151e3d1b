"""How PostgreSQL is read: through one snapshot."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sales_mart.warehouses.base import Session
from sales_mart.warehouses.postgres import PostgreSQL
from sales_mart.warehouses.postgres.connection import Connection, connect
from sales_mart.warehouses.postgres.owners import check_owners, exists

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from sales_mart.config import Config

__all__ = ["PAGE", "PostgresSession", "snapshot"]

PAGE = 10_000
"""Rows that are fetched at once."""


class PostgresSession(Session):
    """What a connection reads in its present transaction."""

    def __init__(self, connection: Connection, config: Config) -> None:
        """Take an open connection."""
        self.warehouse = PostgreSQL(config)
        self._connection = connection

    def query(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run one statement, and give its rows."""
        return iter(self._connection.execute(sql.encode()))

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run one statement, and fetch its rows by a cursor of the server's."""
        with self._connection.cursor("sales_mart_stream") as cursor:
            cursor.itersize = PAGE
            cursor.execute(sql.encode())
            yield from cursor

    def columns(self, schema: str, table: str) -> tuple[str, ...]:
        """Return the names of a table's columns; none when there is no such table."""
        if not exists(self._connection, schema, table):
            return ()
        found = self._connection.execute(
            "select attname from pg_attribute where attrelid = to_regclass(%s)"
            " and attnum > 0 and not attisdropped order by attnum",
            (f'"{schema}"."{table}"',),
        )
        return tuple(name for (name,) in found)


@contextmanager
def snapshot(config: Config) -> Generator[PostgresSession]:
    """Open a transaction that reads one snapshot and changes nothing."""
    with connect(config, read_only=True) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        # The checksum reads dates as ISO text.
        connection.execute("set local datestyle = 'ISO'")
        check_owners(connection, config)
        yield PostgresSession(connection, config)
