"""Zip archives: which members are data, and the bytes of each, streamed."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import SourceFormatError
from sales_mart.source.listing import reason_not_to_read, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

__all__ = ["archive_in_archive", "members_of", "names_of", "open_member"]

_ENCRYPTED = 0x1
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@contextmanager
def _zip_errors(uri: str) -> Generator[None]:
    try:
        yield
    except _DAMAGED as error:
        msg = f"{uri}: the archive is cut short or damaged, or packed by a method that is not read"
        raise SourceFormatError(
            msg, remedy="Upload the file again, whole, packed as zip usually is."
        ) from error


def archive_in_archive(uri: str) -> SourceFormatError:
    """Return the error about an archive that stands in another one."""
    msg = f"{uri} is a zip archive inside of another one"
    return SourceFormatError(msg, remedy="Pack the files themselves, once.")


def names_of(path: Path, uri: str) -> frozenset[str]:
    """Return the names of all members.

    Raises:
        SourceFormatError: The archive is damaged.
    """
    with _zip_errors(uri), zipfile.ZipFile(path) as archive:
        return frozenset(archive.namelist())


def members_of(path: Path, uri: str, warn: Callable[[str], None]) -> list[str]:
    """Return the names of the members that are data files, in code-point order.

    Args:
        path: The archive.
        uri: What to call it in an error.
        warn: Called with a sentence that names the other members.

    Raises:
        SourceFormatError: The archive is damaged, a member is encrypted or stands twice, or none is
            a data file.
    """
    with _zip_errors(uri), zipfile.ZipFile(path) as archive:
        infos = [each for each in archive.infolist() if not each.is_dir()]
    reasons = {each.filename: _reason(each.filename) for each in infos}
    left = {name: reason for name, reason in reasons.items() if reason}
    found = sorted(each.filename for each in infos if not reasons[each.filename])
    for info in infos:
        name = f"{uri}!{escape_control_characters(info.filename, on_one_line=True)}"
        if info.filename in left:
            continue
        if info.flag_bits & _ENCRYPTED:
            msg = f"{name} is encrypted"
            raise SourceFormatError(msg, remedy="Deliver the archive without a password.")
        if found.count(info.filename) > 1:
            msg = f"{name} stands in the archive twice"
            raise SourceFormatError(msg, remedy="Pack each file once.")
    if not found:
        msg = f"{uri} has no data file"
        msg += f"; not read: {shown(left)}" if left else ""
        raise SourceFormatError(
            msg, remedy="Pack files whose names end in .csv, .tsv, .txt, .jsonl, .parquet or .xlsx."
        )
    if left:
        warn(f"{uri}: members that are not read: {shown(left)}")
    return found


@contextmanager
def open_member(path: Path, name: str, uri: str) -> Generator[io.BufferedReader[io.RawIOBase]]:
    """Open the bytes of a member.

    Raises:
        SourceFormatError: They are damaged.
    """
    with zipfile.ZipFile(path) as archive:
        with _zip_errors(uri):
            file = archive.open(name)
        with file:
            yield io.BufferedReader(cast("io.RawIOBase", _Member(file, uri)))


class _Member(io.RawIOBase):
    """Passes the bytes of a member on, and turns zip's errors into ours where they happen."""

    def __init__(self, file: IO[bytes], uri: str) -> None:
        self._file = file
        self._uri = uri

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        with _zip_errors(self._uri):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _reason(name: str) -> str:
    """Tell why a member is left out."""
    *folders, last = name.split("/")
    if "__MACOSX" in folders:
        return "of macOS"
    return "hidden" if any(each.startswith(".") for each in folders) else reason_not_to_read(last)
