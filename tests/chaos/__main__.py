"""`make chaos`: every attack that takes long, in turn, and one table of what came of it.

CHAOS_MINUTES (default 40) is shared out between the attacks, CHAOS_SEED makes them the same again,
CHAOS_ONLY names some of them: processes, outages, fuzz, histories, size.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart import __version__
from sales_mart.servers.local import local_servers
from sales_mart.warehouses.base import names
from support import open_folder

from .fuzz import fuzz
from .kills import Campaign, kills
from .ledger import say
from .loads import deliveries
from .outages import outages
from .size import size
from .table import Row, as_table
from .together import together

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_mart.servers.local import LocalServers

    Attack = Callable[[LocalServers, Path, float, int], list[Row]]


def processes(servers: LocalServers, folder: Path, seconds: float, seed: int) -> list[Row]:
    """Kill, then start two at once, on a site that ran undisturbed before."""
    deadline = time.monotonic() + seconds
    campaign = Campaign(servers, folder / "site", seed, targets=names())
    campaign.rehearse()
    rows = kills(campaign, (deadline - time.monotonic()) * 0.74)
    say(f"kills:\n{as_table(rows)}")
    return rows + together(campaign, deadline - time.monotonic())


ATTACKS: dict[str, tuple[Attack, float]] = {
    "histories": (deliveries, 8.0),
    "outages": (outages, 1.5),
    "fuzz": (fuzz, 0.8),
    "size": (size, 1.5),
    "processes": (processes, 28.2),
}
"""What attacks, and how many of forty minutes it may take."""


def main() -> int:
    """Attack; gives 1 if anything was found, or an attack was not made."""
    seconds = float(os.environ.get("CHAOS_MINUTES") or 40) * 60
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    only = os.environ.get("CHAOS_ONLY")
    attacks = {name: ATTACKS[name] for name in (only.split(",") if only else ATTACKS)}
    say(f"CHAOS_SEED={seed} makes the same attacks again")
    rows: list[Row] = []
    begun = time.monotonic()
    left = sum(minutes for _, minutes in attacks.values())
    ends = begun + seconds
    with (
        open_folder() as top,
        local_servers(top / "servers") as servers,
    ):
        for name, (attack, minutes) in attacks.items():
            # What one attack leaves over is for those that follow.
            share = max(ends - time.monotonic(), 0.0) * minutes / left
            left -= minutes
            say(f"{name}: {share:.0f} s")
            folder = top / name
            folder.mkdir()
            try:
                made = attack(servers, folder, share, seed)
                say(f"{name}:\n{as_table(made)}")
                rows += made
            except Exception as error:  # noqa: BLE001 - the other attacks are made all the same
                text = f"{type(error).__name__} {' '.join(str(error).split())[:300]}"
                rows.append(Row(name, 1, 0, f"the attack broke off: {text}"))
    minutes = (time.monotonic() - begun) / 60
    where = f"Version {__version__} on {os.cpu_count()} cores in {minutes:.0f} minutes"
    sys.stdout.write(f"{where}, with `CHAOS_SEED={seed}`:\n\n{as_table(rows)}\n")
    return int(any(row.found or not row.attempts for row in rows))


if __name__ == "__main__":
    sys.exit(main())
