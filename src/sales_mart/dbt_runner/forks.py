"""Starting workers: one process imports dbt, which takes seconds, and forks a worker per command.

It is started when the first worker is needed, and ends when nobody may need another one.
Where a process that has imported much cannot be forked safely, which is everywhere but on Linux,
each worker is a process that imports dbt by itself.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from sales_mart.child_environment import without_secrets

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

__all__ = ["PROGRAM", "Worker", "base_environment", "shared_server", "start_worker"]

PROGRAM = ("-m", "sales_mart.dbt_runner.worker")
"""What imports dbt and forks workers, for Python."""
_CAN_FORK = sys.platform == "linux"
_GONE = (BrokenPipeError, ConnectionResetError)
_lock = threading.Lock()
_server: _Server | None = None
_users = 0


class Worker:
    """A process that runs one command.

    Attributes:
        stdin: Takes the command. When it is closed, the worker ends.
    """

    def __init__(
        self, stdin: IO[bytes], status: IO[bytes], server: subprocess.Popen[bytes]
    ) -> None:
        self.stdin = stdin
        self._status = status
        self._server = server
        self._said = b""

    @property
    def pid(self) -> int | None:
        """Its number; None as long as it has not begun."""
        self._read(0)
        return int(self._said.split()[0]) if self._said else None

    def close(self) -> None:
        """Let it end by itself, whether it has begun or not; it is not waited for."""
        self.stdin.close()
        self._status.close()

    def kill(self) -> None:
        """End it at once, if it has begun and nothing says that it has ended."""
        pid = self.pid
        if pid is not None and self._said.count(b"\n") == 1 and not self._status.closed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end.

        Returns:
            Its exit code, or that of the process that was to fork it; negative a signal's number.

        Raises:
            TimeoutError: It still runs after so many seconds.
        """
        while not self._status.closed:
            if not self._read(seconds):
                raise TimeoutError
        said = self._said.split()
        if not said:  # it never began
            return self._server.wait()
        return int(said[1]) if len(said) > 1 else -signal.SIGKILL

    def _read(self, seconds: float | None) -> bool:
        """Read the status pipe; return whether there was something to read, or its end."""
        if self._status.closed:
            return True
        waiting = select.poll()  # `select` takes no descriptor above 1,023
        waiting.register(self._status, select.POLLIN)
        if not waiting.poll(None if seconds is None else seconds * 1000):
            return False
        said = os.read(self._status.fileno(), 64)
        self._said += said
        if not said:
            self._status.close()
        return True


def start_worker(
    order: Mapping[str, Any], known: Mapping[str, str], folder: Path, ready: int, *keep: int
) -> Worker:
    """Start a worker, and do not wait for it.

    Args:
        order: What it gets ready for.
        known: Its environment; what stands in it is in no list of processes.
        folder: Where it works, and writes what it prints to `output.log`.
        ready: The descriptor that it writes the models of the project to, as JSON.
        *keep: More descriptors that it keeps open.

    Raises:
        OSError: No process can be started.
    """
    message = {"order": order, "environment": dict(known), "folder": str(folder)}
    with (folder / "output.log").open("wb") as output, ExitStack() as ours, ExitStack() as theirs:
        commands, stdin = _pipe(theirs, ours)
        status, told = _pipe(ours, theirs)
        descriptors = [commands.fileno(), output.fileno(), told.fileno(), ready, *keep]
        server = _send(message, descriptors, output)
        ours.pop_all()
        return Worker(stdin, status, server)


def _pipe(readers: ExitStack, writers: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reads, writes = os.pipe()
    return (
        readers.enter_context(os.fdopen(reads, "rb", buffering=0)),
        writers.enter_context(os.fdopen(writes, "wb", buffering=0)),
    )


@contextmanager
def shared_server() -> Generator[None]:
    """Let all workers of a context be forked by one process, which ends with the outermost one."""
    global _server, _users  # noqa: PLW0603 - one for this process
    with _lock:
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and _server is not None:
                _server.close()
                _server = None


def _send(
    message: Mapping[str, Any], passed: Sequence[int], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    global _server  # noqa: PLW0603 - one for this process
    with _lock:
        # A forked copy of this process, and who cannot fork, needs another one.
        if _server is None or _server.owner != os.getpid() or not _CAN_FORK:
            _server = _Server(output)
        elif _server.process.poll() is not None:
            _server.close()
            _server = _Server(output)
        try:
            _server.send(message, passed)
        except _GONE:  # it was killed since the last time
            _server.close()
            _server = _Server(output)
            # If it is killed at once, whoever waits for the worker learns so.
            with suppress(*_GONE):
                _server.send(message, passed)
        except BaseException:  # a part of the message may have been sent
            _server.close()
            _server = None
            raise
        return _server.process


class _Server:
    """The process that has imported dbt; why it could not stands in the output of a worker."""

    def __init__(self, output: IO[bytes]) -> None:
        self.owner = os.getpid()
        self._connection, theirs = socket.socketpair()
        with theirs:
            try:
                self.process = subprocess.Popen(  # noqa: S603 - our own module
                    [
                        *(sys.executable, "-P", *PROGRAM),
                        *(str(theirs.fileno()), "forks" if _CAN_FORK else "alone"),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=base_environment(),
                    pass_fds=(theirs.fileno(),),
                    # Ctrl-C reaches us, and we end the workers in good order.
                    start_new_session=True,
                )
            except BaseException:
                self._connection.close()
                raise

    def send(self, message: Mapping[str, Any], passed: Sequence[int]) -> None:
        """Send a message for a worker."""
        data = json.dumps(message).encode()
        socket.send_fds(self._connection, [f"{len(data):08}".encode()], passed)
        self._connection.sendall(data)

    def close(self) -> None:
        """End it; it may still be importing, and its workers have ended."""
        self._connection.close()
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()


def base_environment() -> dict[str, str]:
    """Return our environment without secrets, and without variables that set dbt's options."""
    return {name: value for name, value in without_secrets().items() if not name.startswith("DBT_")}
