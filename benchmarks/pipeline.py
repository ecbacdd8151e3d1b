"""(c) The whole pipeline, from the file to the PostgreSQL mart and the summary as a file."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
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

_SUMMARY = (
    "select count(*), coalesce(sum(total_amount), 0)::text, "
    "coalesce(sum(transaction_count), 0)::bigint from {}.summary_sales"
)


def ours(url: str, settings: dict[str, Any], file: str, **_: object) -> Callable[[], Counts]:
    """Run the whole pipeline to PostgreSQL in a fresh lake."""
    from sales_mart.config import Config
    from sales_mart.steps.pipeline import run

    config = Config.model_validate(settings)
    folder = TemporaryDirectory(prefix="sales-mart-bench-")
    day = date(2023, 10, 1)
    run(config, folder.name, business_date=day, source=file, targets=["postgres"])

    def count() -> Counts:
        summary = Path(folder.name) / "export" / "summary_sales.csv"
        mart, raw = config.data_mart.postgres_schema, config.data_warehouse.dataset
        counts = _count(url, mart, summary, [raw, f"{mart}__next"])
        folder.cleanup()
        return counts

    return count


def expert(url: str, psql_path: str, file: str, **_: object) -> Callable[[], Counts]:
    """Run the script."""
    folder = TemporaryDirectory(prefix="sales-mart-bench-")
    summary = Path(folder.name) / "summary_sales.csv"
    script = str(Path(__file__).with_name("expert.sql"))
    with Path(file).open("rb") as rows, summary.open("wb") as out:
        command = [psql_path, "-Xqd", url, "-f", script]
        subprocess.run(command, stdin=rows, stdout=out, check=True)

    def count() -> Counts:
        counts = _count(url, "expert", summary, [])
        folder.cleanup()
        return counts

    return count


def _count(url: str, mart: str, summary: Path, more: list[str]) -> Counts:
    """Read the marts when the time has been taken, and leave nothing to the next one."""
    import psycopg

    with psycopg.connect(url) as connection:
        sales = connection.execute(f"select count(*) from {mart}.pg_sales").fetchone()
        totals = connection.execute(_SUMMARY.format(mart)).fetchone()
        for schema in (mart, *more):
            connection.execute(f"drop schema if exists {schema} cascade")
    with summary.open(encoding="utf-8", newline="") as file:
        lines = sum(1 for _ in csv.reader(file)) - 1
    assert sales is not None
    assert totals is not None
    return {"rows": sales[0], "summary": list(totals), "exported": lines}
