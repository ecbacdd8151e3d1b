"""Servers that end with the process that started them, however that one ends.

Each server is watched by a small process, the supervisor, whose standard input is a pipe from the
process that wants the server. When that process stops, crashes or is killed, the pipe closes and
the supervisor shuts the server down.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.child_environment import without_secrets
from sales_mart.errors import TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path
    from types import FrameType

__all__ = ["LOOPBACK", "Server", "as_user", "served", "tail"]

_log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class Server(NamedTuple):
    """What to run and how to see that it is ready.

    Attributes:
        command: Gives the command for a TCP port.
        ready: Tells whether the server answers on the port.
        log_file: Where its output goes.
        lock: File descriptor that the server keeps open while it runs.
        user: Whom it runs as; None for ourselves.
        environment: What it needs in its environment besides ours, which it gets without secrets.
    """

    command: Callable[[int], list[str]]
    ready: Callable[[int], bool]
    log_file: Path
    lock: int
    user: str | None = None
    environment: Mapping[str, str] = MappingProxyType({})


@contextmanager
def served(server: Server) -> Generator[int]:
    """Run a server on a free port of loopback until the context ends; give the port.

    Raises:
        TemporaryError: It did not start.
    """
    log_file = server.log_file
    for attempt in range(3):
        port = _free_port()
        supervisor = _start_supervisor(server, port)
        try:
            if _wait_ready(supervisor, server, port):
                _log.info("%s is ready on port %d", log_file.stem, port)
                yield port
                return
        finally:
            _stop_supervisor(supervisor)
        # Another process may have taken the port between the look and the start.
        _log.warning("%s did not start, attempt %d", log_file.stem, attempt + 1)
    text = log_file.read_text(errors="replace") if log_file.exists() else ""
    msg = f"the local server {log_file.stem!r} did not start: {tail(text)}"
    raise TemporaryError(msg, remedy=f"Its log is {log_file}.")


def _start_supervisor(server: Server, port: int) -> subprocess.Popen[bytes]:
    order = {"command": server.command(port), "user": server.user, "lock": server.lock}
    with server.log_file.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", __name__, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**without_secrets(), **server.environment},
            pass_fds=(server.lock,),
            start_new_session=True,
        )


def _wait_ready(supervisor: subprocess.Popen[bytes], server: Server, port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and supervisor.poll() is None:
        if server.ready(port):
            return True
        time.sleep(0.02)
    return False


def _stop_supervisor(supervisor: subprocess.Popen[bytes]) -> None:
    if supervisor.stdin is not None:
        supervisor.stdin.close()
    try:
        supervisor.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.terminate()
        supervisor.wait()


def as_user(name: str | None) -> dict[str, Any]:
    """Return the arguments of `subprocess` that hand a process to another user."""
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def tail(text: str) -> str:
    """Return the last words of a log."""
    lines = [line for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[:500] or "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def _supervise(order: str) -> int:
    """Run a server until it ends, or until whoever holds the other end of stdin is gone."""
    what = json.loads(order)
    server = subprocess.Popen(  # noqa: S603 - given by the same module
        what["command"],
        stdin=subprocess.DEVNULL,
        pass_fds=(what["lock"],),
        **as_user(what["user"]),
    )
    ended = threading.Event()

    def stop(_signal: int = 0, _frame: FrameType | None = None) -> None:
        server.send_signal(signal.SIGINT)  # a fast and clean shutdown for either server

    def watch() -> None:
        while os.read(0, 1):
            pass
        stop()
        if not ended.wait(_STOP_SECONDS * 0.8):
            server.kill()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    threading.Thread(target=watch, daemon=True).start()
    status = server.wait()
    ended.set()
    return status


if __name__ == "__main__":
    sys.exit(_supervise(sys.argv[1]))
