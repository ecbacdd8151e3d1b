"""What the steps of a published run wrote down, read once for those who describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sales_mart.lake.records import Load, Plan, Publish, Reconcile, Seal, Transform
from sales_mart.warehouses.base import names, warehouse_class

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.base import Warehouse

__all__ = ["PublicationRecords", "publication_records", "time_of"]


class PublicationRecords(NamedTuple):
    """The records of a published run.

    Attributes:
        run_id: The run.
        warehouses: Those that show it, in the order of targets.
        publish: What was published.
        loads: The loads of these warehouses.
        plan: What was read.
        seal: What became of the rows.
        transform: What was built and tested.
        reconcile: What agrees.
    """

    run_id: str
    warehouses: Mapping[str, Warehouse]
    publish: Publish
    loads: Mapping[str, Load]
    plan: Plan | None
    seal: Seal | None
    transform: Transform | None
    reconcile: Reconcile | None


def publication_records(config: Config, run: RunFolder) -> PublicationRecords:
    """Read the records of a run.

    Raises:
        ConfigurationError: It has not been published.
    """
    publish = run.read("publish", Publish)
    shown = [name for name in names() if name in publish.rows]
    return PublicationRecords(
        run.run_id,
        {name: warehouse_class(name)(config) for name in shown},
        publish,
        {name: run.read(f"load-{name}", Load) for name in shown},
        run.find("plan", Plan),
        run.find("seal", Seal),
        run.find("transform", Transform),
        run.find("reconcile", Reconcile),
    )


def time_of(moment: datetime) -> str:
    """Return a moment as RFC 3339 has it."""
    return moment.isoformat().replace("+00:00", "Z")
