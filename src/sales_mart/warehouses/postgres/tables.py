"""Tables and indexes of a PostgreSQL load: those of 0.1 are migrated, missing ones made.

Everything here happens in the transaction of a load, under the target's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

from pgpq import ArrowToPostgresBinaryEncoder
from psycopg.sql import SQL, Identifier, Literal

from sales_mart.errors import ConfigurationError
from sales_mart.names import LOAD_RUNS, clean_schema, raw_schema
from sales_mart.warehouses.postgres.connection import Connection, ensure_schema
from sales_mart.warehouses.postgres.owners import exists

if TYPE_CHECKING:
    from sales_mart.config import Config

__all__ = ["COLUMN_TYPES", "drop_indexes", "ensure_indexes", "ensure_tables", "raw_table"]

COLUMN_TYPES: dict[str, LiteralString] = {
    "transaction_id": 'text collate "C" not null',
    "product": 'text collate "C"',
    "price": "numeric(18, {scale})",
    "quantity": "bigint",
    "sale_date": "date not null",
    "source_file": "integer not null",
    "source_row": "bigint not null",
}
"""Columns that come with a sealed part."""
_STAMP_TYPES: dict[str, LiteralString] = {
    "run_id": "text not null",
    "business_date": "date not null",
    "superseded_by": "date",
}
_LOAD_RUNS_DDL: LiteralString = """
    create table {} (
        sequence bigint primary key,
        run_id text not null,
        business_date date not null,
        mode text not null,
        rows bigint not null,
        yielded_rows bigint not null,
        key_id text not null,
        sale_date_window text,
        seal_digest text not null,
        loaded_at timestamptz not null default clock_timestamp()
    )
"""
# What came after 0.1: nullable, so that they can be added to what it left.
_NEW_RAW_COLUMNS: dict[str, LiteralString] = {"superseded_by": "date"}
_NEW_LOAD_COLUMNS: dict[str, LiteralString] = {
    "removed_rows": "bigint",
    "superseded_rows": "bigint",
    "shown_again_rows": "bigint",
    "visible_rows": "bigint",
    "rules": "text",
    "rejects": "text",
}
_FORMER_INDEXES = ("token", "batch")
"""Indexes of 0.1: its rows had one row for each identifier, visible or not."""


def raw_table(config: Config) -> Identifier:
    """Return the raw table's name."""
    return Identifier(raw_schema(config), config.data_warehouse.table)


def _indexes(config: Config) -> dict[str, LiteralString]:
    """Return the indexes of a table that is appended to: name -> definition.

    An identifier's visible row is found by the first, its superseded ones by the second.
    """
    table = config.data_warehouse.table
    return {
        f"{table}_shown": "create unique index {} on {} (transaction_id)"
        " where superseded_by is null",
        f"{table}_super": "create index {} on {} (transaction_id) where superseded_by is not null",
        f"{table}_date": "create index {} on {} (sale_date)",
        f"{table}_loads": "create index {} on {} (business_date, run_id)",
    }


def ensure_indexes(connection: Connection, config: Config) -> None:
    """Create the indexes that an append needs, and drop those that only 0.1 needed."""
    _drop(connection, config, _former_indexes(config))
    for name, definition in _indexes(config).items():
        if not exists(connection, raw_schema(config), name):
            connection.execute(SQL(definition).format(Identifier(name), raw_table(config)))


def drop_indexes(connection: Connection, config: Config) -> None:
    """Drop the indexes, which a table that is filled at once needs no more."""
    _drop(connection, config, [*_former_indexes(config), *_indexes(config)])


def _former_indexes(config: Config) -> list[str]:
    return [f"{config.data_warehouse.table}_{suffix}" for suffix in _FORMER_INDEXES]


def _drop(connection: Connection, config: Config, names: list[str]) -> None:
    for name in names:
        connection.execute(
            SQL("drop index if exists {}").format(Identifier(raw_schema(config), name))
        )


def ensure_tables(connection: Connection, config: Config) -> None:
    """Create what is missing, then compare the raw table's columns with what COPY will write.

    Raises:
        ConfigurationError: A column is missing or has another type.
    """
    schema, table = raw_schema(config), config.data_warehouse.table
    ensure_schema(connection, schema)
    if not exists(connection, schema, LOAD_RUNS):
        connection.execute(SQL(_LOAD_RUNS_DDL).format(Identifier(schema, LOAD_RUNS)))
    if not exists(connection, schema, table):
        scale = Literal(config.rules.max_decimals)
        columns = [
            SQL("{} {}").format(Identifier(name), SQL(kind).format(scale=scale))
            for name, kind in (COLUMN_TYPES | _STAMP_TYPES).items()
        ]
        connection.execute(
            SQL("create table {} ({})").format(raw_table(config), SQL(", ").join(columns))
        )
    _check_columns(connection, config)
    _add_columns(connection, schema, LOAD_RUNS, _NEW_LOAD_COLUMNS)
    _add_columns(connection, schema, table, _NEW_RAW_COLUMNS)


def _add_columns(
    connection: Connection, schema: str, table: str, columns: dict[str, LiteralString]
) -> None:
    """Add the columns that a table lacks; views and grants on it stay.

    The catalogue is asked first: `add column if not exists` would wait for every reader.
    """
    found = _columns(connection, schema, table)
    missing = [
        SQL("add column {} {}").format(Identifier(name), SQL(kind))
        for name, kind in columns.items()
        if name not in found
    ]
    if missing:
        connection.execute(
            SQL("alter table {} {}").format(Identifier(schema, table), SQL(", ").join(missing))
        )


def _columns(connection: Connection, schema: str, table: str) -> dict[str, tuple[str, str]]:
    """Return name and full text of each column's type."""
    return {
        name: (kind, shown)
        for name, kind, shown in connection.execute(
            "select attname, typname, format_type(atttypid, atttypmod)"
            " from pg_attribute join pg_type on pg_type.oid = atttypid"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (f'"{schema}"."{table}"',),
        )
    }


def _check_columns(connection: Connection, config: Config) -> None:
    schema = clean_schema(config.rules.max_decimals)
    encoded = {
        column.name: type(column.data_type).__name__.lower()
        for column in ArrowToPostgresBinaryEncoder(schema).schema().columns
    }
    expected = (
        {
            name: f"numeric(18,{config.rules.max_decimals})" if kind == "numeric" else kind
            for name, kind in encoded.items()
        }
        | {"run_id": "text", "business_date": "date"}
        | _NEW_RAW_COLUMNS
    )
    found = _columns(connection, raw_schema(config), config.data_warehouse.table)
    for name, kind in expected.items():
        if name in _NEW_RAW_COLUMNS and name not in found:
            continue  # it is about to be added
        have, shown = found.get(name, ("", "missing"))
        if kind not in (have, shown):
            where = f"{raw_schema(config)}.{config.data_warehouse.table}"
            msg = f"column {name} of {where} is {shown}, the run writes {kind}"
            raise ConfigurationError(
                msg,
                remedy="Move the table away or drop it and load the history anew, or put "
                "ingestion.validation.max_decimals back.",
            )
