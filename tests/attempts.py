"""What the tests of outages share: how an attempt ended, and what must hold of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.errors import SalesMartError
from support import row
from targets import Target
from warehouses import ask, raw_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_mart.config import Config

DAY = "2023-10-01"
OLD = [row(f"OLD{number}", DAY) for number in range(3)]
NEW = [row(f"NEW{number}", DAY) for number in range(400)]


class Ended(NamedTuple):
    """How an attempt ended: the exit code, everything that was said, and the seconds it took."""

    code: int
    said: str
    seconds: float
    result: Any


def attempt(task: Callable[[], object]) -> Ended:
    """Run a task; only errors of ours are caught, since any other is a bug."""
    started = time.monotonic()
    try:
        result, raised = task(), None
    except SalesMartError as error:
        result, raised = None, error
    seconds = time.monotonic() - started
    if raised is None:
        return Ended(0, "", seconds, result)
    assert raised.remedy, f"{raised.message} has no remedy"
    said = f"{raised.message}\n{raised.remedy}\n{raised.details}"
    return Ended(raised.exit_code, said, seconds, None)


def configured(config: Config, target: str, **settings: object) -> Config:
    """Give the configuration with other settings of one warehouse, or of all."""
    common = {key: settings.pop(key) for key in ("lock_timeout",) if key in settings}
    section = getattr(config.data_warehouse, target).model_copy(update=settings)
    warehouse = config.data_warehouse.model_copy(update={target: section, **common})
    return config.model_copy(update={"data_warehouse": warehouse})


def runs_in_raw(config: Config, target: Target) -> dict[str, tuple[int, int]]:
    """Give rows and distinct identifiers of the raw table, by run."""
    name = raw_table(config, target)
    found = ask(
        config,
        target,
        f"select run_id, count(*), count(distinct transaction_id) from {name} group by run_id",
    )
    return {run: (rows, tokens) for run, rows, tokens in found}
