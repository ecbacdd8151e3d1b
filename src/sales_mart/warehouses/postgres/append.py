"""What a delivery changes in a raw table on PostgreSQL.

A row is visible unless a later business date has its identifier; on one date a delivery goes before
the snapshot. Each superseded row is marked with the business date of the next later row of its
identifier, so a delivery that comes or goes changes the marks of its neighbours alone. Only rows of
identifiers that the batch, or the delivery that it replaces, has are looked up, by an index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import Cursor
from psycopg.sql import SQL, Identifier, Literal

from sales_mart.schema import schema_of
from sales_mart.warehouses.history import Change
from sales_mart.warehouses.postgres.tables import raw_table

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
# Every row of the identifiers that the delivery touches, with its mark of before and of now. Each
# of the two look-ups has an index of its own. A row of the batch has no place yet.
_SETTLE: LiteralString = """
    create temporary table {settled} on commit drop as
    with touched as (
        select transaction_id from {batch}
        union
        select transaction_id from {removed}
    ),
    versions as (
        select
            {raw}.ctid as place,
            {raw}.transaction_id,
            {raw}.business_date,
            {raw}.run_id is distinct from {snapshot} as is_delivery,
            {raw}.sale_date,
            {raw}.superseded_by as mark_before
        from touched
        inner join {raw} on touched.transaction_id = {raw}.transaction_id
        where {raw}.superseded_by is null
        union all
        select
            {raw}.ctid as place,
            {raw}.transaction_id,
            {raw}.business_date,
            {raw}.run_id is distinct from {snapshot} as is_delivery,
            {raw}.sale_date,
            {raw}.superseded_by as mark_before
        from touched
        inner join {raw} on touched.transaction_id = {raw}.transaction_id
        where {raw}.superseded_by is not null
        union all
        select
            null as place,
            transaction_id,
            {day} as business_date,
            true as is_delivery,
            sale_date,
            null as mark_before
        from {batch}
    )
    select
        place,
        transaction_id,
        sale_date,
        mark_before,
        lead(business_date) over (
            partition by transaction_id
            order by business_date, is_delivery
        ) as mark
    from versions
"""
# In this order, so that no identifier has two visible rows at any time.
_HIDE: LiteralString = """
    update {raw}
    set superseded_by = {settled}.mark
    from {settled}
    where
        {raw}.ctid = {settled}.place
        and {raw}.transaction_id = {settled}.transaction_id
        and {settled}.mark is not null
        and {settled}.mark is distinct from {settled}.mark_before
"""
_SHOW: LiteralString = """
    update {raw}
    set superseded_by = null
    from {settled}
    where
        {raw}.ctid = {settled}.place
        and {raw}.transaction_id = {settled}.transaction_id
        and {settled}.mark is null
        and {settled}.mark_before is not null
"""
_INSERT: LiteralString = """
    insert into {raw} ({columns}, run_id, business_date, superseded_by)
    select {listed}, {run}, {day}, {settled}.mark
    from {batch}
    inner join {settled} on {batch}.transaction_id = {settled}.transaction_id
    where {settled}.place is null
"""
_COUNTS: LiteralString = """
    select
        count(*) filter (where place is null and mark is null) as rows,
        count(*) filter (where place is null and mark is not null) as yielded_rows,
        (select count(*) from {removed} where was_visible) as removed_rows,
        count(*) filter (
            where place is not null and mark_before is null and mark is not null
        ) as superseded_rows,
        count(*) filter (
            where place is not null and mark_before is not null and mark is null
        ) as shown_again_rows
    from {settled}
"""
_WINDOW: LiteralString = """
    select sale_date from {removed}
    where was_visible
    union
    select sale_date from {settled}
    where case
        when place is null then mark is null
        else (mark is null) <> (mark_before is null)
    end
    order by sale_date
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
    execute(_SETTLE)
    execute("analyze {settled}")
    execute(_HIDE)
    execute(_SHOW)
    inserted = execute(_INSERT).rowcount
    (counts,) = execute(_COUNTS)
    return inserted, Change(tuple(day for (day,) in execute(_WINDOW)), *counts)
