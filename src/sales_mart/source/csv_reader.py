"""Bytes of a CSV file into records, block by block, with every byte accounted for.

Polars parses fields at full speed, but it tells neither lines nor offsets and gives up at the
first bad byte. So the structure is settled here first, vectorised: which bytes are a record (RFC
4180), on which line it starts, and which records nobody could split into the header's fields.
Polars then gets well-formed records only, and must find exactly as many as were counted.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from sales_mart.errors import SourceFormatError, UnexpectedError
from sales_mart.source.csv_structure import (
    ENCODING,
    FIELD,
    MALFORMED,
    MAX_RECORD_BYTES,
    OPEN_RECORD,
    RECORD,
    Flags,
    Integers,
    Split,
    split_records,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BLOCK_BYTES", "ENCODING", "MALFORMED", "MAX_RECORD_BYTES", "Block", "read_blocks"]

BLOCK_BYTES = 4 << 20
"""Bytes that are judged at a time: memory follows this, not the file."""

_LONGEST_SHOWN_NAME = 64
_FIRST_BYTES = 1024
_MOST_COLUMNS = 10_000
"""Every column of a block is parsed, so more of them take more memory than a run may have."""
_BOM = b"\xef\xbb\xbf"
_COLUMN_NAME = re.compile(rf"[a-z_]{{1,{_LONGEST_SHOWN_NAME}}}")
_BLANK_LINES = re.compile(rb"(?:[ \t]*+\r?\n)*+")


@dataclass(frozen=True)
class Places:
    """Where records stand in the decompressed file; arrays of one length.

    Attributes:
        rows: Number of the record among all records of the file, from 1.
        lines: Physical line on which it starts, from 1.
        offsets: Byte offset of its first byte.
        lengths: Bytes without the line end.
    """

    rows: Integers
    lines: Integers
    offsets: Integers
    lengths: Integers

    def take(self, where: Flags | Integers) -> Places:
        """Select records by a mask or by position."""
        return Places(self.rows[where], self.lines[where], self.offsets[where], self.lengths[where])


@dataclass(frozen=True)
class Block:
    """Some whole records of a file.

    Attributes:
        fields: One text column per field of a transaction, one row per well-formed record.
        places: Where the well-formed records stand.
        broken: Where the others stand.
        flaws: Bits `MALFORMED` and `ENCODING` of each of the others.
    """

    fields: pl.DataFrame
    places: Places
    broken: Places
    flaws: npt.NDArray[np.uint8]


def read_blocks(
    stream: BinaryIO,
    uri: str,
    fields: tuple[str, ...],
    *,
    block_bytes: int = BLOCK_BYTES,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[Block]:
    """Read the records of one decompressed CSV file.

    Args:
        stream: The file's bytes.
        uri: What to call the file in an error.
        fields: Columns that the header must name, in any order.
        block_bytes: About how many bytes to hold at a time.
        warn: Called with a sentence about columns that are not carried.

    Yields:
        Blocks in the order of the file. A file without a record yields none.

    Raises:
        SourceFormatError: The header lacks a column, names one twice, or is no header.
    """
    buffer = _Buffer(stream, block_bytes)
    header = _read_header(buffer, uri, fields, warn)
    row = 1
    while header is not None and buffer.fill():
        offset, line = buffer.offset, buffer.line
        if buffer.line_is_too_long:
            found = buffer.skip_line()
        else:
            found = split_records(buffer.data, header.width, final=buffer.final)
            buffer.drop(found.consumed, found.lines)
        places = Places(
            rows=row + np.arange(len(found.starts)),
            lines=line + found.first_lines,
            offsets=offset + found.starts,
            lengths=found.lengths,
        )
        row += len(found.starts)
        good = found.flaws == 0
        frame = _parse(found.payload, header, fields)
        if frame.height != np.count_nonzero(good):
            msg = (
                f"{uri}: {np.count_nonzero(good)} records were counted and {frame.height} parsed "
                f"from byte {offset} on"
            )
            raise UnexpectedError(msg, remedy="Report this as a bug, with the file's dialect.")
        if len(found.starts):
            yield Block(frame, places.take(good), places.take(~good), found.flaws[~good])


class _Buffer:
    """A window on the stream that begins on a line and, unless `final`, ends with one."""

    def __init__(self, stream: BinaryIO, block_bytes: int) -> None:
        self._stream = stream
        self._block_bytes = block_bytes
        self._bytes = b""
        self._is_unused = False
        self.data = b""
        self.final = False
        self.offset = 0
        self.line = 1
        self.line_is_too_long = False

    def fill(self) -> bool:
        """Read on; False when the stream has ended and everything is dropped."""
        longest = MAX_RECORD_BYTES + len(b"\r")
        pieces = [self._bytes]
        held = len(self._bytes)
        # More than a block only for who could use nothing of what there was.
        goal = 2 * held if self._is_unused else self._block_bytes
        has_line = b"\n" in self._bytes
        while not self.final and not (held >= goal and (has_line or held > longest)):
            piece = self._stream.read(goal - held if held < goal else self._block_bytes)
            pieces.append(piece)
            held += len(piece)
            self.final = not piece
            has_line = has_line or b"\n" in piece
        self._bytes = b"".join(pieces)
        self._is_unused = held > 0
        end = held if self.final else self._bytes.rfind(b"\n") + 1
        self.line_is_too_long = end == 0 and held > longest
        self.data = self._bytes if end == held else self._bytes[:end]
        return held > 0

    def drop(self, count: int, lines: int) -> None:
        """Forget the first bytes, which hold this many line ends."""
        self._bytes = self._bytes[count:]
        self._is_unused = self._is_unused and not count
        self.offset += count
        self.line += lines

    def skip_line(self) -> Split:
        """Drop one line of any length without holding it; give it as one broken record."""
        self._is_unused = False
        text = _Utf8()
        length = 0
        tail = b""
        piece = self._bytes
        while piece and b"\n" not in piece:
            text.feed(piece)
            length += len(piece)
            tail = piece[-1:]
            piece = self._stream.read(1 << 20)
        self.final = not piece
        last, found, self._bytes = piece.partition(b"\n")
        text.feed(last)
        length += len(last)
        self.offset += length + len(found)
        self.line += len(found)
        length -= 1 if found and (tail + last).endswith(b"\r") else 0
        return Split.oversized(length, MALFORMED if text.ends_well() else MALFORMED | ENCODING)


class _Utf8:
    """Tells whether bytes that come in pieces are UTF-8."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._holds = True

    def feed(self, piece: bytes, *, final: bool = False) -> None:
        """Take the next bytes."""
        try:
            if self._holds:
                self._decoder.decode(piece, final)
        except UnicodeDecodeError:
            self._holds = False

    def ends_well(self) -> bool:
        """Tell it, when no more bytes come."""
        self.feed(b"", final=True)
        return self._holds


@dataclass(frozen=True)
class _Header:
    width: int
    positions: tuple[int, ...]


def _read_header(
    buffer: _Buffer, uri: str, fields: tuple[str, ...], warn: Callable[[str], None]
) -> _Header | None:
    """Take the first record off the buffer and find the columns in it."""
    while buffer.fill() and not buffer.line_is_too_long:
        before = _end_of_blanks(buffer)
        if not before:
            break
        buffer.drop(before, buffer.data.count(b"\n", 0, before))
    if not buffer.data and buffer.final:
        return None
    match = RECORD.match(buffer.data)
    while not match and _may_go_on(buffer) and buffer.fill():
        match = RECORD.match(buffer.data)
    record = match.group() if match else b""
    names = [_unquote(field) for field in _split_fields(record)]
    missing = [name for name in fields if name not in names]
    if missing:
        # Data must not be shown: a name counts only beside a known one, or if all look like names.
        seen = [name for name in names if _COLUMN_NAME.fullmatch(name)]
        if len(seen) < len(names) and not set(seen) & set(fields):
            what = "no header was found: the first line may be data"
        else:
            what = f"the header lacks {', '.join(missing)}; it has {', '.join(seen[:20])}"
        what += _suspicion(buffer.data, record)
        msg = f"{uri}, line {buffer.line}: {what}"
        raise SourceFormatError(
            msg, remedy=f"The first line must name the columns {', '.join(fields)}, in any order."
        )
    if len(names) > _MOST_COLUMNS:
        msg = (
            f"{uri}, line {buffer.line}: the header names {len(names):,} columns, "
            f"more than {_MOST_COLUMNS:,}"
        )
        raise SourceFormatError(msg, remedy=f"Keep the columns {', '.join(fields)}.")
    twice = sorted({name for name in fields if names.count(name) > 1})
    if twice:
        msg = f"{uri}, line {buffer.line}: the header names {', '.join(twice)} twice"
        raise SourceFormatError(msg, remedy="Keep one column of each name.")
    if extra := [name for name in names if name not in fields]:
        names_shown = (name if _is_showable(name) else "(odd name)" for name in extra[:20])
        shown = ", ".join(names_shown)
        warn(f"{uri}: {len(extra)} columns are not carried: {shown}")
    end = len(record)
    rest = buffer.data[end : end + 2]
    end += 2 if rest == b"\r\n" else 1 if rest[:1] == b"\n" else 0
    buffer.drop(end, buffer.data.count(b"\n", 0, end))
    return _Header(len(names), tuple(names.index(name) for name in fields))


def _may_go_on(buffer: _Buffer) -> bool:
    """Tell whether the record at the start may end in what has not been read yet."""
    return (
        not buffer.final
        and len(buffer.data) <= MAX_RECORD_BYTES
        and OPEN_RECORD.match(buffer.data) is not None
    )


def _end_of_blanks(buffer: _Buffer) -> int:
    """Find where blank lines end, or the file's byte order mark."""
    if buffer.offset == 0 and buffer.data.startswith(_BOM):
        return len(_BOM)
    match = _BLANK_LINES.match(buffer.data)
    end = match.end() if match else 0
    # The last line of a file needs no line end to be blank.
    is_all = buffer.final and not buffer.data[end:].strip(b" \t")
    return len(buffer.data) if is_all else end


def _suspicion(data: bytes, record: bytes) -> str:
    """Say what probably keeps a header from being one."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:_FIRST_BYTES]:
        return "; the file is not text in UTF-8 (UTF-16 or binary, by the look of it)"
    if b"\r" in record.rstrip(b"\r"):
        return "; the lines seem to end with a lone CR"
    if data.startswith(_BOM):
        return "; a second byte order mark stands before it"
    return ""


def _is_showable(name: str) -> bool:
    return name.isprintable() and len(name) <= _LONGEST_SHOWN_NAME


def _split_fields(record: bytes) -> list[bytes]:
    return [match.group(1) for match in re.finditer(rb"(?:^|,)(%b)" % FIELD, record)]


def _unquote(field: bytes) -> str:
    if field.startswith(b'"'):
        field = field[1:-1].replace(b'""', b'"')
    return field.decode("utf-8", "replace").strip().lower()


def _parse(payload: bytes, header: _Header, fields: tuple[str, ...]) -> pl.DataFrame:
    """Let Polars parse well-formed records into the columns of a transaction."""
    names = [f"c{position}" for position in range(header.width)]
    schema = dict.fromkeys(names, pl.String())
    wanted = {f"c{position}": name for position, name in zip(header.positions, fields, strict=True)}
    if not payload:
        return pl.DataFrame(schema=dict.fromkeys(fields, pl.String()))
    # Polars would take a byte order mark at the start of any block for the file's own.
    guard = payload.startswith(_BOM)
    if guard:
        payload = b"," * (header.width - 1) + b"\n" + payload
    frame = pl.read_csv(
        payload,
        has_header=False,
        schema=schema,
        quote_char='"' if b'"' in payload else None,
    )
    return frame.slice(1 if guard else 0).select(
        pl.col(column).alias(name) for column, name in wanted.items()
    )
