"""The report of a run, written again from the figures that `export` has collected."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.lake.folders import held
from sales_mart.lake.records import Export
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import open_storage
from sales_mart.report.figures import REPORT, STEP, Figures
from sales_mart.report.page import page
from sales_mart.steps.export import WAIT_SECONDS, export_place, read_manifest

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.lake.storage import Storage

__all__ = ["write_report"]


def write_report(
    config: Config, lake: str, run_id: str | None = None, to: str | None = None
) -> str:
    """Write the report of a run again; no warehouse is asked.

    Args:
        config: The configuration.
        lake: Where runs are kept.
        run_id: The run. Default: the one whose export stands where exports go.
        to: File to write, local or gs://. Default: `report.html` beside the export of the run.

    Returns:
        Path or address of the file.

    Raises:
        ConfigurationError: The run has no report, or the export of another run stands where its
            own was.
        TemporaryError: An export is being written there.
    """
    usual = export_place(config, lake)
    chosen = run_id or _exported_run(open_storage(usual))
    if chosen is None:
        msg = f"there is no export in {usual}, so no run is named"
        raise ConfigurationError(msg, remedy="Give the run's id, or run `sales-mart run` first.")
    run = RunFolder(lake, chosen)
    figures = run.find(STEP, Figures)
    if figures is None:
        msg = f"run {chosen} in {run.lake.uri} has no report"
        raise ConfigurationError(
            msg, remedy="`sales-mart export` makes one, as long as the run's marts are published."
        )
    if to is None:
        return _beside_its_export(run, page(figures))
    folder, name = posixpath.split(to if "://" in to else str(Path(to).absolute()))
    return _written(open_storage(folder), name, page(figures))


def _beside_its_export(run: RunFolder, content: bytes) -> str:
    storage = open_storage(run.read("export", Export).destination)
    with held(storage.uri, WAIT_SECONDS):
        found = _exported_run(storage)
        if found != run.run_id:
            whose = f"is of run {found}" if found else "is gone"
            msg = f"the export in {storage.uri} {whose}, so the report of {run.run_id} has no place"
            raise ConfigurationError(msg, remedy="Say where to write it, with --to FILE.")
        return _written(storage, REPORT, content)


def _written(storage: Storage, name: str, content: bytes) -> str:
    storage.write(name, content)
    return f"{storage.uri}/{name}"


def _exported_run(storage: Storage) -> str | None:
    run_id = (read_manifest(storage) or {}).get("run_id")
    return run_id if isinstance(run_id, str) else None
