"""What both warehouses note alike: windows of sale dates, what was built, what was published."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.errors import TemporaryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sales_mart.records import Target

__all__ = [
    "Publication",
    "Window",
    "check_built",
    "union_windows",
    "window_from_json",
    "window_months",
    "window_to_json",
]

Window = tuple[date, ...] | None
"""Distinct sale dates, ascending; empty when nothing changed, None when everything may have."""


class Publication(NamedTuple):
    """Which load the marts show.

    Attributes:
        sequence: Sequence of the load.
        mart_rules_digest: The rules that the marts were built by.
        rows: Rows of each published table.
    """

    sequence: int
    mart_rules_digest: str
    rows: dict[str, int]


def check_built(target: Target, built: Mapping[str, str] | None, found: Mapping[str, str]) -> None:
    """See that the next marts are the ones that `transform` built and tested.

    Args:
        target: The warehouse.
        built: What told the tables apart then; None when the caller vouches for them.
        found: What tells them apart now.

    Raises:
        TemporaryError: Another attempt has built some of them anew since, and may not be done.
    """
    if built is None:
        return
    others = sorted(name for name, mark in found.items() if built.get(name) != mark)
    if others:
        msg = f"another attempt has built {', '.join(others)} in {target} since they were tested"
        raise TemporaryError(
            msg, remedy="Run `sales-mart transform` and `reconcile` again, or the whole run."
        )


def window_to_json(window: Window) -> str | None:
    """Give a window as a JSON array of ISO dates, the text that `load_runs` keeps."""
    if window is None:
        return None
    return json.dumps([day.isoformat() for day in window])


def window_from_json(text: str | None) -> Window:
    """Read a window that `window_to_json` wrote."""
    if text is None:
        return None
    return tuple(date.fromisoformat(day) for day in json.loads(text))


def union_windows(windows: Iterable[Window]) -> Window:
    """Give the window that covers all of `windows`; None as soon as one of them is None."""
    days: set[date] = set()
    for window in windows:
        if window is None:
            return None
        days.update(window)
    return tuple(sorted(days))


def window_months(window: tuple[date, ...]) -> tuple[date, ...]:
    """Give the first days of the months that a window touches, ascending."""
    return tuple(sorted({day.replace(day=1) for day in window}))
