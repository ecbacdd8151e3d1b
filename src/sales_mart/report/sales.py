"""What a page says about sales, apart by currency: totals, changes, days, months and the best."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from markupsafe import Markup

from sales_mart.report import texts
from sales_mart.report.dates import days_before, months_before, months_between
from sales_mart.report.pictures import Axis, Bar, bars, share
from sales_mart.rows.money import add

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from sales_mart.report.figures import Ranked, Sold

__all__ = ["Sales", "sales_by_currency"]

_CURRENCIES = 4
"""Currencies of which everything is shown; of others the total alone."""


class _Change(NamedTuple):
    """How much more or less something is than before: the share, where there is one, and all."""

    kind: str
    share: str
    amount: str


class Sales(Protocol):
    """What was sold, as `Figures` describe it."""

    @property
    def days(self) -> Sequence[Sold]:
        """By day and currency."""
        ...

    @property
    def months(self) -> Sequence[Sold]:
        """By month and currency."""
        ...

    @property
    def totals(self) -> Sequence[Sold]:
        """Of all days, by currency."""
        ...

    @property
    def month_before(self) -> Sequence[Sold]:
        """Of as many days of the month before, by currency."""
        ...

    @property
    def products(self) -> Sequence[Ranked]:
        """The best products of the month."""
        ...

    @property
    def dimensions(self) -> Sequence[Ranked]:
        """The best values of each dimension in the month."""
        ...

    @property
    def has_currencies(self) -> bool:
        """Whether a column says which currency an amount is in."""
        ...


def sales_by_currency(
    sales: Sales,
    month: date | None,
    before: Sequence[Sold] | None = None,
    whole: Sequence[Sold] | None = None,
) -> tuple[list[dict[str, Any]], list[Sold]]:
    """Return what a template says about each currency, the most used first.

    Args:
        sales: What was sold.
        month: The month that is looked at.
        before: Totals of the run before; None where they are not known.
        whole: The months of all sales, where those of `sales` are of one product alone.

    Returns:
        All about the first currencies, and the totals alone of the others.
    """
    # Amounts of different currencies can't be compared, so the number of sales decides.
    used = sorted(sales.totals, key=lambda each: (-each.transactions, each.currency or "~"))
    shown = [_of_currency(sales, month, before, whole, each) for each in used[:_CURRENCIES]]
    return shown, used[_CURRENCIES:]


def _of_currency(
    sales: Sales,
    month: date | None,
    before: Sequence[Sold] | None,
    whole: Sequence[Sold] | None,
    total: Sold,
) -> dict[str, Any]:
    currency = total.currency

    def of(sold: Iterable[Sold]) -> list[Sold]:
        return [each for each in sold if each.currency == currency]

    months = of(sales.months)
    this = next((each for each in months if each.start == month), None)
    shared = this if whole is None else next((w for w in of(whole) if w.start == month), None)
    amount_of_all = shared.amount if shared else Decimal(0)
    earlier = next(iter(of(sales.month_before)), None)
    known = None if before is None else sum((each.amount for each in of(before)), Decimal(0))
    products = [each for each in sales.products if each.currency == currency]
    values = [each for each in sales.dimensions if each.currency == currency]
    amount = this.amount if this else Decimal(0)
    return {
        "name": (currency or "no currency given") if sales.has_currencies else "",
        "unit": f" {currency}" if currency else "",
        "newest": month,
        "this": this,
        "amount": amount,
        "against_month": _change(amount, earlier.amount) if earlier else None,
        "month_before": earlier,
        "total": total,
        "against_run": None if known is None else _change(total.amount, known),
        "days": of(sales.days),
        "by_day": _by_day(of(sales.days), sales.days, currency),
        "months": months,
        "by_month": _by_month(months, sales.months, currency),
        "products": _ranked(products, amount_of_all),
        "dimensions": {
            name: _ranked([each for each in values if each.dimension == name], amount_of_all)
            for name in dict.fromkeys(each.dimension for each in values)
        },
    }


def _by_day(sold: Sequence[Sold], all_sold: Sequence[Sold], currency: str | None) -> Markup:
    dates = [each.start for each in all_sold if each.start]
    if not sold or not dates:
        return Markup()
    # As wide as the days need; a first day with few after it does not fill the page with one bar.
    last = max(dates)
    first = min(*dates, days_before(last, 13))
    made = [
        Bar(
            texts.day(each.start),
            each.amount,
            texts.money(each.amount),
            "bar",
            (each.start - first).days,
        )
        for each in sold
        if each.start
    ]
    title = (
        f"Sales by day{texts.in_currency(currency)}, {texts.day(min(dates))} to {texts.day(last)}"
    )
    axis = Axis((last - first).days + 1, texts.day(first), texts.day(last))
    return bars(title, made, axis, _highest(sold, currency))


def _by_month(sold: Sequence[Sold], all_sold: Sequence[Sold], currency: str | None) -> Markup:
    dates = [each.start for each in all_sold if each.start]
    if not sold or not dates:
        return Markup()
    newest = max(dates)
    first = min(*dates, months_before(newest, 5))
    made = [
        Bar(
            texts.month(each.start),
            each.amount,
            texts.money(each.amount),
            "bar" if each.start == newest else "bar-before",
            months_between(first, each.start),
        )
        for each in sold
        if each.start
    ]
    period = f"{texts.month(min(dates))} to {texts.month(newest)}"
    title = f"Sales by month{texts.in_currency(currency)}, {period}"
    axis = Axis(months_between(first, newest) + 1, texts.month(first), texts.month(newest))
    return bars(title, made, axis, _highest(sold, currency))


def _highest(sold: Sequence[Sold], currency: str | None) -> str:
    best = max(sold, key=lambda each: each.amount)
    return f"{texts.money(best.amount)}{texts.in_currency(currency, ' ')}"


def _ranked(best: Sequence[Ranked], total: Decimal) -> list[tuple[Ranked, Markup, str]]:
    highest = max((each.amount for each in best), default=Decimal(0))
    return [
        (
            each,
            share(each.amount, highest),
            texts.percentage(each.amount, total) if total > 0 and each.amount >= 0 else "",
        )
        for each in best
    ]


def _change(now: Decimal, before: Decimal) -> _Change:
    difference = add(now, before, -1)
    if not difference:
        return _Change("same", "unchanged", texts.money(difference))
    kind, arrow = ("more", "▲") if difference > 0 else ("less", "▼")
    amount = texts.money(difference, signed=True)
    share_of = texts.percent(difference / before, signed=True) if before > 0 else amount
    return _Change(kind, f"{arrow} {share_of}", amount)
