"""Google Cloud Storage: a prefix of a bucket as a place for files, and the client's errors."""

from __future__ import annotations

import os
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sales_mart.error_codes import kind_of_http
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.extras import need
from sales_mart.lake.disk import disk_errors, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from google.cloud.storage import Bucket, Client

__all__ = ["GcsPrefix", "gcs_client", "gcs_errors", "gcs_time", "patience", "split_gs"]

RETRY_SECONDS = 60.0
"""How long a request to Google Cloud Storage may take, and how long it is repeated."""
_EXTRA = ("gcs", "google.cloud.storage")


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
    """Return how long a request to Google Cloud Storage may take and be repeated."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(RETRY_SECONDS), "timeout": RETRY_SECONDS}


def gcs_client() -> Client:
    """Return this process's client, with the default credentials, or none for an emulator.

    Raises:
        ConfigurationError: There are no credentials.
    """
    # A client holds connections, which a forked process must not talk over.
    names = ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS")
    return _client(os.getpid(), *(os.environ.get(name) for name in names))


def gcs_time(uri: str) -> float:
    """Return what time it is at the server that stamps objects, in seconds since 1970.

    Raises:
        TemporaryError: The server does not answer, or does not tell the time.
    """
    client = gcs_client()
    with gcs_errors(uri):
        import requests

        # Any answer has it, a refusal too.
        answer = requests.head(client.api_endpoint, timeout=RETRY_SECONDS, allow_redirects=False)
    said = answer.headers.get("Date")
    if said is None:
        msg = f"{uri}: Google Cloud Storage did not tell the time"
        raise TemporaryError(msg, remedy="Run the same command again.")
    return parsedate_to_datetime(said).timestamp()


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
