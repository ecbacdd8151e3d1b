"""Rows, and the sums over those of them that the marts show: one notion from `validate` on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sales_mart.rows import money

__all__ = ["Sums", "Totals", "ValidTotals"]


class Sums(NamedTuple):
    """Rows, and the sums of their amounts and quantities."""

    rows: int = 0
    amount: Decimal = Decimal(0)
    quantity: int | Decimal = 0

    def plus(self, other: Sums, sign: int = 1) -> Sums:
        """Add up, or with -1 take away, without rounding."""
        return Sums(
            self.rows + sign * other.rows,
            money.add(self.amount, other.amount, sign),
            _added(self.quantity, other.quantity, sign),
        )

    def __format__(self, spec: str) -> str:
        """Show the three numbers; a comma puts one between thousands."""
        amount = f"amount {self.amount:{spec}f}"
        return f"{self.rows:{spec}} rows, {amount}, quantity {self.quantity:{spec}}"

    def __str__(self) -> str:
        """Show the three numbers."""
        return format(self)


def _added(first: int | Decimal, second: int | Decimal, sign: int) -> int | Decimal:
    if isinstance(first, int) and isinstance(second, int):
        return first + sign * second
    return money.add(Decimal(first), Decimal(second), sign)


class Totals(BaseModel):
    """The sums in a record, beside the rows that they are of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Decimal = Field(description="sum of price x quantity of the rows that the marts show")
    quantity: int | Decimal = Field(
        description="sum of quantity of the rows that the marts show, net of returns"
    )

    def sums(self, rows: int) -> Sums:
        """Return the sums, which are of so many rows."""
        return Sums(rows, self.amount, self.quantity)


@dataclass
class ValidTotals:
    """What the valid rows come to, and which of them no mart shows.

    Attributes:
        rows: Valid rows.
        excluded: Rows that no mart shows, by reason.
        shown: The sums over the rows that the marts show.
    """

    rows: int = 0
    excluded: Counter[str] = field(default_factory=Counter[str])
    shown: Sums = field(default_factory=Sums)

    def add(self, other: ValidTotals, sign: int = 1) -> None:
        """Add, or with -1 take away, other totals."""
        self.rows += sign * other.rows
        for reason, count in other.excluded.items():
            self.excluded[reason] += sign * count
        self.shown = self.shown.plus(other.shown, sign)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a record."""
        return {
            "rows_valid": self.rows,
            "excluded": dict(sorted((+self.excluded).items())),
            "rows_excluded": self.rows - self.shown.rows,
            "amount": self.shown.amount,
            "quantity": self.shown.quantity,
        }
