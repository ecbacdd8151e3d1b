"""Rejected records as they stand in their source, written into files that read back the same."""

from __future__ import annotations

import json
import os
import posixpath
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import polars as pl

from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import SourceChangedError
from sales_mart.lake.disk import disk_errors
from sales_mart.source.archive import archive_in_archive, members_of, names_of, open_member
from sales_mart.source.columnar import arrow_errors, batches_of
from sales_mart.source.csv_buffer import Account
from sales_mart.source.csv_originals import led_by, reason_column, write_csv
from sales_mart.source.csv_structure import MAX_RECORD_BYTES
from sales_mart.source.dialect import dialect_of
from sales_mart.source.kinds import START_BYTES, container_kind, kind_of
from sales_mart.source.objects import LET_FINISH, decompressed, open_object
from sales_mart.source.read import Rejoined
from sales_mart.source.spool import spooled
from sales_mart.source.tables import Reading
from sales_mart.source.workbook_originals import write_workbook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sales_mart.config.ingestion import Format
    from sales_mart.lake.records import SourceObject
    from sales_mart.schema import Origin
    from sales_mart.source.csv_originals import Record, Records

__all__ = ["Written", "write_originals"]

_CHUNK_BYTES = 1 << 20
_LOOKS_LIKE_LINES = re.compile(rb"\s*\{\s*[\"}]")
_PACKED = (".gz", ".zst")
_LONGEST_NAME = 200
"""Bytes of a file's name; most file systems take 255, of which some go before it."""


@dataclass(frozen=True)
class Written:
    """The rejected records of one file, written.

    Attributes:
        uri: The file; in an archive, its member.
        name: What to call the file that was written, where it has no name of its own.
        path: Where it was written.
        rows: How many records.
        left_out: Lines of those that cannot be written so that they are read the same.
    """

    uri: str
    name: str
    path: Path
    rows: int
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Job:
    """What is read of one file, and where it goes."""

    uri: str
    name: str
    fields: Mapping[str, Origin]
    format: Format
    records: Records
    folder: Path
    done: list[Written] = field(default_factory=list[Written])

    def inner(self, member: str, records: Records) -> _Job:
        """Return what is read of a member of an archive."""
        uri = _member_uri(self.uri, member)
        return replace(self, uri=uri, name=f"{self.name}-{member}", records=records)

    def write(self, fill: Callable[[Callable[[bytes], object]], list[int]]) -> None:
        """Let something be written into a file that only its owner can read."""
        path = self.folder / f"{len(self.done):05d}"
        with disk_errors(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:

                def write(data: bytes) -> None:
                    with disk_errors(path):
                        file.write(data)

                left_out = fill(write)
        self.add(path, left_out)

    def add(self, path: Path, left_out: Sequence[int] = ()) -> None:
        """Tell of a file that was written."""
        name = escape_control_characters(self.name.replace("/", "-"), on_one_line=True)
        for packed in _PACKED:
            name = name.removesuffix(packed)
        # What it is stands at the end.
        name = name.encode(errors="replace")[-_LONGEST_NAME:].decode(errors="ignore")
        rows = len(self.records) - len(left_out)
        self.done.append(Written(self.uri, name, path, rows, tuple(left_out)))


def write_originals(
    item: SourceObject,
    fields: Mapping[str, Origin],
    format_: Format,
    records: Records,
    folder: Path,
) -> list[Written]:
    """Write some records of a source object as they stand there, with the reasons of each.

    Args:
        item: The object, as it was planned.
        fields: Our name of each field -> the columns that it comes from.
        format_: What the configuration says of files.
        records: The records, in the order of the object.
        folder: Where files are written.

    Returns:
        What was written: one file, or one for each member of an archive that has such records.

    Raises:
        SourceChangedError: The object is gone, or is not the one that was planned.
    """
    name = item.name or posixpath.basename(item.uri)
    job = _Job(item.uri, name, fields, format_, records, folder)
    with open_object(item) as stream:
        _write_stream(stream, job)
    return job.done


def _write_stream(stream: BinaryIO, job: _Job, *, is_member: bool = False) -> None:
    start = b""
    while len(start) < START_BYTES and (piece := stream.read(START_BYTES - len(start))):
        start += piece
    kind = kind_of(start, job.uri, job.format.type)
    whole = cast("BinaryIO", Rejoined(start, stream))
    if kind == "csv":
        dialect = dialect_of(job.format)
        job.write(
            lambda write: write_csv(
                whole, job.uri, job.fields, dialect, job.records, _ranges(job.uri), write
            )
        )
    elif kind == "jsonl":
        job.write(lambda write: _write_json_lines(whole, job, write))
    elif kind == "parquet":
        _write_parquet(whole, job)
    else:
        _write_members(whole, job, is_member=is_member)


def _write_members(stream: BinaryIO, job: _Job, *, is_member: bool) -> None:
    with spooled(stream) as path:
        names = names_of(path, job.uri)
        if container_kind(names, job.uri, job.format.type) == "excel":
            _write_workbook(path, job)
            return
        if is_member:
            raise archive_in_archive(job.uri)
        first = 0
        for member in members_of(path, job.uri, lambda _: None):
            uri = _member_uri(job.uri, member)
            with open_member(path, member, uri) as stored, decompressed(stored, uri) as plain:
                size = _size(plain)
            records = job.records.within(first, first + size)
            first += size
            if records:
                with open_member(path, member, uri) as stored, decompressed(stored, uri) as plain:
                    _write_stream(plain, job.inner(member, records), is_member=True)


def _member_uri(uri: str, member: str) -> str:
    return f"{uri}!{escape_control_characters(member, on_one_line=True)}"


def _size(stream: BinaryIO) -> int:
    size = 0
    while piece := stream.read(_CHUNK_BYTES):
        size += len(piece)
    return size


def _ranges(
    uri: str,
) -> Callable[[BinaryIO, bytes, Iterable[Record]], Iterator[tuple[Record, bytes | None]]]:
    """Return what reads records by their bytes; None stands for one that is too long to be held."""

    def read(
        stream: BinaryIO, before: bytes, records: Iterable[Record]
    ) -> Iterator[tuple[Record, bytes | None]]:
        source = Rejoined(before, stream)
        at = 0
        for record in records:
            at += _skip(source, record.byte_offset - at)
            if record.byte_length > MAX_RECORD_BYTES:
                yield record, None
                continue
            pieces: list[bytes] = []
            while (held := sum(map(len, pieces))) < record.byte_length:
                piece = source.read(record.byte_length - held)
                if not piece:
                    msg = (
                        f"{uri} has no byte {record.byte_offset + held}, where a rejected row stood"
                    )
                    raise SourceChangedError(msg, remedy=LET_FINISH)
                pieces.append(piece)
            at += record.byte_length
            yield record, b"".join(pieces)

    return read


def _skip(source: Rejoined, count: int) -> int:
    left = count
    while left > 0 and (piece := source.read(min(left, _CHUNK_BYTES))):
        left -= len(piece)
    return count


def _write_json_lines(stream: BinaryIO, job: _Job, write: Callable[[bytes], object]) -> list[int]:
    """Write lines with the reasons as one more key, those that are no object as they stand."""
    column = reason_column(job.fields)
    left_out: list[int] = []

    def written() -> Iterator[bytes]:
        for record, data in _ranges(job.uri)(stream, b"", job.records):
            if data is None:
                left_out.append(record.line)
            else:
                yield _with_key(data, column, record.because) + b"\n"

    # A file is known by its first bytes, so an object comes first.
    for line in led_by(written(), lambda line: bool(_LOOKS_LIKE_LINES.match(line))):
        write(line)
    return left_out


def _with_key(line: bytes, name: str, text: str) -> bytes:
    try:
        found = json.loads(line.decode())
    except (ValueError, RecursionError):
        return line
    if not isinstance(found, dict) or name in found:
        return line
    inside = line.rstrip().removesuffix(b"}").rstrip()
    comma = b"" if not found else b", "
    return b"%b%b%b: %b}" % (inside, comma, json.dumps(name).encode(), json.dumps(text).encode())


def _write_workbook(path: Path, job: _Job) -> None:
    out = job.folder / f"{len(job.done):05d}"
    reading = Reading(
        uri=job.uri,
        label=job.name,
        fields=job.fields,
        format=job.format,
        block_bytes=_CHUNK_BYTES,
        warn=lambda _: None,
        account=Account(),
        allow_empty=True,
    )
    job.add(out, write_workbook(path, reading, job.records, reason_column(job.fields), out))


def _write_parquet(stream: BinaryIO, job: _Job) -> None:
    """Write the rows into a Parquet file with the columns and types of the source, and one more."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = reason_column(job.fields)
    rows = job.records.columns["line"].to_numpy() - 1  # anew in each member of an archive
    reasons = job.records.columns["because"].cast(pl.String)
    path = job.folder / f"{len(job.done):05d}"
    with disk_errors(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with spooled(stream) as whole, arrow_errors(job.uri), pq.ParquetFile(whole) as file:
        kept = [at for at, name in enumerate(file.schema_arrow.names) if name != column]
        schema = pa.schema([file.schema_arrow.field(at) for at in kept])
        schema = schema.append(pa.field(column, pa.string()))
        first = 0
        with disk_errors(path), pq.ParquetWriter(path, schema) as out:
            for batch in batches_of(file, job.uri):
                start, stop = np.searchsorted(rows, [first, first + batch.num_rows])
                places = rows[start:stop] - first
                columns: list[Any] = [_taken(batch.column(at), places) for at in kept]
                columns.append(pa.array(reasons[int(start) : int(stop)].to_list(), pa.string()))
                out.write_batch(pa.record_batch(columns, schema=schema))
                first += batch.num_rows
    job.add(path)


def _taken(column: Any, places: np.ndarray) -> Any:
    """Return the values of a column that stand at some places."""
    import pyarrow as pa

    try:
        return column.take(pa.array(places))
    except pa.ArrowNotImplementedError:  # of some types it takes none by their places
        values = [column.slice(at, 1) for at in places.tolist()]
        return pa.concat_arrays([column.slice(0, 0), *values])
