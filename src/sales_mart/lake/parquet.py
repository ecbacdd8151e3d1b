"""Frames into Parquet parts of a handy size, and back."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import polars as pl

from sales_mart.lake.disk import disk_errors
from sales_mart.rows.checker import REASON_TYPE
from sales_mart.source.csv_reader import ENCODING, MALFORMED

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sales_mart.lake.records import Part
    from sales_mart.lake.runs import RunFolder
    from sales_mart.schema import Schema
    from sales_mart.source.csv_reader import Block, Places

__all__ = [
    "PART_ROWS",
    "PartWriter",
    "as_quarantine",
    "broken_rows",
    "place_columns",
    "quarantine_schema",
    "read_part",
    "record_bytes",
]

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
PART_ROWS = 1 << 18
"""Rows from which on a part is written; a part is held in memory whole."""
_MOST_LOOSE = 8
"""Frames that are held as they came: usually a part is full before, and nothing is copied."""

_PLACE = {
    "source_uri": pl.String(),
    "source_file": pl.Int32(),
    "source_row": pl.Int64(),
    "line": pl.Int64(),
    "byte_offset": pl.Int64(),
    "byte_length": pl.Int64(),
    "reasons": REASON_TYPE,
}


def quarantine_schema(schema: Schema) -> pl.Schema:
    """Return the columns of a quarantine part: where a row stands, why, and its fields as text.

    What is personal is a token.
    """
    return pl.Schema(_PLACE | dict.fromkeys(schema.fields, pl.String()))


class PartWriter:
    """Collects frames and writes a Parquet part whenever there are enough rows."""

    def __init__(self, run: RunFolder, folder: Path, prefix: str) -> None:
        """Write parts named `<prefix>-<number>-<digest>.parquet` by way of a temporary folder."""
        self._run = run
        self._folder = folder
        self._prefix = prefix
        self._loose: list[pl.DataFrame] = []
        self._compact: list[pl.DataFrame] = []
        self._rows = 0
        self.parts: list[Part] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Take some rows; a column that others lack is null there."""
        if frame.height:
            self._loose.append(frame)
            self._rows += frame.height
        if len(self._loose) >= _MOST_LOOSE:
            # A few rows of a block keep the texts of the whole block in memory: copy theirs.
            rows = pl.concat(self._loose, how="diagonal")
            compact = pl.from_arrow(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
            self._compact.append(cast("pl.DataFrame", compact))
            self._loose = []
        if self._rows >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected, if anything has."""
        if not self._rows:
            return
        frame = pl.concat([*self._compact, *self._loose], how="diagonal")
        self._compact, self._loose, self._rows = [], [], 0
        name = f"{self._prefix}-{len(self.parts):05d}"
        path = self._folder / f"{name.replace('/', '-')}.parquet"
        with disk_errors(path), _os_errors():
            # Tokens are random: packing them costs more than it saves.
            frame.write_parquet(path, compression="uncompressed", statistics=False)
        self.parts.append(self._run.put_part(name, path, frame.height))


@contextmanager
def _os_errors() -> Generator[None]:
    """Turn what Polars says about a file system into the error that it was."""
    try:
        yield
    except pl.exceptions.ComputeError as error:
        # What the file system said is in Polars' text only.
        said = _OS_ERROR.search(str(error))
        if said is None:
            raise
        raise OSError(int(said[1]), os.strerror(int(said[1]))) from error


def read_part(
    run: RunFolder, part: Part, columns: list[str] | None = None, *, checked: bool = False
) -> pl.DataFrame:
    """Read a part, whole or some of its columns.

    Args:
        run: The run.
        part: The part.
        columns: The columns; None for all of them.
        checked: The part's digest has been checked by this process before.

    Raises:
        SourceChangedError: The part is gone, or is not the file that was written.
    """
    with run.sealed_part(part, checked=checked) as path, disk_errors(path, "read"), _os_errors():
        # A lake may stand in a folder whose name looks like a glob.
        return pl.read_parquet(path, columns=columns, glob=False)


def place_columns(places: Places) -> list[pl.Series]:
    """Return the columns that tell where records stand."""
    return [
        pl.Series("source_row", places.rows),
        pl.Series("line", places.lines),
        pl.Series("byte_offset", places.offsets),
        pl.Series("byte_length", places.lengths),
        pl.Series("line_end", places.line_ends),
    ]


def record_bytes(frame: pl.DataFrame) -> int:
    """Count the bytes of records whose places stand in a frame, line ends included."""
    return int(frame["byte_length"].sum()) + int(frame["line_end"].cast(pl.Int64).sum())


def as_quarantine(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return the columns of a quarantine part, in their order and types."""
    return frame.select(pl.col(name).cast(kind) for name, kind in quarantine_schema(schema).items())


def broken_rows(block: Block) -> pl.DataFrame:
    """Return the quarantine rows of records without fields; no text of them is kept."""
    flaws = pl.Series(block.flaws)
    reasons = pl.DataFrame(
        {
            "malformed": (flaws & MALFORMED) > 0,
            "encoding": (flaws & ENCODING) > 0,
        }
    ).select(
        pl.concat_list(
            pl.when("malformed").then(pl.lit("malformed_row")),
            pl.when("encoding").then(pl.lit("encoding")),
        )
        .list.drop_nulls()
        .alias("reasons")
    )
    return pl.DataFrame(place_columns(block.broken)).hstack(reasons)
