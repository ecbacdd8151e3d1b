"""How BigQuery is read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sales_mart.warehouses.base import Session
from sales_mart.warehouses.bigquery import BigQuery
from sales_mart.warehouses.bigquery.connection import (
    Client,
    bigquery_errors,
    client,
    existing_table,
    query,
    table_id,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from google.cloud.bigquery.table import Row

    from sales_mart.config import Config

__all__ = ["BigQuerySession", "opened"]


class BigQuerySession(Session):
    """What a client reads.

    The result of a query is a table of its own: what happens after its statement has run does not
    reach it.
    """

    def __init__(self, client: Client, config: Config) -> None:
        """Take an open client."""
        self.warehouse = BigQuery(config)
        self._client = client
        self._config = config

    def query(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run one statement now, and give its rows page by page."""
        return self._values(query(self._client, sql))

    def _values(self, rows: Iterable[Row]) -> Generator[tuple[Any, ...]]:
        # Translated here: to whoever writes the rows, the client's errors look like a disk's.
        with bigquery_errors(self._config):
            for row in rows:
                yield row.values()

    def columns(self, schema: str, table: str) -> tuple[str, ...]:
        """Return the names of a table's columns; none when there is no such table."""
        found = existing_table(self._client, table_id(self._config, schema, table))
        return () if found is None else tuple(field.name for field in found.schema)


@contextmanager
def opened(config: Config) -> Generator[BigQuerySession]:
    """Open a client."""
    with bigquery_errors(config), client(config) as connected:
        yield BigQuerySession(connected, config)
