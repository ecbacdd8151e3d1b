"""The page of a report: one HTML file that needs nothing else, made from the figures alone."""

from __future__ import annotations

import base64
import hashlib
import shlex
from datetime import UTC, date
from decimal import Context, Decimal
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sales_mart.control_characters import escape_control_characters
from sales_mart.report.dates import days_before, months_before, months_between
from sales_mart.report.pictures import Axis, Bar, Stage, bars, flow, share
from sales_mart.rows.money import add, padded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sales_mart.report.figures import Figures, LoadedDay, Ranked, Sold

__all__ = ["Finding", "findings", "page"]

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_CENTS = 2
_CURRENCIES = 4
"""Currencies of which everything is shown; of others the total alone."""
_WIDE = Context(prec=100)
_MINUS = "\N{MINUS SIGN}"
_FEWEST_DAYS = 3


class Finding(NamedTuple):
    """One answer to whether the figures can be trusted.

    Attributes:
        is_good: Whether nothing has to be looked at.
        text: What was found.
        place: Name of the part of the page that says more.
    """

    is_good: bool
    text: str
    place: str


class _Change(NamedTuple):
    """How much more or less something is than before: the share, where there is one, and all."""

    kind: str
    share: str
    amount: str


def page(figures: Figures) -> bytes:
    """Return the page of a report as UTF-8 bytes: the same figures give the same bytes."""
    style = _file("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    found = findings(figures)
    # Amounts of different currencies can't be compared, so the number of sales decides.
    used = sorted(figures.totals, key=lambda each: (-each.transactions, each.currency or "~"))
    text = (
        _environment()
        .get_template("report.html")
        .render(
            command=_command,
            count=_count,
            of=_share,
            share=share,
            f=figures,
            style=Markup(style),  # noqa: S704 - our own file
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
            "form-action 'none'",
            published=figures.published_at.astimezone(UTC),
            findings=found,
            attention=[each for each in found if not each.is_good],
            currencies=[_currency(figures, each.currency) for each in used[:_CURRENCIES]],
            others=used[_CURRENCIES:],
            flow=_flow(figures),
            quality=_quality(figures.quality),
        )
    )
    return text.encode()


def findings(figures: Figures) -> list[Finding]:
    """Return what tells whether the figures can be trusted: a published run passed the checks."""
    read = figures.rows_read
    titles = [each.title for each in figures.compared]
    days = max((each.days for each in figures.compared), default=0)
    accounted = read == figures.rows_valid + figures.rows_rejected
    found = [
        Finding(
            accounted,
            f"Every row is accounted for: {read:,} read, {figures.rows_valid:,} valid, "
            f"{figures.rows_rejected:,} rejected.",
            "rows",
        )
    ]
    if len(titles) > 1:
        same = len({(each.rows, each.amount, each.pieces) for each in figures.compared}) == 1
        agree = "agree" if same else "do not agree"
        found.append(
            Finding(same, f"{_listed(titles)} {agree} to the cent on {_days(days)}.", "warehouses")
        )
    elif titles:
        text = f"{titles[0]} holds what was read, to the cent, on {_days(days)}."
        found.append(Finding(True, text, "warehouses"))
    tests = sum(each.tests for each in figures.tables)
    if tests:
        found.append(Finding(True, f"All {tests:,} tests of the marts passed.", "warehouses"))
    found.append(_of_rejects(figures))
    found += [Finding(False, each, "rows") for each in figures.warnings]
    return found


def _of_rejects(figures: Figures) -> Finding:
    rejected, read = figures.rows_rejected, figures.rows_read
    if not rejected:
        return Finding(True, "No row was rejected.", "rejects")
    text = f"{rejected:,} of {_count(read, 'row')} ({_share(rejected, read)}) were rejected"
    others = [each for each in figures.quality if each.business_date < figures.business_date]
    before = sum(each.rows_read for each in others)
    if len(others) < _FEWEST_DAYS or not before:
        return Finding(False, f"{text}.", "rejects")
    usual = sum(each.rows_rejected for each in others)
    # More than twice as many as usual.
    is_good = rejected * before <= 2 * usual * read
    return Finding(is_good, f"{text}; usual are {_share(usual, before)}.", "rejects")


def _currency(figures: Figures, currency: str | None) -> dict[str, Any]:
    """Return all that is said about the sales in one currency."""

    def of(sold: Iterable[Sold]) -> list[Sold]:
        return [each for each in sold if each.currency == currency]

    months, (total,) = of(figures.months), of(figures.totals)
    newest = max((each.start for each in figures.months if each.start), default=None)
    this = next((each for each in months if each.start == newest), None)
    earlier = next(iter(of(figures.month_before)), None)
    before = figures.before
    products = [each for each in figures.products if each.currency == currency]
    values = [each for each in figures.dimensions if each.currency == currency]
    amount = this.amount if this else Decimal(0)
    return {
        "code": currency,
        "name": (currency or "no currency given") if figures.has_currencies else "",
        "unit": f" {currency}" if currency else "",
        "newest": newest,
        "this": this,
        "amount": amount,
        "against_month": _change(amount, earlier.amount) if earlier else None,
        "month_before": earlier,
        "total": total,
        "against_run": before
        and _change(total.amount, next((t.amount for t in of(before.totals)), Decimal(0))),
        "run_before": before and next((t.amount for t in of(before.totals)), Decimal(0)),
        "days": of(figures.days),
        "by_day": _by_day(of(figures.days), figures.days, currency),
        "months": months,
        "by_month": _by_month(months, figures.months, currency),
        "products": _ranked(products, amount),
        "dimensions": {
            name: _ranked([each for each in values if each.dimension == name], amount)
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
        Bar(_day(each.start), each.amount, _money(each.amount), "bar", (each.start - first).days)
        for each in sold
        if each.start
    ]
    title = f"Sales by day{_in(currency)}, {_day(min(dates))} to {_day(last)}"
    axis = Axis((last - first).days + 1, _day(first), _day(last))
    return bars(title, made, axis, _highest(sold, currency))


def _by_month(sold: Sequence[Sold], all_sold: Sequence[Sold], currency: str | None) -> Markup:
    dates = [each.start for each in all_sold if each.start]
    if not sold or not dates:
        return Markup()
    newest = max(dates)
    first = min(*dates, months_before(newest, 5))
    made = [
        Bar(
            _month(each.start),
            each.amount,
            _money(each.amount),
            "bar" if each.start == newest else "bar-before",
            months_between(first, each.start),
        )
        for each in sold
        if each.start
    ]
    title = f"Sales by month{_in(currency)}, {_month(min(dates))} to {_month(newest)}"
    axis = Axis(months_between(first, newest) + 1, _month(first), _month(newest))
    return bars(title, made, axis, _highest(sold, currency))


def _highest(sold: Sequence[Sold], currency: str | None) -> str:
    best = max(sold, key=lambda each: each.amount)
    return f"{_money(best.amount)}{_in(currency, ' ')}"


def _ranked(best: Sequence[Ranked], total: Decimal) -> list[tuple[Ranked, Markup, str]]:
    highest = max((each.amount for each in best), default=Decimal(0))
    return [
        (
            each,
            share(each.amount, highest),
            _share(each.amount, total) if total > 0 and each.amount >= 0 else "",
        )
        for each in best
    ]


def _flow(figures: Figures) -> Markup:
    """Draw what became of the rows of the run, as far as each row has one fate."""
    hidden = max((each.hidden for each in figures.tables), default=0)
    excluded = figures.rows_excluded
    if not figures.rows_read:
        return Markup()
    columns = [
        [Stage("Read", figures.rows_read, "bar")],
        [Stage("Valid", figures.rows_valid, "bar")],
    ]
    links = [(0, 0)]
    if figures.rows_rejected:
        columns[1].append(Stage("Rejected", figures.rows_rejected, "bad"))
        links.append((0, 0))
    ends = [Stage("In the marts", figures.rows_valid - excluded - hidden, "bar")]
    if excluded and hidden:
        # A row may be both.
        ends = [Stage("Loaded", figures.rows_valid, "bar")]
    elif excluded:
        ends.append(Stage("Not in the marts", excluded, "warn"))
    elif hidden:
        ends.append(Stage("Superseded", hidden, "warn"))
    columns.append(ends)
    links += [(1, 0)] * len(ends)
    said = ", ".join(f"{each.name} {each.rows:,}" for column in columns for each in column)
    return flow(f"What became of the rows: {said}", columns, links)


def _quality(days: Sequence[LoadedDay]) -> Markup:
    if not days:
        return Markup()
    newest = days[-1].business_date
    first = days_before(newest, 27)
    made = [
        Bar(
            _day(each.business_date),
            Decimal(each.rows_rejected) / each.rows_read if each.rows_read else Decimal(0),
            f"{_share(each.rows_rejected, each.rows_read)} rejected",
            "bad",
            (each.business_date - first).days,
        )
        for each in days
    ]
    worst = max(days, key=lambda each: Decimal(each.rows_rejected) / max(each.rows_read, 1))
    top = _share(worst.rows_rejected, worst.rows_read)
    axis = Axis(28, _day(first), _day(newest))
    return bars("Share of rejected rows by day, 28 days", made, axis, top, height=90)


def _change(now: Decimal, before: Decimal) -> _Change:
    difference = add(now, before, -1)
    if not difference:
        return _Change("same", "unchanged", _money(difference))
    kind, arrow = ("more", "▲") if difference > 0 else ("less", "▼")
    amount = _money(difference, signed=True)
    share_of = _percent(difference / before, signed=True) if before > 0 else amount
    return _Change(kind, f"{arrow} {share_of}", amount)


def _share(part: Decimal | int, whole: Decimal | int) -> str:
    return _percent(Decimal(part) / Decimal(whole)) if whole else "0 %"


def _percent(value: Decimal, *, signed: bool = False) -> str:
    """Write a share; one that is there and small is not written as none."""
    rounded = (value * 100).quantize(Decimal("0.1"), context=_WIDE)
    if not rounded and value:
        return "< 0.1 %" if value > 0 else f"> {_MINUS}0.1 %"
    return f"{_digits(rounded, signed=signed)} %"


def _money(value: Decimal, *, signed: bool = False) -> str:
    """Write an amount with all of its decimals, two at least."""
    return _digits(padded(value, _CENTS), signed=signed)


def _digits(value: Decimal, *, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''},f}".replace("-", _MINUS)


def _whole(value: Decimal | int | None) -> str:
    return "\N{EN DASH}" if value is None else _digits(Decimal(value))


def _count(number: int, what: str, many: str = "") -> str:
    return f"{number:,} {what if number == 1 else many or what + 's'}"


_days = partial(_count, what="day")


def _listed(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _in(currency: str | None, before: str = " in ") -> str:
    return f"{before}{currency}" if currency else ""


def _day(value: date | None) -> str:
    return "" if value is None else f"{value.day} {_MONTHS[value.month - 1][:3]} {value.year}"


def _month(value: date | None, *, short: bool = True) -> str:
    if value is None:
        return ""
    name = _MONTHS[value.month - 1]
    return f"{name[:3] if short else name} {value.year}"


def _plain(value: object) -> str:
    return escape_control_characters(str(value), on_one_line=True)


def _command(*words: str) -> str:
    return _plain(shlex.join(words))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("sales_mart.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "bytes": _size,
        "day": _day,
        "money": _money,
        "month": partial(_month, short=False),
        "plain": _plain,
        "whole": _whole,
    }
    return made


def _size(value: int) -> str:
    """Write bytes in the unit that fits."""
    size, units = Decimal(value), ("bytes", "kB", "MB", "GB", "TB")
    for unit in units:
        if size < 1000 or unit == units[-1]:  # noqa: PLR2004 - as its name says
            return f"{value:,} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return ""


@cache
def _file(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None  # noqa: S101 - set just above
    return environment.loader.get_source(environment, name)[0]
