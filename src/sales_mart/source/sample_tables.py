"""The columns of a sample that is no text with delimiters: Parquet, JSON Lines, a workbook."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from sales_mart.config.ingestion import Format
from sales_mart.lake.disk import temporary_folder
from sales_mart.rows.mapping import normal_name
from sales_mart.rows.transaction import strip
from sales_mart.schema import Origin
from sales_mart.source.csv_reader import BLOCK_BYTES, Account
from sales_mart.source.read import read_stream
from sales_mart.source.sniff import header_of_records
from sales_mart.source.tables import Reading
from sales_mart.source.workbook import filled_rows, sheet_of, workbook_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sales_mart.source.kinds import Kind
    from sales_mart.source.sample import Sample

__all__ = ["MOST_ROWS", "SeenTable", "look_at_table", "reading_of"]

MOST_ROWS = 50_000
"""Rows from which on no more are looked at."""
_HEADER_ROWS = 200
_LINES = 1_000


@dataclass(frozen=True)
class SeenTable:
    """The columns of a sample.

    Attributes:
        names: What the file calls them.
        frame: Their texts, named `0`, `1` and so on.
        typed: Where those stand whose values had a type.
        records: The records.
        skip_rows: Rows of a sheet before its header.
        has_header: The file names its columns.
    """

    names: tuple[str, ...]
    frame: pl.DataFrame
    typed: frozenset[int]
    records: int
    skip_rows: int = 0
    has_header: bool = True


def look_at_table(sample: Sample, given: Format) -> SeenTable:
    """Read the columns of a sample.

    Args:
        sample: The sample.
        given: What the configuration says of it.

    Raises:
        SourceFormatError: It is damaged, or has several sheets.
    """
    return _LOOKS[sample.kind](sample, given)


def reading_of(
    uri: str, fields: Mapping[str, Origin], given: Format, warn: Callable[[str], None]
) -> Reading:
    """Return how a sample is read by the readers of a run."""
    return Reading(
        uri=uri,
        label="-",
        fields=fields,
        format=given,
        block_bytes=BLOCK_BYTES,
        warn=warn,
        account=Account(),
        allow_empty=True,
    )


def _parquet(sample: Sample, given: Format) -> SeenTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(io.BytesIO(sample.data))
    names = [str(name) for name in schema.names]
    nested = {place for place, kind in enumerate(schema.types) if pa.types.is_nested(kind)}
    return _table(sample, given, names, nested)


def _json_lines(sample: Sample, given: Format) -> SeenTable:
    names: dict[str, None] = {}
    nested: set[str] = set()
    for line in sample.data.splitlines()[:_LINES]:
        try:
            found: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            pairs: list[tuple[str, Any]] = list(found.items())  # pyright: ignore[reportUnknownArgumentType]
            names |= dict.fromkeys(key for key, _ in pairs)
            nested |= {key for key, value in pairs if isinstance(value, dict | list)}
    places = {place for place, name in enumerate(names) if name in nested}
    return _table(sample, given, list(names), places)


def _workbook(sample: Sample, given: Format) -> SeenTable:
    from python_calamine import CalamineWorkbook

    reading = reading_of(sample.uri, {}, given, lambda _: None)
    with temporary_folder("sales-mart-sample") as folder, workbook_errors(sample.uri):
        path = folder / "file"
        path.write_bytes(sample.data)
        sheet = sheet_of(CalamineWorkbook.from_path(path), reading)
        rows: list[tuple[int, int, list[str]]] = []
        for line, values in filled_rows(sheet, reading):
            rows.append((line - 1, line, [strip(value) or "" for value in values]))
            if len(rows) == _HEADER_ROWS:
                break
    skipped, header, names = header_of_records(_cut(rows))
    labels = tuple(str(place) for place in range(len(names)))
    form = given.model_copy(update={"header": labels, "skip_rows": header or skipped})
    seen = _table(sample, form, labels, set())
    title = skipped if rows and rows[0][0] < skipped else 0
    return SeenTable(names, seen.frame, seen.typed, seen.records, title, has_header=header > 0)


def _cut(rows: Sequence[tuple[int, int, list[str]]]) -> list[tuple[int, int, list[str]]]:
    """Leave out cells at the end of rows in which nothing stands."""
    made: list[tuple[int, int, list[str]]] = []
    for before, line, texts in rows:
        while texts and not texts[-1]:
            texts.pop()
        made.append((before, line, texts))
    return made


def _table(sample: Sample, given: Format, names: Sequence[str], nested: set[int]) -> SeenTable:
    """Read all columns that can be read, by the readers of a run."""
    normal = [normal_name(name) for name in names]
    fields = {
        str(place): Origin(parts=((name,),))
        for place, name in enumerate(names)
        if place not in nested and normal.count(normal[place]) == 1
    }
    frames: list[pl.DataFrame] = []
    typed = set(fields)
    records = 0
    reading = reading_of(sample.uri, fields, given, lambda _: None)
    for block in read_stream(io.BytesIO(sample.data), reading):
        records += block.fields.height + len(block.flaws)
        if block.fields.height:
            frames.append(block.fields)
            typed &= set(block.typed)
        if records >= MOST_ROWS:
            break
    labels = [str(place) for place in range(len(names))]
    empty = pl.DataFrame(schema=dict.fromkeys(labels, pl.String()))
    frame = pl.concat([empty, *frames], how="diagonal").select(pl.col(labels).str.strip_chars())
    return SeenTable(
        tuple(names), frame, frozenset(int(label) for label in typed if frames), records
    )


_LOOKS: dict[Kind, Callable[[Sample, Format], SeenTable]] = {
    "parquet": _parquet,
    "jsonl": _json_lines,
    "excel": _workbook,
}
