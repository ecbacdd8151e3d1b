"""A window on the bytes of a text file that knows where each of its lines stands in the source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.source.csv_structure import (
    ENCODING,
    MALFORMED,
    MAX_RECORD_BYTES,
    Flags,
    Integers,
    Small,
    Split,
)
from sales_mart.source.encoding import Decodable, Lines, codec_of, mark_of

if TYPE_CHECKING:
    from sales_mart.lake.records import Range
    from sales_mart.source.encoding import Codec

__all__ = ["Account", "Buffer", "Places"]

_LONGEST_MARK = 4
_PIECE_BYTES = 1 << 20


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

    @property
    def size(self) -> int:
        """Bytes of all records, line ends included."""
        return int(self.lengths.sum()) + int(self.line_ends.sum(dtype=np.int64))

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
        header: Bytes of the byte order mark, of skipped lines and of the header with its line end.
        blank: Bytes of blank lines.
        unplaced: Bytes of files whose records stand at no byte: Parquet, workbooks.
        stored: Bytes as stored that have been read; 0 where they are not read in step with the
            records.
    """

    size: int = 0
    header: int = 0
    blank: int = 0
    unplaced: int = 0
    stored: int = field(default=0, compare=False)


class Buffer:
    """A window on the stream that begins on a line and, unless `final`, ends with one.

    Attributes:
        data: The lines in UTF-8.
        final: Nothing follows them.
        offset: Where they begin in the source.
        line: Number of the first one, from 1.
        line_is_too_long: The first line is longer than any record may be; `data` has only a part.
        account: Told what is read.
        codec: The encoding.
    """

    def __init__(
        self, stream: BinaryIO, uri: str, block_bytes: int, account: Account, encoding: str | None
    ) -> None:
        """Read what a byte order mark says.

        Raises:
            ConfigurationError: The configuration names another encoding.
            SourceFormatError: The encoding needs a byte order mark, and there is none.
        """
        self._stream = stream
        self._block_bytes = block_bytes
        self._is_unused = False
        self._lines = Lines(b"")
        self.account = account
        self.data = b""
        self.final = False
        self.offset = 0
        self.line = 1
        self.line_is_too_long = False
        self._bytes = b""
        while len(self._bytes) < _LONGEST_MARK and (piece := self._read(_LONGEST_MARK)):
            self._bytes += piece
        self.codec = self._codec_of(uri, encoding)

    def _codec_of(self, uri: str, encoding: str | None) -> Codec:
        found = mark_of(self._bytes)
        if found is None:
            if encoding in {"utf-16", "utf-32"}:
                msg = (
                    f"{uri} has no byte order mark, so {encoding} does not say which byte is first"
                )
                raise SourceFormatError(
                    msg, remedy=f"Set ingestion.format.encoding to {encoding}-le or {encoding}-be."
                )
            return codec_of(encoding or "utf-8")
        mark, name = found
        if encoding is not None and not name.startswith(
            codec_of(encoding).name.removesuffix("-le")
        ):
            msg = (
                f"{uri} begins with the byte order mark of {name}, and ingestion.format.encoding "
                f"is {encoding}"
            )
            raise ConfigurationError(msg, remedy="Take the key out: the mark says the encoding.")
        self._bytes = self._bytes[len(mark) :]
        self.account.header += len(mark)
        self.offset += len(mark)
        return codec_of(name)

    def fill(self) -> bool:
        """Read on; False when the stream has ended and everything is dropped."""
        longest = MAX_RECORD_BYTES + len(b"\r")
        pieces = [self._bytes]
        held = len(self._bytes)
        # More than a block only for who could use nothing of what there was.
        goal = 2 * held if self._is_unused else self._block_bytes
        has_line = self.codec.first_end(self._bytes) > 0
        while not self.final and not (held >= goal and (has_line or held > longest)):
            piece = self._read(goal - held if held < goal else self._block_bytes)
            pieces.append(piece)
            held += len(piece)
            self.final = not piece
            # Of a line feed of several bytes a part may do: then more is read the next time.
            has_line = has_line or self.codec.line_feed.strip(b"\0") in piece
        self._bytes = b"".join(pieces)
        self._is_unused = held > 0
        end = held if self.final else self.codec.last_end(self._bytes)
        self.line_is_too_long = end == 0 and held > longest
        raw = self._bytes if end == held else self._bytes[:end]
        self._lines = Lines(raw) if self.line_is_too_long else self.codec.lines(raw)
        self.data = self._lines.text
        return held > 0

    def places(self, split: Split) -> Places:
        """Return where the records of the data stand in the source; `rows` count from 0."""
        rows = np.arange(len(split.starts))
        lines = self.line + split.first_lines
        places = self._lines.places
        if places is None:
            return Places(rows, lines, self.offset + split.starts, split.lengths, split.line_ends)
        line_ends = (split.line_ends * self.codec.unit).astype(np.int8)
        starts = places[split.first_lines]
        lengths = places[split.last_lines + 1] - starts - line_ends
        return Places(rows, lines, self.offset + starts, lengths, line_ends)

    def drop(self, count: int) -> None:
        """Forget the first bytes of the data, which end with a line."""
        lines = int(np.count_nonzero(np.frombuffer(self.data, np.uint8, count) == ord("\n")))
        places = self._lines.places
        size = count
        if places is not None:
            size = int(places[-1 if count == len(self.data) else lines])
        self._bytes = self._bytes[size:]
        self._is_unused = self._is_unused and not count
        self.offset += size
        self.line += lines

    def jump(self, part: Range) -> None:
        """Take what follows the header for a range that stands farther on in the source."""
        # Where there are only names, blank lines of the range may have been dropped already.
        beyond = self.offset - part.header
        self.offset = part.begin + beyond
        self.line += part.line - part.first_line
        if part.begin > part.header:
            # The header counts where the first range is read.
            self.account.size -= part.header
            self.account.header, self.account.blank = 0, beyond

    def skip_lines(self, count: int) -> None:
        """Drop some lines that stand before the header, and count their bytes as its own."""
        start = self.offset
        while count and self.fill():
            if self.line_is_too_long:
                self.skip_line()
                count -= 1
                continue
            *_, rest = self.data.split(b"\n", count)
            end = len(self.data) - len(rest)
            found = self.data.count(b"\n", 0, end)
            self.drop(len(self.data) if found < count and self.final else end)
            count -= found
        self.account.header += self.offset - start

    def skip_line(self) -> tuple[Split, Places]:
        """Drop one line of any length without holding it; give it as one broken record."""
        self._is_unused = False
        unit = self.codec.unit
        text = Decodable(self.codec.name)
        length, tail, held = 0, b"", self._bytes
        while not (end := self.codec.first_end(held)) and not self.final:
            whole = held[: len(held) - len(held) % unit]
            text.feed(whole)
            length += len(whole)
            tail = whole[-unit:]
            piece = self._read(_PIECE_BYTES)
            self.final = not piece
            held = held[len(whole) :] + piece
        body, self._bytes = (held[: end - unit], held[end:]) if end else (held, b"")
        text.feed(body)
        length += len(body)
        has_return = end and (tail + body).endswith("\r".encode(self.codec.name))
        line_end = (unit if end else 0) + (unit if has_return else 0)
        size = length + (unit if end else 0)
        flaws = MALFORMED if text.ends_well() else MALFORMED | ENCODING
        split = Split.oversized(size - line_end, line_end, flaws)
        one = np.ones(1, np.int64)
        places = Places(one, one * self.line, one * self.offset, split.lengths, split.line_ends)
        self.offset += size
        self.line += 1 if end else 0
        return split, places

    def _read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self.account.size += len(piece)
        return piece
