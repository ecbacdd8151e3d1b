"""What a delivery changes in a raw table on BigQuery.

A row is visible unless a later business date has its identifier; on one date a delivery goes before
the snapshot. Each superseded row is marked with the business date of the next later row of its
identifier, so a delivery that comes or goes changes the marks of its neighbours alone.

What it changes is found out before the transaction, by sale date, so that its statements name the
partitions that they read and write; the transaction checks that no other load came in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from sales_mart.warehouses.admission import deliveries, last_snapshot
from sales_mart.warehouses.bigquery.dialect import literal
from sales_mart.warehouses.history import Change
from sales_mart.warehouses.windows import within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from sales_mart.lake.records import Seal
    from sales_mart.warehouses.admission import PastLoad
    from sales_mart.warehouses.bigquery.staging import LoadTables

__all__ = ["Delivery", "Effect", "append_statements", "effect_query"]

Dates = tuple["date", ...]


class Delivery(NamedTuple):
    """How rows of a delivery are told from those of the snapshot.

    Attributes:
        day: Business date of the delivery, as a literal.
        is_earlier: Condition: the row is of the day's earlier delivery, which is replaced.
        snapshot: Run of the snapshot, as a literal, where it has to be told from a delivery of its
            own business date; else empty, so that the column is not read.
    """

    day: str
    is_earlier: str
    snapshot: str = ""

    def is_delivery(self, column: str = "run_id") -> str:
        """Return the condition that a row is not of the snapshot."""
        return f"({column} != {self.snapshot})" if self.snapshot else "true"

    @classmethod
    def of(cls, day: date, past: Sequence[PastLoad]) -> Self:
        """Look at the loads that the table was put together from."""
        snapshot, delivered = last_snapshot(past), deliveries(past)
        earlier = delivered.get(day)
        is_earlier = f"business_date = {literal(day)}" if earlier else "false"
        if snapshot is None or snapshot.business_date not in (day, *delivered):
            return cls(literal(day), f"({is_earlier})")
        run = literal(snapshot.run_id)
        return cls(literal(day), f"({is_earlier} and run_id != {run})", run)


class Effect(NamedTuple):
    """What a delivery does to the raw table.

    Attributes:
        change: Rows that become visible or hidden.
        read: Sale dates of all rows of the identifiers that it touches.
        changed: Those of the rows that are written, deleted or marked.
        removes: Whether there are rows of an earlier delivery.
        marks: Whether marks of rows that stay have to change.
    """

    change: Change
    read: Dates
    changed: Dates
    removes: bool
    marks: bool

    @classmethod
    def of(cls, rows: Iterable[tuple[date, str, int]]) -> Self:
        """Add up the answer to `effect_query`."""
        counts: dict[str, int] = {}
        days: dict[str, set[date]] = {}
        for day, kind, count in rows:
            counts[kind] = counts.get(kind, 0) + count
            days.setdefault(kind, set()).add(day)

        def dates_of(*kinds: str) -> Dates:
            return tuple(sorted({day for kind in kinds for day in days.get(kind, ())}))

        shown = ("added", "removed", "superseded", "shown_again")
        change = Change(
            dates_of(*shown),
            counts.get("added", 0),
            counts.get("hidden", 0),
            counts.get("removed", 0),
            counts.get("superseded", 0),
            counts.get("shown_again", 0),
        )
        return cls(
            change=change,
            read=dates_of(*days),
            changed=dates_of(*(kind for kind in days if kind != "kept")),
            removes="removed" in days or "removed_hidden" in days,
            marks=bool({"superseded", "shown_again", "moved"} & days.keys()),
        )


def _settled(tables: LoadTables, delivery: Delivery, where: str = "true") -> str:
    """Ask for every row of the identifiers that a delivery touches, with its mark of now."""
    return f"""
        with touched as (
            select transaction_id from `{tables.staging}`
            union distinct
            select transaction_id from `{tables.raw}` where {where} and {delivery.is_earlier}
        ),
        versions as (
            select
                transaction_id,
                sale_date,
                business_date,
                {delivery.is_delivery()} as is_delivery,
                superseded_by as mark_before,
                true as is_held
            from `{tables.raw}`
            where
                {where}
                and transaction_id in (select transaction_id from touched)
                and not {delivery.is_earlier}
            union all
            select
                transaction_id,
                sale_date,
                {delivery.day} as business_date,
                true as is_delivery,
                cast(null as date) as mark_before,
                false as is_held
            from `{tables.staging}`
        ),
        settled as (
            select
                *,
                lead(business_date) over (
                    partition by transaction_id
                    order by business_date, is_delivery
                ) as mark
            from versions
        )
    """


def effect_query(tables: LoadTables, delivery: Delivery) -> str:
    """Ask what the staged rows would change: rows by sale date and by what becomes of them."""
    return f"""
        {_settled(tables, delivery)},
        changes as (
            select
                sale_date,
                case
                    when not is_held and mark is null then 'added'
                    when not is_held then 'hidden'
                    when mark_before is null and mark is not null then 'superseded'
                    when mark_before is not null and mark is null then 'shown_again'
                    when mark_before != mark then 'moved'
                    else 'kept'
                end as kind
            from settled
            union all
            select
                sale_date,
                if(superseded_by is null, 'removed', 'removed_hidden') as kind
            from `{tables.raw}`
            where {delivery.is_earlier}
        )
        select
            sale_date,
            kind,
            count(*) as row_count
        from changes
        group by sale_date, kind
        order by sale_date, kind
    """


def append_statements(
    tables: LoadTables, seal: Seal, delivery: Delivery, effect: Effect
) -> list[str]:
    """Return the statements that put the staged rows in the place of the earlier delivery."""
    read = within(effect.read, "sale_date")
    changed = within(effect.changed, "sale_date")
    raw, staging, day = tables.raw, tables.staging, delivery.day
    names = [f"`{column.name}`" for column in tables.columns]
    columns = ", ".join(names)
    statements: list[str] = []
    if effect.marks:
        statements.append(
            f"update `{raw}` as held set superseded_by = settled.mark "
            f"from ({_settled(tables, delivery, read)} select * from settled where is_held) "
            f"as settled where {within(effect.changed, 'held.sale_date')} "
            "and held.transaction_id = settled.transaction_id "
            "and held.business_date = settled.business_date "
            f"and {delivery.is_delivery('held.run_id')} = settled.is_delivery "
            "and held.superseded_by is distinct from settled.mark"
        )
    if effect.removes:
        statements.append(f"delete from `{raw}` where {changed} and {delivery.is_earlier}")
    source, mark = f"`{staging}` as batch", "cast(null as date)"
    if effect.change.hidden_rows:
        mark = "later.mark"
        source += (
            " left join (select transaction_id, min(business_date) as mark "
            f"from `{raw}` where {read} and business_date > {day} group by transaction_id) "
            "as later on batch.transaction_id = later.transaction_id"
        )
    listed = ", ".join(f"batch.{name}" for name in names)
    statements.append(
        f"insert into `{raw}` ({columns}, run_id, business_date, superseded_by) "
        f"select {listed}, {literal(seal.run_id)}, {day}, {mark} from {source}"
    )
    of_run = f"{changed} and business_date = {day} and run_id = {literal(seal.run_id)}"
    statements += [
        f"select if((select {count} from `{raw}` where {of_run}) = {expected}, "
        "true, error('the raw table does not hold the sealed rows'))"
        for count, expected in (
            ("count(*)", seal.rows_valid),
            ("countif(superseded_by is null)", effect.change.rows),
        )
    ]
    return [" ".join(statement.split()) for statement in statements]
