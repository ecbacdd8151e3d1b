"""What the published marts give to a report: sums by day and month, and the best of a month.

Only small marts are read, one row a day, and the first rows of a month by amount: never the facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.names import RETURNED
from sales_mart.report.dates import days_before, months_before
from sales_mart.report.figures import Ranked, Sold
from sales_mart.rows.money import at_scale
from sales_mart.schema import MEASURES, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from sales_mart.marts import Mart
    from sales_mart.schema import TableColumn
    from sales_mart.warehouses.base import Session

__all__ = ["SoldByTime", "added_up", "read_best", "read_sold", "sold_of"]

_ROWS, _AMOUNT, _PIECES = MEASURES
_DAYS = 92
_MONTHS = 24
_BEST_PRODUCTS = 10
_BEST_VALUES = 8
_BY_DATE, _BY_MONTH, _BY_DIMENSION = "sales_by_date", "summary_sales", "sales_by_dimension"


class SoldByTime(NamedTuple):
    """What was sold, added up.

    Attributes:
        days: Of the newest days.
        months: Of the newest months.
        totals: Of all days.
        month_before: Of as many days of the month before the newest one as that one has.
        month: The newest month; None when nothing was sold.
        last: The last day of it on which something was sold.
        known: All months with sales, the newest first.
    """

    days: tuple[Sold, ...] = ()
    months: tuple[Sold, ...] = ()
    totals: tuple[Sold, ...] = ()
    month_before: tuple[Sold, ...] = ()
    month: date | None = None
    last: date | None = None
    known: tuple[date, ...] = ()


def read_sold(session: Session, business_date: date) -> SoldByTime:
    """Add up the published sums by date.

    The newest month is the one of the last sale date that is not after the business date: a date
    in the future is a mistake more often than not. What is sold later counts only in the totals.
    """
    found = _days(session)
    if not found:
        return SoldByTime()
    dates = [day for day, _ in found]
    month = max([day for day in dates if day <= business_date] or dates).replace(day=1)
    last = max(day for day in dates if day.replace(day=1) == month)
    previous = months_before(month, 1)
    oldest = months_before(month, _MONTHS - 1)

    return SoldByTime(
        days=added_up(
            (day, each) for day, each in found if days_before(last, _DAYS - 1) <= day <= last
        ),
        months=added_up(
            (day.replace(day=1), each)
            for day, each in found
            if oldest <= day.replace(day=1) <= month
        ),
        totals=added_up((None, each) for _, each in found),
        month_before=added_up(
            (previous, each)
            for day, each in found
            if day.replace(day=1) == previous and day.day <= last.day
        ),
        month=month,
        last=last,
        known=tuple(sorted({day.replace(day=1) for day in dates}, reverse=True)),
    )


def added_up(sold: Iterable[tuple[date | None, Sold]]) -> tuple[Sold, ...]:
    """Add up what begins at the same date, which becomes its start, by currency."""
    sums: dict[tuple[date | None, str | None], Sold] = {}
    for start, each in sold:
        key = start, each.currency
        moved = each.model_copy(update={"start": start})
        sums[key] = sums[key].plus(moved) if key in sums else moved
    return tuple(sums.values())


def read_best(
    session: Session, month: date, products: int = _BEST_PRODUCTS, values: int = _BEST_VALUES
) -> tuple[tuple[Ranked, ...], tuple[Ranked, ...]]:
    """Return so many best products of a month, and so many best values of each dimension."""
    best = _best(session, _BY_MONTH, month, products)
    return best, _best(session, _BY_DIMENSION, month, values)


@dataclass(frozen=True)
class _Reader:
    """Reads columns of one published mart, amounts at the scale of their column."""

    session: Session
    mart: Mart
    currency: str | None

    def names(self, *names: str | None) -> dict[str, TableColumn]:
        known = {column.name: column for column in self.mart.columns}
        return {name: known[name] for name in names if name is not None and name in known}

    def quoted(self, names: Iterable[str]) -> str:
        return ", ".join(map(self.session.warehouse.dialect.identifier, names))

    @property
    def place(self) -> str:
        return self.session.warehouse.live(self.mart)

    def rows(
        self, sql: str, columns: dict[str, TableColumn]
    ) -> Iterator[tuple[dict[str, Any], tuple[Any, ...]]]:
        """Run a query of these columns; gives them by name, and what stands behind them."""
        for row in self.session.stream(sql):
            pairs = zip(columns.items(), row, strict=False)
            yield (
                {name: _scaled(column, value) for (name, column), value in pairs},
                row[len(columns) :],
            )


def _reader(session: Session, model: str) -> _Reader | None:
    """Return what reads a mart; None where there is no such mart, or it was never published."""
    warehouse = session.warehouse
    mart = next((each for each in warehouse.marts if each.model == model), None)
    if mart is None or not session.exists(warehouse.schema_of(mart), mart.name):
        return None
    currencies = schema_of(warehouse.config).of_role("currency")
    return _Reader(session, mart, currencies[0].name if currencies else None)


def _days(session: Session) -> list[tuple[date, Sold]]:
    reader = _reader(session, _BY_DATE)
    if reader is None:
        return []
    sums, day = reader.mart.sums, str(reader.mart.slice)
    columns = reader.names(
        *(day, reader.currency, sums[_ROWS], sums[_AMOUNT], sums[_PIECES], *RETURNED)
    )
    order = reader.quoted(reader.names(day))
    sql = f"select {reader.quoted(columns)} from {reader.place} order by {order}"
    found = [
        (row[day], sold_of(reader.mart, reader.currency, row))
        for row, _ in reader.rows(sql, columns)
    ]
    return sorted(found, key=lambda each: (each[0], _first_known(each[1].currency)))


def sold_of(mart: Mart, currency: str | None, row: Mapping[str, Any]) -> Sold:
    """Return the sums of a row of a mart, which names its columns; it has no start yet."""
    return Sold(
        currency=row.get(currency or ""),
        transactions=row[mart.sums[_ROWS]],
        amount=row[mart.sums[_AMOUNT]],
        pieces=row[mart.sums[_PIECES]],
        returned_amount=row.get(RETURNED[0]),
        returned_pieces=row.get(RETURNED[1]),
    )


def _best(session: Session, model: str, month: date, limit: int) -> tuple[Ranked, ...]:
    """Return the rows of a month with the highest amounts, apart by dimension and currency."""
    reader = _reader(session, model)
    if reader is None:
        return ()
    mart, dialect = reader.mart, session.warehouse.dialect
    apart = [each for each in (mart.each, reader.currency) if each is not None]
    (name,) = (each for each in mart.grain if each not in {*apart, mart.slice})
    rows, amount = mart.sums[_ROWS], mart.sums[_AMOUNT]
    columns = reader.names(*apart, name, rows, amount)
    quoted = dialect.identifier(name)
    by = f"partition by {reader.quoted(apart)}" if apart else ""
    order = f"{dialect.identifier(amount)} desc, {dialect.by_code_point(quoted)} nulls last"
    sql = f"""
        select {reader.quoted(columns)}, listed, position_in_month
        from (
            select
                {reader.quoted(columns)},
                count(*) over ({by}) as listed,
                row_number() over ({by} order by {order}) as position_in_month
            from {reader.place}
            where {dialect.identifier(str(mart.slice))} = {dialect.literal(month)}
        ) as ranked
        where position_in_month <= {limit:d}
    """
    found = [
        (
            place,
            Ranked(
                dimension=row[mart.each] if mart.each else None,
                currency=row.get(reader.currency or ""),
                name=row[name],
                transactions=row[rows],
                amount=row[amount],
                of=listed,
            ),
        )
        for row, (listed, place) in reader.rows(sql, columns)
    ]
    found.sort(key=lambda each: (each[1].dimension or "", _first_known(each[1].currency), each[0]))
    return tuple(each for _, each in found)


def _first_known(text: str | None) -> tuple[bool, str]:
    """Return what sorts texts by code point, a missing one last."""
    return text is None, text or ""


def _scaled(column: TableColumn, value: Any) -> Any:
    """Return a decimal at its column's scale: a server may pad it with zeros."""
    return (
        at_scale(value, column.scale) if column.kind == "decimal" and value is not None else value
    )
