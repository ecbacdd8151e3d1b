"""Who connects to PostgreSQL, and how the server is proven: user, password, TLS mode."""

from __future__ import annotations

import importlib
import ipaddress
import logging
import os
import re
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import SecretStr

from sales_mart.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_mart.config import Config
    from sales_mart.warehouses.base import Findings, Warehouse
    from sales_mart.warehouses.postgres.settings import PostgresSettings

__all__ = [
    "Login",
    "check_credentials",
    "config_of",
    "credentials",
    "find_login",
    "place_of",
    "sslmode",
]

_log = logging.getLogger(__name__)

_SECRETS_DIR = "SALES_MART_SECRETS_DIR"
# Bytes that are no UTF-8 become lone surrogates, from a file as from the environment.
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


class Login(NamedTuple):
    """User and password, which come from one place.

    Attributes:
        user: The user.
        password: Its password; empty for servers that trust the socket or a client certificate,
            and where libpq's password file has it.
        origin: The place.
    """

    user: str
    password: SecretStr
    origin: str


def sslmode(settings: PostgresSettings) -> str:
    """Return the TLS mode: as configured, else `verify-full` unless the server is this machine.

    Of several hosts libpq takes the first that answers, so each has to be this machine.
    """
    return settings.sslmode or ("prefer" if _is_local(settings.host) else "verify-full")


_TOLD = (
    *("passfile", "sslrootcert", "sslcert", "sslkey", "sslcrl"),
    *("channel_binding", "gssencmode", "target_session_attrs"),
)
"""Parameters of an address that libpq is told as they are."""


def config_of(url: str) -> Config:
    """Return a configuration of the server that an address names, as libpq and SQLAlchemy write it.

    Raises:
        ConfigurationError: It is none that libpq reads, or holds what is not passed on.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict
    from pydantic import ValidationError

    from sales_mart.config import Config
    from sales_mart.warehouses.postgres.settings import PostgresSettings

    # No message repeats the address: there may be a password in it.
    remedy = "Write it as postgresql://user:password@host:5432/database."
    rest = url.partition("://")[2]
    try:
        found = {k: str(v) for k, v in conninfo_to_dict(f"postgresql://{rest}").items() if v}
    except ProgrammingError:
        msg = "the PostgreSQL address cannot be read"
        raise ConfigurationError(msg, remedy=remedy) from None
    told = {name: found.pop(name) for name in _TOLD if name in found}
    unknown = sorted(found.keys() - PostgresSettings.model_fields.keys())
    if unknown:
        msg = f"the PostgreSQL address holds {', '.join(unknown)}, which is not passed on"
        raise ConfigurationError(msg, remedy="Leave it out, or set it for the user on the server.")
    try:
        settings = PostgresSettings.model_validate(found).as_given(told)
    except ValidationError as error:
        names = ", ".join(str(each["loc"][0]) for each in error.errors() if each["loc"])
        msg = f"the PostgreSQL address has a wrong {names}"
        raise ConfigurationError(msg, remedy=remedy) from None
    config = Config()
    warehouse = config.data_warehouse.model_copy(update={"postgres": settings})
    return config.model_copy(update={"data_warehouse": warehouse})


def _is_local(hosts: str) -> bool:
    # libpq reads these where the configuration says nothing, and a service may name addresses.
    hosts = hosts or os.environ.get("PGHOST", "")
    addresses = os.environ.get("PGHOSTADDR", "")
    if os.environ.get("PGSERVICE"):
        return False
    return all(map(_is_local_host, hosts.split(","))) and all(
        map(_is_loopback, filter(None, addresses.split(",")))
    )


def _is_local_host(host: str) -> bool:
    return host in ("", "localhost") or host.startswith(("/", "@")) or _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def place_of(settings: PostgresSettings) -> str:
    """Name the server and the database in messages."""
    return f"PostgreSQL {settings.host}:{settings.port}/{settings.dbname}"


def credentials(config: Config) -> tuple[str, SecretStr]:
    """Find user and password, as `find_login` does.

    Raises:
        ConfigurationError: No place names a user, or a password stands without its user.
    """
    found = find_login(config)
    return found.user, found.password


def find_login(config: Config) -> Login:
    """Find user and password in the first place that names a user; its password goes with it.

    The places: environment, mounted secret, Kubernetes API, file, in this order. The API comes
    last outside of a cluster, where it is somebody's own access to some cluster.

    Raises:
        ConfigurationError: No place names a user, or a password stands without its user: where
            another place would be asked for the user, or for the password.
    """
    settings = config.data_warehouse.postgres
    orphan = ""
    for found in _places(config):
        password = found.password.get_secret_value()
        if not found.user:
            orphan = orphan or (found.origin if password else "")
            continue
        if not password and not orphan:
            orphan = _password_below(config, found)
        if orphan:
            msg = f"a password stands without its user ({orphan}); the user is from {found.origin}"
            raise ConfigurationError(msg, remedy="Set both in the same place.")
        for name, text in (("user", found.user), ("password", password)):
            if _NOT_TEXT.search(text):
                msg = f"the {name} for {place_of(settings)} is not text in UTF-8, or holds a NUL"
                raise ConfigurationError(msg, remedy="Correct it where it comes from.")
        return found
    msg = f"no PostgreSQL user for {place_of(settings)}"
    raise ConfigurationError(
        msg,
        remedy="Set POSTGRES_USER and POSTGRES_PASSWORD, or mount the secret "
        f"{settings.secret_name!r} and name its folder in {_SECRETS_DIR}.",
    )


def check_credentials(warehouse: Warehouse, findings: Findings, origins: Mapping[str, str]) -> None:
    """Say where user and password come from, and warn where they stand in the file."""
    config = warehouse.config
    postgres = config.data_warehouse.postgres
    if warehouse.name in config.data_warehouse.targets:
        with suppress(ConfigurationError):  # which the check of the server tells
            login = find_login(config)
            how = "a password" if login.password.get_secret_value() else "no password"
            findings.add(
                "credentials", "ok", f"PostgreSQL user {login.user}, {how}, from {login.origin}"
            )
    for key, value in (("user", postgres.user), ("password", postgres.password)):
        origin = origins[f"data_warehouse.postgres.{key}"]
        if value is not None and ":" in origin:
            findings.add(
                "credentials",
                "warn",
                f"data_warehouse.postgres.{key} stands in the file ({origin})",
                f"Use POSTGRES_USER and POSTGRES_PASSWORD, or the secret {postgres.secret_name!r}.",
            )


def _places(config: Config) -> Iterator[Login]:
    """Look into one place after the other, as far as anybody asks."""
    if config.data_warehouse.postgres.is_given:
        yield _from_file(config)
        return
    yield Login(
        os.environ.get("POSTGRES_USER", ""),
        SecretStr(os.environ.get("POSTGRES_PASSWORD", "")),
        "POSTGRES_USER and POSTGRES_PASSWORD",
    )
    name = config.data_warehouse.postgres.secret_name
    folder = os.environ.get(_SECRETS_DIR)
    if folder:
        yield Login(
            _mounted(folder, "user", name),
            SecretStr(_mounted(folder, "password", name)),
            f"the secret in {folder}",
        )
    in_cluster = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    if in_cluster:
        yield _from_kubernetes(config)
    yield _from_file(config)
    if not in_cluster and os.environ.get("KUBECONFIG"):
        yield _from_kubernetes(config)


def _from_file(config: Config) -> Login:
    settings = config.data_warehouse.postgres
    return Login(
        settings.user or "",
        settings.password or SecretStr(""),
        "data_warehouse.postgres.user and .password",
    )


def _password_below(config: Config, found: Login) -> str:
    """Tell where a password waits for a user who has none: it is not guessed to be theirs.

    libpq would take PGPASSWORD for every user and server, unlike what stands in its password file.
    """
    if os.environ.get("PGPASSWORD"):
        return "PGPASSWORD"
    in_file = _from_file(config)
    waits = in_file.password.get_secret_value() and not in_file.user
    return in_file.origin if waits and in_file.origin != found.origin else ""


def _mounted(folder: str, key: str, secret_name: str) -> str:
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


def _from_kubernetes(config: Config) -> Login:
    """Read the secret through the API, where the extra is installed."""
    name, namespace = config.data_warehouse.postgres.secret_name, config.kubernetes.namespace
    origin = f"the Kubernetes secret {name} in {namespace}"
    nothing = Login("", SecretStr(""), origin)
    try:
        kubernetes: Any = importlib.import_module("kubernetes")
    except ImportError:
        return nothing
    try:
        kubernetes.config.load_config()
        secret = kubernetes.client.CoreV1Api().read_namespaced_secret(
            name, namespace, _request_timeout=10
        )
    except Exception as error:  # noqa: BLE001 - no common base; the next place is asked instead
        _log.info("secret %s is not readable by the API: %s", name, type(error).__name__)
        return nothing
    data: dict[str, str] = secret.data or {}
    texts = {key: b64decode(data[key]).decode("utf-8", "surrogateescape") for key in data}
    return Login(texts.get("user", ""), SecretStr(texts.get("password", "")), origin)
