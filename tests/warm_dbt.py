"""What forks dbt's workers in the tests: the one of the product, when dbt has parsed its project.

Hundreds of tests build marts. What dbt makes in its first command, and what it caches for tests of
its own (macros as trees, templates as code), is there for all of them then.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from typing import Any

from dbt.cli.main import dbtRunner
from dbt_common.clients.jinja import template_cache
from dbt_common.tests import enable_test_caching

from sales_mart.config import Config
from sales_mart.dbt_runner import worker
from sales_mart.dbt_runner.process import environment, variables
from sales_mart.dbt_runner.project import project_folder
from sales_mart.warehouses.base import names, warehouse_class


def parse(target: str, folder: str) -> None:
    """Parse the project for a warehouse that is not asked."""
    config, project = Config(), str(project_folder())
    os.environ.update(environment(config, target, offline=True))
    warehouse_class(target).prepare_dbt()
    adapter = importlib.import_module(f"dbt.adapters.{target}")
    adapter.Plugin.credentials.json_schema()
    arguments = [
        *("parse", "--project-dir", project, "--profiles-dir", project, "--target", target),
        *("--target-path", folder, "--log-path", folder, "--quiet"),
        *("--no-partial-parse", "--no-version-check"),
        *("--vars", json.dumps(variables(config, target))),
    ]
    manifest: Any = dbtRunner().invoke(arguments).result
    if manifest is not None:
        manifest.writable_manifest().to_dict()
        for macro in manifest.macros.values():
            template_cache.get_node_template(macro)


def main() -> int:
    """Parse for every warehouse, then fork workers."""
    enable_test_caching()
    known = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        for target in names():
            parse(target, folder)
    os.environ.clear()
    os.environ.update(known)
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
