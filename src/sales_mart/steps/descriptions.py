"""What other tools read of a publication: its contract and its lineage, beside the exports.

They are kept with the run too, as they were written, so that they can be shown when the
configuration, or this program, is another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import open_storage
from sales_mart.steps.contract import contract
from sales_mart.steps.lineage import lineage
from sales_mart.steps.publication_records import publication_records

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.lake.storage import Storage

__all__ = ["CONTRACT", "LINEAGE", "describe", "described", "exported_run"]

CONTRACT = "contract.odcs.yaml"
LINEAGE = "openlineage.ndjson"


def describe(config: Config, run: RunFolder, exports: Storage) -> None:
    """Write the descriptions of a published run beside its exports, and keep them with the run.

    Raises:
        ConfigurationError: The run has not been published, or a place is not writable.
    """
    records = publication_records(config, run)
    written = {CONTRACT: contract(config, records), LINEAGE: lineage(config, records)}
    for name, content in written.items():
        run.lake.write(run.name(name), content)
        exports.write(name, content)


def described(run: RunFolder, name: str) -> bytes:
    """Return a description as it was written when the run was exported.

    Raises:
        ConfigurationError: The run was not exported, or by a version that wrote none.
    """
    try:
        return run.lake.read(run.name(name))
    except FileNotFoundError:
        msg = f"run {run.run_id} has no {name} in {run.uri}"
        raise ConfigurationError(
            msg, remedy="`sales-mart export` writes it, while the run is what is published."
        ) from None


def exported_run(config: Config, lake: str, run_id: str | None = None) -> RunFolder:
    """Return a run: the named one, else the one whose export stands where exports go.

    Raises:
        ConfigurationError: None is named, and nothing has been exported.
    """
    from sales_mart.steps.export import export_place, read_manifest

    place = export_place(config, lake)
    found = run_id or (read_manifest(open_storage(place)) or {}).get("run_id")
    if not isinstance(found, str):
        msg = f"there is no export in {place}, so no run is named"
        raise ConfigurationError(msg, remedy="Give the run's id, or run `sales-mart run` first.")
    return RunFolder(lake, found)
