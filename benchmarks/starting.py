"""(h, i) A run of five rows, and how long a command takes to begin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.harness import Contestant
from benchmarks.pipeline import Counts, counted, drop_schemas

_BIN = Path(sys.executable).parent

SMALL = [
    Contestant(
        "sales-mart run",
        "starting:ours",
        note="the command, from the file to the report, with all tests",
    ),
    Contestant(
        "dbt build",
        "starting:dbt_build",
        note="of the same project, on rows that are loaded already",
        agrees=False,
        prepare="starting:loaded",
    ),
]
STARTS = [
    Contestant("python -c pass", "starting:empty", agrees=False),
    Contestant("import sales_mart", "starting:library", agrees=False),
    Contestant("sales-mart --help", "starting:help_of_ours", agrees=False),
    Contestant("import polars", "starting:polars", agrees=False),
    Contestant("dbt --version", "starting:dbt_version", agrees=False),
]


def ours(url: str, settings: dict[str, Any], file: str, **_: object) -> Callable[[], Counts]:
    """Run the command in a fresh lake."""
    lake = mkdtemp(prefix="sales-mart-bench-")
    _command(lake, settings, "run", "--source", file, "--business-date", "2023-10-01")
    return lambda: counted(url, settings, lake)


def loaded(settings: dict[str, Any], file: str, **_: object) -> str:
    """Load the rows; gives the folder for dbt."""
    lake = mkdtemp(prefix="sales-mart-bench-")
    day = ("--business-date", "2023-10-01")
    _command(lake, settings, "plan", "--source", file, *day, "--run-id", "a")
    for step in ("validate", "seal", "load postgres"):
        _command(lake, settings, *step.split(), "--run-id", "a")
    return lake


def dbt_build(
    url: str, settings: dict[str, Any], prepared: str, **_: object
) -> Callable[[], Counts]:
    """Run dbt as anybody would."""
    import json

    from sales_mart.config import Config
    from sales_mart.dbt_runner.process import environment, variables
    from sales_mart.dbt_runner.project import project_folder

    config, project = Config.model_validate(settings), str(project_folder())
    places = ("--project-dir", project, "--profiles-dir", project, "--target", "postgres")
    files = ("--target-path", f"{prepared}/target", "--log-path", prepared, "--no-partial-parse")
    kinds = ("--resource-type", "model", "--resource-type", "test", "--quiet")
    values = ("--vars", json.dumps(variables(config, "postgres")))
    command = [str(_BIN / "dbt"), "build", *places, *files, *kinds, *values]
    known = os.environ | environment(config, "postgres")
    subprocess.run(command, env=known, check=True)
    mart, raw = config.data_mart.postgres_schema, config.data_warehouse.dataset

    def count() -> Counts:
        drop_schemas(url, mart, raw, f"{mart}__next")
        return {}

    return count


def _command(lake: str, settings: dict[str, Any], *arguments: str) -> None:
    import yaml

    file = Path(lake, "config.yaml")
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    given = ("--lake", lake, "--config", str(file), "--quiet")
    known = {key: value for key, value in os.environ.items() if key != "SALES_MART_CONFIG"}
    subprocess.run(
        [str(_BIN / "sales-mart"), *arguments, *given],
        check=True,
        env=known,
        stdout=subprocess.DEVNULL,
    )


def _runs(*command: str) -> Counts:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {}


def empty(**_: object) -> Counts:
    """Start Python."""
    return _runs(sys.executable, "-c", "pass")


def library(**_: object) -> Counts:
    """Import the library."""
    return _runs(sys.executable, "-c", "import sales_mart")


def help_of_ours(**_: object) -> Counts:
    """Show the help."""
    return _runs(str(_BIN / "sales-mart"), "--help")


def polars(**_: object) -> Counts:
    """Import what reads the rows."""
    return _runs(sys.executable, "-c", "import polars")


def dbt_version(**_: object) -> Counts:
    """Start dbt."""
    return _runs(str(_BIN / "dbt"), "--version")
