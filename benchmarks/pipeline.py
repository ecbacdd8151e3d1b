"""(c) The whole pipeline, from the file to the PostgreSQL mart and the summary as a file."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.harness import Contestant

Counts = dict[str, Any]

CONTESTANTS = [
    Contestant(
        "sales_mart run",
        "pipeline:ours",
        note="plan to export: quarantine with reasons, raw table, dbt marts built and tested, "
        "reconciled, published at once, summary in three formats",
        imports=(
            "sales_mart.steps.pipeline",
            "sales_mart.steps.transform",
            "sales_mart.steps.export",
        ),
    ),
    Contestant(
        "one psql script",
        "pipeline:expert",
        note="benchmarks/expert.sql: the same valid rows and summary; no reasons, no quarantine, "
        "no tests, one mart and one summary",
    ),
]

DUCKDB = [
    Contestant(
        "sales_mart run",
        "pipeline:in_duckdb",
        note="a file on this computer, and no server",
        imports=CONTESTANTS[0].imports,
    )
]
WORKERS = [
    Contestant(
        f"{count} {'worker' if count == 1 else 'workers'}",
        f"pipeline:workers_{count}",
        imports=("sales_mart.steps.pipeline",),
    )
    for count in (1, 2)
]

_SUMMARY = (
    "select count(*), coalesce(sum(total_amount), 0)::text, "
    "coalesce(sum(transaction_count), 0)::bigint from {}.summary_sales"
)


def ours(url: str, settings: dict[str, Any], file: str, **_: object) -> Callable[[], Counts]:
    """Run the whole pipeline in a fresh lake."""
    lake = mkdtemp(prefix="sales-mart-bench-")
    run_once(settings, lake, file, date(2023, 10, 1), "replace")
    return lambda: counted(url, settings, lake)


def in_duckdb(settings: dict[str, Any], file: str, **_: object) -> Counts:
    """Run the whole pipeline into a file."""
    lake = mkdtemp(prefix="sales-mart-bench-")
    settings["data_warehouse"]["duckdb"] = {"path": f"{lake}/sales.duckdb"}
    run_once(settings, lake, file, date(2023, 10, 1), "replace")
    return {}


def workers_1(settings: dict[str, Any], file: str, **_: object) -> Counts:
    """Check the rows by one worker."""
    return _checked(settings, file, 1)


def workers_2(settings: dict[str, Any], file: str, **_: object) -> Counts:
    """Check the rows by two workers."""
    return _checked(settings, file, 2)


def _checked(settings: dict[str, Any], file: str, workers: int) -> Counts:
    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.steps.pipeline import together
    from sales_mart.steps.plan import plan
    from sales_mart.steps.validate import validate_shard

    config, lake = Config.model_validate(settings), mkdtemp(prefix="sales-mart-bench-")
    made = plan(config, lake, business_date=date(2023, 10, 1), source=file, shards=workers)
    run = RunFolder(lake, made.run_id)
    tasks = {
        str(shard): partial(validate_shard, config, run, shard) for shard in range(len(made.shards))
    }
    found = together(tasks).values()
    valid = sum(each.rows_read - each.rows_rejected for each in found)
    return {"valid": valid, "rejected": sum(each.rows_rejected for each in found)}


def expert(url: str, psql_path: str, file: str, **_: object) -> Callable[[], Counts]:
    """Run the script."""
    return run_script("expert.sql", url, psql_path, file)


def run_once(settings: dict[str, Any], lake: str, file: str, day: date, mode: str) -> None:
    """Run the whole pipeline."""
    from sales_mart.config import Config
    from sales_mart.lake.records import Mode
    from sales_mart.steps.pipeline import run

    config = Config.model_validate(settings)
    run(config, lake, business_date=day, source=file, mode=Mode(mode))


def run_script(script: str, url: str, psql_path: str, file: str) -> Callable[[], Counts]:
    """Run a script of the expert, which reads a file and prints the summary."""
    folder = mkdtemp(prefix="sales-mart-bench-")
    summary = Path(folder) / "summary_sales.csv"
    path = str(Path(__file__).with_name(script))
    with Path(file).open("rb") as rows, summary.open("wb") as out:
        command = [psql_path, "-Xqd", url, "-f", path]
        subprocess.run(command, stdin=rows, stdout=out, check=True)
    return lambda: _count(url, "expert", summary, [])


def counted(url: str, settings: dict[str, Any], lake: str) -> Counts:
    """Read the marts and the export of a run when the time has been taken."""
    from sales_mart.config import Config

    config = Config.model_validate(settings)
    mart, raw = config.data_mart.postgres_schema, config.data_warehouse.dataset
    return _count(url, mart, Path(lake, "export", "summary_sales.csv"), [raw, f"{mart}__next"])


def drop_schemas(url: str, *names: str) -> None:
    """Leave nothing to the next one."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    with psycopg.connect(url) as connection:
        for name in names:
            connection.execute(SQL("drop schema if exists {} cascade").format(Identifier(name)))


def _count(url: str, mart: str, summary: Path, more: list[str]) -> Counts:
    """Read the marts, and leave nothing to the next one."""
    import psycopg

    with psycopg.connect(url) as connection:
        sales = connection.execute(f"select count(*) from {mart}.pg_sales").fetchone()
        totals = connection.execute(_SUMMARY.format(mart)).fetchone()
    drop_schemas(url, mart, *more)
    with summary.open(encoding="utf-8", newline="") as file:
        lines = sum(1 for _ in csv.reader(file)) - 1
    assert sales is not None
    assert totals is not None
    return {"rows": sales[0], "summary": list(totals), "exported": lines}
