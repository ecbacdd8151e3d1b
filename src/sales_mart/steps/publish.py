"""Step `publish`: readers see the marts that this run built, tested and reconciled."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.lake.records import Load, Publish, Reconcile, TargetTransform, Transform
from sales_mart.warehouses.base import open_warehouse
from sales_mart.warehouses.publishing import NextMarts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.history import Publication

__all__ = ["publish"]

_log = logging.getLogger(__name__)


def publish(config: Config, run: RunFolder, targets: Sequence[str]) -> Publish:
    """Make the marts of a run current, warehouse by warehouse, and write the record `publish`.

    Within a warehouse all marts change at once. Between two warehouses there is no common
    transaction: when the second one fails, the first shows the new run already, and the same
    command again shows it in both, since a publication that is done changes nothing.

    Raises:
        ConfigurationError: The latest load has not been transformed and reconciled.
        MartsChangedError: The marts would not agree with each other, with what `reconcile` found,
            or, where this run does not change them, with what was published last.
        SupersededError: A newer run was loaded.
        TemporaryError: A warehouse does not answer, or another attempt builds the marts anew.
    """
    built = {target: _audited(run, target) for target in targets}
    reconciled = run.read("reconcile", Reconcile)
    shown: dict[str, Publication] = {
        target: open_warehouse(config, target).publish(
            NextMarts(
                run.run_id,
                marts.window,
                marts.sequence,
                marts.built,
                facts=reconciled.facts.get(target),
                marts=reconciled.marts.get(target, {}),
                full_refresh=marts.full_refresh,
            )
        )
        for target, marts in built.items()
    }
    record = Publish(
        run_id=run.run_id,
        rows={target: each.rows for target, each in shown.items()},
        published_at=max(each.published_at for each in shown.values()),
    )
    run.write("publish", record)
    _log.info("run %s is published on %s", run.run_id, ", ".join(targets))
    return record


def _audited(run: RunFolder, target: str) -> TargetTransform:
    """Return what was built in a warehouse, if it is what was tested and compared last."""
    load = run.read(f"load-{target}", Load)
    transform = run.read("transform", Transform)
    reconcile = run.read("reconcile", Reconcile)
    built = next((marts for marts in transform.targets if marts.target == target), None)
    if built is None or built.sequence != load.sequence:
        raise _not_passed(run, target, "transform")
    if reconcile.sequences.get(target) != load.sequence:
        raise _not_passed(run, target, "reconcile")
    return built


def _not_passed(run: RunFolder, target: str, step: str) -> ConfigurationError:
    msg = f"the last load of run {run.run_id} into {target} has not passed {step}"
    return ConfigurationError(msg, remedy=f"Run `sales-mart {step}` for it first.")
