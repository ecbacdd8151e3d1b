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

from sales_mart.errors import EmptyInputError, SourceFormatError, UnexpectedError
from sales_mart.source.csv_header import BOM, Header, read_header
from sales_mart.source.csv_structure import (
    ENCODING,
    MALFORMED,
    MAX_RECORD_BYTES,
    OPEN_RECORD,
    RECORD,
    Flags,
    Integers,
    Small,
    Split,
    split_records,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["BLOCK_BYTES", "ENCODING", "MALFORMED", "MAX_RECORD_BYTES", "Block", "read_blocks"]

BLOCK_BYTES = 4 << 20
"""Bytes that are checked at a time: memory follows this, not the file."""

_MOST_SHOWN = 5
_LINE_END = re.compile(rb"\r?\n")
_BLANK_LINES = re.compile(rb"(?:[ \t]*+\r?\n)*+")


@dataclass(frozen=True)
class Places:
    """Where records stand in the decompressed file; arrays of one length.

    Attributes:
        rows: Number of the record among all records of the file, from 1.
        lines: Physical line on which it starts, from 1.
        offsets: Byte offset of its first byte.
        lengths: Bytes without the line end.
        line_ends: Bytes of the line end.
    """

    rows: Integers
    lines: Integers
    offsets: Integers
    lengths: Integers
    line_ends: Small

    def take(self, where: Flags | Integers) -> Places:
        """Select records by a mask or by position."""
        return Places(
            self.rows[where],
            self.lines[where],
            self.offsets[where],
            self.lengths[where],
            self.line_ends[where],
        )


@dataclass
class Account:
    """Where the bytes of a stream that are no records went; complete when it has been read.

    Attributes:
        size: Bytes that the stream gave.
        header: Bytes of the byte order mark and of the header with its line end.
        blank: Bytes of blank lines.
    """

    size: int = 0
    header: int = 0
    blank: int = 0


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


def read_blocks(  # noqa: PLR0913 - the last three are optional, by keyword
    stream: BinaryIO,
    uri: str,
    fields: Mapping[str, str],
    *,
    block_bytes: int = BLOCK_BYTES,
    warn: Callable[[str], None] = lambda _: None,
    account: Account | None = None,
    allow_empty: bool = True,
) -> Iterator[Block]:
    """Read the records of one decompressed CSV file.

    Args:
        stream: The file's bytes.
        uri: What to call the file in an error.
        fields: Columns that the header must name, in any order: our name -> theirs.
        block_bytes: About how many bytes to hold at a time.
        warn: Called with a sentence about columns that are not carried, and about quotes that
            swallowed rows.
        account: Told where the bytes went that stand in no record.
        allow_empty: Whether a file without a header is one without a record, and no error.

    Yields:
        Blocks in the order of the file. A file without a record yields none.

    Raises:
        SourceFormatError: The header lacks a column, names one twice, holds a control character,
            or is no header.
        EmptyInputError: There is no header, and `allow_empty` is not set.
    """
    account = account or Account()
    buffer = _Buffer(stream, block_bytes, account)
    header = _read_header(buffer, uri, fields, warn)
    if header is None and not allow_empty:
        what = "only blank lines" if buffer.offset else "no bytes"
        msg = f"{uri} has {what}, not even a header"
        raise EmptyInputError(
            msg, remedy="Deliver the file again, whole; --allow-empty takes it for an empty one."
        )
    swallowed = 0
    shown: list[str] = []
    row = 1
    while header is not None and buffer.fill():
        offset, line = buffer.offset, buffer.line
        if buffer.line_is_too_long:
            found = buffer.skip_line()
        else:
            found = split_records(buffer.data, header.width, final=buffer.final)
            buffer.drop(found.consumed, found.lines)
        account.blank += found.blank
        swallowed += len(found.swallowed)
        if len(shown) < _MOST_SHOWN:
            quotes = found.swallowed[:_MOST_SHOWN]
            shown += [f"{line + first}-{line + last}" for first, last in quotes]
        places = Places(
            rows=row + np.arange(len(found.starts)),
            lines=line + found.first_lines,
            offsets=offset + found.starts,
            lengths=found.lengths,
            line_ends=found.line_ends,
        )
        row += len(found.starts)
        good = found.flaws == 0
        frame = _parse(found.payload, header)
        if frame.height != np.count_nonzero(good):
            msg = (
                f"{uri}: {np.count_nonzero(good)} records were counted and {frame.height} parsed "
                f"from byte {offset} on"
            )
            raise UnexpectedError(msg, remedy="Report this as a bug, with the file's dialect.")
        if len(found.starts):
            yield Block(frame, places.take(good), places.take(~good), found.flaws[~good])
    if row == 1 and header is not None and header.holds_values:
        msg = (
            f"{uri}: the header names {header.width:,} columns, values among them, and has no rows"
        )
        raise SourceFormatError(msg, remedy="End each row with a line end, the header first.")
    if swallowed:
        more = ", …" if swallowed > len(shown[:_MOST_SHOWN]) else ""
        warn(
            f"{uri}: {swallowed} quotes open in one row and close in a later one, so all rows of "
            f"these lines are rejected as malformed_row: {', '.join(shown[:_MOST_SHOWN])}{more}"
        )


class _Buffer:
    """A window on the stream that begins on a line and, unless `final`, ends with one."""

    def __init__(self, stream: BinaryIO, block_bytes: int, account: Account) -> None:
        self._stream = stream
        self.account = account
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
            piece = self._read(goal - held if held < goal else self._block_bytes)
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

    def _read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self.account.size += len(piece)
        return piece

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
            piece = self._read(1 << 20)
        self.final = not piece
        last, found, self._bytes = piece.partition(b"\n")
        text.feed(last)
        length += len(last)
        self.offset += length + len(found)
        self.line += len(found)
        line_end = len(found) + (1 if found and (tail + last).endswith(b"\r") else 0)
        flaws = MALFORMED if text.ends_well() else MALFORMED | ENCODING
        return Split.oversized(length + len(found) - line_end, line_end, flaws)


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


def _read_header(
    buffer: _Buffer, uri: str, fields: Mapping[str, str], warn: Callable[[str], None]
) -> Header | None:
    """Take the first record off the buffer and find the columns in it."""
    account = buffer.account
    while buffer.fill() and not buffer.line_is_too_long:
        if buffer.offset == 0 and buffer.data.startswith(BOM):
            before = account.header = len(BOM)
        else:
            before = _end_of_blanks(buffer)
            account.blank += before
        if not before:
            break
        buffer.drop(before, buffer.data.count(b"\n", 0, before))
    if not buffer.data and buffer.final:
        return None
    match = RECORD.match(buffer.data)
    while not match and _may_go_on(buffer) and buffer.fill():
        match = RECORD.match(buffer.data)
    end = match.end() if match else 0
    line_end = _LINE_END.match(buffer.data, end)
    # The pattern of a field takes the carriage return of a line end with it.
    has_return = buffer.data[:end].endswith(b"\r") and line_end is not None
    record = buffer.data[: end - has_return]
    header = read_header(record, buffer.data, (uri, buffer.line), fields, warn)
    end = line_end.end() if line_end else end
    account.header += end
    buffer.drop(end, buffer.data.count(b"\n", 0, end))
    return header


def _may_go_on(buffer: _Buffer) -> bool:
    """Return whether the record at the start may end in what has not been read yet."""
    return (
        not buffer.final
        and len(buffer.data) <= MAX_RECORD_BYTES
        and OPEN_RECORD.match(buffer.data) is not None
    )


def _end_of_blanks(buffer: _Buffer) -> int:
    """Find where blank lines end."""
    match = _BLANK_LINES.match(buffer.data)
    end = match.end() if match else 0
    # The last line of a file needs no line end to be blank.
    is_all = buffer.final and not buffer.data[end:].strip(b" \t")
    return len(buffer.data) if is_all else end


def _parse(payload: bytes, header: Header) -> pl.DataFrame:
    """Let Polars parse well-formed records into the columns of a transaction."""
    names = [f"c{position}" for position in range(header.width)]
    schema = dict.fromkeys(names, pl.String())
    if not payload:
        return pl.DataFrame(schema=dict.fromkeys(header.positions, pl.String()))
    # Polars would take a byte order mark at the start of any block for the file's own.
    with_mark = payload.startswith(BOM)
    if with_mark:
        payload = b"," * (header.width - 1) + b"\n" + payload
    frame = pl.read_csv(
        payload,
        has_header=False,
        schema=schema,
        quote_char='"' if b'"' in payload else None,
    )
    return frame.slice(1 if with_mark else 0).select(
        pl.col(f"c{position}").alias(name) for name, position in header.positions.items()
    )
