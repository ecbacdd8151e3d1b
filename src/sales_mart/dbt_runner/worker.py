"""The process that dbt runs in: `python -m sales_mart.dbt_runner.worker`, one per target.

dbt takes seconds to import and to read its project, and is not safe twice in one process. So each
target has a process that does both while earlier stops still work, then waits for one command on
standard input. When that closes, the parent is gone, and so is this process.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sales_mart.error_codes import quotes_values
from sales_mart.warehouses.base import warehouse_class
from sales_mart.warehouses.postgres.session import BEGIN_SESSION, BEGIN_TRANSACTION, LOCK_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = [
    "alone_in",
    "begin_session",
    "bigquery_message",
    "postgres_message",
    "replace_bigquery",
    "replace_postgres",
]

_GRACE_SECONDS = 10.0
_SERVER_SECONDS = 5.0  # what the server's word about its own timeout may take to reach us
_SETTINGS = "SALES_MART_DATA_WAREHOUSE__"
_KEYS = (
    *("HOST", "PORT", "DBNAME", "SSLMODE", "CONNECT_TIMEOUT", "LOCK_TIMEOUT"),
    "APPLICATION_NAME",
)
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


def main() -> int:
    """Get ready as the first argument says, then run the one command that standard input gives."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    runner, parsed = _ready(order["target"], order["parse"])
    with open(order["ready"], "w", encoding="utf-8") as ready:  # noqa: PTH123 - a pipe of the parent
        json.dump({"parsed": parsed}, ready)
    command = orders.get()
    outcome: dict[str, Any] = {"kind": None, "message": "", "built": {}}
    begun = time.monotonic()
    alone = warehouse_class(order["target"]).keep_others_out(command["schema"])
    try:
        with alone as built:
            done = runner.invoke(command["arguments"])
            outcome["built"] = built()
        if done.exception is not None:
            raise done.exception
    except Exception as error:  # noqa: BLE001 - the parent tells what it means
        kind = _kind(error)
        # dbt's own errors went through our connections; any other may quote what it choked on.
        message = type(error).__name__ if kind == "unexpected" else str(error)
        outcome |= {"kind": kind, "message": message}
    outcome["seconds"] = round(time.monotonic() - begun, 3)
    Path(command["outcome"]).write_text(json.dumps(outcome), encoding="utf-8")
    return 0


def _ready(target: str, parse: list[str]) -> tuple[Any, bool]:
    """Return what runs a command, and whether the project could be parsed."""
    from dbt.cli.main import dbtRunner

    warehouse_class(target).prepare_dbt()
    parsed = dbtRunner().invoke(parse)
    if not parsed.success:
        return dbtRunner(), False  # the command parses it again, and says what is wrong
    return dbtRunner(manifest=parsed.result), True  # pyright: ignore[reportArgumentType]


def replace_postgres() -> None:
    """Put our parts into the adapter of PostgreSQL."""
    adapter: Any = importlib.import_module("dbt.adapters.postgres")
    adapter.PostgresAdapter.ConnectionManager = _postgres_connections()


def replace_bigquery() -> None:
    """Put our parts into the adapter of BigQuery."""
    adapter: Any = importlib.import_module("dbt.adapters.bigquery")
    adapter.BigQueryAdapter.ConnectionManager = _bigquery_connections()
    clients: Any = importlib.import_module("dbt.adapters.bigquery.clients")
    clients.BigQueryClient = _client()


def _kind(error: BaseException) -> str:
    from dbt_common.exceptions import DbtBaseException, DbtDatabaseError

    if isinstance(error, DbtDatabaseError):
        return "database"
    return "configuration" if isinstance(error, DbtBaseException) else "unexpected"


@contextmanager
def alone_in(schema: str | None) -> Generator[Callable[[], dict[str, str]]]:
    """Keep every other dbt out of a schema of PostgreSQL, as long as this process lives.

    Two that build the same tables would take them from one another; one of them may be what is left
    of a run that was killed. The lock is of a transaction, which connection poolers understand, and
    on a table that the parent has seen to be ours.

    Returns:
        What tells the tables in the schema apart from all that had their names before.
    """
    if schema is None:  # nothing is built
        yield dict
        return
    import psycopg2
    from dbt_common.exceptions import DbtDatabaseError
    from psycopg2 import sql

    settings = {key: os.environ[f"SALES_MART_DATA_WAREHOUSE__POSTGRES__{key}"] for key in _KEYS}
    connection: Any = None
    try:
        connection = psycopg2.connect(
            host=settings["HOST"],
            port=settings["PORT"],
            dbname=settings["DBNAME"],
            user=os.environ["POSTGRES_USER"],
            password=os.environ["POSTGRES_PASSWORD"] or None,
            sslmode=settings["SSLMODE"],
            connect_timeout=settings["CONNECT_TIMEOUT"],
            application_name=settings["APPLICATION_NAME"],
            keepalives_idle=30,
        )
        begin_session(connection)
        cursor = connection.cursor()
        with _patient(connection):
            cursor.execute(
                "select set_config('lock_timeout', %s, true),"
                " set_config('idle_in_transaction_session_timeout', '0', true)",
                (f"{settings['LOCK_TIMEOUT']}s",),
            )
            cursor.execute(
                sql.SQL("lock table {} in exclusive mode").format(
                    sql.Identifier(schema, LOCK_TABLE)
                )
            )

        def built() -> dict[str, str]:
            with _patient(connection):
                cursor.execute(
                    "select relname, oid::text from pg_class where relkind = 'r'"
                    " and relnamespace = (select oid from pg_namespace where nspname = %s)",
                    (schema,),
                )
                return dict(cursor.fetchall())

        yield built
    except psycopg2.Error as error:  # a connection that is lost already is an InterfaceError
        text = postgres_message(error.pgcode, error.diag.message_primary or str(error))
        raise DbtDatabaseError(text) from None
    finally:
        if connection is not None:
            connection.close()


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

    with _patient(connection):
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(BEGIN_SESSION)
        connection.autocommit = False
    connection.cursor_factory = Cursor


def _listen(orders: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Take the one command; end when the parent is gone.

    Before the command, at once: nothing was touched. After it, what runs is cancelled, as Ctrl-C
    would, and the process ends in any case.
    """
    line = b""
    # Not by `sys.stdin`: a thread that waits in it breaks the end of the interpreter.
    while not line.endswith(b"\n"):
        got = os.read(0, 65_536)
        if not got:
            os._exit(0)
        line += got
    orders.put(json.loads(line))
    while os.read(0, 1):
        pass
    threading.Timer(_GRACE_SECONDS, os._exit, (143,)).start()
    import _thread

    _thread.interrupt_main()


def postgres_message(state: str | None, message: str | None) -> str:
    """Say what a server said, without the lines and the kinds of messages that quote rows."""
    # Without a state the connection broke.
    state = state or "08006"
    said = "" if quotes_values(state) else (message or "").strip().splitlines()[:1]
    return f"SQLSTATE {state}: {said[0] if said else 'the server refused a value'}"


def bigquery_message(status: int, reason: str, message: str) -> str:
    """Say what the API said, without the part of a message that may quote rows."""
    line = (message.strip().splitlines() or [""])[0]
    if not line.startswith(_SAFE_MESSAGES):
        line = line.partition(":")[0]
    return f"HTTP {status} {reason}: {line}"


@contextmanager
def _patient(handle: Any) -> Generator[None]:
    """Cut a connection whose server has not even said that `statement_timeout` is over."""
    seconds = float(os.environ.get(f"{_SETTINGS}POSTGRES__STATEMENT_TIMEOUT", "3600"))
    timer = threading.Timer(seconds + _SERVER_SECONDS, _cut, (handle,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(handle: Any) -> None:
    with suppress(Exception), socket.socket(fileno=os.dup(handle.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def _client() -> Any:
    from sales_mart.warehouses.bigquery.client import Client

    Client.request_timeout = float(os.environ.get(f"{_SETTINGS}BIGQUERY__REQUEST_TIMEOUT", "60"))
    return Client


def _postgres_connections() -> Any:
    import psycopg2
    from dbt.adapters.contracts.connection import ConnectionState
    from dbt.adapters.exceptions.connection import FailedToConnectError
    from dbt.adapters.postgres.connections import PostgresConnectionManager
    from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError

    class Connections(PostgresConnectionManager):
        """Tells the SQLSTATE, which dbt drops, and keeps row values out of logs and results."""

        @contextmanager
        def exception_handler(self, sql: str) -> Generator[None]:  # noqa: ARG002 - dbt's signature
            try:
                with _patient(self.get_thread_connection().handle):
                    yield
            # Not only DatabaseError: a connection that is lost already is an InterfaceError.
            except psycopg2.Error as error:
                with suppress(psycopg2.Error):
                    self.rollback_if_open()
                text = postgres_message(error.pgcode, error.diag.message_primary or str(error))
                raise DbtDatabaseError(text) from None
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
                text = postgres_message(error.pgcode, error.diag.message_primary or str(error))
                raise FailedToConnectError(text) from None
            return opened

        @classmethod
        def _rollback_handle(cls, connection: Any) -> None:
            # It goes past `exception_handler`, and would wait for a silent server for ever.
            with _patient(connection.handle):
                super()._rollback_handle(connection)

    return Connections


def _bigquery_connections() -> Any:
    from dbt.adapters.bigquery.connections import BigQueryConnectionManager
    from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    class Connections(BigQueryConnectionManager):
        """Tells the HTTP status, which dbt drops, and keeps row values out of logs and results."""

        @contextmanager
        def exception_handler(self, sql: str) -> Generator[None]:  # noqa: ARG002 - dbt's signature
            try:
                yield
            except GoogleAPICallError as error:
                first: dict[str, str] = (error.errors or [{}])[0]
                text = bigquery_message(
                    int(error.code or 500),
                    first.get("reason", ""),
                    first.get("message") or error.message or "",
                )
                raise DbtDatabaseError(text) from None
            except GoogleAuthError as error:
                text = bigquery_message(401, type(error).__name__, "no valid credentials")
                raise DbtDatabaseError(text) from None
            except DbtRuntimeError:
                raise
            except Exception as error:  # noqa: BLE001 - of the transport, which has many
                text = bigquery_message(503, type(error).__name__, "no answer")
                raise DbtDatabaseError(text) from None

    return Connections


if __name__ == "__main__":
    sys.exit(main())
