"""All warehouses of a test: configurations with schemas of their own, questions, changes."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

from sales_mart.config import Config
from sales_mart.warehouses.base import open_warehouse
from sales_mart.warehouses.bigquery import connection as bigquery
from sales_mart.warehouses.postgres import connection as postgres
from targets import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.lake.runs import RunFolder
    from sales_mart.servers.local import LocalServers
    from sales_mart.warehouses.base import Dialect
    from sales_mart.warehouses.duckdb import DuckDB

BOTH = (Target.POSTGRES, Target.BIGQUERY)
POSTGRES = (Target.POSTGRES,)


def fresh_config(servers: LocalServers, **rules: object) -> Config:
    """Give a configuration with schemas and datasets of its own on both servers."""
    unique = uuid.uuid4().hex[:12]
    settings: dict[str, Any] = servers.settings()
    settings["data_warehouse"] |= {"project_id": "test-project", "dataset": f"raw_{unique}"}
    settings["data_mart"] = {"dataset": f"mart_{unique}", "postgres_schema": f"shown_{unique}"}
    settings["ingestion"] = {"validation": rules}
    return Config.model_validate(settings)


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


def change(config: Config, target: str, *statements: str) -> None:
    """Run statements that change something."""
    if target == "duckdb":
        from sales_mart.warehouses.duckdb.connection import opened

        warehouse = cast("DuckDB", open_warehouse(config, target))
        # Readers of the published marts are in the way of whoever writes to that very file.
        shown = any('"published"' in sql for sql in statements)
        with opened(warehouse, warehouse.path if shown else None) as session:
            for sql in statements:
                session.connection.execute(sql)
        return
    if target == Target.POSTGRES:
        with postgres.connect(config) as connection:
            for sql in statements:
                connection.execute(sql.encode())
            connection.commit()
        return
    with bigquery.client(config) as client:
        for sql in statements:
            list(bigquery.query(client, sql))


def next_table(config: Config, target: str, name: str) -> str:
    """Give the quoted name of a next mart, by the name of its model."""
    warehouse = open_warehouse(config, target)
    name = warehouse.fact_table if name == "fact_sales" else name
    return warehouse.dialect.table(warehouse.next_schema, name)


def raw_table(config: Config, target: str) -> str:
    """Give the quoted name of the raw table."""
    warehouse = open_warehouse(config, target)
    return warehouse.dialect.table(warehouse.raw_schema, config.data_warehouse.table)
