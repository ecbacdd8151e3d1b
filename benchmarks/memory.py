"""How much memory a process and all that it starts hold at most; by /proc, so on Linux only."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Peak", "held_by"]

_SAMPLE_SECONDS = 0.02


class Peak:
    """Asks again and again how many bytes are held, while the context lasts."""

    def __init__(self, held: Callable[[], int]) -> None:
        self._held = held
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.bytes = max(self.bytes, self._held())


def held_by(root: int, field: str) -> int:
    """Add up a field of `/proc/…/status` over a process and all its descendants, in bytes.

    Args:
        root: Number of the process.
        field: `VmRSS` for all resident pages; `RssAnon` without pages of files, which the kernel
            takes back when it needs them.
    """
    found, total = [root], 0
    for pid in found:
        with suppress(OSError):
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(int(child) for child in path.read_text().split())
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith(field))
    return total
