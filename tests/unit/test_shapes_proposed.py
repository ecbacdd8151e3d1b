"""What `init --from` writes for exports of real systems, and what it leaves to their owner."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import sales_mart
from sales_mart.cli import main
from sales_mart.config.file import load_config
from sales_mart.errors import SourceFormatError
from sales_mart.source.inspect import inspect
from shapes import SHAPES, Shape

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config

KEY = "a key that protects nothing, for these files only"
AMOUNT = "ingestion.columns.amount"
PIECES = "ingestion.columns.quantity"
DECIMALS = "ingestion.validation.max_decimals"

LOAD = {
    *("german_till", "northwind", "online_retail", "shopify", "square", "supermarket"),
    "superstore",
}
"""The files that load as `init` has written, with the right rows."""
OPEN = {
    "amazon_settlement": {
        PIECES,
        "ingestion.attributes.amount_type",
        "ingestion.attributes.amount_description",
    },
    "olist": {PIECES, "ingestion.attributes.order_status"},
    # Nothing is to be changed: the day as it is written is the shop's.
    "shopify": {"ingestion.format.timezone"},
    "stripe": {PIECES, "ingestion.attributes.status"},
    "sumup": {AMOUNT},
    "woocommerce": {AMOUNT, "ingestion.attributes.status"},
}
"""The questions that files leave open."""
MORE: dict[str, dict[str, Any]] = {
    "amazon_settlement": {
        "ingestion.attributes.amount_type.accepted_values": ["ItemPrice"],
        "ingestion.attributes.amount_description.accepted_values": ["Principal"],
    },
    # No name says that the description of a payment is none of a product.
    "stripe": {"ingestion.columns.product": {"value": "Payment"}},
    "woocommerce": {
        "ingestion.attributes.status.accepted_values": ["completed", "processing"],
        DECIMALS: None,
        "ingestion.validation.rounding": "half_up",
    },
}
"""What somebody who knows the system sets besides."""


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_what_the_file_does_not_decide_is_asked(
    shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--from", str(shape.folder / shape.file)]) == 0
    file = tmp_path / "pipeline_config.yaml"
    found = inspect(str(shape.folder / shape.file)).proposal
    assert found is not None
    left_open = OPEN.get(shape.name, set())
    assert {each.key for each in found.open} == left_open
    assert file.read_text(encoding="utf-8").count("# OPEN: ") == len(left_open)
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    assert _is_right(shape, load_config(file)) == (shape.name in LOAD)


@pytest.mark.parametrize(
    "shape", [each for each in SHAPES if each.name not in LOAD], ids=lambda shape: shape.name
)
def test_with_the_answers_the_rows_are_right(shape: Shape, tmp_path: Path) -> None:
    found = inspect(str(shape.folder / shape.file)).proposal
    assert found is not None
    settings = found.values(assumed=False)
    for question in found.open:
        for key, value in question.choices[0].values.items():
            _set(settings, key, value)
    for key, value in MORE.get(shape.name, {}).items():
        _set(settings, key, value)
    settings["security"] = {"algorithm": "sha256"}
    file = tmp_path / "answered.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert _is_right(shape, load_config(file, environ={}))


def _is_right(shape: Shape, config: Config) -> bool:
    try:
        valid = sales_mart.validate(str(shape.folder / shape.file), config).valid
    except SourceFormatError:
        return False
    columns = ("product", "sale_date", "amount", "quantity")
    return Counter(valid.select(columns).rows()) == Counter(
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
