"""Thousands of short histories of loads, against "the latest delivery of each day"."""

from __future__ import annotations

import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from attempts import configured
from chaos.fuzz import attempt, drawn, examples
from chaos.table import Row, added_up
from histories import check_history, histories, site_of
from published_histories import published_histories
from sales_mart.warehouses.base import names
from support import in_memory, without_fsync
from warehouses import fresh_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sales_mart.servers.local import LocalServers

__all__ = ["GROUPS", "deliveries"]

_PUBLISHED = 12
"""Histories that go through dbt and publish, when there is time."""
_PUBLISHED_SHARE = 0.4
"""Of the time, after which no other of them begins."""
GROUPS = ((("postgres", "postgres"), 0.75), (("duckdb", "bigquery"), 0.25))
"""Warehouses that are loaded at once, each from a process of its own, and for how long.

Each group has work for two cores; what is left of the time is shared out between them.
"""
_LONGEST = {"bigquery": 4}
_MOST = {"bigquery": 5}


def deliveries(servers: LocalServers, folder: Path, seconds: float, seed: int) -> list[Row]:
    """Deliver, correct, shrink, empty and redeliver, in any order; load snapshots in between."""
    deadline = time.monotonic() + seconds
    with without_fsync(servers):
        rows = [_published(servers, folder, seconds * _PUBLISHED_SHARE, seed)]
        left = deadline - time.monotonic()
        for targets, share in GROUPS:
            rows += _in_processes(servers, targets, left * share, seed)
    return rows


def _published(servers: LocalServers, folder: Path, seconds: float, seed: int) -> Row:
    """Publish one history after the other into all warehouses."""
    end = time.monotonic() + seconds
    tried, found = 0, ""
    with published_histories(fresh_config(servers), folder / "lake", names()) as check:
        for steps in drawn(histories(3), _PUBLISHED, seed):
            tried += 1
            found = attempt(check, steps)
            # What follows would be compared with what it left.
            if found or time.monotonic() > end:
                break
    name = f"random histories through dbt and publish, {', '.join(names())}"
    return Row(name, tried, tried - bool(found), found)


def _in_processes(
    servers: LocalServers, targets: Sequence[str], seconds: float, seed: int
) -> list[Row]:
    """Attack several warehouses at once, each from a process of its own."""
    # Not by fork, since threads of this process may hold locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(targets), mp_context=context) as pool:
        ends = [
            pool.submit(_loads, servers, target, seconds, f"{seed} {target} {number}")
            for number, target in enumerate(targets)
        ]
        return added_up(end.result() for end in ends)


def _loads(servers: LocalServers, target: str, seconds: float, seed: str) -> Row:
    # Other histories in each process.
    first = random.Random(seed).randrange(10**9)  # noqa: S311 - for variety
    with in_memory() as folder:
        config = configured(fresh_config(servers), "duckdb", path=str(folder / "sales.duckdb"))
        with site_of(config, folder / "lake", target) as site:
            return examples(
                f"random histories of loads into {target}",
                histories(_LONGEST.get(target, 6)),
                partial(check_history, site),
                seconds,
                first,
                most=_MOST.get(target, 25),
            )
