"""Source files, local or in a bucket: found by their names, and known by a digest."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import (
    ConfigurationError,
    NoSourceObjectError,
    SourceChangedError,
    SourceNotReadyError,
)
from sales_mart.lake.bucket import split_address
from sales_mart.lake.disk import disk_errors
from sales_mart.lake.records import SourceObject
from sales_mart.lake.storage import is_bucket, open_bucket
from sales_mart.source.address import MAGIC
from sales_mart.source.objects import LET_FINISH
from sales_mart.source.ready import Readiness, not_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Listed", "find_objects", "list_objects", "reason_not_to_read", "shown"]

_DATA = (".csv", ".tsv", ".txt", ".parquet", ".jsonl", ".xlsx", ".zip")
_SUFFIXES = tuple(f"{data}{packed}" for data in _DATA for packed in ("", ".gz", ".zst"))
_OTHER_NAME = f"not one of {', '.join(_DATA)}"
_LEFT_OUT = (
    ("a lock file", ("~$", ".~lock."), (".lock", ".lck")),
    ("hidden", (".",), ()),
    ("a temporary file", (), (".part", ".partial", ".tmp", ".crdownload", ".swp", "~")),
)
"""Why a file is left out, by what its name begins or ends with."""
_LONGEST_SHOWN = 300
_MOST_SHOWN = 20
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Listed(NamedTuple):
    """An object as it is listed.

    Attributes:
        uri: Path or address in a bucket.
        size: Its bytes.
        version: What tells its content from others, in a bucket; empty on a disk.
        modified: When it changed last, in seconds since 1970.
    """

    uri: str
    size: int
    version: str = ""
    modified: float = 0


class _Entry(NamedTuple):
    """What a pattern names, and why it is not read; an empty text when it is."""

    listed: Listed
    reason: str = ""


def find_objects(
    patterns: Sequence[str],
    warn: Callable[[str], None] = lambda _: None,
    readiness: Readiness = Readiness(),  # noqa: B008 - frozen
) -> list[SourceObject]:
    """Find the objects that files, folders and globs name, and read local ones for their digests.

    Args:
        patterns: As `list_objects` takes them.
        warn: Likewise.
        readiness: What must be so before an object is read.

    Returns:
        The objects, each once, in code-point order of their names.

    Raises:
        NoSourceObjectError: A pattern matches nothing, or a link whose file is missing.
        ConfigurationError: An object may not be read, or a pattern is an address of another kind.
        SourceChangedError: A file went away while it was read.
        SourceNotReadyError: An object may not be read yet.
    """
    listed = list_objects(patterns, warn, readiness)
    if readiness.is_asked:
        waiting = not_ready(listed, readiness)
        # What was listed before the marker came may be half of the delivery.
        again = list_objects(patterns, readiness=readiness)
        waiting |= dict.fromkeys((each.uri for each in set(again) ^ set(listed)), "just changed")
        if waiting:
            msg = f"not ready to be read: {shown(waiting)}"
            raise SourceNotReadyError(
                msg,
                remedy="Run the same command again when the delivery is whole: "
                "data_lake.ready_marker and data_lake.minimum_age say when it is.",
            )
    return [
        SourceObject(uri=each.uri, size=each.size, digest=each.version)
        if each.version
        else _digested(each.uri)
        for each in listed
    ]


def list_objects(
    patterns: Sequence[str],
    warn: Callable[[str], None] = lambda _: None,
    readiness: Readiness = Readiness(),  # noqa: B008 - frozen
) -> list[Listed]:
    """List the objects that files, folders and globs name, and read none of them.

    Hidden, temporary and lock files are objects only where a name or the last part of a glob asks
    for such names.

    Args:
        patterns: Paths or addresses in buckets; `*` stays within a folder, `**` does not. A
            folder, and a glob that ends in `*`, stands for files whose names say that they hold
            data, whatever the case: directly in the folder, or wherever the glob leads.
        warn: Called with a sentence that names the entries that are not read.
        readiness: What the marker is called that is no object.

    Returns:
        The objects, each once, in code-point order of their names.

    Raises:
        NoSourceObjectError: A pattern matches nothing, or a link whose file is missing.
        ConfigurationError: A folder may not be read, or a pattern is an address of another kind.
    """
    found: dict[str, Listed] = {}
    left: dict[str, str] = {}
    for pattern in patterns:
        entries = [
            _Entry(each.listed, "the ready marker") if _is_marker(each, readiness) else each
            for each in (_list_bucket(pattern) if is_bucket(pattern) else _list_local(pattern))
        ]
        objects = [each.listed for each in entries if not each.reason]
        left_here = {each.listed.uri: each.reason for each in entries if each.reason}
        if not objects:
            msg = f"no object matches {pattern}"
            msg += f"; not read: {shown(left_here)}" if left_here else ""
            raise NoSourceObjectError(
                msg, remedy="Check the path and the date; a header alone would be a valid input."
            )
        for each in objects:
            # One file may have several names: by a link, or with `..` in it.
            found[_place(each.uri)] = min(each, found.get(_place(each.uri), each))
        left |= left_here
    left = {uri: reason for uri, reason in left.items() if _place(uri) not in found}
    if left:
        warn(f"entries of the source that are not read: {shown(left)}")
    return sorted(found.values())


def _is_marker(entry: _Entry, readiness: Readiness) -> bool:
    return readiness.is_marker(entry.listed.uri.rpartition("/")[2])


def _place(uri: str) -> str:
    return uri if is_bucket(uri) else os.path.realpath(uri)


def shown(left: Mapping[str, str]) -> str:
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
        return _Entry(Listed(str(path), found.st_size, modified=found.st_mtime), kind)
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
            reason = reason_not_to_read(each.name)
            folder = reason == _OTHER_NAME and each.is_dir()
            yield each, "a folder" if folder else reason
    elif os.path.lexists(path) or not MAGIC.search(pattern):
        yield path, ""
    else:
        for each, reason in _expand(Path(path.anchor), path.parts[1:]):
            by_name = reason or _reason_in_glob(each.parts, path.parts)
            yield each, "a folder" if by_name == _OTHER_NAME and each.is_dir() else by_name


def reason_not_to_read(name: str) -> str:
    """Tell why a file of this name is left out of its folder; nothing when it holds data."""
    reason = next(
        (
            reason
            for reason, starts, ends in _LEFT_OUT
            if name.startswith(starts) or name.lower().endswith(ends)
        ),
        "",
    )
    return reason or ("" if name.lower().endswith(_SUFFIXES) else _OTHER_NAME)


def _reason_in_glob(parts: Sequence[str], pattern: Sequence[str]) -> str:
    """Tell why what a glob matches is left out: it asks for names that it spells out.

    Args:
        parts: Folders and name of what is matched.
        pattern: Those of the glob.
    """
    last = pattern[-1]
    for folder in parts[:-1]:
        if folder.startswith(".") and folder not in pattern:
            return "hidden"
    reason = reason_not_to_read(parts[-1])
    if reason == _OTHER_NAME:
        return reason if not last.strip("*") else ""
    asked = any(
        last.startswith(starts) or last.lower().endswith(ends)
        for why, starts, ends in _LEFT_OUT
        if why == reason
    )
    return "" if asked or parts[-1] == last else reason


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield what a glob names. Unlike `Path.glob`, skip nothing in silence."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _expand_deep(folder, rest)
        return
    if MAGIC.search(part):
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
        raise SourceChangedError(msg, remedy=LET_FINISH) from error
    return SourceObject(uri=uri, size=size, digest=f"sha256:{digest}")


def _expand_deep(folder: Path, rest: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield what the rest of a glob names in a folder, and in any folder below it."""
    every_name = len(rest) == 1 and not rest[0].strip("*")
    if rest and not every_name:
        yield from _expand(folder, rest)
    for each in list(os.scandir(folder)):
        if each.is_dir(follow_symlinks=False) and each.name.startswith("."):
            yield Path(each.path), "hidden"
        elif each.is_dir(follow_symlinks=False):
            yield from _expand_deep(Path(each.path), rest)
        elif each.is_dir():
            yield Path(each.path), "a link to a folder, which ** does not follow"
        elif every_name or not rest:
            yield Path(each.path), ""


def _list_bucket(pattern: str) -> list[_Entry]:
    scheme, bucket, key = split_address(pattern)
    whole = f"{scheme}://{bucket}"
    magic = MAGIC.search(key)
    folder = key.rstrip("/") + "/" if key else ""
    prefix = key[: magic.start()] if magic else key.rstrip("/")
    wanted = _glob(key) if magic else re.compile(re.escape(key))
    storage = open_bucket(whole)
    try:
        stored = storage.objects(prefix)
    except FileNotFoundError:
        return []
    entries: dict[str, _Entry] = {}
    for each in stored:
        name, reason = each.name, ""
        if not wanted.fullmatch(name):
            if magic or not name.startswith(folder):
                continue
            inner, _, below = name.removeprefix(folder).partition("/")
            reason = "a folder" if below else reason_not_to_read(inner)
            name = folder + inner
        else:
            reason = _reason_in_glob(name.split("/"), key.split("/"))
        # One that is not read anyway need not be looked at.
        if not (each.name.endswith("/") if reason else storage.is_folder(each)):
            listed = Listed(f"{whole}/{name}", each.size, each.version, each.modified)
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
