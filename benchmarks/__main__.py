"""`python -m benchmarks`: every section's table, from the same run on the same generated file.

    python -m benchmarks --rows 10000000 --runs 3
    python -m benchmarks --rows 1000000 --runs 1 --sections validation loading

Needs the dependency group `bench` and the extra `local`. Nothing is kept.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from benchmarks import dialects, files, following, loading, pipeline, starting, validation
from benchmarks.harness import Contestant, Measured, compete, table
from sales_mart.servers.local import LocalServers, local_servers

SECTIONS = (
    *("validation", "loading", "pipeline", "growth", "dialects"),
    *("snapshots", "append", "small", "starts", "duckdb", "workers"),
)
GROWTH = (0.1, 0.3, 1.0)
_SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "transactions.csv"


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sales-mart-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL reads a file of it as a user without rights
        bench = _Bench(folder, options.rows, options.runs)
        print(bench.heading(), flush=True)
        for section in SECTIONS:
            if section in options.sections:
                print(getattr(bench, section)(), flush=True)


class _Bench:
    """The sections, on files that each is made once."""

    def __init__(self, folder: Path, rows: int, runs: int) -> None:
        self._folder, self._rows, self._runs = folder, rows, runs
        self._made: dict[float, tuple[Path, int]] = {}

    def heading(self) -> str:
        """Tell what was measured on what."""
        packages = ("polars", "duckdb", "chdb", "dataframely", "pandera", "pydantic", "pandas")
        # The later sections need none of the others.
        there = {each.name.lower(): each.version for each in distributions() if each.name}
        versions = ", ".join(f"{name} {there[name]}" for name in packages if name in there)
        return (
            f"## {self._rows:,} generated rows, median of {self._runs}\n\n"
            f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}. "
            "Each contestant runs in a process of its own, in turns; seconds without its imports; "
            "memory is the peak of its process tree, servers aside.\n"
        )

    def validation(self) -> str:
        """(a)."""
        arguments = {
            share: {
                "file": str(self._file(share)[0]),
                "settings": files.settings(),
                "folder": str(self._folder / "checked"),
            }
            for share in {each.share for each in validation.CONTESTANTS}
        }
        measured = compete(validation.CONTESTANTS, arguments, self._runs)
        wild = self._folder / "wild.csv"
        files.make_file(wild, self._rows)
        as_generated = replace(
            validation.CONTESTANTS[2],
            name="sales_mart, file as generated",
            note="also quotes, NULs, bad UTF-8, ragged rows: no other contestant reads it",
        )
        measured += compete([as_generated], {1: {**arguments[1], "file": str(wild)}}, self._runs)
        wild.unlink()
        return table("(a) Validate and tokenise", measured, measured[0], self._file(1)[1])

    def loading(self) -> str:
        """(b)."""
        arguments: dict[float, dict[str, Any]] = {}
        with local_servers(self._folder / "servers", bigquery=False) as servers:
            for share in sorted({each.share for each in loading.CONTESTANTS}):
                given = {
                    **_server(servers),
                    "file": str(self._file(share)[0]),
                    "folder": str(self._folder / f"sealed-{share}"),
                }
                arguments[share] = given | loading.prepare(**given)
            measured = compete(loading.CONTESTANTS, arguments, self._runs)
        rows = measured[0].counts["rows"]
        return table("(b) Load into PostgreSQL", measured, measured[0], rows)

    def pipeline(self) -> str:
        """(c)."""
        path, rows = self._file(1)
        with local_servers(self._folder / "servers", bigquery=False) as servers:
            arguments = {1.0: {**_server(servers), "file": str(path)}}
            measured = compete(pipeline.CONTESTANTS, arguments, self._runs)
        return table("(c) From the file to the mart", measured, measured[1], rows)

    def growth(self) -> str:
        """(d)."""
        measured: list[Measured] = []
        with local_servers(self._folder / "servers", bigquery=False) as servers:
            for share in GROWTH:
                path, rows = self._file(share)
                contestant = replace(pipeline.CONTESTANTS[0], name=f"{rows:,} rows")
                arguments = {1.0: {**_server(servers), "file": str(path)}}
                measured += compete([contestant], arguments, self._runs)
        lines = [
            "### (d) Growth of the whole pipeline",
            "",
            "| rows | seconds | microseconds per row | peak MB |",
            "|---:|---:|---:|---:|",
        ]
        for share, each in zip(GROWTH, measured, strict=True):
            rows = self._file(share)[1]
            micros = each.seconds / rows * 1e6
            lines.append(f"| {rows:,} | {each.seconds:.1f} | {micros:.2f} | {each.megabytes:.0f} |")
        return "\n".join([*lines, ""])

    def dialects(self) -> str:
        """(e)."""
        made = dialects.make_files(self._folder, self._rows)
        arguments = {1.0: {"files": made, "folder": str(self._folder / "checked")}}
        measured = compete(dialects.CONTESTANTS, arguments, self._runs)
        return table("(e) Other dialects", measured, measured[0], self._rows)

    def snapshots(self) -> str:
        """(f)."""
        path, rows = self._file(1)
        told: list[str] = []
        for share in (1.0, 0.01):
            second = self._folder / "second.csv"
            following.changed(path, second, share)
            title = f"(f) A second snapshot, {share:.0%} of the rows changed"
            told.append(self._after(title, following.SNAPSHOTS, path, second, rows))
        return "\n".join(told)

    def append(self) -> str:
        """(g)."""
        path, rows = self._file(1)
        day = self._folder / f"{following.SECOND}.csv"
        count = files.make_tame_file(day, rows // 100, seed=2)
        return self._after(
            f"(g) {count:,} rows appended to {rows:,}", following.APPENDS, path, day, count
        )

    def small(self) -> str:
        """(h)."""
        return self._after("(h) Five rows", starting.SMALL, _SAMPLE, _SAMPLE, 5)

    def starts(self) -> str:
        """(i)."""
        measured = compete(starting.STARTS, {1.0: {}}, self._runs)
        return table("(i) Starting", measured, measured[0], 0)

    def duckdb(self) -> str:
        """(j)."""
        path, rows = self._file(1)
        settings = files.settings()
        settings |= {"data_warehouse": {"targets": ["duckdb"]}}
        arguments = {1.0: {"settings": settings, "file": str(path)}}
        measured = compete(pipeline.DUCKDB, arguments, self._runs)
        return table("(j) From the file to the mart in DuckDB", measured, measured[0], rows)

    def workers(self) -> str:
        """(k)."""
        path, rows = self._file(1)
        arguments = {1.0: {"settings": files.settings(), "file": str(path)}}
        measured = compete(pipeline.WORKERS, arguments, self._runs)
        return table("(k) One file, checked by workers", measured, measured[0], rows)

    def _after(
        self, title: str, contestants: list[Contestant], first: Path, second: Path, rows: int
    ) -> str:
        with local_servers(self._folder / "servers", bigquery=False) as servers:
            given = {**_server(servers), "file": str(first), "next_file": str(second)}
            measured = compete(contestants, {1.0: given}, self._runs)
        return table(title, measured, measured[-1], rows)

    def _file(self, share: float) -> tuple[Path, int]:
        if share not in self._made:
            path = self._folder / f"transactions-{share}.csv"
            self._made[share] = path, files.make_tame_file(path, round(self._rows * share))
        return self._made[share]


def _server(servers: LocalServers) -> dict[str, Any]:
    settings = files.settings() | servers.settings() | {"data_mart": {"postgres_schema": "mart"}}
    settings["data_warehouse"] |= {"targets": ["postgres"]}
    url = servers.postgres_url
    assert url is not None
    return {"url": url, "settings": settings, "psql_path": loading.find_psql()}


if __name__ == "__main__":
    main()
