"""Versions of the published marts: partitions, of which a row names the one that is shown.

Beside the raw table each mart is a table that is partitioned by version. What people read is a view
on the version that `current_versions` names, so that one statement changes all marts at once. A
snapshot from before sees the row of before, and so the former version whole: that one is dropped
when no snapshot can see it any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, cast

from psycopg import Cursor
from psycopg.sql import SQL, Identifier, Literal

from sales_mart.errors import ConfigurationError
from sales_mart.names import raw_schema
from sales_mart.schema import TableColumn
from sales_mart.warehouses.postgres.owners import CURRENT_VERSIONS, exists, parent_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config
    from sales_mart.marts import Mart
    from sales_mart.warehouses.postgres.connection import Connection

__all__ = [
    "POINTER",
    "VERSION",
    "Column",
    "add_column",
    "add_columns",
    "add_version",
    "allow_null",
    "attach",
    "columns_of",
    "create_parent",
    "create_view",
    "current_version",
    "forget_version",
    "make_ready",
    "next_version",
    "partition_name",
    "pointer",
    "run",
    "show_version",
]

VERSION = "_version"
"""Column that tells versions apart; neither an attribute nor a column of ours begins so."""
POINTER = {
    CURRENT_VERSIONS: (
        TableColumn(name="mart", kind="text", is_nullable=False, description="Published table."),
        TableColumn(
            name="version", kind="integer", is_nullable=False, description="Version that is shown."
        ),
    )
}
"""The table that says which version of each mart is shown."""
_LONGEST_NAME = 63
_COLUMNS: LiteralString = """
    select
        attname,
        format_type(atttypid, atttypmod) || coalesce(
            (
                select ' collate ' || quote_ident(nspname) || '.' || quote_ident(collname)
                from pg_collation
                inner join pg_namespace on pg_namespace.oid = collnamespace
                inner join pg_type on pg_type.oid = atttypid
                where pg_collation.oid = attcollation and attcollation <> typcollation
            ),
            ''
        )
    from pg_attribute
    where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attname <> %s
    order by attnum
"""
_COMMENTS: LiteralString = """
    select attname, description
    from pg_description
    left join pg_attribute on attrelid = objoid and attnum = objsubid and objsubid > 0
    where objoid = to_regclass(%s) and classoid = 'pg_class'::regclass
"""
_READY: LiteralString = """
    select count(*) > 0
    from pg_constraint
    where conrelid = to_regclass(%s) and conname = %s
"""


class Column(NamedTuple):
    """A column of a table, and its type as the catalogue spells it."""

    name: str
    type: str


def partition_name(mart: str, version: int) -> str:
    """Return the name of the table, beside the raw one, with one version of a mart."""
    return f"v{version}__{mart}"[:_LONGEST_NAME]


def run(
    connection: Connection, statement: LiteralString, **parts: object
) -> Cursor[tuple[Any, ...]]:
    """Run a statement with identifiers and literals in it."""
    return connection.execute(SQL(statement).format(**parts))


def columns_of(connection: Connection, table: Identifier) -> list[Column]:
    """Return the columns of a table or view in their order; none when there is no such one."""
    found = connection.execute(_COLUMNS, (table.as_string(connection), VERSION))
    return [Column(*row) for row in found]


def current_version(connection: Connection, config: Config, mart: str) -> int:
    """Return the version of a mart that is shown; 0 is the table of before there were versions."""
    found = run(
        connection,
        "select coalesce(max(version), 0) from {versions} where mart = {mart}",
        versions=pointer(config),
        mart=Literal(mart),
    )
    return found.fetchall()[0][0]


def next_version(connection: Connection, config: Config) -> int:
    """Return the number of the version that will be shown next."""
    if not exists(connection, raw_schema(config), CURRENT_VERSIONS):
        return 1
    found = run(
        connection,
        "select coalesce(max(version), 0) + 1 from {versions}",
        versions=pointer(config),
    )
    return found.fetchall()[0][0]


def show_version(connection: Connection, config: Config, mart: str, version: int) -> None:
    """Let the view of a mart show a version."""
    for statement in (
        "update {versions} set version = {version} where mart = {mart}",
        (
            "insert into {versions} (mart, version) select {mart}, {version}"
            " where not exists (select from {versions} where mart = {mart})"
        ),
    ):
        run(
            connection,
            statement,
            versions=pointer(config),
            mart=Literal(mart),
            version=Literal(version),
        )


def forget_version(connection: Connection, config: Config, mart: str) -> None:
    """Let the view of a mart show version 0."""
    run(
        connection,
        "delete from {versions} where mart = {mart}",
        versions=pointer(config),
        mart=Literal(mart),
    )


def make_ready(connection: Connection, table: Identifier, mart: Mart, version: int) -> None:
    """Make a table that was built one that can be attached as a version without being read.

    Nothing is done where that has been done already.
    """
    name = table.as_string(connection)
    if connection.execute(_READY, (name, _check(version))).fetchone() == (True,):
        return
    run(
        connection,
        "alter table {table} drop column if exists {column}",
        table=table,
        column=Identifier(VERSION),
    )
    add_version(connection, table, version)
    if mart.slice:
        number = connection.execute("select cast(to_regclass(%s) as oid)", (name,)).fetchall()[0][0]
        run(
            connection,
            "create index if not exists {index} on {table} ({slice})",
            # Its number, since indexes of all versions will be in one schema.
            index=Identifier(f"i{number}__{mart.name}"[:_LONGEST_NAME]),
            table=table,
            slice=Identifier(mart.slice),
        )
    run(connection, "analyze {table}", table=table)


def add_version(connection: Connection, table: Identifier, version: int) -> None:
    """Give a table its version, which takes no room, and a check that it is the same everywhere."""
    run(
        connection,
        "alter table {table} add column {column} bigint not null default {version},"
        " add constraint {check} check ({column} = {version})",
        table=table,
        column=Identifier(VERSION),
        version=Literal(version),
        check=Identifier(_check(version)),
    )


def attach(  # noqa: PLR0913 - what is moved where
    connection: Connection, config: Config, mart: str, version: int, *, schema: str, table: str
) -> Identifier:
    """Make a table, which is ready, a version of a mart; gives its name then."""
    name, raw = partition_name(mart, version), raw_schema(config)
    if exists(connection, raw, name):
        msg = f"PostgreSQL: {raw}.{name} is in the way of the next version"
        raise ConfigurationError(msg, remedy="Find out what it is, then drop or rename it.")
    moved, partition = Identifier(schema, name), Identifier(raw, name)
    run(
        connection,
        "alter table {table} rename to {name}",
        table=Identifier(schema, table),
        name=Identifier(name),
    )
    if schema != raw:
        run(
            connection,
            "alter table {table} set schema {schema}",
            table=moved,
            schema=Identifier(raw),
        )
    run(
        connection,
        "alter table {parent} attach partition {partition} for values in ({version})",
        parent=_parent(config, mart),
        partition=partition,
        version=Literal(version),
    )
    return partition


def create_parent(
    connection: Connection, config: Config, mart: str, columns: Sequence[Column]
) -> None:
    """Make the table that the versions of a mart become partitions of; a former one is dropped."""
    if exists(connection, raw_schema(config), parent_name(mart)):
        run(connection, "drop table {parent}", parent=_parent(config, mart))
    listed = [
        SQL("{} {}").format(Identifier(name), SQL(cast("LiteralString", kind)))
        for name, kind in (*columns, Column(VERSION, "bigint"))
    ]
    run(
        connection,
        "create table {parent} ({columns}) partition by list ({version})",
        parent=_parent(config, mart),
        columns=SQL(", ").join(listed),
        version=Identifier(VERSION),
    )


def add_columns(
    connection: Connection, config: Config, mart: str, columns: Sequence[Column]
) -> None:
    """Give a mart, in all of its versions, columns that it lacks; this waits for its readers."""
    parent = _parent(config, mart)
    run(connection, "lock table {parent} in access exclusive mode", parent=parent)
    # One that is halfway detached would not get them, and could not be detached any more.
    halfway = connection.execute(
        "select inhrelid::regclass::text from pg_inherits"
        " where inhparent = to_regclass(%s) and inhdetachpending",
        (parent.as_string(connection),),
    )
    for (name,) in halfway.fetchall():
        connection.execute(f"drop table {name}".encode())
    for each in columns:
        add_column(connection, parent, each)


def add_column(connection: Connection, table: Identifier, column: Column) -> None:
    """Give a table a column, and a partitioned one all of its partitions."""
    run(
        connection,
        "alter table {table} add column {column} {type}",
        table=table,
        column=Identifier(column.name),
        type=SQL(cast("LiteralString", column.type)),
    )


def allow_null(connection: Connection, table: Identifier, column: str) -> None:
    """Let a column be null; a table where it may be is not touched, as that waits for readers."""
    must = connection.execute(
        "select from pg_attribute where attrelid = to_regclass(%s) and attname = %s and attnotnull",
        (table.as_string(connection), column),
    )
    if must.fetchone() is not None:
        run(
            connection,
            "alter table {table} alter column {column} drop not null",
            table=table,
            column=Identifier(column),
        )


def create_view(
    connection: Connection, config: Config, mart: str, live: Identifier, version: Identifier
) -> None:
    """Make the view that readers know a mart by, or add the columns that a version has more.

    A snapshot of before there were versions sees no row that names one, and with it version 0.
    """
    known = [each.name for each in columns_of(connection, live)]
    new = [each.name for each in columns_of(connection, version) if each.name not in known]
    run(
        connection,
        "create or replace view {live} as select {columns} from {parent} where {version} ="
        " (select coalesce(max(version), 0) from {versions} where mart = {mart})",
        live=live,
        columns=SQL(", ").join(map(Identifier, (*known, *new))),
        parent=_parent(config, mart),
        version=Identifier(VERSION),
        versions=pointer(config),
        mart=Literal(mart),
    )
    for column, comment in connection.execute(_COMMENTS, (version.as_string(connection),)):
        if column in new:
            place = SQL("column {}.{}").format(live, Identifier(column))
        elif column is None and not known:
            place = SQL("view {}").format(live)
        else:
            continue
        run(connection, "comment on {place} is {text}", place=place, text=Literal(comment))


def _parent(config: Config, mart: str) -> Identifier:
    return Identifier(raw_schema(config), parent_name(mart))


def _check(version: int) -> str:
    return f"is_version_{version}"


def pointer(config: Config) -> Identifier:
    """Return the name of the table that says which versions are shown."""
    return Identifier(raw_schema(config), CURRENT_VERSIONS)
