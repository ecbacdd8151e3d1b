"""What the published marts are compared by: with each other, and with what `publish` recorded.

`publish` records each slice of each mart (a day, a month, or all of it) in `published_slices`: its
rows, its sums, and an order-free checksum of its columns. So a mart that somebody has changed since
is found without a look at the raw table, and the facts are only read where they may have changed.
"""

from __future__ import annotations

from calendar import monthrange
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.errors import MartsChangedError
from sales_mart.lake.records import DayTotals
from sales_mart.marts import marts_of
from sales_mart.names import PRODUCT_MONTHS, PUBLISHED_SLICES, fact_table, published_tables
from sales_mart.rows import money
from sales_mart.warehouses.history import window_months
from sales_mart.warehouses.questions import (
    Sums,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date

    from sales_mart.warehouses.base import Warehouse
    from sales_mart.warehouses.history import Window

__all__ = [
    "Difference",
    "PublishedMarts",
    "check_published",
    "check_reconciled",
    "differing_days",
    "listed",
]

_SHOWN = 3
_LISTED = 50
_RECORD = "the publication"
_NONE = "cast(null as numeric(29, 0))"
_PAIRS = (
    ("summary_sales", PRODUCT_MONTHS, ("sale_month", "product")),
    ("sales_by_product", PRODUCT_MONTHS, ("product",)),
    ("sales_by_date", PRODUCT_MONTHS, ("sale_month",)),
)
"""Marts that are sums of the same rows, and the columns by which their sums must agree."""
_FIELDS = ("mart", "slice", "row_count", "amount", "quantity", "checksum")


class Difference(NamedTuple):
    """A slice in which a mart is not what another one, or its own publication, says.

    Attributes:
        mart: The mart.
        other: The mart that it is compared with, or the publication.
        slice: The day or month; None for a mart without.
        here: Rows, amount and quantity of the first.
        there: Rows, amount and quantity of the second.
    """

    mart: str
    other: str
    slice: str | None
    here: Sums
    there: Sums

    @property
    def is_of_record(self) -> bool:
        """Whether the mart is not what was published, rather than not what another mart says."""
        return self.other == _RECORD

    def __str__(self) -> str:
        """Say where, and by how much."""
        where = "" if self.slice is None else f" for {self.slice}"
        if self.here == self.there:
            return f"{self.mart} has other values than {self.other}{where} ({self.here})"
        return f"{self.mart} has {self.here}{where}, {self.other}: {self.there}"


class PublishedMarts:
    """SQL about the published marts of one warehouse, in its dialect."""

    def __init__(self, warehouse: Warehouse) -> None:
        """Name the tables."""
        config, dialect = warehouse.config, warehouse.dialect
        self._dialect = dialect
        self._decimals = config.rules.max_decimals
        self._tables = published_tables(config, warehouse.name)
        self._fact = warehouse.fact_table
        self._columns = {mart.name: mart.columns for mart in marts_of(warehouse)}
        self.live = {
            name: dialect.table(schema, name) for name, (schema, _) in self._tables.items()
        }
        self.next = {name: dialect.table(warehouse.next_schema, name) for name in self._tables}
        self.slices = dialect.table(warehouse.raw_schema, PUBLISHED_SLICES)

    def record_sql(self, window: Window, *, recorded: bool) -> list[str]:
        """Statements that record the slices of the next marts, before those become the live ones.

        Args:
            window: Sale dates that the next marts hold.
            recorded: Whether the publication of before has recorded its slices. Else those outside
                the window are recorded as they are found.
        """
        whole = window is None or not recorded
        into = f"insert into {self.slices} ({', '.join(_FIELDS)})"
        statements = [
            f"delete from {self.slices} where {'true' if whole else self._in_window(window)}",
            f"{into} {self._slices(self.next, {})}",
        ]
        if window is not None and not recorded:
            outside = {
                name: f"not ({self._mart_window(name, window)})"
                for name, (_, column) in self._tables.items()
                if column
            }
            statements.append(f"{into} {self._slices(self.live, outside, names=tuple(outside))}")
        return statements

    def differences(
        self,
        ask: Callable[[str], Iterable[Sequence[Any]]],
        facts: Window,
        *,
        recorded: bool,
        live: Mapping[str, str] | None = None,
        slices: str | None = None,
    ) -> list[Difference]:
        """Ask for the differences that `differences_sql` finds."""
        sql = self.differences_sql(facts, recorded=recorded, live=live, slices=slices)
        found = [
            Difference(
                row[0],
                row[1],
                _slice_text(row[0], row[1], row[2]),
                *(
                    Sums(
                        int(row[3 + side]),
                        money.padded(row[5 + side], self._decimals),
                        int(row[7 + side]),
                    )
                    for side in range(2)
                ),
            )
            for row in ask(sql)
        ]
        return sorted(found, key=lambda each: (not each.is_of_record, each.slice or "", each.mart))

    def rows_sql(self) -> str:
        """Query of the rows of each mart that has any, by what was recorded."""
        return f"select mart, sum(row_count) as row_count from {self.slices} group by mart"

    def differences_sql(
        self,
        facts: Window,
        *,
        recorded: bool,
        live: Mapping[str, str] | None = None,
        slices: str | None = None,
    ) -> str:
        """Query of all differences: none when the marts are what they should be.

        Args:
            facts: Sale dates in whose months the facts themselves are read; None for all.
            recorded: Whether the publication has recorded its slices. Else the marts are compared
                with each other only, and all facts are read.
            live: The marts, when not the live tables.
            slices: The recorded slices, when not the table.
        """
        live = live or self.live
        slices = slices or self.slices
        parts = [self._pair(live, *pair) for pair in _PAIRS]
        if recorded:
            by_day = (
                "select slice as sale_date, row_count, amount, quantity "
                f"from {slices} where mart = '{self._fact}'"
            )
            parts.append(self._changed(live, slices, facts))
        else:
            by_day = (
                "select sale_date, count(*) as row_count, sum(amount) as amount, "
                f"sum(quantity) as quantity from {live[self._fact]} group by sale_date"
            )
        parts.append(self._sums(live, "sales_by_date", ("sale_date",), self._fact, by_day))
        return "\nunion all\n".join(f"select * from (\n{part}\n) as found" for part in parts)

    def after(self, window: Window, *, recorded: bool) -> dict[str, Any]:
        """Marts and slices as a publication would leave them, for `differences_sql`."""
        live: dict[str, str] = {}
        for name, columns in self._columns.items():
            listed_columns = ", ".join(column.name for column in columns)
            outside = self._mart_window(name, window)
            live[name] = (
                f"(select {listed_columns} from {self.live[name]} where not ({outside}) "
                f"union all select {listed_columns} from {self.next[name]}) as after_{name}"
            )
        fields = ", ".join(_FIELDS)
        parts = [self._slices(self.next, {})]
        if window is not None and recorded:
            parts.append(
                f"select {fields} from {self.slices} where not ({self._in_window(window)})"
            )
        elif window is not None:
            outside_of = {
                name: f"not ({self._mart_window(name, window)})"
                for name, (_, column) in self._tables.items()
                if column
            }
            parts.append(self._slices(self.live, outside_of, names=tuple(outside_of)))
        slices = "\nunion all\n".join(parts)
        return {"live": live, "slices": f"(select {fields} from ({slices}) as parts) as after"}

    def _mart_window(self, name: str, window: Window, column: str | None = None) -> str:
        """Condition for the rows that a publication of `window` replaces in a mart."""
        own = self._tables[name][1]
        if not own or window is None:
            return "true"
        days = window if own == "sale_date" else window_months(window)
        return within(days, column or own)

    def _in_window(self, window: Window) -> str:
        """Condition for the recorded slices that a publication of `window` replaces."""
        return " or ".join(
            f"(mart = '{name}' and {self._mart_window(name, window, 'slice')})"
            for name in self._tables
        )

    def _slices(
        self,
        marts: Mapping[str, str],
        conditions: Mapping[str, str],
        names: Sequence[str] | None = None,
    ) -> str:
        """Query of the slices of some marts, by default all."""
        return "\nunion all\n".join(
            self._mart_slices(name, marts[name], conditions.get(name, "true"))
            for name in names or tuple(self._tables)
        )

    def _mart_slices(self, name: str, relation: str, condition: str) -> str:
        column = self._tables[name][1]
        checksum = self._dialect.row_checksum(self._columns[name])
        # With their digits: a plain NUMERIC of the emulator has 18.
        number = f"numeric({29 + self._decimals}, {self._decimals})"
        _, amount, quantity = self._measures(name)
        grouped = f"group by {column}" if column else ""
        return f"""
select
    '{name}' as mart,
    {column or "cast(null as date)"} as slice,
    count(*) as row_count,
    cast(sum({amount}) as {number}) as amount,
    cast(sum({quantity}) as numeric(29, 0)) as quantity,
    cast(coalesce(sum({checksum}), 0) as numeric(29, 0)) as checksum
from {relation}
where {condition}
{grouped}
"""

    def _measures(self, name: str) -> tuple[str, str, str]:
        """Return what counts the transactions of a row, its amount, and its quantity."""
        if name == self._fact:
            return "1", "amount", "quantity"
        names = {column.name for column in self._columns[name]}
        return (
            "transaction_count" if "transaction_count" in names else "1",
            "total_amount" if "total_amount" in names else _NONE,
            "total_quantity" if "total_quantity" in names else _NONE,
        )

    def _changed(self, live: Mapping[str, str], slices: str, facts: Window) -> str:
        """Query of the slices that are not what was recorded of them."""
        found = self._slices(live, {self._fact: _in_months(facts, "sale_date")})
        recorded = _in_months(facts, "slice")
        # With the name of the subquery: alone, it would be that of the selected sum.
        differing = " or ".join(
            f"sum(sides.{name}_here) <> sum(sides.{name}_there)" for name in ("rows", "check")
        )
        return f"""
select
    mart,
    '{_RECORD}' as other,
    {self._dialect.as_text("slice")} as slice,
    {_summed()}
from (
    select
        mart, slice, row_count as rows_here, 0 as rows_there, amount as amount_here,
        0 as amount_there, quantity as quantity_here, 0 as quantity_there,
        checksum as check_here, 0 as check_there
    from ({found}) as live
    union all
    select
        mart, slice, 0, row_count, 0, amount, 0, quantity, 0, checksum
    from {slices}
    where mart <> '{self._fact}' or {recorded}
) as sides
group by mart, slice
having {differing}
"""

    def _pair(self, live: Mapping[str, str], here: str, there: str, keys: Sequence[str]) -> str:
        """Query of the keys in which two marts differ."""
        rows, amount, quantity = self._measures(there)
        columns = ", ".join(keys)
        other = (
            f"select {columns}, {rows} as row_count, {amount} as amount, {quantity} as quantity "
            f"from {live[there]}"
        )
        return self._sums(live, here, keys, there, other)

    def _sums(
        self, live: Mapping[str, str], here: str, keys: Sequence[str], there: str, other: str
    ) -> str:
        """Query of the differences between a mart and `other`, added up by the slice.

        Products are no part of a message, so only their number shows in it.
        """
        rows, amount, quantity = self._measures(here)
        column = next((key for key in keys if key != "product"), None)
        is_month_of_days = here == "sales_by_date" and column == "sale_month"
        own = (
            f"{self._dialect.month_start('sale_date')} as sale_month"
            if is_month_of_days
            else ", ".join(keys)
        )
        compared = ["rows", "amount", *(["quantity"] if quantity != _NONE else [])]
        differing = " or ".join(
            f"sum(sides.{name}_here) <> sum(sides.{name}_there)" for name in compared
        )
        columns = ", ".join(keys)
        other_quantity = "quantity" if quantity != _NONE else "0"
        quantity = quantity if quantity != _NONE else "0"
        grouped = f"group by {column}" if column else ""
        return f"""
select
    '{here}' as mart,
    '{there}' as other,
    {self._dialect.as_text(column or "cast(null as date)")} as slice,
    {_summed()}
from (
    select
        {columns},
        {_summed()}
    from (
        select
            {own}, {rows} as rows_here, 0 as rows_there, {amount} as amount_here,
            0 as amount_there, {quantity} as quantity_here, 0 as quantity_there
        from {live[here]}
        union all
        select
            {columns}, 0, row_count, 0, amount, 0, {other_quantity}
        from ({other}) as other_sums
    ) as sides
    group by {columns}
    having {differing}
) as differing
{grouped}
having count(*) > 0
"""


def _summed() -> str:
    names = [f"{name}_{side}" for name in ("rows", "amount", "quantity") for side in _SIDES]
    return ", ".join(f"coalesce(sum({name}), 0) as {name}" for name in names)


_SIDES = ("here", "there")


def _in_months(window: Window, column: str) -> str:
    """Condition for the months that a window touches; neighbours become one range."""
    if window is None:
        return "true"
    ranges: list[tuple[date, date]] = []
    for first in window_months(window):
        last = first.replace(day=monthrange(first.year, first.month)[1])
        if ranges and (first - ranges[-1][1]).days == 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    parts = [
        f"{column} between date '{first.isoformat()}' and date '{last.isoformat()}'"
        for first, last in ranges
    ]
    return f"({' or '.join(parts)})" if parts else "false"


def _slice_text(mart: str, other: str, day: str | None) -> str | None:
    is_month = PRODUCT_MONTHS in (mart, other) or mart == "summary_sales"
    return None if day is None else day[: len("2023-10" if is_month else "2023-10-01")]


def listed(found: Sequence[object]) -> str:
    """Say what was found, the first few in words."""
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(str(each) for each in found[:_SHOWN]) + more


def differing_days(
    mart: str, other: str, here: Mapping[date, DayTotals], there: Mapping[date, DayTotals]
) -> list[Difference]:
    """Return the days on which two tables differ, ascending."""
    return [
        Difference(mart, other, day.isoformat(), Sums.of(here.get(day)), Sums.of(there.get(day)))
        for day in sorted(here.keys() | there.keys())
        if here.get(day) != there.get(day)
    ]


def check_published(
    target: str, found: Sequence[Difference], done: str, run_id: str | None = None
) -> None:
    """See that nothing was found.

    Raises:
        MartsChangedError: Something was.
    """
    if found:
        what = f"{target}: the published marts are not what was published"
        raise _refusal(what, found, _remedy(done, run_id))


def check_reconciled(
    target: str,
    reconciled: Mapping[date, tuple[int, Decimal, int]] | None,
    built: Mapping[date, DayTotals],
    run_id: str,
) -> None:
    """See that the next facts are the ones that `reconcile` added up.

    Raises:
        MartsChangedError: They are not.
    """
    if reconciled is None:
        return
    then = {
        day: DayTotals(sale_date=day, rows=rows, amount=amount, quantity=quantity, checksum=None)
        for day, (rows, amount, quantity) in reconciled.items()
    }
    found = differing_days(f"the next {fact_table(target)}", "reconcile", built, then)
    if found:
        what = f"{target}: the next marts are not what was reconciled"
        raise _refusal(what, found, _remedy("Nothing was published.", run_id))


def _refusal(what: str, found: Sequence[Difference], remedy: str) -> MartsChangedError:
    return MartsChangedError(
        f"{what}: {listed(found)}",
        remedy=remedy,
        details={"differences": [str(each) for each in found[:_LISTED]]},
    )


def _remedy(done: str, run_id: str | None) -> str:
    run = run_id or "RUN_ID"
    return (
        f"{done} Build all marts anew from the raw table: repeat `sales-mart run` with its options "
        f"and `--full-refresh`, or run `sales-mart transform --full-refresh --run-id {run}`, then "
        "reconcile, publish and export for it. If rows are missing in the raw table, load their "
        "days again first."
    )
