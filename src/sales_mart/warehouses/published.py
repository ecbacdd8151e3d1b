"""What the published marts are compared by: with each other, and with what `publish` recorded.

`publish` records each slice of each mart (a day, a month, or all of it) in `published_slices`: its
rows, its sums, and an order-free checksum of its columns. So a mart that somebody has changed since
is found without a look at the raw table, and the facts are only read where they may have changed.

Which sums a mart holds, its YAML says. All must agree with those by product and month, from which
they are added up; and those of a mart by days with the facts as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sales_mart.marts import fact
from sales_mart.names import PRODUCT_MONTHS, PUBLISHED_SLICES
from sales_mart.schema import MEASURES, Measure, schema_of
from sales_mart.warehouses.differences import RECORD, Difference
from sales_mart.warehouses.questions import fact_sums, sums_of
from sales_mart.warehouses.windows import window_months, within, within_months

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sales_mart.marts import Mart
    from sales_mart.warehouses.base import Warehouse
    from sales_mart.warehouses.windows import Window

__all__ = ["PublishedMarts", "mart_window"]

_COLUMNS: dict[Measure, str] = {name: "row_count" if name == "rows" else name for name in MEASURES}
"""What the recorded slices call the sums."""
_SUMS = ", ".join(_COLUMNS.values())
_FIELDS = f"mart, slice, {_SUMS}, checksum"
_SUMMED = ", ".join(
    f"coalesce(sum({name}_{side}), 0) as {name}_{side}"
    for name in MEASURES
    for side in ("here", "there")
)


def mart_window(mart: Mart, window: Window, column: str | None = None) -> str:
    """Return the condition for the rows that a publication of a window replaces in a mart.

    Args:
        mart: The mart.
        window: The window.
        column: What holds the mart's day or month, when not its own column.
    """
    if mart.slice is None or window is None:
        return "true"
    days = window if mart.slice == "sale_date" else window_months(window)
    return within(days, column or mart.slice)


class PublishedMarts:
    """SQL about the published marts of one warehouse, in its dialect."""

    def __init__(self, warehouse: Warehouse) -> None:
        """Name the tables."""
        self._dialect = warehouse.dialect
        self._config = warehouse.config
        self._fact_sums = fact_sums(warehouse)
        self._marts = {mart.name: mart for mart in warehouse.marts}
        self._fact = fact(warehouse.marts)
        self._months = self._marts[PRODUCT_MONTHS]
        self.live = {mart.name: warehouse.live(mart) for mart in warehouse.marts}
        self.next = {mart.name: warehouse.following(mart) for mart in warehouse.marts}
        self.slices = warehouse.dialect.table(warehouse.raw_schema, PUBLISHED_SLICES)

    def record_sql(self, window: Window, *, recorded: bool) -> list[str]:
        """Statements that record the slices of the next marts, before those become the live ones.

        Args:
            window: Sale dates that the next marts hold.
            recorded: Whether the publication of before has recorded its slices. Else those outside
                the window are recorded as they are found.
        """
        whole = window is None or not recorded
        into = f"insert into {self.slices} ({_FIELDS})"
        statements = [
            f"delete from {self.slices} where {'true' if whole else self._in_window(window)}",
            f"{into} {self._slices(self.next, {})}",
        ]
        if window is not None and not recorded:
            statements.append(f"{into} {self._slices_outside(window)}")
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
                self._slice_text(row[0], row[1], row[2]),
                *(
                    sums_of(self._config, row[3 + side], row[5 + side], row[7 + side])
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
        fact_name, months_name = self._fact.name, self._months.name
        if recorded:
            by_day = f"select slice as sale_date, {_SUMS} from {slices} where mart = '{fact_name}'"
        else:
            sums = ", ".join(f"sum({sql}) as {name}" for name, sql in self._fact_sums.items())
            by_day = (
                f"select sale_date, count(*) as {_COLUMNS['rows']}, {sums} "
                f"from {live[fact_name]} group by sale_date"
            )
        keys = ", ".join(self._keys(self._months))
        sums = ", ".join(f"{self._months.sums[name]} as {_COLUMNS[name]}" for name in MEASURES)
        by_month = f"select {keys}, {sums} from {live[months_name]}"
        parts = [self._changed(live, slices, facts)] if recorded else []
        for mart in self._marts.values():
            if not mart.sums or mart in (self._fact, self._months):
                continue
            other = by_month if mart.each is None else self._for_each(mart.each, by_month)
            parts.append(self._pair(live, mart, self._keys(mart), months_name, other, MEASURES))
            if mart.slice == "sale_date":
                name = self._dialect.identifier("sale_date")
                days = {name: name}
                # A return is a row, and no transaction.
                rows: list[Measure] = [] if schema_of(self._config).has_returns else ["rows"]
                same = (*rows, *self._fact_sums)
                parts.append(self._pair(live, mart, days, fact_name, by_day, same))
        return "\nunion all\n".join(f"select * from (\n{part}\n) as found" for part in parts)

    def after(self, window: Window, *, recorded: bool) -> dict[str, Any]:
        """Marts and slices as a publication would leave them, for `differences_sql`."""
        live: dict[str, str] = {}
        for name, mart in self._marts.items():
            columns = ", ".join(self._dialect.identifier(column.name) for column in mart.columns)
            live[name] = (
                f"(select {columns} from {self.live[name]} where not ({mart_window(mart, window)}) "
                f"union all select {columns} from {self.next[name]}) as after_{name}"
            )
        parts = [self._slices(self.next, {})]
        if window is not None and recorded:
            parts.append(
                f"select {_FIELDS} from {self.slices} where not ({self._in_window(window)})"
            )
        elif window is not None:
            parts.append(self._slices_outside(window))
        slices = "\nunion all\n".join(parts)
        return {"live": live, "slices": f"(select {_FIELDS} from ({slices}) as parts) as after"}

    def _slice_text(self, mart: str, other: str, day: str | None) -> str | None:
        by_month = other == self._months.name or self._marts[mart].slice == "sale_month"
        return None if day is None else day[: len("2023-10" if by_month else "2023-10-01")]

    def _in_window(self, window: Window) -> str:
        """Condition for the recorded slices that a publication of `window` replaces."""
        return " or ".join(
            f"(mart = '{name}' and {mart_window(mart, window, 'slice')})"
            for name, mart in self._marts.items()
        )

    def _slices_outside(self, window: Window) -> str:
        """Query of the slices of the live marts that a publication of `window` leaves."""
        outside = {
            name: f"not ({mart_window(mart, window)})"
            for name, mart in self._marts.items()
            if mart.slice is not None
        }
        return self._slices(self.live, outside, names=tuple(outside))

    def _slices(
        self,
        marts: Mapping[str, str],
        conditions: Mapping[str, str],
        names: Sequence[str] | None = None,
    ) -> str:
        """Query of the slices of some marts, by default all."""
        return "\nunion all\n".join(
            self._mart_slices(self._marts[name], marts[name], conditions.get(name, "true"))
            for name in names or tuple(self._marts)
        )

    def _mart_slices(self, mart: Mart, relation: str, condition: str) -> str:
        checksum = self._dialect.row_checksum(mart.columns)
        # With their digits: a plain NUMERIC of the emulator has 18.
        columns = {column.name: column for column in self._fact.columns}
        scales = {name: columns[column].scale for name, column in self._fact.sums.items()}
        summed = self._fact_sums if mart == self._fact else mart.sums
        sums = ",\n    ".join(
            f"cast({f'sum({summed[measure]})' if measure in summed else 'null'} "
            f"as numeric({29 + scale}, {scale})) as {measure}"
            for measure, scale in scales.items()
        )
        return f"""
select
    '{mart.name}' as mart,
    {mart.slice or "cast(null as date)"} as slice,
    count(*) as row_count,
    {sums},
    cast(coalesce(sum({checksum}), 0) as numeric(29, 0)) as checksum
from {relation}
where {condition}
{f"group by {mart.slice}" if mart.slice else ""}
"""

    def _changed(self, live: Mapping[str, str], slices: str, facts: Window) -> str:
        """Query of the slices that are not what was recorded of them."""
        name = self._fact.name
        found = self._slices(live, {name: within_months(facts, "sale_date")})
        sides = {**_COLUMNS, "check": "checksum"}
        here = ", ".join(f"{c} as {name}_here, 0 as {name}_there" for name, c in sides.items())
        there = ", ".join(f"0, {column}" for column in sides.values())
        # With the name of the subquery: alone, it would be that of the selected sum.
        differing = " or ".join(
            f"sum(sides.{name}_here) <> sum(sides.{name}_there)" for name in ("rows", "check")
        )
        return f"""
select
    mart,
    '{RECORD}' as other,
    {self._dialect.as_text("slice")} as slice,
    {_SUMMED}
from (
    select mart, slice, {here}
    from ({found}) as live
    union all
    select mart, slice, {there}
    from {slices}
    where mart <> '{name}' or {within_months(facts, "slice")}
) as sides
group by mart, slice
having {differing}
"""

    def _keys(self, mart: Mart) -> dict[str, str]:
        """Return what the sums by product and month have in common with a mart: key -> SQL."""
        columns = {column.name for column in mart.columns}
        quoted = self._dialect.identifier
        keys = [*self._months.grain, *filter(None, [mart.each])]
        found = {quoted(name): quoted(name) for name in keys if name in columns}
        if mart.slice == "sale_date":
            found[quoted("sale_month")] = self._dialect.month_start("sale_date")
        return found

    def _for_each(self, column: str, sums: str) -> str:
        """Query of the same sums for each value of a column that has all facts once."""
        name = self._dialect.identifier(column)
        values = "\nunion all\n".join(
            f"select {self._dialect.literal(each.name)} as {name}"
            for each in schema_of(self._config).of_role("dimension")
        )
        return f"select * from ({sums}) as sums cross join ({values}) as values_of_each"

    def _pair(  # noqa: PLR0913 - what a comparison is of
        self,
        live: Mapping[str, str],
        mart: Mart,
        keys: Mapping[str, str],
        other: str,
        other_sums: str,
        same: Sequence[Measure],
    ) -> str:
        """Query of the differences between a mart and `other`, added up by day or month.

        Products are no part of a message, so only their number shows in it.

        Args:
            live: The marts.
            mart: The mart.
            keys: What both have in common: its name -> its SQL in the mart.
            other: Name of the other mart.
            other_sums: Query of the other mart's sums.
            same: Measures that are the same in both.
        """
        measures = [measure for measure in mart.sums if measure in same]
        days = tuple(map(self._dialect.identifier, ("sale_date", "sale_month")))
        day = next((key for key in keys if key in days), None)
        here = ", ".join(
            f"{mart.sums[measure] if measure in measures else 0} as {measure}_here, "
            f"0 as {measure}_there"
            for measure in MEASURES
        )
        there = ", ".join(
            f"0, {name if measure in measures else '0'}" for measure, name in _COLUMNS.items()
        )
        differing = " or ".join(
            f"sum(sides.{measure}_here) <> sum(sides.{measure}_there)" for measure in measures
        )
        own = "".join(f"{sql} as {key}, " for key, sql in keys.items())
        listed = "".join(f"{key}, " for key in keys)
        return f"""
select
    '{mart.name}' as mart,
    '{other}' as other,
    {self._dialect.as_text(day or "cast(null as date)")} as slice,
    {_SUMMED}
from (
    select
        {listed}{_SUMMED}
    from (
        select {own}{here}
        from {live[mart.name]}
        union all
        select {listed}{there}
        from ({other_sums}) as other_sums
    ) as sides
    {f"group by {', '.join(keys)}" if keys else ""}
    having {differing}
) as differing
{f"group by {day}" if day else ""}
having count(*) > 0
"""
