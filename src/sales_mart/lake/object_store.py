"""Amazon S3, stores that speak its language, and Azure Blob Storage: prefixes, and their errors."""

from __future__ import annotations

import io
import os
import re
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from sales_mart.error_codes import kind_of_http
from sales_mart.errors import ConfigurationError, SalesMartError, TemporaryError
from sales_mart.extras import need
from sales_mart.lake.bucket import Bucket, StoredObject
from sales_mart.lake.cloud_settings import ENVIRONMENT, Settings, azure_settings, s3_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from obstore import ObjectMeta
    from obstore.store import AzureStore, S3Store

__all__ = ["ObjectStorePrefix"]

T = TypeVar("T")

RETRY_SECONDS = 60.0
"""How long a request may take, and how long it is repeated."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_CHUNK_BYTES = 8 << 20
_UPLOADS = 4
"""Pieces of a file that are uploaded at a time."""
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_WIRE = re.compile(r"HttpError \{\s*kind: (\w+)")
_MACHINE = ("latest/api/token", "latest/meta-data", "metadata/identity")
_TOKEN = ("TokenRequest", "AssumeRole", "token file", "169.254.170.", "POST REDACTED")
"""What is in the texts about asking for credentials: the machine that we run on, or a service."""
_PANIC = "pyo3_runtime"
"""Module of what the client raises where it breaks off, as over a key that no request may hold."""
_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted"})
"""What two requests about one object may be told that come at the same time."""
_OTHER_REGION = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect"})
_SET_REGION = "Set AWS_REGION to the region of the bucket."
_NOT_FOUND = 404


class _Cloud(NamedTuple):
    """What one kind of store has of its own."""

    service: str
    extra: str
    settings: Callable[[], Settings]


_CLOUDS = {
    "s3": _Cloud("S3", "s3", s3_settings),
    "az": _Cloud("Azure Blob Storage", "azure", azure_settings),
}


class ObjectStorePrefix(Bucket):
    """A prefix of a bucket on S3, or of a container on Azure."""

    def __init__(self, uri: str) -> None:
        """Take an `s3://bucket/prefix` or `az://container/prefix` address.

        Raises:
            ConfigurationError: It names no bucket, or something is missing to ask for it.
        """
        super().__init__(uri)
        self._cloud = _CLOUDS[self._scheme]
        self.service = self._cloud.service
        need(self._cloud.extra, "obstore")
        self._settings = self._cloud.settings()
        said = ((name, os.environ[name]) for name in os.environ if name.startswith(ENVIRONMENT))
        with self._errors(uri):
            self._store = _opened(
                self._scheme,
                self._bucket_name,
                frozenset({**self._settings.options, **dict(said)}.items()),
                RETRY_SECONDS,
            )

    def read(self, name: str) -> bytes:
        """Download a file whole."""
        return self._asked(name, lambda: bytes(self._store.get(self._key(name)).bytes()))

    def objects(self, prefix: str = "", *, direct: bool = False) -> list[StoredObject]:
        """List the objects whose names start with `prefix`."""
        found = self._asked("", lambda: self._listed(self._key(prefix), direct=direct))
        # An empty object that stands for a folder is listed without the slash of its name.
        folders = {path[:end] for path in found for end in _slashes(path)}
        skip = len(self._key(""))
        return [
            StoredObject(
                path[skip:],
                meta["size"],
                _version(meta),
                meta["last_modified"].timestamp(),
            )
            for path, meta in found.items()
            if meta["size"] or path not in folders
        ]

    def is_folder(self, stored: StoredObject) -> bool:
        """Tell whether an object only stands for a folder."""
        # It was listed without the slash of its name, and without it there is nothing.
        try:
            if not stored.size:
                self._asked(stored.name, lambda: self._store.head(self._key(stored.name)))
        except FileNotFoundError:
            return True
        return False

    @contextmanager
    def open(self, name: str, version: str) -> Generator[IO[bytes]]:
        """Open one version of an object as a stream."""
        yield cast("IO[bytes]", self._stream(name, version))

    def now(self) -> float:
        """Return what time it is at the server."""
        # Any answer has it, a refusal too.
        asking = urllib.request.Request(self._settings.endpoint, method="HEAD")  # noqa: S310 - configured
        try:
            with urllib.request.urlopen(asking, timeout=RETRY_SECONDS) as answer:  # noqa: S310
                said = answer.headers
        except urllib.error.HTTPError as error:
            said = error.headers
        except OSError as error:
            raise self._away(self.uri, type(error).__name__) from error
        return self._time(said.get("Date"))

    def _stream(self, name: str, version: str | None = None) -> _Stream:
        key, uri = self._key(name), f"{self.uri}/{name}"
        meta = self._asked(name, lambda: self._store.head(key))
        if version not in (None, _version(meta)):
            raise FileNotFoundError(name)
        # All pieces are of one version.
        wanted: dict[str, Any] = {"if_match": meta["e_tag"]} if meta["e_tag"] else {}

        def piece(start: int, end: int) -> memoryview:
            options: Any = {**wanted, "range": (start, end)}

            def get() -> memoryview:
                found = memoryview(self._store.get(key, options=options).bytes())
                if len(found) != end - start:
                    raise self._away(uri, "an answer of another length")
                return found

            return self._asked(name, get)

        return _Stream(piece, meta["size"])

    def _upload(self, name: str, data: bytes, *, create: bool) -> None:
        key, mode = self._key(name), "create" if create else "overwrite"
        self._asked(name, lambda: self._store.put(key, data, mode=mode, use_multipart=False))

    def _upload_file(self, name: str, path: Path) -> None:
        # What goes up in pieces is seen when the last one is there, and then whole.
        key = self._key(name)
        pieces: Any = {"chunk_size": _CHUNK_BYTES, "max_concurrency": _UPLOADS}
        self._asked(name, lambda: self._store.put(key, path, **pieces))

    def _download(self, name: str, path: Path) -> None:
        source = self._stream(name)
        with path.open("wb") as file:
            while data := source.read(_CHUNK_BYTES):
                file.write(data)

    def _delete(self, name: str) -> None:
        self._asked(name, lambda: self._store.delete(self._key(name)))

    def _listed(self, key: str, *, direct: bool) -> dict[str, ObjectMeta]:
        """List what begins with a key. The store itself looks for whole names of folders only."""
        folder, _, start = key.rpartition("/")
        if not start and not direct:
            return dict(self._below(folder))
        level = self._store.list_with_delimiter(folder or None)
        found = {each["path"]: each for each in level["objects"] if each["path"].startswith(key)}
        if not direct:
            for each in level["common_prefixes"]:
                found |= dict(self._below(each) if each.startswith(key) else ())
        return found

    def _below(self, folder: str) -> Iterator[tuple[str, ObjectMeta]]:
        for chunk in self._store.list(folder or None):
            for each in chunk:
                yield each["path"], each

    def _asked(self, name: str, ask: Callable[[], T]) -> T:
        """Ask, and again while the answer may be another one: the client does so for some only."""
        until, pause = time.monotonic() + RETRY_SECONDS, _FIRST_PAUSE
        while True:
            try:
                with self._errors(f"{self.uri}/{name}".rstrip("/")):
                    return ask()
            except TemporaryError:
                if time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    @contextmanager
    def _errors(self, uri: str) -> Generator[None]:
        from obstore import exceptions as client

        try:
            yield
        except (client.BaseError, FileNotFoundError, ValueError) as error:
            # Its text stays out of ours, and out of what is logged: addresses hold signatures.
            raise self._meant(uri, error) from None
        except BaseException as error:
            if type(error).__module__ != _PANIC:
                raise
            raise self._unusable(uri) from None

    def _meant(self, uri: str, error: Exception) -> Exception:
        """Return what an error of the client means."""
        from obstore import exceptions as client

        text = str(error)
        status = int(found[1]) if (found := _STATUS.search(text)) else 0
        code = found[1] if (found := _CODE.search(text)) else ""
        said = f"HTTP {status}" + (f" ({code})" if code else "")
        wire = None if status or "builder error" in text else _WIRE.search(text)
        if (status and kind_of_http(status, "") is TemporaryError) or code in _CONFLICTS:
            return self._away(uri, said)
        if isinstance(
            error, (FileNotFoundError, client.PreconditionError, client.AlreadyExistsError)
        ):
            exists = isinstance(error, client.AlreadyExistsError)
            return FileExistsError(uri) if exists else FileNotFoundError(uri)
        if any(each in text for each in (*_MACHINE, *(() if wire else _TOKEN))):
            return self._refusal(uri, "no usable credentials", self._settings.remedy)
        if code in _OTHER_REGION or "Received redirect" in text:
            return self._refusal(uri, "the bucket is in another region", _SET_REGION)
        if not status:
            return self._unanswered(uri, error, wire)
        return FileNotFoundError(uri) if status == _NOT_FOUND else self._refusal(uri, said)

    def _unanswered(self, uri: str, error: Exception, wire: re.Match[str] | None) -> SalesMartError:
        """Return the error where the client tells of no status."""
        from obstore.exceptions import InvalidPathError

        if wire is not None:
            return self._away(uri, wire[1])
        if isinstance(error, (InvalidPathError, ValueError)):
            return self._refusal(
                uri,
                "a name or an address is not valid",
                "Name a place where no object has an empty part, `.`, `..` or a control character "
                "in its name.",
            )
        return self._unusable(uri)

    def _unusable(self, uri: str) -> ConfigurationError:
        """Return the error where the client can't ask, or doesn't understand the answer."""
        variables = " or ".join(ENVIRONMENT)
        return ConfigurationError(
            f"{uri}: the client can make no request with these settings, or was answered by "
            f"something else than {self.service}",
            remedy=f"Check the variables that begin with {variables}. {self._settings.remedy}",
        )


class _Stream(io.RawIOBase):
    """An object as a stream, read piece by piece."""

    def __init__(self, piece: Callable[[int, int], memoryview], size: int) -> None:
        self._piece = piece
        self._size = size
        self._next = 0
        self._data = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._next - len(self._data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}
        self._next = starts[whence] + offset
        self._data = memoryview(b"")
        return self._next

    def readinto(self, buffer: memoryview | bytearray) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self._data and self._next < self._size:
            end = min(self._next + _CHUNK_BYTES, self._size)
            self._data = self._piece(self._next, end)
            self._next = end
        data = self._data[: len(buffer)]
        buffer[: len(data)] = data
        self._data = self._data[len(data) :]
        return len(data)


def _version(meta: ObjectMeta) -> str:
    return f"etag:{(meta['e_tag'] or '').strip(chr(34))}"


def _slashes(path: str) -> Iterator[int]:
    return (place for place, letter in enumerate(path) if letter == "/")


@cache
def _opened(
    scheme: str, bucket: str, settings: frozenset[tuple[str, str]], seconds: float
) -> S3Store | AzureStore:
    """Open a bucket once for the settings of now."""
    from obstore.store import AzureStore, S3Store

    options = {name: value for name, value in settings if not name.startswith(ENVIRONMENT)}
    limit = timedelta(seconds=seconds)
    kind: Any = S3Store if scheme == "s3" else AzureStore
    return kind(
        bucket,
        config=options,
        client_options={
            "allow_http": options.get("endpoint", "").startswith("http://"),
            "timeout": limit,
        },
        retry_config={
            "max_retries": 1_000,
            "retry_timeout": limit,
            "backoff": {
                "init_backoff": timedelta(seconds=_FIRST_PAUSE),
                "max_backoff": timedelta(seconds=_LONGEST_PAUSE),
                "base": 2,
            },
        },
    )
