"""A large text object into ranges of whole records, so that several workers read it.

A search for line ends alone would cut in the middle of a quoted text and give wrong rows without a
word. So the object is gone through as its reader goes through it, and is cut between two blocks,
where the reader is between two records, whatever their quotes are.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, BinaryIO, cast

from sales_mart.errors import SalesMartError
from sales_mart.lake.records import Range
from sales_mart.source.csv_buffer import Account, Buffer
from sales_mart.source.csv_header import find_header
from sales_mart.source.csv_reader import BLOCK_BYTES
from sales_mart.source.csv_structure import plain_records, split_records
from sales_mart.source.dialect import dialect_of
from sales_mart.source.kinds import START_BYTES, kind_of
from sales_mart.source.objects import open_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.config.ingestion import Format
    from sales_mart.lake.records import SourceObject
    from sales_mart.schema import Origin
    from sales_mart.source.csv_header import Header
    from sales_mart.source.dialect import Grammar

__all__ = ["Uncut", "cut"]


class Uncut(Exception):  # noqa: N818 - it is caught by who asks
    """An object is left whole; the text says why."""


class _Digested:
    """Passes the bytes of a stream on, and digests them when it is known what they belong to."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = bytearray()

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._held += piece
        return piece

    def take(self, count: int) -> bytes:
        """Give the next bytes that have not been given."""
        piece = bytes(self._held[:count])
        del self._held[:count]
        return piece


def cut(
    item: SourceObject,
    fields: Mapping[str, Origin],
    format_: Format,
    near: Sequence[int],
    *,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[Range, ...]:
    """Cut an object at the first block that begins at each of some offsets or behind it.

    Args:
        item: The object.
        fields: Our name of each field -> the columns that it comes from.
        format_: What the configuration says of files.
        near: The offsets, ascending.
        block_bytes: About how many bytes to hold at a time.

    Raises:
        Uncut: It is no text, it is compressed, or its reader would stop at once.
        SourceChangedError: The object is not the one that was planned.
    """
    with open_object(item) as stream:
        if not isinstance(stream, io.BufferedReader):
            msg = "it is compressed"
            raise Uncut(msg)
        try:
            kind = kind_of(stream.peek(START_BYTES)[:START_BYTES], item.uri, format_.type)
            if kind != "csv":
                msg = f"it is {kind}, not csv"
                raise Uncut(msg)
            source = _Digested(cast("BinaryIO", stream))
            dialect = dialect_of(format_)
            buffer = Buffer(
                cast("BinaryIO", source), item.uri, block_bytes, Account(), dialect.encoding
            )
            found = find_header(buffer, item.uri, fields, dialect, lambda _: None)
        except SalesMartError as error:
            # Whoever reads the object says the same, with what to do.
            msg = "its header cannot be read"
            raise Uncut(msg) from error
        if found is None:
            msg = "it has no header"
            raise Uncut(msg)
        return _cut(item, buffer, source, found, [*near], jagged=dialect.jagged_rows)


def _cut(  # noqa: PLR0913 - what is known when the header is read
    item: SourceObject,
    buffer: Buffer,
    source: _Digested,
    found: tuple[Header, Grammar],
    near: list[int],
    *,
    jagged: bool,
) -> tuple[Range, ...]:
    header, grammar = found
    first, first_line = buffer.offset, buffer.line
    # Objects in a bucket are known by a generation, which no other content has.
    by_content = item.digest.startswith("sha256:")
    head = hashlib.sha256(source.take(first))
    digest, place, row = head.copy(), (first, first_line, 1), 1
    ranges: list[Range] = []

    def close() -> None:
        begin, line, first_row = place
        ranges.append(
            Range(
                header=first,
                first_line=first_line,
                delimiter=grammar.delimiter.decode(),
                begin=begin,
                end=buffer.offset,
                line=line,
                row=first_row,
                digest=f"sha256:{digest.hexdigest()}" if by_content else item.digest,
            )
        )

    while buffer.fill():
        before = buffer.offset
        if near and near[0] <= before:
            near = [each for each in near if each > before]
            if before > place[0]:
                close()
                digest, place = head.copy(), (before, buffer.line, row)
        row += _drop_records(buffer, header.width, grammar, jagged=jagged)
        digest.update(source.take(buffer.offset - before))
    close()
    return tuple(ranges)


def _drop_records(buffer: Buffer, width: int, grammar: Grammar, *, jagged: bool) -> int:
    """Drop whole records, as many as the reader takes at a time, and count them."""
    if buffer.line_is_too_long:
        buffer.skip_line()
        return 1
    plain = plain_records(buffer.data, grammar)
    if plain is not None:
        buffer.drop(len(buffer.data))
        return plain
    split = split_records(buffer.data, width, grammar, final=buffer.final, jagged=jagged)
    buffer.drop(split.consumed)
    return len(split.starts)
