"""Source files, local or on `gs://`: found by name, read as they are, and known by a digest."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import os
import re
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, cast

from sales_mart.errors import (
    ConfigurationError,
    NoSourceObjectError,
    SourceChangedError,
    SourceFormatError,
)
from sales_mart.lake.records import SourceObject
from sales_mart.lake.storage import disk_errors, gcs_client, gcs_errors, is_gcs, patience, split_gs

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["DATE_MARK", "Listed", "find_objects", "list_objects", "open_object"]

DATE_MARK = "{date}"
"""What stands for the business date in a daily source."""

_SUFFIXES = (".csv", ".csv.gz", ".csv.zst")
_MAGIC = re.compile(r"[*?\[]")
_CHUNK_BYTES = 1 << 20
_LONGEST_SHOWN = 300
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_LET_FINISH = "Start a new run for the new content; let uploads finish before a run."


class Listed(NamedTuple):
    """An object as it is listed.

    Attributes:
        uri: Path or gs:// address.
        size: Its bytes.
        generation: What tells its content from others, on gs://; None on a disk.
    """

    uri: str
    size: int
    generation: int | None = None


def find_objects(patterns: Sequence[str]) -> list[SourceObject]:
    """Find the objects that files, folders and globs name, and read local ones for their digests.

    Args:
        patterns: As `list_objects` takes them.

    Returns:
        The objects, each once, in code-point order of their names.

    Raises:
        NoSourceObjectError: A pattern matches nothing.
        ConfigurationError: An object may not be read, or a pattern is an address of another kind.
        SourceChangedError: A file went away while it was read.
    """
    return [
        _digested(each.uri)
        if each.generation is None
        else SourceObject(uri=each.uri, size=each.size, digest=f"generation:{each.generation}")
        for each in list_objects(patterns)
    ]


def list_objects(patterns: Sequence[str]) -> list[Listed]:
    """List the objects that files, folders and globs name, and read none of them.

    Args:
        patterns: Paths or gs:// addresses; `*` stays within a folder, `**` does not. A folder
            stands for the `.csv`, `.csv.gz` and `.csv.zst` files in it.

    Returns:
        The objects, each once, in code-point order of their names.

    Raises:
        NoSourceObjectError: A pattern matches nothing.
        ConfigurationError: A folder may not be read, or a pattern is an address of another kind.
    """
    found: dict[str, Listed] = {}
    for pattern in patterns:
        objects = _list_gcs(pattern) if is_gcs(pattern) else _list_local(pattern)
        if not objects:
            msg = f"no object matches {pattern}"
            raise NoSourceObjectError(
                msg, remedy="Check the path and the date; an empty file would be a valid input."
            )
        for each in objects:
            # One file may have several names: by a link, or with `..` in it.
            place = each.uri if is_gcs(each.uri) else os.path.realpath(each.uri)
            found[place] = min(each, found.get(place, each))
    return sorted(found.values())


def _list_local(pattern: str) -> list[Listed]:
    try:
        paths = [path for path in _matches(pattern) if path.is_file()]
        return [Listed(str(path), path.stat().st_size) for path in paths]
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{pattern[:_LONGEST_SHOWN]!r} could not be looked for: {reason}"
        raise ConfigurationError(
            msg, remedy="Name a file, a folder that you may read, or a glob."
        ) from error


def _digested(uri: str) -> SourceObject:
    path = Path(uri)
    try:
        with disk_errors(path, "read"), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        msg = f"{uri} went away while it was looked at"
        raise SourceChangedError(msg, remedy=_LET_FINISH) from error
    return SourceObject(uri=uri, size=size, digest=f"sha256:{digest}")


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser().absolute()
    if path.is_dir():
        return [each for each in path.iterdir() if each.name.endswith(_SUFFIXES)]
    if path.exists() or not _MAGIC.search(pattern):
        return [path]
    return list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _list_gcs(pattern: str) -> list[Listed]:
    bucket, key = split_gs(pattern)
    magic = _MAGIC.search(key)
    if magic:
        prefix, wanted = key[: magic.start()], _glob(key)
    else:
        suffixes = "|".join(re.escape(suffix) for suffix in _SUFFIXES)
        folder = key.rstrip("/") + "/" if key else ""
        prefix, wanted = (
            key.rstrip("/"),
            re.compile(f"{re.escape(key)}|{re.escape(folder)}[^/]*(?:{suffixes})"),
        )
    try:
        with gcs_errors(pattern):
            blobs = list(gcs_client().list_blobs(bucket, prefix=prefix, **patience()))
    except FileNotFoundError:
        return []
    return [
        Listed(f"gs://{bucket}/{blob.name}", int(blob.size or 0), blob.generation)
        for blob in blobs
        if wanted.fullmatch(cast("str", blob.name)) and not cast("str", blob.name).endswith("/")
    ]


def _glob(pattern: str) -> re.Pattern[str]:
    """Translate a glob: `*` and `?` stay within a folder, `**/` spans any folders."""
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL)
    return re.compile("".join(meanings.get(token) or _one(token) for token in tokens), re.DOTALL)


def _one(token: str) -> str:
    """Translate a single character, or the set of those that may stand in its place."""
    if len(token) == 1:
        return re.escape(token)
    # In the end it is the standard library that knows what `[!a-c]` and `[z-a]` mean.
    return f"(?={fnmatch.translate(token)[:-2]})[^/]"


class _Digesting(io.RawIOBase):
    """Passes the bytes of a file on and digests them."""

    def __init__(self, raw: IO[bytes], path: Path) -> None:
        self._raw = raw
        self._path = path
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        with disk_errors(self._path, "read"):
            data = self._raw.read(len(buffer))
        self.digest.update(data)
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_object(item: SourceObject) -> Generator[BinaryIO]:
    """Open an object's CSV bytes, decompressed, and see that it is the one that was planned.

    Raises:
        SourceChangedError: The object is gone or is another one; for a local file this shows when
            the context ends, so nothing read from it may be kept before.
        SourceFormatError: The compressed data is cut short or damaged.
    """
    changed = SourceChangedError(
        f"{item.uri} is not the object that was planned",
        remedy=_LET_FINISH,
    )
    try:
        with _open_raw(item) as raw:
            digesting = None if is_gcs(item.uri) else _Digesting(raw, Path(item.uri))
            source = cast("io.RawIOBase", digesting or raw)
            stored = io.BufferedReader(source, _CHUNK_BYTES)
            with _decompressed(stored, item.uri) as stream:
                yield stream
            if digesting is not None:
                while stored.read(_CHUNK_BYTES):
                    pass
                if item.digest != f"sha256:{digesting.digest.hexdigest()}":
                    raise changed
    except FileNotFoundError as error:
        raise changed from error


@contextmanager
def _open_raw(item: SourceObject) -> Generator[IO[bytes]]:
    if not is_gcs(item.uri):
        path = Path(item.uri)
        with disk_errors(path, "read"):
            file = path.open("rb", buffering=0)
        with file:
            yield file
        return
    bucket, key = split_gs(item.uri)
    generation = int(item.digest.removeprefix("generation:"))
    with gcs_errors(item.uri):
        blob = gcs_client().bucket(bucket).blob(key, generation=generation)
        options = {"chunk_size": 8 * _CHUNK_BYTES, "raw_download": True, **patience()}
        with blob.open("rb", **options) as file:
            yield cast("IO[bytes]", file)


@contextmanager
def _decompressed(stored: io.BufferedReader[io.RawIOBase], uri: str) -> Generator[BinaryIO]:
    start = stored.peek(4)[:4]
    if start.startswith(_GZIP):
        stream: BinaryIO = cast("BinaryIO", gzip.GzipFile(fileobj=stored))
    elif start == _ZSTD:
        stream = _open_zstd(stored)
    else:
        yield stored
        return
    try:
        yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile, _zstd_error()) as error:
        msg = f"{uri}: the compressed data is cut short or damaged"
        raise SourceFormatError(msg, remedy="Upload the file again, whole.") from error


def _open_zstd(stored: io.BufferedReader[io.RawIOBase]) -> BinaryIO:
    from backports import zstd

    return cast("BinaryIO", zstd.ZstdFile(stored))


def _zstd_error() -> type[Exception]:
    from backports import zstd

    return zstd.ZstdError
