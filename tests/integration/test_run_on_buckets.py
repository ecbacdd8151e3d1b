"""A whole run whose source, lake and export are in a bucket: killed, and without rights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import polars as pl
import pytest
import yaml

from attempts import attempt
from faulty import Fault, Http, http
from sales_mart.config import Config
from sales_mart.config.keys import keys
from sales_mart.lake.records import Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import open_storage
from sales_mart.steps import doctor
from sales_mart.steps.export import export
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard
from sales_mart.synthetic.generate import generate, write
from support import warm_dbt

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from conftest import Place

DAY = date(2023, 10, 1)
FILES = [f"summary_sales.{kind}" for kind in ("json", "csv", "parquet")]
STEPS = {
    "plan": r"a/plan\.json",
    "validate": r"a/validate-00000\.json",
    "seal": r"a/seal\.json",
    "load duckdb": r"a/load-duckdb\.json",
    "transform": r"a/transform\.json",
    "reconcile": r"a/reconcile\.json",
    "publish": r"a/publish\.json",
    "export": r"summary_sales\.csv",
}
"""The steps of a run, each with the object before which it is killed."""


def settings(folder: Path, place: str, duckdb: str) -> dict[str, Any]:
    return {
        "data_warehouse": {"targets": ["duckdb"], "duckdb": {"path": str(folder / duckdb)}},
        "data_lake": {"source": f"{place}/in/*.csv", "lake": f"{place}/lake"},
        "data_mart": {"export": f"{place}/out"},
        "security": {"algorithm": "sha256"},
    }


@pytest.fixture
def source(tmp_path: Path) -> bytes:
    path = tmp_path / "disk" / "in" / "a.csv"
    path.parent.mkdir(parents=True)
    write(path, generate(300, seed=7, valid_share=0.9, start=DAY, days=40, products=5))
    return path.read_bytes()


FORKS = """
import os, sys
from sales_mart import __main__, cli
import duckdb, obstore, pyarrow.parquet
from sales_mart.steps import export, pipeline, plan, seal, validate

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.setsid()
        sys.argv = ["sales-mart", *line.split()]
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        code = 70
        try:
            code = __main__.main()
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs commands one after the other, each in a process of its own that need not import anything."""


class Commands:
    """Processes of the command line, one after the other."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(self, command: str) -> int:
        """Start a command, and give its process."""
        assert self._server.stdin
        self._server.stdin.write(f"{command}\n")
        self._server.stdin.flush()
        return self._said()

    def end(self) -> int:
        """Give the exit code of the command, or the number of its signal, less than 0."""
        return self._said()

    def _said(self) -> int:
        assert self._server.stdout
        return int(self._server.stdout.readline())


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_a_run_that_is_killed_in_each_step_ends_as_one_on_a_disk(
    place: Place, source: bytes, tmp_path: Path
) -> None:
    open_storage(f"{place.uri}/in").write("a.csv", source)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings(tmp_path, place.uri, "bucket.duckdb")))
    with (
        http(place.url) as proxy,
        subprocess.Popen(
            [sys.executable, "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **warm_dbt(), **place.store.environment(proxy.url)},
        ) as server,
    ):
        commands = Commands(server)
        for step, at in STEPS.items():
            command = f"{step} --run-id a --config {file}"
            if step == "plan":
                command += f" --business-date {DAY}"
            proxy.fault(Fault("mute", "PUT", at))
            killed_at(proxy, commands.start(command))
            assert commands.end() == -signal.SIGKILL, step
            proxy.heal()
            commands.start(command)
            assert commands.end() == 0, step
        assert server.stdin
        server.stdin.close()

    config = Config.model_validate(settings(tmp_path, place.uri, "bucket.duckdb"))
    on_disk = sealed_on_a_disk(config, tmp_path / "disk")
    there = RunFolder(f"{place.uri}/lake", "a")
    assert [each.height for each in rows(there)] == [270, 30]
    assert [each.equals(other) for each, other in zip(rows(there), rows(on_disk), strict=True)] == [
        True,
        True,
    ]
    export(config, there, str(tmp_path / "out"))
    exported = open_storage(f"{place.uri}/out")
    assert {"manifest.json", *FILES} <= {*exported.names()}
    for name in FILES:
        assert exported.read(name) == (tmp_path / "out" / name).read_bytes()


def sealed_on_a_disk(config: Config, folder: Path) -> RunFolder:
    """Plan, validate and seal where source and lake are on a disk."""
    lake = str(folder / "lake")
    plan(config, lake, business_date=DAY, source=str(folder / "in" / "*.csv"), run_id="a")
    made = RunFolder(lake, "a")
    validate_shard(config, made, 0)
    seal(config, made)
    return made


def rows(run: RunFolder) -> list[pl.DataFrame]:
    """Give the valid and the rejected rows of a run, but not where their files lie."""
    sealed = run.read("seal", Seal)
    return [
        pl.concat(pl.read_parquet(run.lake.read(run.name(part.name))) for part in parts).drop(
            "source_file", "source_uri", strict=False
        )
        for parts in (sealed.valid, sealed.quarantine)
    ]


def killed_at(proxy: Http, process: int) -> None:
    """Let a process come to a request that never gets there, or to its end, and kill it."""
    struck = proxy.struck
    deadline = time.monotonic() + 120
    while proxy.struck == struck and Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


# --- rights


@contextmanager
def account(place: Place, *actions: str) -> Generator[dict[str, str]]:
    """Give the keys of an account that may do so much, on a server that asks for rights."""
    iam: Any = boto3.client(
        "iam",
        endpoint_url=place.url,
        region_name="us-east-1",
        aws_access_key_id="someone",
        aws_secret_access_key="not-a-secret",
    )
    name = place.uri.rpartition("/")[2]
    iam.create_user(UserName=name)
    if actions:
        allowed = [{"Effect": "Allow", "Action": [*actions], "Resource": "*"}]
        policy = {"Version": "2012-10-17", "Statement": allowed}
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    ask_for_rights(place, after=0)
    try:
        yield {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }
    finally:
        ask_for_rights(place, after=float("inf"))


def ask_for_rights(place: Place, after: float) -> None:
    """Let the server ask for rights after so many requests."""
    url = f"{place.url}/moto-api/reset-auth"
    kind = {"Content-Type": "text/plain"}
    asking = urllib.request.Request(url, str(after).encode(), kind)  # noqa: S310 - ours
    urllib.request.urlopen(asking, timeout=30).close()  # noqa: S310 - ours


@pytest.mark.parametrize("place", ["s3"], indirect=True)
@pytest.mark.parametrize("actions", [(), ("s3:ListBucket", "s3:GetObject")])
def test_a_bucket_without_rights(
    place: Place,
    source: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    actions: tuple[str, ...],
) -> None:
    reads = bool(actions)
    open_storage(f"{place.uri}/in").write("a.csv", source)
    config = Config.model_validate(settings(tmp_path, place.uri, "bucket.duckdb"))
    lake = f"{place.uri}/lake"
    with account(place, *actions) as secrets:
        for name, value in secrets.items():
            monkeypatch.setenv(name, value)
        ended = attempt(lambda: plan(config, lake, business_date=DAY))
        assert (ended.code, "HTTP 403 (AccessDenied)" in ended.said) == (2, True)
        assert ("lake/runs" in ended.said) == reads
        origins = {key.dotted: "command line" for key in keys().values()}
        found = doctor.examine(lambda: (config, origins), str(DAY))
        status = {each.name: (each.status, each.exit_code) for each in found.checks}
        assert status["lake"] == ("fail", 2)
        assert (status["source"] == ("ok", 0)) == reads
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        ended = attempt(lambda: plan(config, lake, business_date=DAY))
        assert (ended.code, "HTTP 403 (InvalidAccessKeyId)" in ended.said) == (2, True)
        for each in (*secrets.values(), "Signature"):
            assert each not in ended.said


# --- who asks


@pytest.fixture
def alone(
    new_place: Callable[[str], Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """Return a bucket, and leave nothing that says who asks for it, or where it is."""
    place = new_place("s3")
    for name in place.store.environment(place.url):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(f"{place.store.client}.RETRY_SECONDS", 1.0)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        f"[default]\nendpoint_url = {place.url}\nregion = eu-central-1\n"
        f"[profile keys]\nendpoint_url = {place.url}\n"
        "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = keys\n"
    )
    (tmp_path / ".aws" / "credentials").write_text(
        "[keys]\naws_access_key_id = a\naws_secret_access_key = s%cret\n"
    )
    return place.uri


def test_a_profile_says_who_asks_and_where(alone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "keys")
    open_storage(alone).write("a", b"one")
    assert open_storage(alone).read("a") == b"one"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("role", "aws configure export-credentials"),
        ("other", "aws configure list-profiles"),
        ("", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_no_credentials_are_a_matter_of_configuration(
    alone: str, monkeypatch: pytest.MonkeyPatch, profile: str, said: str
) -> None:
    monkeypatch.setenv("AWS_PROFILE", profile)
    # Where a machine would be asked whose account it runs under.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    ended = attempt(lambda: open_storage(alone).read("a"))
    assert ended.code == 2
    assert said in ended.said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        # A secret that is made of a file, as `kubectl create secret --from-file` does it.
        ({"AWS_ACCESS_KEY_ID": "k3y\n"}, "AWS_ACCESS_KEY_ID begins or ends with a space"),
        ({"AWS_SECRET_ACCESS_KEY": "k3y\n"}, "AWS_SECRET_ACCESS_KEY begins or ends with a space"),
        ({"AWS_ENDPOINT_URL_S3": "k3y.example:9000"}, "Correct AWS_ENDPOINT_URL_S3"),
        ({"AWS_ENDPOINT_URL_S3": "http://k3y example"}, "Check the variables that begin with AWS_"),
        ({"AWS_SKIP_SIGNATURE": "k3y"}, "Check the variables that begin with AWS_"),
        (
            {"AWS_SECRET_ACCESS_KEY": ""},
            "Check the variables that begin with AWS_",
        ),
    ],
)
def test_settings_that_no_request_can_be_made_with(
    alone: str, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], said: str
) -> None:
    usual = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in {**usual, **settings}.items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    ended = attempt(lambda: open_storage(alone).read("a"))
    assert ended.code == 2
    assert said in ended.said
    assert "k3y" not in ended.said


def test_a_token_that_is_not_there_is_no_usable_credential(
    alone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")
    ended = attempt(lambda: open_storage(alone).read("a"))
    assert ended.code == 2
    assert "no usable credentials" in ended.said


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_no_variable_lets_two_create_one_object(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("disabled", "dynamo:table"):
        monkeypatch.setenv("AWS_CONDITIONAL_PUT", value)
        open_storage(bucket).write(value, b"one", create=True)
        with pytest.raises(FileExistsError):
            open_storage(bucket).write(value, b"two", create=True)


def test_a_file_of_profiles_that_cannot_be_read_is_not_quoted(alone: str, tmp_path: Path) -> None:
    (tmp_path / ".aws" / "credentials").write_text("s3cret without a section\n")
    ended = attempt(lambda: open_storage(alone))
    assert ended.code == 2
    assert ".aws/credentials cannot be read" in ended.said
    assert "s3cret" not in ended.said


@pytest.mark.parametrize("fault", [Fault(301), Fault(400, reason="AuthorizationHeaderMalformed")])
def test_a_bucket_of_another_region_names_the_variable(
    new_place: Callable[[str], Place], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    place = new_place("s3")
    with http(place.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        proxy.fault(fault)
        ended = attempt(lambda: open_storage(place.uri).read("a"))
    assert ended.code == 2
    assert "AWS_REGION" in ended.said


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (Fault(409, "PUT"), 2, "may not be replaced"),
        (Fault("double", "GET"), 75, "another length"),
    ],
)
def test_an_answer_that_should_not_be(
    new_place: Callable[[str], Place],
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    code: int,
    said: str,
) -> None:
    place = new_place("s3")
    monkeypatch.setattr(f"{place.store.client}.RETRY_SECONDS", 1.0)
    open_storage(place.uri).write("a", b"one")

    def replace() -> None:
        with open_storage(place.uri).local("a") as path:
            open_storage(place.uri).put("a", path)

    with http(place.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        proxy.fault(fault)
        ended = attempt(replace)
    assert (ended.code, said in ended.said) == (code, True)


def test_the_name_of_an_object_is_not_taken_for_what_happened(
    new_place: Callable[[str], Place],
) -> None:
    storage = open_storage(new_place("s3").uri)
    for name in ("AssumeRole", "latest/meta-data/169.254.170.2", "token file", "Received redirect"):
        with pytest.raises(FileNotFoundError):
            storage.read(name)
