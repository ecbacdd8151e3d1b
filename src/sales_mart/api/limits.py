"""How much one client may ask for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rate"]

_MINUTE = 60.0


class Rate:
    """So many requests a minute of each client: at once, or one after the other."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with all of them left."""
        self._most = float(per_minute)
        self._each = _MINUTE / per_minute
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, client: str) -> float:
        """Take one request of a client, and return 0; if there is none, the seconds to wait."""
        now = self._clock()
        left, since = self._left.get(client, (self._most, now))
        left = min(self._most, left + (now - since) / self._each)
        if left < 1:
            self._left[client] = (left, now)
            return (1 - left) * self._each
        self._left[client] = (left - 1, now)
        return 0.0
