"""What `reconcile` asks a warehouse: the same questions, in any dialect of SQL."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.marts import fact
from sales_mart.names import STAGING, STAGING_FLAGS
from sales_mart.rows import money
from sales_mart.rows.sums import Sums
from sales_mart.schema import MEASURES, schema_of
from sales_mart.warehouses.windows import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.schema import Measure
    from sales_mart.warehouses.base import Warehouse
    from sales_mart.warehouses.windows import Window

__all__ = ["DayTotals", "Questions", "fact_sums", "sums_of"]


def fact_sums(warehouse: Warehouse) -> dict[Measure, str]:
    """Return what is added up over the facts: measure -> SQL of what a row adds."""
    return fact(warehouse.marts).sums | schema_of(warehouse.config).net


def sums_of(config: Config, rows: int, amount: Any, pieces: Any) -> Sums:
    """Return sums as a warehouse gives them: null of no row, decimals with zeros or without."""
    decimals = schema_of(config).quantity_decimals
    return Sums(
        int(rows),
        money.padded(Decimal(amount or 0), config.rules.max_decimals),
        money.padded(Decimal(pieces or 0), decimals) if decimals else int(pieces or 0),
    )


class DayTotals(NamedTuple):
    """What is compared of one sale date."""

    sums: Sums
    checksum: Decimal | None


class Questions:
    """The questions to one warehouse, about its next marts or its published ones.

    Attributes:
        whole: Names of the marts that are built whole in every run.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        ask: Callable[[str], Iterable[Sequence[Any]]],
        *,
        published: bool = False,
    ) -> None:
        """Take what runs one statement and gives its rows."""
        dialect, named = warehouse.dialect, warehouse.live if published else warehouse.following
        marts = warehouse.marts
        facts = fact(marts)
        self._ask = ask
        self._published = published
        self._staging = dialect.table(warehouse.raw_schema, STAGING)
        self._fact = named(facts)
        self._config = warehouse.config
        sums = fact_sums(warehouse)
        self._sums = [(name, sums[name]) for name in MEASURES if name in sums]
        self._raw = {"amount": "expected_amount"}
        self._columns = ", ".join(dialect.identifier(column.name) for column in facts.columns)
        self._checksum = dialect.row_checksum(facts.compared_columns)
        self.whole = frozenset(mart.name for mart in marts if mart.slice is None)
        self._marts = {
            named(mart): (mart.name, dialect.row_checksum(mart.compared_columns))
            for mart in marts
            if mart is not facts
        }

    def days(self, *, checksum: bool) -> dict[date, DayTotals]:
        """Add up the fact table by sale date, in one scan."""
        return self._days(self.days_sql(checksum=checksum), checksum=checksum)

    def raw_days(self) -> dict[date, DayTotals]:
        """Add up the raw rows that pass the marts' rules, by sale date, with checksums."""
        facts = f"""(
    select {self._columns}
    from {self._staging}
    where is_in_marts
) as raw"""
        return self._days(self.days_sql(checksum=True, facts=facts), checksum=True)

    def _days(self, sql: str, *, checksum: bool) -> dict[date, DayTotals]:
        rows = self._ask(sql)
        return {
            row[0]: DayTotals(
                sums_of(self._config, row[1], row[2], row[3]),
                Decimal(row[4] or 0) if checksum else None,
            )
            for row in rows
            # Whoever changes a published mart by hand may leave a date out.
            if not self._published or isinstance(row[0], date)
        }

    def marts(self) -> dict[str, tuple[int, Decimal]]:
        """Count the rows of the other marts and add their checksums up, by name."""
        return {row[0]: (row[1], Decimal(row[2])) for row in self._ask(self.marts_sql())}

    def raw(self, run_id: str, window: Window) -> dict[tuple[bool, bool], Sums]:
        """Add up the raw rows of the window by (of this run, shown by the marts)."""
        rows = self._ask(self.raw_sql(run_id, window))
        return {(row[0], row[1]): sums_of(self._config, row[2], row[3], row[4]) for row in rows}

    def reasons(self, window: Window) -> dict[str, int]:
        """Count the raw rows of the window that the marts leave out, by reason."""
        (row,) = self._ask(self.reasons_sql(window))
        return dict(zip(STAGING_FLAGS, row, strict=True))

    def buckets(self, day: date) -> dict[str, tuple[int, Decimal]]:
        """Count and add up the checksums of a day by the first three digits of the token."""
        return {row[0]: (row[1], Decimal(row[2])) for row in self._ask(self.buckets_sql(day))}

    def rows(self, day: date, buckets: Sequence[str]) -> Counter[tuple[str, Decimal]]:
        """Return token and checksum of a day's rows in some buckets, which are hex digits."""
        if not buckets:
            return Counter()
        rows = self._ask(self.rows_sql(day, buckets))
        return Counter((row[0], Decimal(row[1])) for row in rows)

    def days_sql(self, *, checksum: bool, facts: str | None = None) -> str:
        """SQL of `days`."""
        asked = {name: f"sum({column})" for name, column in self._sums}
        if checksum:
            asked["checksum"] = f"sum({self._checksum})"
        return f"""
select
    sale_date,
    count(*) as row_count,
    {_as(asked)}
from {facts or self._fact}
group by sale_date
order by sale_date
"""

    def marts_sql(self) -> str:
        """SQL of `marts`."""
        return "\nunion all\n".join(
            f"""
select
    '{name}' as mart,
    count(*) as row_count,
    coalesce(sum({checksum}), 0) as checksum
from {mart}
"""
            for mart, (name, checksum) in self._marts.items()
        )

    def raw_sql(self, run_id: str, window: Window) -> str:
        """SQL of `raw`; a run id holds letters, digits, points, underscores and hyphens only.

        What the marts leave out may be too large for any sum, so only its rows are counted.
        """
        # The amount is made anew: a price that somebody has changed is not in the one that is kept.
        # A line total cannot be.
        asked = {
            name: f"sum(case when is_in_marts then {self._raw.get(name, column)} end)"
            for name, column in self._sums
        }
        return f"""
select
    run_id = '{run_id}' as is_of_run,
    is_in_marts,
    count(*) as row_count,
    {_as(asked)}
from {self._staging}
where {within(window)}
group by 1, 2
"""

    def reasons_sql(self, window: Window) -> str:
        """SQL of `reasons`."""
        counts = {
            reason: f"count(case when {column} then 1 end)"
            for reason, column in STAGING_FLAGS.items()
        }
        return f"""
select
    {_as(counts)}
from {self._staging}
where
    not is_in_marts
    and {within(window)}
"""

    def buckets_sql(self, day: date) -> str:
        """SQL of `buckets`."""
        return f"""
select
    substr(transaction_id, 1, 3) as bucket,
    count(*) as row_count,
    sum({self._checksum}) as checksum
from {self._fact}
where sale_date = date '{day.isoformat()}'
group by 1
"""

    def rows_sql(self, day: date, buckets: Sequence[str]) -> str:
        """SQL of `rows`."""
        listed = ", ".join(f"'{bucket}'" for bucket in buckets)
        return f"""
select
    transaction_id,
    {self._checksum} as checksum
from {self._fact}
where
    sale_date = date '{day.isoformat()}'
    and substr(transaction_id, 1, 3) in ({listed})
"""


def _as(columns: Mapping[str, str]) -> str:
    """List the columns of a query: name -> expression."""
    return ",\n    ".join(f"{expression} as {name}" for name, expression in columns.items())
