"""What `doctor` looks at on PostgreSQL."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from psycopg.sql import SQL, Identifier

from sales_mart.errors import ConfigurationError
from sales_mart.warehouses.postgres.connection import Connection, connect, ensure_schema
from sales_mart.warehouses.postgres.owners import check_owners, grants_of_create, schemas

if TYPE_CHECKING:
    from sales_mart.warehouses.base import Findings, Warehouse

__all__ = ["check"]

_OLDEST = 140000


def check(warehouse: Warehouse, findings: Findings) -> None:
    """Check version, encryption, rights, and whose the objects are.

    Raises:
        ConfigurationError: The server is too old, or refuses something.
        TemporaryError: The server does not answer.
    """
    config = warehouse.config
    postgres = config.data_warehouse.postgres
    place = f"{postgres.host}:{postgres.port}/{postgres.dbname}"
    with connect(config) as connection:
        version = connection.info.server_version
        name = f"PostgreSQL {version // 10_000}.{version % 10_000} at {place}"
        if version < _OLDEST:
            msg = f"{name} is older than 14"
            raise ConfigurationError(msg, remedy="Upgrade the server.")
        secure = "with TLS" if connection.pgconn.ssl_in_use else "without TLS"
        findings.add("postgres", "ok", f"{name}, as {connection.info.user}, {secure}")
        # All of it is rolled back: the proof that the rights suffice leaves nothing behind.
        for schema in schemas(config):
            ensure_schema(connection, schema)
            _try_table(connection, schema)
        grants = grants_of_create(connection, config)
        with findings.about("postgres owners"):
            check_owners(connection, config)
    for schema, role in grants:
        findings.add(
            "postgres rights",
            "warn",
            f"{'everybody' if role == 'public' else role} may create things in schema {schema}, "
            "and keep a run from making its own",
            f"Let an administrator run: revoke create on schema {schema} from {role};",
        )
    findings.add("postgres rights", "ok", "schemas and tables can be created where they are needed")


def _try_table(connection: Connection, schema: str) -> None:
    table = Identifier(schema, f"sales_mart_doctor_{secrets.token_hex(4)}")
    connection.execute(SQL("create table {} (number integer)").format(table))
