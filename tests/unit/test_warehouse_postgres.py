"""How PostgreSQL is reached: TLS mode, credentials, errors in our words."""

from __future__ import annotations

import base64
import socket
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import SecretStr

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, TemporaryError, UnexpectedError
from sales_mart.warehouses.postgres.connection import connect, postgres_errors
from sales_mart.warehouses.postgres.credentials import credentials, find_login, sslmode
from sales_mart.warehouses.postgres.settings import PostgresSettings

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cret-of-the-test"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "SALES_MART_SECRETS_DIR",
        *("KUBERNETES_SERVICE_HOST", "KUBECONFIG", "PGHOST", "PGHOSTADDR", "PGSERVICE"),
        "PGPASSWORD",
    ):
        monkeypatch.delenv(name, raising=False)


def configured(**settings: Any) -> Config:
    return Config.model_validate({"data_warehouse": {"postgres": settings}})


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("localhost", "prefer"),
        ("127.0.0.1", "prefer"),
        ("127.8.9.10", "prefer"),
        ("::1", "prefer"),
        ("/var/run/postgresql", "prefer"),
        ("@abstract", "prefer"),
        ("", "prefer"),
        ("db.example.com", "verify-full"),
        ("10.0.0.7", "verify-full"),
        ("localhost.example.com", "verify-full"),
        ("/run/pg,db.example.com", "verify-full"),
        ("db.example.com,/run/pg", "verify-full"),
        ("localhost,10.0.0.7", "verify-full"),
        ("localhost,,::1,/run/pg", "prefer"),
        (",db.example.com", "verify-full"),
    ],
)
def test_tls_is_verified_unless_the_server_is_this_machine(host: str, mode: str) -> None:
    assert sslmode(PostgresSettings(host=host)) == mode
    assert sslmode(PostgresSettings(host=host, sslmode="require")) == "require"


@pytest.mark.parametrize(
    ("host", "variables", "mode"),
    [
        ("localhost", {"PGHOSTADDR": "10.0.0.7"}, "verify-full"),
        ("localhost", {"PGHOSTADDR": "127.0.0.1,::1"}, "prefer"),
        ("localhost", {"PGSERVICE": "far"}, "verify-full"),
        ("", {"PGHOST": "db.example.com"}, "verify-full"),
        ("", {"PGHOST": "/run/pg"}, "prefer"),
        ("localhost", {"PGHOST": "db.example.com"}, "prefer"),
    ],
)
def test_what_libpq_reads_from_the_environment_counts_as_a_host(
    host: str, variables: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert sslmode(PostgresSettings(host=host)) == mode


def test_credentials_come_from_the_environment_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = configured(user="file", password="in-file")
    assert credentials(config) == ("file", SecretStr("in-file"))
    (tmp_path / "postgres-credentials").mkdir()
    (tmp_path / "postgres-credentials" / "user").write_text("mounted\n")
    (tmp_path / "postgres-credentials" / "password").write_text(" p\n")
    monkeypatch.setenv("SALES_MART_SECRETS_DIR", str(tmp_path))
    assert credentials(config) == ("mounted", SecretStr(" p"))
    (tmp_path / "user").write_text("flat")
    assert credentials(config) == ("flat", SecretStr(" p"))
    monkeypatch.setenv("POSTGRES_USER", "environment")
    monkeypatch.setenv("POSTGRES_PASSWORD", "env")
    assert credentials(config) == ("environment", SecretStr("env"))


def test_credentials_come_from_the_cluster_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(name: str, namespace: str, **_: object) -> SimpleNamespace:
        assert (name, namespace) == ("postgres-credentials", "data-pipeline")
        values = {"user": "cluster", "password": SECRET}
        return SimpleNamespace(
            data={key: base64.b64encode(value.encode()) for key, value in values.items()}
        )

    api = SimpleNamespace(read_namespaced_secret=read)
    fake = SimpleNamespace(
        config=SimpleNamespace(load_config=lambda: None),
        client=SimpleNamespace(CoreV1Api=lambda: api),
    )
    monkeypatch.setitem(sys.modules, "kubernetes", fake)
    config = configured(user="file", password="in-file")
    assert credentials(config)[0] == "file"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert credentials(config) == ("cluster", SecretStr(SECRET))
    api.read_namespaced_secret = None  # any failure of the client
    assert credentials(config) == ("file", SecretStr("in-file"))
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    assert credentials(config) == ("file", SecretStr("in-file"))


def cluster(monkeypatch: pytest.MonkeyPatch, **values: str) -> list[str]:
    """Install a client of Kubernetes that gives a secret; give the list of what it is asked."""
    asked: list[str] = []

    def read(name: str, _: str, **__: object) -> SimpleNamespace:
        asked.append(name)
        return SimpleNamespace(
            data={key: base64.b64encode(value.encode()) for key, value in values.items()}
        )

    api = SimpleNamespace(read_namespaced_secret=read)
    fake = SimpleNamespace(
        config=SimpleNamespace(load_config=lambda: None),
        client=SimpleNamespace(CoreV1Api=lambda: api),
    )
    monkeypatch.setitem(sys.modules, "kubernetes", fake)
    return asked


def test_a_kubeconfig_does_not_outrank_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = cluster(monkeypatch, user="cluster", password=SECRET)
    monkeypatch.setenv("KUBECONFIG", "/home/me/.kube/config")
    assert credentials(configured(user="file", password="in-file"))[0] == "file"
    assert credentials(configured(user="file")) == ("file", SecretStr(""))
    assert asked == []
    found = find_login(configured())
    assert (found.user, found.password) == ("cluster", SecretStr(SECRET))
    assert found.origin == "the Kubernetes secret postgres-credentials in data-pipeline"
    assert SECRET not in repr(found)


HALVES = ("user", "password")


@pytest.mark.parametrize("in_cluster", [False, True])
@pytest.mark.parametrize("api", [(), ("user",), ("password",), HALVES])
@pytest.mark.parametrize("file", [(), ("user",), ("password",), HALVES])
@pytest.mark.parametrize("mounted", [(), ("user",), ("password",), HALVES])
@pytest.mark.parametrize("environment", [(), ("user",), ("password",), HALVES])
def test_user_and_password_are_never_of_two_places(  # noqa: PLR0913 - a place each
    environment: tuple[str, ...],
    mounted: tuple[str, ...],
    file: tuple[str, ...],
    api: tuple[str, ...],
    *,
    in_cluster: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for half in environment:
        monkeypatch.setenv(f"POSTGRES_{half.upper()}", "environment")
    for half in mounted:
        (tmp_path / half).write_text("mounted")
    monkeypatch.setenv("SALES_MART_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST" if in_cluster else "KUBECONFIG", "x")
    cluster(monkeypatch, **dict.fromkeys(api, "api"))
    config = configured(**dict.fromkeys(file, "file"))
    last = [("api", api), ("file", file)]
    places = [
        *(("environment", environment), ("mounted", mounted)),
        *(last if in_cluster else reversed(last)),
    ]
    first = next((name for name, halves in places if "user" in halves), None)
    try:
        user, password = credentials(config)
    except ConfigurationError:
        assert first is None or any(halves == ("password",) for _, halves in places)
        return
    assert user == first
    assert password == SecretStr(user if "password" in dict(places)[user] else "")


@pytest.mark.parametrize(
    ("variables", "settings", "place"),
    [
        ({"POSTGRES_PASSWORD": SECRET}, {"user": "u"}, "POSTGRES_USER and POSTGRES_PASSWORD"),
        ({"POSTGRES_USER": "u"}, {"password": SECRET}, "data_warehouse.postgres.user"),
        ({"PGPASSWORD": SECRET}, {"user": "u"}, "PGPASSWORD"),
    ],
)
def test_half_a_pair_is_refused_where_it_would_be_guessed(
    variables: dict[str, str],
    settings: dict[str, str],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="without its user") as caught:
        credentials(configured(**settings))
    assert place in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_file_of_passwords_of_libpq_serves_a_user_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty password is not passed on, so that libpq looks one up."""
    monkeypatch.setenv("POSTGRES_USER", "environment")
    assert credentials(configured(user="file", password="p")) == ("environment", SecretStr(""))


def test_no_user_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="no PostgreSQL user") as caught:
        credentials(configured())
    assert "POSTGRES_USER" in caught.value.remedy


def test_a_server_that_is_down_is_temporary() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = configured(host="127.0.0.1", port=port, user="u", password=SECRET)
    with pytest.raises(TemporaryError, match="does not answer") as caught, connect(config):
        pass
    assert caught.value.exit_code == 75
    assert SECRET not in f"{caught.value} {caught.value.remedy} {caught.value.details}"


def test_an_unknown_host_is_temporary() -> None:
    config = configured(host="nowhere.invalid", user="u", password=SECRET)
    with pytest.raises(TemporaryError, match="does not answer"), connect(config):
        pass


def test_tls_without_an_authority_names_the_remedy(tmp_path: Path) -> None:
    text = (
        'connection failed: connection to server at "db", port 5432 failed: root certificate file'
        f' "{tmp_path}/root.crt" does not exist'
    )
    with pytest.raises(ConfigurationError, match="root certificate") as caught:
        raise_through(psycopg.OperationalError(text))
    assert "PGSSLROOTCERT" in caught.value.remedy


def raise_through(error: psycopg.Error) -> None:
    with postgres_errors(configured()):
        raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.errors.ConnectionFailure("x"), TemporaryError),
        (psycopg.errors.SerializationFailure("x"), TemporaryError),
        (psycopg.errors.DeadlockDetected("x"), TemporaryError),
        (psycopg.errors.DiskFull("x"), TemporaryError),
        (psycopg.errors.TooManyConnections("x"), TemporaryError),
        (psycopg.errors.QueryCanceled("x"), TemporaryError),
        (psycopg.errors.AdminShutdown("x"), TemporaryError),
        (psycopg.errors.LockNotAvailable("x"), TemporaryError),
        (psycopg.errors.IoError("x"), TemporaryError),
        (psycopg.errors.IdleInTransactionSessionTimeout("x"), TemporaryError),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), TemporaryError),
        (psycopg.errors.DatabaseDropped("x"), ConfigurationError),
        (psycopg.OperationalError("server closed the connection unexpectedly"), TemporaryError),
        (psycopg.OperationalError("SSL connection has been closed unexpectedly"), TemporaryError),
        (psycopg.errors.InsufficientPrivilege("x"), ConfigurationError),
        (psycopg.errors.InvalidPassword("x"), ConfigurationError),
        (psycopg.errors.InvalidCatalogName("x"), ConfigurationError),
        (psycopg.errors.ReadOnlySqlTransaction("x"), ConfigurationError),
        (psycopg.errors.UndefinedTable("x"), UnexpectedError),
        (psycopg.InterfaceError("the connection is closed"), UnexpectedError),
    ],
)
def test_errors_become_ours(error: psycopg.Error, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        raise_through(error)
    assert caught.value.__suppress_context__
