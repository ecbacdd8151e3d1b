"""Thousands of short histories of loads, against "the latest delivery of each day"."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chaos.fuzz import examples
from chaos.table import Row
from histories import Site, Step, check_history, histories, site_of
from targets import Target
from warehouses import fresh_config

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.servers.local import LocalServers

__all__ = ["deliveries"]

_SHARES = {Target.POSTGRES: 0.7, Target.BIGQUERY: 1.0}
"""Of the time that is left."""
_LONGEST = {Target.POSTGRES: 6, Target.BIGQUERY: 4}
_MOST = {Target.POSTGRES: 25, Target.BIGQUERY: 5}
"""Examples between two looks at the clock."""


def deliveries(servers: LocalServers, folder: Path, seconds: float, seed: int) -> list[Row]:
    """Deliver, correct, shrink, empty and redeliver, in any order; load snapshots in between."""
    rows: list[Row] = []
    deadline = time.monotonic() + seconds
    for target, share in _SHARES.items():
        left = deadline - time.monotonic()
        with site_of(fresh_config(servers), folder / target, target) as site:

            def check(steps: list[Step], site: Site = site) -> None:
                check_history(site, steps)

            rows.append(
                examples(
                    f"random histories of loads into {target}",
                    histories(_LONGEST[target]),
                    check,
                    left * share,
                    seed,
                    most=_MOST[target],
                )
            )
    return rows
