"""The command line: streams, exit codes, one JSON document, and words for whatever goes wrong."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import yaml

from sales_mart import __version__
from sales_mart.cli import app
from sales_mart.config.file import load_config
from sales_mart.config.report import recommended
from sales_mart.warehouses.base import names

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("run", "status", "plan", "validate", "seal", "load", "transform", "reconcile", "publish"),
    *("export", "top", "generate", "doctor", "init", "local", "config show", "config schema"),
    *("config values", "days", "notify", "verify", "inspect", "quarantine list"),
    *("quarantine show", "quarantine export", "quarantine explain", "report", "contract"),
    *("lineage", "serve", "api-key"),
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(elsewhere: Path) -> Path:
    """Work in an empty folder, without settings in the environment."""
    return elsewhere


Ask = Any


def _process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    code = "import sys; from sales_mart.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def _sample(**changes: object) -> None:
    text = (ROOT / "samples" / "pipeline_config.yaml").read_text()
    document = yaml.safe_load(text) | changes
    Path("pipeline_config.yaml").write_text(yaml.safe_dump(document))
    Path("transactions.csv").write_bytes((ROOT / "samples" / "transactions.csv").read_bytes())


# --- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(ask: Ask, command: str) -> None:
    code, out, err = ask(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert "Usage: sales-mart" in out
    assert "--output" in out


def test_commands_are_the_documented_ones(ask: Ask) -> None:
    registered = {info.name for info in app.registered_commands}
    registered |= {info.name for info in app.registered_groups}
    assert registered == {command.split()[0] for command in COMMANDS}
    assert ask("-h")[0] == 0


def test_version(ask: Ask) -> None:
    assert ask("--version") == (0, f"sales-mart {__version__}\n", "")


def test_a_target_that_is_no_warehouse_is_refused(ask: Ask) -> None:
    for command in ("load oracle", "load --target oracle", "publish --target=oracle"):
        code, _, said = ask(*command.split(), "--run-id", "r", "--lake", "lake")
        assert code == 2
        assert "'oracle' is not a warehouse" in said
        assert f"The warehouses are {', '.join(names())}." in said


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'."),
        (["plan", "--shards", "0"], "Invalid value for '--shards'"),
        (["load", "oracle"], "'oracle' is not a warehouse"),
        (["load"], "load works on one warehouse"),
        (["load", "postgres", "--target", "bigquery"], "load works on one warehouse"),
        (["seal"], "seal needs a run, and none is given"),
        (["seal", "--run-id", "x"], "no lake is given"),
        (["seal", "--run-id", "../x", "--lake", "l"], "run id '../x' is not a safe name"),
        (["seal", "--run-id", "x", "--lake", "l"], "run x has no record of"),
        (["status", "x", "--lake", "l"], "run x has no record of 'plan'"),
        (["plan", "-c", "none.yaml"], "configuration file 'none.yaml' does not exist"),
        (["plan", "--lake", "l"], "no source is given"),
        (["plan", "--lake", "l", "--business-date", "x"], "business date 'x' is neither"),
        (["top", "--month", "2023-13"], "'2023-13' is not a month"),
        (["generate", "x.csv", "--valid-share", "2"], "Invalid value for '--valid-share'"),
    ],
)
def test_usage_and_configuration_exit_2(ask: Ask, arguments: list[str], message: str) -> None:
    code, out, err = ask(*arguments)
    assert (code, out) == (2, "")
    line = json.loads(err.splitlines()[-1])
    assert message in line["message"]
    assert line["remedy"]
    assert "Traceback" not in err
    code, out, _ = ask(*arguments, "--output", "json")
    document = json.loads(out)
    assert document["schema_version"] == 2
    assert document["error"]["exit_code"] == code == 2
    assert message in document["error"]["message"]
    assert document["error"]["remedy"]


def test_no_object_exits_65(ask: Ask) -> None:
    code, _, err = ask("plan", "--lake", "l", "--source", "nothing/*.csv")
    assert code == 65
    assert "no object matches nothing/*.csv" in err


def test_a_bug_exits_1_and_shows_no_value(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        msg = "row T-SECRET"
        raise RuntimeError(msg)

    monkeypatch.setattr("sales_mart.steps.plan.plan", broken)
    for level in ("info", "debug"):
        code, out, err = ask("plan", "--lake", "l", "-o", "json", "--log-level", level)
        assert code == 1
        assert "unexpected RuntimeError" in json.loads(out)["error"]["message"]
        assert "SECRET" not in out + err
        assert ("test_cli.py" in err) is (level == "debug")


def test_an_error_on_a_terminal_is_for_people() -> None:
    primary, secondary = pty.openpty()
    done = _process_on(secondary, "seal", "--run-id", "x")
    os.close(secondary)
    text = os.read(primary, 4096).decode()
    os.close(primary)
    assert done == 2
    assert "\x1b[3" not in text  # bold is no colour
    assert re.sub(r"\x1b\[[01]m", "", text.replace("\r\n", "\n")) == (
        "error: no lake is given to keep the run in\n  → Use --lake, or set data_lake.lake.\n"
    )


def test_the_form_of_the_log_is_a_choice(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "error: no lake is given to keep the run in\n  → Use --lake, or set data_lake.lake.\n"
    assert ask("seal", "--run-id", "x", "--log-format", "text")[2] == wanted
    assert json.loads(ask("seal", "--run-id", "x", "--log-format", "json")[2])["remedy"]
    monkeypatch.setenv("SALES_MART_LOG_FORMAT", "text")
    assert ask("seal", "--run-id", "x")[2] == wanted
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert json.loads(ask("seal", "--run-id", "x", "--log-format", "json")[2])["remedy"]


def _process_on(terminal: int, *arguments: str) -> int:
    code = "import sys; from sales_mart.cli import main; sys.exit(main())"
    environ = {**os.environ, "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, stderr=terminal, env=environ
    ).returncode


# --- streams


def test_data_goes_to_stdout_and_logs_to_stderr(ask: Ask) -> None:
    _sample()
    common = ("--lake", "lake", "--source", "transactions.csv", "--business-date", "2023-10-05")
    code, out, err = ask("plan", *common, "--output", "json")
    plan = json.loads(out)
    assert code == 0
    assert plan["shards"] == [[0]]
    assert plan["business_date"] == "2023-10-05"
    assert plan["mode"] == "replace"
    warning = json.loads(err)
    assert (warning["level"], warning["step"]) == ("warning", "plan")
    assert "enumerate" in warning["message"]
    # Nothing but what nobody should miss.
    assert json.loads(ask("plan", *common, "--quiet")[2]) == warning | {"time": ANY}


def test_a_daily_source_is_appended(ask: Ask) -> None:
    _sample()
    Path("2023-10-01").mkdir()
    Path("transactions.csv").rename("2023-10-01/a.csv")
    common = ("--lake", "lake", "--source", "{date}/*.csv", "-o", "json")
    code, out, _ = ask("plan", *common, "--business-date", "2023-10-02T00:00:00Z")
    assert (code, json.loads(out)["mode"]) == (0, "append")
    assert ask("plan", *common, "--business-date", "2023-10-02")[0] == 65
    assert ask("plan", *common, "--business-date", "2023-10-01", "--mode", "replace")[0] == 2


def test_text_has_no_colour_and_no_trailing_blanks_in_a_pipe(ask: Ask) -> None:
    _sample()
    _, out, _ = ask("config", "show")
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())
    assert "data_warehouse.postgres.secretName" in out


def test_a_closed_pipe_is_no_error() -> None:
    process = _process("config", "schema")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert errors == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_leads_nowhere(tmp_path: Path, closed: str) -> None:
    _sample()
    command = (
        f"{sys.executable} -m sales_mart plan --run-id x --lake {tmp_path}/lake"
        f" --source transactions.csv --business-date 2023-10-05 {closed}"
    )
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout) is (">&-" not in closed.split())
    assert json.loads((tmp_path / "lake" / "runs" / "x" / "plan.json").read_text())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
@pytest.mark.parametrize("output", ["text", "json"])
def test_a_full_disk_under_stdout_is_told(output: str) -> None:
    with Path("/dev/full").open("w") as full:
        command = (sys.executable, "-m", "sales_mart", "config", "show", "-o", output)
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    line = json.loads(done.stderr.splitlines()[-1])
    assert "could not be written: No space left" in line["message"]


@pytest.mark.parametrize("output", ["text", "json"])
def test_what_an_encoding_does_not_have_is_an_escape(tmp_path: Path, output: str) -> None:
    _sample()
    lake = tmp_path / "l\xfcke\u6708"
    source = tmp_path / "\xe9.csv"
    Path("transactions.csv").rename(source)
    options = ("--business-date", "2023-10-05", "--source", source, "--lake", lake, "-o", output)
    done = subprocess.run(
        (sys.executable, "-m", "sales_mart", "plan", *options),
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    text = done.stdout.decode("ascii")
    if output == "json":
        assert json.loads(text)["source"] == str(source)
    else:
        assert r"\xe9.csv" in text


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "os.rmdir(sys.argv[1])\n"
        "from sales_mart.cli import main\n"
        "sys.exit(main(['init']))\n"
    )
    (tmp_path / "gone").mkdir()
    command = (sys.executable, "-c", program, tmp_path / "gone")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, "no longer exists" in done.stderr) == (2, True)


# --- signals


def started(program: str) -> subprocess.Popen[str]:
    """Start a program and wait until it says `ready` on standard error."""
    process = subprocess.Popen(
        [sys.executable, "-c", program], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for("ready", process)
    return process


def wait_for(word: str, process: subprocess.Popen[str]) -> None:
    """Wait until a program says a word on standard error."""
    assert process.stderr is not None
    assert word in map(str.strip, process.stderr), "it ended without the word"


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_signals_end_the_process_cleanly(number: int, code: int, word: str) -> None:
    program = (
        "import sys, threading, time\n"
        "from sales_mart.cli import main\n"
        "import sales_mart.steps.plan as module\n"
        "def plan(*_, **__):\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "    try:\n"
        "        print('ready', file=sys.stderr, flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('closed', file=sys.stderr, flush=True)\n"
        "module.plan = plan\n"
        "sys.exit(main(['plan', '--lake', 'l', '--output', 'json']))\n"
    )
    process = started(program)
    begun = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert time.monotonic() - begun < 10  # a thread that is busy does not hold it back
    assert "closed" in err
    assert "Traceback" not in err
    assert json.loads(out)["error"]["message"] == word


def test_servers_that_are_ended_as_they_say_end_well() -> None:
    program = (
        "import sys, threading\n"
        "from contextlib import contextmanager\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "from sales_mart.cli import local, main\n"
        "import sales_mart.servers.local as module\n"
        "class Event(threading.Event):\n"
        "    def wait(self, timeout=None):\n"
        "        print('ready', file=sys.stderr, flush=True)\n"
        "        return super().wait(timeout)\n"
        "@contextmanager\n"
        "def local_servers(folder):\n"
        "    try:\n"
        "        yield module.LocalServers(Path('x'), 1, 'p', 'http://127.0.0.1:2')\n"
        "    finally:\n"
        "        print('closed', file=sys.stderr, flush=True)\n"
        "module.local_servers = local_servers\n"
        "local.threading = SimpleNamespace(Event=Event)\n"
        "sys.exit(main(['local', '--output', 'json']))\n"
    )
    process = started(program)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err.splitlines() == ["closed"]
    assert json.loads(out)["bigquery"] == "http://127.0.0.1:2"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(number: int) -> None:
    program = (
        "import sys, time\n"
        "from sales_mart.cli import main\n"
        "import sales_mart.steps.plan as module\n"
        "def plan(*_, **__):\n"
        "    try:\n"
        "        print('ready', file=sys.stderr, flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('closing', file=sys.stderr, flush=True)\n"
        "        time.sleep(60)\n"
        "module.plan = plan\n"
        "sys.exit(main(['plan', '--lake', 'l']))\n"
    )
    process = started(program)
    process.send_signal(number)
    wait_for("closing", process)
    process.send_signal(number)
    rest = process.communicate(timeout=9)[1]  # it would unwind by force after ten seconds
    assert process.returncode == 128 + number
    assert "Traceback" not in rest


def test_what_does_not_unwind_is_ended_by_force() -> None:
    program = (
        "import sys, time\n"
        "from sales_mart import cli\n"
        "from sales_mart.cli import process\n"
        "import sales_mart.steps.plan as module\n"
        "process._UNWIND_SECONDS = 0.2\n"
        "def plan(*_, **__):\n"
        "    print('ready', file=sys.stderr, flush=True)\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(60)\n"
        "        except BaseException:\n"
        "            pass\n"
        "module.plan = plan\n"
        "sys.exit(cli.main(['plan', '--lake', 'l']))\n"
    )
    process = started(program)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143


def test_ctrl_c_before_the_first_command_shows_no_stack_trace() -> None:
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sales_mart.__main__ as begin\n"
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'sales_mart.cli':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "sys.exit(begin.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGINT  # a shell says 130
    assert done.stderr == ""


# --- tools


def test_init_writes_a_file_that_loads(ask: Ask) -> None:
    code, out, _ = ask("init")
    assert code == 0
    assert "PII_HASH_KEY" in out
    assert load_config("pipeline_config.yaml", environ={}) == recommended()
    Path("pipeline_config.yaml").write_text("mine")
    code, _, err = ask("init")
    assert code == 2
    assert "already exists" in err
    assert Path("pipeline_config.yaml").read_text() == "mine"
    assert ask("init", "--force")[0] == 0
    assert ask("init", "some/where/c.yaml")[0] == 0
    assert Path("some/where/c.yaml").is_file()


def test_config_show_redacts(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_MART_DATA_WAREHOUSE__POSTGRES__PASSWORD", "s3cret")
    _sample()
    for arguments in (("config", "show"), ("config", "show", "-o", "json"), ("config", "values")):
        code, out, err = ask(*arguments)
        assert code == 0
        assert "s3cret" not in out + err
    rows = {row["key"]: row for row in json.loads(ask("config", "show", "-o", "json")[1])["keys"]}
    password = rows["data_warehouse.postgres.password"]
    assert password["origin"] == "SALES_MART_DATA_WAREHOUSE__POSTGRES__PASSWORD"
    lines = rows["data_lake.path"]["origin"]
    assert lines.startswith("pipeline_config.yaml:")


def test_config_show_tells_as_whom_postgresql_is_reached(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_USER", "somebody")
    monkeypatch.setenv("POSTGRES_PASSWORD", "s3cret")
    _sample()
    login = json.loads(ask("config", "show", "-o", "json")[1])["postgres_login"]
    assert login == {"user": "somebody", "origin": "POSTGRES_USER and POSTGRES_PASSWORD"}
    assert "somebody" in ask("config", "show")[1]
    monkeypatch.delenv("POSTGRES_USER")
    code, out, err = ask("config", "show")
    assert code == 0
    assert "s3cret" not in out + err


def test_config_schema_is_json_schema(ask: Ask) -> None:
    schema = json.loads(ask("config", "schema")[1])
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    endpoint = schema["$defs"]["Ingestion"]["properties"]["fastapi_endpoint"]
    assert endpoint["effect"] is False


def test_config_values_are_yaml_or_json(ask: Ask) -> None:
    _sample()
    text = yaml.safe_load(ask("config", "values")[1])
    assert text == json.loads(ask("config", "values", "-o", "json")[1])
    assert text["namespace"] == "data-pipeline"


def test_generate_writes_what_is_asked_for(ask: Ask) -> None:
    code, out, _ = ask("generate", "x.csv", "--rows", "100", "--seed", "7", "-o", "json")
    assert code == 0
    assert json.loads(out)["rows"] == 100
    first = Path("x.csv").read_bytes()
    ask("generate", "y.csv", "--rows", "100", "--seed", "7")
    assert Path("y.csv").read_bytes() == first
    assert Path("x.csv").stat().st_size == json.loads(out)["bytes"]


def test_doctor_tells_the_most_severe(ask: Ask) -> None:
    _sample(security={"pii_fields": ["transaction_id"], "algorithm": "hmac-sha256"})
    code, out, _ = ask("doctor", "--lake", "lake", "-o", "json")
    report = json.loads(out)
    assert code == report["exit_code"] == 2
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["configuration"]["status"] == "ok"
    assert checks["lake"]["status"] == "ok"
    assert checks["key"]["status"] == "fail"
    assert "openssl rand" in checks["key"]["remedy"]
    assert all(check["remedy"] for check in report["checks"] if check["status"] != "ok")
    assert list(Path("lake").iterdir()) == []


def test_doctor_looks_at_the_rest_when_the_configuration_is_wrong(ask: Ask) -> None:
    Path("pipeline_config.yaml").write_text("data_lak: {}\n")
    code, out, _ = ask("doctor", "-o", "json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 2
    assert "did you mean data_lake" in checks["configuration"]["message"]
    assert "polars" in checks["versions"]["message"]


def test_doctor_compares_with_the_chart(ask: Ask) -> None:
    _sample()
    values = {"namespace": "other", "workflow": {"schedule": "0 0 * * *"}, "image": "x"}
    Path("values.yaml").write_text(yaml.safe_dump(values))
    _, out, _ = ask("doctor", "-o", "json", "--values", "values.yaml")
    messages = [c["message"] for c in json.loads(out)["checks"] if c["name"] == "chart"]
    assert messages == [
        "namespace is 'data-pipeline' by the configuration and 'other' in the chart's values"
    ]


def test_an_error_on_the_way_out_does_not_hide_that_we_were_told_to_end(tmp_path: Path) -> None:
    """As when SIGTERM comes just after a file was closed, which is then closed once more."""
    code = (
        "import os, signal, sys\n"
        "from sales_mart import cli; from sales_mart.steps import plan\n"
        "from sales_mart.lake.disk import disk_errors\n"
        "from pathlib import Path\n"
        "def told(*_, **__):\n"
        "    with disk_errors(Path('x')):\n"
        "        try:\n"
        "            os.kill(os.getpid(), int(sys.argv[1]))\n"
        "        finally:\n"
        "            os.close(9999)\n"
        "plan.plan = told\n"
        "sys.exit(cli.main(['plan', '--lake', 'l', '--source', 'x']))\n"
    )
    for number, wanted in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(int(number))],
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == wanted, done.stderr
        assert "could not be written" not in done.stderr


def test_what_fails_out_of_reach_is_told_without_its_words(tmp_path: Path) -> None:
    code = """
import sys, threading
from sales_mart.cli import main
from sales_mart.config import Config

class Odd:
    def __repr__(self):
        return "Canary"
    def __del__(self):
        raise ValueError("Canary")

def broken():
    thread = threading.Thread(target=lambda: int("Canary"))
    thread.start()
    thread.join()
    Odd()
    raise KeyError("Canary")

Config.model_json_schema = staticmethod(broken)
sys.exit(main(["config", "schema", *sys.argv[1:]]))
"""
    for options in ([], ["--log-level", "debug"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *options],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "SALES_MART_ERROR_FILE": str(tmp_path / "reason")},
        )
        said = f"{done.stdout}{done.stderr}{(tmp_path / 'reason').read_text()}"
        assert done.returncode == 1, said
        assert "KeyError" in said
        assert "Canary" not in said
    assert "unexpected ValueError in a thread" in said
    assert "unexpected ValueError on closing" in said
