"""Canaries: identifiers, a key and passwords that no run, whole or broken, may leave anywhere."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import psycopg
import pytest
from backports import zstd
from pydantic import SecretStr, ValidationError

from sales_mart import Config, Transaction, validate
from sales_mart.cli import main
from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.names import QUALITY_HISTORY
from sales_mart.rows.checker import Checker
from sales_mart.rows.tokens import Tokeniser
from sales_mart.servers.local import local_servers
from sales_mart.warehouses.bigquery import connection as bigquery
from secrecy import everything_said, find_in, find_in_files, forms
from support import open_folder
from warehouses import fresh_config

if TYPE_CHECKING:
    from sales_mart.servers.local import LocalServers

KEY = "Canary+key/of-hmac=sha256 é that no file may hold"
ID = "Canary-0815-identifier"
SECRETS = {"the key": KEY, "an identifier": ID}
# One row for each reason, and two that are valid.
ROWS = {
    "valid": f"{ID}-a,Halal Mouse,20.00,1,2023-10-01",
    "comma": f'"{ID},b",Halal Mouse,21.00,2,2023-10-02',
    "duplicate_transaction_id": f" {ID}-a ,Halal Mouse,20.00,1,2023-10-01",
    "missing_product": f"{ID}-c,,20.00,1,2023-10-01",
    "product_prefix": f"{ID}-d,Mouse,20.00,1,2023-10-01",
    "missing_price": f"{ID}-e,Halal Mouse,,1,2023-10-01",
    "price_format": f"{ID}-f,Halal Mouse,2e1,1,2023-10-01",
    "price_decimals": f"{ID}-g,Halal Mouse,20.001,1,2023-10-01",
    "price_too_low": f"{ID}-h,Halal Mouse,1.00,1,2023-10-01",
    "missing_quantity": f"{ID}-i,Halal Mouse,20.00,,2023-10-01",
    "quantity_format": f"{ID}-j,Halal Mouse,20.00,one,2023-10-01",
    "quantity_range": f"{ID}-k,Halal Mouse,20.00,1000,2023-10-01",
    "missing_date": f"{ID}-l,Halal Mouse,20.00,1,",
    "date_format": f"{ID}-m,Halal Mouse,20.00,1,01/10/2023",
    "malformed_row": f"Halal Mouse,20.00,{ID}-n",
    "unbalanced": f'{ID}"-o,Halal Mouse,20.00,1,2023-10-01',
    "nul": f"{ID}-p\0,Halal Mouse,20.00,1,2023-10-01",
    "swapped": f"Halal Mouse,{ID}-q,2023-10-01",
}
HEADER = "transaction_id,product,price,quantity,date"
RULES = {"product_prefix": "Halal", "min_price": 10, "max_quantity": 100}


def csv() -> bytes:
    """Return a file with every kind of row, one that is not UTF-8 among them."""
    text = "\n".join([HEADER, *ROWS.values(), ""]).encode()
    return text + f"{ID}-r\xff,Halal Mouse,20.00,1,2023-10-01\n".encode("latin-1")


def environment(servers: LocalServers, folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which every secret is where it belongs."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("SALES_MART_")}
    data = fresh_config(servers).model_dump(mode="json", by_alias=True)
    warehouse, mart = data["data_warehouse"], data["data_mart"]
    return {
        **clean,
        "PII_HASH_KEY": KEY,
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": servers.postgres_password,
        "SALES_MART_SECURITY__ALGORITHM": "hmac-sha256",
        "SALES_MART_DATA_LAKE__LAKE": str(folder / "lake"),
        "SALES_MART_DATA_LAKE__SOURCE": str(folder / "in" / "*.csv"),
        "SALES_MART_INGESTION__VALIDATION": json.dumps(RULES),
        "SALES_MART_DATA_MART": json.dumps({k: mart[k] for k in ("dataset", "postgres_schema")}),
        "SALES_MART_DATA_WAREHOUSE": json.dumps(
            {
                "project_id": warehouse["project_id"],
                "dataset": warehouse["dataset"],
                "bigquery": {"api_endpoint": servers.bigquery_endpoint},
                "postgres": {
                    **{k: warehouse["postgres"][k] for k in ("host", "port", "dbname", "sslmode")},
                    "password": servers.postgres_password,
                },
            }
        ),
        "SALES_MART_DBT_FOLDER": str(folder / "dbt"),
        "TMPDIR": str(folder / "tmp"),
        **more,
    }


def local_config(servers: LocalServers) -> Config:
    """Return what it takes to ask the local BigQuery server."""
    warehouse = {
        "project_id": "test-project",
        "bigquery": {"api_endpoint": servers.bigquery_endpoint},
    }
    return Config.model_validate({"data_warehouse": warehouse})


def prepare(folder: Path, content: bytes) -> None:
    """Make the folders of a run, and its source."""
    for name in ("in", "tmp"):
        (folder / name).mkdir()
    (folder / "in" / "a.csv").write_bytes(content)


def command(*arguments: str) -> list[str]:
    """Return a command of ours that says all it can."""
    code = "import sys; from sales_mart.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *arguments, "--output", "json", "--log-level", "debug"]


class Child(NamedTuple):
    """What could be seen of a process while it ran."""

    arguments: bytes
    environment: bytes


def seen_children(root: int) -> dict[int, Child]:
    """Look at the descendants of a process, as another process of the same user can."""
    found: dict[int, Child] = {}
    pids = [root]
    for pid in pids:
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            if not arguments:
                continue  # it is about to end
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                pids.extend(map(int, path.read_text().split()))
            found[pid] = Child(arguments, Path(f"/proc/{pid}/environ").read_bytes())
        except OSError:
            continue
    return found


# --- a whole run, and one whose marts fail their tests


class Finished(NamedTuple):
    """A run and a broken one: their folder, what they said, and what could be seen meanwhile."""

    folder: Path
    environ: dict[str, str]
    output: str
    statements: str
    children: list[Child]
    own: Child
    codes: list[int]
    log: bytes


@pytest.fixture(scope="module")
def finished(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run the whole pipeline while PostgreSQL logs every statement; then break the marts."""
    folder = tmp_path_factory.mktemp("finished")
    environ = environment(servers, folder)
    prepare(folder, csv())
    log = servers.folder / "postgres.log"
    before = log.stat().st_size
    assert servers.postgres_url is not None
    admin = psycopg.connect(servers.postgres_url, autocommit=True)
    for setting in ("log_statement = 'all'", "log_min_duration_statement = 0"):
        admin.execute(f"alter system set {setting}".encode())
    admin.execute("select pg_reload_conf()")
    statements: set[str] = set()
    children: dict[int, Child] = {}
    output, codes = "", []
    try:
        for part in (
            ("run", "--run-id", "whole", "--business-date", "2023-10-05"),
            ("break",),
            ("transform", "--run-id", "whole", "--target", "postgres"),
            ("transform", "--run-id", "whole", "--target", "bigquery"),
        ):
            if part == ("break",):
                schema = json.loads(environ["SALES_MART_DATA_WAREHOUSE"])["dataset"]
                # Each row twice, and nothing published: all is built anew, and its tests fail.
                table = f"{schema}.raw_transactions"
                twice = f"insert into {table} select * from {table}"
                nothing = f"delete from {schema}.publications where true"
                admin.execute(twice.encode())
                admin.execute(nothing.encode())
                with bigquery.client(local_config(servers)) as api:
                    for statement in (twice, nothing):
                        bigquery.query(api, statement)
                continue
            process = subprocess.Popen(
                command(*part),
                cwd=folder,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            done = threading.Event()

            def look(pid: int = process.pid, done: threading.Event = done) -> None:
                while not done.wait(0.1):
                    children.update(seen_children(pid))
                    asked = admin.execute("select query, application_name from pg_stat_activity")
                    statements.update(map(str, asked))

            thread = threading.Thread(target=look)
            thread.start()
            said, _ = process.communicate(timeout=250)
            done.set()
            thread.join()
            output += said
            codes.append(process.returncode)
            own = children.pop(process.pid)
    finally:
        admin.execute("alter system reset all")
        admin.execute("select pg_reload_conf()")
        admin.close()
    with log.open("rb") as file:
        file.seek(before)
        logged = file.read()
    return Finished(
        folder, environ, output, "\n".join(statements), [*children.values()], own, codes, logged
    )


@pytest.fixture
def secrets(servers: LocalServers) -> dict[str, str]:
    """Return everything that must not be found."""
    return {**SECRETS, "the password": servers.postgres_password}


def test_the_attack_meets_what_it_is_about(finished: Finished) -> None:
    assert finished.codes == [0, 65, 65], finished.output
    counts = json.loads((finished.folder / "lake/runs/whole/seal.json").read_text())
    reasons = {*ROWS} - {"valid", "comma", "swapped", "unbalanced", "nul"} | {"encoding"}
    assert set(counts["reasons"]) >= reasons
    assert finished.own.environment.count(KEY.encode()) == 1
    assert b"copy " in finished.log
    for target in ("postgres", "bigquery"):
        # What a failing dbt leaves, with its statements: among the files that are searched.
        [kept] = (finished.folder / "dbt").glob(f"sales-mart-dbt-{target}.*/dbt.log")
        assert "create" in kept.read_text()
        assert "Failure in test fact_sales_transaction_id_is_unique" in kept.read_text()
    assert len({child.arguments for child in finished.children}) > 2
    assert "insert into" in finished.statements or "select" in finished.statements


def test_nothing_that_a_run_wrote_or_said_holds_a_secret(
    finished: Finished, servers: LocalServers, secrets: dict[str, str]
) -> None:
    # Lake, quarantine, export, records; what a broken dbt left; the temporary folder.
    kept = [finished.folder / name for name in ("lake", "dbt", "tmp")]
    assert not list((finished.folder / "tmp").iterdir())
    found = find_in_files(kept, secrets)
    found += find_in(finished.output, secrets, "what the commands said")
    found += find_in(finished.log, secrets, "PostgreSQL's log")
    found += find_in(finished.statements, secrets, "pg_stat_activity")
    log = (servers.folder / "bigquery.log").read_bytes()
    assert log
    found += find_in(log, secrets, "BigQuery's log")
    assert not found


def test_the_report_shows_each_reason_with_a_line_and_no_secret(
    finished: Finished, secrets: dict[str, str]
) -> None:
    counts = json.loads((finished.folder / "lake/runs/whole/seal.json").read_text())["reasons"]
    figures = json.loads((finished.folder / "lake/runs/whole/report.json").read_text())
    report = (finished.folder / "lake/export/report.html").read_text()
    assert {each["reason"] for each in figures["rejects"]} == {
        reason for reason, count in counts.items() if count
    }
    for each in figures["rejects"]:
        assert each["lines"]
        assert f"<h3><code>{each['reason']}</code>" in report
        assert f"a.csv</bdi>, line {each['lines'][0]['line']}" in report
    assert find_in(report, secrets, "the report") == []


def test_no_warehouse_holds_a_secret(
    finished: Finished, servers: LocalServers, secrets: dict[str, str]
) -> None:
    names = json.loads(finished.environ["SALES_MART_DATA_WAREHOUSE"])["dataset"]
    mart = json.loads(finished.environ["SALES_MART_DATA_MART"])
    assert servers.postgres_url is not None
    found: list[str] = []
    with psycopg.connect(servers.postgres_url) as admin:
        tables = admin.execute(
            "select format('%%I.%%I', schemaname, tablename) from pg_tables"
            " where schemaname like any (%s)",
            ([f"{names}%", f"{mart['postgres_schema']}%"],),
        ).fetchall()
        assert len(tables) > 7
        assert QUALITY_HISTORY in str(tables)
        for (table,) in tables:
            rows = admin.execute(f"select t::text from {table} as t".encode()).fetchall()
            found += find_in(str(rows), secrets, table)
    with bigquery.client(local_config(servers)) as api:
        jobs = [job for job in api.list_jobs() if names in str(job.to_api_repr())]
        assert len(jobs) > 5
        for job in jobs:
            found += find_in(json.dumps(job.to_api_repr(), default=str), secrets, "a job")
        for dataset in (names, mart["dataset"], f"{mart['dataset']}__next"):
            for table in api.list_tables(dataset):
                rows = [row.values() for row in api.list_rows(table)]
                found += find_in(str(rows), secrets, str(table.reference))
    assert not found


def test_nothing_secret_stands_in_what_others_see_of_a_process(
    finished: Finished, secrets: dict[str, str]
) -> None:
    found = find_in(finished.own.arguments, secrets, "arguments")
    for child in finished.children:
        found += find_in(child.arguments, secrets, "arguments")
        found += find_in(child.environment, secrets, str(child.arguments))
    assert not found


def test_the_local_servers_know_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    monkeypatch.setenv("POSTGRES_PASSWORD", "Canary-password-of-production")
    monkeypatch.setenv("SALES_MART_DATA_WAREHOUSE__POSTGRES__PASSWORD", "Canary-in-a-setting")
    secrets = {
        **SECRETS,
        "the password": "Canary-password-of-production",
        "a setting": "Canary-in-a-setting",
    }
    with open_folder() as folder, local_servers(folder, bigquery=False) as servers:
        secrets["the server's password"] = servers.postgres_password
        own = os.getpid()
        children = seen_children(own)
        ours = {
            pid: each for pid, each in children.items() if str(folder).encode() in each.arguments
        }
        assert len(ours) >= 2
        found = [
            finding
            for pid, each in ours.items()
            if pid != own
            for finding in find_in(b"\n".join(each), secrets, str(each.arguments[:60]))
        ]
        # PostgreSQL would show its environment to whoever may read files through it.
        assert servers.postgres_url is not None
        with psycopg.connect(servers.postgres_url) as admin:
            [(environ,)] = admin.execute(
                "select pg_read_binary_file('/proc/self/environ')"
            ).fetchall()
            found += find_in(bytes(environ), secrets, "pg_read_binary_file")
    assert not found


# --- commands that fail


class Said(NamedTuple):
    """A command's exit code and all that it said."""

    code: int
    text: str


@pytest.fixture
def say(
    servers: LocalServers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Any:
    """Run a command in this process, with every secret in its place."""
    for name, text in environment(servers, tmp_path).items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, csv())

    def run_command(*arguments: str) -> Said:
        code = main([*arguments, "--output", "json", "--log-level", "debug"])
        out, err = capfd.readouterr()
        return Said(code, f"{out}{err}")

    return run_command


def _utf16(text: bytes) -> bytes:
    return text.decode("latin-1").encode("utf-16")


BROKEN_FILES = {
    "no header": (csv().partition(b"\n")[2], 65),
    "only an identifier": (ID.encode(), 65),
    "identifiers as a header": (f"{ID},date,product\n{ID}\n".encode(), 65),
    "a header twice": (f"{HEADER},date\n".encode() + csv(), 65),
    "UTF-16": (_utf16(csv()), 0),
    "gzip cut short": (gzip.compress(csv() * 50)[:-20], 65),
    "gzip damaged": (gzip.compress(csv() * 50)[:150] + b"\0" * 40, 65),
    "zstd cut short": (zstd.compress(csv() * 50)[:-9], 65),
    "lone carriage returns": (csv().replace(b"\n", b"\r"), 65),
    "an unclosed quote": (f'{HEADER}\n"{ID}'.encode() + b"x" * (17 << 20), 0),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_file_that_cannot_be_read_is_not_quoted(
    say: Any, tmp_path: Path, secrets: dict[str, str], name: str
) -> None:
    content, code = BROKEN_FILES[name]
    (tmp_path / "in" / "a.csv").write_bytes(content)
    assert say("plan", "--run-id", "r").code == 0
    said = say("validate", "--run-id", "r")
    assert said.code == code, said.text
    found = find_in(said.text, secrets, name)
    assert not found + find_in_files([tmp_path / "lake", tmp_path / "tmp"], secrets)


def test_a_run_that_is_refused_at_any_step_quotes_nothing(
    say: Any, tmp_path: Path, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = tmp_path / "lake" / "runs" / "r"
    said: list[Said] = []

    def step(*arguments: str, code: int) -> None:
        said.append(say(*arguments, "--run-id", "r"))
        assert said[-1].code == code, said[-1].text

    # Too many rejects; then an object that changes after the plan, and one that is gone.
    with monkeypatch.context() as strict:
        rules = json.dumps({**RULES, "max_reject_share": 0})
        strict.setenv("SALES_MART_INGESTION__VALIDATION", rules)
        step("plan", code=0)
        step("validate", code=0)
        step("seal", code=65)
        (lake / "plan.json").unlink()
    step("plan", code=0)
    (tmp_path / "in" / "a.csv").write_bytes(csv() + f"{ID}-new,a,1,1,x\n".encode())
    step("validate", code=65)
    (tmp_path / "in" / "a.csv").unlink()
    step("validate", code=65)
    (tmp_path / "in" / "a.csv").write_bytes(csv())
    step("validate", code=0)
    # Another key; a key that is too short; none.
    monkeypatch.setenv("PII_HASH_KEY", KEY[:20])
    step("validate", code=2)
    monkeypatch.delenv("PII_HASH_KEY")
    step("validate", code=2)
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    step("seal", code=0)
    # A part that is damaged, a part that is gone, a record that is none.
    part = lake / json.loads((lake / "seal.json").read_text())["valid"][0]["name"]
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    step("load", "postgres", code=65)
    part.unlink()
    step("load", "postgres", code=65)
    part.write_bytes(whole)
    seal = (lake / "seal.json").read_text()
    (lake / "seal.json").write_text(seal.replace('"rows_read": ', f'"rows_read": "{ID}'))
    step("load", "postgres", code=2)
    (lake / "seal.json").write_text(seal)
    # Servers that refuse.
    monkeypatch.setenv("POSTGRES_PASSWORD", secrets["the password"] + "?")
    step("load", "postgres", code=2)
    monkeypatch.setenv("SALES_MART_DATA_WAREHOUSE__POSTGRES__PORT", "1")
    step("load", "postgres", code=75)
    monkeypatch.setenv("SALES_MART_DATA_WAREHOUSE__TARGETS", '["postgres"]')
    step("doctor", code=75)
    texts = "\n".join(each.text for each in said)
    # What a message may well say is that 20 bytes are too few for a key.
    assert not find_in(texts, {**secrets, "a short key": KEY[:20]}, texts)
    assert not find_in_files([tmp_path / "lake", tmp_path / "tmp"], {"the key": KEY})


def test_what_shows_the_configuration_shows_no_secret(
    say: Any, tmp_path: Path, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_MART_DATA_WAREHOUSE__POSTGRES__PASSWORD", secrets["the password"])
    texts = [
        say(*arguments).text
        for arguments in (
            ("config", "show"),
            ("config", "values"),
            ("config", "schema"),
            ("doctor",),
            ("init", "fresh.yaml"),
        )
    ]
    assert all(texts)
    assert not find_in("\n".join(texts), secrets, "\n".join(texts))
    assert not find_in_files([tmp_path / "fresh.yaml"], secrets)


WRONG_FILES = {
    "alias": "data_warehouse: {postgres: {password: *%s}}",
    "tag": "data_warehouse: {postgres: {password: !%s }}",
    "tag handle": "data_warehouse: {postgres: {password: !%s!x }}",
    "section": "data_warehouse: {postgres: %s}",
    "list": "data_warehouse: {postgres: {password: [%s]}}",
    "inner section": "data_warehouse: {postgres: {password: {is: %s}}}",
    "unknown key": "data_warehouse: {postgres: {pasword: %s}}",
    "wrong port": "data_warehouse: {postgres: {password: %s, port: many}}",
    "unclosed": "data_warehouse: {postgres: {password: '%s}}",
    "colon": "data_warehouse:\n  postgres:\n    password: x: %s",
    "URL as host": "data_warehouse: {postgres: {host: 'postgresql://me:%s@server/db'}}",
    "URL as database": "data_warehouse: {postgres: {dbname: 'postgresql://me:%s@server/db'}}",
    "URL as endpoint": "data_warehouse: {bigquery: {api_endpoint: 'http://me:%s@127.0.0.1:1'}}",
    "the key as its file": "security: {algorithm: hmac-sha256, key_file: %s}",
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_secret_in_a_wrong_place_of_the_file_is_not_repeated(
    say: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "Canaryaslongasakeythathasfortyletters123"
    for variable in list(os.environ):
        if variable.startswith(("SALES_MART_DATA_W", "SALES_MART_SEC", "PII_")):
            monkeypatch.delenv(variable)
    (tmp_path / "wrong.yaml").write_text(WRONG_FILES[name].replace("%s", canary))
    for arguments in (("plan", "--run-id", "r"), ("validate", "--run-id", "r"), ("doctor",)):
        said = say(*arguments, "--config", "wrong.yaml")
        # Only `plan` has no use for a key, and so does not look for its file.
        unused = (arguments[0], name) == ("plan", "the key as its file")
        assert said.code == (0 if unused else 2), said.text
        assert not find_in(said.text, {"the canary": canary}, said.text)
        assert "bug" not in said.text


@pytest.mark.parametrize(
    ("variable", "value", "step"),
    [
        ("PII_HASH_KEY", b"\xff" + KEY.encode(), "validate"),
        ("POSTGRES_PASSWORD", b"\xff" + KEY.encode(), "load"),
        ("POSTGRES_USER", b"\xff" + KEY.encode(), "load"),
        ("SALES_MART_DATA_WAREHOUSE__POSTGRES__PASSWORD", b"\xff" + KEY.encode(), "load"),
        ("SALES_MART_SECRETS_DIR", b"", "load"),
    ],
)
def test_a_secret_that_is_no_text_is_refused_and_not_shown(  # noqa: PLR0913 - a table's columns
    say: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: bytes,
    step: str,
) -> None:
    (tmp_path / "password").write_bytes(b"\xff\0" + KEY.encode())
    assert say("plan", "--run-id", "r").code == 0
    if variable.startswith("SALES_MART"):
        monkeypatch.delenv("POSTGRES_PASSWORD")
    monkeypatch.setenv(variable, os.fsdecode(value) or str(tmp_path))
    said = say("validate", "--run-id", "r")
    if step == "load":
        assert said.code == 0, said.text
        assert say("seal", "--run-id", "r").code == 0
        said = say("load", "postgres", "--run-id", "r")
    assert said.code == 2, said.text
    assert not find_in(said.text, SECRETS, said.text)


def test_a_full_disk_quotes_nothing(servers: LocalServers, tmp_path: Path) -> None:
    environ = environment(servers, tmp_path)
    rows = (f"{ID}-{number},Halal Mouse,20.00,1,2023-10-01" for number in range(2000))
    prepare(tmp_path, "\n".join([HEADER, *rows]).encode())

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    plan = command("plan", "--run-id", "r")
    subprocess.run(plan, cwd=tmp_path, env=environ, check=True, capture_output=True)
    done = subprocess.run(
        command("validate", "--run-id", "r"),
        cwd=tmp_path,
        env=environ,
        check=False,
        capture_output=True,
        preexec_fn=small_files,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert b"could not be written" in said
    assert not find_in(said, SECRETS, "stderr")
    assert not find_in_files([tmp_path / "lake", tmp_path / "tmp"], SECRETS)


# --- objects of the library


def test_a_row_that_breaks_a_rule_is_not_in_the_error() -> None:
    config = Config.model_validate({"ingestion": {"validation": RULES}})
    row = dict(zip(HEADER.split(","), (ID, "Halal Mouse", "20.00", "1", "2023-10-01"), strict=True))
    wrong: list[Any] = [
        *({**row, name: f"{ID}!"} for name in row if name != "transaction_id"),
        *({**row, name: value} for name in row for value in (None, [ID], {ID: ID}, ID.encode())),
        *(ID, [ID], ID.encode(), (ID,), {ID}),
    ]
    said: list[str] = []
    for each in wrong:
        try:
            Transaction.model_validate(each, context=config)
        except ValidationError as error:
            said.append(everything_said(error) + error.json() + str(error.errors()))
    assert len(said) > 20
    assert not find_in("\n".join(said), SECRETS, "\n".join(said))


ODD_COLUMNS: dict[str, Any] = {
    "bytes that are no text": [b"\xff" + ID.encode(), b"x"],
    "lists": [[ID], ["x"]],
    "a lone surrogate": pd.Series([f"\udcff{ID}", "x"], dtype=object),
    "objects": pl.Series([object(), ID], dtype=pl.Object),
    "nested": [{"a": [ID]}, {"a": ["x"]}],
    "sets": pd.Series([{ID}, frozenset("x")], dtype=object),
    "arrays": pd.Series([np.array([ID]), np.array(["x"])], dtype=object),
    "a list among texts": pd.Series(["x", [ID]], dtype=object),
}
PANDAS_ONLY = ("a lone surrogate", "sets", "arrays", "a list among texts")
KINDS = ("polars", "lazy", "pyarrow", "pandas")
# An object of Python has a text, if an odd one; Polars looks into none.
ODD_FRAMES = [
    (name, kind)
    for name in ODD_COLUMNS
    for kind in KINDS
    if (kind == "pandas" or name not in PANDAS_ONLY) and (name, kind) != ("objects", "pandas")
]


@pytest.mark.parametrize(("name", "kind"), ODD_FRAMES)
def test_a_frame_that_cannot_be_checked_is_not_quoted(name: str, kind: str) -> None:
    values = ODD_COLUMNS[name]
    rest = {"product": ["Halal Mouse"] * 2, "price": ["20"] * 2, "quantity": [1, 2]}
    rest["date"] = ["2023-10-01"] * 2
    frame: Any
    if kind == "pandas":
        frame = pd.DataFrame({"transaction_id": pd.Series(values, dtype=object), **rest})
    else:
        frame = pl.DataFrame({"transaction_id": pl.Series(values), **rest})
        frame = frame.lazy() if kind == "lazy" else frame
        frame = frame.to_arrow() if kind == "pyarrow" else frame
    with pytest.raises(SourceFormatError, match="the column transaction_id") as caught:
        validate(frame)
    assert caught.value.exit_code == 65
    said = everything_said(caught.value)
    assert not find_in(said, SECRETS, said)
    assert not find_in(pickle.dumps(caught.value), SECRETS, "the error, pickled")


@pytest.mark.parametrize("kind", ["polars", "pyarrow", "pandas"])
def test_a_result_can_be_shown_and_pickled(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    config = Config.model_validate(
        {"ingestion": {"validation": RULES}, "security": {"algorithm": "hmac-sha256"}}
    )
    fields = [line.split(",") for line in ROWS.values() if line.count(",") == 4 and '"' not in line]
    frame: Any = pl.DataFrame(fields, schema=HEADER.split(","), orient="row")
    frame = {"polars": frame, "pyarrow": frame.to_arrow(), "pandas": frame.to_pandas()}[kind]
    result = validate(frame, config)
    assert result.rows_valid > 0
    assert result.rows_rejected > 9
    rejected: Any = result.rejected
    for name, each in (("valid", result.valid), ("rejected", rejected)):
        table: Any = each
        made = pl.from_pandas(table) if kind == "pandas" else pl.DataFrame(table)
        made.write_parquet(tmp_path / f"{name}.parquet")
    assert not find_in_files([tmp_path], SECRETS)
    said = repr(result) + str(result.valid) + str(rejected)
    assert not find_in(said, SECRETS, said)
    assert not find_in(pickle.dumps(result), SECRETS, "the pickled result")


def test_objects_that_hold_a_secret_do_not_show_it() -> None:
    tokens = Tokeniser(SecretStr(KEY))
    settings = {"data_warehouse": {"postgres": {"password": KEY}}}
    config = Config.model_validate(settings)
    checker = Checker(config, tokens)
    lazy = pl.LazyFrame({"transaction_id": ["x"]}).with_columns(tokens.expression("transaction_id"))
    said = [repr(each) + str(each) for each in (tokens, config, checker, config.model_dump())]
    said += [config.model_dump_json(), str(vars(checker)), str(lazy), lazy.explain()]
    assert not find_in("\n".join(said), SECRETS, "\n".join(said))
    # The key would be in the bytes of a tokeniser.
    with pytest.raises(TypeError, match="key"):
        pickle.dumps(tokens)
    for wrong in ({"pasword": KEY}, {"password": [KEY]}, {"port": KEY}, {"user": [KEY]}, KEY):
        with pytest.raises(ConfigurationError) as caught:
            Config.model_validate({"data_warehouse": {"postgres": wrong}})
        assert not find_in(str(caught.value), SECRETS, str(caught.value))


# --- and the tools of this test


@pytest.mark.parametrize("around", ["", "x", "xy", "xyz"])
def test_a_secret_is_found_in_every_form(around: str) -> None:
    import base64
    import urllib.parse

    text = f"{around}{KEY}{around}"
    for data in (
        text.encode(),
        base64.b64encode(text.encode()),
        base64.urlsafe_b64encode(text.encode()),
        text.encode().hex().encode(),
        text.encode("utf-16"),
        urllib.parse.quote(text, safe="").encode(),
        json.dumps(text).encode(),
        pickle.dumps(SecretStr(text)),
    ):
        assert find_in(data, {"the key": KEY}, "here"), data
    assert not find_in(b"Canary", {"the key": KEY}, "here")
    assert len(forms(KEY)) > 8
