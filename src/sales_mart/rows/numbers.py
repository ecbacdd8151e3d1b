"""Numbers as people write them, into plain digits with a point.

What cannot be read becomes a text that no rule takes for a number, so that it is rejected and never
guessed: `1.234` is a thousand and more where the point stands between thousands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = ["OTHER_CURRENCY", "UNREADABLE", "NumberForm", "plain_numbers"]

UNREADABLE = "?"
"""Stands for a text that is no number in the form that is configured."""
OTHER_CURRENCY = "¤"
"""Stands for a number with a sign or code of another currency than the configured one."""
_SPACES = "[ \u00a0\u2009\u202f]"
_MINUS = "[-\u2212]"
_ANY_SIGN = r"(?:\p{Sc}|[A-Za-z]{1,3}\p{Sc}?|[A-Z]{3})"
_PLAIN = r"^-?[0-9]+(?:\.[0-9]+)?$"
_EXACT = Context(prec=200)
_MOST_DIGITS = 60


@dataclass(frozen=True)
class NumberForm:
    """How numbers are written, and what is made of them.

    Attributes:
        decimal: Before the decimals.
        thousands: Between groups of three digits; None for nothing.
        currency: Sign that may stand before or after a number; None for none.
        scale: Number that each one is multiplied by.
        decimals: Decimals to which longer ones are rounded, half away from zero; None for none.
    """

    decimal: str = "."
    thousands: str | None = None
    currency: str | None = None
    scale: Decimal | None = None
    decimals: int | None = None

    @property
    def is_plain(self) -> bool:
        """Whether numbers are written as they are needed."""
        return self == NumberForm(scale=self.scale, decimals=self.decimals)

    @property
    def number(self) -> str:
        """The regular expression of a number without a sign."""
        digits = "[0-9]+"
        if self.thousands:
            between = _SPACES if self.thousands == " " else re.escape(self.thousands)
            digits = f"(?:[0-9]{{1,3}}(?:{between}[0-9]{{3}})+|[0-9]+)"
        return f"{digits}(?:{re.escape(self.decimal)}[0-9]+)?"

    def pattern(self, sign: str | None) -> str:
        """Return the regular expression of a number, with a sign of a currency or without."""
        number = f"(?P<number>{self.number})"
        before = f"(?:{sign}{_SPACES}*)?" if sign else ""
        after = f"(?:{_SPACES}*{sign})?" if sign else ""
        return (
            rf"^(?P<open>\()?(?P<minus>{_MINUS})?{_SPACES}*{before}(?P<inner>{_MINUS})?{number}"
            rf"{after}(?P<last>{_MINUS})?(?P<close>\))?$"
        )


def plain_numbers(texts: pl.Series, form: NumberForm, *, is_typed: bool = False) -> pl.Series:
    """Read numbers.

    Args:
        texts: Texts without white space around them.
        form: How they are written.
        is_typed: They are the plain texts of what was a number already.

    Returns:
        Plain texts such as `-1234.5`; `UNREADABLE` or `OTHER_CURRENCY` where a text is no number in
        this form; null for null.
    """
    if is_typed:
        return _computed(texts, form).alias(texts.name)
    # Nearly all numbers have no sign and no parentheses: those are read by the quickest means.
    others = ~texts.str.contains(f"^-?{form.number}$").fill_null(value=True)
    read = _without_marks(texts, form)
    if others.any():
        read = read.scatter(others.arg_true(), _in_full(texts.filter(others), form))
    return _computed(read, form).alias(texts.name)


def _without_marks(texts: pl.Series, form: NumberForm) -> pl.Series:
    """Take out what stands between thousands, and put a point before the decimals."""
    if form.thousands == " ":
        texts = texts.str.replace_all(_SPACES, "")
    elif form.thousands:
        texts = texts.str.replace_all(form.thousands, "", literal=True)
    return texts if form.decimal == "." else texts.str.replace(form.decimal, ".", literal=True)


def _in_full(texts: pl.Series, form: NumberForm) -> pl.Series:
    """Read numbers with signs of currencies, parentheses, and minuses anywhere."""
    import polars as pl

    text = pl.col("text")
    sign = re.escape(form.currency) if form.currency else None
    plain = _plain(text, form, sign)
    other = (
        pl.when(text.str.contains(form.pattern(_ANY_SIGN))).then(pl.lit(OTHER_CURRENCY))
        if sign
        else pl.lit(None, pl.String)
    )
    return pl.DataFrame({"text": texts}).select(
        pl.coalesce(plain, other, pl.lit(UNREADABLE)).alias("text")
    )["text"]


def _plain(text: pl.Expr, form: NumberForm, sign: str | None) -> pl.Expr:
    """Return the plain text of each number; null where there is none."""
    import polars as pl

    found = text.str.extract_groups(form.pattern(sign))
    number = found.struct.field("number").map_batches(
        lambda numbers: _without_marks(numbers, form), return_dtype=pl.String
    )
    opened, closed = found.struct.field("open"), found.struct.field("close")
    signs = [found.struct.field(name) for name in ("minus", "inner", "last", "open")]
    minuses = pl.sum_horizontal(each.is_not_null().cast(int) for each in signs)
    makes_sense = (opened.is_null() == closed.is_null()) & (minuses <= 1)
    return pl.when(makes_sense).then(
        pl.concat_str([pl.when(minuses == 1).then(pl.lit("-")).otherwise(pl.lit("")), number])
    )


def _computed(texts: pl.Series, form: NumberForm) -> pl.Series:
    """Multiply and round; each distinct number once, exactly, by Python's decimals."""
    import polars as pl

    if form.scale is None and form.decimals is None:
        return texts
    wanted = texts.str.contains(_PLAIN)
    if form.scale is None:
        wanted &= texts.str.contains(rf"\.[0-9]{{{form.decimals}}}[0-9]*[1-9]")
    distinct = texts.filter(wanted.fill_null(value=False)).unique()
    if distinct.is_empty():
        return texts
    made = pl.Series([_compute(text, form) for text in distinct.to_list()], dtype=pl.String)
    return texts.replace(distinct, made)


def _compute(text: str, form: NumberForm) -> str:
    if len(text) > _MOST_DIGITS:
        return text  # no rule takes a number of this length
    number = Decimal(text)
    if form.scale is not None:
        number = _EXACT.multiply(number, form.scale)
    exponent = number.as_tuple().exponent
    if form.decimals is not None and isinstance(exponent, int) and -exponent > form.decimals:
        number = number.quantize(Decimal(1).scaleb(-form.decimals), ROUND_HALF_UP, _EXACT)
    return f"{number:f}"
