"""How dates, amounts, counts and shares are written for people."""

from __future__ import annotations

import shlex
from decimal import Context, Decimal
from functools import partial
from typing import TYPE_CHECKING

from sales_mart.control_characters import escape_control_characters
from sales_mart.rows.money import padded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

__all__ = [
    "command",
    "count",
    "day",
    "days",
    "in_currency",
    "listed",
    "money",
    "month",
    "percent",
    "percentage",
    "plain",
    "size",
    "whole",
]

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_CENTS = 2
_WIDE = Context(prec=100)
_MINUS = "\N{MINUS SIGN}"


def percentage(part: Decimal | int, whole: Decimal | int) -> str:
    """Write what share a part is of a whole; 0 % of nothing."""
    return percent(Decimal(part) / Decimal(whole)) if whole else "0 %"


def percent(value: Decimal, *, signed: bool = False) -> str:
    """Write a share; one that is there and small is not written as none."""
    rounded = (value * 100).quantize(Decimal("0.1"), context=_WIDE)
    if not rounded and value:
        return "< 0.1 %" if value > 0 else f"> {_MINUS}0.1 %"
    return f"{_digits(rounded, signed=signed)} %"


def money(value: Decimal, *, signed: bool = False) -> str:
    """Write an amount with all of its decimals, two at least."""
    return _digits(padded(value, _CENTS), signed=signed)


def _digits(value: Decimal, *, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''},f}".replace("-", _MINUS)


def whole(value: Decimal | int | None) -> str:
    """Write a number with all of its digits; a dash where it is not known."""
    return "\N{EN DASH}" if value is None else _digits(Decimal(value))


def count(number: int, what: str, many: str = "") -> str:
    """Write how many there are of something, in the singular or the plural."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"


days = partial(count, what="day")


def listed(names: Sequence[str]) -> str:
    """Write names one after the other, the last one behind an "and"."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def in_currency(currency: str | None, before: str = " in ") -> str:
    """Write the currency of an amount; nothing where none is given."""
    return f"{before}{currency}" if currency else ""


def day(value: date | None) -> str:
    """Write a date; nothing where there is none."""
    return "" if value is None else f"{value.day} {_MONTHS[value.month - 1][:3]} {value.year}"


def month(value: date | None, *, short: bool = True) -> str:
    """Write the month of a date; nothing where there is none."""
    if value is None:
        return ""
    name = _MONTHS[value.month - 1]
    return f"{name[:3] if short else name} {value.year}"


def plain(value: object) -> str:
    """Write a text of somebody else on one line, its control characters escaped."""
    return escape_control_characters(str(value), on_one_line=True)


def command(*words: str) -> str:
    """Write a command that can be copied into a shell."""
    return plain(shlex.join(words))


def size(value: int) -> str:
    """Write bytes in the unit that fits."""
    size, units = Decimal(value), ("bytes", "kB", "MB", "GB", "TB")
    for unit in units:
        if size < 1000 or unit == units[-1]:  # noqa: PLR2004 - as its name says
            return f"{value:,} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return ""
