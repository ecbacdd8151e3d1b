"""The analysts' question: which products sold best in a month?"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from sales_mart.errors import ConfigurationError
from sales_mart.steps.summary import best_products

if TYPE_CHECKING:
    from sales_mart.config import Config

__all__ = ["top"]

_MOST = 1_000_000
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})", re.ASCII)


def top(config: Config, month: str, limit: int, target: str) -> list[dict[str, Any]]:
    """Return the products of a month with the highest `total_amount`, best first.

    It reads one month of the published `summary_sales`: a partition on BigQuery, an index on
    PostgreSQL. Products of the same total come in code-point order.

    Args:
        config: The configuration.
        month: The month as `YYYY-MM`.
        limit: How many products at most.
        target: The warehouse to ask.

    Returns:
        One mapping per product with the columns of `summary_sales`, amounts as `Decimal`.

    Raises:
        ConfigurationError: The month or the limit is not one, or nothing has been published.
        TemporaryError: The warehouse does not answer.
    """
    if not 1 <= limit <= _MOST:
        msg = f"the limit is {limit}, must be from 1 to {_MOST:,}"
        raise ConfigurationError(msg, remedy=f"Ask for 1 to {_MOST:,}.")
    first = _first_day(month)
    return best_products(config, target, first, limit)


def _first_day(month: str) -> date:
    match = _MONTH.fullmatch(month)
    try:
        if match:
            return date(int(match[1]), int(match[2]), 1)
    except ValueError:
        pass
    msg = f"{month[:40]!r} is not a month"
    raise ConfigurationError(msg, remedy="Write it as YYYY-MM, such as 2023-10.")
