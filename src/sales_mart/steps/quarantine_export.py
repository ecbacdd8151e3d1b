"""Rejected rows as the originals that they are, in files that somebody mends and delivers again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from pydantic import BaseModel, ConfigDict

from sales_mart.errors import ConfigurationError
from sales_mart.lake.disk import disk_errors, temporary_folder_in
from sales_mart.lake.parquet import read_part
from sales_mart.lake.storage import is_bucket, open_storage
from sales_mart.lake.temporary import sync
from sales_mart.schema import schema_of
from sales_mart.source.csv_originals import Record, Records
from sales_mart.source.originals import write_originals
from sales_mart.steps.plan import open_run
from sales_mart.steps.quarantine import rejects_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.source.originals import Written
    from sales_mart.steps.quarantine import Choice

__all__ = ["ExportedRejects", "RejectsFile", "export_rejects"]

_PLACES = ["source_file", "source_row", "line", "byte_offset", "byte_length"]
_CHOSEN_BY = ["source_uri", "reasons"]
_PREFIX = "rejected-"
_MOST_SHOWN = 5


class RejectsFile(BaseModel):
    """The rejected rows of one source file, written.

    Attributes:
        source: The file that they stand in.
        path: Where they were written; None where all are left out.
        rows: How many.
        left_out: Lines of those that cannot be written so that they are read the same.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    path: str | None
    rows: int
    left_out: tuple[int, ...]


class ExportedRejects(BaseModel):
    """What an export has written."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    files: tuple[RejectsFile, ...]


def export_rejects(
    config: Config, run: RunFolder, choice: Choice, to: str, *, force: bool = False
) -> ExportedRejects:
    """Write rejected rows as they stand in their source, with the reasons as one column more.

    Args:
        config: The configuration of the run.
        run: The run.
        choice: Which rows.
        to: A file; or a folder, for one file for each source file.
        force: Replace files that are there.

    Returns:
        What was written; no file where no such row was rejected.

    Raises:
        ConfigurationError: There is a file already, or something that is not replaced; the rows are
            of several source files and `to` is one file; `to` is no local path; or the
            configuration is not the run's.
        SourceChangedError: A source is gone, or is not what was planned.
    """
    target = _local_path(to)
    plan = open_run(config, run)
    rejects = rejects_of(run)
    choice.check(config, [rejects])
    # Of many rows each byte counts: few texts of reasons stand in all of them.
    because = pl.col("reasons").list.join(" ").cast(pl.Categorical).alias("because")
    frames = (
        choice.of(read_part(run, part, [*_PLACES, *_CHOSEN_BY])).select(*_PLACES, because)
        for part in rejects.parts
    )
    rows = pl.concat(frames).sort("source_file", "source_row") if rejects.parts else pl.DataFrame()
    if rows.is_empty():
        return ExportedRejects(run_id=run.run_id, files=())
    sources = [Path(each.uri) for each in plan.objects if not is_bucket(each.uri)]
    with disk_errors(target):
        is_folder = to.endswith("/") or target.is_dir()
        parent = target if is_folder else target.parent
        if not is_folder:
            _check_free(target, sources, force=force)
    # Of one name for all runs: what a killed export left is swept by the next one, of whatever run.
    with temporary_folder_in(parent, ".rejected") as folder:
        written: list[Written] = []
        done = 0
        for ordinal, count in rows["source_file"].value_counts().sort("source_file").iter_rows():
            records = rows.slice(done, count).select(Record._fields)
            done += count
            inner = folder / str(ordinal)
            inner.mkdir(mode=0o700)
            written += write_originals(
                plan.objects[ordinal],
                schema_of(config).fields,
                config.ingestion.format,
                Records(records),
                inner,
            )
        targets = _targets([each for each in written if each.rows], target, is_folder=is_folder)
        for path in targets.values():
            _check_free(path, sources, force=force)
        for uri, path in targets.items():
            _move(next(each.path for each in written if each.uri == uri), path, force=force)
    files = [
        RejectsFile(
            source=each.uri,
            path=str(targets[each.uri]) if each.rows else None,
            rows=each.rows,
            left_out=each.left_out,
        )
        for each in written
    ]
    return ExportedRejects(run_id=run.run_id, files=tuple(files))


def _local_path(to: str) -> Path:
    """Return the path of what is written."""
    if to == "-" or is_bucket(to):
        msg = "rejected rows are exported to a local file, which only its owner can read"
        raise ConfigurationError(msg, remedy="Name a path with --to.")
    return Path(open_storage(to).uri)


def _check_free(path: Path, sources: Sequence[Path], *, force: bool) -> None:
    """See that writing a file loses nothing that is not meant."""
    if not os.path.lexists(path):
        return
    if not force:
        raise _exists(path)
    if not path.is_file():
        msg = f"{path} is there, and is not a file"
        raise ConfigurationError(msg, remedy="Name another file with --to.")
    if any(each.exists() and path.samefile(each) for each in sources):
        msg = f"{path} is a source of the run: its other rows would be lost"
        raise ConfigurationError(msg, remedy="Name another file or folder with --to.")


def _targets(written: Sequence[Written], target: Path, *, is_folder: bool) -> dict[str, Path]:
    """Return where the rows of each source file go."""
    if is_folder:
        names = [f"{_PREFIX}{each.name}" for each in written]
        return {
            each.uri: target / (name if names.count(name) == 1 else f"{at}-{name}")
            for at, (each, name) in enumerate(zip(written, names, strict=True), start=1)
        }
    if len(written) > 1:
        shown = ", ".join(each.uri for each in written[:_MOST_SHOWN])
        more = ", …" if len(written) > _MOST_SHOWN else ""
        msg = f"rows of {len(written)} files were rejected, which do not go into one: {shown}{more}"
        raise ConfigurationError(
            msg, remedy="Name a folder (--to FOLDER/) for a file each, or one of them by --file."
        )
    return {each.uri: target for each in written}


def _move(path: Path, target: Path, *, force: bool) -> None:
    with disk_errors(target):
        sync(path)
        if force:
            path.replace(target)
        else:
            try:
                os.link(path, target)
            except FileExistsError:
                raise _exists(target) from None
        sync(target.parent)


def _exists(target: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{target} already exists", remedy="Name another file, or use --force."
    )
