"""(f, g) What follows the first load: another snapshot, and a day that is appended to a history."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.harness import Contestant
from benchmarks.pipeline import Counts, counted, run_once, run_script

_IMPORTS = (
    "sales_mart.steps.pipeline",
    "sales_mart.steps.transform",
    "sales_mart.steps.export",
)
_FIRST, SECOND = date(2023, 10, 1), date(2023, 10, 2)

SNAPSHOTS = [
    Contestant(
        "sales_mart run",
        "following:ours_snapshot",
        note="the second snapshot, with tests and comparison",
        imports=_IMPORTS,
        prepare="following:ours_before",
    ),
    Contestant(
        "one psql script",
        "following:expert_snapshot",
        note="benchmarks/expert_snapshot.sql: beside the first, then in its place",
        prepare="following:expert_before",
    ),
]
APPENDS = [
    Contestant(
        "sales_mart run",
        "following:ours_append",
        note="a day, with tests and comparison",
        imports=_IMPORTS,
        prepare="following:ours_before",
    ),
    Contestant(
        "one psql script",
        "following:expert_append",
        note="benchmarks/expert_append.sql: upsert, and the months anew",
        prepare="following:expert_before",
    ),
]


_PRICE = re.compile(rb"(?<=,)([0-9]{2,})(?=\.[0-9]{2},)")


def _one_more(price: re.Match[bytes]) -> bytes:
    return b"%d" % (int(price[0]) + 1)


def changed(first: Path, second: Path, share: float) -> None:
    """Write a second snapshot: the price of so many rows of the first is higher by one."""
    every = round(1 / share)
    with first.open("rb") as rows, second.open("wb") as file:
        file.write(next(rows))
        for number, row in enumerate(rows):
            if number % every == 0:
                row = _PRICE.sub(_one_more, row)  # noqa: PLW2901 - the row that is written
            file.write(row)


def ours_before(settings: dict[str, Any], file: str, **_: object) -> str:
    """Load and publish the first snapshot; gives the lake."""
    lake = mkdtemp(prefix="sales-mart-bench-")
    run_once(settings, lake, file, _FIRST, "replace")
    return lake


def expert_before(url: str, psql_path: str, file: str, **_: object) -> None:
    """Load the first snapshot, and index what an upsert looks up."""
    run_script("expert.sql", url, psql_path, file)
    index = "create unique index on expert.pg_sales (transaction_id)"
    subprocess.run([psql_path, "-Xqd", url, "-c", index], check=True)


def ours_snapshot(
    url: str, settings: dict[str, Any], next_file: str, prepared: str, **_: object
) -> Callable[[], Counts]:
    """Run the second snapshot."""
    run_once(settings, prepared, next_file, SECOND, "replace")
    return lambda: counted(url, settings, prepared)


def ours_append(
    url: str, settings: dict[str, Any], next_file: str, prepared: str, **_: object
) -> Callable[[], Counts]:
    """Append the file of a day."""
    source = str(Path(next_file).with_name("{date}.csv"))
    run_once(settings, prepared, source, SECOND, "append")
    return lambda: counted(url, settings, prepared)


def expert_snapshot(url: str, psql_path: str, next_file: str, **_: object) -> Callable[[], Counts]:
    """Run the script of the second snapshot."""
    return run_script("expert_snapshot.sql", url, psql_path, next_file)


def expert_append(url: str, psql_path: str, next_file: str, **_: object) -> Callable[[], Counts]:
    """Run the script of a day."""
    return run_script("expert_append.sql", url, psql_path, next_file)
