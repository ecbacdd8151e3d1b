"""The whole pipeline in one process, on real servers."""

from __future__ import annotations

import csv
import importlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from pictures import FIGURES

from chaos.site import Site
from chaos.story import STORY
from sales_mart.cli import main
from sales_mart.config import Config
from sales_mart.config.file import load_config
from sales_mart.errors import DataError, EmptyInputError, RejectedShareError, TemporaryError
from sales_mart.lake.records import Mode, Transform
from sales_mart.lake.runs import RunFolder
from sales_mart.names import raw_schema
from sales_mart.report.figures import Figures
from sales_mart.steps.pipeline import StepEvent, run, together
from sales_mart.steps.status import summarise
from sales_mart.steps.summary import published_summary
from sales_mart.synthetic.generate import generate, write
from sales_mart.warehouses.bigquery.connection import client
from sales_mart.warehouses.postgres.connection import connect
from support import open_folder, warm_dbt
from targets import Target
from warehouses import fact_table, mart_schema

if TYPE_CHECKING:
    from collections.abc import Generator

    from sales_mart.servers.local import LocalServers

STEPS = (
    *("plan", "validate", "seal", "load-postgres", "load-bigquery", "transform", "reconcile"),
    *("publish", "export"),
)

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
DAY = date(2023, 10, 5)
SUMMARY = [
    ("Halal Keyboard", "2023-10-01", Decimal("249.95"), Decimal("49.99"), 1),
    ("Halal Laptop", "2023-10-01", Decimal("1999.98"), Decimal("999.99"), 1),
    ("Halal Mouse", "2023-10-01", Decimal("249.90"), Decimal("24.99"), 1),
]
RAW_ID = re.compile(rb"T1[0-9]{5}(?![0-9])")


def sample(config: Config, **ingestion: object) -> Config:
    """Return the rules of the sample's configuration on the servers and schemas of `config`."""
    rules = load_config(SAMPLES / "pipeline_config.yaml", environ={}).ingestion
    changed = rules.model_copy(update=ingestion)
    return config.model_copy(update={"ingestion": changed})


def shown(config: Config, target: Target) -> list[tuple[Any, ...]]:
    """Read the published summary of a warehouse."""
    with published_summary(config, target) as (_, rows):
        return [(row[0], str(row[1]), *row[2:]) for row in rows]


# --- the sample


@pytest.mark.parametrize(
    ("trust_input", "valid", "reasons", "outside"),
    [
        (True, 4, {"missing_product": 1}, {"product_prefix": 1}),
        (False, 3, {"missing_product": 1, "product_prefix": 1}, {}),
    ],
)
def test_the_sample_gives_the_same_summary_either_way(  # noqa: PLR0913 - two settings
    config: Config,
    lake: Path,
    *,
    trust_input: bool,
    valid: int,
    reasons: dict[str, int],
    outside: dict[str, int],
) -> None:
    config = sample(config, trust_input=trust_input)
    events: list[StepEvent] = []
    summary = run(
        config,
        str(lake),
        source=str(SAMPLES / "transactions.csv"),
        business_date=DAY,
        progress=events.append,
    )
    rows = summary.rows
    assert rows is not None
    assert (rows.rows_read, rows.rows_valid, rows.rows_rejected) == (5, valid, 5 - valid)
    assert {reason: count for reason, count in rows.reasons.items() if count} == reasons
    assert {reason: count for reason, count in rows.excluded.items() if count} == outside
    assert summary.mode is Mode.REPLACE
    assert summary.done == STEPS == tuple(summary.seconds)
    assert [load.rows for load in summary.loads] == [valid, valid]
    for target in Target:
        assert summary.marts[target][fact_table(target)] == 3
        assert shown(config, target) == SUMMARY
    assert summary.agreement is not None
    assert (summary.agreement.rows, summary.agreement.amount) == (3, Decimal("2499.83"))

    export = lake / "export"
    assert summary.destination == str(export)
    lines = list(csv.reader((export / "summary_sales.csv").read_text().splitlines()))
    columns = ["product", "sale_month", "total_amount", "avg_price", "transaction_count"]
    assert lines == [columns, *([str(cell) for cell in row] for row in SUMMARY)]
    exported = json.loads((export / "summary_sales.json").read_text(), parse_float=Decimal)
    assert exported == [dict(zip(columns, row, strict=True)) for row in SUMMARY]
    assert pq.read_table(export / "summary_sales.parquet").num_rows == 3
    report = (export / "report.html").read_text()
    for text in ("2,499.83", *(name for name, *_ in SUMMARY), *(reason for reason in reasons)):
        assert text in report
    assert "PostgreSQL and BigQuery agree to the cent on 3 days." in report
    if trust_input:
        # What the pictures of the documentation show.
        found = RunFolder(str(lake), summary.run_id).read("report", Figures)
        kept = Figures.model_validate_json(FIGURES.read_bytes())
        own = {"run_id", "lake", "published_at", "config_digest"}
        own |= {"tables", "seconds", "versions", "warnings", "bytes", "key_id", "quality"}
        assert found.model_dump(exclude=own) == kept.model_dump(exclude=own)

    begun = [event.step for event in events if event.state == "begun"]
    ended = [event.step for event in events if event.state == "ended"]
    assert set(begun) == set(ended) == set(STEPS)
    last = {event.step: event.progress for event in events if event.progress is not None}
    size = (SAMPLES / "transactions.csv").stat().st_size
    loads = {f"load-{target}": ("rows", valid, valid, valid) for target in Target}
    counted = {step: each[:4] for step, each in last.items() if step != "transform"}
    assert counted == {"validate": ("bytes", size, size, 5), **loads}
    transform = RunFolder(str(lake), summary.run_id).read("transform", Transform)
    nodes = sum(len(each.nodes) for each in transform.targets)
    assert last["transform"][:3] == ("models and tests", nodes, nodes)
    assert summarise(RunFolder(str(lake), summary.run_id)) == summary


# --- ten thousand generated rows, through the command line


class Generated(NamedTuple):
    """A finished `run --local` over generated rows."""

    folder: Path
    source: Path
    summary: dict[str, Any]
    stderr: str


def command(
    *arguments: object, cwd: Path, secrets: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of ours in a process of its own, where `secrets` is a mounted secret."""
    code = "import sys; from sales_mart.cli import main; sys.exit(main())"
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SALES_MART_", "POSTGRES_", "PII_"))
    }
    if secrets is not None:
        environ["SALES_MART_SECRETS_DIR"] = str(secrets)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environ | warm_dbt(),
    )


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generator[Generated]:
    """Run ten thousand generated rows through `run --local`."""
    with open_folder() as folder:
        yield _generated(tmp_path_factory, folder)


def _generated(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Generated:
    source = tmp_path_factory.mktemp("source") / "transactions.csv"
    rules = load_config(SAMPLES / "pipeline_config.yaml", environ={})
    write(source, generate(10_000, valid_share=0.6, seed=3, config=rules))
    # Credentials of another server, which the local one must not be asked for.
    secrets = tmp_path_factory.mktemp("secrets")
    for name in ("user", "password"):
        (secrets / name).write_text("of production")
    done = command(
        *("run", "--local", "--data-dir", "data", "--source", source, "--shards", 2),
        *("--business-date", DAY, "--run-id", "generated", "--output", "json"),
        *("--config", SAMPLES / "pipeline_config.yaml", "--log-level", "debug"),
        cwd=folder,
        secrets=secrets,
    )
    assert done.returncode == 0, done.stderr
    return Generated(folder, source, json.loads(done.stdout), done.stderr)


def test_generated_rows_are_exact_in_both_warehouses(generated: Generated) -> None:
    summary = generated.summary
    assert summary["marts"]["postgres"]["pg_sales"] == 6000
    assert summary["marts"]["bigquery"]["fact_sales"] == 6000
    assert summary["agreement"]["rows"] == 6000
    rows = summary["rows"]
    assert rows["rows_read"] == rows["rows_valid"] + rows["rows_rejected"] == 10_000
    assert rows["rows_valid"] - rows["rows_excluded"] == 6000


def test_no_raw_identifier_is_in_any_file_of_the_run(generated: Generated) -> None:
    ids = set(RAW_ID.findall(generated.source.read_bytes()))
    assert len(ids) > 8000
    # Everything that the run left: lake, export, records, and the databases with their logs.
    files = [path for path in generated.folder.rglob("*") if path.is_file()]
    assert any(path.name == "plan.json" for path in files)
    assert any("quarantine" in str(path) for path in files)
    for path in files:
        found = ids.intersection(RAW_ID.findall(path.read_bytes()))
        assert not found, f"{path} holds {len(found)} raw identifiers"
    logs = f"{generated.stderr}{json.dumps(generated.summary)}".encode()
    assert ids.isdisjoint(RAW_ID.findall(logs))
    # Parquet is compressed: its columns are looked at as text too.
    for path in generated.folder.rglob("*.parquet"):
        text = str(pq.read_table(path).to_pydict()).encode()
        assert ids.isdisjoint(RAW_ID.findall(text)), path


def test_every_identifier_in_the_clean_files_is_a_token(generated: Generated) -> None:
    valid = generated.folder / "data" / "lake" / "runs" / "generated" / "valid"
    seen = 0
    for path in valid.rglob("*.parquet"):
        for token in pq.read_table(path)["transaction_id"].to_pylist():
            assert re.fullmatch("[0-9a-f]{64}", str(token))
            seen += 1
    assert seen >= generated.summary["rows"]["rows_valid"]


def test_status_tells_the_same_again(generated: Generated) -> None:
    lake = generated.folder / "data" / "lake"
    done = command("status", "generated", "--lake", lake, "-o", "json", cwd=generated.folder)
    assert done.returncode == 0
    assert json.loads(done.stdout) == generated.summary
    text = command("status", "generated", "--lake", lake, cwd=generated.folder).stdout
    for words in (
        "rejected",
        "pg_sales",
        "6,000",
        "Agreement",
        "summary_sales.csv",
        "transform",
    ):
        assert words in text


def test_top_and_a_second_run_find_the_data_again(generated: Generated) -> None:
    common = ("--local", "--data-dir", "data", "--config", SAMPLES / "pipeline_config.yaml")
    answers: list[Any] = []
    for target in Target:
        done = command(
            *("top", "--month", "2023-10", "--limit", 3, "--target", target, "-o", "json"),
            *common,
            cwd=generated.folder,
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout)["products"])
    assert len(answers[0]) == 3
    assert answers[0] == answers[1]


# --- nothing, and what is not acceptable


HEADER = b"transaction_id,product,price,quantity,date\r\n"


@pytest.mark.parametrize("content", [b"", HEADER])
def test_an_empty_input_gives_empty_marts(
    config: Config, lake: Path, tmp_path: Path, content: bytes
) -> None:
    source = tmp_path / "empty.csv"
    source.write_bytes(content)
    summary = run(
        sample(config),
        str(lake),
        source=str(source),
        business_date=DAY,
        allow_empty=not content,
        targets=list(Target) if content else [Target.POSTGRES],
    )
    assert all(count == 0 for marts in summary.marts.values() for count in marts.values())
    assert json.loads((lake / "export" / "summary_sales.json").read_text()) == []
    header = (lake / "export" / "summary_sales.csv").read_text()
    assert header == "product,sale_month,total_amount,avg_price,transaction_count\n"


def test_an_input_that_would_empty_the_marts_changes_nothing(
    config: Config, lake: Path, tmp_path: Path
) -> None:
    """A supplier's dates have another format; an upload broke off; a product has another name."""
    rules = load_config(SAMPLES / "pipeline_config.yaml", environ={}).rules
    trusting = sample(config, trust_input=True, validation=rules)
    settings, place = sample(config), str(lake)
    run(settings, place, source=str(SAMPLES / "transactions.csv"), business_date=DAY)
    before = {target: shown(config, target) for target in Target}
    files = {path: path.read_bytes() for path in (lake / "export").iterdir()}
    for number, (chosen, content) in enumerate(
        (
            (settings, HEADER + b"T1,Halal Mouse,5,1,05.10.2023\nT2,Halal Mouse,5,1,5.10.2023\n"),
            (settings, b""),
            (trusting, HEADER + b"T1,Halaal Mouse,5,1,2023-10-05\n"),
        )
    ):
        source = tmp_path / f"{number}.csv"
        source.write_bytes(content)
        with pytest.raises(EmptyInputError) as caught:
            run(chosen, place, source=str(source), business_date=DAY)
        assert caught.value.exit_code == 65
    assert {target: shown(config, target) for target in Target} == before
    assert {path: path.read_bytes() for path in (lake / "export").iterdir()} == files


def test_too_many_rejects_load_nothing(config: Config, lake: Path) -> None:
    base = sample(config)
    rules = base.rules.model_copy(update={"max_reject_share": 0.1})
    strict = sample(config, validation=rules)
    with pytest.raises(RejectedShareError) as caught:
        run(strict, str(lake), source=str(SAMPLES / "transactions.csv"), business_date=DAY)
    assert caught.value.exit_code == 65
    assert caught.value.details["step"] in ("validate", "seal")
    assert raw_schema(config) not in _schemas(config)
    [place] = (lake / "runs").iterdir()
    assert "load-postgres" not in summarise(RunFolder(str(lake), place.name)).done


def _schemas(config: Config) -> set[str]:
    with connect(config) as connection:
        names = connection.execute("select nspname from pg_namespace").fetchall()
    with client(config) as api:
        return {row[0] for row in names} | {each.dataset_id for each in api.list_datasets()}


def test_a_dry_run_changes_nothing(config: Config, lake: Path) -> None:
    summary = run(
        sample(config),
        str(lake),
        source=str(SAMPLES / "transactions.csv"),
        business_date=DAY,
        dry_run=True,
    )
    assert summary.dry_run
    assert summary.done == ("plan", "validate", "seal")
    assert summary.rows is not None
    assert summary.rows.rows_valid == 4
    assert "compile" in summary.seconds
    assert not lake.exists()
    mine = {raw_schema(config), *(mart_schema(config, target) for target in Target)}
    assert mine.isdisjoint(_schemas(config))


def test_marts_that_cannot_be_read_again_do_not_fail_a_run_that_is_done(
    servers: LocalServers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    site = Site(servers, tmp_path, seed=1, rows=10)

    def away(_: Config, target: Target) -> object:
        msg = f"{target} is away"
        raise TemporaryError(msg)

    importlib.import_module("sales_mart.steps.export")  # which reads the marts, as long as it can
    monkeypatch.setattr("sales_mart.steps.summary.published_summary", away)
    monkeypatch.setattr("sales_mart.cli.run.SMALL", 1_000)
    options = (*site.run_options(STORY[0]), "--target", "postgres")
    assert main(["run", *options, "--config", str(site.config_file)]) == 0
    said = capfd.readouterr()
    assert "Rows" in said.out
    assert "the summary in postgres is published but cannot be shown: postgres is away" in said.err


# --- threads


def test_tasks_run_together_and_the_graver_error_wins(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("sales_mart").propagate = True
    meeting = threading.Barrier(2, timeout=10)

    def fails(error: Exception) -> Any:
        def task() -> None:
            meeting.wait()
            raise error

        return task

    details = {"step": "load-postgres"}
    with pytest.raises(DataError):
        together(
            {
                "a": fails(TemporaryError("later", details=details)),
                "b": fails(DataError("never")),
            }
        )
    assert {line.getMessage() for line in caplog.records} == {"later"}
    assert vars(caplog.records[0])["details"] == details
    assert together({"a": meeting.wait, "b": meeting.wait}).keys() == {"a", "b"}
