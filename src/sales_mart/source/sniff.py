"""How a text file seems to be written: encoding, title lines, delimiter, quote, escape, header.

What is found is tried by the reader itself, so that it means what a run makes of it.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sales_mart.errors import SourceFormatError
from sales_mart.rows.known_names import is_known
from sales_mart.schema import Origin
from sales_mart.source.csv_reader import ENCODING, read_blocks
from sales_mart.source.dialect import CANDIDATES, Dialect
from sales_mart.source.encoding import Decodable, mark_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Text",
    "Written",
    "encoding_of",
    "header_of_records",
    "look_at_text",
    "read_text",
    "written_as",
]

_DELIMITERS = (*CANDIDATES, "^", "~", "\x1f", "\x01", ":")
_ESCAPED_QUOTE = re.compile(r'\\"')
_FIRST_RECORDS = 200
_TITLE_LINES = 50
_MOST_COLUMNS = 10_000
_HALF, _MOST = 0.5, 0.9
_VALUE = re.compile(r"[-+(]?\s*\W?\s*\d[\d.,' ]*\W{0,2}|\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}\b.*")
"""A number or a date, which no column has for its name."""


@dataclass(frozen=True)
class Written:
    """How a file is written, and what that was concluded from.

    Attributes:
        dialect: How it is written.
        encoding_seen: Encoding of the characters outside of ASCII that were seen; None for none.
        mark: Encoding of the byte order mark; None where there is none.
        header_line: Line that the header ends on; 0 where there is no header.
        names: Names of the columns: those of the header, else `column 1` and so on.
    """

    dialect: Dialect
    encoding_seen: str | None
    mark: str | None
    header_line: int
    names: tuple[str, ...]

    @property
    def has_header(self) -> bool:
        """Whether a record names the columns."""
        return self.header_line > 0


@dataclass(frozen=True)
class Text:
    """The records of the start of a file.

    Attributes:
        frame: All columns as text, named `0`, `1` and so on; without repeated headers and rows in
            which nothing stands.
        short: Records in which fields are missing at the end.
        malformed: Other records that have not the header's number of fields.
        undecoded: Records that cannot be decoded.
        records: All of them.
    """

    frame: pl.DataFrame
    short: int
    malformed: int
    undecoded: int
    records: int


def look_at_text(data: bytes, uri: str) -> Written:
    """Find out how a text file is written.

    Args:
        data: Its first bytes, whole lines.
        uri: What to call it in an error.

    Raises:
        SourceFormatError: It is binary, has other line ends than LF and CRLF, or no delimiter.
    """
    mark = mark_of(data)
    encoding, seen = encoding_of(data, uri)
    text = data[len(mark[0]) if mark else 0 :].decode(encoding, "replace")
    if "\n" not in text and "\r" in text.rstrip("\r"):
        msg = f"{uri}: the lines end with a lone CR"
        raise SourceFormatError(msg, remedy="End each line with LF or CRLF.")
    delimiter = _delimiter(text)
    skipped, header_line, names = _header(text, delimiter)
    explicit = None if mark or encoding in {"ascii", "utf-8"} else encoding
    dialect = Dialect(delimiter=delimiter, encoding=explicit, skip_rows=skipped)
    found = Written(dialect, seen, mark[1] if mark else None, header_line, names)
    if not _ESCAPED_QUOTE.search(text):
        return found
    # A backslash before a quote may stand for itself, or may escape it: what breaks fewer records.
    escaped = replace(found, dialect=replace(dialect, escape="\\"))
    broken = [
        read.short + read.malformed
        for read in (read_text(data, uri, each) for each in (found, escaped))
    ]
    return escaped if broken[1] < broken[0] else found


def written_as(data: bytes, seen: Written, given: Dialect) -> Written:
    """Return how a file is written by a configuration; what it leaves out is what was seen."""
    mark = mark_of(data)
    encoding = given.encoding or seen.mark or seen.dialect.encoding or "utf-8"
    text = data[len(mark[0]) if mark else 0 :].decode(encoding, "replace")
    delimiter = given.delimiter or seen.dialect.delimiter or ","
    dialect = replace(given, delimiter=delimiter)
    if given.names is not None:
        return Written(dialect, seen.encoding_seen, seen.mark, 0, given.names)
    records = _records("".join(text.splitlines(keepends=True)[given.skip_rows :]), delimiter)
    _, line, names = next(iter(records), (0, 0, []))
    return Written(dialect, seen.encoding_seen, seen.mark, given.skip_rows + line, tuple(names))


def read_text(data: bytes, uri: str, written: Written) -> Text:
    """Read the records below the header by the reader of a run, all columns as text."""
    width = len(written.names)
    labels = tuple(str(place) for place in range(width))
    dialect = replace(
        written.dialect, names=labels, skip_rows=written.header_line or written.dialect.skip_rows
    )
    fields = {label: Origin(parts=((label,),)) for label in labels}
    frames: list[pl.DataFrame] = []
    records = 0
    broken: list[tuple[int, int]] = []
    undecoded = 0
    for block in read_blocks(io.BytesIO(data), uri, fields, dialect):
        frames.append(block.fields)
        records += len(block.flaws) + block.fields.height
        is_undecoded = block.flaws & ENCODING > 0
        undecoded += int(np.count_nonzero(is_undecoded))
        places = block.broken.take(~is_undecoded)
        broken += zip(places.offsets.tolist(), places.lengths.tolist(), strict=True)
    frame = pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(labels, pl.String()))
    frame = frame.select(pl.all().str.strip_chars())
    is_empty = pl.all_horizontal(pl.all().fill_null("").str.len_bytes() == 0)
    frame = frame.filter(~is_empty)
    if written.has_header:
        repeated = pl.all_horizontal(
            pl.col(label).fill_null("") == name
            for label, name in zip(labels, written.names, strict=True)
        )
        frame = frame.filter(~repeated)
    delimiter = (dialect.delimiter or ",").encode()
    counts = [data[start : start + length].count(delimiter) for start, length in broken]
    # A record of a single field below others is a footer rather than one with fields missing.
    short = sum(0 < count < width - 1 for count in counts)
    return Text(frame, short, len(counts) - short, undecoded, records)


def encoding_of(data: bytes, uri: str) -> tuple[str, str | None]:
    """Return an encoding that reads the bytes, and the one that characters were seen in."""
    if mark := mark_of(data):
        return mark[1], mark[1]
    if b"\0" in data:
        pairs = data[: len(data) // 2 * 2]
        zeros = pairs[::2].count(b"\0"), pairs[1::2].count(b"\0")
        for name, ours, others in (("utf-16-be", *zeros), ("utf-16-le", *reversed(zeros))):
            if ours > len(pairs) * 0.2 and others * 10 < ours:
                return name, name
        msg = f"{uri} is binary: it holds NUL bytes, and is no file of a kind that is read"
        raise SourceFormatError(msg, remedy="Export it as CSV, or as Parquet or a workbook.")
    if data.isascii():
        return "utf-8", None
    # Single bytes in another encoding don't keep a file from being UTF-8; nearly all must fit.
    for name in ("utf-8", "cp1252"):
        text = Decodable(name)
        text.feed(data)  # its last character may be cut
        if text.holds:
            return name, name
    lines = data.splitlines()
    broken = sum(not _is_utf8(line) for line in lines)
    if broken * 2 < sum(not line.isascii() for line in lines):
        return "utf-8", "utf-8"
    return "latin-1", None


def _is_utf8(line: bytes) -> bool:
    text = Decodable("utf-8")
    text.feed(line)
    return text.ends_well()


def _records(text: str, delimiter: str) -> list[tuple[int, int, list[str]]]:
    """Return the first records: the lines before each, the line that it ends on, its fields."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[tuple[int, int, list[str]]] = []
    before = 0
    try:
        for fields in islice(reader, _FIRST_RECORDS):
            found.append((before, reader.line_num, [field.strip() for field in fields]))
            before = reader.line_num
    except csv.Error:  # a field without an end
        pass
    return [one for one in found if any(one[2])]


def _delimiter(text: str) -> str:
    """Return what stands between the fields: what gives names that are known, then even rows."""
    scores: list[tuple[int, float, int, str]] = []
    for place, delimiter in enumerate(_DELIMITERS):
        records = [fields for _, _, fields in _records(text, delimiter)]
        widths = Counter(len(fields) for fields in records if len(fields) > 1)
        if not widths:
            continue
        width, count = max(widths.items(), key=lambda item: (item[1] * item[0], item[0]))
        known = max(sum(map(is_known, fields)) for fields in records[:_TITLE_LINES])
        # One name alone says little: a title may be one.
        named = known if known > 1 else 0
        scores.append((named, count / len(records) * min(width, 4), -place, delimiter))
    return max(scores)[3] if scores else ","


def _header(text: str, delimiter: str) -> tuple[int, int, tuple[str, ...]]:
    """Return the lines to skip, the line that the header ends on (0 for none), and the names."""
    skipped, line, names = header_of_records(_records(text, delimiter))
    # Blank lines are skipped anyway.
    is_title = any(each.strip() for each in text.split("\n", skipped)[:skipped])
    return skipped if is_title else 0, line, names


def header_of_records(
    records: Sequence[tuple[int, int, Sequence[str]]],
) -> tuple[int, int, tuple[str, ...]]:
    """Find the header among the first records.

    Args:
        records: The lines before each record, the line that it ends on, and its fields.

    Returns:
        The lines before the header, the line that it ends on (0 for none), and the names.
    """
    if not records:
        return 0, 0, ()
    widths = Counter(len(fields) for _, _, fields in records)
    width = max(widths.items(), key=lambda item: (item[1] * min(item[0], 4), item[0]))[0]
    first = records[:_TITLE_LINES]
    known = [sum(map(is_known, fields)) for _, _, fields in first]
    best = max(range(len(first)), key=lambda place: (known[place], -place))
    if known[best] > 1:
        at = best
    else:
        at = next((place for place, (*_, fields) in enumerate(first) if _fills(fields, width)), 0)
    before, line, names = first[at]
    below = [fields for *_, fields in records[at + 1 :]]
    is_header = _is_header(names, below, known[at])
    if is_header:
        return before, line, tuple(names)
    width = min(width, _MOST_COLUMNS)
    return before, 0, tuple(f"column {number}" for number in range(1, width + 1))


def _fills(fields: Sequence[str], width: int) -> bool:
    """Return whether a record has as many fields as most, and something in most of them."""
    return len(fields) == width and sum(map(bool, fields)) > width * _HALF


def _is_header(names: Sequence[str], below: Sequence[Sequence[str]], known: int) -> bool:
    """Return whether a record names columns: it has no values, and knows names or differs."""
    given = [name for name in names if name]
    values = sum(_VALUE.fullmatch(name) is not None for name in given)
    if any("@" in name for name in given) or not given:
        return False
    if known > 1 and values * 2 < len(given):
        return True
    if values:
        return False
    if len(set(given)) < len(given):
        return False
    differs = 0
    for place, name in enumerate(names):
        texts = [fields[place] for fields in below if place < len(fields) and fields[place]]
        fitting = sum(_VALUE.fullmatch(text) is not None for text in texts)
        differs += bool(name) and bool(texts) and fitting > len(texts) * _MOST
    return differs > 0 or known > 0
