"""What a scheduler asks of the command line: days, notices, outputs, and options left empty."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from hooks import self_signed, webhook
from sales_mart.cli import main
from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, SalesMartError, TemporaryError
from sales_mart.steps.backfill import MOST_DAYS, days_of_range
from sales_mart.steps.notify import Failure, notification, send

ROOT = Path(__file__).parents[2]
DAILY = "raw/{date}/*.csv"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with a configuration and a source."""
    monkeypatch.chdir(tmp_path)
    sample = (ROOT / "samples" / "transactions.csv").read_bytes()
    for name in ("a.csv", "b.csv", "c.csv"):
        Path(name).write_bytes(sample)
    monkeypatch.setenv("SALES_MART_DATA_LAKE__LAKE", "lake")
    monkeypatch.setenv("SALES_MART_DATA_LAKE__SOURCE", "*.csv")
    return tmp_path


def ask(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a command; gives its exit code and its JSON."""
    capfd.readouterr()
    code = main([*arguments, "--output", "json"])
    return code, json.loads(capfd.readouterr().out)


# --- options that a workflow leaves empty


def test_an_empty_option_is_not_given(capfd: pytest.CaptureFixture[str]) -> None:
    given = ("--business-date", "2023-10-05", "--shards", "3")
    empty = ("--source", "", "--mode", "", "--target", "")
    code, made = ask(capfd, "plan", "--run-id", "x", *given, *empty)
    assert code == 0
    assert (made["mode"], made["source"], len(made["shards"])) == ("replace", "*.csv", 3)
    _, again = ask(capfd, "plan", "--business-date", "")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert again["business_date"] == str(yesterday)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mode", "merge"), "'merge' is not a mode"),
        (("--target", "oracle"), "'oracle' is not a warehouse"),
        (("--target", "postgres,oracle"), "'oracle' is not a warehouse"),
    ],
)
def test_a_wrong_word_is_refused(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, document = ask(capfd, "plan", *arguments)
    assert (code, document["error"]["exit_code"]) == (2, 2)
    assert message in document["error"]["message"]


@pytest.mark.parametrize(
    ("text", "objects", "source"),
    [
        ('["a.csv", "c.csv"]', 2, "a.csv c.csv"),
        ("[ab].csv", 2, "[ab].csv"),
        ("[1].csv", 0, ""),
        ("[" * 5000, 0, ""),
    ],
)
def test_a_source_may_be_a_list_as_one_text(
    capfd: pytest.CaptureFixture[str], text: str, objects: int, source: str
) -> None:
    code, made = ask(capfd, "plan", "--run-id", "x", "--source", text)
    assert (code == 0) is (objects > 0)
    assert (len(made.get("objects", ())), made.get("source", "")) == (objects, source)


# --- outputs


@pytest.mark.parametrize(
    ("target", "listed"),
    [
        ("", "postgres,bigquery"),
        ("bigquery", "bigquery"),
        ("bigquery,postgres", "postgres,bigquery"),
        (" postgres , ", "postgres"),
    ],
)
def test_a_plan_hands_over_its_shards_and_targets(
    capfd: pytest.CaptureFixture[str], target: str, listed: str
) -> None:
    options = ("--business-date", "2023-10-05", "--shards", "2", "--target", target)
    assert ask(capfd, "plan", *options, "--outputs", "out/puts")[0] == 0
    outputs = {path.name: path.read_text() for path in Path("out/puts").iterdir()}
    assert int(outputs.pop("bytes")) == sum(path.stat().st_size for path in Path().glob("*.csv"))
    assert outputs == {"business-date": "2023-10-05", "shards": "[0, 1]", "targets": listed}


@pytest.mark.parametrize("place", ["s3://out/puts", "a.csv", "a.csv/puts"])
def test_outputs_go_to_a_folder(capfd: pytest.CaptureFixture[str], place: str) -> None:
    options = ("--business-date", "2023-10-05", "--outputs", place)
    assert ask(capfd, "plan", *options)[0] == 2
    assert not Path("s3:").exists()


def test_a_seal_hands_over_its_counts(capfd: pytest.CaptureFixture[str]) -> None:
    for command in (("plan", "--business-date", "2023-10-05"), ("validate",)):
        assert ask(capfd, *command, "--run-id", "x")[0] == 0
    code, sealed = ask(capfd, "seal", "--run-id", "x", "--outputs", "o")
    assert code == 0
    for name in ("rows-read", "rows-valid", "rows-rejected"):
        assert Path("o", name).read_text() == str(sealed[name.replace("-", "_")])
    assert sealed["rows_read"] == 15


def test_an_error_is_left_where_kubernetes_looks(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_MART_ERROR_FILE", "termination-log")
    assert ask(capfd, "plan", "--source", "nothing/*.csv")[0] == 65
    text = Path("termination-log").read_text()
    assert text.startswith("no object matches nothing/*.csv → ")
    monkeypatch.setenv("SALES_MART_ERROR_FILE", "no/such/folder/log")
    assert ask(capfd, "plan", "--source", "nothing/*.csv")[0] == 65


def test_a_file_name_does_not_draw_on_the_terminal_that_shows_the_pod(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_MART_ERROR_FILE", "termination-log")
    Path("\x1b[2J\n\u202ex.csv").write_bytes(b"")
    assert ask(capfd, "plan", "--source", "*x.csv")[0] == 65
    text = Path("termination-log").read_text()
    assert r"\x1b[2J\n\u202ex.csv" in text
    assert text.isprintable()


def test_what_is_meant_to_be_empty_is_said_by_a_variable(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow has one command line for all runs, and no option is empty there."""
    Path("a.csv").write_bytes(b"")
    for value, code in (("", 65), ("false", 65), ("true", 0), ("perhaps", 2)):
        monkeypatch.setenv("SALES_MART_ALLOW_EMPTY", value)
        assert ask(capfd, "plan")[0] == code, value


def test_rejected_rows_are_told_with_their_reasons_and_place(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for command in (("plan", "--business-date", "2023-10-05"), ("validate",)):
        assert main([*command, "--run-id", "x"]) == 0
    capfd.readouterr()
    assert main(["seal", "--run-id", "x", "--output", "json"]) == 0
    said = capfd.readouterr()
    [line] = [each for each in said.err.splitlines() if "were rejected" in each]
    sealed, told = json.loads(said.out), json.loads(line)
    assert told["level"] == "warning"
    place = Path("lake/runs/x/quarantine").absolute()
    assert told["message"].startswith(f"{sealed['rows_rejected']} of 15 rows were rejected: ")
    lake = place.parents[2]
    command = f"sales-mart quarantine show x --lake {lake}"
    assert told["message"].endswith(f"; they are in {place}; to see them: {command}")
    for reason, count in sealed["reasons"].items():
        assert f"{reason} {count}" in told["message"]
    _, summary = ask(capfd, "status", "x")
    assert summary["quarantine"] == str(place)
    assert place.is_dir()


# --- days


def test_days_of_a_range(capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--from", "2023-02-27", "--to", "2023-03-01", "--source", DAILY)
    code, made = ask(capfd, "days", *options, "--outputs", "o")
    assert (code, made["days"]) == (0, ["2023-02-27", "2023-02-28", "2023-03-01"])
    assert json.loads(Path("o/days").read_text()) == made["days"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "2023-10-01", "--to", "2023-10-02"), "is a snapshot"),
        (("--from", "2023-10-02", "--to", "2023-10-01", "--source", DAILY), "are 0 days"),
        (("--from", "2020-01-01", "--to", "2023-10-01", "--source", DAILY), "takes 1 to 366"),
        (("--from", "2023-10-01", "--source", DAILY), "a range of days"),
        (("--source", DAILY), "a range of days"),
        (("--from", "", "--to", "", "--catch-up", "0"), "a range of days"),
        (("--from", "2023-10-01", "--to", "2023-10-02", "--catch-up", "3"), "a range of days"),
        (("--from", "1 October", "--to", "2023-10-02", "--source", DAILY), "is not a date"),
        (("--from", "2023-1-5", "--to", "2023-10-02", "--source", DAILY), "is not a date"),
        (("--catch-up", "400", "--source", DAILY), "takes 1 to 366"),
        (("--catch-up", "1000000000", "--source", DAILY), "takes 1 to 366"),
        (("--catch-up", "3"), "is a snapshot"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, document = ask(capfd, "days", *arguments)
    assert code == 2
    assert message in document["error"]["message"]
    assert document["error"]["remedy"]


def test_the_longest_range() -> None:
    first = date(2024, 1, 1)
    days = days_of_range(Config(), first, date(2024, 12, 31), DAILY)
    assert (len(days), days[0], days[-1]) == (MOST_DAYS, first, date(2024, 12, 31))


# --- notices

# As Argo lists them: every node has a name of a pod, and the order is any.
REFUSED = "the role has no right → Grant it. (exit code 2)"
FAILURES = [
    {"displayName": name, "phase": "Failed", "podName": f"sales-mart-x-{ordinal}", "message": said}
    for ordinal, (name, said) in enumerate(
        {
            "sales-mart-x": "",
            "load-postgres": "No more retries left",
            "load-postgres(0)": "PostgreSQL does not answer (exit code 75)",
            "load-postgres(10)": REFUSED,
            "load-postgres(9)": "PostgreSQL does not answer (exit code 75)",
            "load-bigquery(0)": "pod deleted",  # and a later attempt went well
            "validate": "child 'validate(1:1)' failed",
            "validate(1:1)": "No more retries left",
            "validate(1:1)(0)": "b.csv is cut short (exit code 65)",
        }.items()
    )
]


@pytest.mark.parametrize("seed", range(5))
def test_a_notice_says_what_failed_for_good_and_why(seed: int) -> None:
    wanted = (
        Failure(step="load-postgres", message=REFUSED),
        Failure(step="validate(1:1)", message="b.csv is cut short (exit code 65)"),
    )
    shuffled = random.Random(seed).sample(FAILURES, len(FAILURES))  # noqa: S311 - no secret
    listed = json.dumps(shuffled)
    for failures in (listed, json.dumps(listed)):
        made = notification("sales-mart-x", "Failed", "63.5", failures)
        assert made.failures == wanted
        assert made.duration_seconds == 63.5
        assert made.text.splitlines() == [
            "sales-mart-x: Failed after 64 s",
            f"load-postgres: {REFUSED}",
            "validate(1:1): b.csv is cut short (exit code 65)",
        ]


@pytest.mark.parametrize("failures", ["", "null", "[]", '"[]"', '"null"'])
def test_a_notice_of_a_success_lists_no_failure(failures: str) -> None:
    assert notification("w", "Succeeded", "1", failures).failures == ()


@pytest.mark.parametrize(
    ("duration", "failures"),
    [("x", ""), ("nan", ""), ("inf", ""), ("1e400", ""), ("-1", ""), ("1", "{"), ("1", "[1]")],
)
def test_a_notice_of_something_else_is_refused(duration: str, failures: str) -> None:
    with pytest.raises(ConfigurationError, match="not as Argo's"):
        notification("w", "Failed", duration, failures)


def test_a_notice_carries_no_mark_of_a_name_from_elsewhere() -> None:
    name = "\x1b]8;;<!channel> <@U123> <http://x.example|sales.csv>\u202e & *b*\x07.csv"
    nodes = [
        {"displayName": "seal", "phase": "Failed", "message": "no more retries left"},
        {"displayName": "seal(0)", "phase": "Failed", "message": f"{name} changed\nnow"},
    ]
    made = notification("w<!here>", "Failed<@U1>", "1", json.dumps(nodes))
    assert not set("<>") & set(made.text)
    assert "&lt;!channel&gt; &lt;@U123&gt; &lt;http://x.example|sales.csv&gt;" in made.text
    assert "&amp; *b*" in made.text
    assert json.loads(made.model_dump_json())["mrkdwn"] is False
    for each in (*made.text.split("\n"), made.failures[0].message, made.workflow, made.status):
        assert each.isprintable(), each
    # Programs that read the other fields get the name as it is shown elsewhere.
    assert "<!channel>" in made.failures[0].message


def test_notify_tells_the_webhook_of_the_workflow_s_runs(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("backfill-2023-10-04", "backfill-2023-10-05", "backfilled"):
        ask(capfd, "plan", "--run-id", run, "--business-date", run[-10:].replace("backfilled", ""))
    for command in ("validate", "seal"):
        ask(capfd, command, "--run-id", "backfill-2023-10-04")
    with webhook(200) as (address, told):
        monkeypatch.setenv("SALES_MART_WEBHOOK_URL", address)
        options = ("--status", "Failed", "--duration", "7.04", "--failures", json.dumps(FAILURES))
        code, document = ask(capfd, "notify", "--run-id", "backfill", *options)
    assert code == 0
    assert told == [document]
    assert document["failures"][0] == {"step": "load-postgres", "message": REFUSED}
    assert [run["run_id"] for run in document["runs"]] == [
        "backfill-2023-10-04",
        "backfill-2023-10-05",
    ]
    assert "2023-10-04: 15 rows read, 4 valid, 11 rejected; stopped after seal" in (
        document["text"].splitlines()
    )
    assert "2023-10-05: stopped after plan" in document["text"].splitlines()


def test_notify_without_a_webhook_is_an_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SALES_MART_WEBHOOK_URL", raising=False)
    command = ("notify", "--run-id", "w", "--status", "Succeeded")
    code, document = ask(capfd, *command)
    assert code == 2
    assert "SALES_MART_WEBHOOK_URL is not set" in document["error"]["message"]
    code, document = ask(capfd, *command, "--dry-run")
    assert (code, document["text"]) == (0, "w: Succeeded after 0 s")
    assert ask(capfd, "notify", "--status", "Succeeded")[0] == 2


@pytest.mark.parametrize("lake", ["/dev/null/lake", "gs://"])
def test_notify_tells_of_a_lake_that_cannot_be_read(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lake: str
) -> None:
    with webhook(200) as (address, told):
        monkeypatch.setenv("SALES_MART_WEBHOOK_URL", address)
        monkeypatch.setenv("SALES_MART_DATA_LAKE__LAKE", lake)
        code, _ = ask(capfd, "notify", "--run-id", "w", "--status", "Failed")
    assert code == 0
    assert [each["text"] for each in told] == ["w: Failed after 0 s"]


def test_notify_tells_of_a_configuration_that_is_wrong(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pipeline_config.yaml").write_text("data_lak: {}\n")
    with webhook(200) as (address, told):
        monkeypatch.setenv("SALES_MART_WEBHOOK_URL", address)
        assert ask(capfd, "notify", "--run-id", "w", "--status", "Failed")[0] == 0
    assert len(told) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (408, TemporaryError),
        (429, TemporaryError),
        (503, TemporaryError),
        (404, ConfigurationError),
        (405, ConfigurationError),
        # Whoever follows these posts nothing.
        (301, ConfigurationError),
        (302, ConfigurationError),
        (307, ConfigurationError),
    ],
)
def test_a_webhook_that_refuses(answer: int, error: type[SalesMartError]) -> None:
    with (
        webhook(answer) as (address, told),
        pytest.raises(error, match=f"the webhook answered {answer}") as caught,
    ):
        send(SecretStr(address), notification("w", "Failed"))
    assert "s3cret" not in f"{caught.value.message}{caught.value.remedy}{caught.value.details}"
    assert [each["workflow"] for each in told] == ["w"]


def test_a_webhook_is_told_by_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    with webhook(certificate=certificate) as (address, told):
        assert address.startswith("https://")
        with pytest.raises(TemporaryError, match="does not answer"):
            send(SecretStr(address), notification("w", "Failed"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        send(SecretStr(address), notification("w", "Failed"))
    assert [each["workflow"] for each in told] == ["w"]


def test_a_webhook_without_tls_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with webhook() as (address, told):
        send(SecretStr(address), notification("w", "Failed"))
    assert [each["workflow"] for each in told] == ["w"]
    assert "not one of https" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("file:///etc/passwd", ConfigurationError),
        ("hooks.example/s3cret", ConfigurationError),
        ("http://127.0.0.1:9/s3cret", TemporaryError),
        ("http://127.0.0.1:x/s3cret", ConfigurationError),
    ],
)
def test_a_webhook_that_is_none(address: str, error: type[SalesMartError]) -> None:
    with pytest.raises(error) as caught:
        send(SecretStr(address), notification("w", "Failed"))
    assert "s3cret" not in f"{caught.value.message}{caught.value.remedy}{caught.value.details}"
