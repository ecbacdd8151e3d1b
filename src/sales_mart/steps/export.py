"""Step `export`: the published summary as JSON, CSV and Parquet files, and the run's report.

The bytes of the files depend on the summary alone, so the same input, configuration and key give
the same files from either warehouse. `manifest.json` comes last and holds the digests: while an
export replaces an older one, the manifest does not match, so a careful reader can tell. It names
the report without a digest, since that tells of the run too, and of how long it took.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from sales_mart.errors import ConfigurationError, SupersededError
from sales_mart.lake.disk import disk_errors, temporary_folder
from sales_mart.lake.files import CsvWriter, JsonWriter, ParquetWriter, with_cents
from sales_mart.lake.folders import held, unfinished_files
from sales_mart.lake.records import Export, ExportedFile, Load, Publish
from sales_mart.lake.storage import open_storage
from sales_mart.report.figures import REPORT, STEP
from sales_mart.report.page import page
from sales_mart.schema import arrow_schema
from sales_mart.steps.descriptions import describe
from sales_mart.steps.report_figures import collect
from sales_mart.steps.summary import (
    check_still_shown,
    open_summary,
    published_summary,
    summary_columns,
)
from sales_mart.warehouses.base import DEFAULT_TARGETS, names, warehouse_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.lake.storage import Storage
    from sales_mart.schema import TableColumn

__all__ = ["WAIT_SECONDS", "check_digests", "export", "export_place", "read_manifest"]

_log = logging.getLogger(__name__)

_ROWS = 65_536
WAIT_SECONDS = 60.0
MANIFEST = "manifest.json"
_NAMES = ("summary_sales.json", "summary_sales.csv", "summary_sales.parquet")


def export(config: Config, run: RunFolder, destination: str | None = None) -> Export:
    """Write the published summary of a run as files, its report, and the record `export`.

    `summary_sales.json` is an array of objects, amounts as numbers with all their decimals.
    `summary_sales.csv` has amounts with two decimals (more where the configuration allows more)
    and a quote before a text that a spreadsheet would run as a formula.
    `summary_sales.parquet` has decimals and dates. All are sorted by month, then texts by code
    point. Memory does not grow with the summary.

    Args:
        config: The configuration.
        run: A run whose marts are published.
        destination: Folder or bucket prefix. Default: `data_mart.export`, else `<lake>/export`.

    Raises:
        ConfigurationError: The run has not been published, or the destination is not writable or
            holds the export of other warehouses.
        MartsChangedError: The marts are not what was published.
        SupersededError: Another run's marts are published.
        TemporaryError: The warehouse or the storage does not answer.
    """
    storage = open_storage(destination or export_place(config, run.lake.uri))
    target = _target(config, run)
    if target not in config.data_warehouse.targets:
        # The run was told to work on it, so the files are of this warehouse alone.
        alone = config.data_warehouse.model_copy(update={"targets": (target,)})
        config = config.model_copy(update={"data_warehouse": alone})
    with ExitStack() as stack:
        # Of two exports at the same time one comes after the other, and reads what is published
        # when its turn comes. So the files are of one run.
        stack.enter_context(held(storage.uri, WAIT_SECONDS))
        folder = stack.enter_context(unfinished_files(storage.uri, ".export"))
        _check_owner(config, storage)
        with open_summary(config, target) as summary:
            _check_shown(run, target, summary.publication.sequence)
            with disk_errors(folder):
                count = _write(folder, summary_columns(config, target), summary.rows)
            figures = collect(config, run, summary.session)
            check_still_shown(summary.session, summary.publication)
        with disk_errors(folder):
            files = tuple(_describe(folder / name, count) for name in _NAMES)
            (folder / REPORT).write_bytes(page(figures))
        for name in (*_NAMES, REPORT):
            storage.put(name, folder / name)
        describe(config, run, storage)
        storage.write(MANIFEST, _manifest(config, run.run_id, files))
    run.write(STEP, figures)
    record = Export(run_id=run.run_id, destination=storage.uri, target=target, files=files)
    run.write("export", record)
    _log.info("%d rows exported to %s", count, storage.uri)
    return record


def export_place(config: Config, lake: str) -> str:
    """Return where the exports go that nobody gives a destination."""
    return config.data_mart.export or f"{lake}/export"


def read_manifest(storage: Storage) -> Mapping[str, Any] | None:
    """Read the manifest of an export; None when there is none, or none that can be read."""
    try:
        manifest = json.loads(storage.read(MANIFEST))
    except (FileNotFoundError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def check_digests(config: Config, target: str, manifest: Mapping[str, Any]) -> list[str]:
    """Say which files of a manifest are not what the published summary gives; all of them is none.

    Raises:
        ConfigurationError: Nothing has been published.
        MartsChangedError: The marts are not what was published.
    """
    digests = {each["name"]: each["sha256"] for each in manifest["files"]}
    with (
        temporary_folder("sales-mart-verify") as folder,
        published_summary(config, target) as (_, rows),
    ):
        count = _write(folder, summary_columns(config, target), rows)
        files = [_describe(folder / name, count) for name in _NAMES]
    return [each.name for each in files if digests.get(each.name) != each.sha256]


def _places(config: Config) -> dict[str, dict[str, str]]:
    """Return what tells the marts of a configuration apart from those of others.

    No address: the same server has another one behind a proxy or after a failover. All warehouses,
    so that the file does not depend on which of them a run works on.
    """
    known = {*DEFAULT_TARGETS, *config.data_warehouse.targets}
    return {name: warehouse_class(name)(config).place for name in names() if name in known}


def _check_owner(config: Config, storage: Storage) -> None:
    """Check that the export in a place, if there is one, is of the warehouses of now."""
    recorded = (read_manifest(storage) or {}).get("warehouses")
    if not isinstance(recorded, dict):
        return  # nothing is there, or version 0.1 wrote it
    theirs = cast("dict[str, object]", recorded)
    places = _places(config)
    ours = {target: places[target] for target in config.data_warehouse.targets}
    if all(theirs.get(name, place) == place for name, place in ours.items()):
        return
    theirs = {name: theirs[name] for name in ours if name in theirs}
    msg = f"{storage.uri} holds an export of {_in_words(theirs)}, this one is of {_in_words(ours)}"
    raise ConfigurationError(
        msg,
        remedy="Set data_mart.export, or --destination, to a folder of its own. If the marts have "
        f"moved, remove {MANIFEST} there.",
    )


def _in_words(places: Mapping[str, object]) -> str:
    return " and ".join(
        f"{name} {'.'.join(map(str, cast('Mapping[str, object]', place).values()))}"
        if isinstance(place, dict)
        else name
        for name, place in places.items()
    )


def _target(config: Config, run: RunFolder) -> str:
    """Return the first warehouse that shows the run; those of the configuration go first."""
    shown = run.read("publish", Publish).rows
    for target in (*config.data_warehouse.targets, *names()):
        if target in shown:
            return target
    msg = f"run {run.run_id} is not published"
    raise ConfigurationError(msg, remedy="Run `sales-mart publish` for it first.")


def _check_shown(run: RunFolder, target: str, sequence: int) -> None:
    loaded = run.read(f"load-{target}", Load).sequence
    if sequence > loaded:
        msg = f"run {run.run_id} is superseded: {target} shows the marts of a later load"
        raise SupersededError(
            msg, remedy="Let the newer run finish; to show this one again, load it again first."
        )
    if sequence < loaded:
        msg = f"the last load of run {run.run_id} into {target} is not published"
        raise ConfigurationError(msg, remedy="Run `sales-mart publish` for it first.")


def _write(folder: Path, columns: Sequence[TableColumn], rows: Iterable[tuple[Any, ...]]) -> int:
    """Write the three files side by side; gives the number of rows."""
    arrow = arrow_schema(columns)
    schema = pl.Schema(arrow)
    as_json, as_csv, as_parquet = (folder / name for name in _NAMES)
    remaining = iter(rows)
    total = 0
    with (
        JsonWriter(as_json, schema) as json_file,
        CsvWriter(as_csv, schema) as csv_file,
        ParquetWriter(as_parquet, schema, arrow) as parquet,
    ):
        while chunk := list(islice(remaining, _ROWS)):
            frame = pl.DataFrame(chunk, schema, orient="row")
            json_file.write(frame)
            csv_file.write(with_cents(frame))
            parquet.write(frame)
            total += len(chunk)
    return total


def _describe(path: Path, rows: int) -> ExportedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedFile(name=path.name, rows=rows, size=path.stat().st_size, sha256=digest)


def _manifest(config: Config, run_id: str, files: Sequence[ExportedFile]) -> bytes:
    content = {
        "schema_version": 1,
        "run_id": run_id,
        "warehouses": _places(config),
        "files": [file.model_dump(mode="json") for file in files],
        "report": REPORT,
    }
    return json.dumps(content, indent=2).encode() + b"\n"
