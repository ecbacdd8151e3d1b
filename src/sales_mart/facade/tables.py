"""Any frame into a table of any warehouse, and back."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import polars as pl

from sales_mart.config import Config
from sales_mart.config.file import load_config
from sales_mart.config.keys import hint
from sales_mart.errors import ConfigurationError
from sales_mart.facade.frames import as_kind, in_pieces
from sales_mart.marts import marts_of
from sales_mart.warehouses.base import names, open_warehouse, warehouse_class
from sales_mart.warehouses.frames import LONGEST_NAME, Place, is_plain_name, rows_of

if TYPE_CHECKING:
    import pandas as pd

    from sales_mart.facade.frames import Data, Kind
    from sales_mart.warehouses.base import Warehouse
    from sales_mart.warehouses.frames import TableMode

__all__ = ["LoadResult", "load", "opened_at", "read"]

_MODES = ("replace", "append")
_FORMS = "postgresql://user:password@host/database, bigquery://project/dataset, duckdb:///file"


@dataclass(frozen=True)
class LoadResult:
    """What `load` did.

    Attributes:
        warehouse: Name of the warehouse.
        table: Schema, or dataset, and name of the table.
        mode: `replace` or `append`.
        rows: Rows that were loaded.
        created: Whether the table was made.
        added_columns: Columns that the table lacked.
        seconds: How long it took.
    """

    warehouse: str
    table: str
    mode: TableMode
    rows: int
    created: bool
    added_columns: tuple[str, ...]
    seconds: float

    def __repr__(self) -> str:
        """Say it in one short line."""
        what = "created" if self.created else self.mode
        return f"LoadResult({self.rows:,} rows, {self.warehouse} {self.table}, {what})"

    def _repr_html_(self) -> str:
        cells = ((each.name, html.escape(str(getattr(self, each.name)))) for each in fields(self))
        rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in cells)
        return f"<table>{rows}</table>"


def load(
    data: Data,
    to: str | Config,
    *,
    table: str,
    mode: TableMode = "replace",
    config: Config | None = None,
) -> LoadResult:
    """Load any frame, or a Parquet file, into a table of a warehouse, all at once.

    A table that is missing is made from the frame's types, one that is there keeps its own: a
    column that it lacks is added and takes nulls, one whose type is another one is refused, and so
    is a value that would lose a digit. Readers see the former rows until the last is in. NaN and
    the infinities are kept in columns of floats.

    Args:
        data: A frame of any kind, or the path of a .parquet or .csv file; the columns of a CSV file
            are text. A Parquet file on a disk and a lazy frame need not fit into memory.
        to: An address as SQLAlchemy writes it, the name of a warehouse, or a configuration of one.
        table: Its name, behind the schema, or dataset, and a point. Default schema: the one that
            the warehouse or the address names.
        mode: `replace` the rows of the table, or `append` to them.
        config: The configuration, where `to` is a name. Default: the one that `load_config` finds.

    Returns:
        What was done.

    Raises:
        ConfigurationError: A column has another type, the table is the pipeline's or somebody
            else's, the address is none, or access is refused.
        DataError: A column or a value is none that the table takes; nothing was changed.
        TemporaryError: The server is away or busy.
    """
    begun = time.monotonic()
    if mode not in _MODES:
        msg = f"{mode!r} is no mode"
        raise ConfigurationError(msg, remedy="Say replace or append.")
    warehouse, schema = opened_at(to, config)
    place = _place(table, schema or warehouse.default_schema)
    _check_not_ours(warehouse, place)
    with in_pieces(data) as (found, pieces):
        written = warehouse.write_table(place, rows_of(found, pieces), mode)
    seconds = round(time.monotonic() - begun, 3)
    return LoadResult(warehouse.name, str(place), mode, *written, seconds)


@overload
def read(source: str | Config, *, table: str, config: Config | None = None) -> pl.DataFrame: ...
@overload
def read(
    source: str | Config, *, table: str, config: Config | None = None, output: Literal["polars"]
) -> pl.DataFrame: ...
@overload
def read(
    source: str | Config, *, table: str, config: Config | None = None, output: Literal["lazy"]
) -> pl.LazyFrame: ...
@overload
def read(
    source: str | Config, *, table: str, config: Config | None = None, output: Literal["pandas"]
) -> pd.DataFrame: ...
@overload
def read(
    source: str | Config, *, table: str, config: Config | None = None, output: Literal["arrow"]
) -> Any: ...
@overload
def read(
    source: str | Config, *, table: str, config: Config | None = None, output: Literal["mappings"]
) -> list[dict[str, Any]]: ...
def read(
    source: str | Config, *, table: str, config: Config | None = None, output: Kind = "polars"
) -> Any:
    """Read a table of a warehouse whole, with exact decimals. The order of the rows is any.

    Args:
        source: An address, a name or a configuration, as `load` takes them.
        table: Its name, as `load` takes it.
        config: The configuration, where `source` is a name.
        output: What to give.

    Returns:
        A frame.

    Raises:
        ConfigurationError: There is no such table, or access is refused.
        TemporaryError: The server is away or busy.
    """
    warehouse, schema = opened_at(source, config)
    found: Any = warehouse.read_table(_place(table, schema or warehouse.default_schema))
    return as_kind(cast("pl.DataFrame", pl.from_arrow(found)), output)


def opened_at(to: str | Config, config: Config | None = None) -> tuple[Warehouse, str | None]:
    """Return a warehouse and the schema that its address names.

    Raises:
        ConfigurationError: `to` is neither an address nor a name, or a configuration of several.
    """
    if isinstance(to, Config):
        targets = to.data_warehouse.targets
        if len(targets) != 1:
            msg = f"the configuration names {len(targets)} warehouses: {', '.join(targets)}"
            raise ConfigurationError(
                msg, remedy=f'Say which one: "{targets[0]}", and the configuration as config.'
            )
        return open_warehouse(to, targets[0]), None
    if "://" not in to:
        if to in names():
            return open_warehouse(config or load_config(), to), None
        msg = f"the place is neither an address nor the name of a warehouse{hint(to, names())}"
        raise ConfigurationError(
            msg, remedy=f"The warehouses are {', '.join(names())}; addresses are {_FORMS}."
        )
    scheme = to.partition("://")[0].partition("+")[0].lower()
    for name in names():
        kind = warehouse_class(name)
        if scheme in kind.schemes:
            found, schema = kind.at(to)
            return kind(found), schema
    msg = "the address is of no warehouse that is installed"
    raise ConfigurationError(msg, remedy=f"Write one of {_FORMS}.")


def _place(table: str, schema: str) -> Place:
    parts = table.split(".")
    place = Place(*parts) if len(parts) == len(Place._fields) else Place(schema, table)
    for name in place:
        if not is_plain_name(name):
            msg = f"{table[:100]!r} is not the name of a table"
            raise ConfigurationError(
                msg,
                remedy="Write schema.name, or name: letters, digits and underscores, no digit "
                f"first, up to {LONGEST_NAME} bytes each.",
            )
    return place


def _check_not_ours(warehouse: Warehouse, place: Place) -> None:
    """Refuse what the pipeline keeps, which nobody else may change."""
    private = (warehouse.raw_schema.lower(), warehouse.next_schema.lower())
    marts = marts_of(warehouse)
    shown = {(warehouse.schema_of(mart).lower(), mart.name.lower()) for mart in marts}
    if place.schema.lower() in private or (place.schema.lower(), place.name.lower()) in shown:
        msg = f"{place} is the pipeline's own"
        raise ConfigurationError(
            msg, remedy="Name another table; `sales_mart.run` fills the pipeline's."
        )
