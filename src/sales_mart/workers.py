"""How many files, or ranges of one, a process works on at the same time."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["default_workers"]

_WORKER_BYTES = 320 << 20
"""About what one more worker holds: blocks on their way, and parts that are not full yet."""
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def default_workers() -> int:
    """Return one for each core that this process may use, as far as its memory goes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        # Where there is no limit, there is no such file, or a word in it.
        with suppress(OSError, ValueError):
            memory = min(memory, int(path.read_text(encoding="ascii")))
    # macOS does not say which cores a process may use.
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, memory // _WORKER_BYTES - 1))
