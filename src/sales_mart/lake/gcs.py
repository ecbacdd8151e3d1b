"""Google Cloud Storage: a prefix of a bucket as a place for files, and the client's errors."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cache
from typing import IO, TYPE_CHECKING, Any, cast

from sales_mart.error_codes import kind_of_http
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.extras import need
from sales_mart.lake.bucket import Bucket, StoredObject

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from google.cloud.storage import Bucket as GoogleBucket
    from google.cloud.storage import Client

__all__ = ["GcsPrefix", "gcs_client"]

RETRY_SECONDS = 60.0
"""How long a request to Google Cloud Storage may take, and how long it is repeated."""
_EXTRA = ("gcs", "google.cloud.storage")
_CHUNK_BYTES = 8 << 20
_KIND = "application/octet-stream"


class GcsPrefix(Bucket):
    """A prefix of a Google Cloud Storage bucket."""

    service = "Google Cloud Storage"

    def __init__(self, uri: str) -> None:
        """Take a `gs://bucket/prefix` address."""
        super().__init__(uri)
        self._bucket: GoogleBucket = gcs_client().bucket(self._bucket_name)

    def read(self, name: str) -> bytes:
        """Download a file whole."""
        with self._errors(f"{self.uri}/{name}"):
            return self._bucket.blob(self._key(name)).download_as_bytes(**_patience())

    def objects(self, prefix: str = "", *, direct: bool = False) -> list[StoredObject]:
        """List the objects whose names start with `prefix`."""
        options = {"delimiter": "/"} if direct else {}
        with self._errors(self.uri):
            blobs = list(
                self._bucket.list_blobs(prefix=self._key(prefix), **options, **_patience())
            )
        skip = len(self._key(""))
        return [
            StoredObject(
                cast("str", blob.name)[skip:],
                int(blob.size or 0),
                f"generation:{blob.generation}",
                blob.updated.timestamp() if blob.updated else 0,
            )
            for blob in blobs
        ]

    @contextmanager
    def open(self, name: str, version: str) -> Generator[IO[bytes]]:
        """Open one version of an object as a stream."""
        generation = int(version.removeprefix("generation:"))
        with self._errors(f"{self.uri}/{name}"):
            blob = self._bucket.blob(self._key(name), generation=generation)
            options = {"chunk_size": _CHUNK_BYTES, "raw_download": True, **_patience()}
            with blob.open("rb", **options) as file:
                yield cast("IO[bytes]", file)

    def now(self) -> float:
        """Return what time it is at the server."""
        client = gcs_client()
        with self._errors(self.uri):
            import requests

            # Any answer has it, a refusal too.
            answer = requests.head(
                client.api_endpoint, timeout=RETRY_SECONDS, allow_redirects=False
            )
        return self._time(answer.headers.get("Date"))

    def _upload(self, name: str, data: bytes, *, create: bool) -> None:
        options: dict[str, Any] = {"if_generation_match": 0 if create else None, **_patience()}
        with self._errors(f"{self.uri}/{name}"):
            self._bucket.blob(self._key(name)).upload_from_string(data, _KIND, **options)

    def _upload_file(self, name: str, path: Path) -> None:
        with self._errors(f"{self.uri}/{name}"):
            blob = self._bucket.blob(self._key(name))
            blob.upload_from_filename(str(path), _KIND, **_patience())

    def _download(self, name: str, path: Path) -> None:
        with self._errors(f"{self.uri}/{name}"):
            self._bucket.blob(self._key(name)).download_to_filename(str(path), **_patience())

    def _delete(self, name: str) -> None:
        with self._errors(f"{self.uri}/{name}"):
            self._bucket.blob(self._key(name)).delete(**_patience())

    @contextmanager
    def _errors(self, uri: str) -> Generator[None]:
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
                raise self._away(uri, said) from error
            raise self._refusal(uri, said) from error


def _patience() -> dict[str, Any]:
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


def _status(error: Any) -> int:
    return getattr(getattr(error, "response", None), "status_code", 0)


def _reason(error: Any) -> str:
    reasons = (str(item.get("reason", "")) for item in getattr(error, "errors", None) or ())
    return next(reasons, "")
