"""How to reach PostgreSQL: connection, credentials, the target's lock, errors in our words."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.errors import DuplicateSchema, DuplicateTable, UniqueViolation
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from sales_mart.error_codes import (
    LIMITED,
    LOCKED,
    READ_ONLY,
    kind_of_sqlstate,
    quotes_values,
    refuses,
)
from sales_mart.errors import ConfigurationError, SalesMartError, TemporaryError
from sales_mart.names import raw_schema
from sales_mart.warehouses.postgres.credentials import credentials, place_of, sslmode
from sales_mart.warehouses.postgres.owners import exists
from sales_mart.warehouses.postgres.session import (
    BEGIN_SESSION,
    BEGIN_TRANSACTION,
    LOCK_TABLE,
    SERVER_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg.abc import PQGen

    from sales_mart.config import Config
    from sales_mart.warehouses.postgres.settings import PostgresSettings

__all__ = [
    "Connection",
    "connect",
    "ensure_lock",
    "ensure_schema",
    "lock_target",
    "postgres_errors",
]

R = TypeVar("R")

Connection = psycopg.Connection[tuple[Any, ...]]
"""A connection whose rows are tuples."""


class _Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that does not wait for ever for a server that has gone silent.

    The server ends a statement after `statement_timeout` and says so. Who hears nothing even then
    talks to a server, or a network, that is gone.
    """

    patience = 0.0

    def _start_query(self) -> PQGen[None]:
        """Begin a transaction where none is open, each with our search path.

        A connection pooler may give each transaction another session of the server.
        """
        begins = not self.autocommit and self.pgconn.transaction_status == TransactionStatus.IDLE
        yield from super()._start_query()
        if begins:
            yield from self._exec_command(BEGIN_TRANSACTION)

    def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        """Wait for what the server has to say, `patience` seconds at most."""
        started = time.monotonic()
        seconds = self.patience if timeout is None else timeout
        try:
            return super().wait(gen, interval, seconds or None)
        except psycopg.OperationalError as error:
            if error.sqlstate is None and seconds and time.monotonic() - started >= seconds:
                self.pgconn.finish()  # or the rollback would wait once more
                msg = f"it has said nothing for {seconds:.0f} seconds"
                raise psycopg.OperationalError(msg) from None
            raise


@contextmanager
def connect(config: Config, *, read_only: bool = False) -> Generator[Connection]:
    """Open a connection; what is not committed when the context ends is undone.

    Errors of statements inside the context are translated as by `postgres_errors`.

    Args:
        config: The configuration.
        read_only: Nothing can be written, and in a schema where the role may create nothing, the
            tables of those who may are trusted.

    Raises:
        ConfigurationError: The server refuses user, password, database or TLS.
        TemporaryError: The server does not answer, or stops to answer.
    """
    settings = config.data_warehouse.postgres
    user, password = credentials(config)
    with (
        postgres_errors(config),
        _Session.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.dbname,
            user=user,
            password=password.get_secret_value() or None,
            sslmode=sslmode(settings),
            connect_timeout=settings.connect_timeout,
            application_name=settings.application_name,
            client_encoding="utf8",
            # A load balancer may silently drop a connection that a long statement keeps quiet.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            row_factory=tuple_row,
            # Tables are dropped and made anew between statements, which breaks cached plans.
            prepare_threshold=None,
            **settings.parameters,
        ) as connection,
    ):
        connection.patience = settings.connect_timeout
        connection.execute(BEGIN_SESSION)
        # Not as `options` of the start-up packet: connection poolers refuse those.
        connection.execute(
            "select set_config('lock_timeout', %s, false),"
            " set_config('statement_timeout', %s, false)",
            (f"{config.data_warehouse.lock_timeout}s", f"{settings.statement_timeout}s"),
        )
        connection.commit()
        connection.read_only = read_only or None
        connection.patience = settings.statement_timeout + SERVER_SECONDS
        yield connection
        # Who wants a change kept commits it; psycopg would commit what is left over.
        connection.rollback()


@contextmanager
def postgres_errors(config: Config) -> Generator[None]:
    """Turn the driver's errors into ours, with SQLSTATE and without values of rows.

    The driver's own text is dropped on purpose (`from None`): it carries DETAIL and CONTEXT
    lines, which quote rows.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error, config.data_warehouse.postgres) from None


def _translated(error: psycopg.Error, settings: PostgresSettings) -> SalesMartError:
    state = error.sqlstate or ""
    if not state and isinstance(error, psycopg.OperationalError):
        return _connection_error(error, settings)
    message = "" if quotes_values(state) else error.diag.message_primary or ""
    kind = kind_of_sqlstate(state)
    said = f"{message or type(error).__name__} (SQLSTATE {error.sqlstate})"
    if state == LOCKED:
        said = f"another run holds the lock: {said}"
    return kind(
        f"{place_of(settings)}: {said}",
        remedy=_REMEDIES.get(state) or _REMEDIES[kind.__name__],
        details={"sqlstate": error.sqlstate, "server_message": message},
    )


_REMEDIES = {
    LIMITED: "Raise the limit that the message names, in PostgreSQL and for this user.",
    LOCKED: "Run the same command again when the other run is done, "
    "or raise data_warehouse.lock_timeout.",
    READ_ONLY: "Name the primary server in data_warehouse.postgres.host, or a user who may write.",
    "TemporaryError": "Run the same command again.",
    "ConfigurationError": "Grant the user what the message asks for, or name another user or "
    "database.",
    "UnexpectedError": "Please report this as a bug, with the details.",
}


def _connection_error(
    error: psycopg.OperationalError, settings: PostgresSettings
) -> SalesMartError:
    # The text of a failed connection names host, user and database, never the password.
    text = " ".join(str(error).split()).rpartition(" failed: ")[2]
    details = {"sqlstate": None, "server_message": text}
    if refuses(text):
        tls = "certificate" in text or "SSL" in text
        return ConfigurationError(
            f"{place_of(settings)} refused the connection: {text}",
            remedy="Name the certificate authority in PGSSLROOTCERT, or set "
            "data_warehouse.postgres.sslmode."
            if tls
            else "Check user, password and database; `sales-mart doctor` shows what is used.",
            details=details,
        )
    what = "takes no connection now" if text.startswith("FATAL:") else "does not answer"
    return TemporaryError(
        f"{place_of(settings)} {what}: {text}",
        remedy="Check host and port, or wait for the server, then run the same command again.",
        details=details,
    )


def lock_target(connection: Connection, config: Config) -> None:
    """Wait for the target's lock, which the transaction then holds to its end.

    Call it at the beginning of a transaction, which making the lock's table would commit.

    Raises:
        ConfigurationError: The lock's table is another role's.
        psycopg.errors.LockNotAvailable: Another run held it for `lock_timeout` seconds; a
            `TemporaryError` outside of `postgres_errors`.
    """
    ensure_lock(connection, raw_schema(config))
    # Readers, and dumps, are not in its way.
    connection.execute(
        SQL("lock table {} in exclusive mode").format(Identifier(raw_schema(config), LOCK_TABLE))
    )


def ensure_lock(connection: Connection, schema: str) -> None:
    """Make the table that is locked while a schema is written to; commits when it was missing."""
    while not exists(connection, schema, LOCK_TABLE):
        try:
            ensure_schema(connection, schema)
            connection.execute(SQL("create table {} ()").format(Identifier(schema, LOCK_TABLE)))
            connection.commit()
        except (UniqueViolation, DuplicateSchema, DuplicateTable):
            # Somebody else makes it at this moment.
            connection.rollback()


def ensure_schema(connection: Connection, schema: str) -> None:
    """Create a schema that is missing.

    `create schema if not exists` wants the right to create one even where it exists, which a
    careful administrator does not give.
    """
    found = connection.execute("select from pg_namespace where nspname = %s", (schema,)).fetchone()
    if found is None:
        connection.execute(SQL("create schema {}").format(Identifier(schema)))
