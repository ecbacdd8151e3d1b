"""The servers that the pods talk to: those that variables name, or some that are started here.

| variable | what it is | without it |
|---|---|---|
| `E2E_IMAGE` | image of sales_mart, as the cluster knows it | `sales-mart:dev` |
| `E2E_HOST` | this machine, as pods reach it | `CLUSTER_HOST` |
| `E2E_LAKE` | `gs://` prefix for source and runs | a GCS server started here |
| `E2E_POSTGRES` | address with user, password and database | a server started here |
| `E2E_BIGQUERY_PROJECT` | Google Cloud project | a server started here |
| `E2E_GOOGLE_CREDENTIALS` | service account's file, for BigQuery and the lake | none |
"""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from gcs_server import running_gcs_server
from sales_mart.servers.local import local_servers

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Forward", "Servers", "servers"]


class Forward:
    """A TCP port of this machine that pods reach, in front of one that they don't."""

    def __init__(self, host: str, target: int) -> None:
        """Name the address to listen on, and the port on loopback."""
        self._host, self._target = host, target
        self.port = 0
        self._server: socketserver.ThreadingTCPServer | None = None
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        """Listen, on the port of before where there was one."""
        forward = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", forward._target)) as inner:
                    ends = (self.request, inner)
                    forward._open.update(ends)
                    back = threading.Thread(target=_pump, args=(inner, self.request), daemon=True)
                    back.start()
                    _pump(self.request, inner)
                    back.join()
                    forward._open.difference_update(ends)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server((self._host, self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@dataclass
class Servers:
    """Where the servers are, for pods and for the tests.

    Attributes:
        host: This machine, as pods reach it.
        image: The image of sales_mart.
        lake: gs:// prefix.
        config: Settings of `data_warehouse`, as pods take them.
        outside: The same, as the tests take them.
        user, password: PostgreSQL's.
        credentials: A service account's file; None without.
        environment: What pods need to find the stand-ins.
        postgres: The way to a PostgreSQL that was started here.
    """

    host: str
    image: str
    lake: str
    config: dict[str, Any]
    outside: dict[str, Any]
    user: str
    password: str = field(repr=False)
    credentials: str | None
    environment: dict[str, str]
    postgres: Forward | None


@contextmanager
def servers(folder: Path) -> Generator[Servers]:
    """Find the servers, and start those that no variable names."""
    host = os.environ.get("E2E_HOST") or os.environ.get("CLUSTER_HOST") or "127.0.0.1"
    named = os.environ.get("E2E_POSTGRES")
    project = os.environ.get("E2E_BIGQUERY_PROJECT")
    lake = os.environ.get("E2E_LAKE")
    environment: dict[str, str] = {}
    inside: dict[str, Any] = {"project_id": project or "e2e"}
    outside: dict[str, Any] = {"project_id": project or "e2e"}
    forward = None
    user, password = "postgres", ""
    with ExitStack() as stack:
        buckets = folder / "buckets"
        buckets.mkdir()
        started = stack.enter_context(
            local_servers(
                folder / "servers",
                postgres=not named,
                bigquery=not project,
                gcs_root=buckets,
            )
        )
        settings = started.settings()["data_warehouse"]
        if named:
            parts = urlsplit(named)
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
            inside["postgres"] = {
                "host": parts.hostname,
                "port": parts.port or 5432,
                "dbname": parts.path.strip("/"),
            }
            outside["postgres"] = {**inside["postgres"], "user": user, "password": password}
        else:
            password = started.postgres_password
            forward = Forward(host, settings["postgres"]["port"])
            forward.start()
            stack.callback(forward.stop)
            outside["postgres"] = settings["postgres"]
            inside["postgres"] = {
                "host": host,
                "port": forward.port,
                "dbname": "postgres",
                "sslmode": "disable",
                "connect_timeout": 5,
            }
        if not project:
            endpoint = urlsplit(settings["bigquery"]["api_endpoint"])
            api = Forward(host, endpoint.port or 80)
            api.start()
            stack.callback(api.stop)
            outside["bigquery"] = settings["bigquery"]
            inside["bigquery"] = {"api_endpoint": f"http://{host}:{api.port}"}
        if not lake:
            url = stack.enter_context(running_gcs_server(buckets, folder / "gcs.log", host))
            os.environ["STORAGE_EMULATOR_HOST"] = environment["STORAGE_EMULATOR_HOST"] = url
            stack.callback(os.environ.pop, "STORAGE_EMULATOR_HOST", None)
            from sales_mart.lake.gcs import gcs_client

            gcs_client().create_bucket("e2e")
            lake = "gs://e2e"
        yield Servers(
            host=host,
            image=os.environ.get("E2E_IMAGE", "sales-mart:dev"),
            lake=lake.rstrip("/"),
            config=inside,
            outside=outside,
            user=user,
            password=password,
            credentials=os.environ.get("E2E_GOOGLE_CREDENTIALS"),
            environment=environment,
            postgres=forward,
        )
