"""Windows: the sale dates that a load changes, and the conditions that select them."""

from __future__ import annotations

import json
from calendar import monthrange
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Window",
    "union_windows",
    "window_from_json",
    "window_months",
    "window_to_json",
    "within",
    "within_months",
]

Window = tuple[date, ...] | None
"""Distinct sale dates, ascending; empty when nothing changed, None when everything may have."""


def window_to_json(window: Window) -> str | None:
    """Return a window as a JSON array of ISO dates, the text that `load_runs` keeps."""
    if window is None:
        return None
    return json.dumps([day.isoformat() for day in window])


def window_from_json(text: str | None) -> Window:
    """Read a window that `window_to_json` wrote."""
    if text is None:
        return None
    return tuple(date.fromisoformat(day) for day in json.loads(text))


def union_windows(windows: Iterable[Window]) -> Window:
    """Return the window that covers all of `windows`; None as soon as one of them is None."""
    days: set[date] = set()
    for window in windows:
        if window is None:
            return None
        days.update(window)
    return tuple(sorted(days))


def window_months(window: tuple[date, ...]) -> tuple[date, ...]:
    """Return the first days of the months that a window touches, ascending."""
    return tuple(sorted({day.replace(day=1) for day in window}))


def within(window: Window, column: str = "sale_date") -> str:
    """Return the condition for the dates of a window.

    It has literals, since only they surely prune BigQuery's partitions.
    """
    if window is None:
        return "true"
    return _between(column, ((day, day) for day in window))


def within_months(window: Window, column: str) -> str:
    """Return the condition for all days of the months that a window touches."""
    if window is None:
        return "true"
    months = window_months(window)
    return _between(
        column,
        ((first, first.replace(day=monthrange(first.year, first.month)[1])) for first in months),
    )


def _between(column: str, ranges: Iterable[tuple[date, date]]) -> str:
    """Return the condition for ascending ranges of dates; neighbours become one."""
    merged: list[tuple[date, date]] = []
    for first, last in ranges:
        if merged and first - merged[-1][1] == timedelta(days=1):
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    parts = [
        f"{column} between date '{first}' and date '{last}'"
        for first, last in merged
        if first != last
    ]
    if singles := [f"date '{first}'" for first, last in merged if first == last]:
        parts.append(f"{column} in ({', '.join(singles)})")
    return f"({' or '.join(parts)})" if parts else "false"
