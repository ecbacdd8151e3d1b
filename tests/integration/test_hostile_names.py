"""Settings, files and folders with odd names are data everywhere in the pipeline."""

from __future__ import annotations

import json
import uuid
from datetime import date
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal
from pydantic import SecretStr

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError
from sales_mart.steps.pipeline import run
from sales_mart.warehouses.postgres import connection as postgres
from targets import Target
from warehouses import BOTH, ask, fresh_config

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.servers.local import LocalServers

ODD = "a b'c\"d\\e%f%s#g?h*[i]j{{ x() }}k{% x %}l$(id)m`id`n;--\u00e9\U0001f600"
PREFIXES = (
    *(
        "'; drop table x; --",
        "{{ env_var('HOME') }}",
        "{% raw %}",
        "{# x",
        "'",
        '"',
        "\\",
        "\\'",
        "%",
    ),
    *(
        "_",
        "%s",
        "%(a)s",
        "\n",
        "\r\n",
        "a\tb",
        "\U0001f600",
        "\U0010ffff",
        "$(id)",
        "`id`",
        "$$",
        "\x1b",
    ),
    *(
        "E'\\x41'",
        "/*",
        "*/",
        "@x",
        "?",
        ":x",
        "{}",
        "\u2028",
        "\u202e",
        "\\n",
        "\\u0041",
        "''",
        '""',
        "r'",
    ),
)


def test_the_whole_pipeline_with_odd_names(servers: LocalServers, tmp_path: Path) -> None:
    """Folders, files, destination, prefix, and on PostgreSQL database, user and password."""
    server = fresh_config(servers, product_prefix=ODD)
    name = f"{ODD}{uuid.uuid4().hex[:8]}"
    create = SQL("create role {} superuser login password {}").format(
        Identifier(name), Literal(f"{ODD} secret")
    )
    with psycopg.connect(servers.postgres_url or "", autocommit=True) as connection:
        connection.execute(create)
        database = name.replace("'", "").replace('"', "")
        connection.execute(
            SQL("create database {} owner {}").format(Identifier(database), Identifier(name))
        )
    settings = {"dbname": database, "user": name, "password": SecretStr(f"{ODD} secret")}
    reached = server.data_warehouse.postgres.model_copy(
        update={**settings, "application_name": ODD}
    )
    config = server.model_copy(
        update={"data_warehouse": server.data_warehouse.model_copy(update={"postgres": reached})}
    )
    source = tmp_path / ODD / "line\nend"
    source.mkdir(parents=True)
    product = ODD.replace('"', '""')
    (source / f"{ODD}.csv").write_text(
        "transaction_id,product,price,quantity,date\n"
        f'T1,"{product} Tea",20.00,2,2023-10-01\n'
        f'T2,"{product.replace("%", "x")}",20.00,1,2023-10-01\n'
    )
    lake, shown = tmp_path / ODD / "lake\x1b", tmp_path / ODD / "export\u202e"
    summary = run(
        config,
        str(lake),
        source=str(source),
        business_date=date(2023, 10, 1),
        targets=BOTH,
        destination=str(shown),
    )
    assert summary.rows is not None
    assert (summary.rows.rows_valid, summary.rows.reasons) == (1, {"product_prefix": 1})
    (row,) = json.loads((shown / "summary_sales.json").read_text())
    assert row["product"] == f"{ODD} Tea"
    for target in BOTH:
        assert summary.marts[target]["summary_sales"] == 1


@pytest.mark.parametrize("target", BOTH)
def test_each_hostile_prefix_is_a_literal(config: Config, target: Target) -> None:
    """What the macro of the dbt project writes is the text itself, on the server."""
    from jinja2 import Environment

    from sales_mart.dbt_runner.project import project_folder

    macros = (project_folder() / "macros" / "literals.sql").read_text()

    class Returned(Exception):  # noqa: N818 - how dbt's `return` works
        pass

    def returned(value: object) -> None:
        raise Returned(value)

    environment = Environment(extensions=["jinja2.ext.do"])  # noqa: S701 - SQL, as dbt makes it
    module = environment.from_string(macros, {"return": returned}).make_module()

    def literal(text: str) -> str:
        try:
            getattr(module, f"{target}__text_literal")(text)
        except Returned as found:
            return str(found.args[0])
        raise AssertionError

    texts = [*PREFIXES, ODD, "".join(PREFIXES)]
    columns = ", ".join(f"{literal(text)} as c{n}" for n, text in enumerate(texts))
    assert ask(config, target, f"select {columns}") == [tuple(texts)]


@pytest.mark.parametrize("prefix", ["\0", "a\0b"])
def test_a_nul_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="NUL"):
        Config.model_validate({"ingestion": {"validation": {"product_prefix": prefix}}})


@pytest.mark.parametrize("project", ["a`b", "a b", "", "x;--", "../x", "a\nb", "p{{1}}", "-x"])
def test_a_project_is_an_id_and_no_sql(project: str) -> None:
    with pytest.raises(ConfigurationError, match="id of a project"):
        Config.model_validate({"data_warehouse": {"project_id": project}})
    assert Config.model_validate({"data_warehouse": {"project_id": "example.com:my-p1"}})


@pytest.mark.parametrize("name", ["x' or '1", 'x"."y'])
def test_a_database_with_quotes_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must not contain quotes"):
        Config.model_validate({"data_warehouse": {"postgres": {"dbname": name}}})


def test_a_user_that_is_refused_is_named_without_the_password(config: Config) -> None:
    odd = config.data_warehouse.postgres.model_copy(
        update={"dbname": f"{ODD} host=elsewhere", "connect_timeout": 3}
    )
    warehouse = config.data_warehouse.model_copy(update={"postgres": odd})
    with (
        pytest.raises(ConfigurationError, match="does not exist") as raised,
        postgres.connect(config.model_copy(update={"data_warehouse": warehouse})),
    ):
        pass
    password = config.data_warehouse.postgres.password
    assert password is not None
    assert password.get_secret_value() not in f"{raised.value.message}{raised.value.details}"
