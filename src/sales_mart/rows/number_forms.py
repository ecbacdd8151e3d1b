"""How the numbers of a sample seem to be written: decimal mark, groups, currency, null words.

What two forms read alike, such as 1.234, decides nothing and is left open.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["NULL_WORDS", "Numbers", "is_null_word", "look_at_numbers"]

NULL_WORDS = frozenset(
    {
        *(
            "na",
            "n/a",
            "#n/a",
            "n.a.",
            "null",
            "none",
            "nil",
            "nan",
            "nat",
            "-",
            "--",
            "---",
            "\u2013",
        ),
        *("?", "\\n", "(blank)", "(null)", "<null>", "missing", "undefined", "k.a.", "unknown"),
    }
)
"""Words that mean that a value is missing, in lower case."""
_SPACES = "\u00a0\u2009\u202f"
_SIGN = r"[^\d\s.,'_()+\-\u2212%]{1,4}"
_NUMBER = re.compile(
    rf"(?P<open>\()?(?P<minus>[-\u2212])?\s*(?P<before>{_SIGN})?\s*(?P<inner>[-\u2212])?"
    rf"(?P<digits>\d[\d.,' _{_SPACES}]*?)\s*(?P<after>{_SIGN})?(?P<last>[-\u2212])?(?P<close>\))?"
)
_MARK = re.compile(rf"[.,' _{_SPACES}]")
_GROUP = 3


@dataclass
class Numbers:
    """What the texts of some columns say of how numbers are written.

    Attributes:
        count: Texts that are numbers in some form.
        others: Texts that are not, and no null words either.
        decimals: Decimal mark -> texts that only it explains, since it is there or stands between
            groups of digits otherwise.
        groups: What stands between groups of digits -> texts that only it explains.
        unclear: Mark -> texts with it once, before three digits: a decimal mark or between groups.
        signs: Signs and codes of currencies.
        unsigned: Numbers without one.
        null_words: Words for missing values, as they are written.
    """

    count: int = 0
    others: int = 0
    decimals: Counter[str] = field(default_factory=Counter[str])
    groups: Counter[str] = field(default_factory=Counter[str])
    unclear: Counter[str] = field(default_factory=Counter[str])
    signs: Counter[str] = field(default_factory=Counter[str])
    unsigned: int = 0
    null_words: Counter[str] = field(default_factory=Counter[str])

    @property
    def share(self) -> float:
        """Share of the texts that are numbers, of those that say something."""
        return self.count / max(self.count + self.others, 1)

    def add(self, other: Numbers) -> None:
        """Take what another column says."""
        self.count += other.count
        self.others += other.others
        self.unsigned += other.unsigned
        for name in ("decimals", "groups", "unclear", "signs", "null_words"):
            getattr(self, name).update(getattr(other, name))


def is_null_word(text: str) -> bool:
    """Return whether a text may mean that a value is missing."""
    return text.casefold() in NULL_WORDS


def look_at_numbers(texts: Iterable[tuple[str, int]]) -> Numbers:
    """Find out how numbers are written.

    Args:
        texts: Distinct texts without white space around them, and how often each stands there.
    """
    found = Numbers()
    for text, times in texts:
        if is_null_word(text):
            found.null_words[text] += times
            continue
        match = _NUMBER.fullmatch(text)
        if match is None or (match["before"] and match["after"]):
            found.others += times
            continue
        read = _marks(match["digits"])
        if read is None:
            found.others += times
            continue
        found.count += times
        sign = match["before"] or match["after"]
        if sign:
            found.signs[sign] += times
        else:
            found.unsigned += times
        decimal, group, unclear = read
        explains = decimal or {".": ",", ",": "."}.get(group, "")
        for counter, mark in (
            (found.decimals, explains),
            (found.groups, group),
            (found.unclear, unclear),
        ):
            if mark:
                counter[mark] += times
    return found


def _marks(digits: str) -> tuple[str, str, str] | None:
    """Return the decimal mark, the mark between groups, and the one that may be either.

    None where the digits are no number in any form.
    """
    marks = [" " if each in _SPACES else each for each in _MARK.findall(digits)]
    parts = _MARK.split(digits)
    if not all(parts):
        return None
    if not marks:
        return "", "", ""
    last = marks[-1]
    grouped = all(len(part) == _GROUP for part in parts[1:])
    if len(set(marks)) == 1:
        if len(marks) > 1:
            return ("", last, "") if grouped and len(parts[0]) <= _GROUP else None
        if last not in ".,":
            return ("", last, "") if grouped and len(parts[0]) <= _GROUP else None
        could_group = grouped and len(parts[0]) <= _GROUP and not parts[0].startswith("0")
        return ("", "", last) if could_group else (last, "", "")
    between = set(marks[:-1])
    fits = (
        len(between) == 1
        and last in ".,"
        and len(parts[0]) <= _GROUP
        and all(len(part) == _GROUP for part in parts[1:-1])
    )
    return (last, between.pop(), "") if fits else None
