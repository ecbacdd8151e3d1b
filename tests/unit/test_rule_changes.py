"""Rules as data, and which of them admit more than before."""

from __future__ import annotations

import json

import pytest

from sales_mart.config import Config
from sales_mart.rows.rule_changes import loosened, rules_as_data

STRICT = {
    "min_price": "10",
    "max_quantity": 5,
    "product_prefix": "Halal",
    "max_decimals": 2,
}


def rules(*, trust: bool = False, **changed: object) -> dict[str, object]:
    settings = {"ingestion": {"trust_input": trust, "validation": STRICT | changed}}
    return json.loads(json.dumps(rules_as_data(Config.model_validate(settings))))


@pytest.mark.parametrize(
    ("changed", "admitted"),
    [
        ({}, set()),
        ({"max_quantity": 6}, {"quantity_range"}),
        ({"max_quantity": 4}, set()),
        ({"min_price": "9.99"}, {"price_too_low"}),
        ({"min_price": "10.01"}, set()),
        ({"product_prefix": "Hal"}, {"product_prefix"}),
        ({"product_prefix": ""}, {"product_prefix"}),
        ({"product_prefix": "Halal Mouse"}, set()),
        ({"product_prefix": "Organic"}, {"product_prefix"}),
        (
            {"required_fields": ["transaction_id", "date", "price"]},
            {"missing_product", "missing_quantity"},
        ),
        ({"max_decimals": 3}, {"price_decimals"}),
        ({"max_decimals": 1}, {"price_format"}),
        ({"trust": True}, {"product_prefix", "price_too_low", "quantity_range"}),
        ({"max_reject_share": 0.1, "max_removed_share": 0.5}, set()),
    ],
)
def test_a_rule_is_loosened_where_rejected_rows_may_be_valid_now(
    changed: dict[str, object], admitted: set[str]
) -> None:
    assert loosened(rules(), rules(**changed)) == admitted  # pyright: ignore[reportArgumentType]


def test_a_lowest_price_under_the_smallest_coin_admits_nothing_new() -> None:
    assert not loosened(rules(min_price="0.01"), rules(min_price="0"))


def test_rules_that_were_left_to_the_marts_cannot_be_loosened() -> None:
    assert not loosened(rules(trust=True), rules())


def test_a_reason_that_is_no_more_admits_its_rows() -> None:
    assert loosened({"formerly": 1}, rules()) == {"formerly"}


def states(*accepted: str) -> dict[str, object]:
    settings = {"ingestion": {"attributes": {"state": {"accepted_values": accepted}}}}
    return json.loads(json.dumps(rules_as_data(Config.model_validate(settings))))


@pytest.mark.parametrize(
    ("before", "now", "admitted"),
    [
        (("paid", "sent"), ("sent", "paid"), set()),
        (("paid", "sent"), ("paid",), set()),
        (("paid",), ("paid", "failed"), {"state_not_accepted"}),
        (("paid",), (), {"state_not_accepted", "missing_state"}),
    ],
)
def test_more_accepted_values_admit_more(
    before: tuple[str, ...], now: tuple[str, ...], admitted: set[str]
) -> None:
    assert loosened(states(*before), states(*now)) == admitted
