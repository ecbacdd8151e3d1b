"""Amounts of the largest prices and quantities add up exactly, or are refused by name."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_mart.config import Config
from sales_mart.errors import DataError
from sales_mart.lake.runs import RunFolder
from sales_mart.rows import money
from sales_mart.rows.sums import Sums, ValidTotals
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.lake.records import Seal

HEADER = "transaction_id,product,price,quantity,date\n"
HIGHEST = 10**9


def sealed(folder: Path, rows: list[tuple[str, int]], places: int, *, trust: bool = False) -> Seal:
    rules = {"max_decimals": places, "max_quantity": HIGHEST}
    config = Config.model_validate({"ingestion": {"validation": rules, "trust_input": trust}})
    lines = (f"T{n},p,{price},{quantity},2023-10-01\n" for n, (price, quantity) in enumerate(rows))
    (folder / "a.csv").write_text(HEADER + "".join(lines))
    lake = str(folder / "lake")
    made = plan(config, lake, source=str(folder / "a.csv"), business_date=date(2023, 10, 1))
    run = RunFolder(lake, made.run_id)
    validate_shard(config, run, 0)
    return seal(config, run)


def highest_price(places: int) -> str:
    return "9" * (18 - places) + ("." + "9" * places if places else "")


@pytest.mark.parametrize("places", [0, 2, 9])
def test_the_largest_total_that_a_warehouse_holds_is_exact(tmp_path: Path, places: int) -> None:
    top = highest_price(places)
    low = "0." + "0" * (places - 1) + "1" if places else "1"
    rows = [(top, HIGHEST)] * 100 + [(low, HIGHEST)] * 99 + [(low, 1)]
    units = (10**18 - 1) * HIGHEST * 100 + HIGHEST * 99 + 1
    record = sealed(tmp_path, rows, places)
    assert len(str(units)) == 29
    assert record.amount == Decimal(f"{units}e-{places}")
    assert record.quantity == HIGHEST * 199 + 1


@pytest.mark.parametrize("places", [0, 2, 9])
def test_a_larger_total_is_refused_before_anything_is_loaded(tmp_path: Path, places: int) -> None:
    with pytest.raises(DataError, match="a total has at most 29 digits") as raised:
        sealed(tmp_path, [(highest_price(places), HIGHEST)] * 101, places)
    assert raised.value.exit_code == 65
    assert "max_quantity" in raised.value.remedy


def test_quantities_of_64_bits_that_no_mart_shows_do_no_harm(tmp_path: Path) -> None:
    rows = [(highest_price(2), 2**63 - 1)] * 50 + [("1.10", 3)]
    record = sealed(tmp_path, rows, 2, trust=True)
    assert (record.rows_valid, record.rows_excluded) == (51, 50)
    assert (record.amount, record.quantity) == (Decimal("3.30"), 3)


amounts = st.integers(0, 10**36).map(lambda units: (units, Decimal(f"{units}e-9")))


@given(st.lists(amounts, max_size=20), st.lists(amounts, max_size=5))
def test_totals_add_and_take_away_without_rounding(
    more: list[tuple[int, Decimal]], less: list[tuple[int, Decimal]]
) -> None:
    total, sums = ValidTotals(), Sums()
    for _, amount in more:
        total.add(ValidTotals(1, Counter(), Sums(1, amount, 1)))
        sums = sums.plus(Sums(1, amount, 1))
    units = sum(each for each, _ in more)
    assert sums.amount == Decimal(f"{units}e-9")
    for _, amount in less:
        total.add(ValidTotals(1, Counter(), Sums(1, amount, 1)), sign=-1)
    units -= sum(each for each, _ in less)
    assert total.shown.amount == Decimal(f"{units}e-9")
    assert money.at_scale(total.shown.amount, 12) == total.shown.amount
