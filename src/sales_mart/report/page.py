"""The page of a report: one HTML file that needs nothing else, made from the figures alone."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from sales_mart.report import texts
from sales_mart.report.dates import days_before
from sales_mart.report.pictures import Axis, Bar, Stage, bars, flow
from sales_mart.report.sales import sales_by_currency
from sales_mart.report.template import inline, page_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.report.figures import Figures, LoadedDay

__all__ = ["Finding", "findings", "page"]

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


def page(figures: Figures) -> bytes:
    """Return the page of a report as UTF-8 bytes: the same figures give the same bytes."""
    style, allowed = inline("report.css")
    found = findings(figures)
    month = max((each.start for each in figures.months if each.start), default=None)
    before = figures.before.totals if figures.before else None
    currencies, others = sales_by_currency(figures, month, before)
    return page_of(
        "report.html",
        f=figures,
        style=style,
        policy=f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'",
        published=figures.published_at.astimezone(UTC),
        findings=found,
        attention=[each for each in found if not each.is_good],
        currencies=currencies,
        others=others,
        flow=_flow(figures),
        quality=quality(figures.quality),
    )


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
            Finding(
                same,
                f"{texts.listed(titles)} {agree} to the cent on {texts.days(days)}.",
                "warehouses",
            )
        )
    elif titles:
        text = f"{titles[0]} holds what was read, to the cent, on {texts.days(days)}."
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
    share = texts.percentage(rejected, read)
    text = f"{rejected:,} of {texts.count(read, 'row')} ({share}) were rejected"
    others = [each for each in figures.quality if each.business_date < figures.business_date]
    before = sum(each.rows_read for each in others)
    if len(others) < _FEWEST_DAYS or not before:
        return Finding(False, f"{text}.", "rejects")
    usual = sum(each.rows_rejected for each in others)
    # More than twice as many as usual.
    is_good = rejected * before <= 2 * usual * read
    return Finding(is_good, f"{text}; usual are {texts.percentage(usual, before)}.", "rejects")


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


def quality(days: Sequence[LoadedDay]) -> Markup:
    if not days:
        return Markup()
    newest = days[-1].business_date
    first = days_before(newest, 27)
    made = [
        Bar(
            texts.day(each.business_date),
            Decimal(each.rows_rejected) / each.rows_read if each.rows_read else Decimal(0),
            f"{texts.percentage(each.rows_rejected, each.rows_read)} rejected",
            "bad",
            (each.business_date - first).days,
        )
        for each in days
    ]
    worst = max(days, key=lambda each: Decimal(each.rows_rejected) / max(each.rows_read, 1))
    top = texts.percentage(worst.rows_rejected, worst.rows_read)
    axis = Axis(28, texts.day(first), texts.day(newest))
    return bars("Share of rejected rows by day, 28 days", made, axis, top, height=90)
