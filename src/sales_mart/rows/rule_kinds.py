"""Kinds of rules: each decides about one text in Python and about a column of texts in Polars.

They stand side by side, so that `Transaction` (one row) and `validate` (millions) cannot drift
apart.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from sales_mart.rows.characters import all_visible, holds_invisible

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Accepted",
    "CalendarDate",
    "LowestPrice",
    "NotNegative",
    "Pattern",
    "Prefix",
    "Present",
    "PriceFormat",
    "QuantityRange",
    "Rule",
    "Unlike",
    "Visible",
    "Whole",
]

_MAX_INT64 = 2**63 - 1


@dataclass(frozen=True)
class Rule(ABC):
    """One reason to reject a row for one field.

    Attributes:
        reason: Code of the reason, a key of `REASONS`.
        field: Column that is checked.
    """

    reason: str
    field: str

    @abstractmethod
    def holds(self, text: str) -> bool:
        """Check one stripped, non-empty text."""

    @abstractmethod
    def expression(self, text: pl.Expr) -> pl.Expr:
        """Check a column of such texts; what it says of null counts for nothing."""

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Check a column where only the result of all rules of the field counts: cheaper.

        `typed` is the same column cast to its type, null where the cast found none.
        """
        del typed
        return self.expression(text)


@dataclass(frozen=True)
class Present(Rule):
    """The field is there. It is the one rule that is asked about a missing field."""

    def holds(self, text: str) -> bool:
        """Hold for any text."""
        return bool(text)

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Hold for any text, fail for null."""
        return text.is_not_null()


@dataclass(frozen=True)
class Visible(Rule):
    """Nobody can overlook a character of the text."""

    def holds(self, text: str) -> bool:
        """Look for one."""
        return not holds_invisible(text)

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Look for one."""
        return all_visible(text)


@dataclass(frozen=True)
class Prefix(Rule):
    """The text starts with a prefix, to the letter."""

    prefix: str

    def holds(self, text: str) -> bool:
        """Compare code points."""
        return text.startswith(self.prefix)

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Compare code points."""
        return text.str.starts_with(self.prefix)


@dataclass(frozen=True)
class Accepted(Rule):
    """The text is one of some, to the letter."""

    texts: tuple[str, ...]

    def holds(self, text: str) -> bool:
        """Look for it."""
        return text in self.texts

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Look for it."""
        return text.is_in(list(self.texts))


@dataclass(frozen=True)
class Pattern(Rule):
    """The whole text matches a regular expression that Python and Rust read alike."""

    pattern: str

    def holds(self, text: str) -> bool:
        """Match the whole text."""
        return re.fullmatch(self.pattern, text) is not None

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Match the whole text."""
        return text.str.contains(f"^(?:{self.pattern})$")


@dataclass(frozen=True)
class PriceFormat(Pattern):
    """A plain decimal number whose whole part fits the column's type."""

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Rely on the cast for the size: `price_decimals` matches the shape."""
        del text
        return typed.is_not_null()


@dataclass(frozen=True)
class Whole(Rule):
    """A whole number, negative or not, that fits 64 bits; zeros behind a point lose nothing."""

    pattern: ClassVar[str] = r"-?[0-9]+(?:\.0+)?"

    def holds(self, text: str) -> bool:
        """Match, then compare, without asking Python for a number of a million digits."""
        digits = text.partition(".")[0].removeprefix("-").lstrip("0")
        return (
            re.fullmatch(self.pattern, text) is not None
            and len(digits) <= len(str(_MAX_INT64))
            and -_MAX_INT64 - 1 <= int(f"{'-' * text.startswith('-')}{digits or 0}") <= _MAX_INT64
        )

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Match, then see whether the cast finds a number."""
        import polars as pl

        whole = text.str.extract(r"^(-?[0-9]+)(?:\.0+)?$")
        return whole.is_not_null() & whole.cast(pl.Int64, strict=False).is_not_null()

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Rely on the cast, which takes a plus besides digits and nothing else."""
        return typed.is_not_null() & ~text.str.starts_with("+")


@dataclass(frozen=True)
class NotNegative(Rule):
    """A number that is not under 0."""

    def holds(self, text: str) -> bool:
        """Look for a sign, and for a digit that makes it count."""
        return not (text.startswith("-") and re.search("[1-9]", text))

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Look for a sign, and for a digit that makes it count."""
        return ~(text.str.starts_with("-") & text.str.contains("[1-9]"))

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Compare."""
        del text
        return typed >= 0


@dataclass(frozen=True)
class Unlike(Rule):
    """A text that does not stand for something that could not be read."""

    text: str

    def holds(self, text: str) -> bool:
        """Compare."""
        return text != self.text

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Compare."""
        return text != self.text


@dataclass(frozen=True)
class LowestPrice(Rule):
    """A price above 0 and not under a bound, however many decimals it has."""

    lowest: Decimal
    decimals: int

    def holds(self, text: str) -> bool:
        """Compare exactly."""
        price = Decimal(text)
        return price >= self.lowest and price > 0

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Compare what is left when digits beyond the bound's scale are cut, which is as exact."""
        import polars as pl

        exponent = self.lowest.as_tuple().exponent
        scale = max(self.decimals, -exponent if isinstance(exponent, int) else 0)
        # A cast rounds, so digits are cut first; a bound of this scale cannot tell the difference.
        point = text.str.find(".", literal=True)
        cut = pl.coalesce(text.str.head(point + 1 + scale), text)
        price = cut.cast(pl.Decimal(38, scale), strict=False)
        above = text.str.contains("[1-9]") & ~text.str.starts_with("-")
        return (price >= pl.lit(self.lowest, pl.Decimal(38, scale))) & above

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Compare without a cut: `price_decimals` rejects whatever a cast would round."""
        import polars as pl

        del text
        return (typed >= pl.lit(self.lowest)) & (typed > 0)


@dataclass(frozen=True)
class QuantityRange(Rule):
    """A number above 0 and up to a bound, or its negative."""

    highest: int
    decimals: int

    def holds(self, text: str) -> bool:
        """Compare."""
        return 0 < abs(Decimal(text)) <= self.highest

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Compare."""
        import polars as pl

        return self.passes(text, text.cast(pl.Decimal(38, self.decimals), strict=False))

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Compare."""
        del text
        return (typed != 0) & typed.is_between(-self.highest, self.highest)


@dataclass(frozen=True)
class CalendarDate(Rule):
    """A day of the calendar, written in ten characters."""

    pattern: ClassVar[str] = "[0-9]{4}-[0-9]{2}-[0-9]{2}"

    def holds(self, text: str) -> bool:
        """Ask the calendar."""
        if not re.fullmatch(self.pattern, text):
            return False
        try:
            date.fromisoformat(text)
        except ValueError:
            return False
        return True

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Ask the calendar, which for Polars has a year 0."""
        return self.passes(text, text.str.to_date("%Y-%m-%d", strict=False))

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Rely on the cast for the calendar."""
        written = text.str.contains(f"^{self.pattern}$") & ~text.str.starts_with("0000")
        return written & typed.is_not_null()
