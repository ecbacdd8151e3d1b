"""What a run's report shows, as data: the record `report`, from which the page is made."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from sales_mart.errors import ConfigurationError
from sales_mart.lake.records import Mode, Record
from sales_mart.rows.sums import Sums

if TYPE_CHECKING:
    from sales_mart.lake.runs import RunFolder

__all__ = [
    "REPORT",
    "STEP",
    "Before",
    "Comparison",
    "Figures",
    "Line",
    "LoadedDay",
    "Ranked",
    "Reject",
    "Sold",
    "TableRows",
    "kept_figures",
]


REPORT = "report.html"
"""Name of the page, beside the exports."""
STEP = "report"
"""Name of the record that the figures are."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sold(_Part):
    """What was sold in a day, a month or ever, in one currency."""

    start: date | None = Field(default=None, description="the day, or the first of the month")
    currency: str | None = Field(
        default=None, description="null: none is given, or the sales do not say which one"
    )
    transactions: int = Field(description="sales, without returns")
    amount: Decimal = Field(description="sum of the amounts, net of returns")
    pieces: int | Decimal = Field(description="sum of the pieces, net of returns")
    returned_amount: Decimal | None = Field(
        default=None, description="sum of what was given back; null where there are no returns"
    )
    returned_pieces: int | Decimal | None = Field(default=None, description="pieces given back")

    def plus(self, other: Sold) -> Sold:
        """Add what was sold in the same currency; the start stays."""
        net = Sums(self.transactions, self.amount, self.pieces).plus(
            Sums(other.transactions, other.amount, other.pieces)
        )
        returned_amount = returned_pieces = None
        if self.returned_amount is not None:
            _, returned_amount, returned_pieces = Sums(
                0, self.returned_amount, self.returned_pieces or 0
            ).plus(Sums(0, other.returned_amount or Decimal(0), other.returned_pieces or 0))
        transactions, amount, pieces = net
        return Sold(
            start=self.start,
            currency=self.currency,
            transactions=transactions,
            amount=amount,
            pieces=pieces,
            returned_amount=returned_amount,
            returned_pieces=returned_pieces,
        )


class Ranked(_Part):
    """One of the best of the newest month: of its products, or of the values of a dimension."""

    dimension: str | None = Field(default=None, description="null: it is one of the products")
    currency: str | None = None
    name: str | None = Field(description="null: sales without a value of the dimension")
    transactions: int
    amount: Decimal
    of: int = Field(description="how many there are in the month")


class Line(_Part):
    """Where a rejected row stands."""

    file: str
    line: int | None = Field(description="null in files without lines, such as workbooks")
    row: int


class Reject(_Part):
    """A reason for which rows were rejected."""

    reason: str
    rows: int
    meaning: str
    remedy: str
    lines: tuple[Line, ...] = Field(description="the first of them")


class TableRows(_Part):
    """What a load did to the raw table of one warehouse, and what the marts show of it."""

    target: str
    title: str
    sequence: int
    added: int
    hidden: int
    removed: int | None
    superseded: int | None
    shown_again: int | None
    visible: int | None
    in_marts: int = Field(description="rows of the fact table")
    marts: dict[str, int] = Field(description="rows of each published mart")
    tests: int = Field(description="tests of the marts that passed")

    @property
    def before(self) -> int | None:
        """Rows that were visible before the load."""
        if self.visible is None or self.removed is None:
            return None
        lost = self.removed + (self.superseded or 0)
        return self.visible - self.added - (self.shown_again or 0) + lost


class Comparison(_Part):
    """What a warehouse's next facts came to on the days that were compared."""

    target: str
    title: str
    days: int
    rows: int
    amount: Decimal
    pieces: int | Decimal


class LoadedDay(_Part):
    """How many rows a load of a day read and rejected."""

    business_date: date
    run_id: str
    rows_read: int
    rows_rejected: int


class Before(_Part):
    """The run that was loaded before this one."""

    run_id: str
    business_date: date
    rows_read: int
    rows_rejected: int
    in_marts: int
    totals: tuple[Sold, ...]


class Figures(Record):
    """The figures of a run's report, which `export` collects and `sales-mart report` shows."""

    business_date: date
    mode: Mode
    published_at: datetime
    lake: str
    files: tuple[str, ...] = Field(description="names of the source's objects, the first of them")
    file_count: int
    rows_read: int
    rows_valid: int
    rows_rejected: int
    rows_excluded: int
    excluded: dict[str, int]
    rejects: tuple[Reject, ...] = Field(description="by rows, most first")
    tables: tuple[TableRows, ...]
    compared: tuple[Comparison, ...]
    days: tuple[Sold, ...] = Field(description="the newest sale dates, by date and currency")
    months: tuple[Sold, ...] = Field(description="the newest months, by month and currency")
    totals: tuple[Sold, ...] = Field(description="all sales, by currency")
    month_before: tuple[Sold, ...] = Field(
        description="as many days of the month before the newest one as that one has, by currency"
    )
    has_currencies: bool = Field(description="whether a column says which currency an amount is in")
    products: tuple[Ranked, ...]
    dimensions: tuple[Ranked, ...]
    before: Before | None = Field(description="null: nothing was loaded before, or nothing is kept")
    quality: tuple[LoadedDay, ...] = Field(description="the loads of 28 business dates, by date")
    seconds: dict[str, float] = Field(
        description="duration of each step up to `publish`, where one process ran the pipeline"
    )
    bytes: dict[str, int] = Field(description="bytes of what was read and made")
    config_digest: str
    key_id: str
    versions: dict[str, str]
    warnings: tuple[str, ...]


def kept_figures(run: RunFolder) -> Figures | None:
    """Return the figures that are kept with a run; None too where another version wrote them.

    They only add to what a run says, and must not keep it from its end.
    """
    with suppress(ConfigurationError):
        return run.find(STEP, Figures)
    return None
