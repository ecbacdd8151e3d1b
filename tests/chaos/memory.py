"""A process and all its children under a limit of memory, with the peak that they reached."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from benchmarks.memory import Peak, held_by

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LIMIT", "Ended", "limited"]

LIMIT = 1 << 30
"""What the documentation promises to be enough."""
_END_SECONDS = 20.0
_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class Ended(NamedTuple):
    """How a limited process ended.

    Attributes:
        code: Its exit code.
        peak: Most bytes that it and its children held at once, pages of files aside: those the
            kernel takes back when it needs them.
        enforced: Whether the kernel would have ended it above the limit.
        stdout: What it printed.
        stderr: What it logged.
    """

    code: int
    peak: int
    enforced: bool
    stdout: str
    stderr: str


def limited(command: Sequence[str], cwd: Path, environ: dict[str, str], seconds: float) -> Ended:
    """Run a command under `LIMIT`, by a control group where we may make one."""
    with _Group() as group:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=group.enter,  # noqa: PLW1509 - before the command starts, or it is too late
        )
        with Peak(partial(_held, group, process.pid)) as peak:
            try:
                stdout, stderr = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                stdout, stderr = process.communicate()
    return Ended(process.returncode, peak.bytes, group.folder is not None, stdout, stderr)


def _held(group: _Group, pid: int) -> int:
    return group.anonymous() if group.folder else held_by(pid, "RssAnon")


class _Group:
    """A control group of this kernel's kind; `folder` is None where we may not make one."""

    def __init__(self) -> None:
        self._old = (_V1 / "memory.limit_in_bytes").exists()
        self.folder: Path | None = (_V1 if self._old else _V2) / f"sales-mart-{uuid.uuid4().hex}"
        self._most = "memory.limit_in_bytes" if self._old else "memory.max"
        self._anonymous = "rss" if self._old else "anon"

    def __enter__(self) -> Self:
        try:
            assert self.folder is not None
            self.folder.mkdir()
            (self.folder / self._most).write_text(str(LIMIT))
        except OSError:
            self._remove()
            self.folder = None
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        """Take the group away once the last of its processes has ended."""
        deadline = time.monotonic() + _END_SECONDS
        while self.folder is not None and self.folder.exists() and time.monotonic() < deadline:
            with suppress(OSError):
                self.folder.rmdir()
                break
            time.sleep(0.1)

    def enter(self) -> None:
        """Put the process that calls it into the group."""
        if self.folder is not None:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def anonymous(self) -> int:
        """Return the bytes that the group's processes hold, pages of files aside."""
        assert self.folder is not None
        lines = (self.folder / "memory.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.split()[0] == self._anonymous)
