"""One row in Python, a column in Polars and the oracle come to the same result and reasons."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import oracle
from sales_mart.config import Config
from sales_mart.rows.checker import Checker
from sales_mart.rows.reasons import REASONS
from sales_mart.rows.tokens import Tokeniser
from sales_mart.rows.transaction import Transaction, check
from sales_mart.schema import FIELDS
from sales_mart.testing import configs, raw_rows, transactions

Row = dict[str, str | None]


@st.composite
def checked_rows(draw: st.DrawFn) -> tuple[Config, list[Row]]:
    config = draw(configs())
    return config, draw(st.lists(raw_rows(config), max_size=20))


@given(checked_rows())
def test_one_row(case: tuple[Config, list[Row]]) -> None:
    config, rows = case
    for row in rows:
        expected = oracle.check(row, config)
        assert check(row, config) == expected
        found: tuple[str, ...] = ()
        try:
            transaction = Transaction.model_validate(row, context=config)
        except ValidationError as error:
            found = tuple(each["type"] for each in error.errors())
        else:
            fields = oracle.texts(row)
            values = oracle.typed(oracle.Checked(1, 1, 0, 0, (), fields), config)
            assert tuple(transaction.model_dump().values()) == (
                values.transaction_id,
                values.product,
                values.price,
                values.quantity,
                values.sale_date,
            )
        assert found == expected


@given(checked_rows())
def test_many_rows(case: tuple[Config, list[Row]]) -> None:
    config, rows = case
    schema: dict[str, Any] = dict.fromkeys(FIELDS, pl.String) | {"row": pl.Int64}
    frame = pl.LazyFrame([{**row, "row": n} for n, row in enumerate(rows)], schema=schema)
    valid, rejected = Checker(config, Tokeniser()).check(frame)
    expected = [oracle.check(row, config) for row in rows]
    assert valid["row"].to_list() == [n for n, reasons in enumerate(expected) if not reasons]
    assert dict(rejected.select("row", "reasons").iter_rows()) == {
        n: list(reasons) for n, reasons in enumerate(expected) if reasons
    }
    for values in valid.iter_rows(named=True):
        row = rows[values["row"]]
        fields = oracle.texts(row)
        wanted = oracle.typed(oracle.Checked(1, 1, 0, 0, (), fields), config)
        assert values["transaction_id"] == Tokeniser().token(wanted.transaction_id)
        assert values["product"] == wanted.product
        assert values["price"] == wanted.price
        assert values["quantity"] == wanted.quantity
        assert values["sale_date"] == wanted.sale_date


@given(st.data())
def test_valid_rows_are_valid(data: st.DataObject) -> None:
    config = data.draw(configs())
    transaction = data.draw(transactions(config))
    row = {
        name: None if value is None else f"{value}" if name != "price" else f"{value:f}"
        for name, value in transaction.model_dump().items()
    }
    assert oracle.check(row, config) == ()


@given(st.data())
def test_an_error_never_shows_the_input(data: st.DataObject) -> None:
    row = {**data.draw(raw_rows()), "transaction_id": "secret-4711", "date": "secret-4712"}
    with pytest.raises(ValidationError) as caught:
        Transaction.model_validate(row)
    assert "secret" not in f"{caught.value!s}{caught.value!r}"


def test_the_reasons_are_those_of_the_oracle() -> None:
    # The others take a configuration of their own; tests/unit/test_ways_in.py has them.
    others = {"price_currency", "missing_amount", "negative_amount"}
    others |= {f"amount_{kind}" for kind in ("currency", "format", "decimals")}
    assert set(REASONS) == set(oracle.REASONS) | others
