"""Much of everything, in 1 GiB: rows, files, products, rows of a day, days."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sales_mart.config.file import load_config
from sales_mart.errors import DataError
from sales_mart.synthetic.generate import generate, write
from sales_mart.warehouses.bigquery.load import MAX_DATES

from .memory import LIMIT, Ended, limited
from .table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sales_mart.servers.local import LocalServers

__all__ = ["size"]

_RULES = Path(__file__).parents[2] / "samples" / "pipeline_config.yaml"
_MOST_ROWS = 30_000_000
_STEADY_ROWS = 3_000_000
"""From here on more rows must not take more memory."""
_FILE_ROWS = 3_000_000
_FILES = 2_000
_TOLERANCE = 1.3
"""Whether dbt's start meets the largest block makes a quarter between two runs of the same rows."""
_MEGABYTE = 1_000_000
_HANGS_SECONDS = 600.0
_STATEMENT_SECONDS = 1_800
_SLOWEST_ROW = 60e-6
"""Seconds for a row on a busy machine, to begin with."""
_MINUTES = 600.0
"""With more time than this, PostgreSQL runs alone too."""


class _Pipeline(NamedTuple):
    """Runs the pipeline over some files under the limit."""

    servers: LocalServers
    folder: Path
    deadline: float

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.deadline - time.monotonic())

    def run(self, name: str, source: str, *targets: str) -> Ended:
        """Run `sales-mart run` with schemas and datasets of its own."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SALES_MART_")}
        postgres = {"host": "127.0.0.1", "port": self.servers.postgres_port, "dbname": "postgres"}
        warehouse = {
            "dataset": f"raw_{name}",
            "targets": targets or ("postgres",),
            "postgres": {**postgres, "sslmode": "disable"},
            # The local server answers nobody while it works on a statement.
            "bigquery": {
                "api_endpoint": self.servers.bigquery_endpoint,
                "request_timeout": _STATEMENT_SECONDS,
            },
        }
        environ = {
            **clean,
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": self.servers.postgres_password,
            "SALES_MART_DATA_WAREHOUSE": json.dumps(warehouse),
            "SALES_MART_DATA_MART": json.dumps(
                {"dataset": f"mart_{name}", "postgres_schema": f"shown_{name}"}
            ),
            "TMPDIR": str(folder),
        }
        code = "import sys; from sales_mart.cli import main; sys.exit(main())"
        options = ("--config", str(_RULES), "--source", source, "--lake", str(folder / "lake"))
        command = (sys.executable, "-c", code, "run", *options, "--business-date", "2023-12-31")
        seconds = max(_HANGS_SECONDS, self.left)
        return limited((*command, "--output", "json"), folder, environ, seconds)


def size(servers: LocalServers, folder: Path, seconds: float, seed: int) -> list[Row]:
    """Attack with sizes that fit into about so many seconds, or a minute at least.

    Args:
        servers: Where the rows go.
        folder: For files.
        seconds: How long it may take; from some 3,600 on it runs 30 million rows.
        seed: Of the generated rows.
    """
    pipeline = _Pipeline(servers, folder, time.monotonic() + seconds)
    rows = [
        _crowd(pipeline, max(20_000, min(1_000_000, int(seconds * 1_000)))),
        *_many_dates(pipeline),
    ]
    if pipeline.left > _MINUTES:
        alone = pipeline._replace(deadline=time.monotonic() + pipeline.left * 0.3)
        rows += _many_rows(alone, seed, "postgres")
    return rows + _many_rows(pipeline, seed, "postgres", "bigquery")


def _crowd(pipeline: _Pipeline, rows: int) -> Row:
    """Many small files, each row of another product, all on one day."""
    folder = pipeline.folder / "crowd-in"
    folder.mkdir()
    each = rows // _FILES
    for number in range(_FILES):
        pl.select(number=pl.int_range(number * each, (number + 1) * each)).select(
            pl.format("C{}", "number").alias("transaction_id"),
            pl.format("Halal product {}", "number").alias("product"),
            price=pl.lit("20.00"),
            quantity=pl.lit(1),
            date=pl.lit("2023-10-01"),
        ).write_csv(folder / f"{number:04}.csv")
    ended = pipeline.run("crowd", str(folder))
    rows = each * _FILES
    name = f"{_FILES:,} files, {rows:,} distinct products, one day"
    row = _row(name, ended, read=rows, shown=rows)
    if row.survived and json.loads(ended.stdout)["files"][0]["rows"] != rows:
        return row._replace(survived=0, found="the export has another number of rows")
    return row


def _many_dates(pipeline: _Pipeline) -> list[Row]:
    """More sale dates than a BigQuery job may change: refused, with what to do."""
    days = [date(2000, 1, 1) + timedelta(days=number) for number in range(MAX_DATES + 1)]
    lines = [f"D{day},Halal Mouse,20.00,1,{day}" for day in days]
    path = pipeline.folder / "dates.csv"
    path.write_text("\n".join(["transaction_id,product,price,quantity,date", *lines, ""]))
    refused = pipeline.run("dates", str(path), "postgres", "bigquery")
    error = json.loads(refused.stdout or "{}").get("error", {})
    right = refused.code == DataError.exit_code and f"{len(days)} sale dates" in error["message"]
    right = right and "Split the source" in error["remedy"]
    name = f"{len(days):,} sale dates"
    found = "" if right else f"exit {refused.code}: {error}"
    taken = pipeline.run("days", str(path))
    return [
        Row(f"{name} for BigQuery: refused, with the remedy", 1, int(right), found),
        _row(f"{name} for PostgreSQL alone", taken, read=len(days), shown=len(days)),
    ]


def _many_rows(pipeline: _Pipeline, seed: int, *targets: str) -> list[Row]:
    """The same peak for ten times the rows."""
    base = max(100_000, min(_STEADY_ROWS, int(pipeline.left / 11 / _SLOWEST_ROW)))
    begun = time.monotonic()
    some, first = _run_rows(pipeline, base, seed, targets)
    seconds = time.monotonic() - begun
    affordable = int(0.8 * pipeline.left / seconds * base) // 1_000_000 * 1_000_000
    many = min(_MOST_ROWS, 10 * base, affordable)
    if many <= base:
        return [some]
    more, second = _run_rows(pipeline, many, seed + 1, targets)
    if base >= _STEADY_ROWS and second.peak > first.peak * _TOLERANCE:
        more = more._replace(survived=0, found=f"more memory than {base:,} rows take")
    return [some, more]


def _run_rows(
    pipeline: _Pipeline, rows: int, seed: int, targets: tuple[str, ...]
) -> tuple[Row, Ended]:
    name = f"rows_{rows}_{len(targets)}"
    ended = pipeline.run(name, _files(pipeline, name, rows, seed), *targets)
    title = f"{rows:,} rows, {' and '.join(targets)}"
    return _row(title, ended, read=rows, shown=rows * 6 // 10), ended


def _files(pipeline: _Pipeline, name: str, rows: int, seed: int) -> str:
    """Generate several files whose identifiers differ."""
    config = load_config(_RULES, environ={})
    folder = pipeline.folder / f"{name}-in"
    folder.mkdir()

    def renamed(chunks: Iterator[bytes], number: int) -> Iterator[bytes]:
        yield next(chunks)
        for chunk in chunks:
            yield re.sub(rb'(?m)^( *"? *)T(?=\d)', rb"\g<1>F%dx" % number, chunk)

    for number, start in enumerate(range(0, rows, _FILE_ROWS)):
        count = min(_FILE_ROWS, rows - start)
        chunks = generate(count, seed=seed + number, valid_share=0.6, config=config)
        write(folder / f"{number:03}.csv", renamed(chunks, number))
    return str(folder)


def _row(attack: str, ended: Ended, *, read: int, shown: int) -> Row:
    """Tell how a run went that should end well, having read and shown so many rows."""
    limit = "" if ended.enforced else ", the limit not enforced"
    attack = f"{attack} (peak {ended.peak // _MEGABYTE} MB{limit})"
    outcome: dict[str, Any] = json.loads(ended.stdout) if ended.code == 0 else {}
    if not outcome:
        return Row(attack, 1, 0, f"exit {ended.code}: {ended.stderr[-300:]}")
    counts = (outcome["rows"]["rows_read"], outcome["marts"]["postgres"]["pg_sales"])
    if counts != (read, shown):
        return Row(attack, 1, 0, f"{counts[0]:,} rows read, {counts[1]:,} shown")
    found = "" if ended.peak <= LIMIT else "more memory than promised"
    return Row(attack, 1, int(not found), found)
