"""A column declared once arrives everywhere, in warehouses that hold rows already."""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from sales_mart.errors import ConfigurationError, ReconciliationError
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.load import load
from sales_mart.steps.pipeline import run
from sales_mart.steps.plan import plan
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.seal import seal
from sales_mart.steps.transform import transform
from sales_mart.steps.validate import validate_shard
from sales_mart.synthetic.generate import generate
from sales_mart.warehouses.base import names, open_warehouse
from support import token
from warehouses import ask, change, next_table, raw_table, table

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config

D1, D2, D3 = date(2023, 10, 1), date(2023, 10, 2), date(2023, 10, 3)
TARGETS = names()
DECLARED: dict[str, dict[str, Any]] = {
    # A word that SQL keeps for itself; it is called otherwise in the file.
    "order": {"from": "Order No, old"},
    "boxes": {"type": "integer"},
    "discount": {"type": "decimal", "decimals": 3},
    "ordered_on": {"type": "date"},
    "is_online": {"type": "boolean"},
}


def with_attributes(config: Config, attributes: dict[str, Any]) -> Config:
    changed = config.model_dump(by_alias=True)
    changed["ingestion"]["attributes"] = attributes
    return config.model_validate(changed)


def made(config: Config, path: Path, day: date, seed: int) -> list[dict[str, str]]:
    """Write valid rows of one day, and return them as they stand in the file."""
    chunks = generate(30, seed=seed, valid_share=1, start=day, days=1, config=config)
    file_of_day = path.with_name(path.name.replace("{date}", day.isoformat()))
    # Identifiers of its own: generated ones are the same in all files of a length.
    file_of_day.write_bytes(b"".join(chunks).replace(b"\nT", b"\nT%d" % seed))
    with file_of_day.open(newline="") as file:
        return list(csv.DictReader(file))


def of_facts(config: Config, target: str, columns: list[str]) -> dict[str, tuple[Any, ...]]:
    """Return some columns of the published facts by token."""
    warehouse = open_warehouse(config, target)
    listed = ", ".join(map(warehouse.dialect.identifier, ["transaction_id", *columns]))
    facts = table(config, target, warehouse.mart_schema, warehouse.fact_table)
    return {row[0]: tuple(row[1:]) for row in ask(config, target, f"select {listed} from {facts}")}


def typed(row: dict[str, str]) -> tuple[Any, ...]:
    """Return what the declared columns of a row hold."""
    order, boxes, discount, ordered_on, is_online = (
        row[name].strip() or None
        for name in ("Order No, old", "boxes", "discount", "ordered_on", "is_online")
    )
    return (
        order,
        boxes and int(boxes),
        discount and Decimal(discount),
        ordered_on and date.fromisoformat(ordered_on),
        is_online and is_online == "true",
    )


def up_to_load(config: Config, lake: Path, source: Path, day: date) -> RunFolder:
    planned = plan(config, str(lake), source=str(source), business_date=day)
    folder = RunFolder(str(lake), planned.run_id)
    validate_shard(config, folder, 0)
    seal(config, folder)
    for target in TARGETS:
        load(config, folder, target)
    return folder


def test_a_declared_column_arrives_in_warehouses_that_hold_rows(
    config: Config, tmp_path: Path
) -> None:
    plain = config
    lake, source = tmp_path / "lake", tmp_path / "sales-{date}.csv"
    first = made(plain, source, D1, 1)
    run(plain, str(lake), source=str(source), business_date=D1, targets=TARGETS)

    config = with_attributes(plain, DECLARED)
    second = made(config, source, D2, 2)
    assert "Order No, old" in second[0]
    with (tmp_path / f"sales-{D2}.csv").open("a") as file:
        file.write('T-wrong,Tea,1.00,1,2023-10-02,"17",seven,1.2345,2023-02-30,maybe\n')
    done = up_to_load(config, lake, source, D2)
    rejected = pl.concat(
        [pl.read_parquet(each) for each in (lake / "runs").rglob("quarantine/*.parquet")],
        how="diagonal",
    ).filter(pl.col("transaction_id") == token("T-wrong"))
    assert rejected["order"].to_list() == ["17"]
    assert rejected["reasons"].to_list() == [
        ["boxes_format", "discount_format", "ordered_on_format", "is_online_format"]
    ]
    transform(config, done, TARGETS)
    # All columns are compared, the new ones too.
    last = next_table(config, TARGETS[-1], "fact_sales")
    change(config, TARGETS[-1], f"update {last} set boxes = boxes + 1 where boxes = 3")
    with pytest.raises(ReconciliationError):
        reconcile(config, done, TARGETS)
    transform(config, done, TARGETS)
    reconcile(config, done, TARGETS)
    publish(config, done, TARGETS)
    expected = {token(row["transaction_id"].strip()): (None,) * len(DECLARED) for row in first}
    expected |= {token(row["transaction_id"].strip()): typed(row) for row in second}
    for target in TARGETS:
        assert of_facts(config, target, list(DECLARED)) == expected
        raw = raw_table(config, target)
        assert ask(config, target, f"select count(*) from {raw} where boxes is not null")[0][0] == (
            sum(bool(row["boxes"]) for row in second)
        )

    # A column that is declared no more stays, and is null.
    made(plain, source, D3, 3)
    run(
        plain,
        str(lake),
        source=str(source),
        business_date=D3,
        targets=TARGETS,
        accept_new_rules=True,
    )
    for target in TARGETS:
        found = of_facts(plain, target, ["boxes"])
        assert len(found) == len(expected) + 30
        assert set(found.values()) == {(None,)}

    # Another type of a column that is there is refused, and what to do is said.
    other = with_attributes(plain, {"boxes": {"type": "text"}})
    made(other, source, D3, 3)
    for target in TARGETS:
        with pytest.raises(
            ConfigurationError, match=r"column boxes of .* the run writes"
        ) as caught:
            run(
                other,
                str(lake),
                source=str(source),
                business_date=D3,
                targets=[target],
            )
        assert "ingestion.attributes.boxes" in caught.value.remedy
