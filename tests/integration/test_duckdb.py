"""DuckDB: two files, written by one process at a time; what the conformance suite can't ask."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import duckdb
import pytest

from conformance.subject import D1, D2, Subject
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.lake.records import Mode
from sales_mart.steps.pipeline import run
from sales_mart.steps.summary import published_summary
from sales_mart.steps.transform import transform_sql
from sales_mart.steps.verify import verify
from sales_mart.synthetic.generate import generate, write
from support import row

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.warehouses.duckdb import DuckDB

BOTH = ("postgres", "duckdb")


@pytest.fixture
def subject(config: Config, lake: Path) -> Subject:
    return Subject("duckdb", config, lake)


def files(subject: Subject) -> DuckDB:
    return cast("DuckDB", subject.warehouse)


def test_days_end_as_they_do_on_postgresql(config: Config, lake: Path, tmp_path: Path) -> None:
    """`reconcile` has compared each row by then; the means are compared here."""
    first = date(2023, 10, 30)
    for seed in range(2):
        day = first + timedelta(days=seed)
        rows = generate(
            60, seed=seed, valid_share=0.9, start=day, days=3, products=3, config=config
        )
        write(tmp_path / f"{day}.csv", rows)
        done = run(
            config,
            str(lake),
            business_date=day,
            source=str(tmp_path / "{date}.csv"),
            mode=Mode.APPEND,
            targets=BOTH,
        )
        assert done.agreement is not None
        assert done.agreement.targets == BOTH
    summaries: list[list[object]] = []
    for target in BOTH:
        with published_summary(config, target) as (sequence, found):
            assert sequence == 2
            summaries.append(list(found))
    assert summaries[0] == summaries[1]
    checked = verify(config, BOTH, lake=str(lake))
    assert [each for each in checked.checks if each.status != "ok"] == []


@pytest.mark.parametrize(
    ("total", "count", "decimals", "expected"),
    [
        ("4999999.99", "1000000000", 2, "0.00"),  # as a double it may be half a cent
        ("30.75", "2", 2, "15.38"),
        ("-30.75", "2", 2, "-15.38"),
        ("10.00", "3", 2, "3.33"),
        ("0.00", "3", 2, "0.00"),
        ("999999999999999999", "1", 0, "999999999999999999.00"),
        ("1999999999999999999", "2", 0, "999999999999999999.50"),
        ("99999999999999999999.999999999", "100000000001", 9, "999999999.99"),
        ("2999999999.999999997", "3", 9, "1000000000.00"),
    ],
)
def test_a_mean_is_exact(
    config: Config, total: str, count: str, decimals: int, expected: str
) -> None:
    rules = config.rules.model_copy(update={"max_decimals": decimals})
    ingestion = config.ingestion.model_copy(update={"validation": rules})
    model = _summary(config.model_copy(update={"ingestion": ingestion}))
    (mean,) = re.findall(r"sale_month,\s+total_amount,\s+(.*)\s+as avg_price", model, re.DOTALL)
    exact = mean.replace("total_price", f"cast('{total}' as decimal(29, {decimals}))")
    exact = exact.replace("transaction_count", count)
    assert str(duckdb.execute(f"select {exact}").fetchall()[0][0]) == expected


_MODELS: dict[int, str] = {}


def _summary(config: Config) -> str:
    decimals = config.rules.max_decimals
    if decimals not in _MODELS:
        _MODELS[decimals] = transform_sql(config, "duckdb")["summary_sales"]
    return _MODELS[decimals]


READER = """
import duckdb
connection = duckdb.connect({path!r}, read_only=True)
for _ in range(2):
    print(connection.sql("select count(*) from {table}").fetchall()[0][0], flush=True)
    input()
"""


def test_a_reader_finishes_on_the_file_that_it_opened(subject: Subject) -> None:
    subject.published("a", [row("T1", D1)])
    table = f"{subject.warehouse.mart_schema}.fact_sales"
    path = str(files(subject).path)
    code = READER.format(path=path, table=table)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "1\n"
        subject.published("b", [row("T1", D1), row("T2", D2)])
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "1\n"
        reader.communicate("\n")
    with duckdb.connect(path, read_only=True) as again:
        assert again.execute(f"select count(*) from {table}").fetchall() == [(2,)]
        subject.contents()
    with (
        duckdb.connect(path),
        pytest.raises(ConfigurationError, match="open in this process"),
    ):
        subject.contents()


def test_a_publication_that_is_killed_changes_nothing(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.published("a", [row("T1", D1)])
    before = files(subject).path.read_bytes()
    built = subject.loaded("b", [row("T2", D2)])

    def killed(_: Path, target: object) -> Path:
        raise KeyboardInterrupt(target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            subject.publish(built)
    assert files(subject).path.read_bytes() == before
    left = files(subject).path.with_name(f".{files(subject).path.name}.next")
    left.write_bytes(b"what a kill left")
    subject.publish(built)
    assert subject.contents() == subject.rebuilt()
    assert not left.exists()


def test_a_file_that_another_process_has_open_is_waited_for(subject: Subject) -> None:
    subject.replace("a", [row("T1", D1)])
    path = str(files(subject).work)
    code = f"import duckdb; c = duckdb.connect({path!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        warehouse = subject.config.data_warehouse.model_copy(update={"lock_timeout": 1})
        config = subject.config.model_copy(update={"data_warehouse": warehouse})
        with pytest.raises(TemporaryError, match="another run holds the lock"):
            Subject("duckdb", config, subject.lake).append("b", D2, [row("T2", D2)])
        other.communicate(b"\n")
    assert subject.append("b", D2, [row("T2", D2)]).sequence == 2
