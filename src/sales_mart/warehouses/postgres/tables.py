"""Tables and indexes of a PostgreSQL load: those of 0.1 are migrated, missing ones made.

Everything here happens in the transaction of a load, under the target's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

from pgpq import ArrowToPostgresBinaryEncoder
from psycopg.sql import SQL, Identifier, Literal

from sales_mart.errors import UnexpectedError
from sales_mart.names import raw_schema
from sales_mart.schema import arrow_schema, schema_of
from sales_mart.warehouses.own_tables import LOAD_TABLES, check_columns, table_definition
from sales_mart.warehouses.postgres.connection import Connection, ensure_schema
from sales_mart.warehouses.postgres.dialect import PostgresDialect
from sales_mart.warehouses.postgres.owners import existing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.schema import Schema, TableColumn

__all__ = ["drop_indexes", "ensure", "ensure_indexes", "ensure_tables", "parts", "raw_table"]

_DIALECT = PostgresDialect()
_ENCODED = {"bigint": "int8", "integer": "int4", "boolean": "bool"}
"""What the encoder calls types that the catalogue has other names for."""
_FORMER_INDEXES = ("token", "batch")
"""Indexes of 0.1: its rows had one row for each identifier, visible or not."""


def raw_table(config: Config) -> Identifier:
    """Return the raw table's name."""
    return Identifier(raw_schema(config), config.data_warehouse.table)


def parts(connection: Connection, config: Config) -> list[tuple[int, str]]:
    """List the tables that have the raw table's rows, by identity and name: itself comes first.

    The others inherit from it, and each was filled by one stream of a load.
    """
    query = SQL("""
        select pg_class.oid, relname
        from pg_class
        left join pg_inherits on inhrelid = pg_class.oid
        where to_regclass({raw}) in (pg_class.oid, inhparent)
        order by inhparent is not null, relname
    """).format(raw=Literal(raw_table(config).as_string(connection)))
    return connection.execute(query).fetchall()


def _indexes(table: str) -> dict[str, LiteralString]:
    """Return the indexes of a table that is appended to: name -> definition.

    An identifier's visible row is found by the first, its superseded ones by the second.
    """
    return {
        f"{table}_shown": "create unique index {} on {} (transaction_id)"
        " where superseded_by is null",
        f"{table}_super": "create index {} on {} (transaction_id) where superseded_by is not null",
        f"{table}_date": "create index {} on {} (sale_date)",
        f"{table}_loads": "create index {} on {} (business_date, run_id)",
    }


def ensure_indexes(connection: Connection, config: Config) -> None:
    """Create the indexes that an append needs, and drop those that only 0.1 needed."""
    schema, former = raw_schema(config), _former_indexes(config)
    _drop(connection, config, existing(connection, schema, former))
    for _, table in parts(connection, config):
        indexes = _indexes(table)
        found = existing(connection, schema, list(indexes))
        for name, definition in indexes.items():
            if name not in found:
                query = SQL(definition).format(Identifier(name), Identifier(schema, table))
                connection.execute(query)


def drop_indexes(connection: Connection, config: Config) -> None:
    """Drop the indexes, which a table that is filled at once needs no more."""
    names = [*_former_indexes(config), *_indexes(config.data_warehouse.table)]
    _drop(connection, config, existing(connection, raw_schema(config), names))


def _former_indexes(config: Config) -> list[str]:
    return [f"{config.data_warehouse.table}_{suffix}" for suffix in _FORMER_INDEXES]


def _drop(connection: Connection, config: Config, names: list[str]) -> None:
    for name in names:
        connection.execute(SQL("drop index {}").format(Identifier(raw_schema(config), name)))


def ensure_tables(connection: Connection, config: Config) -> None:
    """Create what is missing, then compare the raw table's columns with what COPY will write.

    Raises:
        ConfigurationError: A column is missing or has another type.
    """
    schema, sales = raw_schema(config), schema_of(config)
    ensure_schema(connection, schema)
    _check_encoder(sales)
    ensure(connection, schema, {**LOAD_TABLES, config.data_warehouse.table: sales.raw})


def ensure(
    connection: Connection, schema: str, tables: Mapping[str, Sequence[TableColumn]]
) -> None:
    """Create the tables that are missing, and add the columns that the others lack.

    Raises:
        ConfigurationError: A column has another type, or cannot be added.
    """
    found = existing(connection, schema, list(tables))
    for table, columns in tables.items():
        if table not in found:
            definition = table_definition(_DIALECT, schema, table, columns)
            connection.execute(f"create table {definition}".encode())
        else:
            _evolve(connection, schema, table, columns)


def _evolve(
    connection: Connection, schema: str, table: str, columns: Sequence[TableColumn]
) -> None:
    """Add the nullable columns that a table lacks; views and grants on it stay.

    The catalogue is asked first: `add column if not exists` would wait for every reader. A column
    that a run has no more stays, and is null from then on.

    Raises:
        ConfigurationError: A column has another type, or cannot be added.
    """
    found = dict(
        connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (_DIALECT.table(schema, table),),
        ).fetchall()
    )
    missing = check_columns(_DIALECT, f"{schema}.{table}", columns, found)
    if missing:
        added = ", ".join(f"add column {_DIALECT.definition(column)}" for column in missing)
        connection.execute(f"alter table {_DIALECT.table(schema, table)} {added}".encode())


def _check_encoder(sales: Schema) -> None:
    """Check that COPY will write the types that the table has: it would not convert them.

    Raises:
        UnexpectedError: The encoder writes another type.
    """
    encoder = ArrowToPostgresBinaryEncoder(arrow_schema(sales.valid))
    for wanted, column in zip(sales.valid, encoder.schema().columns, strict=True):
        writes = type(column.data_type).__name__.lower()
        kind = _DIALECT.type_of(wanted).partition("(")[0]
        if writes != _ENCODED.get(kind, kind):
            msg = f"the encoder writes column {wanted.name} as {writes}"
            raise UnexpectedError(msg, remedy="Install the pinned version of pgpq.")
