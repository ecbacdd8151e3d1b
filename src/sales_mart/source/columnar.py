"""Parquet files into records: row groups are streamed, values keep their exact text."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import polars as pl

from sales_mart.errors import SourceFormatError
from sales_mart.rows.frames import text_of
from sales_mart.source.csv_reader import ENCODING, Places
from sales_mart.source.spool import spooled
from sales_mart.source.tables import Reading, block_of, mapped_names

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from sales_mart.source.csv_reader import Block

__all__ = ["arrow_errors", "batches_of", "read_parquet"]

_ROWS = 65_536


def read_parquet(stream: BinaryIO, reading: Reading) -> Iterator[Block]:
    """Read the records of one file.

    Yields:
        Blocks in the order of the file.

    Raises:
        SourceFormatError: A column is missing, stands twice or holds lists, or the file is damaged.
    """
    import pyarrow.parquet as pq

    with spooled(stream) as path:
        reading.account.stored = 0
        size = path.stat().st_size
        reading.account.size += size
        reading.account.unplaced += size
        with arrow_errors(reading.uri):
            file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        with file:
            names = [str(name) for name in file.schema_arrow.names]
            mapped = mapped_names(names, reading)
            wanted = [names[at] for at in mapped.columns]
            _check_types(file.schema_arrow, wanted, reading.uri)
            row = 1
            for batch in batches_of(file, reading.uri, wanted):
                found = {
                    at: _texts(batch[names[at]], names[at], reading.uri) for at in mapped.columns
                }
                rows = np.arange(row, row + batch.num_rows, dtype=np.int64)
                row += batch.num_rows
                bad = np.zeros(batch.num_rows, np.bool_)
                for _, unreadable, _ in found.values():
                    bad |= unreadable
                columns = pl.DataFrame({f"c{at}": texts for at, (texts, *_) in found.items()})
                if not found:
                    columns = pl.DataFrame({"": rows})
                yield block_of(
                    reading,
                    mapped,
                    columns.filter(pl.Series(~bad)),
                    {at for at, (_, _, is_typed) in found.items() if is_typed},
                    _places(rows[~bad]),
                    _places(rows[bad]),
                    np.full(int(bad.sum()), ENCODING, np.uint8),
                )


def batches_of(file: Any, uri: str, columns: list[str] | None = None) -> Iterator[Any]:
    """Yield the rows of a file, some at a time.

    Raises:
        SourceFormatError: The file is damaged.
    """
    batches = file.iter_batches(_ROWS, columns=columns)
    while True:
        with arrow_errors(uri):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _places(rows: np.ndarray) -> Places:
    nothing = np.zeros(len(rows), np.int64)
    return Places(rows, rows, nothing, nothing, nothing.astype(np.int8))


def _check_types(schema: Any, wanted: list[str], uri: str) -> None:
    """Refuse columns whose values no text can stand for."""
    import pyarrow as pa

    for name in wanted:
        kind = schema.field(name).type
        if pa.types.is_nested(kind):
            raise _not_text(uri, name, str(kind).partition("<")[0])


def _texts(column: Any, name: str, uri: str) -> tuple[pl.Series, np.ndarray, bool]:
    """Return a column as text, where it is none in UTF-8, and whether its values had a type."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    strings = pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or kind == pa.binary_view()
    try:
        if strings or binary:
            # Nobody has seen to it that they are UTF-8.
            raw = pl.Series(pl.from_arrow(column.cast(pa.large_binary())))
            texts = _decoded(raw)
            return texts, (raw.is_not_null() & texts.is_null()).to_numpy(), False
        if pa.types.is_decimal256(kind):
            column = column.cast(pa.decimal128(38, kind.scale))
        series = pl.Series(pl.from_arrow(column))
        return text_of(series), np.zeros(len(series), np.bool_), series.dtype != pl.Null
    except (pa.ArrowException, pl.exceptions.PolarsError, ValueError, OverflowError):
        # Their words are left out: they may quote a value.
        raise _not_text(uri, name, str(kind)) from None


def _decoded(raw: pl.Series) -> pl.Series:
    """Return bytes as text; null where they are none in UTF-8."""
    try:
        return raw.cast(pl.String)
    except pl.exceptions.PolarsError:
        return pl.Series([_text_or_none(each) for each in raw], dtype=pl.String)


def _text_or_none(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def _not_text(uri: str, name: str, kind: str) -> SourceFormatError:
    msg = f"{uri}: the column {name}, of type {kind}, cannot be read as text"
    return SourceFormatError(msg, remedy="Write it as text in UTF-8, as numbers or as dates.")


@contextmanager
def arrow_errors(uri: str) -> Generator[None]:
    """Say that a file is damaged, without the words of a library that may quote it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        msg = f"{uri}: the Parquet file is cut short or damaged"
        raise SourceFormatError(
            msg,
            remedy="Upload the file again, whole.",
            details={"error": type(error).__name__},
        ) from None
