"""How far a step is: exact in the end, never backwards, in the log and on a terminal."""

from __future__ import annotations

import contextvars
import gzip
import json
import logging
import os
import pty
import subprocess
import sys
import threading
import zipfile
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from sales_mart.config import Config
from sales_mart.lake.runs import RunFolder
from sales_mart.logs import configure
from sales_mart.progress import advance, expect, measured, reach
from sales_mart.steps.plan import plan
from sales_mart.steps.shards import shard_bytes
from sales_mart.steps.validate import validate_shard

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.progress import Progress

ROWS = 4_000
TEXT = "transaction_id,product,price,quantity,date\n" + "".join(
    f"T{number:06},Tea,{number % 90}.50,1,2023-10-0{number % 9 + 1}\n" for number in range(ROWS)
)


@pytest.fixture(autouse=True)
def _each_change(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """Tell of every change, however soon it comes."""
    monkeypatch.setattr("sales_mart.progress._TOLD_SECONDS", 0.0)


def stored(folder: Path, form: str) -> Path:
    path = folder / f"sales.{form}"
    if form == "csv.gz":
        path.write_bytes(gzip.compress(TEXT.encode()))
    elif form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.csv", TEXT)
            file.writestr("b.csv", TEXT)
    elif form == "parquet":
        pl.read_csv(TEXT.encode()).write_parquet(path)
    elif form == "jsonl":
        pl.read_csv(TEXT.encode()).write_ndjson(path)
    else:
        path.write_text(TEXT)
    return path


@pytest.mark.parametrize("form", ["csv", "csv.gz", "zip", "parquet", "jsonl", "ranges"])
def test_validate_ends_with_all_bytes_and_rows_and_never_goes_back(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sales_mart.source.objects._CHUNK_BYTES", 1 << 12)
    path, lake = stored(tmp_path, form), str(tmp_path / "lake")
    shards = 3 if form == "ranges" else 1
    made = plan(
        Config(),
        lake,
        source=str(path),
        business_date=date(2023, 10, 5),
        shards=shards,
        range_bytes=1 << 14,
    )
    assert len(made.shards) == shards
    told: list[Progress] = []
    with measured(told.append):
        expect("bytes", sum(shard_bytes(made, shard) for shard in range(shards)))
        for shard in range(shards):
            validate_shard(Config(), RunFolder(lake, made.run_id), shard, block_bytes=1 << 13)
    rows = 2 * ROWS if form == "zip" else ROWS
    assert (told[-1].rows, told[-1].share) == (rows, 1.0)
    header = len(TEXT.partition("\n")[0] + "\n") if form == "ranges" else 0
    assert told[-1].total == path.stat().st_size - header
    assert [each.share for each in told] == sorted(each.share for each in told)
    # What is read in step with its records shows how far it is in between.
    in_step = any(0 < each.share < 1 for each in told)
    assert in_step is (form not in ("zip", "parquet"))


def test_what_threads_have_done_adds_up_and_is_not_more_than_all() -> None:
    told: list[Progress] = []
    with measured(told.append):
        expect("rows", 1_000)

        def work() -> None:
            for _ in range(300):
                advance(1, 1)

        # As the steps start theirs.
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(work,)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(each.rows for each in told) == 1_000
    assert max(each.done for each in told) == 1_000
    advance(1)  # nobody measures
    expect("rows", 1)


def test_a_thread_that_is_held_up_does_not_tell_less_than_was_told() -> None:
    told: list[int] = []
    is_held, is_done = threading.Event(), threading.Event()

    def tell(progress: Progress) -> None:
        if progress.done == 1:
            is_held.set()
            is_done.wait(0.3)  # the other thread has this long to be told first
        told.append(progress.done)

    def work() -> None:
        is_held.wait(5)
        advance(1, 1)
        is_done.set()

    with measured(tell):
        expect("rows", 3)
        second = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        second.start()
        advance(1, 1)
        second.join()
    assert told == [1, 2]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_log_says_how_far_it_is_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    root = logging.getLogger("sales_mart")
    known = root.handlers, root.level, root.propagate
    try:
        configure("info", as_json=as_json)
        with measured(lambda _: None):
            expect("bytes", 2_000_000)
            advance(500_000, 1_234)  # too soon
            monkeypatch.setattr("sales_mart.progress.LOG_SECONDS", 0.0)
            advance(500_000, 1_234)
            expect("models and tests", 0)
            reach(1_500_000, "duckdb: fact_sales")
    finally:
        root.handlers, root.level, root.propagate = known
    first, second = capsys.readouterr().err.splitlines()
    if as_json:
        line: dict[str, Any] = json.loads(first)
        assert (line["done"], line["total"], line["unit"]) == (1_000_000, 2_000_000, "bytes")
        assert (line["rows"], line["share"]) == (2_468, 0.5)
    else:
        assert first.startswith("2,468 rows, 50% of 2.0 MB, ")
        assert first.endswith(" rows/s")
        assert second == "1500000 of 2000000 models and tests, duckdb: fact_sales"


@pytest.mark.parametrize("shard", [0, 7])
def test_a_terminal_shows_it_and_is_left_as_it_was(tmp_path: Path, shard: int) -> None:
    lake = str(tmp_path / "lake")
    made = plan(
        Config(), lake, source=str(stored(tmp_path, "csv")), business_date=date(2023, 10, 5)
    )
    primary, secondary = pty.openpty()
    code = "import sys; from sales_mart.cli import main; sys.exit(main())"
    command = ["validate", "--lake", lake, "--run-id", made.run_id, "--shard", str(shard)]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=secondary,
        env=environ,
    )
    os.close(secondary)
    text = os.read(primary, 1 << 16).decode()
    os.close(primary)
    assert done.returncode == (0 if shard == 0 else 2)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is there again
    if shard == 0:
        assert f"{ROWS:,} rows, 100% of {len(TEXT) / 1e6:.1f} MB" in text
        assert "✓" in text
    else:
        assert "has no shard 7" in text
