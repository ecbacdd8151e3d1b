"""Source files, local or on `gs://`: found by name, read as they are, and known by a digest."""

from __future__ import annotations

import errno
import fnmatch
import gzip
import hashlib
import io
import os
import re
import stat
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple, cast

from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import (
    ConfigurationError,
    NoSourceObjectError,
    SourceChangedError,
    SourceFormatError,
)
from sales_mart.lake.disk import disk_errors
from sales_mart.lake.gcs import gcs_client, gcs_errors, patience, split_gs
from sales_mart.lake.records import SourceObject
from sales_mart.lake.storage import is_gcs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

__all__ = ["DATE_MARK", "Listed", "find_objects", "list_objects", "open_object"]

DATE_MARK = "{date}"
"""What stands for the business date in a daily source."""

_SUFFIXES = (".csv", ".csv.gz", ".csv.zst")
_MAGIC = re.compile(r"[*?\[]")
_CHUNK_BYTES = 1 << 20
_LONGEST_SHOWN = 300
_MOST_SHOWN = 20
_HIDDEN = (".", "~$")
_OTHER_NAME = f"not one of {', '.join(_SUFFIXES)}"
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
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


class _Entry(NamedTuple):
    """What a pattern names, and why it is not read; an empty text when it is."""

    listed: Listed
    reason: str = ""


def find_objects(
    patterns: Sequence[str], warn: Callable[[str], None] = lambda _: None
) -> list[SourceObject]:
    """Find the objects that files, folders and globs name, and read local ones for their digests.

    Args:
        patterns: As `list_objects` takes them.
        warn: Likewise.

    Returns:
        The objects, each once, in code-point order of their names.

    Raises:
        NoSourceObjectError: A pattern matches nothing, or a link whose file is missing.
        ConfigurationError: An object may not be read, or a pattern is an address of another kind.
        SourceChangedError: A file went away while it was read.
    """
    return [
        _digested(each.uri)
        if each.generation is None
        else SourceObject(uri=each.uri, size=each.size, digest=f"generation:{each.generation}")
        for each in list_objects(patterns, warn)
    ]


def list_objects(
    patterns: Sequence[str], warn: Callable[[str], None] = lambda _: None
) -> list[Listed]:
    """List the objects that files, folders and globs name, and read none of them.

    Args:
        patterns: Paths or gs:// addresses; `*` stays within a folder, `**` does not. A folder
            stands for the `.csv`, `.csv.gz` and `.csv.zst` files directly in it, whatever the
            case of their names, without hidden ones.
        warn: Called with a sentence that names the entries that are not read.

    Returns:
        The objects, each once, in code-point order of their names.

    Raises:
        NoSourceObjectError: A pattern matches nothing, or a link whose file is missing.
        ConfigurationError: A folder may not be read, or a pattern is an address of another kind.
    """
    found: dict[str, Listed] = {}
    left: dict[str, str] = {}
    for pattern in patterns:
        entries = _list_gcs(pattern) if is_gcs(pattern) else _list_local(pattern)
        objects = [each.listed for each in entries if not each.reason]
        left_here = {each.listed.uri: each.reason for each in entries if each.reason}
        if not objects:
            msg = f"no object matches {pattern}"
            msg += f"; not read: {_shown(left_here)}" if left_here else ""
            raise NoSourceObjectError(
                msg, remedy="Check the path and the date; a header alone would be a valid input."
            )
        for each in objects:
            # One file may have several names: by a link, or with `..` in it.
            found[_place(each.uri)] = min(each, found.get(_place(each.uri), each))
        left |= left_here
    left = {uri: reason for uri, reason in left.items() if _place(uri) not in found}
    if left:
        warn(f"entries of the source that are not read: {_shown(left)}")
    return sorted(found.values())


def _place(uri: str) -> str:
    return uri if is_gcs(uri) else os.path.realpath(uri)


def _shown(left: Mapping[str, str]) -> str:
    """Name entries, each with the reason why it is not read."""
    names = [
        f"{escape_control_characters(uri, on_one_line=True)} ({reason})"
        for uri, reason in sorted(left.items())[:_MOST_SHOWN]
    ]
    more = len(left) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def _list_local(pattern: str) -> list[_Entry]:
    try:
        entries = [_entry(path, reason) for path, reason in _matches(pattern)]
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        where = getattr(error, "filename", None)
        inside = f" in {str(where)[:_LONGEST_SHOWN]!r}" if where else ""
        msg = f"{pattern[:_LONGEST_SHOWN]!r} could not be searched{inside}: {reason}"
        raise ConfigurationError(
            msg, remedy="Name a file, a folder that you may read, or a glob."
        ) from error
    return [each for each in entries if each is not None]


def _entry(path: Path, reason: str) -> _Entry | None:
    """Look at what a pattern names; None when it is not there."""
    if reason:
        return _Entry(Listed(str(path), 0), reason)
    found = _stat(path)
    if found is not None:
        kind = next((kind for is_one, kind in _KINDS if is_one(found.st_mode)), "")
        return _Entry(Listed(str(path), found.st_size), kind)
    if not path.is_symlink():
        return None
    name = escape_control_characters(str(path), on_one_line=True)
    msg = f"{name} is a broken link"
    raise NoSourceObjectError(msg, remedy="Correct or remove the link.")


def _stat(path: Path) -> os.stat_result | None:
    """Look at a file, through links; None when there is none."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise


def _matches(pattern: str) -> Iterator[tuple[Path, str]]:
    """Yield what a pattern names, and why it is not read where its name says so already."""
    path = Path(pattern).expanduser().absolute()
    if path.is_dir():
        for each in path.iterdir():
            reason = _reason(each.name)
            folder = reason == _OTHER_NAME and each.is_dir()
            yield each, "a folder" if folder else reason
    elif os.path.lexists(path) or not _MAGIC.search(pattern):
        yield path, ""
    else:
        yield from _expand(Path(path.anchor), path.parts[1:])


def _reason(name: str) -> str:
    """Tell why a file of this name is left out where its folder is the source."""
    if name.startswith(_HIDDEN):
        return "hidden"
    return "" if name.lower().endswith(_SUFFIXES) else _OTHER_NAME


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield what a glob names. Unlike `Path.glob`, skip nothing in silence."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _expand_deep(folder, rest)
        return
    if _MAGIC.search(part):
        wanted = re.compile(fnmatch.translate(part))
        paths = [each for each in folder.iterdir() if wanted.match(each.name)]
    else:
        paths = [folder / part]
    for path in paths:
        found = _stat(path)
        # A link that leads nowhere may be meant for a folder as well.
        if not rest or (found is None and path.is_symlink()):
            yield path, ""
        elif found is not None and stat.S_ISDIR(found.st_mode):
            yield from _expand(path, rest)


def _digested(uri: str) -> SourceObject:
    path = Path(uri)
    try:
        with disk_errors(path, "read"), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        msg = f"{uri} disappeared while it was being read"
        raise SourceChangedError(msg, remedy=_LET_FINISH) from error
    return SourceObject(uri=uri, size=size, digest=f"sha256:{digest}")


def _expand_deep(folder: Path, rest: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield what the rest of a glob names in a folder, and in any folder below it."""
    if rest:
        yield from _expand(folder, rest)
    for each in list(os.scandir(folder)):
        if each.is_dir(follow_symlinks=False):
            yield from _expand_deep(Path(each.path), rest)
        elif each.is_dir():
            yield Path(each.path), "a link to a folder, which ** does not follow"
        elif not rest:
            yield Path(each.path), ""


def _list_gcs(pattern: str) -> list[_Entry]:
    bucket, key = split_gs(pattern)
    magic = _MAGIC.search(key)
    folder = key.rstrip("/") + "/" if key else ""
    prefix = key[: magic.start()] if magic else key.rstrip("/")
    wanted = _glob(key) if magic else re.compile(re.escape(key))
    try:
        with gcs_errors(pattern):
            blobs = list(gcs_client().list_blobs(bucket, prefix=prefix, **patience()))
    except FileNotFoundError:
        return []
    entries: dict[str, _Entry] = {}
    for blob in blobs:
        name, reason = cast("str", blob.name), ""
        if not wanted.fullmatch(name):
            if magic or not name.startswith(folder):
                continue
            inner, _, below = name.removeprefix(folder).partition("/")
            reason = "a folder" if below else _reason(inner)
            name = folder + inner
        # An object whose name ends with a slash stands for a folder, and holds nothing.
        if not blob.name.endswith("/"):
            listed = Listed(f"gs://{bucket}/{name}", int(blob.size or 0), blob.generation)
            entries[name + "/" * (reason == "a folder")] = _Entry(listed, reason)
    return list(entries.values())


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
