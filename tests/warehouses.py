"""All warehouses of a test: configurations with schemas of their own, questions, changes."""

from __future__ import annotations

import tempfile
import uuid
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
import requests
from psycopg.sql import SQL, Identifier

from sales_mart.config import Config
from sales_mart.warehouses.base import names, open_warehouse, warehouse_class
from sales_mart.warehouses.bigquery import connection as bigquery
from sales_mart.warehouses.duckdb import DuckDB
from sales_mart.warehouses.postgres import connection as postgres
from sales_mart.warehouses.postgres.versions import current_version, partition_name
from sales_mart.warehouses.publishing import NextMarts
from targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from sales_mart.lake.runs import RunFolder
    from sales_mart.servers.local import LocalServers
    from sales_mart.warehouses.dialect import Dialect
    from sales_mart.warehouses.history import Publication
    from sales_mart.warehouses.windows import Window

PROJECT = "test-project"
BOTH = (Target.POSTGRES, Target.BIGQUERY)
POSTGRES = (Target.POSTGRES,)
IN_FILES = tuple(name for name in names() if issubclass(warehouse_class(name), DuckDB))
"""Warehouses that are files: DuckDB, and what others make of it."""


def config_of(servers: LocalServers, unique: str, duckdb: Path, **rules: object) -> Config:
    """Give a configuration whose schemas and datasets have a word of their own in their names."""
    settings: dict[str, Any] = servers.settings()
    settings["data_warehouse"] |= {"project_id": PROJECT, "dataset": f"raw_{unique}"}
    settings["data_warehouse"] |= {name: {"path": str(duckdb)} for name in IN_FILES}
    settings["data_mart"] = {"dataset": f"mart_{unique}", "postgres_schema": f"shown_{unique}"}
    settings["ingestion"] = {"validation": rules}
    return Config.model_validate(settings)


def fresh_config(servers: LocalServers, **rules: object) -> Config:
    """Give a configuration with schemas, datasets and files that nothing else ever has."""
    unique = uuid.uuid4().hex[:12]
    return config_of(servers, unique, servers.folder / f"{unique}.duckdb", **rules)


class Schemas:
    """Names of schemas and datasets, emptied and used again by the next test.

    The same names give the same dbt project, which takes seconds to parse.
    """

    def __init__(self, servers: LocalServers, word: str) -> None:
        self._servers = servers
        self._word = word
        self._free: list[str] = []
        self._made = 0

    @contextmanager
    def config(self, **rules: object) -> Generator[Config]:
        """Give a configuration with schemas, datasets and a file of its own, while this lasts."""
        unique = self._lend()
        with tempfile.TemporaryDirectory(dir=self._servers.folder) as folder:
            yield config_of(self._servers, unique, Path(folder) / "sales.duckdb", **rules)
        self._take_back(unique)

    def _lend(self) -> str:
        """Give a word that the names hold."""
        if not self._free:
            self._made += 1
            self._free.append(f"{self._word}{self._made:03}")
        return self._free.pop()

    def _take_back(self, unique: str) -> None:
        """Drop everything that has the word in its name."""
        # Where a process that a test left holds one of them, nobody gets these names again.
        with suppress(psycopg.errors.LockNotAvailable):
            self._drop(unique)
            self._free.append(unique)

    def _drop(self, unique: str) -> None:
        assert self._servers.postgres_url is not None
        with psycopg.connect(self._servers.postgres_url) as connection:
            connection.execute("set local lock_timeout = '2s'")
            for (name,) in connection.execute(
                "select nspname from pg_namespace where position(%s in nspname) > 0", [unique]
            ).fetchall():
                connection.execute(SQL("drop schema {} cascade").format(Identifier(name)))
            for (name,) in connection.execute(
                "select rolname from pg_roles where position(%s in rolname) > 0", [unique]
            ).fetchall():
                connection.execute(SQL("drop owned by {}").format(Identifier(name)))
                connection.execute(SQL("drop role {}").format(Identifier(name)))
        datasets = f"{self._servers.bigquery_endpoint}/bigquery/v2/projects/{PROJECT}/datasets"
        listed = requests.get(datasets, timeout=10, params={"maxResults": 1000}).json()
        for dataset in listed.get("datasets", ()):
            name: str = dataset["datasetReference"]["datasetId"]
            if unique in name:
                url = f"{datasets}/{name}"
                requests.delete(url, params={"deleteContents": "true"}, timeout=10)


def loaded(config: Config, run: RunFolder, targets: Sequence[str] = BOTH) -> RunFolder:
    """Load a sealed run into the targets."""
    for target in targets:
        open_warehouse(config, target).load(run)
    return run


def dialect(config: Config, target: str) -> Dialect:
    """Return how a target's SQL is written."""
    return open_warehouse(config, target).dialect


def table(config: Config, target: str, schema: str, name: str) -> str:
    """Return the quoted name of a table."""
    return dialect(config, target).table(schema, name)


def ask(config: Config, target: str, sql: str) -> list[tuple[Any, ...]]:
    """Run a query."""
    with open_warehouse(config, target).session() as session:
        return list(session.query(sql))


@contextmanager
def asked(config: Config, target: str) -> Generator[Callable[[str], list[Sequence[Any]]]]:
    """Give what runs a statement, keeps what it changes, and returns its rows.

    It is one session for as long as the context lasts, but on DuckDB, where nobody else could open
    the file meanwhile.
    """
    if target in IN_FILES:
        yield partial(_ask_duckdb, cast("DuckDB", open_warehouse(config, target)))
    elif target == Target.POSTGRES:
        with postgres.connect(config) as connection:
            yield partial(_ask_postgres, connection)
    else:
        with bigquery.client(config) as client:
            yield lambda sql: [row.values() for row in bigquery.query(client, sql)]


def _ask_duckdb(warehouse: DuckDB, sql: str) -> list[Sequence[Any]]:
    from sales_mart.warehouses.duckdb.connection import opened

    # Readers of the published marts are in the way of whoever writes to that very file.
    with opened(warehouse, warehouse.path if '"published"' in sql else None) as session:
        return list(session.connection.execute(sql).fetchall())


def _ask_postgres(connection: postgres.Connection, sql: str) -> list[Sequence[Any]]:
    cursor = connection.execute(sql.encode())
    rows = cursor.fetchall() if cursor.description else []
    connection.commit()
    return list(rows)


def change(config: Config, target: str, *statements: str) -> None:
    """Run statements that change something."""
    with asked(config, target) as run:
        for sql in statements:
            run(sql)


def next_table(config: Config, target: str, name: str) -> str:
    """Give the quoted name of a next mart, by the name of its model."""
    warehouse = open_warehouse(config, target)
    name = warehouse.fact_table if name == "fact_sales" else name
    return warehouse.dialect.table(warehouse.next_schema, name)


def raw_table(config: Config, target: str) -> str:
    """Give the quoted name of the raw table."""
    warehouse = open_warehouse(config, target)
    return warehouse.dialect.table(warehouse.raw_schema, config.data_warehouse.table)


def published_tables(config: Config, target: str) -> dict[str, tuple[str, str]]:
    """Give the published tables: name -> (schema or dataset, column of its window)."""
    warehouse = open_warehouse(config, target)
    return {mart.name: (warehouse.schema_of(mart), mart.slice or "") for mart in warehouse.marts}


def stored_table(config: Config, target: str, name: str) -> str:
    """Give the quoted name of the table that holds the rows of a published mart."""
    warehouse = open_warehouse(config, target)
    place = published_tables(config, target)[name][0]
    if target == Target.POSTGRES:
        with postgres.connect(config) as connection:
            version = current_version(connection, config, name)
        place, name = warehouse.raw_schema, partition_name(name, version)
    return warehouse.dialect.table(place, name)


def mart_schema(config: Config, target: str) -> str:
    """Give the name of the schema or dataset that readers look at."""
    return open_warehouse(config, target).mart_schema


def next_schema(config: Config, target: str) -> str:
    """Give the name of the schema or dataset where the next marts are built."""
    return open_warehouse(config, target).next_schema


def fact_table(target: str) -> str:
    """Give the name of the fact table."""
    return warehouse_class(target).fact_table


def publish_marts(  # noqa: PLR0913 - what `publish` is told of the next marts
    config: Config,
    target: str,
    run: RunFolder,
    window: Window,
    sequence: int,
    built: Mapping[str, str],
    **options: Any,
) -> Publication:
    """Publish next marts that the test has built."""
    following = NextMarts(run.run_id, window, sequence, built, **options)
    return open_warehouse(config, target).publish(following)
