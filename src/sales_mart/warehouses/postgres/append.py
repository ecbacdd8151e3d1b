"""A delivery on PostgreSQL: what it changes in the raw table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import Cursor
from psycopg.sql import SQL, Identifier, Literal

from sales_mart.schema import schema_of
from sales_mart.warehouses.history import Change
from sales_mart.warehouses.postgres.tables import raw_table
from sales_mart.warehouses.supersede import COUNTS, HIDE, INSERT, SETTLED, SHOW, WINDOW

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.lake.records import Seal
    from sales_mart.warehouses.admission import PastLoad
    from sales_mart.warehouses.postgres.connection import Connection

__all__ = ["BATCH", "append_batch"]

BATCH = Identifier("sales_mart_batch")
"""Temporary table with the rows of the batch."""
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


def append_batch(
    connection: Connection,
    config: Config,
    seal: Seal,
    *,
    snapshot: PastLoad | None,
    earlier: PastLoad | None,
) -> tuple[int, Change]:
    """Put the batch, which stands in its temporary table, in the place of its earlier delivery.

    Args:
        connection: The connection, in a transaction under the target's lock.
        config: The configuration.
        seal: What is loaded.
        snapshot: The last snapshot.
        earlier: The delivery of the same business date that the table holds.

    Returns:
        The rows that were inserted, visible or not, and what has changed.
    """
    names = [column.name for column in schema_of(config).valid]

    def execute(statement: LiteralString) -> Cursor[tuple[Any, ...]]:
        query = SQL(statement).format(
            raw=raw_table(config),
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
    # At the default, made for discs that turn, the planner would rather read the whole history
    # than look the batch's tokens up in the index.
    connection.execute("set local random_page_cost = 1.1")
    execute(_REMOVED)
    if earlier is not None:
        execute(_REMOVE)
        execute("analyze {removed}")
    execute("create temporary table {settled} on commit drop as" + SETTLED)
    execute("analyze {settled}")
    execute(HIDE)
    execute(SHOW)
    inserted = execute(INSERT).rowcount
    (counts,) = execute(COUNTS)
    return inserted, Change(tuple(day for (day,) in execute(WINDOW)), *counts)
