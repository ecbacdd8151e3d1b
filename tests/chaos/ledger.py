"""What was struck how often, and what came of it."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from typing import NamedTuple

from .table import Row

__all__ = ["CLEAN", "DBT", "KILLS", "STOPS", "Aim", "Ledger", "say"]

STOPS = (
    *("plan", "validate", "seal", "load-postgres", "load-bigquery", "transform", "reconcile"),
    *("publish", "export"),
)
KILLS = ("kill", "kill group")
CLEAN = ("terminate", "interrupt", "interrupt twice")
DBT = "kill dbt"


class Aim(NamedTuple):
    """Where a process is struck, and how."""

    stop: str
    how: str


class Ledger:
    """Counts strikes; what is found is charged to the strikes since `begin`."""

    def __init__(self) -> None:
        self.attempts: Counter[Aim] = Counter()
        self.looks = 0
        self._found: dict[Aim, list[str]] = defaultdict(list)
        self._other: list[str] = []
        self._struck: set[Aim] = set()

    def begin(self) -> None:
        """Charge nothing of what follows to the strikes before."""
        self._struck = set()

    def count(self, aim: Aim) -> None:
        """Count a strike."""
        self.attempts[aim] += 1
        self._struck.add(aim)

    def complain(self, texts: list[str]) -> None:
        """Note what was found."""
        for text in texts:
            say(f"FOUND {text}")
            for aim in self._struck:
                self._found[aim].append(text)
            if not self._struck:
                self._other.append(text)

    def complaints(self) -> list[str]:
        """Give everything that was found."""
        return [*self._other, *(text for texts in self._found.values() for text in texts)]

    def rows(self) -> list[Row]:
        """Add the strikes up: kills by stop, kills of dbt, signals, and what readers saw."""
        chosen = {f"SIGKILL in {stop}": [Aim(stop, how) for how in KILLS] for stop in STOPS}
        chosen["SIGKILL of dbt alone"] = [Aim("transform", DBT)]
        for how, name in zip(CLEAN, ("SIGTERM", "Ctrl-C", "Ctrl-C twice"), strict=True):
            chosen[f"{name} in any stop"] = [Aim(stop, how) for stop in STOPS]
        rows: list[Row] = []
        for name, aims in chosen.items():
            attempts = sum(self.attempts[aim] for aim in aims)
            found = {text for aim in aims for text in self._found.get(aim, [])}
            survived = max(0, attempts - len(found))
            rows.append(Row(name, attempts, survived, "; ".join(sorted(found))))
        other = sorted(set(self._other))
        seen = self.looks - len(other)
        rows.append(Row("readers who look at it meanwhile", self.looks, seen, "; ".join(other)))
        return rows


def say(text: str) -> None:
    """Tell of the progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
