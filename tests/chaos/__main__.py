"""`make chaos`: every attack that takes long, in turn, and one table of what came of it.

CHAOS_MINUTES (default 15) is shared out between the attacks, CHAOS_SEED makes them the same again.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

from .kills import say
from .table import Row, as_table

if TYPE_CHECKING:
    from collections.abc import Callable

SHARES = {"kills": 8.0, "together": 3.0, "outages": 2.0, "fuzz": 1.0, "size": 1.0}
"""How many of fifteen minutes an attack may take."""


def main() -> int:
    """Attack; gives 1 if anything was found."""
    seconds = float(os.environ.get("CHAOS_MINUTES") or 15) * 60
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    say(f"CHAOS_SEED={seed} makes the same attacks again")
    attacks = {name: attack for name in SHARES if (attack := _attack(name)) is not None}
    rows: list[Row] = []
    left = sum(SHARES[name] for name in attacks)
    ends = time.monotonic() + seconds
    for name, attack in attacks.items():
        # What one attack leaves over is for those that follow.
        share = max(ends - time.monotonic(), 0.0) * SHARES[name] / left
        left -= SHARES[name]
        say(f"{name}: {share:.0f} s")
        try:
            made = attack(share, seed)
            say(f"{name}: so far\n{as_table(made)}")
            rows += made
        except Exception as error:  # noqa: BLE001 - the other attacks are made all the same
            text = " ".join(str(error).split())[:300]
            rows.append(Row(name, 1, 0, f"the attack broke off: {type(error).__name__} {text}"))
    sys.stdout.write(f"{as_table(rows)}\n")
    return int(any(row.found for row in rows))


def _attack(name: str) -> Callable[[float, int], list[Row]] | None:
    """Find an attack; None when this checkout has none of that name."""
    package = __package__ or "chaos"
    if importlib.util.find_spec(f"{package}.{name}") is None:
        return None
    return getattr(importlib.import_module(f"{package}.{name}"), name)


if __name__ == "__main__":
    sys.exit(main())
