"""Running dbt: what it is told, what it may know, and what its failures mean."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dbt_common.exceptions import CompilationError, DbtDatabaseError, DbtRuntimeError

from sales_mart.config import Config
from sales_mart.dbt_runner import process as dbt_process
from sales_mart.dbt_runner import project
from sales_mart.dbt_runner.adapters import (
    TRIED_WITH,
    ServerError,
    bigquery_error,
    failure_of,
    postgres_error,
)
from sales_mart.dbt_runner.failure import Failure
from sales_mart.dbt_runner.forks import PROGRAM, Worker, shared_server, start_worker
from sales_mart.dbt_runner.process import DbtProcess, Outcome, variables
from sales_mart.dbt_runner.project import project_folder
from sales_mart.errors import (
    ConfigurationError,
    SalesMartError,
    TemporaryError,
    TestFailedError,
    UnexpectedError,
)
from sales_mart.lake.records import NodeResult
from sales_mart.steps import transform
from targets import Target

SECRET = "correct horse battery staple"


def configured(**settings: Any) -> Config:
    return Config.model_validate(settings)


def node(status: str, message: str | None, failures: int | None = None) -> NodeResult:
    return NodeResult(
        unique_id="test.sales_mart.a_rule.0123" if failures else "model.sales_mart.fact_sales",
        status=status,
        seconds=0.1,
        failures=failures,
        message=message,
        compiled_path="/dbt/a_rule.sql",
    )


class KeptFolder:
    """Stands for a process that has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = False

    def keep_folder(self) -> None:
        self.kept = True


def error_of(folder: Path, *nodes: NodeResult, failure: Failure | None = None) -> Any:
    kept_folder: Any = KeptFolder(folder)
    failures = () if failure is None else (failure,)
    outcome = Outcome(nodes, {"test.sales_mart.a_rule.0123": "fact_sales"}, failures)
    error = transform.error_of(Target.POSTGRES, outcome, kept_folder)
    assert kept_folder.kept is (error is not None)
    return error


def test_the_vars_are_the_configuration() -> None:
    config = configured(
        ingestion={
            "validation": {"product_prefix": "Halal", "min_price": "10.5", "max_quantity": 7}
        }
    )
    assert variables(config, Target.POSTGRES, (date(2023, 10, 1),)) == {
        "product_prefix": ["Halal"],
        "min_price": "10.50",
        "max_quantity": 7,
        "max_decimals": 2,
        "window": ["2023-10-01"],
        "raw_schema": "transactions_warehouse",
        "raw_table": "raw_transactions",
        "next_schema": "public__next",
        "mart_schema": "public",
        "fact_table": "pg_sales",
        "attributes": [],
        "currency": [],
        "dimensions": [],
        "allow_returns": False,
        "has_line_total": False,
        "is_price_computed": False,
        "quantity_decimals": 0,
        "quantity_type": None,
        "total_quantity_type": None,
        "integer_type": "bigint",
        "has_own_models": False,
        "emulator": False,
    }


@pytest.mark.parametrize(
    ("given", "decimals", "expected"),
    [("10.001", 2, "10.01"), ("0", 2, "0.00"), ("1e3", 0, "1000"), ("0.0000000001", 9, "1e-9")],
)
def test_the_lowest_price_is_rounded_up_to_what_a_price_can_be(
    given: str, decimals: int, expected: str
) -> None:
    rules = {"min_price": given, "max_decimals": decimals}
    found = variables(configured(ingestion={"validation": rules}), Target.BIGQUERY)["min_price"]
    assert Decimal(found) == Decimal(expected)
    assert "E" not in found


def test_only_an_emulator_is_told_from_bigquery() -> None:
    bigquery = {"bigquery": {"api_endpoint": "http://127.0.0.1:9050"}}
    emulated = configured(data_warehouse=bigquery)
    assert variables(emulated, Target.BIGQUERY)["emulator"] is True
    assert variables(emulated, Target.POSTGRES)["emulator"] is False
    assert variables(configured(), Target.BIGQUERY)["emulator"] is False


def test_a_process_knows_the_secrets_of_its_target_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_USER", "loader")
    monkeypatch.setenv("POSTGRES_PASSWORD", SECRET)
    monkeypatch.setenv("PII_HASH_KEY", SECRET)
    monkeypatch.setenv("DBT_FULL_REFRESH", "1")
    config = configured(data_warehouse={"bigquery": {"credentials_file": "/secrets/key.json"}})
    postgres = dbt_process.environment(config, Target.POSTGRES)
    bigquery = dbt_process.environment(config, Target.BIGQUERY)
    assert postgres["POSTGRES_PASSWORD"] == SECRET
    assert SECRET not in bigquery.values()
    assert "PII_HASH_KEY" not in postgres
    assert "DBT_FULL_REFRESH" not in postgres
    assert bigquery["SALES_MART_BIGQUERY_METHOD"] == "service-account"


def test_the_project_is_found_in_this_checkout() -> None:
    assert (project_folder() / "models" / "marts" / "fact_sales.sql").is_file()


def test_the_project_is_found_in_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "__file__", str(tmp_path / "dbt_runner" / "project.py"))
    with pytest.raises(UnexpectedError, match="missing"):
        project_folder()
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt" / "dbt_project.yml").touch()
    assert project_folder() == tmp_path / "dbt"


def said(state: str | None, message: str) -> ServerError:
    """Return what PostgreSQL's error of this code and message becomes."""
    return postgres_error(
        SimpleNamespace(pgcode=state, diag=SimpleNamespace(message_primary=message))
    )


@pytest.mark.parametrize(
    ("state", "message", "expected"),
    [
        ("40001", "could not serialize access", "SQLSTATE 40001: could not serialize access"),
        ("23505", "duplicate key\nDETAIL:  Key (id)=(x)", "SQLSTATE 23505: duplicate key"),
        ("22P02", 'invalid input syntax: "x"', "SQLSTATE 22P02: the server refused a value"),
        (None, "server closed the connection", "SQLSTATE 08006: server closed the connection"),
    ],
)
def test_a_postgres_message_quotes_no_row(state: str | None, message: str, expected: str) -> None:
    assert said(state, message).msg == expected


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected"),
    [
        (400, "invalidQuery", "Bad int64 value: 4711", "HTTP 400 invalidQuery: Bad int64 value"),
        (
            400,
            "invalidQuery",
            "Unrecognized name: product at [1:8]",
            "HTTP 400 invalidQuery: Unrecognized name: product at [1:8]",
        ),
        (503, "backendError", "", "HTTP 503 backendError: "),
    ],
)
def test_a_bigquery_message_quotes_no_row(
    status: int, reason: str, message: str, expected: str
) -> None:
    assert bigquery_error(status, reason, message).msg == expected


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (said("57014", "canceling statement"), TemporaryError),
        (said("55P03", "lock timeout"), TemporaryError),
        (said("53100", "disk full"), TemporaryError),
        (said("40P01", "deadlock"), TemporaryError),
        (said(None, "gone"), TemporaryError),
        (said(None, "FATAL: password authentication failed"), ConfigurationError),
        (DbtDatabaseError("could not connect"), TemporaryError),
        (DbtDatabaseError("password authentication failed"), ConfigurationError),
        (said("42501", "permission denied"), ConfigurationError),
        (said("42939", "unacceptable name"), ConfigurationError),
        (said("42703", "no column"), UnexpectedError),
        (bigquery_error(429, "tooMany", "slow down"), TemporaryError),
        (bigquery_error(503, "backendError", "x"), TemporaryError),
        (bigquery_error(403, "rateLimitExceeded", "x"), TemporaryError),
        (bigquery_error(403, "accessDenied", "x"), ConfigurationError),
        (bigquery_error(404, "notFound", "x"), ConfigurationError),
        (bigquery_error(400, "invalidQuery", "x"), UnexpectedError),
        (CompilationError("no such macro"), ConfigurationError),
        (DbtRuntimeError("a bug"), UnexpectedError),
        # What a text says is no code.
        (bigquery_error(400, "invalidQuery", "Not found: SQLSTATE 08006"), UnexpectedError),
        (DbtRuntimeError("a model that speaks of HTTP 404 notFound"), UnexpectedError),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    cause: Exception, expected: type[SalesMartError], tmp_path: Path
) -> None:
    broken = node("error", str(cause))
    failure = failure_of(cause, broken.unique_id)
    error = error_of(tmp_path, node("success", None), broken, failure=failure)
    assert type(error) is expected
    assert error.details["dbt_log"] == str(tmp_path / "dbt.log")


def test_an_error_that_dbt_reports_on_its_own_is_a_bug(tmp_path: Path) -> None:
    assert type(error_of(tmp_path, node("error", "SQLSTATE 08006: gone"))) is UnexpectedError


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (DbtDatabaseError("could not connect"), TemporaryError),
        (DbtDatabaseError("password authentication failed"), ConfigurationError),
        (DbtDatabaseError('FATAL: database "x" does not exist'), ConfigurationError),
        (said("42501", "no create"), ConfigurationError),
        (said("58030", "could not write"), TemporaryError),
        (CompilationError("no such macro"), ConfigurationError),
        (DbtRuntimeError("no such project"), ConfigurationError),
        (KeyError("x"), UnexpectedError),
    ],
)
def test_a_command_that_did_not_run_has_its_exit_code_too(
    cause: Exception, expected: type[SalesMartError], tmp_path: Path
) -> None:
    assert type(error_of(tmp_path, failure=failure_of(cause))) is expected


@pytest.mark.parametrize("name", list(TRIED_WITH))
def test_the_versions_are_those_whose_internals_are_replaced(name: str) -> None:
    """Where this fails: read `dbt_runner/adapters.py` beside the new version, then name it."""
    assert version(name) == TRIED_WITH[name]


def test_a_failed_test_names_model_count_and_file(tmp_path: Path) -> None:
    error = error_of(tmp_path, node("fail", "Got 3 results", failures=3), node("skipped", None))
    assert type(error) is TestFailedError
    assert "a_rule of fact_sales has 3 failures, see /dbt/a_rule.sql" in error.message


def test_what_no_retry_cures_is_reported_first_and_the_rest_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("sales_mart").propagate = True
    cause = said("08006", "gone")
    gone = node("error", str(cause))
    failed = node("fail", "Got 1 result", failures=1)
    error = error_of(tmp_path, gone, failed, failure=failure_of(cause, gone.unique_id))
    assert type(error) is TestFailedError
    assert "SQLSTATE 08006: gone" in caplog.text
    assert {vars(line)["exit_code"] for line in caplog.records} == {75}


def test_no_failure_is_no_error(tmp_path: Path) -> None:
    assert error_of(tmp_path, node("success", None), node("warn", "Got 1 result", 1)) is None


@pytest.fixture
def new_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what forks workers be started by the test, though all tests share one."""
    monkeypatch.setattr("sales_mart.dbt_runner.forks._server", None)
    monkeypatch.setattr("sales_mart.dbt_runner.forks._users", 0)
    monkeypatch.setattr("sales_mart.dbt_runner.forks.PROGRAM", PROGRAM)


@pytest.mark.usefixtures("new_server")
def test_a_killed_process_is_worth_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_MART_DBT_FOLDER", str(tmp_path / "dbt"))
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(killed))
    with DbtProcess(configured(), Target.BIGQUERY) as process:
        process.start("parse", None)
        with pytest.raises(TemporaryError, match="without a result"):
            process.wait()
    assert not process.folder.exists()


@pytest.mark.usefixtures("new_server")
def test_folders_of_killed_runs_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_MART_DBT_FOLDER", str(tmp_path))
    left = tmp_path / "sales-mart-dbt-bigquery.dead.tmp"
    (left / "target").mkdir(parents=True)
    with DbtProcess(configured(), Target.BIGQUERY) as process:
        assert list(tmp_path.iterdir()) == [process.folder]
        begun = time.monotonic()
    # It was still importing, and had nothing to cancel.
    assert time.monotonic() - begun < 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("new_server")
def test_a_process_that_breaks_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_MART_DBT_FOLDER", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with DbtProcess(configured(), Target.BIGQUERY) as process:
        process.start("parse", None)
        with pytest.raises(UnexpectedError, match="status 1") as raised:
            process.wait()
    assert str(process.folder) in raised.value.remedy


@pytest.mark.parametrize("variable", ["SALES_MART_DBT_FOLDER", "SALES_MART_SCRATCH"])
def test_a_folder_for_dbt_that_cannot_be_made_is_named(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigurationError, match="no folder"):
        DbtProcess(configured(), Target.BIGQUERY)


def test_a_target_without_credentials_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "SALES_MART_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SALES_MART_DBT_FOLDER", str(tmp_path))
    started: list[Worker] = []

    def start(*arguments: Any) -> Worker:
        started.append(start_worker(*arguments))
        return started[-1]

    monkeypatch.setattr(dbt_process, "start_worker", start)
    both = (Target.BIGQUERY, Target.POSTGRES)
    with pytest.raises(ConfigurationError), transform.warm(configured(), both):
        pass
    assert [worker.stdin.closed for worker in started] == [True]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("new_server")
def test_a_process_that_does_not_start_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_MART_DBT_FOLDER", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        DbtProcess(configured(), Target.BIGQUERY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="each worker is a process of its own")
@pytest.mark.usefixtures("new_server")
def test_what_forks_workers_is_started_again_when_it_was_killed() -> None:
    forked_by: list[int] = []
    with shared_server():
        for _ in range(3):
            with DbtProcess(configured(), Target.BIGQUERY, offline=True) as process:
                assert process.marts()
                status = Path(f"/proc/{process.pid}/status").read_text()
                forked_by.append(int(re.findall(r"PPid:\s*(\d+)", status)[0]))
                process.start("parse", None)
                assert process.wait().failures == ()
            if len(forked_by) == 2:
                os.kill(forked_by[0], signal.SIGKILL)
                killed = Path(f"/proc/{forked_by[0]}")
                # A thread that still ends keeps the socket open.
                while (
                    "zombie" not in (killed / "status").read_text()
                    or len([*(killed / "task").iterdir()]) > 1
                ):
                    time.sleep(0.01)
    assert forked_by[0] == forked_by[1] != forked_by[2]


@pytest.mark.usefixtures("new_server")
def test_a_worker_that_nobody_waits_for_does_no_harm_to_the_next() -> None:
    with shared_server():
        for _ in range(2):
            # What forks workers still imports dbt by then.
            DbtProcess(configured(), Target.BIGQUERY, offline=True).close()
        with DbtProcess(configured(), Target.BIGQUERY, offline=True) as process:
            assert process.marts()
            process.start("parse", None)
            assert process.wait().failures == ()


LEAVE_DBT_BEHIND = """
import os, signal
from sales_mart.config import Config
from sales_mart.dbt_runner.process import DbtProcess
process = DbtProcess(Config(), "bigquery")
while process.pid is None:
    pass
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_ends_when_its_parent_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_MART_DBT_FOLDER", str(tmp_path))
    parent = subprocess.run(
        [sys.executable, "-c", LEAVE_DBT_BEHIND], check=False, capture_output=True, text=True
    )
    assert parent.returncode == -signal.SIGKILL
    status = Path("/proc", parent.stdout.strip(), "status")
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc")
    deadline = time.monotonic() + 60
    while status.exists() and "zombie" not in status.read_text():
        assert time.monotonic() < deadline, "dbt outlives its parent"
        time.sleep(0.1)


def test_what_is_no_error_of_dbt_is_told_by_its_type(tmp_path: Path) -> None:
    code = """
import os, sys
from types import SimpleNamespace
from dbt.cli import main
from sales_mart.dbt_runner import worker

error = ArithmeticError("Canary")
runner = SimpleNamespace(invoke=lambda _: SimpleNamespace(exception=error))
main.dbtRunner = lambda manifest, callbacks: runner
worker._manifest = lambda *_: None
sys.exit(worker.run({"target": "bigquery"}, os.open(os.devnull, os.O_WRONLY)))
"""
    outcome = tmp_path / "outcome.json"
    order = {"arguments": [], "outcome": str(outcome), "progress": "", "schema": None}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()
        assert child.wait(60) == 0
    told = json.loads(outcome.read_text())
    failure = Failure(None, "UnexpectedError", "ArithmeticError")
    assert told["failures"] == [failure._asdict()]
