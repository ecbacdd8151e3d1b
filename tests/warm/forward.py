"""In place of the process that forks dbt's workers: it hands the socket of orders to `server.py`.

It takes the folder that all tests share, the number of the process that runs them, and what the
product gives to its own program. The server is started by the first that finds none.
"""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_SECONDS = 120
_PAUSE = 0.05


def main() -> int:
    """Hand the socket over, and wait until it is served no more."""
    folder, tests, orders = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    path = folder / "dbt.socket"
    connection = _connected(path)
    if connection is None:
        with (folder / "dbt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection = _connected(path) or _started(path, tests)
    with connection:
        socket.send_fds(connection, [b" "], [orders])
        socket.socket(fileno=orders).close()
        connection.recv(1)
    return 0


def _connected(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _started(path: Path, tests: str) -> socket.socket:
    with suppress(FileNotFoundError):
        path.unlink()
    with path.with_suffix(".log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("server.py")), str(path), tests],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    until = time.monotonic() + _SECONDS
    while server.poll() is None and time.monotonic() < until:
        if (connection := _connected(path)) is not None:
            return connection
        time.sleep(_PAUSE)
    sys.exit(path.with_suffix(".log").read_text())


if __name__ == "__main__":
    sys.exit(main())
