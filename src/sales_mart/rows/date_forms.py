"""How the dates of a sample seem to be written, in the notation of `date_format`.

A day above 12, or the name of a month, decides what comes first. 03/04/2024 alone does not, and is
left open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from sales_mart.rows.dates import days_of
from sales_mart.rows.number_forms import is_null_word

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Dates", "look_at_dates"]

_TIME = re.compile(
    r"(?P<day>.+?)(?P<between>T|,?\s+)(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(?P<second>:\d{2})?(?P<part>\.\d{1,9})?(?P<half>\s?[AaPp]\.?[Mm]\.?)?"
    r"(?P<zone>\s?(?:Z|[+-]\d{2}:?\d{2}|[+-]\d{2}|UTC|GMT))?"
)
_PIECE = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
_YEARS = re.compile(r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_MANY = 60
"""Longer texts are no dates."""
_SHORT = 3
"""Letters of a month or a day that is cut short."""
_WITHOUT = ("day", " ", "month", " ", "year")
_WITH_WEEKDAY = ("weekday", " ", *_WITHOUT)
"""The pieces of a date, without and with a day of the week."""
_ORDERS = {
    "422": (("%Y", "%m", "%d"),),
    "224": (("%d", "%m", "%Y"), ("%m", "%d", "%Y")),
    "222": (("%d", "%m", "%y"), ("%m", "%d", "%y")),
    "2a4": (("%d", "%b", "%Y"),),
    "2a2": (("%d", "%b", "%y"),),
    "a24": (("%b", "%d", "%Y"),),
    "a22": (("%b", "%d", "%y"),),
    "4a2": (("%Y", "%b", "%d"),),
}
"""In which order year, month and day may stand, by the shapes of the parts."""


@dataclass(frozen=True)
class Dates:
    """What the texts of a column say of how dates are written.

    Attributes:
        share: Share of the texts that are dates in some form, of those that say something.
        decided: Formats of which no other reads the same texts, the most frequent first.
        open: Formats that read the same texts as others, by group: of each one is right.
        has_offset: Some times say how far they are from UTC.
        null_words: Words for missing values, as they are written.
    """

    share: float
    decided: tuple[str, ...]
    open: tuple[tuple[str, ...], ...]
    has_offset: bool
    null_words: tuple[str, ...]


def look_at_dates(texts: Sequence[tuple[str, int]]) -> Dates:
    """Find out how dates are written.

    Args:
        texts: Distinct texts without white space around them, and how often each stands there.
    """
    words = tuple(text for text, _ in texts if is_null_word(text))
    total = sum(times for text, times in texts if not is_null_word(text))
    groups: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for text, times in texts:
        if formats := _candidates(text):
            groups.setdefault(formats, []).append((text, times))
    decided: dict[str, int] = {}
    undecided: list[tuple[str, ...]] = []
    count = 0
    for formats, members in groups.items():
        reads = {each: _reads(members, each) for each in formats}
        sums = {each: _sum(members, read) for each, read in reads.items()}
        most = max(sums.values())
        if not most:
            continue
        best = [each for each in formats if sums[each] == most]
        # What the best one does not read another one may: days and months in either order.
        left = [
            member for member, is_read in zip(members, reads[best[0]], strict=True) if not is_read
        ]
        rest = max((_sum(left, _reads(left, each)) for each in formats if left), default=0)
        count += most + rest
        if len(best) > 1 or rest:
            undecided.append(formats)
        else:
            decided[best[0]] = decided.get(best[0], 0) + most
    order = sorted(decided, key=lambda each: -decided[each])
    return Dates(
        share=count / max(total, 1),
        decided=tuple(order),
        open=tuple(undecided),
        has_offset=any("%z" in each or "%Z" in each for each in _all(order, undecided)),
        null_words=words,
    )


def _all(decided: Sequence[str], undecided: Sequence[Sequence[str]]) -> list[str]:
    return [*decided, *(each for formats in undecided for each in formats)]


def _reads(members: Sequence[tuple[str, int]], format_: str) -> list[bool]:
    """Return which of some texts a format reads, by the reader of a run."""
    texts = pl.Series([text for text, _ in members], dtype=pl.String)
    return days_of(texts, (format_,), None).is_not_null().to_list()


def _sum(members: Sequence[tuple[str, int]], which: Sequence[bool]) -> int:
    return sum(times for (_, times), is_meant in zip(members, which, strict=True) if is_meant)


def _candidates(text: str) -> tuple[str, ...]:
    """Return the formats that a text may be written in, the more usual one first."""
    if len(text) > _MANY:
        return ()
    match = _TIME.fullmatch(text)
    if match is None:
        return _days(text)
    hour = "%I" if match["half"] else "%H"
    time = f"{hour}:%M" + (":%S" if match["second"] else "") + (".%f" if match["part"] else "")
    if match["half"]:
        time += " %p" if match["half"][0].isspace() else "%p"
    if zone := match["zone"]:
        space = " " if zone[0].isspace() else ""
        time += space + ("%Z" if zone.strip() in {"UTC", "GMT"} else "%z")
    between = re.sub(r"\s+", " ", match["between"])
    return tuple(f"{day}{between}{time}" for day in _days(match["day"]))


def _days(text: str) -> tuple[str, ...]:
    if _YEARS.fullmatch(text):
        return ("%Y%m%d",)
    pieces = _PIECE.findall(text)
    prefix = ""
    # A day of the week may stand before the rest.
    if len(pieces) == len(_WITH_WEEKDAY) and pieces[0].isalpha():
        prefix = ("%a" if len(pieces[0]) <= _SHORT else "%A") + _plain(pieces[1])
        pieces = pieces[2:]
    if len(pieces) != len(_WITHOUT) or pieces[1].isalnum() or pieces[3].isalnum():
        return ()
    first, one, second, two, third = pieces
    shape = "".join(map(_shape, (first, second, third)))
    words = [each for each in (first, second) if _shape(each) == "a"]
    month = "%B" if any(len(each) > _SHORT for each in words) else "%b"
    seps = _plain(one), _plain(two)
    return tuple(
        f"{prefix}{a}{seps[0]}{b}{seps[1]}{c}".replace("%b", month)
        for a, b, c in _ORDERS.get(shape, ())
    )


def _shape(part: str) -> str:
    """Return `4` for a year of four digits, `2` for one or two digits, `a` for a word."""
    if part.isascii() and part.isdigit():
        return {1: "2", 2: "2", 4: "4"}.get(len(part), "?")
    return "a"


def _plain(separator: str) -> str:
    return re.sub(r"\s+", " ", separator).replace("%", "%%")
