"""What a file is, by its bytes, and what to do about one that is not read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from sales_mart.errors import ConfigurationError, SourceFormatError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["START_BYTES", "Kind", "container_kind", "kind_of"]

Kind = Literal["csv", "jsonl", "parquet", "excel", "zip"]

START_BYTES = 4096
"""How much of a file is looked at."""

_NAMES: dict[Kind, str] = {
    "csv": "text",
    "jsonl": "JSON Lines",
    "parquet": "a Parquet file",
    "excel": "an Excel workbook",
    "zip": "a zip archive",
}
_TEXTS = ("csv", "jsonl")


class _Magic(NamedTuple):
    """What the bytes at a place say."""

    pattern: bytes
    name: str
    remedy: str


_CONVERT = "Export it as CSV, JSON Lines or Parquet."
_UNPACK = "Unpack it, or pack its files with zip, gzip or zstd."
_WORKBOOK = "Save it as .xlsx without a password, or export it as CSV."
_LINES = "Write one object on each line (`jq -c '.[]'` does it)."

# Each pattern is tried at the start of the file; the first that matches decides.
_REFUSED = (
    _Magic(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Excel workbook", _WORKBOOK),
    _Magic(rb"PARE", "an encrypted Parquet file", "Write it without encryption."),
    _Magic(rb"%PDF-", "a PDF document", _CONVERT),
    _Magic(rb"SQLite format 3\0", "a SQLite database", _CONVERT),
    _Magic(rb"(?s:.{8})DUCK", "a DuckDB database", _CONVERT),
    _Magic(rb"Obj\x01", "an Avro file", _CONVERT),
    _Magic(rb"ORC", "an ORC file", _CONVERT),
    _Magic(rb"ARROW1|FEA1", "an Arrow or Feather file", _CONVERT),
    _Magic(rb"\x89HDF|\x93NUMPY|\x80[\x02-\x05]", "a file of a program, not of rows", _CONVERT),
    _Magic(rb"\x1f\x8b", "gzip inside of what was packed already", _UNPACK),
    _Magic(rb"\x28\xb5\x2f\xfd", "zstd inside of what was packed already", _UNPACK),
    _Magic(rb"(?s:.{257})ustar", "a tar archive", _UNPACK),
    _Magic(rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    _Magic(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _Magic(rb"BZh[1-9]1AY&SY", "packed with bzip2", _UNPACK),
    _Magic(rb"\xfd7zXZ\0", "packed with xz", _UNPACK),
    _Magic(rb"\x04\x22\x4d\x18", "packed with lz4", _UNPACK),
    _Magic(rb"\x1f[\x9d\xa0]", "packed with compress", _UNPACK),
    _Magic(rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF(?s:.{4})WEBP|II\*\0|MM\0\*", "a picture", _CONVERT),
    _Magic(rb"\{\\rtf", "a document of a word processor", _CONVERT),
    _Magic(
        rb"(?i:(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body|table|script|meta))",
        "an HTML page",
        "Download the file itself: a page of a login or an error was saved, or a table as a page.",
    ),
    _Magic(rb"(?:\xef\xbb\xbf)?\s*<\?xml", "an XML document", _CONVERT),
    _Magic(rb"(?:\xef\xbb\xbf)?\s*\[\s*[\[{]", "one JSON array, not JSON Lines", _LINES),
    _Magic(rb"(?:\xef\xbb\xbf)?\s*\{[ \t]*\r?\n", "one JSON document, not JSON Lines", _LINES),
)
_READ: tuple[tuple[bytes, Kind], ...] = (
    (rb"PK(?:\x03\x04|\x05\x06|\x07\x08)", "zip"),
    (rb"PAR1", "parquet"),
    (rb"(?:\xef\xbb\xbf)?\s*\{\s*[\"}]", "jsonl"),
)
_CONTAINERS = (
    ("xl/workbook.bin", "a binary Excel workbook (.xlsb)", _WORKBOOK),
    ("content.xml", "an OpenDocument file (.ods)", _WORKBOOK),
    ("word/document.xml", "a Word document", _CONVERT),
    ("ppt/presentation.xml", "a presentation", _CONVERT),
    ("Index/Document.iwa", "a Numbers document", _WORKBOOK),
    ("META-INF/MANIFEST.MF", "a Java archive", _UNPACK),
)


def kind_of(start: bytes, uri: str, given: Kind | None) -> Kind:
    """Tell what a file is.

    Args:
        start: Its first bytes.
        uri: What to call it in an error.
        given: What the configuration says that it is.

    Raises:
        SourceFormatError: It is something that is not read.
        ConfigurationError: It is not what the configuration says.
    """
    for pattern, name, remedy in _REFUSED:
        # Of text it is the configuration that decides.
        if re.match(pattern, start) and not (given in _TEXTS and start[:1] in b"[{ \t\r\n\xef"):
            raise _refusal(uri, name, remedy)
    fitting: list[Kind] = [kind for pattern, kind in _READ if re.match(pattern, start)]
    found: Kind = fitting[0] if fitting else "csv"
    return found if found == "zip" else _as_given(found, uri, given)


def container_kind(names: Collection[str], uri: str, given: Kind | None) -> Kind:
    """Tell what a zip archive is: a workbook, or an archive of files.

    Args:
        names: Names of its members.
        uri: What to call it in an error.
        given: What the configuration says that its files are.

    Raises:
        SourceFormatError: It is a document that is not read.
        ConfigurationError: It is a workbook, and the configuration says something else.
    """
    if "xl/workbook.xml" in names:
        return _as_given("excel", uri, given)
    for member, name, remedy in _CONTAINERS:
        if member in names:
            raise _refusal(uri, name, remedy)
    return "zip"


def _refusal(uri: str, name: str, remedy: str) -> SourceFormatError:
    return SourceFormatError(f"{uri} is {name}", remedy=remedy)


def _as_given(found: Kind, uri: str, given: Kind | None) -> Kind:
    if given is None or given == found:
        return found
    if given in _TEXTS and found in _TEXTS:
        return given
    msg = f"{uri} is {_NAMES[found]}, and ingestion.format.type is {given}"
    raise ConfigurationError(msg, remedy="Leave the key out: what a file is shows in its bytes.")
