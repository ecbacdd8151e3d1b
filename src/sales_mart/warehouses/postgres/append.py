"""A delivery on PostgreSQL: what it changes in the raw table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import Cursor
from psycopg.sql import SQL, Composable, Identifier, Literal

from sales_mart.names import raw_schema
from sales_mart.schema import schema_of
from sales_mart.warehouses.history import Change
from sales_mart.warehouses.postgres.tables import parts, raw_table
from sales_mart.warehouses.supersede import COUNTS, HIDE, INSERT, SETTLED, SHOW, WINDOW

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.lake.records import Seal
    from sales_mart.warehouses.admission import PastLoad
    from sales_mart.warehouses.postgres.connection import Connection

__all__ = ["BATCH", "append_batch"]

BATCH = Identifier("sales_mart_batch")
"""Temporary table with the rows of the batch."""
_SMALL = 10
"""A batch is small where the history has more than so many times its rows."""
_REMOVED: LiteralString = """
    create temporary table {removed} (
        transaction_id text collate "C", sale_date date, was_visible boolean
    ) on commit drop
"""
_REMOVE: LiteralString = """
    with removed as (
        delete from {raw}
        where business_date = {day} and run_id = {earlier}
        returning transaction_id, sale_date, superseded_by is null as was_visible
    )
    insert into {removed}
    select transaction_id, sale_date, was_visible from removed
"""


def append_batch(  # noqa: PLR0913 - what a delivery changes, and what tells how
    connection: Connection,
    config: Config,
    seal: Seal,
    *,
    history: int,
    snapshot: PastLoad | None,
    earlier: PastLoad | None,
) -> tuple[int, Change]:
    """Put the batch, which stands in its temporary table, in the place of its earlier delivery.

    Args:
        connection: The connection, in a transaction under the target's lock.
        config: The configuration.
        seal: What is loaded.
        history: How many rows are visible.
        snapshot: The last snapshot.
        earlier: The delivery of the same business date that the table holds.

    Returns:
        The rows that were inserted, visible or not, and what has changed.
    """
    names = [column.name for column in schema_of(config).valid]

    def execute(
        statement: LiteralString, raw: Composable | None = None, part: int | None = None
    ) -> Cursor[tuple[Any, ...]]:
        query = SQL(statement).format(
            raw=raw or raw_table(config),
            part=SQL("raw.tableoid"),
            this_part=Literal(part),
            place=Identifier("ctid"),
            batch=BATCH,
            removed=Identifier("sales_mart_removed"),
            settled=Identifier("sales_mart_settled"),
            columns=SQL(", ").join(map(Identifier, names)),
            listed=SQL(", ").join(SQL("{}.{}").format(BATCH, Identifier(name)) for name in names),
            day=Literal(seal.business_date),
            run=Literal(seal.run_id),
            snapshot=Literal(snapshot.run_id if snapshot else None),
            earlier=Literal(earlier.run_id if earlier else None),
        )
        return connection.execute(query)

    execute("analyze {batch}")
    # The planner, which has no statistics of tokens and marks, would read the whole history, in the
    # order of an index, rather than look the tokens of a small batch up.
    connection.execute("set local random_page_cost = 1.1")
    connection.execute("set local enable_mergejoin = off")
    if seal.rows_valid * _SMALL < history:
        connection.execute("set local enable_hashjoin = off")
    execute(_REMOVED)
    if earlier is not None:
        execute(_REMOVE)
        execute("analyze {removed}")
    execute("create temporary table {settled} on commit drop as" + SETTLED)
    execute("analyze {settled}")
    # Each table for itself: a row is found by its place, which means nothing in the others.
    tables = parts(connection, config)
    for statement in (HIDE, SHOW):
        for oid, name in tables:
            execute(statement, SQL("only {}").format(Identifier(raw_schema(config), name)), oid)
    connection.execute("set local enable_hashjoin to default")
    inserted = execute(INSERT).rowcount
    (counts,) = execute(COUNTS)
    return inserted, Change(tuple(day for (day,) in execute(WINDOW)), *counts)
