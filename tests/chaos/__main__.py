"""`make chaos`: every attack that takes long, in turn, and one table of what came of it.

CHAOS_MINUTES (default 15) is shared out between the attacks, CHAOS_SEED makes them the same again.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

from .fuzz import fuzz
from .kills import kills, rehearsed
from .ledger import say
from .outages import outages
from .size import size
from .table import Row, as_table
from .together import together

if TYPE_CHECKING:
    from collections.abc import Callable

    Attack = Callable[[float, int], list[Row]]


def _on_one_site(seconds: float, seed: int) -> list[Row]:
    """Kill, then start two at once, on a site that was walked undisturbed before."""
    deadline = time.monotonic() + seconds
    with rehearsed(seed) as campaign:
        left = deadline - time.monotonic()
        rows = kills(campaign, left * 0.72)
        say(f"kills:\n{as_table(rows)}")
        return rows + together(campaign, deadline - time.monotonic())


ATTACKS: dict[Attack, float] = {_on_one_site: 12.5, outages: 0.8, fuzz: 0.7, size: 1.0}
"""How many of fifteen minutes each attack may take."""


def main() -> int:
    """Attack; gives 1 if anything was found."""
    seconds = float(os.environ.get("CHAOS_MINUTES") or 15) * 60
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    say(f"CHAOS_SEED={seed} makes the same attacks again")
    rows: list[Row] = []
    left = sum(ATTACKS.values())
    ends = time.monotonic() + seconds
    for attack, minutes in ATTACKS.items():
        # What one attack leaves over is for those that follow.
        share = max(ends - time.monotonic(), 0.0) * minutes / left
        left -= minutes
        name = attack.__name__.strip("_").replace("_", " ")
        say(f"{name}: {share:.0f} s")
        try:
            made = attack(share, seed)
            say(f"{name}:\n{as_table(made)}")
            rows += made
        except Exception as error:  # noqa: BLE001 - the other attacks are made all the same
            text = " ".join(str(error).split())[:300]
            rows.append(Row(name, 1, 0, f"the attack broke off: {type(error).__name__} {text}"))
    sys.stdout.write(f"{as_table(rows)}\n")
    return int(any(row.found for row in rows))


if __name__ == "__main__":
    sys.exit(main())
