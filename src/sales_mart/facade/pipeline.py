"""The whole pipeline from Python, its local servers, its marts and what it rejected."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import polars as pl
import pyarrow.parquet as pq

from sales_mart.business_date import business_date as find_date
from sales_mart.config import Config
from sales_mart.config.file import load_config
from sales_mart.config.keys import hint
from sales_mart.errors import ConfigurationError
from sales_mart.facade.frames import as_kind, in_pieces
from sales_mart.lake.disk import disk_errors, temporary_folder
from sales_mart.lake.parquet import quarantine_schema, read_part
from sales_mart.lake.records import Mode
from sales_mart.marts import marts_of
from sales_mart.rows.money import at_scale
from sales_mart.rows.transaction import strip
from sales_mart.schema import schema_of
from sales_mart.steps.quarantine import rejects_of, run_of
from sales_mart.warehouses.base import names, open_warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from datetime import date

    from sales_mart.facade.frames import Data, Kind
    from sales_mart.schema import Column
    from sales_mart.steps.pipeline import StepEvent
    from sales_mart.steps.status import RunSummary

__all__ = ["local", "quarantine", "read_mart", "run"]

_DATA_DIR = ".sales-mart"
_DIGITS = 38


def run(  # noqa: PLR0913 - keyword-only, each a choice of the caller
    config: Config | str | Path | None = None,
    *,
    source: Data | Sequence[str] | None = None,
    local: bool = False,
    lake: str | Path | None = None,
    data_dir: str | Path = _DATA_DIR,
    business_date: date | str | None = None,
    mode: str | None = None,
    run_id: str | None = None,
    shards: int | None = None,
    workers: int | None = None,
    targets: Sequence[str] | None = None,
    destination: str | Path | None = None,
    dry_run: bool = False,
    allow_empty: bool = False,
    full_refresh: bool = False,
    accept_new_key: bool = False,
    accept_new_rules: bool = False,
    progress: Callable[[StepEvent], None] | None = None,
) -> RunSummary:
    """Run the whole pipeline, as `sales-mart run` does.

    Args:
        config: The configuration, or its file. Default: the one that `load_config` finds.
        source: Files, folders or globs; or a frame of any kind. Default: the configuration's.
        local: Start PostgreSQL and a BigQuery server right here, for this run.
        lake: Where runs are kept. Default: the configuration's, with `local` one in `data_dir`.
        data_dir: What the local servers keep.
        business_date: Day that the input belongs to. Default: the day before now.
        mode: `replace` or `append`. Default: `append` for a daily source, else `replace`.
        run_id: Default: derived from the inputs, the business date and the configuration.
        shards: At most this many groups of files, and of ranges of large ones. Default: one for
            each worker, where there are bytes enough.
        workers: Shards that are validated at the same time. Default: by cores and memory.
        targets: Warehouses. Default: the configuration's.
        destination: Where the exported files go. Default: the configuration's, else in the lake.
        dry_run: Check everything and change nothing.
        allow_empty: Accept an input of which the marts show no row.
        full_refresh: Build and publish all marts anew.
        accept_new_key: Let a snapshot replace rows whose tokens have another key.
        accept_new_rules: Accept rules that admit what earlier loads rejected.
        progress: Is told of every step that begins or ends, and of `validate`, the loads and
            `transform` how far they are, ten times a second at most; from several threads. What it
            raises ends the run.

    Returns:
        How it went.

    Raises:
        SalesMartError: A step failed; `details["step"]` names it.
    """
    from sales_mart.steps.pipeline import run as run_pipeline

    with ExitStack() as stack:
        found = _config(config)
        if local:
            found = stack.enter_context(_local(data_dir, found))
        kept = os.fspath(lake) if lake is not None else found.lake
        if kept is None:
            msg = "no lake is given, so there is no place to keep runs in"
            raise ConfigurationError(msg, remedy="Give lake, or set data_lake.lake.")
        _check_names(targets or (), names(), "warehouse")
        place = source if _are_places(source) else stack.enter_context(_as_file(source))
        if not (_are_places(source) or isinstance(source, os.PathLike)):
            found = _of_frames(found)
        return run_pipeline(
            found,
            kept,
            business_date=find_date(
                None if business_date is None else str(business_date),
                found.orchestration.timezone,
            ),
            source=place,
            mode=_mode(mode),
            run_id=run_id,
            shards=shards,
            workers=workers,
            targets=targets,
            destination=None if destination is None else os.fspath(destination),
            dry_run=dry_run,
            allow_empty=allow_empty,
            full_refresh=full_refresh,
            accept_new_key=accept_new_key,
            accept_new_rules=accept_new_rules,
            progress=progress,
        )


@contextmanager
def local(
    data_dir: str | Path = _DATA_DIR, *, config: Config | str | Path | None = None
) -> Generator[Config]:
    """Run PostgreSQL and a BigQuery server on this computer while the context lasts.

    Their data, and the lake, stay in the folder.

    Args:
        data_dir: The folder.
        config: The configuration, or its file. Default: the one that `load_config` finds.

    Yields:
        The configuration, which points at the servers whatever the environment says.

    Raises:
        ConfigurationError: The extra `local` is not installed, or the folder is not usable.
        TemporaryError: Another process uses the folder, or a server did not start.
    """
    with _local(data_dir, _config(config)) as found:
        yield found


def read_mart(
    name: str,
    config: Config | str | Path | None = None,
    *,
    target: str | None = None,
    output: Kind = "polars",
) -> Any:
    """Read a published mart whole, with exact decimals. The order of the rows is any.

    Args:
        name: Name of the mart, such as `summary_sales`.
        config: The configuration, or its file. Default: the one that `load_config` finds.
        target: The warehouse. Default: the first of the configuration's.
        output: What to give: a frame of Polars unless something else is said.

    Returns:
        A frame.

    Raises:
        ConfigurationError: There is no such mart, or nothing has been published.
        TemporaryError: The server is away or busy.
    """
    found = _config(config)
    _check_names([target] if target else (), names(), "warehouse")
    warehouse = open_warehouse(found, target or found.data_warehouse.targets[0])
    marts = {mart.name: mart for mart in marts_of(warehouse)}
    _check_names([name], marts, "mart")
    mart = marts[name]
    schema = warehouse.schema_of(mart)
    with warehouse.session() as session:
        if not session.exists(schema, name):
            msg = f"no {name} has been published in {warehouse.name}"
            raise ConfigurationError(msg, remedy="Run `sales_mart.run` first.")
        listed = ", ".join(warehouse.dialect.identifier(each.name) for each in mart.columns)
        rows = session.stream(f"select {listed} from {warehouse.dialect.table(schema, name)}")
        values = list(zip(*rows, strict=True)) or [()] * len(mart.columns)
    frame = pl.DataFrame(
        [_column(each, found_) for each, found_ in zip(mart.columns, values, strict=True)]
    )
    return as_kind(frame, output)


def quarantine(
    run: RunSummary | str | None = None,
    *,
    lake: str | Path | None = None,
    config: Config | str | Path | None = None,
    output: Kind = "polars",
) -> Any:
    """Read the rejected rows of a run: where each stood, its reasons, its token and its fields.

    Args:
        run: What `run` gave, or the run's id. Default: the run that was loaded last.
        lake: Where runs are kept. Default: the run's own, else the configuration's.
        config: The configuration, or its file. Default: the one that `load_config` finds.
        output: What to give: a frame of Polars unless something else is said.

    Returns:
        A frame, without rows where none was rejected.

    Raises:
        ConfigurationError: There is no such run.
    """
    run_id = run if isinstance(run, str) or run is None else run.run_id
    place = os.fspath(lake) if lake is not None else None
    if place is None and run is not None and not isinstance(run, str) and run.quarantine:
        place = run.quarantine.removesuffix(f"/runs/{run.run_id}/quarantine")
    place = place or _config(config).lake
    if place is None:
        msg = "no lake is given, in which the run would be"
        raise ConfigurationError(msg, remedy='Give it as lake="…", or set data_lake.lake.')
    found = rejects_of(run_of(place, run_id))
    parts = [read_part(found.run, part) for part in found.parts]
    if not parts:
        parts = [pl.DataFrame(schema=quarantine_schema(schema_of(_config(config))))]
    made = pl.concat(parts)
    return as_kind(made.sort("source_uri", "source_row"), output)


def _config(given: Config | str | Path | None) -> Config:
    return given if isinstance(given, Config) else load_config(given)


@contextmanager
def _local(data_dir: str | Path, config: Config) -> Generator[Config]:
    from sales_mart.servers.local import local_servers

    folder = Path(data_dir).expanduser().absolute()
    with local_servers(folder) as servers:
        lake = config.data_lake.model_copy(update={"lake": str(folder / "lake")})
        yield servers.named_by(config).model_copy(update={"data_lake": lake})


def _mode(mode: str | None) -> Mode | None:
    if mode is None:
        return None
    _check_names([mode], [each.value for each in Mode], "mode")
    return Mode(mode)


def _check_names(given: Sequence[str], known: Any, what: str) -> None:
    for name in given:
        if name not in known:
            msg = f"{name!r} is no {what}{hint(name, known)}"
            raise ConfigurationError(msg, remedy=f"There are {', '.join(known)}.")


def _are_places(source: object) -> TypeGuard[str | Sequence[str] | None]:
    if source is None or isinstance(source, str):
        return True
    return isinstance(source, Sequence) and all(isinstance(each, str) for each in source)


def _of_frames(config: Config) -> Config:
    """Return the configuration without a kind of files: a frame is none of them."""
    given = config.ingestion.format.model_copy(update={"type": None})
    ingestion = config.ingestion.model_copy(update={"format": given})
    return config.model_copy(update={"ingestion": ingestion})


@contextmanager
def _as_file(source: Any) -> Generator[str]:
    """Give a path as it is, and a frame as a Parquet file in a private folder.

    What has a type keeps it there: numbers and dates of a frame are not written in the form that
    the configuration has for files.
    """
    if isinstance(source, os.PathLike):
        yield os.fspath(source)
        return
    with temporary_folder("sales-mart-source") as folder, in_pieces(source) as (schema, pieces):
        path = folder / "frame.parquet"
        kept = {name: kind if _is_kept(kind) else pl.String() for name, kind in schema.items()}
        written = pl.DataFrame(schema=kept).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        with disk_errors(path), pq.ParquetWriter(path, written) as file:
            for piece in pieces():
                columns = [
                    each if _is_kept(each.dtype) else _texts(each) for each in piece.iter_columns()
                ]
                table = pl.DataFrame(columns).to_arrow(compat_level=pl.CompatLevel.oldest())
                file.write_table(table)
        yield str(path)


def _is_kept(kind: pl.DataType) -> bool:
    """Return whether Parquet holds a column as it is."""
    is_number = kind.is_numeric() and not isinstance(kind, pl.Int128 | pl.UInt128)
    return is_number or isinstance(kind, pl.String | pl.Boolean | pl.Date | pl.Datetime)


def _texts(column: pl.Series) -> pl.Series:
    """Return a column as `Transaction` reads its values."""
    distinct = column.unique()
    made = pl.Series([strip(value) for value in distinct.to_list()], dtype=pl.String)
    return column.replace_strict(distinct, made, default=None).alias(column.name)


def _column(column: Column, values: Sequence[Any]) -> pl.Series:
    kinds: dict[str, pl.DataType] = {
        "text": pl.String(),
        "integer": pl.Int64(),
        "date": pl.Date(),
        "timestamp": pl.Datetime("us", "UTC"),
        "boolean": pl.Boolean(),
        "decimal": pl.Decimal(_DIGITS, column.scale),
    }
    if column.kind == "decimal":  # a server may pad them with zeros
        values = [None if each is None else at_scale(each, column.scale) for each in values]
    return pl.Series(column.name, values, dtype=kinds[column.kind])
