"""The records of a source object, whatever it is: the reader of its kind, member by member."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, cast

from sales_mart.control_characters import escape_control_characters
from sales_mart.source.archive import archive_in_archive, members_of, names_of, open_member
from sales_mart.source.columnar import read_parquet
from sales_mart.source.csv_reader import BLOCK_BYTES, Account, read_blocks
from sales_mart.source.dialect import dialect_of
from sales_mart.source.jsonl import read_json_lines
from sales_mart.source.kinds import START_BYTES, container_kind, kind_of
from sales_mart.source.objects import decompressed, open_object, open_range
from sales_mart.source.spool import spooled
from sales_mart.source.tables import Reading
from sales_mart.source.workbook import read_workbook

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from pathlib import Path

    from sales_mart.config.ingestion import Format
    from sales_mart.lake.records import Range, SourceObject
    from sales_mart.schema import Origin
    from sales_mart.source.csv_reader import Block, Places
    from sales_mart.source.kinds import Kind

__all__ = ["Rejoined", "read_object", "read_stream"]

_INSIDE = "!"
"""What stands between an archive and its member."""


def read_object(  # noqa: PLR0913 - what a file is read by
    item: SourceObject,
    fields: Mapping[str, Origin],
    format_: Format,
    *,
    block_bytes: int = BLOCK_BYTES,
    warn: Callable[[str], None] = lambda _: None,
    account: Account | None = None,
    allow_empty: bool = True,
    part: Range | None = None,
) -> Generator[Block, None, None]:
    """Read the records of one source object.

    The members of an archive follow each other: rows and byte offsets are counted on, lines and
    `$row` begin anew in each.

    Args:
        item: The object, as it was planned.
        fields: Our name of each field -> the columns that it comes from.
        format_: What the configuration says of files.
        block_bytes: About how many bytes to hold at a time.
        warn: Called with a sentence about what is not carried.
        account: Told where the bytes went that stand in no record.
        allow_empty: Whether a file without a header is one without a record, and no error.
        part: The range of a CSV file that is read; None for all of the object.

    Yields:
        Blocks in the order of the object.

    Raises:
        SourceChangedError: The object is not the one that was planned.
        SourceFormatError: It is something that is not read, is damaged, or lacks a column.
        EmptyInputError: There is no header, and `allow_empty` is not set.
        ConfigurationError: It is not what the configuration says.
    """
    reading = Reading(
        uri=item.uri,
        label=item.name or posixpath.basename(item.uri),
        fields=fields,
        format=format_,
        block_bytes=block_bytes,
        warn=warn,
        account=account or Account(),
        allow_empty=allow_empty,
        part=part,
    )
    if part is not None:
        with open_range(item, part, reading.account) as stream:
            yield from _read_csv(stream, reading)
        return
    with open_object(item, reading.account) as stream:
        yield from read_stream(stream, reading)


def read_stream(stream: BinaryIO, reading: Reading) -> Iterator[Block]:
    """Read the records of a stream by the reader of what it is."""
    start = b""
    while len(start) < START_BYTES and (piece := stream.read(START_BYTES - len(start))):
        start += piece
    kind = kind_of(start, reading.uri, reading.format.type)
    yield from _READERS[kind](cast("BinaryIO", Rejoined(start, stream)), reading)


class Rejoined:
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        self._start = start
        self._stream = stream

    def read(self, size: int) -> bytes:
        """Give the next bytes."""
        if not self._start:
            return self._stream.read(size)
        piece, self._start = self._start[:size], self._start[size:]
        return piece


def _read_csv(stream: BinaryIO, reading: Reading) -> Iterator[Block]:
    return read_blocks(
        stream,
        reading.uri,
        reading.fields,
        dialect_of(reading.format),
        label=reading.label,
        block_bytes=reading.block_bytes,
        warn=reading.warn,
        account=reading.account,
        allow_empty=reading.allow_empty,
        part=reading.part,
    )


def _read_container(stream: BinaryIO, reading: Reading) -> Iterator[Block]:
    """Read what zip has packed: a workbook, or an archive of files.

    Raises:
        SourceFormatError: An archive stands in another one.
    """
    with spooled(stream) as path:
        reading.account.stored = 0
        names = names_of(path, reading.uri)
        if container_kind(names, reading.uri, reading.format.type) == "excel":
            yield from read_workbook(path, reading)
        elif reading.is_member:
            raise archive_in_archive(reading.uri)
        else:
            yield from _read_members(path, reading)


def _read_members(path: Path, reading: Reading) -> Iterator[Block]:
    rows = 0
    for member in members_of(path, reading.uri, reading.warn):
        shown = escape_control_characters(member, on_one_line=True)
        inner = replace(
            reading,
            uri=f"{reading.uri}{_INSIDE}{shown}",
            label=f"{reading.label}{_INSIDE}{member}",
            account=Account(),
            is_member=True,
        )
        last = rows
        with (
            open_member(path, member, inner.uri) as stored,
            decompressed(stored, inner.uri) as stream,
        ):
            for block in read_stream(stream, inner):
                moved = _moved(block, rows, reading.account.size, member)
                last = max(last, *moved.places.rows[-1:], *moved.broken.rows[-1:])
                yield moved
        rows = last
        for name in ("size", "header", "blank", "unplaced"):
            total = getattr(reading.account, name) + getattr(inner.account, name)
            setattr(reading.account, name, total)


def _moved(block: Block, rows: int, size: int, member: str) -> Block:
    """Return a block of a member as one of its archive, behind the rows and bytes before it."""

    def moved(places: Places) -> Places:
        return replace(places, rows=places.rows + rows, offsets=places.offsets + size)

    return replace(block, places=moved(block.places), broken=moved(block.broken), member=member)


_READERS: dict[Kind, Callable[[BinaryIO, Reading], Iterator[Block]]] = {
    "csv": _read_csv,
    "jsonl": read_json_lines,
    "parquet": read_parquet,
    "zip": _read_container,
}
"""The reader of each kind that a file shows by its first bytes; a workbook is a zip archive."""
