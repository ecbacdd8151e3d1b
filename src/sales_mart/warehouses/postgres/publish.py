"""Publish on PostgreSQL: delete and insert within one transaction, only what differs.

Live tables are changed by plain DELETE and INSERT, so that row versions do the work: a snapshot
taken before the commit sees the old marts whole, one taken after it the new ones, nobody waits,
and views, grants and indexes on the live tables stay. The measurements behind the choice stand in
`docs/explanation/publishing.md`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, LiteralString, cast

from psycopg import Cursor
from psycopg.sql import SQL, Composable, Identifier, Literal

from sales_mart.errors import ConfigurationError, UnexpectedError
from sales_mart.warehouses.history import Publication
from sales_mart.warehouses.own_tables import PUBLISH_TABLES, QUALITY_TABLES
from sales_mart.warehouses.postgres import PostgreSQL
from sales_mart.warehouses.postgres.connection import (
    Connection,
    connect,
    ensure_schema,
    lock_target,
)
from sales_mart.warehouses.postgres.owners import check_owners, exists
from sales_mart.warehouses.postgres.reader import PostgresSession
from sales_mart.warehouses.postgres.tables import ensure
from sales_mart.warehouses.publishing import (
    check_next,
    column_changes,
    publish_in_transaction,
    shown_already,
)
from sales_mart.warehouses.windows import Window, window_months

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sales_mart.marts import Mart
    from sales_mart.warehouses.publishing import NextMarts


__all__ = ["CHANGED_SLICES", "publish"]

_log = logging.getLogger(__name__)

CHANGED_SLICES: LiteralString = """
    with live as (
        select {column} as slice, count(*) as rows, sum({hash}) as checksum
        from {live} {within}
        group by {column}
    ),
    next as (
        select {column} as slice, count(*) as rows, sum({hash}) as checksum
        from {next}
        group by {column}
    )
    select slice
    from live full join next using (slice)
    where (live.rows, live.checksum) is distinct from (next.rows, next.checksum)
    order by slice
"""
"""Slices (days, months) of which the live and the next rows differ.

The sum of row hashes does not depend on the order of the rows, and reads both sides once.
"""
_COLUMNS: LiteralString = """
    select attname, format_type(atttypid, atttypmod)
    from pg_attribute
    where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
    order by attnum
"""


def publish(warehouse: PostgreSQL, following: NextMarts) -> Publication:
    """Make the next marts the published ones, in one transaction."""
    config = warehouse.config
    with connect(config) as connection:
        lock_target(connection, config)
        check_owners(connection, config)
        # The checksums read dates as ISO text.
        connection.execute("set local datestyle = 'ISO'")
        session = PostgresSession(connection, config)
        published, recorded = shown_already(session, following)
        if published is not None:
            return published
        tables = {mart.name: _Table(connection, warehouse, mart) for mart in warehouse.marts}
        marks = {name: table.hold() for name, table in tables.items()}
        for table in tables.values():
            table.evolve(following.window)
        check_next(session, following, marks)
        ensure(connection, warehouse.raw_schema, PUBLISH_TABLES)
        ensure_schema(connection, warehouse.mart_schema)
        ensure(connection, warehouse.mart_schema, QUALITY_TABLES)
        made = publish_in_transaction(
            session,
            lambda sql: connection.execute(sql.encode()),
            following,
            lambda mart: tables[mart.name].publish(following.window),
            recorded=recorded,
        )
        connection.commit()
    return made


class _Table:
    """One table to publish: the next one, the live one, and the column of its window."""

    def __init__(self, connection: Connection, warehouse: PostgreSQL, mart: Mart) -> None:
        self._connection = connection
        self._mart = mart
        self._name = name = mart.name
        self._column = mart.slice
        self._schema, self._next_schema = warehouse.schema_of(mart), warehouse.next_schema
        self._live = Identifier(self._schema, name)
        self._next = Identifier(self._next_schema, name)
        self._columns: tuple[str, ...] = ()  # none where there is no live table

    def hold(self) -> str:
        """Keep dbt from replacing the next table in this transaction; gives the table's number."""
        if not exists(self._connection, self._next_schema, self._name):
            msg = f"{self._next_schema}.{self._name} has not been built"
            raise ConfigurationError(msg, remedy="Run `sales-mart transform` for the run first.")
        self._execute("lock table {next} in access share mode")
        return self._execute(
            "select cast(cast(cast({name} as regclass) as oid) as text)",
            name=Literal(self._next.as_string(self._connection)),
        ).fetchall()[0][0]

    def publish(self, window: Window) -> None:
        """Make the next rows the live ones; `evolve` has been called."""
        if not self._columns:
            self._move(window)
            return
        changed = self._changed(self._columns, self._column, window) if self._column else None
        self._rewrite(self._columns, changed)

    def _move(self, window: Window) -> None:
        """First publication: the next table itself becomes the live one, with its comments."""
        if window is not None:
            msg = f"{self._schema}.{self._name} is gone, and only some of its days were built"
            raise ConfigurationError(
                msg,
                remedy="Run `sales-mart transform` and `reconcile` again, which build all of it.",
            )
        ensure_schema(self._connection, self._schema)
        self._execute("alter table {next} set schema {schema}", schema=Identifier(self._schema))
        if self._column:
            self._execute(
                "create index if not exists {index} on {live} ({column})",
                index=Identifier(f"{self._name}_{self._column}"),
                column=Identifier(self._column),
            )
        self._execute("analyze {live}")

    def evolve(self, window: Window) -> None:
        """Give the live table, if there is one, the columns that it lacks."""
        if not exists(self._connection, self._schema, self._name):
            return
        live, following = (
            dict(self._connection.execute(_COLUMNS, (f'"{schema}"."{self._name}"',)).fetchall())
            for schema in (self._schema, self._next_schema)
        )
        changes = column_changes(
            self._mart, f"{self._schema}.{self._name}", live, following, window
        )
        for name in changes.added:
            self._execute(
                "alter table {live} add column {column} {type}",
                column=Identifier(name),
                type=SQL(cast("LiteralString", following[name])),  # as the catalogue spells it
            )
        for name in changes.removed:
            self._execute(
                "alter table {live} alter column {column} drop not null", column=Identifier(name)
            )
            if window is None:  # slices that are the same otherwise are not written again
                self._execute(
                    "update {live} set {column} = null where {column} is not null",
                    column=Identifier(name),
                )
        self._columns = tuple(following)

    def _changed(self, columns: Sequence[str], column: str, window: Window) -> list[date]:
        """Find the slices to rewrite, so that a day that stayed the same costs no write."""
        within = SQL("")
        if window is not None:
            slices = list(window if column == "sale_date" else window_months(window))
            strays = self._execute(
                "select count(*) from {next} where ({column} = any({slices})) is not true",
                column=Identifier(column),
                slices=slices,
            ).fetchall()[0][0]
            if strays:
                msg = f"{self._next_schema}.{self._name} has {strays} rows outside of the window"
                raise UnexpectedError(msg, remedy="Nothing was changed. Report this as a bug.")
            within = SQL("where {} = any({})").format(Identifier(column), slices)
        found = self._execute(
            CHANGED_SLICES,
            column=Identifier(column),
            hash=SQL("hash_record_extended(row({}), 0)").format(_list(columns)),
            within=within,
        ).fetchall()
        return [day for (day,) in found]

    def _rewrite(self, columns: Sequence[str], slices: list[date] | None) -> None:
        """Replace the rows of `slices`, or all rows."""
        within = (
            SQL("")
            if slices is None
            else SQL("where {} = any({})").format(Identifier(self._column or ""), slices)
        )
        removed = self._execute("delete from {live} {within}", within=within).rowcount
        added = self._execute(
            "insert into {live} ({columns}) select {columns} from {next} {within}",
            columns=_list(columns),
            within=within,
        ).rowcount
        _log.info("postgres: %s: %d rows out, %d in", self._name, removed, added)

    def _execute(self, statement: LiteralString, **parts: object) -> Cursor[tuple[Any, ...]]:
        query = SQL(statement).format(live=self._live, next=self._next, **parts)
        return self._connection.execute(query)


def _list(columns: Sequence[str]) -> Composable:
    return SQL(", ").join(map(Identifier, columns))
