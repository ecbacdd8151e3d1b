"""Days and months before others, as far back as there are dates."""

from __future__ import annotations

from datetime import date, timedelta

__all__ = ["days_before", "months_before", "months_between"]


def days_before(day: date, count: int) -> date:
    """Return the day that is so many before one."""
    return day - min(timedelta(days=count), day - date.min)


def months_before(month: date, count: int) -> date:
    """Return the month that is so many before one; both are their first day."""
    year, ordinal = divmod(month.year * 12 + month.month - 1 - count, 12)
    return date(year, ordinal + 1, 1) if year >= date.min.year else date.min


def months_between(first: date, last: date) -> int:
    """Return how many months after the first one the last is."""
    return (last.year - first.year) * 12 + last.month - first.month
