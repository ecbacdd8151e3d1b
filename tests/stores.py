"""The stores of objects that the tests run on this computer, and how each one's requests look."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from gcs_server import running_gcs_server

__all__ = ["STORES", "Requests", "Store"]

_ACCOUNT = "devstoreaccount1"
# What the emulator of Azure ships with; it is in Microsoft's documentation.
_KEY = (  # pragma: allowlist secret
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


class Requests(NamedTuple):
    """How a store is asked: the method of an upload, and what is in the path.

    Attributes:
        upload: Method of a request that writes.
        listing: Pattern of one that lists.
        create: Pattern of one that writes only what is not there.
        content: Pattern of one that reads an object.
        part: Pattern of path and body of one that writes a Parquet part.
    """

    upload: str
    listing: str
    create: str
    content: str
    part: tuple[str, str]


class Store(NamedTuple):
    """A kind of store.

    Attributes:
        scheme: What its addresses begin with.
        server: Runs one, with its data in a folder and its log in a file; gives its address.
        client: Module whose `RETRY_SECONDS` says how long a client asks again.
        environment: Leads clients to the address of a server.
        make: Makes a bucket on a server.
        requests: How it is asked.
    """

    scheme: str
    server: Callable[[Path, Path], AbstractContextManager[str]]
    client: str
    environment: Callable[[str], dict[str, str]]
    make: Callable[[str, str], None]
    requests: Requests


@contextmanager
def _running(command: list[str | Path], log: Path, port: int) -> Generator[str]:
    """Run a server while the context lasts; gives its address when it takes connections."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as server,
    ):
        try:
            deadline = time.monotonic() + 60
            while True:
                assert server.poll() is None, log.read_text()[-2_000:]
                assert time.monotonic() < deadline, "the server does not answer"
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _s3(_folder: Path, log: Path) -> AbstractContextManager[str]:
    port = _free_port()
    address = ("-H", "127.0.0.1", "-p", str(port))
    return _running([sys.executable, "-m", "moto.server", *address], log, port)


def _azure(folder: Path, log: Path) -> AbstractContextManager[str]:
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite, Microsoft's emulator of Azure, is not installed")
    port = _free_port()
    address = ("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder)
    options = ("--skipApiVersionCheck", "--silent", "--disableTelemetry")
    return _running([program, *address, *options], log, port)


def _ask(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
    asking = urllib.request.Request(url, body, headers or {}, method=method)  # noqa: S310 - ours
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asking, timeout=30).close()


def _make_gcs(url: str, name: str) -> None:
    kind = {"Content-Type": "application/json"}
    _ask("POST", f"{url}/storage/v1/b?project=local", f'{{"name": "{name}"}}'.encode(), kind)


def _make_s3(url: str, name: str) -> None:
    _ask("PUT", f"{url}/{name}")


def _make_azure(url: str, name: str) -> None:
    now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": now, "x-ms-version": "2021-08-06"}
    signed = "".join(f"{key}:{value}\n" for key, value in headers.items())
    text = "PUT" + "\n" * 12 + signed + f"/{_ACCOUNT}/{_ACCOUNT}/{name}\nrestype:container"
    made = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(made).decode()}"
    # An empty body of bytes would be sent with a type, which is not in what is signed.
    headers["Content-Type"] = ""
    _ask("PUT", f"{url}/{_ACCOUNT}/{name}?restype=container", headers=headers)


def _gcs_environment(url: str) -> dict[str, str]:
    return {"STORAGE_EMULATOR_HOST": url}


def _s3_environment(url: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_ENDPOINT_URL": url,
    }


def _azure_environment(url: str) -> dict[str, str]:
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
        "AZURE_STORAGE_ENDPOINT": f"{url}/{_ACCOUNT}",
    }


STORES = {
    store.scheme: store
    for store in (
        Store(
            "gs",
            running_gcs_server,
            "sales_mart.lake.gcs",
            _gcs_environment,
            _make_gcs,
            Requests(
                "POST",
                r"/o\?",
                "ifGenerationMatch=0",
                ".*alt=media",
                ("uploadType=multipart", "valid/"),
            ),
        ),
        Store(
            "s3",
            _s3,
            "sales_mart.lake.object_store",
            _s3_environment,
            _make_s3,
            Requests("PUT", "list-type=2", r"plan\.json", "", ("valid/", "")),
        ),
        Store(
            "az",
            _azure,
            "sales_mart.lake.object_store",
            _azure_environment,
            _make_azure,
            Requests("PUT", "comp=list", r"plan\.json", "", ("valid/", "")),
        ),
    )
}
