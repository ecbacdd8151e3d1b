"""`sales-mart quarantine`: what was rejected, why, and what may be said of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sales_mart.business_date import business_date
from sales_mart.config.keys import keys
from sales_mart.rows.reasons import REASONS
from secrecy import find_in

if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[..., tuple[int, str, str]]

SECRETS = {
    "of a valid row": "BELEG-77123",
    "of a rejected row": "BELEG-99481",
    "mail": "ann@x.example",
}
HEADER = "transaction_id,product,price,quantity,date,mail\n"
DIRTY = (
    f"{HEADER}"
    f"{SECRETS['of a valid row']},Tea,2.50,1,2024-01-05,{SECRETS['mail']}\n"
    f"{SECRETS['of a rejected row']},Tea,two,0,2024-01-05,{SECRETS['mail']}\n"
    f"{SECRETS['of a valid row']},Cup,7.00,1,2024-01-05,{SECRETS['mail']}\n"
    f"{SECRETS['of a rejected row']},Tea,2.50\n"
)
OTHER = f"{HEADER}K1,Tea,2.50,1,2024-02-30,\nK2,Tea,2.50,1,2024-02-28,\n"
CONFIG = """
security: {algorithm: hmac-sha256}
ingestion:
  attributes:
    mail: {pii: true}
data_lake:
  lake: lake
  source: in
"""


@pytest.fixture(autouse=True)
def files(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a configuration and two files."""
    monkeypatch.setenv("PII_HASH_KEY", "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6")
    Path("pipeline_config.yaml").write_text(CONFIG)
    Path("in").mkdir()
    Path("in/a.csv").write_text(DIRTY)
    Path("in/b.csv").write_text(OTHER)
    return elsewhere


def validated(ask: Ask, run_id: str, *options: str, until: str = "seal") -> None:
    """Plan a run, and check its rows."""
    assert ask("plan", "--run-id", run_id, *options)[0] == 0
    for step in ("validate", "seal")[: 1 + (until == "seal")]:
        code, _, err = ask(step, "--run-id", run_id)
        assert code == 0, err


def answer(ask: Ask, *arguments: str) -> dict[str, Any]:
    """Return what a command of the quarantine gives as JSON."""
    code, out, err = ask("quarantine", *arguments, "--output", "json")
    assert code == 0, err
    return json.loads(out)


def listed(ask: Ask, *arguments: str) -> dict[tuple[str, str, str], int]:
    """Return the counts by run, file and reason."""
    found = answer(ask, "list", *arguments)["rows"]
    return {
        (each["run_id"], Path(each["file"]).name, each["reason"]): each["rows"] for each in found
    }


def test_rows_are_counted_by_run_file_and_reason(ask: Ask) -> None:
    validated(ask, "x")
    reasons = {
        ("x", "a.csv", "conflicting_transaction_id"): 1,
        ("x", "a.csv", "malformed_row"): 1,
        ("x", "a.csv", "price_format"): 1,
        ("x", "a.csv", "quantity_range"): 1,
        ("x", "b.csv", "date_format"): 1,
    }
    assert listed(ask, "x") == reasons
    assert listed(ask, "x", "--file", "b.csv") == {("x", "b.csv", "date_format"): 1}
    assert listed(ask, "x", "--file", str(Path("in/b.csv").absolute())).keys() == {
        ("x", "b.csv", "date_format")
    }
    assert listed(ask, "x", "--reason", "price_format") == {("x", "a.csv", "price_format"): 1}
    code, out, _ = ask("quarantine", "list", "x")
    assert code == 0
    assert "4 of 6 rows were rejected" in out
    assert "quantity_range" in out


def test_a_run_that_was_not_sealed_is_listed_too(ask: Ask) -> None:
    validated(ask, "x", until="validate")
    assert ("x", "a.csv", "conflicting_transaction_id") not in listed(ask, "x")
    assert listed(ask, "x")["x", "a.csv", "malformed_row"] == 1


def test_the_runs_of_the_last_days_are_listed(ask: Ask) -> None:
    today = str(business_date(None, "UTC"))
    validated(ask, "old", "--business-date", "2024-02-01", "--source", "in/a.csv")
    validated(ask, "new", "--business-date", today, "--source", "in/b.csv")
    assert ask("plan", "--run-id", "unchecked", "--business-date", today)[0] == 0
    assert listed(ask, "--last", "7d") == {("new", "b.csv", "date_format"): 1}
    assert {run for run, _, _ in listed(ask, "--last", "9999d")} == {"old", "new"}
    assert [each["run_id"] for each in answer(ask, "list", "--last", "9999d")["runs"]] == [
        "old",
        "new",
    ]


def test_a_run_without_rejects_says_so(ask: Ask) -> None:
    Path("in/b.csv").write_text(f"{HEADER}K1,Tea,2.50,1,2024-02-03,\n")
    validated(ask, "x", "--source", "in/b.csv")
    for command in ("list", "show"):
        code, out, _ = ask("quarantine", command, "x")
        assert code == 0
        assert ("0 of 1 rows were rejected" in out) or ("no such row was rejected" in out)
    assert listed(ask, "x") == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list", "y"), "there is no run y"),
        (("list",), "no run in"),
        (("list", "x", "--last", "7d"), "two answers"),
        (("list", "--last", "week"), "no number of days"),
        (("list", "x", "--reason", "price_formt"), "did you mean price_format?"),
        (("show", "x", "--reason", "price_formt"), "did you mean price_format?"),
        (("list", "x", "--file", "v.csv"), "no file that was read is called 'v.csv'"),
        (("export", "x", "--to", "mend.csv", "--file", "n/b.csv"), "is called 'n/b.csv'"),
    ],
)
def test_what_is_not_there_is_an_error(ask: Ask, arguments: tuple[str, ...], says: str) -> None:
    validated(ask, "x")
    code, _, err = ask("quarantine", *arguments)
    assert code == 2
    assert says in err


def test_rows_are_shown_with_line_reasons_and_fields(ask: Ask) -> None:
    validated(ask, "x")
    found = answer(ask, "show", "x")
    assert found["rows_rejected"] == 4
    rows = [(each["line"], each["reasons"]) for each in found["rows"]]
    assert rows == [
        (3, ["price_format", "quantity_range"]),
        (4, ["conflicting_transaction_id"]),
        (5, ["malformed_row"]),
        (2, ["date_format"]),
    ]
    assert found["rows"][0]["fields"]["price"] == "two"
    assert found["rows"][2]["fields"]["price"] is None
    assert [each["line"] for each in answer(ask, "show", "x", "--limit", "2")["rows"]] == [3, 4]
    assert answer(ask, "show", "x", "--limit", "2")["rows_rejected"] == 4
    chosen = answer(ask, "show", "x", "--reason", "date_format", "--file", "b.csv")
    assert [each["fields"]["date"] for each in chosen["rows"]] == ["2024-02-30"]
    code, out, _ = ask("quarantine", "show", "x", "--limit", "1")
    assert code == 0
    assert "1 of 4 rejected rows" in out
    assert "price_format, quantity_range" in out


def test_each_reason_that_there_is_is_explained(ask: Ask) -> None:
    found = answer(ask, "explain")["reasons"]
    assert {each["reason"] for each in found} == {*REASONS}
    dotted = {key.dotted for key in keys().values()}
    for each in found:
        assert each["meaning"]
        assert each["remedy"].endswith(".")
        for key in each["keys"]:
            assert key in dotted or key.rpartition(".")[0] == "ingestion.columns", key
    code, out, _ = ask("quarantine", "explain", "price_decimals")
    assert code == 0
    assert "more decimals than allowed" in out
    assert "ingestion.validation.max_decimals" in out
    assert "rounding: half_up" in out


def test_reasons_of_columns_of_the_configuration_are_explained(ask: Ask) -> None:
    Path("pipeline_config.yaml").write_text(
        "ingestion:\n  attributes:\n    state: {accepted_values: paid}\n"
        "    tip: {type: decimal}\n    day: {type: date}\n    n: {type: integer}\n"
        "    gift: {type: boolean}\n"
    )
    keys_of = {each["reason"]: each["keys"] for each in answer(ask, "explain")["reasons"]}
    others = {reason: keys_of[reason] for reason in keys_of.keys() - REASONS.keys()}
    assert others == {
        "missing_state": ["ingestion.attributes.state.accepted_values"],
        "state_not_accepted": ["ingestion.attributes.state.accepted_values"],
        "tip_format": ["ingestion.attributes.tip.type", "ingestion.attributes.tip.decimals"],
        "day_format": ["ingestion.attributes.day.type"],
        "n_format": ["ingestion.attributes.n.type"],
        "gift_format": ["ingestion.attributes.gift.type"],
    }


def test_a_reason_that_is_not_there_is_an_error(ask: Ask) -> None:
    code, _, err = ask("quarantine", "explain", "date_formt")
    assert code == 2
    assert "did you mean date_format?" in err


def test_no_personal_value_is_printed(ask: Ask) -> None:
    validated(ask, "x")
    for command in (
        ("list", "x"),
        ("show", "x"),
        ("list", "x", "--reason", "nothing"),
        ("show", "x", "--file", "c.csv"),
        ("explain",),
    ):
        for output in ("text", "json"):
            _, out, err = ask("quarantine", *command, "-o", output, "--log-level", "debug")
            assert out or err
            assert not find_in(out + err, SECRETS, " ".join(command))


def test_each_member_of_an_archive_is_a_file_of_its_own(ask: Ask) -> None:
    """Its duplicates too, which only `seal` finds."""
    with zipfile.ZipFile("in.zip", "w") as archive:
        for name in ("1.csv", "2.csv"):
            archive.writestr(name, f"{HEADER}K1,Tea,2.50,1,2024-02-03,\nK2,Tea,2.50,1,\n")
    Path("in/b.csv").write_text(f"{HEADER}K1,Tea,2.50,1,2024-02-03,\n")
    validated(ask, "x", "--source", "in.zip", "--source", "in/b.csv")
    folder = Path().absolute()
    uri = folder / "in.zip"
    assert {
        (each["file"], each["reason"]): each["rows"] for each in answer(ask, "list", "x")["rows"]
    } == {
        (f"{uri}!1.csv", "malformed_row"): 1,
        (f"{uri}!2.csv", "malformed_row"): 1,
        (f"{uri}!2.csv", "duplicate_transaction_id"): 1,
        (f"{folder}/in/b.csv", "duplicate_transaction_id"): 1,
    }
    assert {file for _, file, _ in listed(ask, "x", "--file", "in.zip")} == {
        "in.zip!1.csv",
        "in.zip!2.csv",
    }
    assert listed(ask, "x", "--file", "n.zip") == {}
    shown = answer(ask, "show", "x", "--file", "2.csv")["rows"]
    assert [each["reasons"] for each in shown] == [["duplicate_transaction_id"], ["malformed_row"]]
    code, _, err = ask("quarantine", "export", "x", "--file", "2.csv", "--to", "mend.csv")
    assert code == 0, err
    assert Path("mend.csv").read_text().count("\n") == 3
