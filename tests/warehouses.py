"""Both warehouses of a test: configurations with schemas of their own, questions, changes."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sales_mart.config import Config
from sales_mart.lake.records import Target
from sales_mart.names import fact_table, next_schema, raw_schema
from sales_mart.steps.reconcile_sql import table
from sales_mart.warehouses.bigquery import connection as bigquery
from sales_mart.warehouses.bigquery.load import load as load_bigquery
from sales_mart.warehouses.postgres import connection as postgres
from sales_mart.warehouses.postgres.load import load as load_postgres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.lake.runs import RunFolder
    from sales_mart.servers.local import LocalServers

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


def loaded(config: Config, run: RunFolder, targets: Sequence[Target] = BOTH) -> RunFolder:
    """Load a sealed run into the targets."""
    for target in targets:
        (load_postgres if target is Target.POSTGRES else load_bigquery)(config, run)
    return run


def ask(config: Config, target: Target, sql: str) -> list[tuple[Any, ...]]:
    """Run a query."""
    if target is Target.POSTGRES:
        with postgres.connect(config) as connection:
            return connection.execute(sql.encode()).fetchall()
    with bigquery.client(config) as client:
        return [tuple(found.values()) for found in bigquery.query(client, sql)]


def change(config: Config, target: Target, *statements: str) -> None:
    """Run statements that change something."""
    if target is Target.POSTGRES:
        with postgres.connect(config) as connection:
            for sql in statements:
                connection.execute(sql.encode())
            connection.commit()
        return
    with bigquery.client(config) as client:
        for sql in statements:
            list(bigquery.query(client, sql))


def next_table(config: Config, target: Target, name: str) -> str:
    """Give the quoted name of a next mart, by the name of its model."""
    name = fact_table(target) if name == "fact_sales" else name
    return table(config, target, next_schema(config, target), name)


def raw_table(config: Config, target: Target) -> str:
    """Give the quoted name of the raw table."""
    return table(config, target, raw_schema(config), config.data_warehouse.table)
