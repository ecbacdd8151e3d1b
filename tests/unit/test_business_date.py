"""Which day a run is about."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from sales_mart.business_date import business_date
from sales_mart.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "timezone", "expected"),
    [
        # A date stands as it is given, in any zone.
        ("2023-10-01", "UTC", "2023-10-01"),
        (" 2023-10-01 ", "Asia/Jakarta", "2023-10-01"),
        ("2024-02-29", "America/New_York", "2024-02-29"),
        # A midnight run loads the day that just ended.
        ("2023-10-02T00:00:00Z", "UTC", "2023-10-01"),
        ("2023-10-02T00:00:00+07:00", "Asia/Jakarta", "2023-10-01"),
        # Midnight in Jakarta is still the evening before in UTC: the zone decides.
        ("2023-10-01T17:00:00Z", "Asia/Jakarta", "2023-10-01"),
        ("2023-10-01T17:00:00Z", "UTC", "2023-09-30"),
        ("2023-10-01T16:59:59Z", "Asia/Jakarta", "2023-09-30"),
        ("2024-03-01T00:00:00+00:00", "UTC", "2024-02-29"),
        ("2024-01-01T00:00:00.000000001Z", "UTC", "2023-12-31"),
        # Clocks go forward at 02:00 on 2024-03-10 and back at 02:00 on 2024-11-03.
        ("2024-03-10T04:59:59Z", "America/New_York", "2024-03-08"),
        ("2024-03-10T05:00:00Z", "America/New_York", "2024-03-09"),
        ("2024-03-11T04:00:00Z", "America/New_York", "2024-03-10"),
        ("2024-03-11T03:59:59Z", "America/New_York", "2024-03-09"),
        ("2024-11-03T04:00:00Z", "America/New_York", "2024-11-02"),
        ("2024-11-04T05:00:00Z", "America/New_York", "2024-11-03"),
        ("2024-11-04T04:59:59Z", "America/New_York", "2024-11-02"),
        # Midnight does not exist on this day in Santiago.
        ("2024-09-08T04:00:00Z", "America/Santiago", "2024-09-07"),
    ],
)
def test_date(given: str, timezone: str, expected: str) -> None:
    assert business_date(given, timezone) == date.fromisoformat(expected)


def test_default_is_yesterday_in_the_zone() -> None:
    now = datetime.fromisoformat("2023-10-01T18:00:00+00:00")
    assert business_date(None, "UTC", now=now) == date(2023, 9, 30)
    assert business_date(None, "Asia/Jakarta", now=now) == date(2023, 10, 1)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "yesterday",
        "2023-02-29",
        "2023-1-1",
        "20231001",
        "2023-W40-1",
        "2023-10-01T00:00:00",  # without its offset it names no moment
        "20231001T000000",
        "\uff12\uff10\uff12\uff13-10-01",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "2023-10-01\n2023-10-02",
    ],
)
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        business_date(given, "Asia/Jakarta")
    assert "neither a date nor a time" in caught.value.message
    assert "2023-10-01" in caught.value.remedy
