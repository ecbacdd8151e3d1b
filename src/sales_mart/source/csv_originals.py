"""Records of a CSV file as they stand in it, each with a field more that says why it was rejected.

Nothing may become valid, or be rejected for another reason, by being written among other records.
So each is read once more, alone, before it is written: if it isn't what it was, the reason is
written in another way, and where none will do the record is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import polars as pl

from sales_mart.errors import SourceFormatError
from sales_mart.rows.mapping import normal_name, wanted_names
from sales_mart.source.csv_buffer import Account, Buffer
from sales_mart.source.csv_header import find_header
from sales_mart.source.csv_structure import (
    ENCODING,
    MALFORMED,
    MAX_RECORD_BYTES,
    split_records,
)
from sales_mart.source.encoding import mark_of
from sales_mart.source.kinds import START_BYTES, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sales_mart.schema import Origin
    from sales_mart.source.dialect import Dialect, Grammar
    from sales_mart.source.encoding import Codec

__all__ = ["Record", "Records", "led_by", "reason_column", "write_csv"]

_COLUMN = "rejected_because"
_BLOCK_BYTES = 1 << 20
_FLAWS = {"malformed_row": MALFORMED, "encoding": ENCODING}


class Record(NamedTuple):
    """Where a record stands in the bytes of its file, and why it was rejected.

    Attributes:
        line: Its line, or its row in a file without lines.
        byte_offset: Its first byte.
        byte_length: Its bytes.
        because: The reasons, with spaces between them.
    """

    line: int
    byte_offset: int
    byte_length: int
    because: str


@dataclass(frozen=True)
class Records:
    """Records in the order of their file, as the columns of `Record`: there may be millions."""

    columns: pl.DataFrame

    def __len__(self) -> int:
        """Count them."""
        return self.columns.height

    def __iter__(self) -> Iterator[Record]:
        """Yield them one by one."""
        return map(Record._make, self.columns.iter_rows())

    def within(self, first: int, stop: int) -> Records:
        """Return those of a part of the file, by where they stand in it."""
        offset = pl.col("byte_offset")
        found = self.columns.filter((offset >= first) & (offset < stop))
        return Records(found.with_columns(offset - first))


def reason_column(fields: Mapping[str, Origin]) -> str:
    """Return what the column of the reasons is called: a name that no field comes from."""
    wanted = {normal_name(name) for part in wanted_names(fields) for name in part}
    name = _COLUMN
    while name in wanted:
        name += "_"
    return name


def write_csv(  # noqa: PLR0913 - what a file is read by
    stream: BinaryIO,
    uri: str,
    fields: Mapping[str, Origin],
    dialect: Dialect,
    records: Iterable[Record],
    read: Callable[[BinaryIO, bytes, Iterable[Record]], Iterator[tuple[Record, bytes | None]]],
    write: Callable[[bytes], object],
) -> list[int]:
    """Write the lines before the records as they stand, and some records with their reasons.

    Args:
        stream: The file's bytes.
        uri: What to call the file in an error.
        fields: Our name of each field -> the columns that it comes from.
        dialect: How the file is written.
        records: The records, in the order of the file.
        read: Gives the bytes of the records, of a stream and what was read of it before.
        write: Takes what is to be written.

    Returns:
        Lines of the records that were left out.
    """
    seen = _Seen(stream)
    buffer = Buffer(seen, uri, _BLOCK_BYTES, Account(), dialect.encoding)  # pyright: ignore[reportArgumentType]
    found = find_header(buffer, uri, fields, dialect, lambda _: None)
    if found is None:
        return [record.line for record in records]
    header, grammar = found
    before = bytes(seen.data[: buffer.offset])
    feed = buffer.codec.line_feed
    both = "\r".encode(buffer.codec.name) + feed
    end = both if before.endswith(both) else feed
    again = _Again(
        grammar,
        buffer.codec,
        header.width,
        end,
        has_header=dialect.names is None,
        is_jagged=dialect.jagged_rows,
    )
    if again.has_header:
        title = f"{again.delimiter}{again.plain(reason_column(fields))}"
        before = before.removesuffix(end) + title.encode(buffer.codec.name) + end
    write(before)
    left_out: list[int] = []

    def written() -> Iterator[bytes]:
        for record, data in read(stream, bytes(seen.data), records):
            made = None if data is None else again.with_reasons(data, record.because)
            if made is None:
                left_out.append(record.line)
            else:
                yield made

    tells = again.has_header or dialect.delimiter is not None
    begins = not before
    for each in led_by(written(), lambda made: tells or again.fits(made)):
        # Behind a blank line it is no mark of an encoding, nor of another kind of file.
        if begins and not _begins_as_text(each, uri):
            write(end)
        begins = False
        write(each)
    return left_out


def _begins_as_text(data: bytes, uri: str) -> bool:
    """Tell whether a file that begins so is read as CSV from its first byte on."""
    try:
        return mark_of(data) is None and kind_of(data[:START_BYTES], uri, None) == "csv"
    except SourceFormatError:
        return False


def led_by(written: Iterator[bytes], leads: Callable[[bytes], bool]) -> Iterator[bytes]:
    """Yield the first record that tells how the file is written, then the others in their order.

    Where none does, they come as they are.
    """
    held: list[bytes] = []
    for each in written:
        if leads(each):
            yield each
            break
        held.append(each)
    yield from held
    yield from written


class _Seen:
    """Keeps what is read of a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.data = bytearray()

    def read(self, size: int) -> bytes:
        """Give the next bytes."""
        piece = self._stream.read(size)
        self.data += piece
        return piece


@dataclass(frozen=True)
class _Again:
    """How records are written again.

    Attributes:
        grammar: What stands between and around fields.
        codec: The encoding.
        width: Fields of the file's records.
        end: The line end.
        has_header: Whether the header can name the column of the reasons.
        is_jagged: Whether fields may be missing at the end of a record.
    """

    grammar: Grammar
    codec: Codec
    width: int
    end: bytes
    has_header: bool
    is_jagged: bool

    @property
    def delimiter(self) -> str:
        """What stands between fields."""
        return self.grammar.delimiter.decode()

    def plain(self, text: str) -> str:
        """Write a text of letters and underscores without what means something to the file."""
        special = {*self.delimiter, *self.grammar.quote.decode(), *self.grammar.escape.decode()}
        instead = next(each for each in "-.~+" if each not in special)
        return "".join(instead if each in special else each for each in text)

    def fits(self, written: bytes) -> bool:
        """Tell whether a record has as many fields as all should have."""
        text = self.grammar.coded(self.codec.lines(written).text.rstrip(b"\r\n"))
        is_whole = self.grammar.record.fullmatch(text) is not None
        return is_whole and len(self.grammar.split(text)) == self.width

    def with_reasons(self, data: bytes, reasons: str) -> bytes | None:
        """Return the record with its reasons and a line end, None where nothing reads the same."""
        if len(data) > MAX_RECORD_BYTES or len(data) % self.codec.unit:
            return None
        flaws = sum(_FLAWS.get(reason, 0) for reason in reasons.split())
        text = self.codec.lines(data).text
        for more in self._ways(text, self.plain(reasons), is_whole=not flaws):
            written = data + more.encode(self.codec.name) + self.end
            # Most records need no second look, which takes nine tenths of the time.
            if self._is_plain(text, flaws) or self._is_read(written, text + more.encode(), flaws):
                return written
        return None

    def _is_plain(self, text: bytes, flaws: int) -> bool:
        """Tell whether the number of its fields, and nothing else, says how a record is read."""
        marks = (self.grammar.quote, self.grammar.escape, b"\0", b"\n")
        return (
            self.has_header
            and not self.is_jagged
            and self.codec.is_ascii
            and not flaws & ENCODING
            and len(text) < MAX_RECORD_BYTES // 2
            and not any(mark and mark in text for mark in marks)
            and (text.count(self.grammar.delimiter) + 1 == self.width) == (not flaws)
        )

    def _ways(self, text: bytes, reasons: str, *, is_whole: bool) -> Iterator[str]:
        """Give what may be put behind a record, the best first.

        Around the reasons stand quotes, so that a quote that the record leaves open is closed and
        followed by a letter: such a record is malformed by itself, whatever stands in the next one.
        """
        quote, mark = self.grammar.quote.decode(), self.delimiter
        # A space keeps an escape at the end from meaning the delimiter.
        space = "\t" if mark == " " else " "
        joint = space if self.grammar.escape and text.endswith(self.grammar.escape) else ""
        found = self.grammar.count_delimiters(self.grammar.coded(text)) + 1
        missing = max(self.width - found, 0)
        shown = f"{quote}{reasons}{quote}"
        if not self.has_header:
            yield ""
            if not is_whole:
                yield f"{joint}{mark}{shown}"
                yield f"{joint}{mark}{shown}{mark * (missing + 1)}"
            return
        filled = missing if is_whole and self.is_jagged else 0
        yield f"{joint}{mark * (filled + 1)}{shown}"
        if is_whole and quote:
            # A text of several lines may look as if it had swallowed rows; the last line tells.
            yield f"{joint}{mark * (filled + 1)}{quote}{reasons}\n{quote}"
        if not is_whole:
            # What is whole when it stands alone: a row that a quote of another one swallowed.
            yield f"{joint}{mark}{shown}{mark * (missing + 1)}"
            yield ""

    def _is_read(self, written: bytes, meant: bytes, flaws: int) -> bool:
        """Tell whether a record is read alone as it was read in its file, whatever follows."""
        text = self.codec.lines(written).text
        if not flaws & ENCODING and text.rstrip(b"\r\n") != meant.rstrip(b"\r\n"):
            return False
        width = self.width + self.has_header
        split = split_records(text, width, self.grammar, final=False, jagged=self.is_jagged)
        return (
            text.endswith(b"\n") and split.consumed == len(text) and split.flaws.tolist() == [flaws]
        )
