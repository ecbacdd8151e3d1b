"""Folders and `gs://` prefixes behind one small interface with atomic writes."""

from __future__ import annotations

import errno
import os
import re
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from sales_mart.error_codes import kind_of_http
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.extras import need
from sales_mart.lake.temporary import (
    SUFFIX,
    make_folder,
    place_for_temporary_files,
    scratch_folder,
    sync,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from google.cloud.storage import Bucket, Client

__all__ = [
    "Folder",
    "GcsPrefix",
    "Storage",
    "disk_errors",
    "gcs_client",
    "gcs_errors",
    "is_gcs",
    "open_storage",
    "patience",
    "scratch_in",
    "split_gs",
    "temporary_folder",
]


RETRY_SECONDS = 60.0
"""How long a request to Google Cloud Storage may take, and how long it is repeated."""
_EXTRA = ("gcs", "google.cloud.storage")
_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
# What a network's or a failing disk says, and may not say the next time.
_PASSING = frozenset({errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})


class Storage(Protocol):
    """A place with named files: names are relative, with `/` between their parts."""

    @property
    def uri(self) -> str:
        """Absolute path or gs:// address, without a slash at the end."""
        ...

    def read(self, name: str) -> bytes:
        """Read a file whole.

        Raises:
            FileNotFoundError: There is no such file.
        """
        ...

    def write(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Write a file whole: a reader sees the old one or the new one, never a part.

        Raises:
            FileExistsError: `create` is set and the file exists already.
        """
        ...

    def put(self, name: str, path: Path) -> None:
        """Move a finished local file here; as atomic as `write`."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Give the file as a local path while the context lasts.

        Raises:
            FileNotFoundError: There is no such file.
        """
        ...

    def names(self, prefix: str = "") -> list[str]:
        """List the files whose names start with `prefix`, in code-point order."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file; one that is gone already is fine."""
        ...


class Folder:
    """A folder of a file system; it comes into being with its first file."""

    def __init__(self, path: Path) -> None:
        """Take the folder's path, which need not exist yet."""
        self._path = path.absolute()

    @property
    def uri(self) -> str:
        """Absolute path."""
        return str(self._path)

    def read(self, name: str) -> bytes:
        """Read a file whole."""
        path = self._path / name
        with disk_errors(path, "read"):
            return path.read_bytes()

    def write(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Write beside the target, flush to the disk, then rename, and flush the folder."""
        target = self._path / name
        with disk_errors(target), scratch_folder(target.parent, f".{target.name}") as folder:
            temporary = folder / target.name
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if create:
                os.link(temporary, target)
            else:
                temporary.replace(target)
            sync(target.parent)

    def put(self, name: str, path: Path) -> None:
        """Flush and rename within the file system; copy, then rename, from another one."""
        target = self._path / name
        with disk_errors(target):
            make_folder(target.parent)
            sync(path)
            try:
                path.replace(target)
            except OSError:
                if path.parent == target.parent:
                    raise
                self.write(name, path.read_bytes())
                path.unlink()
            else:
                sync(target.parent)

    @contextmanager
    def local(self, name: str) -> Generator[Path]:
        """Give the file's own path: nothing is copied."""
        path = self._path / name
        with disk_errors(path, "read"):
            there = path.is_file()
        if not there:
            raise FileNotFoundError(str(path))
        yield path

    def names(self, prefix: str = "") -> list[str]:
        """List the files below the folder."""
        start = self._path / prefix.rpartition("/")[0]
        with disk_errors(start, "read"):
            found = [path.relative_to(self._path) for path in start.rglob("*") if path.is_file()]
        finished = (
            path.as_posix() for path in found if not any(p.endswith(SUFFIX) for p in path.parts)
        )
        return sorted(name for name in finished if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Delete a file."""
        path = self._path / name
        with disk_errors(path, "deleted"):
            # Whether there is one is asked first: a read-only disk refuses either.
            if path.exists():
                path.unlink(missing_ok=True)
                # A record that came back would vouch for what is no longer so.
                sync(path.parent)


class GcsPrefix:
    """A prefix of a Google Cloud Storage bucket."""

    def __init__(self, uri: str) -> None:
        """Take a `gs://bucket/prefix` address."""
        bucket, prefix = split_gs(uri)
        self._bucket: Bucket = gcs_client().bucket(bucket)
        self._prefix = prefix.strip("/")

    @property
    def uri(self) -> str:
        """The gs:// address."""
        return f"gs://{self._bucket.name}/{self._prefix}".rstrip("/")

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def read(self, name: str) -> bytes:
        """Download a file whole."""
        with gcs_errors(f"{self.uri}/{name}"):
            return self._bucket.blob(self._key(name)).download_as_bytes(**patience())

    def write(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Upload in one request; `create` is a generation precondition."""
        with self._uploading(name):
            self._bucket.blob(self._key(name)).upload_from_string(
                data,
                content_type="application/octet-stream",
                if_generation_match=0 if create else None,
                **patience(),
            )

    def put(self, name: str, path: Path) -> None:
        """Upload a local file, then remove it."""
        with self._uploading(name):
            self._bucket.blob(self._key(name)).upload_from_filename(
                str(path), content_type="application/octet-stream", **patience()
            )
        path.unlink()

    @contextmanager
    def _uploading(self, name: str) -> Generator[None]:
        """Who writes and hears of something missing has no bucket."""
        try:
            with gcs_errors(f"{self.uri}/{name}"):
                yield
        except FileNotFoundError as error:
            msg = f"{self.uri}/{name} could not be written: there is no bucket {self._bucket.name}"
            raise ConfigurationError(
                msg, remedy="Create the bucket, or name another one."
            ) from error

    @contextmanager
    def local(self, name: str) -> Generator[Path]:
        """Download to a temporary file, which goes with the context."""
        with temporary_folder("sales-mart-part") as folder:
            path = folder / name.rpartition("/")[2]
            with disk_errors(path), gcs_errors(f"{self.uri}/{name}"):
                self._bucket.blob(self._key(name)).download_to_filename(str(path), **patience())
            yield path

    def names(self, prefix: str = "") -> list[str]:
        """List the objects under the prefix."""
        with gcs_errors(self.uri):
            blobs = list(self._bucket.list_blobs(prefix=self._key(prefix), **patience()))
        skip = len(self._key(""))
        return sorted(cast("str", blob.name)[skip:] for blob in blobs)

    def delete(self, name: str) -> None:
        """Delete an object."""
        try:
            with gcs_errors(f"{self.uri}/{name}"):
                self._bucket.blob(self._key(name)).delete(**patience())
        except FileNotFoundError:
            return


def open_storage(uri: str) -> Storage:
    """Open a folder or a `gs://` prefix.

    Raises:
        ConfigurationError: It is neither.
    """
    if is_gcs(uri):
        return GcsPrefix(uri)
    try:
        return Folder(Path(uri).expanduser())
    except RuntimeError as error:
        msg = f"{uri!r} names the home of a user who has none"
        raise ConfigurationError(msg, remedy="Write the folder's path in full.") from error


def is_gcs(place: str) -> bool:
    """Tell whether a place is a `gs://` address; if it is not, it is a path.

    Raises:
        ConfigurationError: It is empty, or an address of another kind, which would pass for a path.
    """
    if place.startswith("gs://"):
        return True
    remedy = "Write it as a path, or as gs://bucket/prefix with a small gs."
    if not place.strip():
        msg = "an empty text is given where a path or a gs:// address must be"
        raise ConfigurationError(msg, remedy=remedy)
    if _SCHEME.match(place):
        # It is not repeated: there may be a password in it.
        msg = "an address is given that is neither a path nor one of gs://"
        raise ConfigurationError(msg, remedy=remedy)
    return False


def split_gs(uri: str) -> tuple[str, str]:
    """Split `gs://bucket/key` into bucket and key.

    Raises:
        ConfigurationError: The address names no bucket.
    """
    bucket, _, key = uri.removeprefix("gs://").partition("/")
    if not bucket:
        msg = f"{uri!r} names no bucket"
        raise ConfigurationError(msg, remedy="Write it as gs://bucket/prefix.")
    return bucket, key


def patience() -> dict[str, Any]:
    """Give how long a request to Google Cloud Storage may take and be repeated."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(RETRY_SECONDS), "timeout": RETRY_SECONDS}


def gcs_client() -> Client:
    """Give this process's client, with the default credentials, or none for an emulator.

    Raises:
        ConfigurationError: There are no credentials.
    """
    # A client holds connections, which a forked process must not talk over.
    names = ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS")
    return _client(os.getpid(), *(os.environ.get(name) for name in names))


@cache
def _client(_process: int, emulator: str | None, _credentials: str | None) -> Client:
    need(*_EXTRA)
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage

    if emulator:
        return storage.Client(project="local", credentials=AnonymousCredentials())
    try:
        # Objects are of buckets, not of a project, and some credentials name none.
        return storage.Client(project=None)
    except (DefaultCredentialsError, OSError, ValueError) as error:
        msg = f"no usable Google credentials for gs:// addresses: {type(error).__name__}"
        raise ConfigurationError(
            msg,
            remedy="Run `gcloud auth application-default login`, or name a service account file "
            "in GOOGLE_APPLICATION_CREDENTIALS.",
        ) from error


@contextmanager
def gcs_errors(uri: str) -> Generator[None]:
    """Turn the client's errors about `uri` into ours, or into the built-in file errors."""
    need(*_EXTRA)
    import requests
    import urllib3
    from google.api_core import exceptions as api
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    # A download that breaks off shows in any of three libraries.
    broken = (requests.RequestException, urllib3.exceptions.HTTPError, DataCorruption)
    try:
        yield
    except api.NotFound as error:
        raise FileNotFoundError(uri) from error
    except api.PreconditionFailed as error:
        raise FileExistsError(uri) from error
    except (api.GoogleAPIError, GoogleAuthError, InvalidResponse, *broken) as error:
        cause: Any = getattr(error, "cause", None) or error  # of a RetryError
        status = int(getattr(cause, "code", None) or _status(cause))
        said = f"HTTP {status}" if status else type(cause).__name__
        away = isinstance(cause, (*broken, TransportError, ConnectionError))
        if away or kind_of_http(status, _reason(cause)) is TemporaryError:
            msg = f"{uri}: Google Cloud Storage did not answer: {said}"
            raise TemporaryError(msg, remedy="Run the same command again.") from error
        msg = f"{uri}: Google Cloud Storage refused: {said}"
        raise ConfigurationError(
            msg, remedy="Check the address, and that the account may read and write objects there."
        ) from error


def _status(error: Any) -> int:
    return getattr(getattr(error, "response", None), "status_code", 0)


def _reason(error: Any) -> str:
    reasons = (str(item.get("reason", "")) for item in getattr(error, "errors", None) or ())
    return next(reasons, "")


@contextmanager
def disk_errors(path: Path, what: str = "written") -> Generator[None]:
    """Turn a file system's errors about `path` into ours; `what` is what it could not be."""
    try:
        yield
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        msg = f"{path} could not be {what}: {error.strerror}"
        if error.errno in _PASSING:
            raise TemporaryError(msg, remedy="Run the same command again.") from error
        if error.errno == errno.ENOTDIR:
            remedy = "Name another folder: a file stands in the place of this one."
        elif what == "read":
            remedy = "Let this user read the file, then run the same command again."
        else:
            remedy = "Make room, or make the folder writable, then run the same command again."
        raise ConfigurationError(msg, remedy=remedy) from error


@contextmanager
def temporary_folder(name: str) -> Generator[Path]:
    """Give an empty folder where temporary files go; it goes with the context or the next attempt.

    Raises:
        ConfigurationError: There is no room for it.
    """
    with scratch_in(place_for_temporary_files(), name) as folder:
        yield folder


@contextmanager
def scratch_in(parent: Path, name: str) -> Generator[Path]:
    """Give an empty folder in `parent`; it goes with the context or the next attempt.

    Raises:
        ConfigurationError: It cannot be made.
    """
    with ExitStack() as stack:
        with disk_errors(parent):
            folder = stack.enter_context(scratch_folder(parent, name))
        yield folder
