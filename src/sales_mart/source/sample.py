"""The first bytes of a source object: enough to see how it is written."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import EmptyInputError
from sales_mart.lake.records import SourceObject
from sales_mart.source.archive import archive_in_archive, members_of, names_of, open_member
from sales_mart.source.columnar import arrow_errors
from sales_mart.source.encoding import codec_of
from sales_mart.source.kinds import START_BYTES, Kind, container_kind, kind_of
from sales_mart.source.listing import list_objects
from sales_mart.source.objects import decompressed, open_start
from sales_mart.source.read import Rejoined
from sales_mart.source.spool import spooled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sales_mart.source.listing import Listed

__all__ = ["SAMPLE_BYTES", "Sample", "first_object", "read_sample", "whole_records"]

SAMPLE_BYTES = 1 << 20
"""Decompressed bytes of a text that are looked at."""
_ROWS = 5_000
"""Rows of a Parquet file that are looked at."""
_MOST_LINES = 1_000


@dataclass(frozen=True)
class Sample:
    """The start of an object.

    Attributes:
        uri: Its path or address; behind it the member, of an archive.
        size: Its bytes as stored.
        kind: What it is.
        data: Its first bytes, decompressed; of Parquet a file of the first rows, and a workbook
            whole.
        is_whole: They are all.
    """

    uri: str
    size: int
    kind: Kind
    data: bytes
    is_whole: bool


def first_object(source: str, warn: Callable[[str], None]) -> Listed:
    """Return the first object that a file, folder or glob names.

    Raises:
        NoSourceObjectError: It matches nothing.
        ConfigurationError: It may not be read.
    """
    objects = list_objects([source], warn)
    if len(objects) > 1:
        warn(f"{len(objects):,} objects are there; this is the first of them")
    return objects[0]


def read_sample(
    listed: Listed, given: Kind | None = None, warn: Callable[[str], None] = lambda _: None
) -> Sample:
    """Read the first bytes of an object.

    Args:
        listed: The object.
        given: What the configuration says that it is.
        warn: Called with a sentence about members of an archive that are not looked at.

    Raises:
        EmptyInputError: It has none.
        SourceFormatError: It is something that is not read, or is damaged.
        ConfigurationError: It is not what the configuration says.
    """
    item = SourceObject(uri=listed.uri, size=listed.size, digest=listed.version)
    with open_start(item) as stream:
        return _sample(stream, listed.uri, listed.size, given, warn)


def _sample(
    stream: BinaryIO, uri: str, size: int, given: Kind | None, warn: Callable[[str], None]
) -> Sample:
    start = _read(stream, START_BYTES)
    if not start.strip():
        msg = f"{uri} has {'only blank lines' if start else 'no bytes'}, not even a header"
        raise EmptyInputError(msg, remedy="Look at a file that has rows.")
    kind = kind_of(start, uri, given)
    if kind in {"csv", "jsonl"}:
        data = start + _read(stream, SAMPLE_BYTES + 1 - len(start))
        return Sample(uri, size, kind, data[:SAMPLE_BYTES], is_whole=len(data) <= SAMPLE_BYTES)
    with _on_disk(start, stream, uri) as path:
        if kind == "parquet":
            return _first_rows(path, uri, size)
        if container_kind(names_of(path, uri), uri, given) == "excel":
            return Sample(uri, size, "excel", path.read_bytes(), is_whole=True)
        if "!" in uri:
            raise archive_in_archive(uri)
        first, *others = members_of(path, uri, warn)
        if others:
            warn(f"{len(others) + 1:,} members are data; this is the first of them")
        name = f"{uri}!{escape_control_characters(first, on_one_line=True)}"
        with open_member(path, first, name) as stored, decompressed(stored, name) as member:
            return _sample(member, name, size, given, warn)


def _read(stream: BinaryIO, size: int) -> bytes:
    pieces: list[bytes] = []
    held = 0
    while held < size and (piece := stream.read(size - held)):
        pieces.append(piece)
        held += len(piece)
    return b"".join(pieces)


@contextmanager
def _on_disk(start: bytes, stream: BinaryIO, uri: str) -> Generator[Path]:
    """Yield a file with the bytes of a stream: the object itself where it is one."""
    path = Path(uri)
    if path.is_file():
        with path.open("rb") as file:
            is_plain = file.read(len(start)) == start
        if is_plain:
            yield path
            return
    with spooled(cast("BinaryIO", Rejoined(start, stream))) as copy:
        yield copy


def _first_rows(path: Path, uri: str, size: int) -> Sample:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with arrow_errors(uri), pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(_ROWS), None)
        table = file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])
        copy = io.BytesIO()
        pq.write_table(table, copy)
        is_whole = file.metadata.num_rows <= _ROWS
    return Sample(uri, size, "parquet", copy.getvalue(), is_whole=is_whole)


def whole_records(sample: Sample, encoding: str, quote: str | None) -> bytes:
    """Return the bytes without the record that the end of the sample cuts in two."""
    data = sample.data
    if sample.is_whole:
        return data
    codec = codec_of(encoding)
    data = data[: codec.last_end(data)]
    mark = (quote or "").encode()
    for _ in range(_MOST_LINES):
        if not mark or data.count(mark) % 2 == 0:
            return data
        shorter = codec.last_end(data[: -codec.unit])
        if not shorter:
            break
        data = data[:shorter]
    return sample.data[: codec.last_end(sample.data)]
