"""Whose the objects are that stand where ours should be; those of others are refused.

What runs when a table is read or written runs with our rights: triggers, rules, defaults, views.
So a relation has to belong to us or to a role that we belong to, and has to call nothing that
others made. For a superuser, who has the rights of all roles, only what belongs to a superuser is
ours, not everything. A session that only reads, in a schema where its role may create nothing,
trusts those who may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

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
from sales_mart.warehouses.postgres.session import LOCK_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from sales_mart.config import Config

__all__ = [
    "check_owners",
    "check_relations",
    "existing",
    "exists",
    "grants_of_create",
    "schemas",
]

_DBT_SUFFIXES = ("__dbt_tmp", "__dbt_backup")
# `trusted` may own a schema: who can drop and replace everything in it in any case.
_ROLES: LiteralString = """
    with recursive ours as (
        select theirs.oid
        from pg_roles as mine
        inner join pg_roles as theirs
            on theirs.oid = mine.oid or (theirs.rolsuper and mine.rolsuper)
        where mine.rolname = current_user
        union
        select roleid from pg_auth_members inner join ours on member = ours.oid
    ),

    superusers as (
        select oid from pg_roles where rolsuper
    ),

    trusted as (
        select oid from ours
        union
        select oid from superusers
        union
        select oid from pg_roles where rolname = 'pg_database_owner'
        union
        select datdba from pg_database where datname = current_database()
    )
"""
_OWNERS: LiteralString = """
    select
        relname,
        relowner in (select oid from ours)
        or (%(reads)s and not has_schema_privilege(current_user, relnamespace, 'CREATE')),
        quote_ident(%(schema)s) || '.' || quote_ident(relname),
        null,
        quote_ident(pg_get_userbyid(relowner)),
        quote_ident(current_user)
    from pg_class
    where
        relname = any(%(relations)s)
        and relnamespace = (select oid from pg_namespace where nspname = %(schema)s)
"""
# A view or a table calls what its defaults, constraints, indexes and rules depend on; what came
# with the server itself has no entries in pg_depend.
_FINDINGS: LiteralString = """,

    expected as (
        select schema_name, relation_name, kinds
        from
            unnest(%(schemas)s::text[], %(relations)s::text[], %(kinds)s::text[])
                as given (schema_name, relation_name, kinds)
    ),

    places as (
        select
            oid,
            nspname,
            nspowner,
            not %(reads)s or has_schema_privilege(current_user, oid, 'CREATE') as is_ours
        from pg_namespace
        where nspname in (select schema_name from expected)
    ),

    relations as (
        select
            pg_class.oid,
            nspname,
            relname,
            relowner,
            relkind,
            kinds,
            is_ours,
            row_security_active(pg_class.oid) or relforcerowsecurity as is_filtered
        from expected
        inner join places on nspname = schema_name
        inner join pg_class on relnamespace = places.oid and relname = relation_name
    ),

    parts as (
        select oid as relation, 'pg_class'::regclass as class, oid as part from relations
        union all
        select indrelid, 'pg_class'::regclass, indexrelid
        from pg_index
        where indrelid in (select oid from relations)
        union all
        select adrelid, 'pg_attrdef'::regclass, oid
        from pg_attrdef
        where adrelid in (select oid from relations)
        union all
        select conrelid, 'pg_constraint'::regclass, oid
        from pg_constraint
        where conrelid in (select oid from relations)
        union all
        select ev_class, 'pg_rewrite'::regclass, oid
        from pg_rewrite
        where ev_class in (select oid from relations)
    ),

    called as (
        select relation, 'function ' || refobjid::regprocedure::text as called, proowner as owner
        from parts
        inner join pg_depend on classid = class and objid = part
        inner join pg_proc on refclassid = 'pg_proc'::regclass and refobjid = pg_proc.oid
        union all
        select relation, 'operator ' || refobjid::regoperator::text, oprowner
        from parts
        inner join pg_depend on classid = class and objid = part
        inner join pg_operator
            on refclassid = 'pg_operator'::regclass and refobjid = pg_operator.oid
        union all
        select relation, 'type ' || refobjid::regtype::text, typowner
        from parts
        inner join pg_depend on classid = class and objid = part
        inner join pg_type on refclassid = 'pg_type'::regclass and refobjid = pg_type.oid
    ),

    findings as (
        select 1 as rank, 'schema' as kind, nspname as schema, null as relation, null as what,
            nspowner as owner
        from places
        where is_ours and nspowner not in (select oid from trusted)
        union all
        select 2, 'relation', nspname, relname, null, relowner
        from relations
        where is_ours and relowner not in (select oid from ours)
        union all
        select 3, 'function', nspname, proname, pg_proc.oid::regprocedure::text, proowner
        from expected
        inner join places on nspname = schema_name
        inner join pg_proc on pronamespace = places.oid and proname = relation_name
        where is_ours and proowner not in (select oid from ours)
        union all
        select 3, 'type', nspname, typname, null, typowner
        from expected
        inner join places on nspname = schema_name
        inner join pg_type on typnamespace = places.oid and typname = relation_name
        where
            is_ours
            and typrelid = 0
            and typelem = 0
            and typowner not in (select oid from ours)
        union all
        select 4, 'kind', nspname, relname, null, relowner
        from relations
        where strpos(kinds, relkind::text) = 0
        union all
        select 5, 'trigger', nspname, relname, quote_ident(tgname), relowner
        from relations
        inner join pg_trigger on tgrelid = relations.oid
        where not tgisinternal
        union all
        select 5, 'rule', nspname, relname, quote_ident(rulename), relowner
        from relations
        inner join pg_rewrite on ev_class = relations.oid
        where rulename <> '_RETURN'
        union all
        select 5, 'policy', nspname, relname, null, relowner
        from relations
        where is_filtered
        union all
        select 5, 'inheritance', nspname, relname, null, relowner
        from relations
        where exists (
            select from pg_inherits where relations.oid in (inhrelid, inhparent)
        )
        union all
        select 6, 'call', nspname, relname, called, owner
        from called
        inner join relations on relations.oid = relation
        where is_ours and owner not in (select oid from ours union select oid from superusers)
    )

    select
        kind,
        quote_ident(schema) || coalesce('.' || quote_ident(relation), ''),
        what,
        quote_ident(pg_get_userbyid(owner)),
        quote_ident(current_user)
    from findings
    order by rank, schema, relation, what
"""
_CREATORS: LiteralString = """
    select
        quote_ident(nspname),
        case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end
    from pg_namespace
    cross join aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    where
        nspname = any(%s)
        and privilege_type = 'CREATE'
        and grantee <> nspowner
        and grantee not in (select oid from trusted)
    order by 1, 2
"""
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
        expected: Schema, name and the kinds (`relkind`) that it may be.

    Raises:
        ConfigurationError: As `check_owners` says.
    """
    found = connection.execute(
        SQL(_ROLES + _FINDINGS),
        {
            "schemas": [schema for schema, _, _ in expected],
            "relations": [name for _, name, _ in expected],
            "kinds": [kinds for _, _, kinds in expected],
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
        SQL(_ROLES + _OWNERS),
        {"schema": schema, "relations": relations, "reads": bool(connection.read_only)},
    ).fetchall()
    others = [("relation", *finding) for _, is_ours, *finding in found if not is_ours]
    if others:
        raise _refused(others)
    return [name for name, *_ in found]


def grants_of_create(connection: psycopg.Connection[Any], config: Config) -> list[tuple[str, str]]:
    """List who else may create things in a schema of ours: (schema, role), as SQL writes them."""
    return connection.execute(SQL(_ROLES + _CREATORS), (list(schemas(config)),)).fetchall()


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
    records = (LOAD_RUNS, PUBLICATIONS, PUBLISHED_SLICES, LOCK_TABLE)
    tables = (config.data_warehouse.table, *records)
    return [
        *((raw, name, "r") for name in tables),
        *((schema, name, "r") for name, schema in published.items()),
        (shown, QUALITY_HISTORY, "r"),
        (raw, STAGING, "v"),
        (following, LOCK_TABLE, "r"),
        *((following, name, "rv") for name in published),
        *((raw, STAGING + suffix, "rv") for suffix in _DBT_SUFFIXES),
        *((following, name + suffix, "rv") for name in published for suffix in _DBT_SUFFIXES),
    ]
