"""Step `publish` against a server that speaks BigQuery's API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from google.cloud import bigquery

from append_story import D1, D2
from sales_mart.config.file import load_config
from sales_mart.errors import MartsChangedError
from sales_mart.lake.records import Mode
from sales_mart.names import PRODUCT_MONTHS, PUBLICATIONS, PUBLISHED_SLICES, raw_schema
from sales_mart.warehouses.bigquery import BigQuery
from sales_mart.warehouses.bigquery.connection import (
    Client,
    built_tables,
    client,
    query,
    table_id,
)
from sales_mart.warehouses.bigquery.load import load
from sales_mart.warehouses.bigquery.reader import BigQuerySession
from sales_mart.warehouses.history import latest_publication, pending_window
from sales_mart.warehouses.windows import Window, window_months, within
from support import Row, row, sealed_run
from targets import Target
from warehouses import mart_schema, next_schema, publish_marts, published_tables

NUMBER_BYTES = {"DATE": 8, "DATETIME": 8, "INTEGER": 8, "NUMERIC": 16}
"""Logical bytes that BigQuery bills a value of a type."""
TEXT_BYTES = 2
"""What it bills a text besides its UTF-8."""
TEN_MEGABYTES = 10_000_000

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

D3 = "2023-11-03"
BQ = Target.BIGQUERY

SUMS = """
    sum(price * quantity) as total_amount,
    cast(sum(quantity) as int64) as total_quantity,
    count(*) as transaction_count
"""
MEAN = "max(price) as avg_price"
TOTAL_PRICE = "sum(price) as total_price"
MONTH = "cast(date_trunc(sale_date, month) as date)"
# What dbt builds, reduced to what publishing cares about: grain, columns, and only the window.
MODELS = {
    "fact_sales": """
        select transaction_id, product, price, quantity, price * quantity as amount, sale_date
        from `{raw}` where {days}
    """,
    "sales_by_date": f"""
        select sale_date, {SUMS}, {MEAN} from `{{raw}}` where {{days}} group by sale_date
    """,
    "sales_by_product": f"select product, {SUMS}, {MEAN} from `{{raw}}` group by product",
    "summary_sales": f"""
        select product, {MONTH} as sale_month, {SUMS}, {MEAN}
        from `{{raw}}` where {{months}} group by 1, 2
    """,
    PRODUCT_MONTHS: f"""
        select product, {MONTH} as sale_month, {SUMS}, {TOTAL_PRICE}
        from `{{raw}}` where {{months}} group by 1, 2
    """,
}


class Built(NamedTuple):
    """A run that is loaded and transformed, but not published."""

    run: RunFolder
    sequence: int
    window: Window


@pytest.fixture
def connected(config: Config) -> Generator[Client]:
    with client(config) as opened:
        yield opened


def build(connected: Client, config: Config, run: RunFolder, *, full: bool = False) -> Built:
    """Build the next tables of the pending window, or of everything, as `transform` does."""
    sequence, window = pending_window(BigQuerySession(connected, config))
    window = None if full else window
    raw = table_id(config, raw_schema(config), config.data_warehouse.table)
    days = months = "true"
    if window is not None:
        days = within(window, "sale_date")
        months = within(window_months(window), MONTH)
    connected.create_dataset(next_schema(config, BQ), exists_ok=True)
    for name, model in MODELS.items():
        select = model.format(raw=raw, days=days, months=months)
        place = table_id(config, next_schema(config, BQ), name)
        query(connected, f"create or replace table `{place}` as {select}")
    return Built(run, sequence, window)


def loaded(  # noqa: PLR0913 - a test's story
    connected: Client,
    config: Config,
    lake: Path,
    run_id: str,
    rows: Sequence[Row],
    *,
    day: str = D1,
    mode: Mode = Mode.REPLACE,
) -> Built:
    run = sealed_run(config, lake, run_id, rows, business_date=day, mode=mode)
    load(config, run)
    return build(connected, config, run)


def show(config: Config, built: Built) -> dict[str, int]:
    with client(config) as connected:
        marks = built_tables(connected, BigQuery(config))
    return publish_marts(config, BQ, built.run, built.window, built.sequence, marks).rows


def contents(connected: Client, config: Config) -> dict[str, set[tuple[Any, ...]]]:
    """Read all published tables."""
    return {
        name: {
            found.values()
            for found in query(connected, f"select * from `{table_id(config, dataset, name)}`")
        }
        for name, (dataset, _) in published_tables(config, BQ).items()
    }


def rebuilt(connected: Client, config: Config) -> dict[str, set[tuple[Any, ...]]]:
    """Compute every mart from the raw table at once."""
    raw = table_id(config, raw_schema(config), config.data_warehouse.table)
    return {
        name: {
            found.values()
            for found in query(connected, model.format(raw=raw, days="true", months="true"))
        }
        for name, model in MODELS.items()
    }


def test_the_live_tables_are_partitioned_and_clustered(
    config: Config, lake: Path, connected: Client
) -> None:
    show(config, loaded(connected, config, lake, "a", [row("T1", D1)]))
    found: dict[str, tuple[str | None, str | None, list[str] | None]] = {}
    for name, (dataset, _) in published_tables(config, BQ).items():
        table = connected.get_table(table_id(config, dataset, name))
        by = table.time_partitioning
        found[name] = (by and by.type_, by and by.field, table.clustering_fields)
    assert found == {
        "fact_sales": ("DAY", "sale_date", ["product"]),
        "sales_by_date": (None, None, ["sale_date"]),
        "sales_by_product": (None, None, None),
        "summary_sales": ("MONTH", "sale_month", None),
        PRODUCT_MONTHS: ("MONTH", "sale_month", None),
    }


def test_a_months_report_over_ten_million_rows_reads_under_ten_megabytes(
    config: Config, lake: Path, connected: Client
) -> None:
    show(config, loaded(connected, config, lake, "a", [row("T1", D1)]))
    summary = connected.get_table(
        table_id(config, mart_schema(config, Target.BIGQUERY), "summary_sales")
    )
    assert summary.time_partitioning is not None
    assert summary.time_partitioning.field == "sale_month"
    fixed = sum(
        NUMBER_BYTES[field.field_type] for field in summary.schema if field.name != "product"
    )
    # A hundred sales of a product in a month are 100,000 products: ten million rows in that month.
    month = 100_000 * (fixed + TEXT_BYTES + len("Halal Keyboard 99999"))
    assert month < TEN_MEGABYTES < 12 * month


@pytest.mark.skipif(
    "SALES_MART_TEST_CONFIG" not in os.environ,
    reason="SALES_MART_TEST_CONFIG names no configuration of a real Google Cloud project",
)
def test_the_real_server_says_the_same_of_a_months_report() -> None:
    real = load_config(os.environ["SALES_MART_TEST_CONFIG"])
    name = table_id(real, mart_schema(real, Target.BIGQUERY), "summary_sales")
    with client(real) as server:
        job = server.query(
            f"select * from `{name}` where sale_month = date '2023-10-01'",
            bigquery.QueryJobConfig(dry_run=True),
        )
    assert job.total_bytes_processed is not None
    assert job.total_bytes_processed < TEN_MEGABYTES


def test_an_edit_is_found_though_version_0_1_recorded_nothing(
    config: Config, lake: Path, connected: Client
) -> None:
    first = [row("T1", D1), row("T2", D3, "5.00", 2)]
    show(config, loaded(connected, config, lake, "a", first, mode=Mode.APPEND))
    raw = raw_schema(config)
    publications = table_id(config, raw, PUBLICATIONS)
    fields = "run_id, sequence, mart_rules_digest, mart_rows, published_at"
    query(connected, f"create table `{publications}_old` as select {fields} from `{publications}`")
    connected.delete_table(publications)
    query(connected, f"create table `{publications}` as select * from `{publications}_old`")
    connected.delete_table(table_id(config, raw, PUBLISHED_SLICES))

    by_date = table_id(config, mart_schema(config, BQ), "sales_by_date")
    edit = (
        f"update `{by_date}` set total_amount = total_amount + {{}} where sale_date = date '{D3}'"
    )
    query(connected, edit.format(1))
    built = loaded(connected, config, lake, "b", [row("T3", D2)], day=D2, mode=Mode.APPEND)
    before = contents(connected, config)
    with pytest.raises(MartsChangedError, match=r"sales_by_date has .* 11.00.* for 2023-11-03"):
        show(config, built)
    assert contents(connected, config) == before
    query(connected, edit.format(-1))
    show(config, built)
    assert contents(connected, config) == rebuilt(connected, config)
    assert latest_publication(BigQuerySession(connected, config)) is not None

    # Recorded by now, so that the marts need no other to be compared with.
    query(connected, f"update `{by_date}` set avg_price = 1 where sale_date = date '{D1}'")
    built = loaded(connected, config, lake, "c", [row("T4", D3)], day=D3, mode=Mode.APPEND)
    with pytest.raises(MartsChangedError, match=r"sales_by_date has other values .* 2023-10-01"):
        show(config, built)
    built = build(connected, config, built.run, full=True)
    marks = built_tables(connected, BigQuery(config))
    for _ in range(2):
        publish_marts(config, BQ, built.run, None, built.sequence, marks, full_refresh=True)
        assert contents(connected, config) == rebuilt(connected, config)
    assert show(config, built)["fact_sales"] == 4
