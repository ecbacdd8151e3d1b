"""How far a step is: told to whoever looks, and written to the log every few seconds.

A step says what it expects and what it has done; where nobody measures, that costs nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Progress", "Unit", "advance", "expect", "measured", "reach"]

_log = logging.getLogger(__name__)

Unit: TypeAlias = Literal["bytes", "rows", "models and tests"]

LOG_SECONDS = 10.0
_TOLD_SECONDS = 0.1


class Progress(NamedTuple):
    """How far a step is.

    Attributes:
        unit: What is counted.
        done: How many of it are done; never fewer than before.
        total: How many there are.
        rows: Rows that are done; 0 in a step that counts no rows.
        item: What is worked on, a model for instance; empty where that has no name.
        seconds: Since the first of it was expected.
    """

    unit: Unit
    done: int
    total: int
    rows: int
    item: str
    seconds: float

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return self.done / self.total if self.total else 1.0

    @property
    def speed(self) -> float:
        """Rows a second, or of the unit where no rows are counted."""
        return (self.rows or self.done) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """About how long it still takes; 0 where nothing is done yet."""
        return self.seconds / self.share - self.seconds if self.done else 0.0

    def __str__(self) -> str:
        """Say it on one line."""
        if self.unit == "models and tests":
            return f"{self.done} of {self.total} models and tests, {self.item}"
        rows = f"{self.rows:,} rows, {self.share:.0%}"
        if self.unit == "bytes":
            rows += f" of {self.total / 1e6:,.1f} MB"
        return f"{rows}, {self.speed:,.0f} rows/s"


class _Meter:
    """Adds up what the threads of a step have done."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._telling = threading.RLock()
        self._last = (0, 0)
        self._unit: Unit = "rows"
        self._done = self._total = self._rows = 0
        self._item = ""
        self._began = self._logged = time.monotonic()
        self._told = 0.0

    def expect(self, unit: Unit, total: int) -> None:
        with self._lock:
            if not self._total:
                self._began = self._logged = time.monotonic()
            self._unit = unit
            self._total += total

    def change(self, done: int, rows: int) -> None:
        with self._lock:
            self._done += done
            self._rows += rows
        self._look()

    def reach(self, done: int, item: str) -> None:
        with self._lock:
            self._done = max(self._done, done)
            self._item = item
        self._look()

    def _look(self) -> None:
        now = time.monotonic()
        with self._lock:
            is_told = now - self._told >= _TOLD_SECONDS or self._done >= self._total
            is_logged = now - self._logged >= LOG_SECONDS
            self._told = now if is_told else self._told
            self._logged = now if is_logged else self._logged
            # A transaction that is begun again does its rows again.
            done = min(self._done, self._total)
            rows = done if self._unit == "rows" else self._rows
            shown = Progress(self._unit, done, self._total, rows, self._item, now - self._began)
        if is_told and shown.total:
            with self._telling:
                # Another thread may have told more while this one was on its way here.
                if (shown.done, shown.rows) >= self._last:
                    self._last = (shown.done, shown.rows)
                    self._tell(shown)
        if is_logged:
            extra = {"done": shown.done, "total": shown.total, "unit": shown.unit}
            extra |= {"rows": shown.rows, "share": round(shown.share, 4)}
            _log.info("%s", shown, extra=extra)


_meter: ContextVar[_Meter | None] = ContextVar("meter", default=None)


@contextmanager
def measured(tell: Callable[[Progress], None]) -> Generator[None]:
    """Measure what is done in the context.

    Args:
        tell: Is told how far it is, ten times a second at most, from any of the threads. What it
            raises ends the step.
    """
    token = _meter.set(_Meter(tell))
    try:
        yield
    finally:
        _meter.reset(token)


def expect(unit: Unit, total: int) -> None:
    """Say that so much more is to be done."""
    if (meter := _meter.get()) is not None:
        meter.expect(unit, total)


def advance(done: int, rows: int = 0) -> None:
    """Say that so much more is done."""
    if (meter := _meter.get()) is not None:
        meter.change(done, rows)


def reach(done: int, item: str) -> None:
    """Say how much is done in all, and what comes next."""
    if (meter := _meter.get()) is not None:
        meter.reach(done, item)
