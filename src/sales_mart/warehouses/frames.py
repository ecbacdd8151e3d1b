"""Frames as tables: what a column may hold, and how rows are fitted to a table's types exactly."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sales_mart.errors import ConfigurationError, DataError
from sales_mart.rows.money import at_scale

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sales_mart.schema import TableColumn

__all__ = [
    "LONGEST_NAME",
    "Field",
    "FoundColumn",
    "Place",
    "Rows",
    "TableMode",
    "Written",
    "exact",
    "family",
    "fitted",
    "is_plain_name",
    "plain_type",
    "rows_of",
    "table_of",
    "write_parquet",
]

TableMode = Literal["replace", "append"]
"""Whether the rows take the place of those of the table, or come beside them."""

LONGEST_NAME = 63
"""Bytes of a name that every warehouse takes."""
_NAME = re.compile(r"[^\W\d]\w*")
_PAGE = 10_000
_ANY_INTEGER = pa.decimal128(19, 0)
_NANOSECONDS = 1_000
_FIRST_YEAR, _LAST_YEAR = 1, 9999
_REST = "Cast it to text, a number, a date, a time or bytes, or leave the column out."


class Place(NamedTuple):
    """A table's schema, or dataset, and name."""

    schema: str
    name: str

    def __str__(self) -> str:
        """Return `schema.name`."""
        return f"{self.schema}.{self.name}"


class Field(NamedTuple):
    """A column of a frame.

    Attributes:
        name: Its name.
        type: Its Arrow type, one of those that `plain_type` gives.
    """

    name: str
    type: Any


class FoundColumn(NamedTuple):
    """A column that a table has.

    Attributes:
        name: Its name.
        type: Its Arrow type; None for a type that no frame has.
        shown: Its type in the words of the warehouse.
        required: Whether it takes no null and has no default.
        is_loose: Whether it holds decimals of any scale, each with its own.
    """

    name: str
    type: Any
    shown: str
    required: bool = False
    is_loose: bool = False


class Written(NamedTuple):
    """What a load did.

    Attributes:
        rows: Rows that came in.
        created: Whether the table was made.
        added: Names of the columns that the table was given.
    """

    rows: int
    created: bool
    added: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Rows to be written, in pieces that fit into memory.

    Attributes:
        fields: Names and Arrow types.
        pieces: Gives the pieces; may be called again.
    """

    fields: tuple[Field, ...]
    pieces: Callable[[], Iterator[pl.DataFrame]]

    def batches(self, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:  # pyright: ignore[reportUnknownParameterType]
        """Give the rows in the types of a table, without losing a digit.

        Columns that the frame lacks are null.

        Raises:
            DataError: A value does not fit; the message names the column and no value.
        """
        schema = pa.schema([pa.field(name, kind) for name, kind in fields])
        for piece in self.pieces():
            arrays = [
                _exact(piece[name], kind) if name in piece.columns else pa.nulls(piece.height, kind)
                for name, kind in fields
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def is_plain_name(name: str) -> bool:
    """Return whether every warehouse takes a name: letters, digits, underscores, no digit first."""
    return _NAME.fullmatch(name) is not None and len(name.encode()) <= LONGEST_NAME


def rows_of(schema: pl.Schema, pieces: Callable[[], Iterator[pl.DataFrame]]) -> Rows:
    """Return rows that come in pieces of a schema.

    Raises:
        DataError: A column's name or type is none that a table has.
    """
    return Rows(_fields(schema), pieces)


def _fields(schema: pl.Schema) -> tuple[Field, ...]:
    if not schema:
        msg = "the frame has no column"
        raise DataError(msg, remedy="Give it at least one.")
    seen: dict[str, str] = {}
    for name in schema:
        if not is_plain_name(name):
            msg = f"{name[:100]!r} is not a column's name that every warehouse takes"
            raise DataError(
                msg,
                remedy="Rename the column: letters, digits and underscores, no digit first, up to "
                f"{LONGEST_NAME} bytes.",
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            msg = f"the columns {other} and {name} differ in upper and lower case only"
            raise DataError(msg, remedy="Rename one of them: not every warehouse tells them apart.")
    return tuple(Field(name, plain_type(name, dtype)) for name, dtype in schema.items())


def plain_type(name: str, dtype: pl.DataType) -> Any:
    """Return the Arrow type in which a column is written to a table that is made for it.

    Raises:
        DataError: No table has a column of this type.
    """
    for kinds, made in _PLAIN:
        if isinstance(dtype, kinds):
            return made
    if isinstance(dtype, pl.Decimal):
        return pa.decimal128(dtype.precision or 38, dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return pa.timestamp("us", None if dtype.time_zone is None else "UTC")
    msg = f"the column {name} is of type {type(dtype).__name__}, which no table has"
    raise DataError(msg, remedy=_REST)


_PLAIN: tuple[tuple[tuple[type[pl.DataType], ...], Any], ...] = (
    ((pl.String, pl.Categorical, pl.Enum, pl.Null), pa.string()),
    ((pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32), pa.int64()),
    ((pl.UInt64,), pa.decimal128(20, 0)),
    ((pl.Int128, pl.UInt128), pa.decimal128(38, 0)),
    ((pl.Float32, pl.Float64), pa.float64()),
    ((pl.Boolean,), pa.bool_()),
    ((pl.Date,), pa.date32()),
    ((pl.Time,), pa.time64("us")),
    ((pl.Binary,), pa.binary()),
)
_FAMILIES: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("text", pa.types.is_string),
    ("whole numbers", pa.types.is_integer),
    ("decimals", pa.types.is_decimal),
    ("floats", pa.types.is_float64),
    ("booleans", pa.types.is_boolean),
    ("dates", pa.types.is_date32),
    ("times of day", pa.types.is_time64),
    ("bytes", pa.types.is_binary),
)


def family(kind: Any) -> str:
    """Return what values of an Arrow type are, in words."""
    if pa.types.is_timestamp(kind):
        return "times without a zone" if kind.tz is None else "times with a zone"
    return next(name for name, belongs in _FAMILIES if belongs(kind))


def fitted(
    rows: Rows, table: Sequence[FoundColumn], place: Place
) -> tuple[list[Field], list[Field]]:
    """Compare a frame with a table that is there.

    Returns:
        The frame's columns in the table's types, and those that the table lacks.

    Raises:
        ConfigurationError: A column's type is another one, or the table needs a column that the
            frame lacks.
    """
    there = {column.name: column for column in table}
    spelled = {name.lower(): name for name in there}
    fields: list[Field] = []
    added: list[Field] = []
    for field in rows.fields:
        column = there.get(field.name)
        if column is None:
            other = spelled.get(field.name.lower())
            if other is not None:
                msg = f"{place} has a column {other}, the frame has {field.name}"
                raise ConfigurationError(msg, remedy="Rename the frame's column.")
            added.append(field)
        elif column.is_loose and family(field.type) in {"decimals", "whole numbers"}:
            own = field.type if pa.types.is_decimal(field.type) else _ANY_INTEGER
            fields.append(Field(field.name, own))
            continue
        elif column.type is None or not _takes(column.type, field.type):
            msg = f"column {field.name} of {place} is {column.shown}, the frame holds "
            msg += family(field.type)
            raise ConfigurationError(
                msg, remedy="Cast the frame's column, or load into another table."
            )
        fields.append(field if column is None else Field(field.name, column.type))
    names = {field.name for field in fields}
    missing = [column.name for column in table if column.required and column.name not in names]
    if missing:
        msg = f"{place} needs the column {', '.join(missing)}, which the frame lacks"
        raise ConfigurationError(msg, remedy="Add it to the frame, or let the table take nulls.")
    return fields, added


def _takes(table: Any, frame: Any) -> bool:
    return family(table) == family(frame) or (
        pa.types.is_decimal(table) and pa.types.is_integer(frame)
    )


def table_of(rows: Iterator[tuple[Any, ...]], columns: Sequence[FoundColumn]) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
    """Return rows as an Arrow table.

    Values of a type that no frame has are texts here. Decimals of any scale get the digits that all
    of them need.
    """
    types = [column.type or (None if column.is_loose else pa.string()) for column in columns]
    chunks: list[list[Any]] = [[] for _ in columns]
    while page := list(islice(rows, _PAGE)):
        for chunk, values, kind in zip(chunks, zip(*page, strict=True), types, strict=True):
            if kind is None:
                chunk.extend(values)
            else:
                chunk.append(pa.array(values, kind))
    arrays: list[Any] = []
    for chunk, kind in zip(chunks, types, strict=True):
        if kind is not None:
            arrays.append(pa.chunked_array(chunk, kind))
        elif any(value is not None for value in chunk):
            arrays.append(pa.array(chunk))
        else:
            arrays.append(pa.nulls(len(chunk), _ANY_INTEGER))
    return pa.table(arrays, names=[column.name for column in columns])


def write_parquet(rows: Rows, fields: Sequence[Field], path: Path) -> int:
    """Write the rows as a Parquet file in the types of a table; gives their number.

    Raises:
        DataError: A value does not fit.
    """
    schema = pa.schema([pa.field(name, kind) for name, kind in fields])
    count = 0
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for batch in rows.batches(fields):
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _exact(series: pl.Series, wanted: Any) -> Any:
    """Return a column as an Arrow array of a type, or refuse it."""
    plain = _plain(series)
    try:
        if pa.types.is_decimal(wanted) and plain.dtype.is_integer():
            # Arrow asks for room for any number of the type, not for those that are there.
            plain = plain.cast(pl.Decimal(wanted.precision, wanted.scale))
        array = plain.to_arrow(compat_level=pl.CompatLevel.oldest())
        return array.cast(wanted)
    except (pa.ArrowInvalid, pl.exceptions.PolarsError):
        msg = f"the column {series.name} holds a value that does not fit {wanted}"
        raise DataError(
            msg, remedy="Nothing was changed. Round or cast the column, or widen the table's."
        ) from None


def _plain(series: pl.Series) -> pl.Series:
    dtype = series.dtype
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
        return series.cast(pl.String)
    if isinstance(dtype, pl.Datetime):
        if dtype.time_unit == "ns" and (series.to_physical() % _NANOSECONDS != 0).any():
            msg = f"the column {series.name} holds a time that is finer than a microsecond"
            raise DataError(msg, remedy="Nothing was changed. Truncate it to microseconds.")
        series = series.dt.cast_time_unit("us")
        if dtype.time_zone is not None:
            series = series.dt.convert_time_zone("UTC")
    if isinstance(dtype, pl.Datetime | pl.Date):
        years = series.dt.year()
        if not years.is_between(_FIRST_YEAR, _LAST_YEAR).all():
            msg = f"the column {series.name} holds a date outside of the years 1 to 9999"
            raise DataError(msg, remedy="Nothing was changed. Make it null, or mend it.")
    return series


def exact(
    columns: Sequence[TableColumn], rows: Iterable[Sequence[Any]]
) -> Iterator[tuple[Any, ...]]:
    """Yield the values of a warehouse's rows as their columns have them.

    A server may pad decimals with zeros, and give the sum of whole numbers as a decimal.
    """

    def value_of(column: TableColumn, value: Any) -> Any:
        if value is None:
            return None
        if column.kind == "decimal":
            return at_scale(value, column.scale)
        return int(value) if column.kind == "integer" else value

    for row in rows:
        yield tuple(value_of(column, value) for column, value in zip(columns, row, strict=True))
