"""Questions about sales: SQL over the marts, whose columns and sums their YAML names."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sales_mart.api.parameters import DaysAsked, MonthsAsked, Page, Text, parameters_of
from sales_mart.api.question import Question
from sales_mart.marts import fact
from sales_mart.names import RETURNED
from sales_mart.schema import MEASURES, TableColumn, schema_of
from sales_mart.warehouses.questions import fact_sums

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date

    from sales_mart.marts import Mart
    from sales_mart.warehouses.base import Session, Warehouse
    from sales_mart.warehouses.history import Publication

__all__ = ["sales_questions", "trends"]

_WIDEST = 38
"""Digits of a sum over a mart's sums."""
_EXACT = Context(prec=100, rounding=ROUND_HALF_UP)
_MEAN = "avg_price"
_SUM_OF_PRICES = "total_price"


def sales_questions(warehouse: Warehouse) -> tuple[Question, ...]:
    """Return what can be asked about sales."""
    found = trends(warehouse), _products(warehouse), _summary(warehouse)
    return (*found, *_dimensions(warehouse))


class _Select:
    """One statement over a mart."""

    def __init__(self, warehouse: Warehouse, mart: Mart) -> None:
        self._dialect = warehouse.dialect
        self._mart = mart
        self._table = warehouse.live(mart)
        schema = schema_of(warehouse.config)
        self.names = {column.name for column in mart.columns}
        self.grain = [name for name in schema.grain[:-1] if name in self.names]
        self.currencies = [name for name in schema.grain[1:-1] if name in self.names]
        self.day = mart.slice or ""

    def quoted(self, name: str) -> str:
        return self._dialect.identifier(name)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Order by texts, the missing ones last."""
        return [f"{self._dialect.by_code_point(self.quoted(name))} nulls last" for name in names]

    def period(self, by: str) -> str:
        day = self.quoted(self.day)
        return self._dialect.month_start(day) if by == "month" else day

    def where(self, asked: Any, *conditions: str) -> str:
        """Return the conditions of the parameters, and others."""
        found = [*conditions]
        between: tuple[date, date] | None = getattr(asked, "between", None)
        if between is not None:
            first, last = map(self._dialect.literal, between)
            found.append(f"{self.quoted(self.day)} between {first} and {last}")
        found += [
            f"{self.quoted(name)} = {self._dialect.literal(value)}"
            for name, value in asked.filters.items()
        ]
        return f"where {' and '.join(found)}" if found else ""

    def sql(
        self,
        listed: Mapping[str, str],
        where: str,
        order: Sequence[str],
        asked: Page,
        groups: int = 0,
    ) -> str:
        columns = ", ".join(f"{sql} as {self.quoted(name)}" for name, sql in listed.items())
        grouped = ", ".join(str(number) for number in range(1, groups + 1))
        return f"""
            select {columns}
            from {self._table}
            {where}
            {f"group by {grouped}" if groups else ""}
            order by {", ".join(order)}
            limit {asked.limit + 1:d} offset {asked.offset:d}
        """


def _mart(warehouse: Warehouse, *grain: str) -> Mart:
    """Return the mart of a grain that has all sums."""
    currencies = set(schema_of(warehouse.config).grain[1:-1])
    return next(
        mart
        for mart in warehouse.marts
        if set(mart.grain) - currencies == set(grain) and mart.sums.keys() == set(MEASURES)
    )


def _measures(mart: Mart) -> list[TableColumn]:
    """Return the columns that can be added up, in their order, with room for larger sums."""
    names = {*mart.sums.values(), *RETURNED}
    return [
        column.model_copy(update={"digits": _WIDEST} if column.kind == "decimal" else {})
        for column in mart.columns
        if column.name in names
    ]


def _sums(names: Iterable[str], quoted: Callable[[str], str]) -> dict[str, str]:
    return {name: f"sum({quoted(name)})" for name in names}


def trends(warehouse: Warehouse) -> Question:
    """Return the question about sales by day or by month."""
    schema, marts = schema_of(warehouse.config), warehouse.marts
    days, facts = _mart(warehouse, schema.grain[-1]), fact(marts)
    by_month = _mart(warehouse, schema.grain[0], "sale_month")
    measures = _measures(days)
    item = schema.grain[0]

    def rows(session: Session, _: Publication, asked: Any) -> Iterable[Sequence[Any]]:
        mart = days
        if item in asked.filters:
            mart = by_month if asked.by == "month" else facts
        select = _Select(warehouse, mart)
        sums = _sums((each.name for each in measures), select.quoted)
        if mart is facts:
            sums = {name: f"sum({sql})" for name, sql in _of_facts(warehouse, days).items()}
        groups = {
            "period": select.period(asked.by),
            **{name: select.quoted(name) for name in select.currencies},
        }
        order = ["1", *select.ordered(select.currencies)]
        return session.query(
            select.sql({**groups, **sums}, select.where(asked), order, asked, len(groups))
        )

    period = TableColumn(
        name="period", kind="date", is_nullable=False, description="The day, or a month's first."
    )
    return Question(
        "/sales/trends",
        "Sales by day or by month",
        parameters_of(warehouse.config, DaysAsked, schema.grain[:-1]),
        (period, *_columns(days, schema.grain[1:-1]), *measures),
        rows,
    )


def _of_facts(warehouse: Warehouse, days: Mart) -> dict[str, str]:
    """Return what one sale adds to each of the measures of a day."""
    schema = schema_of(warehouse.config)
    sums = fact_sums(warehouse)
    _, amount, pieces = (sums.get(measure, "") for measure in MEASURES)
    is_return = f"case when {amount} < 0 then %s else %s end"
    sales = is_return % ("0", "1") if schema.has_returns else "1"
    found = {days.sums[measure]: sums.get(measure, sales) for measure in MEASURES}
    returned = dict(zip(RETURNED, (amount, pieces), strict=True))
    if schema.has_returns:
        found |= {name: is_return % (f"-({sql})", "0") for name, sql in returned.items()}
    return {column.name: found[column.name] for column in _measures(days)}


def _products(warehouse: Warehouse) -> Question:
    schema = schema_of(warehouse.config)
    item = schema.grain[0]
    mart = _mart(warehouse, item, "sale_month")
    measures = _measures(mart)
    names = [each.name for each in measures]

    def rows(session: Session, _: Publication, asked: Any) -> Iterable[Sequence[Any]]:
        select = _Select(warehouse, mart)
        groups = {name: select.quoted(name) for name in (item, *select.currencies)}
        sums = _sums([*names, _SUM_OF_PRICES], select.quoted)
        best = [*groups, *sums].index(mart.sums["amount"]) + 1
        order = [*select.ordered(select.currencies), f"{best} desc", *select.ordered([item])]
        conditions: list[str] = []
        if asked.search is not None:
            wanted = warehouse.dialect.literal(asked.search)
            conditions.append(f"strpos(lower({select.quoted(item)}), lower({wanted})) > 0")
        where = select.where(asked, *conditions)
        found = session.query(select.sql({**groups, **sums}, where, order, asked, len(groups)))
        sales = len(groups) + names.index(mart.sums["rows"])
        return ((*row[:-1], _mean(row[-1], int(row[sales]))) for row in found)

    mean = TableColumn(
        name=_MEAN,
        kind="decimal",
        digits=20,
        scale=2,
        description="Mean over the transactions, each once whatever its pieces.",
    )
    return Question(
        "/sales/products",
        "The best products, by amount",
        parameters_of(
            warehouse.config,
            MonthsAsked,
            schema.grain[:-1],
            search=(Text | None, Field(default=None, description="Only names that hold this.")),
        ),
        (*_columns(mart, schema.grain[:-1]), *measures, mean),
        rows,
    )


def _mean(total: Any, count: int) -> Decimal | None:
    """Return the mean at two decimals, half away from zero, as the marts have it."""
    if not count:
        return None
    return _EXACT.divide(Decimal(total), Decimal(count)).quantize(Decimal("0.01"), context=_EXACT)


def _columns(mart: Mart, names: Sequence[str]) -> list[TableColumn]:
    return [column for column in mart.columns if column.name in names]


def _rows_of(warehouse: Warehouse, mart: Mart) -> Callable[..., Iterable[Sequence[Any]]]:
    """Return what asks for the rows of a mart as they are, or for those of one value of `each`."""
    texts = [column.name for column in mart.columns if column.kind == "text"]

    def rows(
        session: Session, _: Publication, asked: Any, each: str | None = None
    ) -> Iterable[Sequence[Any]]:
        select = _Select(warehouse, mart)
        listed = {column.name: select.quoted(column.name) for column in mart.columns}
        order = [select.quoted(select.day), *select.ordered(texts)]
        conditions: list[str] = []
        if mart.each is not None:
            conditions.append(f"{select.quoted(mart.each)} = {warehouse.dialect.literal(each)}")
        return session.query(select.sql(listed, select.where(asked, *conditions), order, asked))

    return rows


def _summary(warehouse: Warehouse) -> Question:
    schema = schema_of(warehouse.config)
    wanted = {*schema.grain[:-1], "sale_month"}
    mart = next(
        mart
        for mart in warehouse.marts
        if set(mart.grain) == wanted and mart.publish == "mart" and mart.each is None
    )
    return Question(
        "/sales/summary",
        "The summary, as it is exported",
        parameters_of(warehouse.config, MonthsAsked, schema.grain[:-1]),
        mart.columns,
        _rows_of(warehouse, mart),
    )


def _dimensions(warehouse: Warehouse) -> list[Question]:
    """Return the question about the dimensions, where there are any."""
    schema = schema_of(warehouse.config)
    names = tuple(column.name for column in schema.of_role("dimension"))
    marts = [mart for mart in warehouse.marts if mart.each is not None]
    if not names or not marts:
        return []
    return [
        Question(
            "/sales/dimensions/{name}",
            "Sales by value of a dimension and month",
            parameters_of(warehouse.config, MonthsAsked, schema.grain[1:-1]),
            marts[0].columns,
            _rows_of(warehouse, marts[0]),
            {"name": Literal[names]},
        )
    ]
