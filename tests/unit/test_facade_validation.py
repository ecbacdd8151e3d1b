"""`validate` checks any frame as the pipeline does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pytest

import sales_mart
from sales_mart.errors import ConfigurationError, SourceFormatError

THEIRS: list[dict[str, Any]] = [
    {"Order": "A1", "product": "Tea", "price": "4.50", "quantity": 1, "date": "2024-01-02"},
    {"Order": "A2", "product": "Tea", "price": "4.505", "quantity": 0, "date": "2024-01-02"},
]
COLUMNS = {"transaction_id": "Order"}


def test_every_kind_is_checked_alike() -> None:
    frame = pl.DataFrame(THEIRS)
    for data, kind in (
        (THEIRS, list),
        (frame, pl.DataFrame),
        (frame.lazy(), pl.LazyFrame),
        (frame.to_pandas(), pd.DataFrame),
    ):
        result = sales_mart.validate(data, columns=COLUMNS)
        assert isinstance(result.valid, kind)
        assert (result.rows_read, result.rows_valid, result.rows_rejected) == (2, 1, 1)
        assert result.counts == {"price_decimals": 1, "quantity_range": 1}
        assert repr(result) == "Validation(2 read, 1 valid, 1 rejected)"
    made = sales_mart.validate(THEIRS, columns=COLUMNS)
    wanted = sales_mart.pseudonymise(THEIRS, "Order", algorithm="sha256")
    assert made.valid[0]["transaction_id"] == wanted[0]["Order"]
    assert made.rejected[0]["transaction_id"] == wanted[1]["Order"]


def test_columns_may_be_made_of_several_or_of_none() -> None:
    rows = [
        {"Order": "R1", "Line": line, "Item": "Cup", "Cents": 700, "date": "2024-01-05"}
        for line in (1, 2)
    ]
    columns = {
        "transaction_id": ["Order", "Line"],
        "product": "Item",
        "price": {"from": "Cents", "scale": 0.01},
        "quantity": {"value": 3},
    }
    result = sales_mart.validate(rows, columns=columns)
    assert [row["amount"] for row in result.valid] == [Decimal("21.00")] * 2
    assert len({row["transaction_id"] for row in result.valid}) == 2
    with pytest.raises(ConfigurationError, match="exactly one of from, any_of and value"):
        sales_mart.validate(rows, columns={"quantity": {"from": "Line", "value": 1}})


def test_a_wrong_name_says_which_is_meant() -> None:
    with pytest.raises(SourceFormatError, match="Ordr is no name of the frame's; did you mean"):
        sales_mart.validate(THEIRS, columns={"transaction_id": "Ordr"})
    with pytest.raises(SourceFormatError, match="prise is no name of ours; did you mean price"):
        sales_mart.validate(THEIRS, columns={"prise": "price"})
