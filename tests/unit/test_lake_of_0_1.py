"""Records that version 0.1 wrote, kept in `tests/lake_0_1`: they are read, and told by digests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sales_mart.cli import main
from sales_mart.lake.records import Load, Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.status import summarise

MADE_BY_0_1 = Path(__file__).parents[1] / "lake_0_1"
RUN_ID = "2023-10-05-e1e5d592be61"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    shutil.copytree(MADE_BY_0_1, tmp_path / "runs" / RUN_ID)
    return RunFolder(str(tmp_path), RUN_ID)


def test_a_run_of_0_1_is_summed_up_in_the_words_of_now(run: RunFolder) -> None:
    summary = summarise(run)
    assert summary.rows is not None
    assert (summary.rows.rows_read, summary.rows.rows_valid, summary.rows.rows_rejected) == (
        5,
        4,
        1,
    )
    assert (summary.rows.rows_excluded, summary.rows.excluded) == (1, {"product_prefix": 1})
    assert [(load.target, load.rows, load.hidden_rows) for load in summary.loads] == [
        ("postgres", 4, 0),
        ("bigquery", 4, 0),
    ]
    assert summary.done[-1] == "export"


def test_the_command_shows_a_run_of_0_1(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", run.run_id, "--lake", str(tmp_path), "--output", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 2
    assert document["rows"]["rows_valid"] == 4


def test_a_seal_of_0_1_is_written_as_it_was(run: RunFolder) -> None:
    assert run.read("seal", Seal).to_json() == (MADE_BY_0_1 / "seal.json").read_bytes()


@pytest.mark.parametrize("target", ["postgres", "bigquery"])
def test_loads_of_0_1_know_its_seal(target: str, run: RunFolder) -> None:
    assert run.read(f"load-{target}", Load).seal_digest == run.read("seal", Seal).digest


def test_new_records_have_the_new_names(run: RunFolder) -> None:
    seal = run.read("seal", Seal)
    new = json.loads(seal.model_copy(update={"schema_version": 2}).to_json())
    assert (new["rows_valid"], new["rows_rejected"], new["excluded"]) == (
        4,
        1,
        {"product_prefix": 1},
    )
    assert Seal.model_validate(new).rows_valid == 4
