"""Frames of any kind in and out: pandas, Polars, Arrow, what narwhals reads, mappings, paths.

Everything becomes a Polars frame here, and this is the only place that knows the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, cast

import polars as pl
import pyarrow.parquet as pq

from sales_mart.errors import ConfigurationError, SalesMartError, SourceFormatError
from sales_mart.lake.disk import disk_errors, temporary_folder
from sales_mart.lake.storage import is_bucket, open_storage

if TYPE_CHECKING:
    from collections.abc import Generator

    import pandas as pd

__all__ = [
    "ArrowStream",
    "F",
    "Kind",
    "as_kind",
    "file_of",
    "in_pieces",
    "kind_of",
    "place_of",
    "to_polars",
    "unquoted",
]

Kind = Literal["polars", "lazy", "pandas", "arrow", "mappings"]
"""What a frame may be given back as."""


class ArrowStream(Protocol):
    """Whatever gives its rows by Arrow's C stream interface."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Give the stream."""
        ...


F = TypeVar("F", "pl.DataFrame", "pl.LazyFrame", "pd.DataFrame", "list[dict[str, Any]]")
"""A frame that is given back as what it is, which a type checker can tell."""

if TYPE_CHECKING:
    Data: TypeAlias = (
        pl.DataFrame
        | pl.LazyFrame
        | pd.DataFrame
        | ArrowStream
        | Sequence[Mapping[str, Any]]
        | str
        | Path
    )
    """What may be handed in. What narwhals reads is taken too, which no type says."""

_KINDS = "pandas, Polars, Arrow, a list of mappings, or the path of a .csv or .parquet file"
_REMEDY = f"Give {_KINDS}."
_ENDS = (".csv", ".parquet")
_ROWS = 65_536


def kind_of(data: object) -> Kind:
    """Return as what a result is given back that belongs to `data`."""
    if isinstance(data, pl.LazyFrame):
        return "lazy"
    if isinstance(data, Sequence) and not isinstance(data, str):
        return "mappings"
    home = type(data).__module__.partition(".")[0]
    if home == "pandas":
        return "pandas"
    return "arrow" if home == "pyarrow" else "polars"


def place_of(data: object) -> str | None:
    """Return the address of any file that `data` names; None when it is no text and no path."""
    return os.fspath(cast("str", data)) if isinstance(data, str | os.PathLike) else None


def file_of(data: object) -> str | None:
    """Return the address of the file that `data` names; None when it is no text and no path.

    Raises:
        ConfigurationError: It is a file that is not read here.
    """
    place = place_of(data)
    if place is not None and not place.lower().endswith(_ENDS):
        msg = f"a file is given whose name does not end in {' or '.join(_ENDS)}"
        raise ConfigurationError(msg, remedy=f"{_REMEDY} `sales_mart.run` reads more kinds.")
    return place


def to_polars(data: object) -> pl.DataFrame | pl.LazyFrame:
    """Return any frame as one of Polars; a lazy one stays lazy.

    Columns of a CSV file are text, as they are written.

    Raises:
        ConfigurationError: It is none, or names a column twice.
        SourceFormatError: A column cannot be read.
    """
    if isinstance(data, pl.DataFrame | pl.LazyFrame):
        return data
    place = file_of(data)
    if place is not None:
        return _read(place)
    home = type(data).__module__.partition(".")[0]
    if home == "pandas":
        return _from_pandas(data)
    with unquoted("the frame cannot be read"):
        if isinstance(data, Sequence):
            return _from_mappings(cast("Sequence[object]", data))
        return _from_others(data)


def as_kind(frame: pl.DataFrame | pl.LazyFrame, kind: Kind) -> Any:
    """Return a frame of Polars as what is asked for.

    Whole numbers with missing values stay whole in pandas, and decimals are Python's.

    Raises:
        ConfigurationError: There is no such kind.
    """
    if kind == "lazy":
        return frame.lazy()
    with unquoted("the lazy frame cannot be computed"):
        made = frame.lazy().collect() if isinstance(frame, pl.LazyFrame) else frame
    if kind == "polars":
        return made
    if kind == "arrow":
        return made.to_arrow()
    if kind == "mappings":
        return made.to_dicts()
    if kind == "pandas":
        return _as_pandas(made)
    msg = f"{kind!r} is no kind of frame"
    raise ConfigurationError(msg, remedy="Say polars, lazy, pandas, arrow or mappings.")


@contextmanager
def in_pieces(data: object) -> Generator[tuple[pl.Schema, Callable[[], Iterator[pl.DataFrame]]]]:
    """Give the schema of any frame, and what gives its rows in pieces, as often as it is called.

    A Parquet file on a disk is read piece by piece, a lazy frame goes into a temporary one.

    Raises:
        ConfigurationError: It is no frame, or names a column twice.
        SourceFormatError: A column cannot be read.
    """
    place = file_of(data)
    if place is not None and place.lower().endswith(".parquet") and not is_bucket(place):
        yield _parquet_pieces(_existing(place))
        return
    frame = to_polars(data)
    if isinstance(frame, pl.DataFrame):
        yield frame.collect_schema(), lambda: frame.iter_slices(_ROWS)
        return
    with temporary_folder("sales-mart-frame") as folder:
        path = folder / "rows.parquet"
        with unquoted("the lazy frame cannot be computed"):
            frame.sink_parquet(path)
        yield _parquet_pieces(path)


def _parquet_pieces(path: Path) -> tuple[pl.Schema, Callable[[], Iterator[pl.DataFrame]]]:
    with unquoted(f"{path} cannot be read"):
        schema = pl.scan_parquet(path, glob=False).collect_schema()

    def pieces() -> Iterator[pl.DataFrame]:
        with unquoted(f"{path} cannot be read"), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield pl.DataFrame(batch)

    return schema, pieces


@contextmanager
def unquoted(what: str) -> Generator[None]:
    """Keep what a library says of values out of the error."""
    try:
        yield
    except SalesMartError:
        raise
    except Exception as error:  # noqa: BLE001 - of any library, or of a function in a plan
        msg = f"{what}: {type(error).__name__}"
        raise SourceFormatError(
            msg, remedy="Read it with its own library first, to see that library's words."
        ) from None


def _read(place: str) -> pl.DataFrame | pl.LazyFrame:
    reads = _as_parquet if place.lower().endswith(".parquet") else _as_text
    if is_bucket(place):
        folder, _, name = place.rpartition("/")
        try:
            with open_storage(folder).local(name) as path, unquoted(f"{place} cannot be read"):
                return reads(path).collect()
        except FileNotFoundError:
            raise _missing(place) from None
    return reads(_existing(place))


def _existing(place: str) -> Path:
    path = Path(place).expanduser()
    with disk_errors(path, "read"):
        if not path.is_file():
            raise _missing(place)
    return path


def _as_parquet(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False)


def _as_text(path: Path) -> pl.LazyFrame:
    return pl.scan_csv(path, infer_schema=False, glob=False)


def _missing(place: str) -> ConfigurationError:
    return ConfigurationError(f"there is no file {place}", remedy="Check the path.")


def _from_pandas(data: Any) -> pl.DataFrame:
    names = [str(name) for name in data.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"the frame names {', '.join(twice)} twice"
        raise SourceFormatError(msg, remedy="Keep one column of each name.")
    columns: list[pl.Series] = []
    for position, name in enumerate(names):
        with unquoted(f"the column {name} cannot be read"):
            columns.append(pl.from_pandas(data.iloc[:, position]).alias(name))
    return pl.DataFrame(columns)


def _from_mappings(rows: Sequence[object]) -> pl.DataFrame:
    if not all(isinstance(row, Mapping) for row in rows):
        msg = "a list is given that holds something else than mappings"
        raise ConfigurationError(msg, remedy=_REMEDY)
    return pl.DataFrame(
        [dict(cast("Mapping[str, Any]", row)) for row in rows], infer_schema_length=None
    )


def _from_others(data: object) -> pl.DataFrame:
    import narwhals as nw

    found: Any = nw.from_native(cast("Any", data), pass_through=True)
    if isinstance(found, nw.LazyFrame):
        return found.collect("polars").to_native()
    if isinstance(found, nw.DataFrame):
        return found.to_polars()
    if hasattr(data, "__arrow_c_stream__"):
        return pl.DataFrame(cast("Any", data))
    msg = f"{type(data).__name__} is no frame"
    raise ConfigurationError(msg, remedy=_REMEDY)


def _as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    try:
        made = frame.to_pandas()
    except ImportError:
        msg = "pandas is not installed"
        raise ConfigurationError(msg, remedy="pip install pandas") from None
    for column in frame.iter_columns():
        if column.dtype.is_integer() and column.null_count():
            exact = column.to_pandas(use_pyarrow_extension_array=True)
            made[column.name] = exact.astype("Int64")
    return made
