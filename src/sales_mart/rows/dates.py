"""Dates and times as people write them, into calendar days.

A format has the notation of `strptime`, with one meaning here for files, frames and single rows: a
year written `%Y` has four digits, whatever a library may take for one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

__all__ = ["check_date_format", "days_of"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TWO_DIGITS = "[0-9]{1,2}"
_PATTERNS = {
    "Y": "(?P<Y>[0-9]{4})",
    "y": "(?P<y>[0-9]{2})",
    "m": "(?P<m>1[0-2]|0?[1-9])",
    "d": "(?P<d>3[01]|[12][0-9]|0?[1-9])",
    "b": f"(?P<b>(?i:{'|'.join(_MONTHS)}))",
    "B": f"(?P<b>(?i:{'|'.join(_LONG_MONTHS)}))",
    "a": f"(?i:{'|'.join(day[:3] for day in _WEEKDAYS)})",
    "A": f"(?i:{'|'.join(_WEEKDAYS)})",
    "H": "(?P<H>2[0-3]|[01]?[0-9])",
    "I": "(?P<I>1[0-2]|0?[1-9])",
    "M": "(?P<M>[0-5]?[0-9])",
    "S": "(?P<S>[0-5]?[0-9]|60)",
    "f": "[0-9]{1,9}",
    "p": r"(?P<p>(?i:[ap]\.?m\.?))",
    "z": "(?P<z>Z|[+-](?:2[0-3]|[01][0-9])(?::?[0-5][0-9])?)",
    "Z": "(?P<Z>[A-Za-z]{1,5})",
    "%": "%",
}
_SHORT = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "e": "%d"}
_UTC_NAMES = ("z", "utc", "gmt")
_TOKEN = re.compile(r"%[-#]?(.)|(\s+)|([^%\s]+)|(%)", re.DOTALL)
_PIVOT = 69
"""The first two-digit year of the last century, as POSIX has it."""
_HOUR = 60
_FEW = 4
"""Where a text stands this many times on average, each distinct one is read once."""


def check_date_format(text: str) -> str:
    """Return a format that says which day it is.

    Raises:
        ValueError: It has an unknown directive, one twice, or no year, month and day.
    """
    names = _group_names(text)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"has %{twice[0]} twice"
        raise ValueError(msg)
    for alternatives in (("Y", "y"), ("m", "b"), ("d",)):
        if len(set(names) & set(alternatives)) != 1:
            msg = f"must have {' or '.join(f'%{name}' for name in alternatives)}, as in %d.%m.%Y"
            raise ValueError(msg)
    if ("I" in names) != ("p" in names) or {"H", "I"} <= set(names):
        msg = "must have %I together with %p, or %H"
        raise ValueError(msg)
    return text


def days_of(texts: pl.Series, formats: Sequence[str], timezone: str | None) -> pl.Series:
    """Read the day of each text.

    Args:
        texts: Texts without white space around them.
        formats: Formats; the first that a text fits, and whose day is in the calendar, counts.
        timezone: Time zone in which a time that has an offset falls on a day; None for the day as
            it is written.

    Returns:
        Each day as `YYYY-MM-DD`; null for null, and where no format fits.
    """
    import polars as pl

    distinct = texts.unique()
    few = len(distinct) * _FEW <= len(texts)
    read = distinct if few else texts
    days = pl.DataFrame({"text": read}).select(
        pl.coalesce(_day(pl.col("text"), each, timezone) for each in formats)
        .dt.to_string("%Y-%m-%d")
        .alias("day")
    )["day"]
    if not few:
        return days.alias(texts.name)
    return texts.replace_strict(distinct, days, default=None, return_dtype=pl.String)


def _day(text: pl.Expr, format_: str, timezone: str | None) -> pl.Expr:
    """Read a column by one format; a date, or null."""
    import polars as pl

    found = text.str.extract_groups(f"^(?:{_pattern(format_)})$")
    parts = {name: found.struct.field(name) for name in _group_names(format_)}
    if "Y" in parts:
        year = parts["Y"]
    else:
        short = parts["y"].cast(pl.Int32)
        year = (short + pl.when(short < _PIVOT).then(2000).otherwise(1900)).cast(pl.String)
    if "m" in parts:
        month = parts["m"].str.zfill(2)
    else:
        numbers = {name: f"{number:02}" for number, name in enumerate(_MONTHS, start=1)}
        month = parts["b"].str.to_lowercase().str.head(3).replace_strict(numbers, default=None)
    day = pl.concat_str([year, month, parts["d"].str.zfill(2)], separator="-")
    written = day.str.to_date("%Y-%m-%d", strict=False)
    written = pl.when(written.dt.year() > 0).then(written)
    if timezone is None or not parts.keys() & {"z", "Z"}:
        return written
    minutes = _hour(parts) * _HOUR + _number(parts, "M") - _offset(parts)
    moment = written.cast(pl.Datetime("us")) + pl.duration(minutes=minutes)
    return moment.dt.replace_time_zone("UTC").dt.convert_time_zone(timezone).dt.date()


def _number(parts: dict[str, pl.Expr], name: str) -> pl.Expr:
    import polars as pl

    return parts[name].cast(pl.Int64) if name in parts else pl.lit(0, pl.Int64)


def _hour(parts: dict[str, pl.Expr]) -> pl.Expr:
    if "I" not in parts:
        return _number(parts, "H")
    is_afternoon = parts["p"].str.to_lowercase().str.starts_with("p")
    return _number(parts, "I") % 12 + is_afternoon.cast(int) * 12


def _offset(parts: dict[str, pl.Expr]) -> pl.Expr:
    """Return how many minutes a time is ahead of UTC; null where its zone has no known offset."""
    import polars as pl

    if "z" not in parts:
        return pl.when(parts["Z"].str.to_lowercase().is_in(_UTC_NAMES)).then(0)
    text = parts["z"]
    digits = text.str.replace_all("[^0-9]", "").str.pad_end(4, "0")
    minutes = digits.str.head(2).cast(pl.Int64) * _HOUR + digits.str.tail(2).cast(pl.Int64)
    return (
        pl.when(text == "Z")
        .then(0)
        .otherwise(pl.when(text.str.starts_with("-")).then(-minutes).otherwise(minutes))
    )


@lru_cache(maxsize=256)
def _parsed(format_: str) -> tuple[str, tuple[str, ...]]:
    """Return a format as a regular expression, and the names of its groups."""
    written = re.sub("%([FTRDe])", lambda found: _SHORT[found[1]], format_)
    pieces: list[str] = []
    for found in _TOKEN.finditer(written):
        directive, space, plain, _ = found.groups()
        if directive is not None and directive not in _PATTERNS:
            msg = f"has %{directive}, which is none of %{', %'.join((*_PATTERNS, *_SHORT))}"
            raise ValueError(msg)
        if found[4]:
            msg = "ends with a single %"
            raise ValueError(msg)
        if directive is not None:
            pieces.append(_PATTERNS[directive])
        else:
            pieces.append(r"\s+" if space else re.escape(plain))
    names = tuple(re.findall(r"\(\?P<(.)>", "".join(pieces)))
    return "".join(pieces), names


def _pattern(format_: str) -> str:
    return _parsed(format_)[0]


def _group_names(format_: str) -> tuple[str, ...]:
    return _parsed(format_)[1]
