"""Thousands of short histories of loads, against "the latest delivery of each day"."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chaos.fuzz import examples
from chaos.table import Row
from histories import check_history, histories, site_of
from sales_mart.lake.records import Target
from warehouses import fresh_config

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.servers.local import LocalServers

__all__ = ["deliveries"]

_SHARES = {Target.POSTGRES: 0.7, Target.BIGQUERY: 0.3}


def deliveries(servers: LocalServers, folder: Path, seconds: float, seed: int) -> list[Row]:
    """Deliver, correct, shrink, empty and redeliver, in any order; load snapshots in between."""
    rows: list[Row] = []
    deadline = time.monotonic() + seconds
    for target, share in _SHARES.items():
        site = site_of(fresh_config(servers), folder / target, target)
        left = deadline - time.monotonic()
        name = f"random histories of loads into {target}"
        longest = 6 if target is Target.POSTGRES else 4
        rows.append(
            examples(
                name,
                histories(longest),
                lambda steps, site=site: check_history(site, steps),
                left if target is Target.BIGQUERY else seconds * share,
                seed,
                most=25,
            )
        )
    return rows
