"""A mart in two files of one's own: built, compared and published in every warehouse."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sales_mart.errors import ConfigurationError, MartsChangedError, ReconciliationError
from sales_mart.lake.records import Mode
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform
from sales_mart.warehouses.base import names, open_warehouse
from support import Row, row, sealed_run
from targets import Target
from warehouses import ask, change, loaded, next_table, table

if TYPE_CHECKING:
    from sales_mart.config import Config

ALL = names()
D1, D2, D3 = "2023-10-01", "2023-10-02", "2023-11-05"
FILES = {
    "best_products.sql": """
select
    product,
    {{ as_amount('sum(amount)') }} as total_amount
from {{ ref('sales') }}
group by product
""",
    "best_products.yml": """
models:
  - name: best_products
    description: One row per product, over all time.
    config: {meta: {publish: mart, slice: none, sums: {total_amount: amount}}}
    columns:
      - {name: product, data_type: string}
      - {name: total_amount, data_type: "numeric(29, {{ var('max_decimals') }})"}
""",
    "pieces_by_day.sql": """
select
    sale_date,
    {{ as_count('sum(quantity)') }} as pieces
from {{ ref('sales') }}
where {{ is_in_window('sale_date') }}
group by sale_date
""",
    "pieces_by_day.yml": """
models:
  - name: pieces_by_day
    description: One row per day.
    config: {meta: {publish: private, slice: sale_date, sums: {pieces: quantity}}}
    columns:
      - {name: sale_date, data_type: date}
      - {name: pieces, data_type: "{{ var('integer_type') }}"}
""",
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "models of ours"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def with_models(config: Config, folder: Path) -> Config:
    changed = {"transformation": {"models_path": str(folder)}}
    return config.model_validate({**config.model_dump(by_alias=True), **changed})


def shown(config: Config, target: str) -> tuple[dict[str, Decimal], dict[str, int]]:
    warehouse = open_warehouse(config, target)
    products = table(config, target, warehouse.mart_schema, "best_products")
    days = table(config, target, warehouse.raw_schema, "pieces_by_day")
    return (
        {name: Decimal(total) for name, total in ask(config, target, f"select * from {products}")},
        {str(day): int(pieces) for day, pieces in ask(config, target, f"select * from {days}")},
    )


def added_up(rows: list[Row]) -> tuple[dict[str, Decimal], dict[str, int]]:
    products: dict[str, Decimal] = defaultdict(Decimal)
    days: dict[str, int] = defaultdict(int)
    for each in rows:
        products[str(each.product)] += (each.price or 0) * (each.quantity or 0)
        days[str(each.sale_date)] += each.quantity or 0
    return dict(products), dict(days)


def test_marts_of_ones_own_are_published_and_follow_each_load(
    config: Config, tmp_path: Path, own: Path
) -> None:
    config, lake = with_models(config, own), tmp_path / "lake"
    first = [row("T1", D1, "10.00", 2), row("T2", D2, "0.05", 3), row("T3", D3, "7.00", 1)]
    run = loaded(config, sealed_run(config, lake, "r1", first), ALL)
    transform(config, run, ALL)
    reconcile(config, run, ALL)
    done = publish(config, run, ALL)
    assert all(rows["best_products"] == 1 for rows in done.rows.values())
    for target in ALL:
        assert shown(config, target) == added_up(first)

    # A correction of T2 and a new row; a difference of one cent is found before it is shown.
    second = [row("T2", D2, "0.10", 3), row("T4", D2, "1.00", 1)]
    run = loaded(
        config,
        sealed_run(config, lake, "r2", second, business_date=D2, mode=Mode.APPEND),
        ALL,
    )
    transform(config, run, ALL)
    cent = "set total_amount = total_amount + 0.01 where true"
    for target in reversed(ALL):
        change(config, target, f"update {next_table(config, target, 'best_products')} {cent}")
        if target != ALL[0]:
            with pytest.raises(ReconciliationError, match="best_products"):
                reconcile(config, run, ALL)
    # The warehouses agree now, and what the mart says that it sums does not.
    reconcile(config, run, ALL)
    with pytest.raises(MartsChangedError, match=r"best_products has .*sales_by_product_month"):
        publish(config, run, ALL)
    assert shown(config, ALL[0]) == added_up(first)
    transform(config, run, ALL)
    reconcile(config, run, ALL)
    publish(config, run, ALL)
    for target in ALL:
        assert shown(config, target) == added_up([first[0], first[2], *second])


def test_a_table_that_says_nothing_of_its_publication_is_refused(
    config: Config, tmp_path: Path, own: Path
) -> None:
    (own / "forgotten.sql").write_text("select 1 as one")
    config = with_models(config, own)
    rows = [row("T1", D1, "10.00", 2)]
    run = loaded(config, sealed_run(config, tmp_path / "lake", "r1", rows), (Target.POSTGRES,))
    with pytest.raises(ConfigurationError, match=r"forgotten .*has no publish") as caught:
        transform(config, run, (Target.POSTGRES,))
    assert "publish: mart" in caught.value.remedy
    (own / "forgotten.sql").write_text("select 'a' as product from {{ ref('fact_sales') }}")
    (own / "forgotten.yml").write_text(
        FILES["best_products.yml"]
        .replace("best_products", "forgotten")
        .replace(", sums: {total_amount: amount}", "")
        .replace("total_amount", "x")
    )
    with pytest.raises(ConfigurationError, match="reads fact_sales, which holds only the days"):
        transform(config, run, (Target.POSTGRES,))
