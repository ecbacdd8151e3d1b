"""Every hostile file goes through plan, validate and seal, and comes to what its table says."""

from __future__ import annotations

import gzip
import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from backports import zstd

import oracle
from chaos.memory import LIMIT, limited
from corpus.hostile import CANARY, CORPUS, HEAVY, NAME, RULES, Counted, Hostile, Refused
from sales_mart.cli import main
from sales_mart.config import Config
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard
from secrecy import find_in, find_in_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.lake.records import Part

CANARIES = {"the canary": CANARY, "the canary of letters": NAME}
CONFIG = Config.model_validate({"ingestion": {"validation": RULES}})
MOST_MEMORY = 400_000_000
"""Far below `LIMIT`, since a run may meet such a file at any time."""
PROGRAM = Path(sys.executable).with_name("sales-mart")
COUNTED = [each for each in CORPUS if isinstance(each.outcome, Counted)]
REFUSED = [each for each in CORPUS if isinstance(each.outcome, Refused)]
OPENERS = {b"\x1f\x8b": gzip.decompress, b"\x28\xb5": zstd.decompress}


def planned(case: Hostile, folder: Path) -> tuple[Path, RunFolder]:
    """Write the file, and plan a run of it."""
    source = folder / f"hostile{case.suffix}"
    source.write_bytes(case.make())
    lake = str(folder / "lake")
    plan(
        CONFIG,
        lake,
        source=str(source),
        business_date=date(2023, 10, 1),
        run_id="r",
        allow_empty=True,
    )
    return source, RunFolder(lake, "r")


def rows(run: RunFolder, parts: Sequence[Part]) -> list[tuple[Any, ...]]:
    """Return place and reasons of the rows of some parts, in the order of the file."""
    found: list[tuple[Any, ...]] = []
    for part in parts:
        with run.lake.local(run.name(part.name)) as path:
            frame = pl.read_parquet(path)
        places = ("source_row", "line", "byte_offset", "byte_length", "reasons")
        found += frame.select(name for name in places if name in frame.columns).rows()
    return sorted(found, key=lambda row: int(row[0]))


def options(folder: Path) -> list[str]:
    """Write the settings, and give what a command needs to know of them and of the run."""
    settings = folder / "settings.yaml"
    settings.write_text(json.dumps({"ingestion": {"validation": RULES}}))
    lake = str(folder / "lake")
    return ["--config", str(settings), "--lake", lake, "--run-id", "r", "--output", "json"]


def unpacked(data: bytes) -> bytes:
    return OPENERS.get(data[:2], bytes)(data)


def assert_no_canary(folder: Path) -> None:
    # A run that was refused may have written nothing but its plan.
    assert not find_in_files([folder], CANARIES)


def test_names_are_told_apart() -> None:
    assert len({each.name for each in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize("case", COUNTED, ids=lambda case: case.name)
def test_an_input_is_counted(case: Hostile, tmp_path: Path) -> None:
    assert isinstance(case.outcome, Counted)
    source, run = planned(case, tmp_path)
    validate_shard(CONFIG, run, 0)
    sealed = seal(CONFIG, run)
    assert sealed.reasons == case.outcome.reasons
    assert sealed.rows_rejected == case.outcome.rejected
    assert sealed.rows_valid == case.outcome.valid
    assert sealed.rows_read == sealed.rows_valid + sealed.rows_rejected
    results = list(
        oracle.settle(oracle.check_file(unpacked(source.read_bytes()), CONFIG), {}, CONFIG)
    )
    assert rows(run, sealed.quarantine) == [
        (v.source_row, v.line, v.offset, v.length, list(v.reasons)) for v in results if v.reasons
    ]
    assert rows(run, sealed.valid) == [(v.source_row,) for v in results if not v.reasons]
    assert_no_canary(tmp_path / "lake")


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_is_no_input_is_refused(
    case: Hostile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(case.outcome, Refused)
    source, _ = planned(case, tmp_path)
    assert main(["validate", *options(tmp_path)]) == 65
    out, log = capsys.readouterr()
    error = json.loads(out)["error"]
    place = "" if case.outcome.line is None else f", line {case.outcome.line}"
    assert error["message"].startswith((f"{source}{place}: ", f"{source}{place} "))
    assert case.outcome.says in error["message"]
    assert error["remedy"]
    assert len(error["message"]) < 1000
    assert not find_in(out + log, CANARIES, "what was said")
    assert "Traceback" not in log
    assert_no_canary(tmp_path / "lake")


@pytest.mark.parametrize("case", HEAVY, ids=lambda case: case.name)
def test_the_worst_of_it_takes_little_memory(case: Hostile, tmp_path: Path) -> None:
    """Checked by the command as a process, which would end where a pod's memory ends."""
    _, run = planned(case, tmp_path)
    command = [str(PROGRAM), "validate", *options(tmp_path)]
    ended = limited(command, tmp_path, dict(os.environ), seconds=120)
    refused = isinstance(case.outcome, Refused)
    assert ended.code == (65 if refused else 0), ended.stderr
    # Less than an interpreter with our libraries would mean that nobody looked.
    assert 20_000_000 < ended.peak < MOST_MEMORY < LIMIT / 2
    if isinstance(case.outcome, Refused):
        assert case.outcome.says in json.loads(ended.stdout)["error"]["message"]
        return
    sealed = seal(CONFIG, run)
    assert (sealed.rows_valid, sealed.reasons) == (case.outcome.valid, case.outcome.reasons)
