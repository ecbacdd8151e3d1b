"""The pipeline from Python: frames as a source, marts and quarantine as frames."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import sales_mart
from sales_mart import Config, ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6"
ROWS: list[dict[str, Any]] = [
    {
        "transaction_id": 'T"1',
        "product": 'Halal "Mouse",\nblack',
        "price": Decimal("24.99"),
        "quantity": 10,
        "date": "2023-10-01",
    },
    {
        "transaction_id": "T2",
        "product": "=Tea",
        "price": Decimal("5.00"),
        "quantity": 2,
        "date": "2023-10-02",
    },
    {
        "transaction_id": "T3",
        "product": "Tea",
        "price": Decimal("5.00"),
        "quantity": 0,
        "date": "2023-10-02",
    },
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Give a configuration of a DuckDB file."""
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    return Config.model_validate(
        {
            "data_warehouse": {
                "targets": ["duckdb"],
                "duckdb": {"path": str(tmp_path / "sales.duckdb")},
            },
            "security": {"algorithm": "hmac-sha256"},
        }
    )


def test_a_frame_becomes_marts(config: Config, tmp_path: Path) -> None:
    done = sales_mart.run(config, source=pl.DataFrame(ROWS), lake=tmp_path / "lake")
    assert done.rows is not None
    assert (done.rows.rows_read, done.rows.rows_valid) == (3, 2)
    assert len(repr(done)) < 200
    assert "<table>" in done._repr_html_()  # pyright: ignore[reportPrivateUsage]
    marts = sales_mart.read_mart("summary_sales", config, output="mappings")
    assert {(row["product"], row["total_amount"]) for row in marts} == {
        ('Halal "Mouse",\nblack', Decimal("249.90")),
        ("=Tea", Decimal("10.00")),
    }
    _is_composed(config, done, tmp_path)
    wanted = sales_mart.pseudonymise(ROWS[2:], "transaction_id", key=KEY)
    for rejected in (
        sales_mart.quarantine(done),
        sales_mart.quarantine(lake=tmp_path / "lake"),
        sales_mart.quarantine(done.run_id, lake=tmp_path / "lake"),
    ):
        assert rejected["reasons"].to_list() == [["quantity_range"]]
        assert rejected["transaction_id"].to_list() == [wanted[0]["transaction_id"]]
    with pytest.raises(ConfigurationError, match="'summary_sale' is no mart; did you mean summary"):
        sales_mart.read_mart("summary_sale", config)
    assert not list(tmp_path.rglob("frame.parquet"))


def _is_composed(config: Config, done: sales_mart.RunSummary, folder: Path) -> None:
    """Check that a run gives what its functions give one after the other."""
    result = sales_mart.validate(pl.DataFrame(ROWS), config)
    sales_mart.load(result.valid, config, table="own.sales")
    sales = sales_mart.read(config, table="own.sales").drop("source_row")
    summary = (
        sales.group_by("product", pl.col("sale_date").dt.month_start().alias("sale_month"))
        .agg(pl.col("amount").sum().alias("total_amount"), pl.len().alias("transaction_count"))
        .sort("product")
    )
    mart = sales_mart.read_mart("summary_sales", config).sort("product")
    assert mart.select(summary.columns).rows() == summary.rows()
    sales_mart.export(summary, folder / "summary.parquet")
    assert pl.read_parquet(folder / "summary.parquet").rows() == summary.rows()
    facts = sales_mart.read_mart("fact_sales", config).sort("transaction_id")
    assert facts.select(sales.columns).rows() == sales.sort("transaction_id").rows()
    same = ("transaction_id", "product", "quantity", "date", "reasons", "source_row")
    assert sales_mart.quarantine(done).select(same).rows() == result.rejected.select(same).rows()


def test_what_cannot_be_run_says_why(config: Config, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    with pytest.raises(ConfigurationError, match="no lake is given"):
        sales_mart.run(config, source="sales.csv")
    with pytest.raises(ConfigurationError, match="'duckbd' is no warehouse; did you mean duckdb"):
        sales_mart.run(config, source="sales.csv", lake=lake, targets=["duckbd"])
    with pytest.raises(ConfigurationError, match="'apend' is no mode; did you mean append"):
        sales_mart.run(config, source="sales.csv", lake=lake, mode="apend")
    with pytest.raises(ConfigurationError, match="int is no frame"):
        sales_mart.run(config, source=7, lake=lake)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match=r"no run in .* has been loaded"):
        sales_mart.quarantine(lake=lake)
    with pytest.raises(ConfigurationError, match="no run lake") as caught:
        sales_mart.quarantine("lake", lake=lake)
    assert 'quarantine(lake="…")' in caught.value.remedy
    with pytest.raises(ConfigurationError, match="no summary_sales has been published"):
        sales_mart.read_mart("summary_sales", config)


def test_public_names_only() -> None:
    assert dir(sales_mart) == sorted(sales_mart.__all__)
    for name in sales_mart.__all__:
        assert getattr(sales_mart, name) is not None


def test_the_local_servers_win_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_USER", "somebody")
    monkeypatch.setenv("POSTGRES_PASSWORD", "else")
    with sales_mart.local(tmp_path / "servers", config=Config()) as config:
        assert config.lake == str(tmp_path / "servers" / "lake")
        sales_mart.load([{"n": 1}], "postgres", table="mine.rows", config=config)
        assert sales_mart.read("postgres", table="mine.rows", config=config)["n"].to_list() == [1]


def test_numbers_and_dates_of_a_frame_are_not_read_in_the_form_of_files(
    config: Config, tmp_path: Path
) -> None:
    form = {"type": "csv", "decimal_separator": ",", "thousands": ".", "date_format": "%d.%m.%Y"}
    europe = Config.model_validate(config.model_dump() | {"ingestion": {"format": form}})
    frame = pl.DataFrame(
        {
            "transaction_id": ["T1", "T2"],
            "product": ["Tea", "Tea"],
            "price": [1.5, 1234.0],
            "quantity": [1, 2],
            "date": [date(2024, 1, 5), date(2024, 1, 6)],
        }
    )
    done = sales_mart.run(europe, source=frame, lake=tmp_path / "lake")
    marts = sales_mart.read_mart("summary_sales", europe, output="mappings")
    assert sum(row["total_amount"] for row in marts) == Decimal("2469.50"), done
    result = sales_mart.validate(frame, europe)
    assert result.valid["price"].to_list() == [Decimal("1.50"), Decimal("1234.00")]
