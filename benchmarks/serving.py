"""A kept answer of `sales-mart serve` against a bare route of FastAPI that returns the same bytes.

    python -m benchmarks.serving --seconds 10 --runs 3

Needs `wrk`. Both are real processes of one worker, in turns, under the same load; ours with keys,
its log and its metrics, the bare one without a log of requests.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.config import Config
from sales_mart.steps.pipeline import run
from sales_mart.synthetic.generate import generate, write

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

PATH = "/sales/trends?month=2023-10"
PORTS = {"sales_mart": 8471, "bare FastAPI": 8472}
CONNECTIONS = 32
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Load(NamedTuple):
    """What wrk measured: requests a second, and milliseconds of half and of 99 % of them."""

    rate: float
    half: float
    most: float


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="sales-mart-bench-") as name:
        folder = Path(name)
        variables, key = published(folder)
        command = [sys.executable, "-m", "sales_mart", "serve", "--target", "duckdb"]
        with started("sales_mart", [*command, "--port"], variables):
            body = asked("sales_mart", key)
            (folder / "body").write_bytes(body)
            bare = [sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--no-access-log"]
            with started("bare FastAPI", [*bare, "--port"], {"BARE_BODY": str(folder / "body")}):
                assert asked("bare FastAPI", key) == body
                measured: dict[str, list[Load]] = {name: [] for name in PORTS}
                for _ in range(options.runs):
                    for contestant in PORTS:
                        measured[contestant].append(load(wrk, contestant, key, options.seconds))
    print(table(len(body), measured))


def published(folder: Path) -> tuple[dict[str, str], str]:
    """Load and publish a generated quarter; return what the server is told, and a key."""
    source = folder / "sales.csv"
    write(source, generate(100_000))
    settings = {
        "data_warehouse": {"targets": ["duckdb"], "duckdb": {"path": str(folder / "sales.duckdb")}}
    }
    config = Config.model_validate(settings)
    run(config, str(folder / "lake"), source=str(source), business_date=date(2024, 1, 1))
    variables = {
        "SALES_MART_DATA_WAREHOUSE__DUCKDB__PATH": str(folder / "sales.duckdb"),
        "SALES_MART_API__KEYS_FILE": str(folder / "keys"),
        "SALES_MART_API__REQUESTS_PER_MINUTE": "1000000000",
    }
    command = [sys.executable, "-m", "sales_mart", "api-key", "bench"]
    key = subprocess.check_output(command, env=os.environ | variables, text=True).strip()
    return variables, key


@contextmanager
def started(contestant: str, command: list[str], variables: Mapping[str, str]) -> Generator[None]:
    """Run a server while the context lasts."""
    process = subprocess.Popen(
        [*command, str(PORTS[contestant])],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def asked(contestant: str, key: str) -> bytes:
    """Ask once, as soon as the server is there."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORTS[contestant]}{PATH}", headers={"Authorization": f"Bearer {key}"}
    )
    for _ in range(300):
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own server
                return answer.read()
        except OSError:
            time.sleep(0.2)
    msg = f"{contestant} does not answer"
    raise RuntimeError(msg)


def load(wrk: str, contestant: str, key: str, seconds: int) -> Load:
    """Put a server under load."""
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    header = f"Authorization: Bearer {key}"
    url = f"http://127.0.0.1:{PORTS[contestant]}{PATH}"
    said = subprocess.check_output([*command, "-H", header, url], text=True)
    assert "Non-2xx" not in said, said
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    shares = dict(re.findall(r"^\s+(\d+)%\s+(\S+)$", said, re.MULTILINE))
    assert rate is not None, said
    return Load(float(rate[1]), milliseconds(shares["50"]), milliseconds(shares["99"]))


def milliseconds(text: str) -> float:
    """Read a time as wrk writes it."""
    found = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    assert found is not None, text
    return float(found[1]) * _UNITS[found[2]]


def table(size: int, measured: Mapping[str, list[Load]]) -> str:
    """Write what was measured as Markdown: medians."""
    rows = {
        name: Load(*(statistics.median(column) for column in zip(*found, strict=True)))
        for name, found in measured.items()
    }
    bare = rows["bare FastAPI"]
    lines = [
        f"{size:,} bytes, {CONNECTIONS} connections, median of {len(measured['sales_mart'])}",
        "",
        "| | requests/s | ratio | 50 % within ms | 99 % within ms | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {each.rate:,.0f} | {each.rate / bare.rate:.2f} | {each.half:.2f} "
        f"| {each.most:.2f} | {each.most / bare.most:.2f} |"
        for name, each in rows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
