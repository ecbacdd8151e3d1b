"""How PostgreSQL is reached, against a real server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal
from pydantic import SecretStr

from sales_mart.errors import ConfigurationError, TemporaryError, UnexpectedError
from sales_mart.warehouses.postgres.connection import connect, postgres_errors

if TYPE_CHECKING:
    from sales_mart.config import Config

SECRET = "s3cret-of-the-test"


@pytest.fixture
def locked_out(config: Config, postgres_server: str) -> Config:
    """Return a configuration whose role needs a password, on a server that is told so."""
    settings = config.data_warehouse.postgres
    name = f"locked_out_{config.data_warehouse.dataset}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        role = Identifier(name)
        connection.execute(SQL("create role {} login password {}").format(role, Literal("right")))
    changed = settings.model_copy(update={"user": name, "password": SecretStr(SECRET)})
    warehouse = config.data_warehouse.model_copy(update={"postgres": changed})
    return config.model_copy(update={"data_warehouse": warehouse})


def test_a_wrong_password_is_refused_and_not_told(locked_out: Config) -> None:
    with (
        pytest.raises(ConfigurationError, match="password authentication failed") as caught,
        connect(locked_out),
    ):
        pass
    error = caught.value
    assert error.exit_code == 2
    assert SECRET not in f"{error!r} {error.message} {error.remedy} {error.details}"


def test_an_unknown_database_is_refused(config: Config) -> None:
    settings = config.data_warehouse.postgres.model_copy(update={"dbname": "nowhere"})
    warehouse = config.data_warehouse.model_copy(update={"postgres": settings})
    elsewhere = config.model_copy(update={"data_warehouse": warehouse})
    with pytest.raises(ConfigurationError, match="does not exist"), connect(elsewhere):
        pass


def test_messages_hold_no_values_of_rows(config: Config) -> None:
    with pytest.raises(UnexpectedError) as caught, connect(config) as connection:
        connection.execute("select cast(%s as integer)", ("a-token",))
    assert "a-token" not in f"{caught.value} {caught.value.details}"
    assert caught.value.details["sqlstate"] == "22P02"
    with connect(config) as connection:
        connection.execute("create temporary table t (id text primary key)")
        with pytest.raises(UnexpectedError) as caught, postgres_errors(config):
            connection.execute("insert into t values ('a-token'), ('a-token')")
    assert "a-token" not in f"{caught.value} {caught.value.details}"
    assert "t_pkey" in str(caught.value)


def test_what_is_not_committed_is_undone(config: Config, postgres_server: str) -> None:
    table = Identifier("public", f"left_{config.data_warehouse.dataset}")
    with connect(config) as connection:
        connection.execute(SQL("create table {} ()").format(table))
        found = connection.execute(
            "select current_setting('lock_timeout'), current_setting('statement_timeout'),"
            " current_setting('application_name')"
        ).fetchone()
    assert found == ("1min", "1h", "sales_mart")
    with psycopg.connect(postgres_server) as other, pytest.raises(psycopg.errors.UndefinedTable):
        other.execute(SQL("select from {}").format(table))


def test_a_statement_that_takes_too_long_is_temporary(config: Config) -> None:
    settings = config.data_warehouse.postgres.model_copy(update={"statement_timeout": 1})
    warehouse = config.data_warehouse.model_copy(update={"postgres": settings})
    impatient = config.model_copy(update={"data_warehouse": warehouse})
    started = time.monotonic()
    with pytest.raises(TemporaryError, match="57014"), connect(impatient) as connection:
        connection.execute("select pg_sleep(20)")
    assert time.monotonic() - started < 10
