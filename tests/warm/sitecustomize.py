"""Let a command that a test starts, with this folder in PYTHONPATH, use the dbt of all tests."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_MODULE = "sales_mart.dbt_runner.forks"


class _Finder:
    """Finds the module that starts dbt, and has it start `forward.py`."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find it as any module is found."""
        if name != _MODULE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def then_changed(module: ModuleType) -> None:
            execute(module)
            vars(module)["PROGRAM"] = tuple(os.environ["WARM_DBT"].split(os.pathsep))

        spec.loader.exec_module = then_changed
        return spec


if "WARM_DBT" in os.environ:
    sys.meta_path.insert(0, _Finder())
