"""Addresses of sources: the date in them, and what of them is the same for all files."""

from __future__ import annotations

import os
import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.lake.storage import is_bucket

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

__all__ = ["DATE_MARK", "MAGIC", "check_placeholders", "is_daily", "names_below", "on_day"]

DATE_MARK = "{date}"
"""What stands for the business date in a daily source."""
MAGIC = re.compile(r"[*?\[]")
"""What makes a glob of an address."""

_PLACEHOLDER = re.compile(r"\{date(?::([^{}]+))?\}")
_DIRECTIVES = "aAbBdGjmuUVwWyY"
"""What strftime knows of a day, the same on every system and in every language."""
_DAY_FORMAT = re.compile(rf"(?:[^%]|%[{_DIRECTIVES}])*%[{_DIRECTIVES}](?:[^%]|%[{_DIRECTIVES}])*")
_BRACED = re.compile(r"\{[^{}]*\}|[{}]")
_ANY_START = re.compile(r"[{*?\[]")
_LONGEST_SHOWN = 60


def check_placeholders(patterns: Iterable[str]) -> None:
    """See that the only placeholder is the date, in a form that says a day or a part of one.

    Raises:
        ConfigurationError: There is another one, or a brace alone.
    """
    for pattern in patterns:
        if not is_bucket(pattern) and os.path.lexists(pattern):
            continue  # the name of something that is there, whatever it looks like
        for found in _BRACED.findall(pattern):
            placeholder = _PLACEHOLDER.fullmatch(found)
            form = placeholder[1] if placeholder else ""
            if placeholder and (form is None or _DAY_FORMAT.fullmatch(form)):
                continue
            msg = f"{found[:_LONGEST_SHOWN]!r} in a source is no placeholder"
            raise ConfigurationError(
                msg,
                remedy=f"Write {DATE_MARK} for the business date as YYYY-MM-DD, or {{date:%Y%m%d}} "
                f"with what strftime knows of a day (%{', %'.join(_DIRECTIVES)}). For a brace in "
                "the name of a file write a question mark.",
            )


def is_daily(patterns: Sequence[str]) -> bool:
    """Return whether each business date of the source is a batch of its own."""
    return any(_PLACEHOLDER.search(pattern) for pattern in patterns)


def on_day(pattern: str, day: date) -> str:
    """Return the address of a day."""
    return _PLACEHOLDER.sub(lambda found: day.strftime(found[1]) if found[1] else str(day), pattern)


def names_below(uris: Sequence[str], patterns: Sequence[str]) -> Mapping[str, str]:
    """Return what each object is called below the part that its sources have in common.

    It is the part before the first placeholder or wildcard, so that a file keeps its name from day
    to day.

    Args:
        uris: Objects, as they are listed.
        patterns: The sources, with their placeholders.
    """
    objects = set(uris)
    folders = [_fixed_folder(pattern, objects).split("/") for pattern in patterns]
    same = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    start = "".join(f"{part}/" for part, *_ in same)
    return {uri: uri.removeprefix(start) for uri in uris}


def _fixed_folder(pattern: str, objects: set[str]) -> str:
    """Return the folder of a source that no day and no wildcard changes."""
    variable = _ANY_START.search(pattern)
    literal = pattern[: variable.start()] if variable else pattern
    if variable:
        literal = literal.rpartition("/")[0] + "/" * literal.startswith("/")
    if not is_bucket(pattern):
        literal = str(Path(literal).expanduser().absolute())
    literal = literal.rstrip("/")
    return literal.rpartition("/")[0] if literal in objects else literal
