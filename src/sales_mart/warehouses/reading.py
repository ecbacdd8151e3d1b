"""Ask one warehouse, whichever it is, and change nothing there."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sales_mart.lake.records import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from sales_mart.config import Config
    from sales_mart.lake.records import Load
    from sales_mart.warehouses.history import Publication, Window

__all__ = ["Reader", "reading"]


class Reader:
    """An open warehouse: its rows, and what its history says.

    Attributes:
        ask: Runs one query, without parameters, and gives its rows.
    """

    def __init__(
        self,
        config: Config,
        target: Target,
        connected: Any,
        ask: Callable[[str], Iterable[Sequence[Any]]],
    ) -> None:
        """Take what is connected, and what runs a query on it."""
        self.ask = ask
        self._history = importlib.import_module(f"sales_mart.warehouses.{target}.history")
        self._connected = connected
        self._config = config

    def check_latest(self, run_id: str) -> Load:
        """Return the latest load if it is this run's."""
        return self._history.check_latest(self._connected, self._config, run_id)

    def latest_publication(self) -> Publication | None:
        """Return the latest publication; None when there was none."""
        return self._history.latest_publication(self._connected, self._config)

    def pending_window(self) -> tuple[int, Window]:
        """Return the latest load's sequence and the sale dates that wait for a publication."""
        return self._history.pending_window(self._connected, self._config)

    def has_live_tables(self) -> bool:
        """Tell whether every table that `publish` makes current is there."""
        return self._history.has_live_tables(self._connected, self._config)


@contextmanager
def reading(config: Config, target: Target) -> Generator[Reader]:
    """Open a warehouse to read; on PostgreSQL all that is read is of one moment.

    Raises:
        ConfigurationError: The server refuses the credentials.
        TemporaryError: The server does not answer.
    """
    if target is Target.POSTGRES:
        from sales_mart.warehouses.postgres import connection as postgres
        from sales_mart.warehouses.postgres import owners

        with postgres.connect(config, read_only=True) as connection:
            connection.execute("set transaction isolation level repeatable read")
            # The checksum reads dates as ISO text.
            connection.execute("set local datestyle = 'ISO'")
            owners.check_owners(connection, config)
            yield Reader(config, target, connection, lambda sql: connection.execute(sql.encode()))
        return
    from sales_mart.warehouses.bigquery import connection as bigquery

    def rows(sql: str) -> Generator[Sequence[Any]]:
        for row in bigquery.query(client, sql):
            yield row.values()

    with bigquery.bigquery_errors(config), bigquery.client(config) as client:
        yield Reader(config, target, client, rows)
