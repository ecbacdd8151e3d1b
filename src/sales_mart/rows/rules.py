"""The rules of a row: each stands here once, for one row and for millions.

A rule decides about one text in Python and about a column of texts in Polars, side by side, so
that `Transaction` (one row) and `validate` (millions) cannot drift apart.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from sales_mart.rows.characters import all_visible, holds_invisible
from sales_mart.schema import AMOUNT_DIGITS, FIELDS, PRICE_DIGITS, schema_of

if TYPE_CHECKING:
    import polars as pl

    from sales_mart.config import Config
    from sales_mart.schema import SaleColumn

__all__ = [
    "DUPLICATE",
    "GATES",
    "REASONS",
    "TRUSTED",
    "Present",
    "Rule",
    "attribute_rules",
    "mart_rules",
    "reasons_of",
    "rules",
]

REASONS: dict[str, str] = {
    "malformed_row": "not the header's number of fields, a stray quote, a swallowed row, or a NUL",
    "encoding": "not UTF-8",
    "missing_transaction_id": "transaction_id is empty",
    "transaction_id_format": "transaction_id holds an invisible character",
    "missing_product": "product is empty",
    "product_prefix": "product does not start with the prefix",
    "missing_price": "price is empty",
    "price_format": "price is not plain digits with an optional point and digits, or is too long",
    "price_decimals": "price has more decimals than allowed",
    "price_too_low": "price is under the lowest price, or not above 0",
    "missing_quantity": "quantity is empty",
    "quantity_format": "quantity is not plain digits, or does not fit 64 bits",
    "quantity_range": "quantity is not from 1 to the highest quantity",
    "missing_date": "date is empty",
    "date_format": "date is not a calendar date written YYYY-MM-DD",
    "duplicate_transaction_id": "an earlier valid row has the same transaction_id",
}
"""Every reason for which a row is rejected, in the order in which a row lists them."""

DUPLICATE = "duplicate_transaction_id"
"""The one reason that other rows are needed for."""

TRUSTED = ("product_prefix", "price_too_low", "quantity_range")
"""What `trust_input` leaves to the marts."""

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
    """ASCII digits whose number fits 64 bits."""

    def holds(self, text: str) -> bool:
        """Match, then compare, without asking Python for a number of a million digits."""
        digits = text.lstrip("0")
        return (
            re.fullmatch("[0-9]+", text) is not None
            and len(digits) <= len(str(_MAX_INT64))
            and int(digits or 0) <= _MAX_INT64
        )

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Match, then see whether the cast finds a number."""
        import polars as pl

        digits = text.str.contains("^[0-9]+$")
        return digits & text.cast(pl.Int64, strict=False).is_not_null()

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Rely on the cast, which takes a sign besides digits and nothing else."""
        return typed.is_not_null() & ~text.str.starts_with("-") & ~text.str.starts_with("+")


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
        return (price >= pl.lit(self.lowest, pl.Decimal(38, scale))) & text.str.contains("[1-9]")

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Compare without a cut: `price_decimals` rejects whatever a cast would round."""
        import polars as pl

        del text
        return (typed >= pl.lit(self.lowest)) & (typed > 0)


@dataclass(frozen=True)
class QuantityRange(Rule):
    """A whole number from 1 to a bound."""

    highest: int

    def holds(self, text: str) -> bool:
        """Compare."""
        return 1 <= int(text.lstrip("0") or 0) <= self.highest

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Compare."""
        import polars as pl

        return text.cast(pl.Int64, strict=False).is_between(1, self.highest)

    def passes(self, text: pl.Expr, typed: pl.Expr) -> pl.Expr:
        """Compare."""
        del text
        return typed.is_between(1, self.highest)


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


@dataclass(frozen=True)
class SignedWhole(Rule):
    """A whole number, negative or not, that fits 64 bits."""

    pattern: ClassVar[str] = "-?[0-9]+"

    def holds(self, text: str) -> bool:
        """Match, then compare."""
        digits = text.removeprefix("-").lstrip("0")
        return (
            re.fullmatch(self.pattern, text) is not None
            and len(digits) <= len(str(_MAX_INT64))
            and -_MAX_INT64 - 1 <= int(f"{'-' * text.startswith('-')}{digits or 0}") <= _MAX_INT64
        )

    def expression(self, text: pl.Expr) -> pl.Expr:
        """Match, then see whether the cast finds a number."""
        import polars as pl

        return (
            text.str.contains(f"^{self.pattern}$") & text.cast(pl.Int64, strict=False).is_not_null()
        )


GATES = {"price": "price_format", "quantity": "quantity_format"}
"""The rule of a field that must hold before the field's later rules are asked."""


def rules(config: Config) -> tuple[Rule, ...]:
    """Return the rules of a valid transaction under a configuration, in the order of reasons."""
    site = config.rules
    whole_digits = PRICE_DIGITS - site.max_decimals
    places = site.max_decimals
    decimals = rf"[0-9]+(?:\.[0-9]{{1,{places}}})?" if places else "[0-9]+"
    written: tuple[Rule, ...] = (
        Present("missing_transaction_id", "transaction_id"),
        Visible("transaction_id_format", "transaction_id"),
        Present("missing_product", "product"),
        Prefix("product_prefix", "product", site.product_prefix),
        Present("missing_price", "price"),
        PriceFormat("price_format", "price", rf"0*[0-9]{{1,{whole_digits}}}(?:\.[0-9]+)?"),
        Pattern("price_decimals", "price", decimals),
        LowestPrice("price_too_low", "price", site.min_price, site.max_decimals),
        Present("missing_quantity", "quantity"),
        Whole("quantity_format", "quantity"),
        QuantityRange("quantity_range", "quantity", site.max_quantity),
        Present("missing_date", "date"),
        CalendarDate("date_format", "date"),
        *attribute_rules(config).values(),
    )
    return tuple(
        rule
        for rule in written
        if not (config.ingestion.trust_input and rule.reason in TRUSTED)
        and not (isinstance(rule, Present) and rule.field not in site.required_fields)
    )


_ATTRIBUTE_REASONS = {
    "integer": "is not a whole number of 64 bits",
    "decimal": "is not plain digits with an optional point, or has too many of them",
    "date": "is not a calendar date written YYYY-MM-DD",
    "boolean": "is neither true nor false",
}


def attribute_rules(config: Config) -> dict[SaleColumn, Rule]:
    """Return the rules that columns of the configuration can be read; a text always can."""
    return {
        column: _attribute_rule(column)
        for column in schema_of(config).attributes
        if column.kind != "text"
    }


def _attribute_rule(column: SaleColumn) -> Rule:
    reason = f"{column.name}_format"
    if column.kind == "integer":
        return SignedWhole(reason, column.name)
    if column.kind == "date":
        return CalendarDate(reason, column.name)
    if column.kind == "boolean":
        return Pattern(reason, column.name, "(?i:true|false)")
    # Zeros at the end lose nothing.
    part = rf"(?:\.[0-9]{{1,{column.scale}}}0*)?" if column.scale else r"(?:\.0+)?"
    whole = rf"-?0*[0-9]{{1,{AMOUNT_DIGITS - column.scale}}}"
    return Pattern(reason, column.name, whole + part)


def reasons_of(config: Config) -> dict[str, str]:
    """Return every reason to reject a row under a configuration, and what each means."""
    return REASONS | {
        rule.reason: f"{column.name} {_ATTRIBUTE_REASONS[column.kind]}"
        for column, rule in attribute_rules(config).items()
    }


def mart_rules(config: Config) -> Config:
    """Return the configuration whose rules a row must pass to be shown in a mart."""
    everything = config.rules.model_copy(update={"required_fields": FIELDS})
    ingestion = config.ingestion.model_copy(update={"validation": everything, "trust_input": False})
    return config.model_copy(update={"ingestion": ingestion})
