"""Step `export`, and `top`, against both warehouses."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg.sql import SQL, Identifier

from published import DESCRIPTIONS, EXPORTS
from sales_mart.errors import ConfigurationError, SupersededError, TemporaryError
from sales_mart.lake.records import Export, Load, Mode, Publish, Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import open_storage
from sales_mart.names import PUBLICATIONS, raw_schema
from sales_mart.steps import export as step
from sales_mart.steps.export import export
from sales_mart.steps.top import top
from sales_mart.warehouses.bigquery.connection import client, query, table_id
from sales_mart.warehouses.bigquery.dialect import literal
from sales_mart.warehouses.postgres.connection import connect
from support import write_input
from targets import Target
from warehouses import mart_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sales_mart.config import Config

Row = tuple[str, str, str, str, int]

SAMPLE: tuple[Row, ...] = (
    ("Halal Mouse", "2023-10-01", "249.90", "24.99", 1),
    ("Halal Keyboard", "2023-10-01", "249.95", "49.99", 1),
    ("Halal Laptop", "2023-10-01", "1999.98", "999.99", 1),
)
SAMPLE_JSON = """\
[
  {"product": "Halal Keyboard", "sale_month": "2023-10-01", "total_amount": 249.95, \
"avg_price": 49.99, "transaction_count": 1},
  {"product": "Halal Laptop", "sale_month": "2023-10-01", "total_amount": 1999.98, \
"avg_price": 999.99, "transaction_count": 1},
  {"product": "Halal Mouse", "sale_month": "2023-10-01", "total_amount": 249.90, \
"avg_price": 24.99, "transaction_count": 1}
]
"""
SAMPLE_CSV = """\
product,sale_month,total_amount,avg_price,transaction_count
Halal Keyboard,2023-10-01,249.95,49.99,1
Halal Laptop,2023-10-01,1999.98,999.99,1
Halal Mouse,2023-10-01,249.90,24.99,1
"""


def in_postgres(config: Config, rows: Sequence[Row], sequences: Sequence[int]) -> None:
    """Put `rows` into the live summary, and publications of `sequences` beside it."""
    mart = Identifier(mart_schema(config, Target.POSTGRES))
    raw = Identifier(raw_schema(config))
    summary = Identifier(mart_schema(config, Target.POSTGRES), "summary_sales")
    publications = Identifier(raw_schema(config), PUBLICATIONS)
    with connect(config) as connection:
        connection.execute(SQL("create schema if not exists {}").format(mart))
        connection.execute(SQL("create schema if not exists {}").format(raw))
        connection.execute(
            SQL(
                "create table if not exists {} (product text, sale_month date,"
                " total_amount numeric(29, 2), avg_price numeric(20, 2), transaction_count bigint)"
            ).format(summary)
        )
        connection.execute(
            SQL(
                "create table if not exists {} (sequence bigint, run_id text,"
                " mart_rules_digest text, mart_rows text, published_at timestamptz default now())"
            ).format(publications)
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                SQL("insert into {} values (%s, %s, %s, %s, %s)").format(summary), rows
            )
        for sequence in sequences:
            connection.execute(
                SQL("insert into {} values (%s, 'a', '', '{{}}')").format(publications),
                (sequence,),
            )
        connection.commit()


def in_bigquery(config: Config, rows: Sequence[Row], sequences: Sequence[int]) -> None:
    """Do the same on BigQuery."""
    summary = table_id(config, mart_schema(config, Target.BIGQUERY), "summary_sales")
    publications = table_id(config, raw_schema(config), PUBLICATIONS)
    with client(config) as connected:
        connected.create_dataset(mart_schema(config, Target.BIGQUERY), exists_ok=True)
        connected.create_dataset(raw_schema(config), exists_ok=True)
        query(
            connected,
            f"create table if not exists `{summary}` (product string, sale_month date,"
            " total_amount numeric, avg_price numeric, transaction_count int64)",
        )
        query(
            connected,
            f"create table if not exists `{publications}` (sequence int64, run_id string,"
            " mart_rules_digest string, mart_rows string, published_at timestamp)",
        )
        values = ", ".join(
            f"({literal(product)}, date '{month}', numeric '{total}', numeric '{mean}', {count})"
            for product, month, total, mean, count in rows
        )
        if rows:
            query(connected, f"insert into `{summary}` values {values}")
        for sequence in sequences:
            query(
                connected,
                f"insert into `{publications}` values ({sequence}, 'a', '', '{{}}',"
                " current_timestamp())",
            )


FILL = {Target.POSTGRES: in_postgres, Target.BIGQUERY: in_bigquery}


def only(config: Config, target: Target) -> Config:
    warehouse = config.data_warehouse.model_copy(update={"targets": (target,)})
    return config.model_copy(update={"data_warehouse": warehouse})


def published(lake: Path | str, target: Target, sequence: int = 1, run_id: str = "a") -> RunFolder:
    """Write the records that the steps of a run up to `publish` would have left."""
    run = RunFolder(str(lake), run_id)
    seal = Seal(
        run_id=run_id,
        rows_read=3,
        rows_valid=3,
        rows_rejected=0,
        reasons={},
        excluded={},
        rows_excluded=0,
        amount=Decimal("2499.83"),
        quantity=17,
        key_id="sha256",
        valid=(),
        quarantine=(),
        business_date=date(2023, 10, 5),
        mode=Mode.REPLACE,
        config_digest="0" * 64,
        sale_dates=(date(2023, 10, 1),),
    )
    write_input(run, seal)
    now = datetime(2023, 10, 6, tzinfo=UTC)
    load = Load(
        run_id=run_id,
        target=target,
        mode=Mode.REPLACE,
        sequence=sequence,
        rows=3,
        window=None,
        seal_digest="0" * 64,
        loaded_at=now,
    )
    run.write(f"load-{target}", load)
    run.write("publish", Publish(run_id=run_id, rows={target: {}}, published_at=now))
    return run


@pytest.fixture(params=list(Target))
def target(request: pytest.FixtureRequest) -> Target:
    return request.param


def exported(config: Config, lake: Path, target: Target, rows: Sequence[Row]) -> dict[str, bytes]:
    """Export a summary of `rows`; gives the bytes of each file but what tells of the run."""
    FILL[target](config, rows, [1])
    record = export(only(config, target), published(lake, target))
    return files_of(record)


def files_of(record: Export) -> dict[str, bytes]:
    """Read the files whose bytes depend on the published marts alone."""
    storage = open_storage(record.destination)
    assert sorted(storage.names()) == sorted((*EXPORTS, *DESCRIPTIONS))
    return {name: storage.read(name) for name in EXPORTS}


def test_the_sample_as_json_csv_and_parquet(config: Config, lake: Path, target: Target) -> None:
    files = exported(config, lake, target, SAMPLE)
    assert files["summary_sales.json"].decode() == SAMPLE_JSON
    assert files["summary_sales.csv"].decode() == SAMPLE_CSV
    table = pq.read_table(io.BytesIO(files["summary_sales.parquet"]))
    assert table.schema.field("total_amount").type == pa.decimal128(29, 2)
    assert table.to_pylist() == [
        {
            "product": product,
            "sale_month": date(2023, 10, 1),
            "total_amount": Decimal(total),
            "avg_price": Decimal(mean),
            "transaction_count": 1,
        }
        for product, _, total, mean, _ in sorted(SAMPLE)
    ]


def test_the_manifest_lists_every_file(config: Config, lake: Path, target: Target) -> None:
    files = exported(config, lake, target, SAMPLE)
    manifest = json.loads(files.pop("manifest.json"))
    assert (manifest["run_id"], manifest["report"]) == ("a", "report.html")
    assert {file["name"]: file for file in manifest["files"]} == {
        name: {
            "name": name,
            "rows": 3,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        for name, data in files.items()
    }


def test_the_record_says_where_and_from_where(config: Config, lake: Path, target: Target) -> None:
    exported(config, lake, target, SAMPLE)
    record = RunFolder(str(lake), "a").read("export", Export)
    assert record.target == target
    assert record.destination == str(lake / "export")
    assert [file.rows for file in record.files] == [3, 3, 3]


def test_an_empty_summary(config: Config, lake: Path, target: Target) -> None:
    files = exported(config, lake, target, [])
    assert files["summary_sales.json"] == b"[]\n"
    assert files["summary_sales.csv"] == SAMPLE_CSV.splitlines(keepends=True)[0].encode()
    assert pq.read_table(io.BytesIO(files["summary_sales.parquet"])).num_rows == 0


def test_both_warehouses_give_the_same_bytes(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "_ROWS", 7)
    rows: list[Row] = [
        (f"Halal {name}", f"20{year}-0{month}-01", f"{year}.{month}0", "0.10", month)
        for name in ("Ölkanne", "Zebra", "apple", "🎉", "Öl", "ﬀ")
        for year in (22, 23)
        for month in (1, 2, 3)
    ]
    one = exported(config, tmp_path / "one", Target.POSTGRES, rows)
    two = exported(config, tmp_path / "two", Target.BIGQUERY, rows)
    assert one == two
    parsed = json.loads(one["summary_sales.json"])
    order = [(found["sale_month"], found["product"]) for found in parsed]
    assert order == sorted((month, product) for product, month, *_ in rows)


def test_again_gives_the_same_bytes(config: Config, lake: Path, target: Target) -> None:
    first = exported(config, lake, target, SAMPLE)
    report = (lake / "export" / "report.html").read_bytes()
    record = export(only(config, target), RunFolder(str(lake), "a"))
    assert files_of(record) == first
    assert (lake / "export" / "report.html").read_bytes() == report


@pytest.mark.parametrize(
    ("product", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@sum(a1)", "'@sum(a1)"),
        ('a "b", c', 'a "b", c'),
        ("two\nlines", "two\nlines"),
    ],
)
def test_no_cell_is_a_formula_and_quoting_is_right(
    config: Config, lake: Path, product: str, cell: str
) -> None:
    files = exported(config, lake, Target.POSTGRES, [(product, "2023-10-01", "1.00", "1.00", 1)])
    text = files["summary_sales.csv"].decode()
    assert list(csv.reader(io.StringIO(text, newline="")))[1][0] == cell
    assert "\r" not in text
    assert json.loads(files["summary_sales.json"])[0]["product"] == product
    table = pq.read_table(io.BytesIO(files["summary_sales.parquet"]))
    assert table["product"].to_pylist() == [product]


FORMULAS = (
    *("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "=HYPERLINK(A1)", '="x"', "'=1", "''@a"),
    *("\uff1d1+1", "\uff0b1", "\uff0d1", "\uff201", "\t=1", "\r=1", "\n=1", "'", "'t Hooft", "''"),
    *("Halal;=1+1", "Halal\t=1+1", "Halal\n=1+1", "Halal\r=1+1", 'Halal";=1', "Halal,=1", "a|=1"),
)


def test_no_program_finds_a_formula_and_every_reader_the_product(
    config: Config, lake: Path
) -> None:
    """Whichever character a spreadsheet splits at; and what was put before can be taken away."""
    rows: list[Row] = [(product, "2023-10-01", "1.00", "1.00", 1) for product in FORMULAS]
    text = exported(config, lake, Target.POSTGRES, rows)["summary_sales.csv"].decode()
    for delimiter in ",;\t":
        for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            for cell in line:
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
                assert not cell.startswith(("\uff1d", "\uff0b", "\uff0d", "\uff20"))
    cells = [line[0] for line in csv.reader(io.StringIO(text, newline=""))][1:]
    behind = re.compile("'+[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
    assert {cell[1:] if behind.match(cell) else cell for cell in cells} == set(FORMULAS)


def test_more_decimals_are_kept(config: Config, lake: Path) -> None:
    with connect(config) as connection:
        mart = mart_schema(config, Target.POSTGRES)
        connection.execute(SQL("create schema {}").format(Identifier(mart)))
        connection.execute(
            SQL(
                "create table {} (product text, sale_month date, total_amount numeric(29, 3),"
                " avg_price numeric(20, 2), transaction_count bigint)"
            ).format(Identifier(mart, "summary_sales"))
        )
        connection.commit()
    rules = config.rules.model_copy(update={"max_decimals": 3})
    ingestion = config.ingestion.model_copy(update={"validation": rules})
    finer = config.model_copy(update={"ingestion": ingestion})
    row: Row = ("Halal Dates", "2023-10-01", "0.125", "0.13", 1)
    files = exported(finer, lake, Target.POSTGRES, [row])
    assert b'"total_amount": 0.125, "avg_price": 0.13' in files["summary_sales.json"]
    assert b",0.125,0.13,1\n" in files["summary_sales.csv"]


def test_a_destination_may_be_given_or_configured(
    config: Config, lake: Path, tmp_path: Path
) -> None:
    in_postgres(config, SAMPLE, [1])
    run = published(lake, Target.POSTGRES)
    mart = config.data_mart.model_copy(update={"export": str(tmp_path / "configured")})
    there = only(config, Target.POSTGRES).model_copy(update={"data_mart": mart})
    assert export(there, run).destination == str(tmp_path / "configured")
    assert export(there, run, str(tmp_path / "given")).destination == str(tmp_path / "given")
    assert sorted(path.name for path in (tmp_path / "given").iterdir()) == sorted(
        (*EXPORTS, *DESCRIPTIONS)
    )


def test_a_bucket_as_destination(config: Config, gcs: str) -> None:
    in_postgres(config, SAMPLE, [1])
    run = published(f"{gcs}/lake", Target.POSTGRES)
    record = export(only(config, Target.POSTGRES), run)
    assert record.destination == f"{gcs}/lake/export"
    assert open_storage(record.destination).read("summary_sales.csv").decode() == SAMPLE_CSV


def test_a_superseded_run_is_not_exported(config: Config, lake: Path, target: Target) -> None:
    FILL[target](config, SAMPLE, [1, 2])
    with pytest.raises(SupersededError, match="superseded"):
        export(only(config, target), published(lake, target))
    assert not (lake / "export").exists()


def test_an_older_publication_is_not_exported(config: Config, lake: Path, target: Target) -> None:
    FILL[target](config, SAMPLE, [1])
    with pytest.raises(ConfigurationError, match="is not published"):
        export(only(config, target), published(lake, target, sequence=2))


def test_nothing_published_is_said(config: Config, lake: Path, target: Target) -> None:
    with pytest.raises(ConfigurationError, match="no summary_sales has been published"):
        export(only(config, target), published(lake, target))
    with pytest.raises(ConfigurationError, match="no summary_sales has been published"):
        top(config, "2023-10", 5, target)


def test_an_older_export_that_is_slow_does_not_end_after_a_newer_one(
    config: Config, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one has read its rows when another run is published, and exported at once."""
    in_postgres(config, SAMPLE[:1], [1])
    older = published(lake, Target.POSTGRES)
    newer = published(lake, Target.POSTGRES, sequence=2, run_id="b")
    only_postgres = only(config, Target.POSTGRES)
    has_read, may_go_on = threading.Event(), threading.Event()
    write: Any = vars(step)["_write"]

    def slow(*arguments: object) -> object:
        count = write(*arguments)
        if not has_read.is_set():
            has_read.set()
            assert may_go_on.wait(60)
        return count

    monkeypatch.setattr(step, "_write", slow)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(export, only_postgres, older)
        assert has_read.wait(60)
        in_postgres(config, SAMPLE[1:], [2])
        second = pool.submit(export, only_postgres, newer)
        done, _ = wait([second], timeout=1)
        may_go_on.set()
        assert not done, "the newer export did not wait for the older one"
        assert (first.result(60).run_id, second.result(60).run_id) == ("a", "b")
    folder = lake / "export"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["run_id"] == "b"
    assert {each["name"]: (each["rows"], each["sha256"]) for each in manifest["files"]} == {
        path.name: (3, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.iterdir()
        if path.name.startswith("summary_sales.")
    }
    assert (folder / "summary_sales.csv").read_text() == SAMPLE_CSV
    assert "Run <code>b</code>" in (folder / "report.html").read_text()
    with pytest.raises(SupersededError):
        export(only_postgres, older)
    assert (folder / "summary_sales.csv").read_text() == SAMPLE_CSV


def test_a_run_is_exported_from_the_warehouse_that_shows_it(config: Config, lake: Path) -> None:
    FILL[Target.POSTGRES](config, SAMPLE, [1])
    record = export(only(config, Target.BIGQUERY), published(lake, Target.POSTGRES))
    assert record.target == Target.POSTGRES
    manifest = json.loads((lake / "export" / "manifest.json").read_bytes())
    assert "postgres" in manifest["warehouses"]


def test_top_gives_the_best_of_the_month(config: Config, target: Target) -> None:
    rows: list[Row] = [
        *SAMPLE,
        ("Halal Apples", "2023-10-01", "249.95", "1.00", 3),
        ("Halal Gold", "2023-11-01", "9999.00", "1.00", 1),
    ]
    FILL[target](config, rows, [1])
    found = top(config, "2023-10", 3, target)
    assert [(best["product"], str(best["total_amount"])) for best in found] == [
        ("Halal Laptop", "1999.98"),
        ("Halal Apples", "249.95"),
        ("Halal Keyboard", "249.95"),
    ]
    assert found[0] == {
        "product": "Halal Laptop",
        "sale_month": date(2023, 10, 1),
        "total_amount": Decimal("1999.98"),
        "avg_price": Decimal("999.99"),
        "transaction_count": 1,
    }
    assert top(config, "2024-01", 3, target) == []


@pytest.mark.parametrize(
    "month", ["", "2023", "2023-13", "2023-10-01", "0000-01", "23-10", "x" * 99]
)
def test_top_refuses_what_is_not_a_month(month: str) -> None:
    from sales_mart.config import Config as Configuration

    with pytest.raises(ConfigurationError, match="is not a month") as caught:
        top(Configuration(), month, 5, Target.POSTGRES)
    assert "YYYY-MM" in caught.value.remedy


@pytest.mark.parametrize("limit", [0, 1_000_001, 10**20])
def test_top_refuses_a_limit_that_is_none(limit: int) -> None:
    from sales_mart.config import Config as Configuration

    with pytest.raises(ConfigurationError, match="must be from 1 to 1,000,000"):
        top(Configuration(), "2023-10", limit, Target.POSTGRES)


def test_a_connection_that_breaks_while_rows_stream_is_temporary(
    config: Config, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests
    from google.cloud.bigquery.table import RowIterator

    in_bigquery(config, SAMPLE, [1])

    original: Any = RowIterator.__iter__
    calls: list[object] = []

    def breaking(self: object) -> Any:
        calls.append(self)
        if len(calls) > 2:
            raise requests.ConnectionError
        return original(self)

    monkeypatch.setattr(RowIterator, "__iter__", breaking)
    with pytest.raises(TemporaryError, match="does not answer"):
        export(only(config, Target.BIGQUERY), published(lake, Target.BIGQUERY))
