"""Which day a run is about: given as a date, or derived from the time at which the cron fired."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sales_mart.errors import ConfigurationError

__all__ = ["business_date", "day"]

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_REMEDY = "Write a date such as 2023-10-01, or a time such as 2023-10-02T00:00:00+07:00."


def business_date(given: str | None, timezone: str, *, now: datetime | None = None) -> date:
    """Find the business date of a run.

    A date stands as it is given. A time (RFC 3339) is one at which a schedule fired: the business
    date is the calendar day before it in `timezone`, so that a midnight run loads the day that
    just ended. Without either, it is the day before now.

    Args:
        given: `YYYY-MM-DD`, an RFC 3339 time with its offset, or None.
        timezone: IANA name of the zone in which a business date begins.
        now: The present time with its offset, for tests.

    Returns:
        The business date.

    Raises:
        ConfigurationError: `given` is neither a date nor a time with an offset.
    """
    if given is None:
        return _day_before(now or datetime.now(UTC), timezone)
    text = given.strip()
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text)
        if len(text) > len("YYYY-MM-DD") and moment.tzinfo is not None:
            return _day_before(moment, timezone)
    except (ValueError, OverflowError):
        pass
    msg = f"business date {text[:40]!r} is neither a date nor a time with its offset"
    raise ConfigurationError(msg, remedy=_REMEDY)


def day(text: str) -> date:
    """Read a date, written as `YYYY-MM-DD`.

    Raises:
        ConfigurationError: It is none.
    """
    text = text.strip()
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    msg = f"{text[:40]!r} is not a date"
    raise ConfigurationError(msg, remedy="Write it as YYYY-MM-DD.")


def _day_before(moment: datetime, timezone: str) -> date:
    return moment.astimezone(ZoneInfo(timezone)).date() - timedelta(days=1)
