"""`inspect`, `init --from`, `run FILE` and `doctor`: from an unknown file to valid rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secrecy import find_in, find_in_files

if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[..., tuple[int, str, str]]

KEY = "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6"
SECRETS = {"first": "BELEG-77123", "second": "BELEG-77124", "mail": "ann.lee@shop.example"}
SPREADSHEET = (
    "Umsatzbericht Filiale Mitte;;;;;\n"
    "Januar 2024;;;;;\n"
    "Belegnummer;Artikel;Einzelpreis;Menge;Datum;E-Mail\n"
    f"{SECRETS['first']};Käse;1.234,50 €;2;05.01.2024;{SECRETS['mail']}\n"
    f"{SECRETS['first']};Tee;2,50 €;3;31.01.2024;{SECRETS['mail']}\n"
    f"{SECRETS['second']};Brot;n/a;1;31.01.2024;{SECRETS['mail']}\n"
).encode("cp1252")
UNDECIDED = b"Order ID,Item,Price,Qty,Order Date\nS1,Cup,7.00,1,03/04/2024\n"


@pytest.fixture(autouse=True)
def with_a_key(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with a key and no other setting."""
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    return elsewhere


def _validated(ask: Ask) -> dict[str, Any]:
    """Plan, validate and seal by the configuration that is there."""
    run = ("--lake", "lake", "--run-id", "try")
    assert ask("plan", *run, "--business-date", "2024-02-01")[0] == 0
    assert ask("validate", *run)[0] == 0
    code, out, err = ask("seal", *run, "-o", "json")
    assert code == 0, err
    return json.loads(out)


def test_a_spreadsheet_is_valid_by_the_file_that_init_writes(ask: Ask) -> None:
    Path("report.csv").write_bytes(SPREADSHEET)
    code, out, err = ask("init", "--from", "report.csv")
    assert code == 0, err
    assert "Nothing is left open" in out
    assert "1 of 3 rows would be rejected: missing_price 1" in out
    text = Path("pipeline_config.yaml").read_text(encoding="utf-8")
    assert "OPEN:" not in text
    # One row in three is too many for a run; the rest of the file is as it should be.
    Path("pipeline_config.yaml").write_text(
        text.replace("max_reject_share: 0.2", "max_reject_share: 0.5")
    )
    sealed = _validated(ask)
    assert (sealed["rows_read"], sealed["rows_valid"]) == (3, 2)
    assert sealed["amount"] == "2476.50"
    assert sealed["sale_dates"] == ["2024-01-05", "2024-01-31"]


def test_what_is_left_open_is_said_and_has_no_effect_before_it_is_answered(ask: Ask) -> None:
    Path("sales.csv").write_bytes(UNDECIDED)
    code, out, _ = ask("init", "--from", "sales.csv", "-o", "json")
    assert code == 0
    (question,) = json.loads(out)["open"]
    assert question["key"] == "ingestion.format.date_format"
    days = [each["values"][question["key"]] for each in question["choices"]]
    assert days == [["%d/%m/%Y"], ["%m/%d/%Y"]]
    file = Path("pipeline_config.yaml")
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith("# 1 question is left open")
    run = ("--lake", "lake", "--business-date", "2024-05-01")
    ask("plan", *run, "--run-id", "unanswered")
    assert ask("validate", "--lake", "lake", "--run-id", "unanswered")[0] == 0
    code, _, err = ask("seal", "--lake", "lake", "--run-id", "unanswered")
    assert (code, "date_format" in err) == (65, True)
    file.write_text(text.replace('# date_format: ["%m/%d/%Y"]', 'date_format: ["%m/%d/%Y"]'))
    assert _validated(ask)["sale_dates"] == ["2024-03-04"]


def test_inspect_shows_a_file_and_no_identifier(ask: Ask) -> None:
    Path("report.csv").write_bytes(SPREADSHEET)
    for more in ((), ("-o", "json")):
        code, out, err = ask("inspect", "report.csv", *more)
        assert code == 0
        assert find_in(out + err, SECRETS, "what was printed") == []
        assert "K\u00e4se" in out
    document = json.loads(out)
    assert document["file"]["encoding"] == "cp1252"
    assert document["file"]["title_lines"] == 2
    assert "decimal_separator" in document["yaml"]
    assert document["preview"]["rows_rejected"] == 1
    ask("init", "--from", "report.csv")
    assert find_in_files([Path("pipeline_config.yaml")], SECRETS) == []
    code, out, _ = ask("inspect", "report.csv", "-c", "pipeline_config.yaml", "-o", "json")
    assert code == 0
    assert json.loads(out)["proposal"] is None
    assert json.loads(out)["preview"]["reasons"] == {"missing_price": 1}


def test_inspect_and_init_name_a_file_that_is_not_there(ask: Ask) -> None:
    for command in (("inspect", "none.csv"), ("init", "--from", "none.csv")):
        code, out, err = ask(*command)
        assert (code, out) == (65, "")
        assert "none.csv" in err
    assert not Path("pipeline_config.yaml").exists()


def test_run_takes_files_and_names_inspect_where_columns_are_missing(ask: Ask) -> None:
    Path("sales.csv").write_bytes(UNDECIDED)
    Path("c.yaml").write_text("security: {algorithm: hmac-sha256}\n")
    more = ("--dry-run", "--lake", "lake", "-c", "c.yaml", "--target", "duckdb")
    code, _, err = ask("run", "sales.csv", *more)
    assert code == 65
    assert "sales.csv" in err
    assert "lacks" in err
    assert "sales-mart inspect" in err
    code, _, err = ask("run", "sales.csv", "none.csv", *more)
    assert code == 65
    assert "none.csv" in err


def test_doctor_says_what_the_first_object_lacks(ask: Ask) -> None:
    Path("report.csv").write_bytes(SPREADSHEET)
    Path("c.yaml").write_text(
        "data_lake: {source: report.csv, lake: lake}\n"
        "data_warehouse: {targets: [duckdb], duckdb: {path: mart.duckdb}}\n"
        "security: {algorithm: hmac-sha256}\n"
    )
    _, out, err = ask("doctor", "-c", "c.yaml", "-o", "json")
    checks = {each["name"]: each for each in json.loads(out)["checks"]}
    assert (checks["columns"]["status"], checks["columns"]["exit_code"]) == ("fail", 65)
    assert "sales-mart inspect" in checks["columns"]["remedy"]
    assert find_in(out + err, SECRETS, "what was printed") == []
    ask("init", "--from", "report.csv", "mapped.yaml")
    _, out, err = ask("doctor", "-c", "mapped.yaml", "-o", "json", "--lake", "lake")
    checks = {each["name"]: each for each in json.loads(out)["checks"]}
    assert checks["columns"]["status"] == "ok"
    assert find_in(out + err, SECRETS, "what was printed") == []
