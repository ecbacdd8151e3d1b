"""Which business dates a backfill runs: those of a range, or those that were never loaded."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.source.address import DATE_MARK, is_daily
from sales_mart.steps.plan import sources
from sales_mart.warehouses import history
from sales_mart.warehouses.base import open_warehouse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config

__all__ = ["MOST_DAYS", "days_of_range", "loaded_days", "unloaded_days"]

MOST_DAYS = 366
"""Most days of one backfill: a workflow keeps the state of every step in one object."""


def days_of_range(
    config: Config, first: date, last: date, source: str | Sequence[str] | None = None
) -> list[date]:
    """List the business dates from `first` to `last`, both included, oldest first.

    Raises:
        ConfigurationError: The source is a snapshot, or the range is empty or too long.
    """
    patterns = sources(config, source)
    if not is_daily(patterns):
        msg = f"the source {' '.join(patterns)} is a snapshot, which has no past days to run"
        raise ConfigurationError(
            msg, remedy=f"Name a daily source, one with {DATE_MARK} in it, or run the snapshot."
        )
    count = (last - first).days + 1
    if not 1 <= count <= MOST_DAYS:
        msg = f"from {first} to {last} are {max(count, 0)} days, and a backfill takes 1 to "
        msg += str(MOST_DAYS)
        raise ConfigurationError(msg, remedy="Put the earlier day first; cut a long range in two.")
    return [first + timedelta(days=ordinal) for ordinal in range(count)]


def unloaded_days(
    config: Config, days: Sequence[date], targets: Sequence[str] | None = None
) -> list[date]:
    """Keep the business dates that at least one of the targets has not loaded.

    Raises:
        ConfigurationError: A warehouse refuses the credentials or a setting.
        TemporaryError: A warehouse does not answer.
    """
    chosen = config.data_warehouse.targets if targets is None else targets
    loaded = [loaded_days(config, target) for target in chosen]
    return [day for day in days if not all(day in each for each in loaded)]


def loaded_days(config: Config, target: str) -> set[date]:
    """Ask a warehouse for the business dates whose batches it holds.

    A snapshot loaded in between has replaced the batches before it.
    """
    with open_warehouse(config, target).session() as session:
        return history.loaded_days(session)
