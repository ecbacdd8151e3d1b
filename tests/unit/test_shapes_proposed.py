"""What `init --from` writes for exports of real systems, and what it leaves to their owner."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import sales_mart
from sales_mart.cli import main
from sales_mart.config.file import load_config
from sales_mart.source.inspect import inspect
from shapes import SHAPES, Shape

if TYPE_CHECKING:
    from pathlib import Path

RETURNS = "ingestion.validation.allow_returns"
AMOUNT = "ingestion.columns.amount"
DECIMALS = "ingestion.validation.max_decimals"
HIGHEST = "ingestion.validation.max_quantity"
PIECES = "ingestion.columns.quantity"

OPEN = {
    "amazon_settlement": {"ingestion.format.jagged_rows", RETURNS},
    "german_till": {AMOUNT, RETURNS, HIGHEST},
    "northwind": {AMOUNT},
    "olist": {PIECES, "ingestion.attributes.order_status"},
    "online_retail": {RETURNS, HIGHEST, DECIMALS},
    "shopify": {"ingestion.format.timezone", RETURNS},
    "square": {AMOUNT, RETURNS},
    "stripe": {PIECES, "ingestion.attributes.status"},
    "sumup": {RETURNS},
    "supermarket": {AMOUNT},
    "superstore": {DECIMALS},
    "woocommerce": {AMOUNT, DECIMALS, "ingestion.attributes.status"},
}
"""The questions that each file leaves open."""
KEPT = {"shopify": {"ingestion.format.timezone"}, "supermarket": {AMOUNT}}
"""Those of them whose answer is that nothing is to be changed."""
SECOND = {"woocommerce": {DECIMALS}}
"""Those whose second choice is the right one."""
MORE: dict[str, dict[str, Any]] = {
    # No name says that a category of products, or the type of an amount, stands for something else.
    "online_retail": {"ingestion.columns.product": "StockCode"},
    "stripe": {"ingestion.columns.product": {"value": "Payment"}},
    "sumup": {"ingestion.columns.price": None, AMOUNT: "Price (Gross)"},
    "woocommerce": {"ingestion.attributes.status.accepted_values": ["completed", "processing"]},
}
"""What somebody who knows the system sets besides."""
UNTOLD = {"amazon_settlement"}
"""Files of which only the documentation tells which rows are sales: each amount is a row."""


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_what_the_file_does_not_decide_is_asked(
    shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--from", str(shape.folder / shape.file)]) == 0
    written = load_config(tmp_path / "pipeline_config.yaml", environ={})
    found = inspect(str(shape.folder / shape.file)).proposal
    assert found is not None
    assert {each.key for each in found.open} == OPEN[shape.name]
    text = (tmp_path / "pipeline_config.yaml").read_text(encoding="utf-8")
    assert text.count("# OPEN: ") == len(OPEN[shape.name])
    proposed = written.ingestion.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    assert {"format", "columns"} & proposed.keys() or shape.name == "supermarket"


@pytest.mark.parametrize(
    "shape", [each for each in SHAPES if each.name not in UNTOLD], ids=lambda shape: shape.name
)
def test_with_the_answers_the_rows_are_right(shape: Shape, tmp_path: Path) -> None:
    path = str(shape.folder / shape.file)
    found = inspect(path).proposal
    assert found is not None
    settings = found.values(assumed=False)
    for question in found.open:
        if question.key not in KEPT.get(shape.name, ()):
            choice = question.choices[question.key in SECOND.get(shape.name, ())]
            for key, value in choice.values.items():
                _set(settings, key, value)
    for key, value in MORE.get(shape.name, {}).items():
        _set(settings, key, value)
    settings["security"] = {"algorithm": "sha256"}
    file = tmp_path / "answered.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    valid = sales_mart.validate(path, load_config(file, environ={})).valid
    columns = ("product", "sale_date", "amount", "quantity")
    assert Counter(valid.select(columns).rows()) == Counter(
        (each.product, each.day, each.amount, each.quantity) for each in shape.read()
    )


def _set(settings: dict[str, Any], key: str, value: object) -> None:
    *path, name = key.split(".")
    for each in path:
        settings = settings.setdefault(each, {})
    if value is None:
        del settings[name]
    else:
        settings[name] = value
