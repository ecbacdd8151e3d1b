"""What is replaced inside of dbt and of its adapters, and what for: nothing is, anywhere else.

dbt keeps no SQLSTATE and no HTTP status, writes values of rows into its log, and waits for a silent
server for ever. No public place of it changes that, so the names below are internals, which another
version may not have: a test compares `TRIED_WITH` with what is installed.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dbt_common.exceptions import (
    CompilationError,
    DbtBaseException,
    DbtDatabaseError,
    DbtRuntimeError,
)

from sales_mart.dbt_runner.failure import Failure
from sales_mart.error_codes import Kind, kind_of_http, kind_of_sqlstate, quotes_values, refuses
from sales_mart.errors import ConfigurationError, TemporaryError, UnexpectedError
from sales_mart.warehouses.postgres.session import BEGIN_SESSION, BEGIN_TRANSACTION, SERVER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "TRIED_WITH",
    "ServerError",
    "begin_session",
    "bigquery_error",
    "cut_when_silent",
    "failure_of",
    "postgres_error",
    "record_failures",
    "replace_bigquery",
    "replace_postgres",
]

TRIED_WITH = {
    "dbt-core": "1.11.16",  # BaseRunner.handle_exception
    "dbt-common": "1.39.0",  # the exceptions
    "dbt-adapters": "1.24.5",  # exception_handler, get_thread_connection, rollback_if_open
    "dbt-postgres": "1.11.0",  # PostgresAdapter.ConnectionManager, open, _rollback_handle
    "dbt-bigquery": "1.12.1",  # BigQueryAdapter.ConnectionManager, clients.BigQueryClient
    "google-cloud-bigquery": "3.47.0",  # Client._call_api, in warehouses/bigquery/client.py
}
"""The exact versions whose internals are replaced here, and what of each."""

_OPTIONAL = ("pandas", "google.cloud.bigquery_storage", "google.cloud.bigquery_storage_v1")
"""What Google's client does without."""
_ONLY_NAMED = {
    "google.cloud.dataproc_v1": (
        "BatchControllerClient",
        "CreateBatchRequest",
        "Job",
        "JobControllerClient",
        "RuntimeConfig",
    ),
    "google.cloud.dataproc_v1.types.batches": ("Batch",),
}
"""Module -> the classes that the adapter of BigQuery names."""
_SETTINGS = "SALES_MART_DATA_WAREHOUSE__"
# BigQuery quotes row values behind a colon, as in `Bad int64 value: …`; behind these it quotes
# names and words of our own SQL.
_SAFE_MESSAGES = (
    "Syntax error",
    "Unrecognized name",
    "Not found",
    "Already Exists",
    "Access Denied",
    "No matching signature",
    "Quota exceeded",
    "Exceeded",
    "Query exceeded limit",
)


def record_failures(failures: list[Failure]) -> None:
    """Let dbt tell the failure of every node of the command, before it runs any.

    Args:
        failures: Takes the failures.
    """
    from dbt.task.base import BaseRunner

    handle = BaseRunner.handle_exception

    def handle_exception(self: Any, e: Exception, ctx: Any) -> str:
        failures.append(failure_of(e, self.node.unique_id))
        return handle(self, e, ctx)

    BaseRunner.handle_exception = handle_exception


def replace_postgres() -> None:
    """Put our parts into the adapter of PostgreSQL, before dbt makes any of them."""
    adapter: Any = importlib.import_module("dbt.adapters.postgres")
    adapter.PostgresAdapter.ConnectionManager = _postgres_connections()


def replace_bigquery() -> None:
    """Put our parts into the adapter of BigQuery, before dbt makes any of them."""
    with _less_imported():
        from sales_mart.warehouses.bigquery.client import Client

        adapter: Any = importlib.import_module("dbt.adapters.bigquery")
        clients: Any = importlib.import_module("dbt.adapters.bigquery.clients")
    adapter.BigQueryAdapter.ConnectionManager = _bigquery_connections()
    clients.BigQueryClient = Client
    seconds = os.environ.get(f"{_SETTINGS}BIGQUERY__REQUEST_TIMEOUT", "60")
    Client.request_timeout = float(seconds)


@contextmanager
def _less_imported() -> Generator[None]:
    """Let the adapter be imported without what no model here needs, which takes half a second.

    The adapter names some of it for models that are written in Python.
    """
    left_out = [name for name in _OPTIONAL if name not in sys.modules]
    for name in left_out:
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]
    for name, classes in _ONLY_NAMED.items():
        if name not in sys.modules:
            module = ModuleType(name)
            module.__dict__.update({each: type(each, (), {}) for each in classes})
            sys.modules[name] = module
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]


class ServerError(DbtDatabaseError):
    """An error of a warehouse, with the code that dbt would drop."""

    def __init__(self, text: str, kind: Kind, code: str, reason: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.code = code
        self.reason = reason


def postgres_error(error: Any) -> ServerError:
    """Say what PostgreSQL said, without the lines and the kinds of messages that quote rows.

    Args:
        error: A `psycopg2.Error`.
    """
    message: str = error.diag.message_primary or str(error)
    # Without a state the connection broke, or did not come about.
    state: str = error.pgcode or "08006"
    refused = not error.pgcode and refuses(message)
    said = "" if quotes_values(state) else message.strip().splitlines()[:1]
    text = f"SQLSTATE {state}: {said[0] if said else 'the server refused a value'}"
    return ServerError(text, ConfigurationError if refused else kind_of_sqlstate(state), state)


def bigquery_error(status: int, reason: str, message: str) -> ServerError:
    """Say what BigQuery said, without the part of a message that may quote rows."""
    line = (message.strip().splitlines() or [""])[0]
    if not line.startswith(_SAFE_MESSAGES):
        line = line.partition(":")[0]
    text = f"HTTP {status} {reason}: {line}"
    return ServerError(text, kind_of_http(status, reason), str(status), reason)


def failure_of(error: BaseException, node: str | None = None) -> Failure:
    """Tell what an error of a node, or of the whole command, means."""
    if isinstance(error, ServerError):
        return Failure(node, error.kind.__name__, str(error), error.code, error.reason)
    # dbt's own errors went through our connections; any other may quote what it choked on.
    message = str(error) if isinstance(error, DbtBaseException) else type(error).__name__
    # What keeps a whole command from its work is a setting, or the project, as for a node.
    named = DbtBaseException if node is None else CompilationError
    if refuses(message):
        kind = ConfigurationError
    elif isinstance(error, DbtDatabaseError):  # without a code, so of the connection
        kind = TemporaryError
    else:
        kind = ConfigurationError if isinstance(error, named) else UnexpectedError
    return Failure(node, kind.__name__, message)


@contextmanager
def cut_when_silent(handle: Any) -> Generator[None]:
    """Cut a connection whose server has not even said that `statement_timeout` is over."""
    seconds = float(os.environ.get(f"{_SETTINGS}POSTGRES__STATEMENT_TIMEOUT", "3600"))
    timer = threading.Timer(seconds + SERVER_SECONDS, _cut, (handle,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(handle: Any) -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(handle.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def begin_session(connection: Any) -> None:
    """Begin a session of PostgreSQL, and each transaction of it, with our search path."""
    from psycopg2.extensions import TRANSACTION_STATUS_IDLE
    from psycopg2.extensions import cursor as base

    class Cursor(base):
        """A connection pooler may give each transaction another session of the server."""

        def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
            status = self.connection.info.transaction_status
            if status == TRANSACTION_STATUS_IDLE and not self.connection.autocommit:
                super().execute(BEGIN_TRANSACTION)
            super().execute(query, vars)

    with cut_when_silent(connection):
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(BEGIN_SESSION)
        connection.autocommit = False
    connection.cursor_factory = Cursor


def _postgres_connections() -> Any:
    import psycopg2
    from dbt.adapters.contracts.connection import ConnectionState
    from dbt.adapters.postgres.connections import PostgresConnectionManager

    class Connections(PostgresConnectionManager):
        """Keeps the SQLSTATE of an error, and row values out of logs and results."""

        @contextmanager
        def exception_handler(self, sql: str) -> Generator[None]:  # noqa: ARG002 - dbt's signature
            try:
                with cut_when_silent(self.get_thread_connection().handle):
                    yield
            # Not only DatabaseError: a connection that is lost already is an InterfaceError.
            except psycopg2.Error as error:
                with suppress(psycopg2.Error):
                    self.rollback_if_open()
                raise postgres_error(error) from None
            except Exception as error:
                self.rollback_if_open()
                if isinstance(error, DbtRuntimeError):
                    raise
                raise DbtRuntimeError(type(error).__name__) from error

        @classmethod
        def open(cls, connection: Any) -> Any:
            if connection.state == ConnectionState.OPEN:
                return connection
            opened: Any = super().open(connection)
            try:
                begin_session(opened.handle)
            except psycopg2.Error as error:
                opened.handle.close()
                opened.handle, opened.state = None, ConnectionState.FAIL
                raise postgres_error(error) from None
            return opened

        @classmethod
        def _rollback_handle(cls, connection: Any) -> None:
            # It goes past `exception_handler`, and would wait for a silent server for ever.
            with cut_when_silent(connection.handle):
                super()._rollback_handle(connection)

    return Connections


def _bigquery_connections() -> Any:
    from dbt.adapters.bigquery.connections import BigQueryConnectionManager
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    class Connections(BigQueryConnectionManager):
        """Keeps the HTTP status of an error, and row values out of logs and results."""

        @contextmanager
        def exception_handler(self, sql: str) -> Generator[None]:  # noqa: ARG002 - dbt's signature
            try:
                yield
            except GoogleAPICallError as error:
                first: dict[str, str] = (error.errors or [{}])[0]
                raise bigquery_error(
                    int(error.code or 500),
                    first.get("reason", ""),
                    first.get("message") or error.message or "",
                ) from None
            except GoogleAuthError as error:
                raise bigquery_error(401, type(error).__name__, "no valid credentials") from None
            except DbtRuntimeError:
                raise
            except Exception as error:  # noqa: BLE001 - of the transport, which has many
                raise bigquery_error(503, type(error).__name__, "no answer") from None

    return Connections
