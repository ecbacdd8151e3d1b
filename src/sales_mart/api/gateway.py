"""What every request passes first: keys and limits, then an answer that is kept, if there is one.

It speaks ASGI, and no framework: an answer that many want costs little more than its bytes.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from sales_mart.api.answers import SECURITY
from sales_mart.api.metrics import OTHER
from sales_mart.api.problems import PROBLEM, ProblemError, problem_body

if TYPE_CHECKING:
    from sales_mart.api.answers import Answer
    from sales_mart.api.keys import Keys
    from sales_mart.api.limits import Rate
    from sales_mart.api.metrics import Metrics
    from sales_mart.api.publications import Publications

__all__ = ["ANSWER", "OPEN_PATHS", "Gateway", "is_loopback"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)

ANSWER = "sales_mart.answer"
"""Where a route leaves its answer in the scope."""
OPEN_PATHS = frozenset({"/health", "/health/live", "/health/ready"})
"""What needs no key: whoever starts and stops the process has none."""
NOBODY = "-"
_MOST_AT_ONCE = 1_000
_MOST_PREPARED = 2_000
_NAMES = frozenset({b"accept", b"accept-encoding", b"authorization", b"host", b"if-none-match"})
_PORT = re.compile(r":\d*$")
_NOT_KEPT = (b"cache-control", b"no-store")


class _Request:
    """One request, and what became of it."""

    __slots__ = ("began", "client", "given", "path", "scope", "size", "status", "template")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.began = time.perf_counter()
        self.given = {name: value for name, value in scope["headers"] if name in _NAMES}
        self.path: str = scope["path"]
        self.template = OTHER
        self.client = NOBODY
        self.status = 0
        self.size = 0

    def header(self, name: bytes) -> str:
        return self.given.get(name, b"").decode("latin-1")

    @property
    def is_head(self) -> bool:
        return self.scope["method"] == "HEAD"

    @property
    def takes_gzip(self) -> bool:
        return b"gzip" in self.given.get(b"accept-encoding", b"")


class Gateway:
    """The API as an application of ASGI."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        app: App,
        publications: Publications,
        metrics: Metrics,
        rate: Rate,
        keys: Keys | None,
        seconds: int,
    ) -> None:
        """Take what is behind it; without keys it is for this computer."""
        self._app = app
        self._publications = publications
        self._metrics = metrics
        self._rate = rate
        self._keys = keys
        self._fresh = (b"cache-control", f"private, max-age={seconds}".encode())
        self._at_once = 0
        self._of = ""
        self._prepared: dict[tuple[Any, ...], tuple[str, Answer]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request = _Request(scope)
        self._at_once += 1
        try:
            await self._answer(request, receive, send)
        finally:
            self._at_once -= 1
            seconds = time.perf_counter() - request.began
            self._metrics.count(request.template, request.status, seconds)
            _log.info(
                "%s %s %d",
                scope["method"] if request.status != HTTPStatus.METHOD_NOT_ALLOWED else OTHER,
                request.template,
                request.status,
                extra={
                    "client": request.client,
                    "bytes": request.size,
                    "milliseconds": round(seconds * 1000, 3),
                },
            )

    async def _answer(self, request: _Request, receive: Receive, send: Send) -> None:
        scope = request.scope
        try:
            self._admit(request)
            key = (
                request.path,
                scope["query_string"],
                request.given.get(b"accept"),
                request.is_head or scope["method"] == "GET",
            )
            found = self._find(key)
            if found is None:
                await self._pass_on(request, receive, send)
                left: Answer | ProblemError | None = scope.get(ANSWER)
                if left is None:
                    return
                if isinstance(left, ProblemError):
                    raise left
                answer = left
                self._prepare(key, request.template, answer)
            else:
                request.template, answer = found
            await self._send(request, answer, send)
        except ProblemError as problem:
            await self._refuse(request, problem, send)

    def _admit(self, request: _Request) -> None:
        """See who asks, and whether that is not too often.

        Raises:
            ProblemError: It is nobody who may, or too often.
        """
        if request.path in OPEN_PATHS:
            return
        if self._at_once > _MOST_AT_ONCE:
            raise ProblemError(503, "Too many requests at once. Ask again.", retry_after=1)
        if self._keys is None:
            # A page of somebody else's, whose name was made to lead here, is kept out.
            if not is_loopback(_PORT.sub("", request.header(b"host"))):
                raise ProblemError(403, "Without keys, only this computer is answered.")
        else:
            client = self._keys.name_of(_key_of(request.header(b"authorization")))
            if client is None:
                raise ProblemError(
                    401,
                    "Send a key that is known: Authorization: Bearer KEY, or as the password of "
                    "any user.",
                    headers={"WWW-Authenticate": 'Bearer, Basic realm="sales_mart"'},
                )
            request.client = client
        if wait := self._rate.wait(request.client):
            raise ProblemError(429, "Too many requests with this key.", retry_after=wait)

    def _find(self, key: tuple[Any, ...]) -> tuple[str, Answer] | None:
        """Return the answer to the very same request, of what is shown now."""
        shown = self._publications.known()
        if shown is None:
            return None
        if shown.identity != self._of:
            self._prepared.clear()
            self._of = shown.identity
        return self._prepared.get(key)

    def _prepare(self, key: tuple[Any, ...], template: str, answer: Answer) -> None:
        # An answer may be of a publication that came, or went, while it was made.
        if answer.etag.startswith(f"{self._of}-"):
            if len(self._prepared) >= _MOST_PREPARED:
                del self._prepared[next(iter(self._prepared))]
            self._prepared[key] = template, answer

    async def _pass_on(self, request: _Request, receive: Receive, send: Send) -> None:
        """Let the routes answer, or leave an answer in the scope."""
        scope, is_head = request.scope, request.is_head
        if is_head:
            scope["method"] = "GET"

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                given = [each for each in message["headers"] if each[0] != b"cache-control"]
                message["headers"] = [*given, *SECURITY, _NOT_KEPT]
            else:
                request.size += len(message.get("body", b""))
                if is_head:
                    message["body"] = b""
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:  # what is unexpected comes here as well
            _log.error("unexpected %s", type(error).__name__, exc_info=error)
            if not isinstance(scope.get(ANSWER), ProblemError):
                raise
        finally:
            if is_head:
                scope["method"] = "HEAD"
            request.template = getattr(scope.get("route"), "path", OTHER)

    async def _send(self, request: _Request, answer: Answer, send: Send) -> None:
        body, tag = answer.body, answer.etag
        headers: Headers = [*answer.headers]
        if answer.packed is not None and request.takes_gzip:
            body, tag = answer.packed, f"{tag}-gzip"
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"etag", f'"{tag}"'.encode()))
        if self._publications.is_away:
            age = int(self._publications.age)
            headers += [
                (b"age", str(age).encode()),
                (b"cache-control", b"private, no-cache"),
                (b"warning", b'111 - "Revalidation Failed"'),
            ]
        else:
            headers.append(self._fresh)
        request.status, request.size = 200, len(body)
        if _matches(request.header(b"if-none-match"), tag):
            request.status, request.size, body = 304, 0, b""
            headers = [each for each in headers if not each[0].startswith(b"content-")]
        else:
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": request.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if request.is_head else body})

    async def _refuse(self, request: _Request, problem: ProblemError, send: Send) -> None:
        body = problem_body(problem)
        request.status, request.size = problem.status, len(body)
        given = {"Content-Type": PROBLEM, "Content-Length": str(len(body)), **problem.headers}
        headers: Headers = [
            (name.lower().encode(), value.encode()) for name, value in given.items()
        ]
        await send(
            {
                "type": "http.response.start",
                "status": problem.status,
                "headers": [*headers, *SECURITY, _NOT_KEPT],
            }
        )
        await send({"type": "http.response.body", "body": b"" if request.is_head else body})


def _key_of(given: str) -> str:
    """Return the key that a request has: browsers ask people for a user and a password."""
    scheme, _, credentials = given.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def _matches(given: str, tag: str) -> bool:
    """Return whether a client has the answer already."""
    if not given:
        return False
    listed = (each.strip().removeprefix("W/") for each in given.split(","))
    return any(each in ("*", f'"{tag}"') for each in listed)


def is_loopback(host: str) -> bool:
    """Return whether a name or an address, without a port, leads to this computer only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
