"""Rows as JSON, CSV and Parquet files: decimals with all their digits, formulas disarmed."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, get_args

import polars as pl
import pyarrow.parquet as pq

from sales_mart.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "FORMATS",
    "CsvWriter",
    "FileFormat",
    "JsonWriter",
    "ParquetWriter",
    "Writer",
    "with_cents",
    "writer",
]

FileFormat = Literal["json", "csv", "parquet"]
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)

# What a spreadsheet takes for the start of a formula, full-width characters too; behind quotes, so
# that whoever reads the file can take the one away that was put before.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
# Where the comma is a decimal point, a spreadsheet splits at semicolons; and all split at tabs.
_SPLITS = re.compile('[",;\t\r\n|]')
_CENTS = 2
_MOST_DIGITS = 38
_DATE, _TIME = "%Y-%m-%d", "%H:%M:%S%.f"


class Writer(Protocol):
    """Writes frames of one schema into one file, one after the other."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def write(self, frame: pl.DataFrame) -> None:
        """Write the rows of a frame.

        Raises:
            DataError: The format has no way to say a value.
        """
        ...


class _TextWriter(ABC):
    """A file of lines, each made from the texts of a row's values."""

    missing: ClassVar[str]

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="")
        self._rows = 0
        for name, dtype in schema.items():
            if dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Duration | pl.Object):
                self._file.close()
                msg = f"the column {name} is of type {type(dtype).__name__}, which has no text"
                raise DataError(msg, remedy="Cast it to text, or write a Parquet file.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if failure[0] is None:
            self._end()
        self._file.close()

    def write(self, frame: pl.DataFrame) -> None:
        """Write the rows of a frame."""
        if not frame.height:
            return
        texts = pl.DataFrame([self._texts(column) for column in frame.iter_columns()])
        self._write_lines(texts)
        self._rows += frame.height

    def _texts(self, column: pl.Series) -> pl.Series:
        dtype = column.dtype
        if isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
            made = self._of_words(column.cast(pl.String))
        elif isinstance(dtype, pl.Date):
            made = self._of_moment(column.dt.to_string(_DATE))
        elif isinstance(dtype, pl.Datetime):
            zone = "" if dtype.time_zone is None else "%:z"
            made = self._of_moment(column.dt.to_string(f"{_DATE}T{_TIME}{zone}"))
        elif isinstance(dtype, pl.Time):
            made = self._of_moment(column.dt.to_string(_TIME))
        else:
            made = self._of_number(column)
        return made.fill_null(self.missing)

    @abstractmethod
    def _of_words(self, texts: pl.Series) -> pl.Series:
        """Return texts as the format writes them."""

    def _of_moment(self, texts: pl.Series) -> pl.Series:
        return texts

    def _of_number(self, column: pl.Series) -> pl.Series:
        return column.cast(pl.String)

    @abstractmethod
    def _write_lines(self, texts: pl.DataFrame) -> None:
        """Write the lines of some rows, which are at least one."""

    def _end(self) -> None:  # noqa: B027 - a format may have nothing there
        """Write what stands behind the last row."""


class JsonWriter(_TextWriter):
    """An array of objects, one on a line; numbers with all their decimals."""

    missing = "null"

    def _of_words(self, texts: pl.Series) -> pl.Series:
        made = [None if text is None else json.dumps(text, ensure_ascii=False) for text in texts]
        return pl.Series(texts.name, made, dtype=pl.String)

    def _of_moment(self, texts: pl.Series) -> pl.Series:
        return ('"' + texts + '"').alias(texts.name)

    def _of_number(self, column: pl.Series) -> pl.Series:
        if column.dtype.is_float() and not column.is_finite().all():
            msg = f"the column {column.name} holds NaN or an infinity, which JSON has not got"
            raise DataError(msg, remedy="Make it null, or write a Parquet file.")
        # Put in as text: a float on the way would lose cents and zeros.
        return column.cast(pl.String)

    def _write_lines(self, texts: pl.DataFrame) -> None:
        parts: list[pl.Expr] = []
        for place, name in enumerate(texts.columns):
            before = "  {" if place == 0 else ", "
            parts += [pl.lit(f"{before}{json.dumps(name, ensure_ascii=False)}: "), pl.col(name)]
        lines = texts.select(pl.concat_str([*parts, pl.lit("}")])).to_series()
        self._file.write(("," if self._rows else "[") + "\n" + ",\n".join(lines))

    def _end(self) -> None:
        self._file.write("\n]\n" if self._rows else "[]\n")


class CsvWriter(_TextWriter):
    """Lines with commas; a quote before a text that a spreadsheet would run as a formula.

    A missing value is nothing, an empty text a pair of double quotes.
    """

    missing = ""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        super().__init__(path, schema)
        self._file.write(",".join(map(_csv_text, schema)) + "\n")

    def _of_words(self, texts: pl.Series) -> pl.Series:
        made = [None if text is None else _csv_text(text) for text in texts]
        return pl.Series(texts.name, made, dtype=pl.String)

    def _write_lines(self, texts: pl.DataFrame) -> None:
        lines = texts.select(pl.concat_str(pl.all(), separator=",")).to_series()
        self._file.write("\n".join(lines) + "\n")


class ParquetWriter:
    """A Parquet file, packed with zstd."""

    def __init__(self, path: Path, schema: pl.Schema, arrow: Any = None) -> None:
        """Open the file; `arrow` says which columns are never null, and has exact types."""
        self._schema = arrow or _arrow(pl.DataFrame(schema=schema)).schema
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._writer.close()

    def write(self, frame: pl.DataFrame) -> None:
        """Write the rows of a frame."""
        self._writer.write_table(_arrow(frame).cast(self._schema))


def writer(kind: FileFormat, path: Path, schema: pl.Schema) -> Writer:
    """Open a file to write frames of a schema into."""
    kinds: dict[FileFormat, type[JsonWriter | CsvWriter | ParquetWriter]] = {
        "json": JsonWriter,
        "csv": CsvWriter,
        "parquet": ParquetWriter,
    }
    return kinds[kind](path, schema)


def with_cents(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame whose decimals have two digits behind the point, or more."""
    return frame.with_columns(
        pl.col(name).cast(pl.Decimal(_MOST_DIGITS, _CENTS))
        for name, kind in frame.schema.items()
        if isinstance(kind, pl.Decimal) and kind.scale < _CENTS
    )


def _arrow(frame: pl.DataFrame) -> Any:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _csv_text(text: str) -> str:
    """Keep a spreadsheet from running a text, or a part of it, as a formula.

    A quote before it makes it text; double quotes around it keep it in one cell.
    """
    text = f"'{text}" if _FORMULA.match(text) else text
    return '"' + text.replace('"', '""') + '"' if not text or _SPLITS.search(text) else text
