"""Bytes of a CSV file into records, block by block, with every byte accounted for.

Polars parses fields at full speed, but it tells neither lines nor offsets and gives up at the
first bad byte. So the structure is settled here first, vectorised: which bytes are a record (RFC
4180), on which line it starts, and which records nobody could split into the header's fields.
Polars then gets well-formed records only, and must find exactly as many as were counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from sales_mart.errors import SourceFormatError, UnexpectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BLOCK_BYTES", "ENCODING", "MALFORMED", "MAX_RECORD_BYTES", "Block", "read_blocks"]

BLOCK_BYTES = 32 << 20
"""Bytes that are judged at a time: memory follows this, not the file."""
MAX_RECORD_BYTES = 16 << 20
"""A longer record is malformed: it is nearly always a quote that nobody closed."""
MALFORMED = 1
ENCODING = 2

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_NUL, _LF, _CR, _QUOTE, _COMMA = 0, 10, 13, 34, 44
_BOM = b"\xef\xbb\xbf"
_QUOTED = rb'"[^"]*+(?:""[^"]*+)*+'
_FIELD = rb'(?:%b"|[^",\n]*+)' % _QUOTED
_RECORD = re.compile(rb"%b(?:,%b)*+(?=\r?\n|\Z)" % (_FIELD, _FIELD))
_OPEN_RECORD = re.compile(rb"(?:%b,)*+%b\Z" % (_FIELD, _QUOTED))
_COLUMN_NAME = re.compile(r"[a-z_]+")


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
            length = buffer.skip_line()
            found = _Split.oversized(length)
        else:
            found = _split(buffer.data, header.width, final=buffer.final)
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
        self.data = b""
        self.final = False
        self.offset = 0
        self.line = 1
        self.line_is_too_long = False

    def fill(self) -> bool:
        """Read on; False when the stream has ended and everything is dropped."""
        goal = max(self._block_bytes, 2 * len(self._bytes))
        pieces = [self._bytes]
        held = len(self._bytes)
        ended = b"\n" in self._bytes and held >= goal
        while not self.final and not ended and not (held > MAX_RECORD_BYTES and held >= goal):
            piece = self._stream.read(goal - held or 1)
            pieces.append(piece)
            held += len(piece)
            self.final = not piece
            ended = held >= goal and any(b"\n" in piece for piece in pieces)
        self._bytes = b"".join(pieces)
        end = held if self.final else self._bytes.rfind(b"\n") + 1
        self.line_is_too_long = end == 0 and held > MAX_RECORD_BYTES
        self.data = self._bytes if end == held else self._bytes[:end]
        return held > 0

    def drop(self, count: int, lines: int) -> None:
        """Forget the first bytes, which hold this many line ends."""
        self._bytes = self._bytes[count:]
        self.offset += count
        self.line += lines

    def skip_line(self) -> int:
        """Drop one line of any length without holding it; give its bytes without the LF."""
        length = 0
        piece = self._bytes
        while piece and (end := piece.find(b"\n")) < 0:
            length += len(piece)
            piece = self._stream.read(1 << 20)
        self.final = not piece
        if piece:
            length += end
            self._bytes = piece[end + 1 :]
            self.line += 1
        else:
            self._bytes = b""
        self.offset += length + (1 if piece else 0)
        return length


@dataclass(frozen=True)
class _Header:
    width: int
    positions: tuple[int, ...]


def _read_header(
    buffer: _Buffer, uri: str, fields: tuple[str, ...], warn: Callable[[str], None]
) -> _Header | None:
    """Take the first record off the buffer and find the columns in it."""
    if buffer.fill() and buffer.data.startswith(_BOM):
        buffer.drop(len(_BOM), 0)
    while buffer.fill() and not buffer.line_is_too_long:
        line, found, _ = buffer.data.partition(b"\n")
        if line.strip(b" \t\r"):
            break
        buffer.drop(len(line) + len(found), len(found))
    if not buffer.data and buffer.final:
        return None
    match = _RECORD.match(buffer.data)
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
        if b"\r" in record.rstrip(b"\r") and len(record) > 1 and b"\n" not in buffer.data:
            what += "; the lines seem to end with a lone CR"
        msg = f"{uri}, line {buffer.line}: {what}"
        raise SourceFormatError(
            msg, remedy=f"The first line must name the columns {', '.join(fields)}, in any order."
        )
    twice = sorted({name for name in fields if names.count(name) > 1})
    if twice:
        msg = f"{uri}, line {buffer.line}: the header names {', '.join(twice)} twice"
        raise SourceFormatError(msg, remedy="Keep one column of each name.")
    if extra := [name for name in names if name not in fields]:
        shown = ", ".join(
            n if n.isprintable() and len(n) < 64 else "(odd name)" for n in extra[:20]
        )
        warn(f"{uri}: {len(extra)} columns are not carried: {shown}")
    end = len(record)
    rest = buffer.data[end : end + 2]
    end += 2 if rest == b"\r\n" else 1 if rest[:1] == b"\n" else 0
    buffer.drop(end, buffer.data.count(b"\n", 0, end))
    return _Header(len(names), tuple(names.index(name) for name in fields))


def _split_fields(record: bytes) -> list[bytes]:
    return [match.group(1) for match in re.finditer(rb"(?:^|,)(%b)" % _FIELD, record)]


def _unquote(field: bytes) -> str:
    if field.startswith(b'"'):
        field = field[1:-1].replace(b'""', b'"')
    return field.decode("utf-8", "replace").strip().lower()


@dataclass(frozen=True)
class _Split:
    """Records of a piece of data; positions count from its first byte, lines from 0."""

    consumed: int
    lines: int
    payload: bytes
    starts: Integers
    lengths: Integers
    first_lines: Integers
    flaws: npt.NDArray[np.uint8]

    @staticmethod
    def oversized(length: int) -> _Split:
        one = np.zeros(1, np.int64)
        flaws = np.full(1, MALFORMED, np.uint8)
        return _Split(length, 1, b"", one, one + length, one, flaws)


def _split(data: bytes, width: int, *, final: bool) -> _Split:
    """Find the records of `data`, which ends with a line end unless it is the last."""
    real = len(data)
    if not data.endswith(b"\n"):
        data += b"\n"
    array = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero((array == _LF) | (array == _COMMA))
    at_end = np.flatnonzero(array[marks] == _LF)
    ends = marks[at_end]
    commas = np.diff(at_end, prepend=-1) - 1
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])

    spans: dict[int, tuple[int, int, int]] = {}
    broken_lines = np.zeros(len(ends), np.bool_)
    if b'"' in data:
        quotes = np.flatnonzero(array == _QUOTE)
        irregular = _judge_quotes(array, real, quotes, starts, ends, marks, commas)
        cut = _walk(data[:real], starts, ends, irregular, spans, broken_lines, final=final)
        if cut is not None:
            starts, ends, commas = starts[:cut], ends[:cut], commas[:cut]
            broken_lines = broken_lines[:cut]
            data = data[: ends[-1] + 1] if cut else b""
            real = len(data)
            array = array[:real]

    first = _first_lines(data, starts, ends, commas, spans)
    last = first.copy()
    fields = commas[first] + 1
    stops = ends[first]
    for line, (stop_line, _, width_found) in spans.items():
        index = int(np.searchsorted(first, line))
        last[index], stops[index], fields[index] = stop_line, ends[stop_line], width_found
    trimmed = (stops > starts[first]) & (stops < real) & (array[stops - 1] == _CR)
    flaws = np.where(broken_lines[first] | (fields != width), MALFORMED, 0).astype(np.uint8)
    if b"\0" in data:
        flaws[_holders(first, ends, np.flatnonzero(array == _NUL))] |= MALFORMED
    if not data.isascii():
        _judge_encoding(data, starts[first], stops, flaws)
    return _Split(
        consumed=min(len(data), real),
        lines=len(ends) - (0 if data[:real].endswith(b"\n") or not len(ends) else 1),
        payload=_payload(data, starts[first], ends[last] + 1, flaws == 0),
        starts=starts[first],
        lengths=stops - starts[first] - trimmed,
        first_lines=first,
        flaws=flaws,
    )


def _judge_quotes(  # noqa: PLR0913 - the arrays of one pass
    array: npt.NDArray[np.uint8],
    real: int,
    quotes: Integers,
    starts: Integers,
    ends: Integers,
    marks: Integers,
    commas: Integers,
) -> Integers:
    """Find the lines whose quotes do not make sense by themselves; mend the others' `commas`.

    Within a line that starts outside of quotes, the first quote opens, the second closes, and so
    on; an escaped quote closes and opens. Each must have the right neighbour.
    """
    line = np.searchsorted(ends, quotes)
    fresh = np.flatnonzero(np.diff(line, prepend=-1))
    rank = np.arange(len(quotes)) - np.repeat(fresh, np.diff(np.append(fresh, len(quotes))))
    closes = (rank & 1).astype(np.bool_)
    before, after = array[quotes - 1], array[quotes + 1]
    opens_well = (quotes == starts[line]) | (before == _COMMA) | (before == _QUOTE)
    two_on = np.minimum(quotes + 2, len(array) - 1)
    at_line_end = (after == _LF) | ((after == _CR) & (array[two_on] == _LF) & (two_on < real))
    closes_well = (after == _COMMA) | (after == _QUOTE) | at_line_end
    wrong = np.where(closes, ~closes_well, ~opens_well)
    with_quotes = line[fresh]
    unclosed = np.diff(np.append(fresh, len(quotes))) & 1 == 1
    irregular = np.union1d(line[wrong], with_quotes[unclosed])

    quoted_line = np.zeros(len(ends), np.bool_)
    quoted_line[with_quotes] = True
    comma_line = np.repeat(np.arange(len(ends)), commas)
    positions = marks[array[marks] == _COMMA]
    chosen = quoted_line[comma_line]
    comma_line, positions = comma_line[chosen], positions[chosen]
    first_quote = np.searchsorted(quotes, starts[comma_line])
    inside = (np.searchsorted(quotes, positions) - first_quote) & 1 == 1
    np.subtract.at(commas, comma_line[inside], 1)
    return irregular


def _walk(  # noqa: PLR0913 - the arrays of one pass
    data: bytes,
    starts: Integers,
    ends: Integers,
    irregular: Integers,
    spans: dict[int, tuple[int, int, int]],
    broken_lines: Flags,
    *,
    final: bool,
) -> int | None:
    """Read records of several lines one by one, and mark the lines that no quote can mend.

    Returns:
        The line at which to stop, since its record goes on after `data`; None to take all.
    """
    free = 0
    for line in irregular.tolist():
        if line < free:
            continue
        start = int(starts[line])
        match = _RECORD.match(data, start)
        if match and match.end() - start <= MAX_RECORD_BYTES:
            stop_line = int(np.searchsorted(ends, match.end()))
            width = re.sub(rb'"[^"]*"', b"", match.group()).count(b",") + 1
            spans[line] = (stop_line, match.end(), width)
            free = stop_line + 1
        elif (
            not final and len(data) - start <= MAX_RECORD_BYTES and _OPEN_RECORD.match(data, start)
        ):
            return line
        else:
            broken_lines[line] = True
            free = line + 1
    return None


def _first_lines(
    data: bytes,
    starts: Integers,
    ends: Integers,
    commas: Integers,
    spans: dict[int, tuple[int, int, int]],
) -> Integers:
    """Give the lines on which a record starts: neither blank nor inside another record."""
    takes_part = np.ones(len(ends), np.bool_)
    for line, (stop_line, _, _) in spans.items():
        takes_part[line + 1 : stop_line + 1] = False
    for line in np.flatnonzero(takes_part & (commas == 0)).tolist():
        content = data[starts[line] : ends[line]]
        takes_part[line] = bool(content.removesuffix(b"\r").strip(b" \t"))
    return np.flatnonzero(takes_part)


def _holders(first: Integers, ends: Integers, positions: Integers) -> Integers:
    """Give the records that hold the bytes at `positions`."""
    lines = np.searchsorted(ends, positions)
    return np.unique(np.searchsorted(first, lines, side="right") - 1)


def _judge_encoding(
    data: bytes, starts: Integers, stops: Integers, flaws: npt.NDArray[np.uint8]
) -> None:
    """Mark the records that are not UTF-8, decoding each byte once."""
    view = memoryview(data)
    at = 0
    while at < len(data):
        try:
            str(view[at:], "utf-8")
        except UnicodeDecodeError as error:
            record = int(np.searchsorted(starts, at + error.start, side="right")) - 1
            flaws[record] |= ENCODING
            at = int(stops[record]) + 1
        else:
            return


def _payload(data: bytes, starts: Integers, stops: Integers, good: Flags) -> bytes:
    """Join the bytes of the good records, whole runs of them at a time."""
    if not good.any():
        return b""
    # A run goes on while a good record begins where the good record before it stopped.
    joined = good[1:] & good[:-1] & (starts[1:] == stops[:-1])
    run_starts = starts[good & ~np.append(False, joined)]
    run_stops = stops[good & ~np.append(joined, False)]
    if len(run_starts) == 1 and run_starts[0] == 0 and run_stops[0] == len(data):
        return data
    view = memoryview(data)
    pairs = zip(run_starts.tolist(), run_stops.tolist(), strict=True)
    return b"".join(view[start:stop] for start, stop in pairs)


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
