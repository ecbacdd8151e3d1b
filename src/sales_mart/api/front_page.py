"""The page at `/`: the report's view of what is shown now, for a month that a reader chooses."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from sales_mart.api.parameters import TEXT
from sales_mart.api.question import HtmlPage, Question
from sales_mart.api.runs import loads_until
from sales_mart.api.sales import trends
from sales_mart.report.dates import months_before
from sales_mart.report.marts import added_up, read_best, read_sold, sold_of
from sales_mart.report.page import quality
from sales_mart.report.sales import sales_by_currency
from sales_mart.report.template import inline, page_of
from sales_mart.rows.rules import reasons_of
from sales_mart.schema import schema_of
from sales_mart.warehouses.frames import exact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sales_mart.api.publications import Shown
    from sales_mart.report.figures import LoadedDay, Ranked, Sold
    from sales_mart.report.marts import SoldByTime
    from sales_mart.report.sales import Sales
    from sales_mart.rows.reasons import Reason
    from sales_mart.warehouses.base import Session, Warehouse
    from sales_mart.warehouses.history import Publication

__all__ = ["Chosen", "Rejected", "View", "front_page", "rendered"]

_MONTH = r"^([0-9]{4}-(0[1-9]|1[0-2]))?$"
_LOADS = 28
"""Business dates of which the quality is shown."""
_BEST, _MOST = 10, 100
"""Products and values of a dimension; those of the dimension that is chosen."""
_MONTHS = 24
_MOST_ROWS = 1_000_000
_Text: Any = Annotated[str, Field(pattern=TEXT, max_length=500)]


class Chosen(BaseModel):
    """What a reader chose: a month, one item alone, a dimension.

    A form sends an empty text where nothing is chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    month: Annotated[str, Field(pattern=_MONTH)] = Field(
        default="", description="This month, as YYYY-MM. Default: the newest."
    )
    only: str = ""
    dimension: str = ""

    @field_validator("month")
    @classmethod
    def _is_a_month(cls, value: str) -> str:
        if value:
            date.fromisoformat(f"{value}-01")
        return value


class _Found(NamedTuple):
    """The sales that the page shows, as `Sales` describes them."""

    days: tuple[Sold, ...]
    months: tuple[Sold, ...]
    totals: tuple[Sold, ...]
    month_before: tuple[Sold, ...]
    products: tuple[Ranked, ...]
    dimensions: tuple[Ranked, ...]
    has_currencies: bool


class Rejected(NamedTuple):
    """Rows of the newest load that were rejected for a reason, which may not be known any more."""

    name: str
    rows: int
    reason: Reason | None


class View(NamedTuple):
    """What the page is made of.

    Attributes:
        title: The warehouse.
        publication: What it shows.
        asked: What was chosen: a product, a dimension, or neither.
        month: The month that is shown; None when nothing was ever sold.
        known: The months that can be chosen.
        names: The dimensions.
        item: The column of products.
        proposed: The products that are proposed.
        found: The sales; None when nothing was sold in the month.
        whole: The months of all sales, where `found` has those of one product.
        loads: What was read and rejected by business date.
        rejected: Why rows of the newest load were rejected, most first.
        links: What programs can ask for, as texts and addresses.
    """

    title: str
    publication: Publication
    asked: Chosen
    month: date | None
    known: Sequence[date]
    names: Sequence[str]
    item: str
    proposed: Sequence[str | None]
    found: Sales | None
    whole: Sequence[Sold] | None
    loads: Sequence[LoadedDay]
    rejected: Sequence[Rejected]
    links: Sequence[tuple[str, str]]


def front_page(warehouse: Warehouse, paths: Sequence[str]) -> Question:
    """Return the question that the page at `/` answers.

    Args:
        warehouse: The warehouse.
        paths: What else can be asked.
    """
    schema = schema_of(warehouse.config)
    names = tuple(column.name for column in schema.of_role("dimension"))
    has_currencies, item = bool(schema.of_role("currency")), schema.grain[0]
    known_reasons = reasons_of(warehouse.config)
    by_time = trends(warehouse)

    def page(session: Session, shown: Shown, asked: Chosen) -> HtmlPage:
        publication = shown.publication
        assert publication is not None  # noqa: S101 - nobody asks before there is one
        loads = loads_until(session, publication.sequence, _LOADS)
        newest = loads[-1].business_date if loads else publication.published_at.date()
        month = date.fromisoformat(f"{asked.month}-01") if asked.month else None
        sold = read_sold(session, newest if month is None else _last_day(month))
        chosen = {item: asked.only} if asked.only else {}
        found, proposed = None, ()
        if sold.month is not None and month in (None, sold.month):
            month = sold.month
            best, values = read_best(session, month, _MOST, _MOST)
            found = _Found(
                days=tuple(each for each in sold.days if _month_of(each) == month),
                months=sold.months,
                totals=sold.totals,
                month_before=sold.month_before,
                products=_first(best, ""),
                dimensions=_first(values, asked.dimension),
                has_currencies=has_currencies,
            )
            if chosen:
                read = partial(_of_one, by_time, session, shown, chosen)
                found = _only(found, read, sold)
            proposed = tuple(dict.fromkeys(each.name for each in best))
        return rendered(
            View(
                title=warehouse.title,
                publication=publication,
                asked=asked,
                month=month,
                known=sold.known,
                names=names,
                item=item,
                proposed=proposed,
                found=found,
                whole=sold.months if chosen else None,
                loads=loads,
                rejected=[
                    Rejected(name, rows, known_reasons.get(name))
                    for name, rows in sorted(
                        shown.rejects.items(), key=lambda each: (-each[1], each[0])
                    )
                ],
                links=[*_links(paths, month, chosen, names)],
            )
        )

    listed: Any = Literal[("", *names)]
    parameters = create_model(
        "Chosen",
        __base__=Chosen,
        only=(_Text, Field(default="", alias=item, description="Days and months of this alone.")),
        dimension=(listed, Field(default="", description="More values of this one.")),
    )
    return Question("/", "The figures as a page", parameters, page=page)


def rendered(view: View) -> HtmlPage:
    """Return the page."""
    style, style_digest = inline("report.css", "front_page.css")
    script, script_digest = inline("front_page.js")
    currencies, others = [], []
    if view.found is not None:
        currencies, others = sales_by_currency(view.found, view.month, whole=view.whole)
    run_id = view.publication.run_id
    body = page_of(
        "front_page.html",
        **view._asdict(),
        style=style,
        script=script,
        published=view.publication.published_at.astimezone(UTC),
        currencies=currencies,
        others=others,
        load=next((each for each in view.loads if each.run_id == run_id), None),
        quality=quality(view.loads),
    )
    policy = (
        f"default-src 'none'; style-src {style_digest}; script-src {script_digest}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return HtmlPage(body, policy)


def _first(ranked: Sequence[Ranked], chosen: str) -> tuple[Ranked, ...]:
    """Return the first of each dimension and currency; more of the one that is chosen."""
    counts: dict[tuple[str | None, str | None], int] = {}
    found: list[Ranked] = []
    for each in ranked:
        key = each.dimension, each.currency
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= (_MOST if each.dimension == chosen else _BEST):
            found.append(each)
    return tuple(found)


def _only(found: _Found, read: Any, sold: SoldByTime) -> _Found:
    """Return the same with the days and months of a product; what it is compared with stays."""
    month, last = sold.month, sold.last
    assert month is not None and last is not None  # noqa: PT018, S101 - known when it has sales
    before = months_before(month, 1)
    months = read(by="month")
    oldest = months_before(month, _MONTHS - 1)
    days = read(by="day", first=before, last=_last_day(month))
    return found._replace(
        days=tuple(each for each in days if _month_of(each) == month),
        months=tuple(each for each in months if each.start and oldest <= each.start <= month),
        totals=added_up((None, each) for each in months),
        month_before=added_up(
            (before, each)
            for each in days
            if each.start and _month_of(each) == before and each.start.day <= last.day
        ),
    )


def _of_one(  # noqa: PLR0913 - a question and what it is asked with
    question: Question,
    session: Session,
    shown: Shown,
    chosen: Mapping[str, str],
    *,
    by: str,
    first: date | None = None,
    last: date | None = None,
) -> tuple[Sold, ...]:
    """Read the sales of a product by day or month, over any time."""
    config = session.warehouse.config
    schema = schema_of(config)
    values: dict[str, Any] = {**chosen, "by": by, "limit": _MOST_ROWS}
    if first and last:
        values |= {"from": str(first), "to": str(last)}
    # More rows, and more months, than a request may ask for.
    asked = question.parameters.model_construct(**values)
    currency = next((each.name for each in schema.of_role("currency")), None)
    mart = next(each for each in session.warehouse.marts if each.model == "sales_by_date")
    names = [column.name for column in question.columns]
    rows = exact(question.columns, question.rows(session, shown.publication, asked))
    found = (dict(zip(names, row, strict=True)) for row in rows)
    return tuple(
        sold_of(mart, currency, row).model_copy(update={"start": row["period"]}) for row in found
    )


def _links(
    paths: Sequence[str], month: date | None, chosen: Mapping[str, str], names: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield what programs can ask for the same, as texts and addresses."""
    for path in paths:
        if path == "/sales/trends" and month is None:
            continue
        query = {"month": f"{month:%Y-%m}"} if month and path.startswith("/sales/") else {}
        if path in ("/sales/trends", "/sales/summary"):
            query |= chosen
        for name in names if path.endswith("/{name}") else [""]:
            text = path.replace("{name}", name)
            if "{" not in text:
                yield text, f"{text}?{urlencode(query)}" if query else text


def _month_of(sold: Sold) -> date | None:
    return sold.start and sold.start.replace(day=1)


def _last_day(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])
