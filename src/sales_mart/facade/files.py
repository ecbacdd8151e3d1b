"""Any frame into a file: JSON, CSV or Parquet, on a disk or in a bucket."""

from __future__ import annotations

import hashlib
import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.config.keys import hint
from sales_mart.errors import ConfigurationError
from sales_mart.facade.frames import in_pieces
from sales_mart.lake.disk import disk_errors
from sales_mart.lake.files import FORMATS, FileFormat, writer
from sales_mart.lake.folders import unfinished_files
from sales_mart.lake.storage import is_bucket, open_storage

if TYPE_CHECKING:
    from sales_mart.facade.frames import Data

__all__ = ["ExportResult", "export"]


@dataclass(frozen=True)
class ExportResult:
    """What `export` wrote.

    Attributes:
        path: Path or bucket address of the file.
        format: `json`, `csv` or `parquet`.
        rows: Its rows.
        size: Its bytes.
        sha256: Their digest, 64 hex characters.
    """

    path: str
    format: FileFormat
    rows: int
    size: int
    sha256: str

    def __repr__(self) -> str:
        """Say it in one short line."""
        return f"ExportResult({self.rows:,} rows, {self.size:,} bytes, {self.path})"

    def _repr_html_(self) -> str:
        return f"<p>{self.rows:,} rows in <code>{html.escape(self.path)}</code></p>"


def export(
    data: Data,
    path: str | Path,
    *,
    format: FileFormat | None = None,  # noqa: A002 - what it is called everywhere
) -> ExportResult:
    """Write any frame as a file, which is there whole or not at all.

    JSON is an array of objects with all decimals of a number, and has no NaN. In CSV a quote stands
    before a text that a spreadsheet would run as a formula; a missing value is nothing, an empty
    text a pair of double quotes. The same frame gives the same bytes.

    Args:
        data: A frame of any kind, or the path of a .csv or .parquet file.
        path: The file, or its address in a bucket.
        format: `json`, `csv` or `parquet`. Default: what the path ends in.

    Returns:
        What was written.

    Raises:
        ConfigurationError: The format is none, or the place is not writable.
        DataError: The format has no way to say a column's values; no file was written.
        TemporaryError: The storage does not answer.
    """
    place = os.fspath(path)
    folder, name = _split(place)
    kind = _format(format, name)
    storage = open_storage(folder)
    with (
        unfinished_files(storage.uri, f".{name}") as temporary,
        in_pieces(data) as (schema, pieces),
    ):
        written, rows = temporary / name, 0
        with disk_errors(written):
            with writer(kind, written, schema) as file:
                for piece in pieces():
                    file.write(piece)
                    rows += piece.height
            with written.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = written.stat().st_size
        storage.put(name, written)
    return ExportResult(f"{storage.uri}/{name}", kind, rows, size, digest)


def _split(place: str) -> tuple[str, str]:
    if is_bucket(place):
        folder, _, name = place.rpartition("/")
    else:
        folder, name = str(Path(place).parent), Path(place).name
    if not name:
        msg = "the path names no file"
        raise ConfigurationError(msg, remedy="Write it as folder/name.json, .csv or .parquet.")
    return folder, name


def _format(given: str | None, name: str) -> FileFormat:
    said = given if given is not None else name.rpartition(".")[2].lower()
    for kind in FORMATS:
        if said == kind:
            return kind
    what = f"{given!r} is no format" if given is not None else "the path ends in no known format"
    msg = f"{what}{hint(said, FORMATS)}"
    raise ConfigurationError(msg, remedy=f"Say format as one of {', '.join(FORMATS)}.")
