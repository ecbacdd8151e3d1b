"""A prefix of a bucket as a place for files: what the stores of objects have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import IO, TYPE_CHECKING, NamedTuple

from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.lake.disk import disk_errors, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["Bucket", "StoredObject", "split_address"]

AGAIN = "Run the same command again."
CHECK = "Check the address, and that the account may read and write objects there."
_ADDRESS = re.compile(r"([a-z][a-z0-9]*)://([^/]*)/?(.*)", re.DOTALL)


class StoredObject(NamedTuple):
    """An object as the store lists it.

    Attributes:
        name: What it is called below the prefix.
        size: Its bytes.
        version: What tells its content from others, as the digest of a source object.
        modified: When it was written, in seconds since 1970, by the store's clock.
    """

    name: str
    size: int
    version: str
    modified: float


class Bucket(ABC):
    """A prefix of a bucket.

    A process that is forked from one that has used a bucket uses none.
    """

    service: str
    """What messages call the store."""

    def __init__(self, uri: str) -> None:
        """Take an address such as `gs://bucket/prefix`."""
        self._scheme, self._bucket_name, key = split_address(uri)
        self._prefix = key.strip("/")

    @property
    def uri(self) -> str:
        """The address, without a slash at the end."""
        return f"{self._scheme}://{self._bucket_name}/{self._prefix}".rstrip("/")

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Download a file whole.

        Raises:
            FileNotFoundError: There is no such file.
        """

    def write(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Upload in one request; with `create` only if there is no such object."""
        with self._uploading(name, create=create):
            self._upload(name, data, create=create)

    def put(self, name: str, path: Path) -> None:
        """Upload a local file, then remove it."""
        with self._uploading(name):
            self._upload_file(name, path)
        path.unlink()

    @contextmanager
    def local(self, name: str) -> Generator[Path]:
        """Download to a temporary file, which goes with the context."""
        with temporary_folder("sales-mart-part") as folder:
            path = folder / name.rpartition("/")[2]
            with disk_errors(path):
                self._download(name, path)
            yield path

    def names(self, prefix: str = "") -> list[str]:
        """List the objects whose names start with `prefix`, in code-point order."""
        return sorted(each.name for each in self.objects(prefix))

    def delete(self, name: str) -> None:
        """Delete an object; one that is gone already is fine."""
        with suppress(FileNotFoundError):
            self._delete(name)

    @abstractmethod
    def objects(self, prefix: str = "", *, direct: bool = False) -> list[StoredObject]:
        """List the objects whose names start with `prefix`.

        Args:
            prefix: The start; empty, or the name of a folder with a slash, with `direct`.
            direct: Leave out what lies in folders below.

        Raises:
            FileNotFoundError: There is no bucket.
        """

    def is_folder(self, stored: StoredObject) -> bool:
        """Tell whether an object is no file, but stands for a folder, as consoles make them."""
        return stored.name.endswith("/")

    @abstractmethod
    def open(self, name: str, version: str) -> AbstractContextManager[IO[bytes]]:
        """Open one version of an object as a stream, which holds a few megabytes at a time.

        Raises:
            FileNotFoundError: There is no such version any more.
        """

    @abstractmethod
    def now(self) -> float:
        """Return what time it is at the store, which stamps objects, in seconds since 1970.

        Raises:
            TemporaryError: The store does not answer, or does not tell the time.
        """

    @abstractmethod
    def _upload(self, name: str, data: bytes, *, create: bool) -> None: ...

    @abstractmethod
    def _upload_file(self, name: str, path: Path) -> None: ...

    @abstractmethod
    def _download(self, name: str, path: Path) -> None: ...

    @abstractmethod
    def _delete(self, name: str) -> None: ...

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    @contextmanager
    def _uploading(self, name: str, *, create: bool = False) -> Generator[None]:
        """Who writes and hears of something missing has no bucket; who replaces may not."""
        try:
            yield
        except FileExistsError as error:
            if create:
                raise
            uri = f"{self.uri}/{name}"
            raise self._refusal(uri, "the object may not be replaced") from error
        except FileNotFoundError as error:
            bucket = self._bucket_name
            msg = f"{self.uri}/{name} could not be written: there is no bucket {bucket}"
            raise ConfigurationError(
                msg, remedy="Create the bucket, or name another one."
            ) from error

    def _away(self, uri: str, said: str) -> TemporaryError:
        """Return the error for a store that does not answer now."""
        return TemporaryError(f"{uri}: {self.service} did not answer: {said}", remedy=AGAIN)

    def _refusal(self, uri: str, said: str, remedy: str = CHECK) -> ConfigurationError:
        """Return the error for a store that will answer the same the next time."""
        return ConfigurationError(f"{uri}: {self.service} refused: {said}", remedy=remedy)

    def _time(self, said: str | None) -> float:
        """Return the time of an answer's `Date`."""
        if said is None:
            msg = f"{self.uri}: {self.service} did not tell the time"
            raise TemporaryError(msg, remedy=AGAIN)
        return parsedate_to_datetime(said).timestamp()


def split_address(uri: str) -> tuple[str, str, str]:
    """Split `gs://bucket/key` into scheme, bucket and key.

    Raises:
        ConfigurationError: The address names no bucket.
    """
    found = _ADDRESS.fullmatch(uri)
    if found is None or not found[2]:
        msg = f"{uri!r} names no bucket"
        scheme = uri.partition("://")[0]
        raise ConfigurationError(msg, remedy=f"Write it as {scheme}://bucket/prefix.")
    return found[1], found[2], found[3]
