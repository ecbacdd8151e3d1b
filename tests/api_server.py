"""The read API on this computer, for tests."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

import requests

from sales_mart.api.server import listening_at, server_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from sales_mart.config import Config

_SECONDS = 30


class Api(NamedTuple):
    """A server that runs, and a client of it that keeps its connection."""

    url: str
    session: requests.Session

    def get(self, path: str, **headers: str) -> requests.Response:
        """Ask for something, whatever the answer; without a header of ours it is JSON, unpacked."""
        given = {"Accept-Encoding": "identity"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.session.get(urljoin(self.url, path), headers=given, timeout=_SECONDS)

    def rows(self, path: str, **headers: str) -> list[dict[str, Any]]:
        """Ask for rows; decimals stay the texts that they are written as."""
        answer = self.get(path, **headers)
        assert answer.status_code == 200, answer.text
        return answer.json(parse_float=str)

    def metric(self, line: str) -> float:
        """Return a metric by its name and labels."""
        text = self.get("/metrics").text
        found = [each for each in text.splitlines() if each.startswith(f"{line} ")]
        assert len(found) == 1, f"{line} is not in:\n{text}"
        return float(found[0].rpartition(" ")[2])


def limited(config: Config, **limits: Any) -> Config:
    """Return a configuration with limits of its own; without, they are too wide to be met."""
    wide = {"requests_per_minute": 1_000_000, "refresh_seconds": 1}
    api = type(config.api).model_validate(wide | limits)
    return config.model_copy(update={"api": api})


@contextmanager
def serving(config: Config, target: str, **limits: Any) -> Generator[Api]:
    """Serve the marts of a warehouse from a thread."""
    server = server_of(limited(config, **limits), target, "127.0.0.1")
    listening = listening_at("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + _SECONDS
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with requests.Session() as session:
            session.trust_env = False
            yield Api(f"http://127.0.0.1:{listening.getsockname()[1]}", session)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
