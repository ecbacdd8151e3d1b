"""What this process holds in memory, out of the sight of others: of its children too."""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress

__all__ = ["keep_memory_private"]

_PR_SET_DUMPABLE = 4  # of linux/prctl.h


def keep_memory_private() -> None:
    """Leave no core dump, and on Linux keep processes of the same user from reading this one.

    A child is started without our key, and could read it in `/proc/<parent>/environ`. That file,
    `/proc/<parent>/mem` and `ptrace` are for a process with CAP_SYS_PTRACE alone from here on. Not
    for a process that merely imports this package: whose it is may want to debug it. Where a
    system knows neither, there is nothing to fail for.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
