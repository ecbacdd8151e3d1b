"""What was struck how often, and what came of it."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.warehouses.base import DEFAULT_TARGETS

from .table import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["CLEAN", "DBT", "GIVEN_UP", "KILLS", "STEPS", "Aim", "Ledger", "say", "stops_of"]


def stops_of(targets: Iterable[str]) -> tuple[str, ...]:
    """Name the commands of a run into some warehouses, in their order."""
    loads = (f"load-{target}" for target in targets)
    return ("plan", "validate", "seal", *loads, "transform", "reconcile", "publish", "export")


STEPS = stops_of(DEFAULT_TARGETS)
KILLS = ("kill", "kill group")
CLEAN = ("terminate", "interrupt", "interrupt twice")
DBT = "kill dbt"


class Aim(NamedTuple):
    """Where a process is struck, and how."""

    step: str
    how: str


GIVEN_UP = Aim("any", "give up")


class Ledger:
    """Counts strikes, and keeps what was found."""

    def __init__(self, steps: Sequence[str] = STEPS) -> None:
        self.steps = steps
        self.attempts: Counter[Aim] = Counter()
        self.looks: Counter[str] = Counter()
        """Looks of readers, by what they looked at."""
        self._failed: Counter[Aim] = Counter()
        self._found: dict[Aim, set[str]] = defaultdict(set)
        self._other: list[str] = []
        self._struck: Counter[Aim] = Counter()
        self._complained = False

    def begin(self) -> None:
        """Charge nothing of what follows to the strikes before."""
        if self._complained:
            self._failed += self._struck
        self._struck = Counter()
        self._complained = False

    def count(self, aim: Aim) -> None:
        """Count a strike."""
        self.attempts[aim] += 1
        self._struck[aim] += 1

    def blame(self, aim: Aim, text: str) -> None:
        """Note what a process did wrong when it was struck."""
        say(f"FOUND {text}")
        self._failed[aim] += 1
        self._found[aim].add(text)

    def complain(self, texts: list[str]) -> None:
        """Note what was found after a run, whichever of its strikes is to blame."""
        for text in texts:
            say(f"FOUND {text}")
            self._complained = True
            for aim in self._struck:
                self._found[aim].add(text)
            if not self._struck:
                self._other.append(text)

    def complaints(self) -> list[str]:
        """Give everything that was found."""
        return [*self._other, *set().union(*self._found.values())]

    def rows(self, least: int = 0) -> list[Row]:
        """Add the strikes up: kills by step, kills of dbt, signals, and what readers saw.

        Args:
            least: Fewer kills than this, of any step or of dbt, prove too little.
        """
        self.begin()
        killed = {f"SIGKILL in {step}": [Aim(step, how) for how in KILLS] for step in self.steps}
        killed["SIGKILL of dbt alone"] = [Aim("transform", DBT)]
        rows = [self._row(name, aims, least) for name, aims in killed.items()]
        for how, name in zip(CLEAN, ("SIGTERM", "Ctrl-C", "Ctrl-C twice"), strict=True):
            rows.append(self._row(f"{name} in any step", [Aim(step, how) for step in self.steps]))
        rows.append(self._row("runs given up half-way, another input follows", [GIVEN_UP]))
        for place, looks in self.looks.items():
            wrong = [text for text in self._other if text.startswith(f"a reader of {place} ")]
            found = "; ".join(sorted(set(wrong)))
            rows.append(
                Row(f"a reader looks at {place} meanwhile", looks, looks - len(wrong), found)
            )
        others = {text for text in self._other if not text.startswith("a reader of ")}
        return [*rows, *(Row("when nothing was struck", 1, 0, text) for text in sorted(others))]

    def _row(self, name: str, aims: list[Aim], least: int = 0) -> Row:
        attempts = sum(self.attempts[aim] for aim in aims)
        failed = sum(self._failed[aim] for aim in aims)
        found = set().union(*(self._found.get(aim, ()) for aim in aims))
        if attempts < least:
            found.add(f"fewer than {least} kills")
        return Row(name, attempts, attempts - failed, "; ".join(sorted(found)))


def say(text: str) -> None:
    """Tell of the progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
