"""Small proxies that stand before a real server and break what passes, as a test tells them."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple, cast
from urllib.parse import urlsplit

Cut = Literal["drop", "lose answer", "mute"]
"""`drop` the connection before the server hears of it; let the server do it but `lose answer`;
`mute`: keep the connection, and let nothing through any more."""

_CHUNK = 1 << 16


class _Wait(NamedTuple):
    """A fault of a wire that has not struck yet."""

    when: bytes
    then: Cut
    times: int
    skip: int
    after_bytes: int


class Wire:
    """A TCP proxy: it passes bytes on until one of its faults strikes."""

    def __init__(self, port: int) -> None:
        """Stand before `port` of this computer; `port` may be changed while the proxy runs."""
        self.upstream = port
        self.faults: list[_Wait] = []
        self.on_strike: Callable[[], None] = lambda: None
        self.struck = 0
        self._sockets: list[socket.socket] = []
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def fault(
        self, when: bytes, then: Cut, *, times: int = 1, skip: int = 0, after_bytes: int = 0
    ) -> None:
        """Strike `times` connections whose client sends `when`, after the first `skip` of them.

        An empty `when` means: at once, before the client has sent anything. With `after_bytes`,
        that many bytes from `when` on still reach the server.
        """
        with self._lock:
            self.faults.append(_Wait(when, then, times, skip, after_bytes))

    def heal(self) -> None:
        """Break nothing more, and end what hangs."""
        with self._lock:
            self.faults.clear()
            for each in self._sockets:
                _end(each)
                each.close()
            self._sockets.clear()

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        _end(self._listener)
        self._listener.close()
        self.heal()

    def _meant(self, data: bytes, before: bytes = b"") -> _Wait | None:
        """Return the fault that waits for what a client sends; it is this connection's then."""
        with self._lock:
            for number, each in enumerate(self.faults):
                # A mark may be cut in two by the buffer; what was seen whole counts once.
                overlap = before[-(len(each.when) - 1) :] if len(each.when) > 1 else b""
                if each.when not in overlap + data or (not each.when and data):
                    continue
                if each.skip:
                    self.faults[number] = each._replace(skip=each.skip - 1)
                    return None
                if each.times > 1:
                    self.faults[number] = each._replace(times=each.times - 1)
                else:
                    del self.faults[number]
                return each
        return None

    def _due(self) -> Generator[Cut | None, bytes]:
        """Take what one client sends, piece by piece, and say what to do to each."""
        data = yield None
        before, passed = b"", 0
        while not (met := self._meant(data, before)):
            before = data
            data = yield None
        while passed < met.after_bytes:
            passed += len(data)
            data = yield None
        self._strike()
        yield met.then

    def _strike(self) -> None:
        with self._lock:
            self.struck += 1
        self.on_strike()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        met = self._meant(b"")
        cut = met and met.then
        if met:
            self._strike()
        if cut == "mute":
            return  # `heal` ends it
        try:
            server = socket.create_connection(("127.0.0.1", self.upstream), 5)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        if cut == "drop":
            _reset(client)
            server.close()
            return
        with self._lock:
            self._sockets.append(server)
        muted, answered = threading.Event(), threading.Event()
        back = threading.Thread(
            target=_pump_back, args=(server, client, muted, answered), daemon=True, name="back"
        )
        back.start()
        with suppress(OSError):
            due = self._due()
            next(due)
            while data := client.recv(_CHUNK):
                cut = due.send(data)
                if cut == "mute":
                    muted.set()
                    return
                if cut == "lose answer":
                    muted.set()
                    server.sendall(data)
                    answered.wait(10)
                if cut is not None:
                    _reset(client)
                    break
                server.sendall(data)
        _end(server)
        server.close()
        _end(client)
        back.join(5)
        client.close()


def _pump_back(
    server: socket.socket, client: socket.socket, muted: threading.Event, answered: threading.Event
) -> None:
    with suppress(OSError):
        while data := server.recv(_CHUNK):
            if muted.is_set():
                answered.set()
            else:
                client.sendall(data)
    if not muted.is_set():
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


def _reset(each: socket.socket) -> None:
    """Close as a machine does that knows nothing of the connection."""
    with suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        each.close()


@contextmanager
def wire(port: int) -> Generator[Wire]:
    """Run a TCP proxy before a port of this computer."""
    proxy = Wire(port)
    try:
        yield proxy
    finally:
        proxy.close()


def closed_port() -> int:
    """Return a port that refuses connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Fault(NamedTuple):
    """What to do to a request.

    Attributes:
        then: A status to answer with; `drop`, `lose answer` and `mute` as with `Wire`;
            `truncate` breaks off in the middle of the server's answer, and `double` says it twice;
            `slow` waits two seconds;
            `running` says of every job that it is not done yet; `unconditional` passes the request
            on without its conditions.
        method: Method of the requests that are meant; empty for any.
        path: Regular expression that is searched in path and query.
        body: Regular expression that is searched in the request's body.
        reason: Google's word for the status, and Amazon's.
        times: How many requests to strike.
    """

    then: int | Cut | Literal["truncate", "double", "slow", "running", "unconditional"]
    method: str = ""
    path: str = ""
    body: str = ""
    reason: str = "backendError"
    times: int = 1_000_000


class Http(ThreadingHTTPServer):
    """An HTTP proxy before one server: it passes requests on until one of its faults strikes."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str) -> None:
        """Stand before the server at `upstream`, an address without a path."""
        super().__init__(("127.0.0.1", 0), _Handler)
        address = urlsplit(upstream)
        self.upstream = f"{address.hostname}:{address.port}"
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.seen: list[str] = []
        self.struck = 0
        self.unique_jobs = False
        """Refuse a job id that is taken, as BigQuery does; the local server runs it once more."""
        self.healed = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def fault(self, *faults: Fault) -> None:
        """Add faults."""
        with self._lock:
            self._faults += faults

    def heal(self) -> None:
        """Break nothing more, and end what hangs."""
        with self._lock:
            self._faults.clear()
        self.healed.set()
        self.healed = threading.Event()

    def strikes(self, method: str, path: str, body: bytes) -> Fault | None:
        """Return the fault for a request, and count it."""
        with self._lock:
            self.seen.append(f"{method} {path}")
            for number, each in enumerate(self._faults):
                meant = each.method in ("", method) and re.search(each.path, path)
                if meant and re.search(each.body.encode(), body):
                    self.struck += 1
                    if each.times > 1:
                        self._faults[number] = each._replace(times=each.times - 1)
                    else:
                        del self._faults[number]
                    return each
        return None

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that gives up is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass

    def _pass(self) -> None:
        proxy = cast("Http", self.server)
        body = self._body()
        fault = proxy.strikes(self.command, self.path, body)
        then = fault.then if fault else None
        if proxy.unique_jobs and then is None and self._job_is_taken(proxy, body):
            self._refuse(409, "duplicate")
            return
        if fault is not None and isinstance(then, int):
            self._refuse(then, fault.reason)
            return
        if then == "drop":
            _reset(self.connection)
            self.close_connection = True
            return
        if then == "mute":
            proxy.healed.wait(120)
            _reset(self.connection)
            self.close_connection = True
            return
        if then == "slow":
            threading.Event().wait(2)
        self._forward(proxy, body, then)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass  # noqa: N815 - the base's

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _job_is_taken(self, proxy: Http, body: bytes) -> bool:
        if self.command != "POST" or not body.startswith(b"{"):
            return False
        job = json.loads(body).get("jobReference", {})
        connection = HTTPConnection(proxy.upstream, timeout=120)
        try:
            place = f"projects/{job.get('projectId')}/jobs/{job.get('jobId')}"
            connection.request("GET", f"/bigquery/v2/{place}")
            return connection.getresponse().status == HTTPStatus.OK
        finally:
            connection.close()

    def _refuse(self, status: int, reason: str) -> None:
        said = f"said by the proxy: <Code>{reason}</Code>"
        error = {"reason": reason, "message": said, "domain": "global"}
        text = {"error": {"code": status, "message": said, "errors": [error]}}
        self._answer(status, [("Content-Type", "application/json")], json.dumps(text).encode())

    def _forward(self, proxy: Http, body: bytes, then: str | int | None) -> None:
        skipped = ("connection", "keep-alive", "transfer-encoding", "content-length")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
        path = self.path
        if then == "unconditional":
            headers = {k: v for k, v in headers.items() if k.lower() != "if-none-match"}
            path = re.sub("&?ifGenerationMatch=[0-9]+", "", path)
        connection = HTTPConnection(proxy.upstream, timeout=120)
        try:
            if body or self.command in ("POST", "PUT", "PATCH"):
                headers["Content-Length"] = str(len(body))
            connection.request(self.command, path, body or None, headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, HTTPException):
            _reset(self.connection)
            self.close_connection = True
            return
        finally:
            connection.close()
        if then == "lose answer":
            _reset(self.connection)
            self.close_connection = True
            return
        if "json" in (answer.getheader("Content-Type") or ""):
            # Addresses that a server gives to itself lead through the proxy too.
            data = data.replace(proxy.upstream.encode(), proxy.url[7:].encode())
        if then == "running":
            data = _as_running(data)
        if then == "double":
            data *= 2
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in skipped]
        if self.command == "HEAD":
            kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
        self._answer(answer.status, kept, data, cut=then == "truncate")

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool = False
    ) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{key}: {value}" for key, value in headers)]
        if self.command != "HEAD":
            lines.append(f"Content-Length: {len(data)}")
        with suppress(OSError):
            self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.wfile.flush()
        if cut:
            _end(self.connection)
            self.close_connection = True


def _as_running(data: bytes) -> bytes:
    """Make of a job that is done one that still runs, in whatever way the API tells of it."""
    answer = json.loads(data)
    if "status" in answer:
        answer["status"] = {"state": "RUNNING"}
    if "jobComplete" in answer:
        kept = {key: answer[key] for key in ("kind", "etag", "jobReference") if key in answer}
        answer = {**kept, "jobComplete": False}
    return json.dumps(answer).encode()


@contextmanager
def http(upstream: str) -> Generator[Http]:
    """Run an HTTP proxy before a server."""
    with Http(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.heal()
            proxy.shutdown()
            thread.join()
