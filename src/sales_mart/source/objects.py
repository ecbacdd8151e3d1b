"""The bytes of a source file, decompressed; that they are the planned ones is checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from sales_mart.errors import SourceChangedError, SourceFormatError
from sales_mart.lake.disk import disk_errors
from sales_mart.lake.storage import is_bucket, open_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sales_mart.lake.records import Range, SourceObject
    from sales_mart.source.csv_buffer import Account

__all__ = ["LET_FINISH", "decompressed", "open_object", "open_range", "open_start"]

LET_FINISH = "Start a new run for the new content; let uploads finish before a run."

_CHUNK_BYTES = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class _Counted(io.RawIOBase):
    """Passes the bytes of an object on and counts them."""

    def __init__(self, raw: IO[bytes], account: Account) -> None:
        self._raw = raw
        self._account = account

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        data = self._raw.read(len(buffer))
        self._account.stored += len(data)
        buffer[: len(data)] = data
        return len(data)


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
def open_object(item: SourceObject, account: Account | None = None) -> Generator[BinaryIO]:
    """Open an object's CSV bytes, decompressed, and see that it is the one that was planned.

    Args:
        item: The object.
        account: Told how many bytes as stored have been read.

    Raises:
        SourceChangedError: The object is gone or is another one; for a local file this shows when
            the context ends, so nothing read from it may be kept before.
        SourceFormatError: The compressed data is cut short or damaged.
    """
    with (
        _planned(item, item.digest, lambda raw: raw, account) as stored,
        decompressed(stored, item.uri) as stream,
    ):
        yield stream


class _Spans(io.RawIOBase):
    """Some spans of the bytes of a file, one behind the other."""

    def __init__(self, raw: IO[bytes], *spans: tuple[int, int]) -> None:
        self._raw = raw
        self._spans = list(spans)
        self._left = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._left and self._spans:
            begin, end = self._spans.pop(0)
            self._raw.seek(begin)
            self._left = end - begin
        data = self._raw.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_range(item: SourceObject, part: Range, account: Account) -> Generator[BinaryIO]:
    """Open the header of an object and one of its ranges, and see that they are as planned.

    Args:
        item: The object.
        part: The range.
        account: Told how many bytes have been read.

    Raises:
        SourceChangedError: The object is gone or is another one; for a local file this shows when
            the context ends, so nothing read from it may be kept before.
    """
    spans = ((0, part.header), (part.begin, part.end))
    with _planned(item, part.digest, lambda raw: _Spans(raw, *spans), account) as stored:
        yield stored


@contextmanager
def _planned(
    item: SourceObject,
    digest: str,
    chosen: Callable[[IO[bytes]], IO[bytes] | io.RawIOBase],
    account: Account | None,
) -> Generator[io.BufferedReader[Any]]:
    """Open what is chosen of an object's bytes, and see that it is as planned.

    One in a bucket is known by its generation, which `_open_raw` asks for; a local file by the
    digest of what is chosen.
    """
    changed = SourceChangedError(
        f"{item.uri} is not the object that was planned", remedy=LET_FINISH
    )
    try:
        with _open_raw(item) as raw:
            source = cast("IO[bytes]", chosen(raw))
            if account is not None:
                source = cast("IO[bytes]", _Counted(source, account))
            if is_bucket(item.uri):
                yield io.BufferedReader(cast("io.RawIOBase", source), _CHUNK_BYTES)
                return
            digesting = _Digesting(source, Path(item.uri))
            stored: io.BufferedReader[Any] = io.BufferedReader(digesting, _CHUNK_BYTES)

            def is_planned() -> bool:
                while stored.read(_CHUNK_BYTES):
                    pass
                return digest == f"sha256:{digesting.digest.hexdigest()}"

            try:
                yield stored
            except Exception:
                # What is found wrong in another content is beside the point.
                if not is_planned():
                    raise changed from None
                raise
            if not is_planned():
                raise changed
    except FileNotFoundError as error:
        raise changed from error


@contextmanager
def open_start(item: SourceObject) -> Generator[BinaryIO]:
    """Open an object's bytes, decompressed, to read only the first of them; no digest is asked.

    Raises:
        SourceChangedError: The object is gone.
        SourceFormatError: The compressed data is damaged.
    """
    try:
        with _open_raw(item) as raw:
            stored = io.BufferedReader(cast("io.RawIOBase", raw), _CHUNK_BYTES)
            with decompressed(stored, item.uri) as stream:
                yield stream
    except FileNotFoundError as error:
        msg = f"{item.uri} is gone"
        raise SourceChangedError(msg, remedy=LET_FINISH) from error


@contextmanager
def _open_raw(item: SourceObject) -> Generator[IO[bytes]]:
    if not is_bucket(item.uri):
        path = Path(item.uri)
        with disk_errors(path, "read"):
            file = path.open("rb", buffering=0)
        with file:
            yield file
        return
    folder, _, name = item.uri.rpartition("/")
    with open_bucket(folder).open(name, item.digest) as file:
        yield file


@contextmanager
def decompressed(stored: io.BufferedReader[io.RawIOBase], uri: str) -> Generator[BinaryIO]:
    """Give the bytes of what may be packed with gzip or zstd.

    Raises:
        SourceFormatError: The compressed data is cut short or damaged.
    """
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
