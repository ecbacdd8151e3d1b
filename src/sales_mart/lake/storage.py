"""Folders and prefixes of buckets behind one small interface with atomic writes."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sales_mart.errors import ConfigurationError
from sales_mart.lake.disk import disk_errors
from sales_mart.lake.temporary import (
    SUFFIX,
    locked_folder,
    make_folder,
    sync,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from sales_mart.lake.bucket import Bucket


__all__ = ["Folder", "Storage", "is_bucket", "open_bucket", "open_storage"]


_BUCKETS = ("gs://", "s3://", "az://")
_KNOWN = "gs://, s3:// or az://"
_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")


class Storage(Protocol):
    """A place with named files: names are relative, with `/` between their parts."""

    @property
    def uri(self) -> str:
        """Absolute path or address of a bucket, without a slash at the end."""
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
        """Return the file as a local path while the context lasts.

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
        with disk_errors(target), locked_folder(target.parent, f".{target.name}") as folder:
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
        """Yield the file's own path: nothing is copied."""
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
                # A record that came back would say what is no longer so.
                sync(path.parent)


def open_storage(uri: str) -> Storage:
    """Open a folder or a prefix of a bucket.

    Raises:
        ConfigurationError: It is neither.
    """
    if is_bucket(uri):
        return open_bucket(uri)
    try:
        return Folder(Path(uri).expanduser())
    except RuntimeError as error:
        msg = f"{uri!r} names the home folder of an unknown user"
        raise ConfigurationError(msg, remedy="Write the folder's path in full.") from error


def open_bucket(uri: str) -> Bucket:
    """Open a prefix of a bucket.

    Raises:
        ConfigurationError: It names none, or there are no usable credentials.
    """
    if uri.startswith("gs://"):
        from sales_mart.lake.gcs import GcsPrefix

        return GcsPrefix(uri)
    from sales_mart.lake.object_store import ObjectStorePrefix

    return ObjectStorePrefix(uri)


def is_bucket(place: str) -> bool:
    """Return whether a place is the address of a bucket; if it is not, it is a path.

    Raises:
        ConfigurationError: It is empty, or an address of another kind, which would pass for a path.
    """
    # No bucket has an `@` in its name: what stands before it are credentials.
    if place.startswith(_BUCKETS) and "@" not in place.split("/", 3)[2]:
        return True
    remedy = f"Write it as a path, or as an address in lower case: {_KNOWN}, then bucket/prefix."
    if not place.strip():
        msg = "the path is empty"
        raise ConfigurationError(msg, remedy=remedy)
    if _SCHEME.match(place):
        # It is not repeated: there may be a password in it.
        msg = f"the address is neither a path nor begins with {_KNOWN} and the name of a bucket"
        raise ConfigurationError(msg, remedy=remedy)
    return False
