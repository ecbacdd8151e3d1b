"""How to reach PostgreSQL: connection, credentials, the target's lock, errors in our words."""

from __future__ import annotations

import importlib
import ipaddress
import logging
import os
import re
import time
from base64 import b64decode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

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

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg.abc import PQGen

    from sales_mart.config import Config, Postgres

__all__ = [
    "Connection",
    "connect",
    "credentials",
    "ensure_schema",
    "exists",
    "lock_target",
    "postgres_errors",
    "sslmode",
]

R = TypeVar("R")

_log = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
"""A connection whose rows are tuples."""


class _Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that does not wait for ever for a server that has gone silent.

    The server ends a statement after `statement_timeout` and says so. Who hears nothing even then
    talks to a server, or a network, that is gone.
    """

    patience = 0.0

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


# What the server's word about its own timeout may take to reach us.
_GRACE_SECONDS = 5.0
_SECRETS_DIR = "SALES_MART_SECRETS_DIR"
# Bytes that are no UTF-8 become lone surrogates, from a file as from the environment.
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def sslmode(settings: Postgres) -> str:
    """Give the TLS mode: as configured, else `verify-full` unless the server is this machine."""
    return settings.sslmode or ("prefer" if _is_local(settings.host) else "verify-full")


def _is_local(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def credentials(config: Config) -> tuple[str, SecretStr]:
    """Find user and password: environment, mounted secret, Kubernetes API, file, in this order.

    The password may be empty, for servers that trust the socket or a client certificate.

    Raises:
        ConfigurationError: No place names a user.
    """
    settings = config.data_warehouse.postgres
    user = os.environ.get("POSTGRES_USER") or _mounted("user", settings.secret_name)
    password = os.environ.get("POSTGRES_PASSWORD") or _mounted("password", settings.secret_name)
    if not (user and password):
        secret = _kubernetes_secret(config)
        user = user or secret.get("user") or settings.user
        in_file = settings.password.get_secret_value() if settings.password else ""
        password = password or secret.get("password") or in_file
    if not user:
        msg = f"no PostgreSQL user for {_where(settings)}"
        raise ConfigurationError(
            msg,
            remedy="Set POSTGRES_USER and POSTGRES_PASSWORD, or mount the secret "
            f"{settings.secret_name!r} and name its folder in {_SECRETS_DIR}.",
        )
    for name, text in (("user", user), ("password", password)):
        if _NOT_TEXT.search(text):
            msg = f"the {name} for {_where(settings)} is not text in UTF-8, or holds a NUL"
            raise ConfigurationError(msg, remedy="Set it anew where it comes from.")
    return user, SecretStr(password)


def _mounted(key: str, secret_name: str) -> str:
    folder = os.environ.get(_SECRETS_DIR)
    if not folder:
        return ""
    for path in (Path(folder, key), Path(folder, secret_name, key)):
        try:
            if path.is_file():
                return path.read_text("utf-8", "surrogateescape").removesuffix("\n")
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}"
            raise ConfigurationError(
                msg, remedy="Let the user of this process read the mounted secret."
            ) from error
    return ""


def _kubernetes_secret(config: Config) -> dict[str, str]:
    """Read the secret through the API, where there is a cluster and the extra is installed."""
    if not (os.environ.get("KUBERNETES_SERVICE_HOST") or os.environ.get("KUBECONFIG")):
        return {}
    try:
        kubernetes: Any = importlib.import_module("kubernetes")
    except ImportError:
        return {}
    name = config.data_warehouse.postgres.secret_name
    try:
        kubernetes.config.load_config()
        secret = kubernetes.client.CoreV1Api().read_namespaced_secret(
            name, config.kubernetes.namespace, _request_timeout=10
        )
    except Exception as error:  # noqa: BLE001 - no common base; the next place is asked instead
        _log.info("secret %s is not readable by the API: %s", name, type(error).__name__)
        return {}
    data: dict[str, str] = secret.data or {}
    return {key: b64decode(data[key]).decode("utf-8", "surrogateescape") for key in data}


@contextmanager
def connect(config: Config) -> Generator[Connection]:
    """Open a connection; what is not committed when the context ends is undone.

    Errors of statements inside the context are translated as by `postgres_errors`.

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
        ) as connection,
    ):
        connection.patience = settings.connect_timeout
        # Not as `options` of the start-up packet: connection poolers refuse those.
        connection.execute(
            "select set_config('lock_timeout', %s, false),"
            " set_config('statement_timeout', %s, false)",
            (f"{settings.lock_timeout}s", f"{settings.statement_timeout}s"),
        )
        connection.commit()
        connection.patience = settings.statement_timeout + _GRACE_SECONDS
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


def _translated(error: psycopg.Error, settings: Postgres) -> SalesMartError:
    state = error.sqlstate or ""
    if not state and isinstance(error, psycopg.OperationalError):
        return _connection_error(error, settings)
    message = "" if quotes_values(state) else error.diag.message_primary or ""
    kind = kind_of_sqlstate(state)
    said = f"{message or type(error).__name__} (SQLSTATE {error.sqlstate})"
    if state == LOCKED:
        said = f"another run holds the lock: {said}"
    return kind(
        f"{_where(settings)}: {said}",
        remedy=_REMEDIES.get(state) or _REMEDIES[kind.__name__],
        details={"sqlstate": error.sqlstate, "server_message": message},
    )


_REMEDIES = {
    LIMITED: "Raise the limit that the message names, in PostgreSQL and for this user.",
    LOCKED: "Run the same command again when the other run is done, "
    "or raise data_warehouse.postgres.lock_timeout.",
    READ_ONLY: "Name the primary server in data_warehouse.postgres.host, or a user who may write.",
    "TemporaryError": "Run the same command again.",
    "ConfigurationError": "Grant the user what the message asks for, or name another user or "
    "database.",
    "UnexpectedError": "Please report this as a bug, with the details.",
}


def _connection_error(error: psycopg.OperationalError, settings: Postgres) -> SalesMartError:
    # The text of a failed connection names host, user and database, never the password.
    text = " ".join(str(error).split()).rpartition(" failed: ")[2]
    details = {"sqlstate": None, "server_message": text}
    if refuses(text):
        tls = "certificate" in text or "SSL" in text
        return ConfigurationError(
            f"{_where(settings)} refused the connection: {text}",
            remedy="Name the certificate authority in PGSSLROOTCERT, or set "
            "data_warehouse.postgres.sslmode."
            if tls
            else "Check user, password and database; `sales-mart doctor` shows what is used.",
            details=details,
        )
    what = "takes no connection now" if text.startswith("FATAL:") else "does not answer"
    return TemporaryError(
        f"{_where(settings)} {what}: {text}",
        remedy="Check host and port, or wait for the server, then run the same command again.",
        details=details,
    )


def _where(settings: Postgres) -> str:
    return f"PostgreSQL {settings.host}:{settings.port}/{settings.dbname}"


def lock_target(connection: Connection, config: Config) -> None:
    """Wait for the target's lock, which the transaction then holds to its end.

    Raises:
        psycopg.errors.LockNotAvailable: Another run held it for `lock_timeout` seconds; a
            `TemporaryError` outside of `postgres_errors`.
    """
    connection.execute(
        "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"sales_mart:{raw_schema(config)}",),
    )


def exists(connection: Connection, schema: str, table: str) -> bool:
    """Tell whether a relation of this name exists."""
    found = connection.execute(
        "select from pg_class where relname = %s and relnamespace = to_regnamespace(%s)",
        (table, _quoted(schema)),
    ).fetchone()
    return found is not None


def ensure_schema(connection: Connection, schema: str) -> None:
    """Create a schema that is missing.

    `create schema if not exists` wants the right to create one even where it exists, which a
    careful administrator does not give.
    """
    found = connection.execute("select to_regnamespace(%s)", (_quoted(schema),)).fetchone()
    if found == (None,):
        connection.execute(SQL("create schema {}").format(Identifier(schema)))


def _quoted(identifier: str) -> str:
    return f'"{identifier}"'
