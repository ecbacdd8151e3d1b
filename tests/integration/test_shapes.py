"""Exports of real systems, from their file to the marts, held against plain Python."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sales_mart.config.file import load_config
from sales_mart.lake import parquet
from sales_mart.lake.records import Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.pipeline import run
from sales_mart.steps.summary import published_summary, summary_columns
from sales_mart.warehouses.base import names, open_warehouse
from shapes import FOLDER, SHAPES, Month, Shape, by_month
from warehouses import Schemas, ask, raw_table

if TYPE_CHECKING:
    from collections.abc import Generator

    from sales_mart.config import Config

DUCKDB = "duckdb"


class Loaded(NamedTuple):
    """A shape that went from its file to the marts of a DuckDB file, by its own configuration."""

    shape: Shape
    config: Config
    run: RunFolder


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.name)
def loaded(
    request: pytest.FixtureRequest, schemas: Schemas, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Loaded]:
    shape: Shape = request.param
    lake = str(tmp_path_factory.mktemp(shape.name))
    with schemas.config() as site:
        config = configured(shape, site)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(shape.folder)
            done = run(config, lake, business_date=date(2024, 3, 31))
        yield Loaded(shape, config, RunFolder(lake, done.run_id))


def configured(shape: Shape, site: Config) -> Config:
    """Return the shape's own configuration, with the warehouses of a test."""
    one = site.data_warehouse.model_copy(update={"targets": (DUCKDB,)})
    warehouses = {"data_warehouse": one, "data_mart": site.data_mart}
    return load_config(shape.folder / "pipeline_config.yaml").model_copy(update=warehouses)


def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with its numbers as decimals, so that 1 and 1.000 are one."""
    return tuple(Decimal(each) if isinstance(each, int) else each for each in row)


def test_the_seal_counts_what_plain_python_counts(loaded: Loaded) -> None:
    seal = loaded.run.read("seal", Seal)
    sales = loaded.shape.read()
    assert seal.rows_read == loaded.shape.rows
    assert (seal.rows_valid, seal.rows_rejected) == (len(sales), loaded.shape.rows - len(sales))
    assert seal.reasons == loaded.shape.reasons
    assert seal.rows_excluded == 0
    assert seal.amount == sum(sale.amount for sale in sales)
    assert seal.quantity == sum(sale.net_quantity for sale in sales)
    valid = [parquet.read_part(loaded.run, part) for part in seal.valid]
    tokens = [token for part in valid for token in part["transaction_id"].to_list()]
    assert len(set(tokens)) == len(sales)


@pytest.mark.parametrize("target", names())
def test_every_warehouse_shows_the_rows(loaded: Loaded, target: str) -> None:
    config = loaded.config
    if target != DUCKDB:
        open_warehouse(config, target).load(loaded.run)
    has_currency = "currency" in config.ingestion.attributes
    columns = f"product, sale_date, amount, quantity, price{', currency' * has_currency}"
    raw = raw_table(config, target)
    found = ask(config, target, f"select {columns} from {raw} where superseded_by is null")
    sales = [sale if has_currency else sale[:-1] for sale in loaded.shape.read()]
    assert Counter(map(plain, found)) == Counter(map(plain, sales))


def test_the_published_summary_is_the_sum_of_the_rows(loaded: Loaded) -> None:
    with published_summary(loaded.config, DUCKDB) as (_, rows):
        columns = [column.name for column in summary_columns(loaded.config, DUCKDB)]
        found = [dict(zip(columns, row, strict=True)) for row in rows]
    expected = by_month(loaded.shape.read())
    if not loaded.config.rules.allow_returns:
        assert not {"returned_amount", "returned_quantity"} & {*columns}
        found = [row | {"returned_amount": 0, "returned_quantity": 0} for row in found]
    measures = {
        (row["product"], row["sale_month"], row.get("currency")): Month(
            *plain(tuple(row[name] for name in Month._fields))
        )
        for row in found
    }
    assert len(found) == len(expected)
    assert measures == expected


def test_every_folder_is_a_shape_that_is_tested() -> None:
    assert sorted(each.name for each in FOLDER.iterdir() if each.is_dir()) == [
        shape.name for shape in SHAPES
    ]
    for shape in SHAPES:
        assert 12 <= shape.rows <= 40
