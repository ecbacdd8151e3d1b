"""The strategies that users import."""

from __future__ import annotations

import importlib
import sys

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st

import oracle
from sales_mart import testing
from sales_mart.config import Config
from sales_mart.errors import ConfigurationError
from sales_mart.schema import FIELDS
from sales_mart.testing import configs, dirty_rows, raw_rows, transactions

QUIET = settings(
    max_examples=2000,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
ANY = settings(QUIET, max_examples=20_000, phases=[Phase.generate])
HEADER = ",".join(FIELDS).encode() + b"\n"


def reasons_of(record: bytes) -> tuple[str, ...]:
    results = list(oracle.check_file(HEADER + record, Config()))
    return results[0].reasons if len(results) == 1 else ()


@pytest.mark.parametrize(
    "reason",
    [
        each
        for each in oracle.REASONS
        if each not in {"malformed_row", "encoding", "product_prefix"}
        and "_transaction_id" not in each.removeprefix("missing")
    ],
)
def test_raw_rows_reach_every_reason_alone(reason: str) -> None:
    config = Config()
    row = find(raw_rows(config), lambda row: oracle.check(row, config) == (reason,), settings=ANY)
    assert row.keys() == set(FIELDS)


@pytest.mark.parametrize(
    "reasons", [("malformed_row",), ("encoding",), ("malformed_row", "encoding")]
)
def test_dirty_rows_reach_what_nobody_can_read(reasons: tuple[str, ...]) -> None:
    assert find(dirty_rows(), lambda record: reasons_of(record) == reasons, settings=ANY)


def test_dirty_rows_may_span_lines() -> None:
    def spans(record: bytes) -> bool:
        return b"\n" in record and b'"' in record and oracle_is_one_valid_row(record)

    assert find(dirty_rows(), spans, settings=ANY)


def oracle_is_one_valid_row(record: bytes) -> bool:
    return [each.reasons for each in oracle.check_file(HEADER + record, Config())] == [()]


def test_examples_shrink_to_plain_rows() -> None:
    wanted = ("quantity_format",)
    row = find(raw_rows(), lambda row: oracle.check(row, Config()) == wanted, settings=QUIET)
    del row["quantity"]
    assert row == {
        "transaction_id": "T001",
        "product": "p",
        "price": "0.01",
        "date": "2000-01-01",
    }
    transaction = find(transactions(), lambda each: each.quantity == 7, settings=QUIET)
    assert transaction.transaction_id == "T001"


def test_lists_hold_duplicates() -> None:
    rows = st.lists(transactions(), min_size=2, max_size=2)
    find(rows, lambda pair: pair[0].transaction_id == pair[1].transaction_id, settings=ANY)


def test_configs_differ() -> None:
    find(configs(), lambda config: config.ingestion.trust_input, settings=ANY)
    find(configs(), lambda config: "price" not in config.rules.required_fields, settings=ANY)
    assert find(configs(), lambda _: True, settings=QUIET).rules.max_decimals == 2


def test_without_hypothesis_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ConfigurationError) as caught:
        importlib.reload(testing)
    assert "sales-mart[testing]" in caught.value.remedy
