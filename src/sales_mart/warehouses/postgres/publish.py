"""Publish on PostgreSQL: in one transaction, and without copying what was built whole.

A build of everything is attached as the next version of each mart, and one statement lets all views
show it. A build of some days changes the version that is shown, by plain DELETE and INSERT. Either
way rows do the work, not the catalogue: a snapshot taken before the commit sees the old marts
whole, one taken after it the new ones, and views and grants stay. The measurements behind the
choice stand in `docs/explanation/publishing.md`.

A statement that was planned before a version is attached does not read it, and would find the mart
empty if it began to run after the commit. So no statement on the views may be under way meanwhile:
the pointer's table, which each of them locks before it is planned, is locked for the few
milliseconds of the switch. Where a reader does not go out of the way for seconds, the rows are
copied into the version that is shown, which needs no lock.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import Cursor
from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL, Identifier

from sales_mart.errors import ConfigurationError, UnexpectedError
from sales_mart.warehouses.own_tables import PUBLISH_TABLES, QUALITY_TABLES
from sales_mart.warehouses.postgres.adopt import adopt
from sales_mart.warehouses.postgres.connection import (
    Connection,
    connect,
    ensure_schema,
    lock_target,
)
from sales_mart.warehouses.postgres.former_versions import drop_former_versions
from sales_mart.warehouses.postgres.owners import (
    CURRENT_VERSIONS,
    check_owners,
    exists,
    parent_name,
)
from sales_mart.warehouses.postgres.reader import PostgresSession
from sales_mart.warehouses.postgres.tables import ensure
from sales_mart.warehouses.postgres.versions import (
    POINTER,
    add_column,
    add_columns,
    allow_null,
    attach,
    columns_of,
    create_parent,
    create_view,
    current_version,
    make_ready,
    next_version,
    partition_name,
    pointer,
    run,
    show_version,
)
from sales_mart.warehouses.publishing import (
    check_next,
    column_changes,
    publish_in_transaction,
    shown_already,
)
from sales_mart.warehouses.windows import window_months

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_mart.config import Config
    from sales_mart.marts import Mart
    from sales_mart.warehouses.history import Publication
    from sales_mart.warehouses.postgres import PostgreSQL
    from sales_mart.warehouses.postgres.versions import Column
    from sales_mart.warehouses.publishing import NextMarts
    from sales_mart.warehouses.windows import Window

__all__ = ["prepare", "publish"]

_log = logging.getLogger(__name__)

_ATTEMPTS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds that readers may have to wait behind us, one attempt after the other."""


def prepare(warehouse: PostgreSQL) -> None:
    """Make the next marts, which were built whole, ready to be attached.

    What takes time, the index and a scan for its check, is done here, before `publish`.
    """
    with connect(warehouse.config) as connection:
        check_owners(connection, warehouse.config)
        version = next_version(connection, warehouse.config)
        for mart in warehouse.marts:
            make_ready(connection, _next(warehouse, mart), mart, version)
            connection.commit()


def publish(warehouse: PostgreSQL, following: NextMarts) -> Publication:
    """Make the next marts the published ones, in one transaction."""
    config = warehouse.config
    with connect(config) as connection:
        lock_target(connection, config)
        check_owners(connection, config)
        # The checksums read dates as ISO text.
        connection.execute("set local datestyle = 'ISO'")
        session = PostgresSession(connection, config)
        if _are_shown(connection, warehouse, following):
            following = following._replace(full_refresh=False)
        published, recorded = shown_already(session, following)
        if published is None:
            ensure(connection, warehouse.raw_schema, PUBLISH_TABLES | POINTER)
            ensure_schema(connection, warehouse.mart_schema)
            ensure(connection, warehouse.mart_schema, QUALITY_TABLES)
            tables = {mart.name: _Table(connection, warehouse, mart) for mart in warehouse.marts}
            # Before anything is read, so that dbt cannot replace them in this transaction.
            marks = {name: table.hold() for name, table in tables.items()}
            for table in tables.values():
                table.evolve(following.window)
            check_next(session, following, marks)
            version = next_version(connection, config) if following.window is None else None
            published = publish_in_transaction(
                session,
                lambda sql: connection.execute(sql.encode()),
                following,
                lambda mart: tables[mart.name].copy(following.window, version),
                recorded=recorded,
                move=None
                if version is None
                else partial(_move, connection, config, tables, version),
            )
            if version is not None:
                _drop_views(connection, warehouse.next_schema)
            connection.commit()
    drop_former_versions(warehouse)
    return published


class _Table:
    """One mart to publish: the next table, and the view that readers know."""

    def __init__(self, connection: Connection, warehouse: PostgreSQL, mart: Mart) -> None:
        self._connection = connection
        self._warehouse = warehouse
        self._mart = mart
        self._live = Identifier(warehouse.schema_of(mart), mart.name)
        self._next = _next(warehouse, mart)
        self._columns: list[Column] = []
        self._removed: tuple[str, ...] = ()

    def hold(self) -> str:
        """Keep dbt from replacing the next table in this transaction; gives the table's number."""
        if not exists(self._connection, self._warehouse.next_schema, self._mart.name):
            msg = f"{self._warehouse.next_schema}.{self._mart.name} has not been built"
            raise ConfigurationError(msg, remedy="Run `sales-mart transform` for the run first.")
        self._execute("lock table {next} in access exclusive mode")
        return _number(self._connection, self._next)

    def evolve(self, window: Window) -> None:
        """Check the columns, and turn the table of an earlier version of the program into a view.

        Raises:
            ConfigurationError: There is nothing to change some days of, the columns do not fit, or
                something depends on the table that cannot be moved.
        """
        schema, name = self._warehouse.schema_of(self._mart), self._mart.name
        live, self._columns = (
            columns_of(self._connection, each) for each in (self._live, self._next)
        )
        if not live and window is not None:
            msg = f"{schema}.{name} is gone, and only some of its days were built"
            raise ConfigurationError(
                msg,
                remedy="Run `sales-mart transform` and `reconcile` again, which build all of it.",
            )
        if live:
            changes = column_changes(
                self._mart, f"{schema}.{name}", dict(live), dict(self._columns), window
            )
            self._removed = changes.removed
            adopt(self._connection, self._warehouse, self._mart)

    def widen(self) -> None:
        """Give the version that is shown, and its view, the columns that are new."""
        connection, config, name = self._connection, self._warehouse.config, self._mart.name
        live = columns_of(connection, self._live)
        if not live or set(self._columns) <= set(live):
            return
        known = columns_of(connection, self._parent)
        if new := [each for each in self._columns if each not in known]:
            add_columns(connection, config, name, new)
        create_view(connection, config, name, self._live, _shown(connection, self._warehouse, name))

    def copy(self, window: Window, version: int | None) -> None:
        """Put the next rows into the version that is shown, where there is one.

        Args:
            window: Sale dates whose rows are replaced; None for all rows.
            version: The next version, when everything was built.
        """
        if version is not None and not columns_of(self._connection, self._live):
            self.attach(version)  # nobody can be reading it
        else:
            self._rewrite(window)

    def attach(self, version: int) -> None:
        """Make the next table itself a version, and let the view show it; it has been widened."""
        connection, config, name = self._connection, self._warehouse.config, self._mart.name
        known, live = (columns_of(connection, each) for each in (self._parent, self._live))
        if not live and dict(known) != dict(known) | dict(self._columns):
            known = []  # nobody reads it, and its columns may have other types
        if not known:
            create_parent(connection, config, name, self._columns)
        for each in known:
            if each.name not in dict(self._columns):
                add_column(connection, self._next, each)
        make_ready(connection, self._next, self._mart, version)
        table = attach(
            connection, config, name, version, schema=self._warehouse.next_schema, table=name
        )
        if not live:
            create_view(connection, config, name, self._live, table)
        show_version(connection, config, name, version)
        _log.info("postgres: %s: version %d", name, version)

    def _rewrite(self, window: Window) -> None:
        """Replace the rows of the window, or all rows, in the version that is shown."""
        connection, name = self._connection, self._mart.name
        table = _shown(connection, self._warehouse, name)
        within = SQL("")
        if self._mart.slice and window is not None:
            days = window if self._mart.slice == "sale_date" else window_months(tuple(window))
            column = Identifier(self._mart.slice)
            within = SQL("where {} = any({})").format(column, list(days))
            strays = self._execute(
                "select count(*) from {next} where ({column} = any({slices})) is not true",
                column=column,
                slices=list(days),
            ).fetchall()[0][0]
            if strays:
                msg = (
                    f"{self._warehouse.next_schema}.{name} has {strays} rows outside of the window"
                )
                raise UnexpectedError(msg, remedy="Nothing was changed. Report this as a bug.")
        for column in self._removed:
            allow_null(connection, table, column)
        removed = self._execute("delete from {table} {within}", table=table, within=within)
        added = self._execute(
            "insert into {table} ({columns}) select {columns} from {next}",
            table=table,
            columns=SQL(", ").join(Identifier(each.name) for each in self._columns),
        )
        _log.info("postgres: %s: %d rows out, %d in", name, removed.rowcount, added.rowcount)

    @property
    def _parent(self) -> Identifier:
        return Identifier(self._warehouse.raw_schema, parent_name(self._mart.name))

    def _execute(self, statement: LiteralString, **parts: object) -> Cursor[tuple[Any, ...]]:
        return run(self._connection, statement, next=self._next, **parts)


def _move(
    connection: Connection, config: Config, tables: Mapping[str, _Table], version: int
) -> bool:
    """Attach what was built, and let the views show it, unless readers are in the way."""
    # Before the lock, for which a reader may wait who holds a view already.
    for table in tables.values():
        table.widen()
    if not _wait_for_readers(connection, config):
        _log.info("postgres: readers hold the marts, so rows are copied into what they read")
        return False
    for table in tables.values():
        table.attach(version)
    return True


def _wait_for_readers(connection: Connection, config: Config) -> bool:
    """Wait for a moment in which nobody reads the marts, and keep it to the end of the transaction.

    Readers who come meanwhile wait behind us, so each attempt is a short one.

    Returns:
        Whether there was such a moment.
    """
    before = connection.execute("show lock_timeout").fetchall()[0][0]
    for seconds in _ATTEMPTS:
        try:
            with connection.transaction():
                _set_lock_timeout(connection, f"{seconds}s")
                run(
                    connection,
                    "lock table {versions} in access exclusive mode",
                    versions=pointer(config),
                )
                _set_lock_timeout(connection, before)
        except LockNotAvailable:
            time.sleep(seconds)
        else:
            return True
    return False


def _set_lock_timeout(connection: Connection, text: str) -> None:
    connection.execute("select set_config('lock_timeout', %s, true)", (text,))


def _next(warehouse: PostgreSQL, mart: Mart) -> Identifier:
    return Identifier(warehouse.next_schema, mart.name)


def _shown(connection: Connection, warehouse: PostgreSQL, mart: str) -> Identifier:
    """Return the table with the version of a mart that is shown."""
    version = current_version(connection, warehouse.config, mart)
    return Identifier(warehouse.raw_schema, partition_name(mart, version))


def _number(connection: Connection, table: Identifier) -> str:
    """Return what tells a table apart from all others of its name; nothing when there is none."""
    asked = "select coalesce(cast(cast(to_regclass(%s) as oid) as text), '')"
    return connection.execute(asked, (table.as_string(connection),)).fetchall()[0][0]


def _are_shown(connection: Connection, warehouse: PostgreSQL, following: NextMarts) -> bool:
    """Return whether the tables that were built are the versions that are shown already."""
    if not exists(connection, warehouse.raw_schema, CURRENT_VERSIONS):
        return False
    for mart in warehouse.marts:
        table = _shown(connection, warehouse, mart.name)
        if _number(connection, table) != following.built.get(mart.name):
            return False
    return True


def _drop_views(connection: Connection, schema: str) -> None:
    """Drop the views of the build, which would keep its tables; the next build has its own."""
    found = connection.execute(
        "select relname from pg_class where relkind = 'v' and pg_has_role(relowner, 'usage')"
        " and relnamespace = (select oid from pg_namespace where nspname = %s)",
        (schema,),
    ).fetchall()
    if found:
        views = SQL(", ").join(Identifier(schema, name) for (name,) in found)
        run(connection, "drop view {views}", views=views)
