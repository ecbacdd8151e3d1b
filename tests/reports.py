"""Figures of reports, made up: of a shop with everything that a report can show."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sales_mart.lake.records import Mode
from sales_mart.report.figures import (
    Before,
    Comparison,
    Figures,
    Line,
    LoadedDay,
    Ranked,
    Reject,
    Sold,
    TableRows,
)

LAST = date(2023, 12, 20)
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "Tea & \u202egnp.exe",
    "</style><style>*{display:none}",
    "قهوة عربية",
    "{{ 7 * 7 }}{% raw %}",
    "line\nend\x1b[31m\x00",
    "A name of a product that is far longer than names of products are wont to be, " * 2,
)


def sold(start: date | None, amount: str, currency: str | None = None, **more: Any) -> Sold:
    """Return what was sold for an amount."""
    return Sold(
        start=start,
        currency=currency,
        transactions=more.pop("transactions", 7),
        amount=Decimal(amount),
        pieces=more.pop("pieces", 9),
        **more,
    )


def _of_time(currency: str | None, scale: int, *, returns: bool) -> tuple[list[Sold], list[Sold]]:
    def back(number: int) -> dict[str, Any]:
        return {"returned_amount": Decimal(number) / 4, "returned_pieces": 2} if returns else {}

    days = [
        sold(
            LAST - timedelta(days=90 - each),
            f"{(each * 37 % 97 + each) * scale}.{each:02}",
            currency,
            **back(each),
        )
        for each in range(91)
        if each % 7
    ]
    months = [
        sold(
            date(2022 + each // 12, each % 12 + 1, 1),
            f"{(each * 13 % 29 + 20) * scale * 100}.50",
            currency,
            transactions=1200 + each,
            pieces=3400,
            **back(each * 100),
        )
        for each in range(24)
    ]
    return days, months


def _ranked(names: tuple[str | None, ...], currency: str | None, dimension: str | None) -> Any:
    return [
        Ranked(
            dimension=dimension,
            currency=currency,
            name=name,
            transactions=90 - ordinal,
            amount=Decimal(9000 - ordinal * 1000) + Decimal("0.25"),
            of=1234,
        )
        for ordinal, name in enumerate(names)
    ]


def figures(  # noqa: PLR0913 - each a part that a report may lack
    *,
    currencies: tuple[str | None, ...] = (None,),
    names: tuple[str, ...] = ("Tea", "Ink", "Paper"),
    returns: bool = False,
    dimensions: bool = False,
    rejected: int = 120,
    hidden: int = 0,
    warehouses: tuple[str, ...] = ("PostgreSQL", "BigQuery"),
    **changed: Any,
) -> Figures:
    """Return figures of a run, some of their parts chosen."""
    days: list[Sold] = []
    months: list[Sold] = []
    for ordinal, currency in enumerate(currencies):
        of_days, of_months = _of_time(currency, 10 ** (ordinal + 1), returns=returns)
        days += of_days
        months += of_months
    back = {"returned_amount": Decimal("120.00"), "returned_pieces": 14} if returns else {}
    totals = [sold(None, "1234567.89", each, **back) for each in currencies]
    values = [
        each
        for currency in currencies
        for name in ("store", "channel")
        for each in _ranked(("Jakarta", "Bandung", None), currency, name)
    ]
    fields: dict[str, Any] = {
        "run_id": "2023-12-20-0123456789ab",
        "business_date": LAST,
        "mode": Mode.APPEND,
        "published_at": datetime(2023, 12, 21, 4, 5, tzinfo=UTC),
        "lake": "/data/lake",
        "files": ("sales_20231220.csv", "returns.csv.gz"),
        "file_count": 2,
        "rows_read": 12_000,
        "rows_valid": 12_000 - rejected,
        "rows_rejected": rejected,
        "rows_excluded": 40,
        "excluded": {"product_prefix": 40},
        "rejects": (
            Reject(
                reason="missing_product",
                rows=rejected,
                meaning="product is empty",
                remedy="Fill it in.",
                lines=(
                    Line(file="sales_20231220.csv", line=17, row=16),
                    Line(file="returns.csv.gz", line=1234567, row=1234566),
                    Line(file="book.xlsx", line=None, row=8),
                ),
            ),
        )
        if rejected
        else (),
        "tables": tuple(
            TableRows(
                target=title.lower(),
                title=title,
                sequence=9,
                added=11_880 - hidden,
                hidden=hidden,
                removed=100,
                superseded=20,
                shown_again=3,
                visible=4_000_000,
                in_marts=3_999_000,
                marts={"fact_sales": 3_999_000},
                tests=17,
            )
            for title in warehouses
        ),
        "compared": tuple(
            Comparison(
                target=title.lower(),
                title=title,
                days=3,
                rows=3_999_000,
                amount=Decimal("987654321.12"),
                pieces=5_000_000,
            )
            for title in warehouses
        ),
        "days": tuple(sorted(days, key=lambda each: str(each.start))),
        "months": tuple(sorted(months, key=lambda each: str(each.start))),
        "totals": tuple(totals),
        "month_before": tuple(sold(date(2023, 11, 1), "30000.00", each) for each in currencies),
        "has_currencies": currencies != (None,),
        "products": tuple(
            each for currency in currencies for each in _ranked(names, currency, None)
        ),
        "dimensions": tuple(values) if dimensions else (),
        "before": Before(
            run_id="2023-12-19-0123456789ab",
            business_date=LAST - timedelta(days=1),
            rows_read=11_000,
            rows_rejected=100,
            in_marts=3_990_000,
            totals=tuple(sold(None, "1234000.00", each) for each in currencies),
        ),
        "quality": tuple(
            LoadedDay(
                business_date=LAST - timedelta(days=27 - each),
                run_id="a",
                rows_read=10_000 + each,
                rows_rejected=each * 17 % 150,
            )
            for each in range(28)
            if each not in (5, 6)
        ),
        "seconds": {"plan": 0.01, "validate": 3.25, "load-postgres": 9.5, "transform": 21.0},
        "bytes": {"source files": 215, "their text": 123_456_789},
        "config_digest": "f" * 64,
        "key_id": "hmac-sha256:0123456789abcdef",
        "versions": {"Python": "3.11.7", "sales-mart": "0.2.0"},
        "warnings": (),
    }
    return Figures(**(fields | changed))
