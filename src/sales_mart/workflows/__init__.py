"""The workflow on Kubernetes: what runs in which order, what is tried again, what is told after.

`daily()`, `backfill()` and `cron()` are objects of Hera; `manifests()` is their text. They are
loaded when they are first used, since Hera is an extra: `pip install "sales-mart[workflows]"`.
`python -m sales_mart.workflows FOLDER` writes the manifests. The Helm chart has them, and lays a
site's values over them. Nothing here runs in a cluster: a container there is a plain `sales-mart`
command.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sales_mart.extras import need

if TYPE_CHECKING:
    from sales_mart.workflows.files import manifests
    from sales_mart.workflows.graph import daily
    from sales_mart.workflows.many_days import backfill
    from sales_mart.workflows.schedule import cron

__all__ = ["backfill", "cron", "daily", "manifests"]

_HOMES = {"backfill": "many_days", "cron": "schedule", "daily": "graph", "manifests": "files"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    need("workflows", "hera.workflows")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
