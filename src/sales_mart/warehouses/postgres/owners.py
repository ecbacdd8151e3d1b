"""Whose the objects are that stand where ours should be; those of others are refused.

What runs when a table is read or written runs with our rights: triggers, rules, defaults, views.
So a relation has to belong to us or to a role that we belong to, and has to call nothing that
others made. For a superuser, who has the rights of all roles, only what belongs to a superuser is
ours, not everything. A session that only reads, in a schema where its role may create nothing,
trusts those who may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.sql import SQL

from sales_mart.errors import ConfigurationError
from sales_mart.names import (
    LOAD_RUNS,
    PUBLICATIONS,
    PUBLISHED_SLICES,
    QUALITY_HISTORY,
    STAGING,
)
from sales_mart.warehouses.postgres import PostgreSQL
from sales_mart.warehouses.postgres.owners_sql import CHILD, CREATORS, FINDINGS, OWNERS, ROLES
from sales_mart.warehouses.postgres.session import LOCK_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from sales_mart.config import Config

__all__ = [
    "CURRENT_VERSIONS",
    "check_owners",
    "check_relations",
    "existing",
    "exists",
    "grants_of_create",
    "parent_name",
    "schemas",
]

CURRENT_VERSIONS = "current_versions"
"""Which version of each mart is shown, beside the raw table."""
_LONGEST_NAME = 63
_DBT_SUFFIXES = ("__dbt_tmp", "__dbt_backup")
_REFUSALS = {
    "schema": (
        "schema {name} belongs to {owner}",
        "Name another schema, or let an administrator run: alter schema {name} owner to {user};",
    ),
    "relation": (
        "{name} belongs to {owner}",
        (
            "Find out what it is, then drop or rename it: the next run makes it anew. If it is "
            "yours, "
            "let an administrator run: alter table {name} owner to {user};"
        ),
    ),
    "function": (
        "function {what} belongs to {owner} and has the name of one of our tables",
        "Find out what it is, then drop it: drop function {what};",
    ),
    "type": (
        "type {name} belongs to {owner} and has the name of one of our tables",
        "Find out what it is, then drop it: drop type {name};",
    ),
    "kind": (
        "{name} is not the kind of relation that is expected there",
        "Find out what it is, then drop or rename it: the next run makes it anew.",
    ),
    "trigger": (
        "{name} has a trigger, which would run with the rights of {user}",
        "Find out what it does, then drop it: drop trigger {what} on {name};",
    ),
    "rule": (
        "{name} has a rule, which would run with the rights of {user}",
        "Find out what it does, then drop it: drop rule {what} on {name};",
    ),
    "policy": (
        "{name} has row level security that hides rows from {user}",
        (
            "Run as its owner, and let it not apply there: alter table {name} no force row level "
            "security;"
        ),
    ),
    "inheritance": (
        "{name} inherits from another table, is a partition, or has tables that inherit from it",
        "Detach the others, or drop the table: the next run makes it anew.",
    ),
    "call": (
        "{name} uses {what}, which belongs to {owner}",
        "Find out what it does, then drop what uses it, or the table: the next run makes it anew.",
    ),
}
"""What is said about each kind of finding, and what to do."""


def parent_name(mart: str) -> str:
    """Return the name of the table, beside the raw one, of which a mart's versions are parts."""
    return f"versions_of_{mart}"[:_LONGEST_NAME]


def schemas(config: Config) -> tuple[str, str, str]:
    """Name the schemas of raw rows, of the marts and of the next marts."""
    warehouse = PostgreSQL(config)
    return warehouse.raw_schema, warehouse.mart_schema, warehouse.next_schema


def check_owners(connection: psycopg.Connection[Any], config: Config) -> None:
    """Refuse what others made where our schemas, tables and views are or will be.

    Raises:
        ConfigurationError: A schema, table, view or function is another role's, or a table of
            ours runs or uses what is another role's.
    """
    check_relations(connection, _expected(config))


def check_relations(
    connection: psycopg.Connection[Any], expected: Sequence[tuple[str, str, str]]
) -> None:
    """Refuse what others made where tables are or will be.

    Args:
        connection: An open connection.
        expected: Schema, name and the kinds (`relkind`) that it may be; `+` where tables that a
            load has filled may inherit from it.

    Raises:
        ConfigurationError: As `check_owners` says.
    """
    found = connection.execute(
        SQL(ROLES + FINDINGS),
        {
            "schemas": [schema for schema, _, _ in expected],
            "relations": [name for _, name, _ in expected],
            "kinds": [kinds for _, _, kinds in expected],
            "child": CHILD,
            "reads": bool(connection.read_only),
        },
    ).fetchall()
    if found:
        raise _refused(found)


def exists(connection: psycopg.Connection[Any], schema: str, relation: str) -> bool:
    """Return whether a relation of this name is there.

    Raises:
        ConfigurationError: It is, and belongs to another role.
    """
    return bool(existing(connection, schema, [relation]))


def existing(
    connection: psycopg.Connection[Any], schema: str, relations: Sequence[str]
) -> list[str]:
    """Return those of the names that are relations of a schema.

    Raises:
        ConfigurationError: One of them belongs to another role.
    """
    found = connection.execute(
        SQL(ROLES + OWNERS),
        {"schema": schema, "relations": relations, "reads": bool(connection.read_only)},
    ).fetchall()
    others = [("relation", *finding) for _, is_ours, *finding in found if not is_ours]
    if others:
        raise _refused(others)
    return [name for name, *_ in found]


def grants_of_create(connection: psycopg.Connection[Any], config: Config) -> list[tuple[str, str]]:
    """List who else may create things in a schema of ours: (schema, role), as SQL writes them."""
    return connection.execute(SQL(ROLES + CREATORS), (list(schemas(config)),)).fetchall()


def _refused(found: Sequence[tuple[str, ...]]) -> ConfigurationError:
    said: list[tuple[str, str]] = []
    for kind, name, what, owner, user in found:
        values = {"name": name, "what": what, "owner": owner, "user": user}
        message, remedy = _REFUSALS[kind]
        said.append((message.format(**values), remedy.format(**values)))
    message, remedy = said[0]
    more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
    return ConfigurationError(
        f"PostgreSQL: {message}{more}",
        remedy=remedy,
        details={"findings": [message for message, _ in said]},
    )


def _expected(config: Config) -> list[tuple[str, str, str]]:
    """List what is ours: schema, name and the kinds (`relkind`) that it may be."""
    warehouse = PostgreSQL(config)
    raw, shown, following = schemas(config)
    published = {mart.name: warehouse.schema_of(mart) for mart in warehouse.marts}
    records = (LOAD_RUNS, PUBLICATIONS, PUBLISHED_SLICES, CURRENT_VERSIONS, LOCK_TABLE)
    return [
        (raw, config.data_warehouse.table, "r+"),
        *((raw, name, "r") for name in records),
        # A table where an earlier version of the program published.
        *((schema, name, "rv") for name, schema in published.items()),
        *((raw, parent_name(name), "p") for name in published),
        (shown, QUALITY_HISTORY, "r"),
        (raw, STAGING, "v"),
        (following, LOCK_TABLE, "r"),
        *((following, name, "rv") for name in published),
        *((raw, STAGING + suffix, "rv") for suffix in _DBT_SUFFIXES),
        *((following, name + suffix, "rv") for name in published for suffix in _DBT_SUFFIXES),
    ]
