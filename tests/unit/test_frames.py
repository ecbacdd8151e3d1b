"""Frames of any kind in, the same kind out, tokens only."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.rows.frames import validate_frame
from sales_mart.rows.tokens import Tokeniser
from secrecy import everything_said

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS: dict[str, list[Any]] = {
    "transaction_id": ["T1", " T1 ", "T2", None],
    "Product": ["Mouse", "Mouse", " Key\u2003", ""],
    "PRICE": ["1.50", "2", "1.234", "x"],
    "quantity": ["1", "2", "0", "3"],
    "date": ["2023-10-01", "2023-10-02", "2023-02-29", "2023-10-04"],
    "email": ["a@b.c"] * 4,
}
pytestmark = pytest.mark.filterwarnings("ignore:validate_frame is deprecated")
KINDS: list[Callable[[Any], Any]] = [
    pl.DataFrame,
    pl.LazyFrame,
    pd.DataFrame,
    pa.table,
]


def rows(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pd.DataFrame):
        frame = pl.from_pandas(frame).with_columns(pl.col("^sale_date$").cast(pl.Date))
    return pl.DataFrame(frame).to_dicts()


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_that_goes_in_comes_out(kind: Callable[[Any], Any]) -> None:
    frame = kind(ROWS)
    result = validate_frame(frame)
    assert type(result.valid) is type(frame)
    assert type(result.rejected) is type(frame)
    token = Tokeniser().token
    assert rows(result.valid) == [
        {
            "transaction_id": token("T1"),
            "product": "Mouse",
            "price": Decimal("1.50"),
            "quantity": 1,
            "amount": Decimal("1.50"),
            "sale_date": date(2023, 10, 1),
            "source_row": 1,
        }
    ]
    rejected = rows(result.rejected)
    assert [row["source_row"] for row in rejected] == [2, 3, 4]
    assert [list(row["reasons"]) for row in rejected] == [
        ["conflicting_transaction_id"],
        ["price_decimals", "quantity_range", "date_format"],
        ["missing_transaction_id", "missing_product", "price_format"],
    ]
    assert [row["transaction_id"] for row in rejected[:2]] == [token("T1"), token("T2")]
    assert "email" not in rejected[0]
    assert result.rows_read == result.rows_valid + result.rows_rejected == 4
    assert result.counts["price_decimals"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_typed_columns_count_as_their_shortest_text(kind: Callable[[Any], Any]) -> None:
    typed = {
        "transaction_id": [1, 2, 3, 4],
        "product": ["a"] * 4,
        "price": [999.99, 3.0, float("nan"), 0.1 + 0.2],
        "quantity": [1.0, 2.0, 3.0, 4.5],
        "date": [date(2023, 10, 1)] * 4,
    }
    result = validate_frame(kind(typed))
    assert [row["price"] for row in rows(result.valid)] == [Decimal("999.99"), Decimal("3.00")]
    assert [list(row["reasons"]) for row in rows(result.rejected)] == [
        ["missing_price"],
        ["price_decimals", "quantity_format"],
    ]
    assert rows(result.valid)[0]["transaction_id"] == Tokeniser().token("1")


def test_pandas_objects_timestamps_and_decimals() -> None:
    frame = pd.DataFrame(
        {
            "transaction_id": ["a", "b", "c"],
            "product": ["x", "y", "z"],
            "price": [Decimal("1.500000"), Decimal(2), None],
            "quantity": pd.array([1, None, 3], dtype="Int64"),
            "date": [datetime(2023, 10, 1), pd.NaT, datetime(2023, 10, 1, 5)],  # noqa: DTZ001
        }
    )
    result = validate_frame(frame)
    assert result.rows_valid == 1
    assert [list(reasons) for reasons in result.rejected["reasons"]] == [
        ["missing_quantity", "missing_date"],
        ["missing_price", "date_format"],
    ]


def test_a_missing_column_or_no_frame() -> None:
    with pytest.raises(SourceFormatError, match="lacks the columns product, price, quantity, date"):
        validate_frame(pl.DataFrame({"transaction_id": ["T1"]}))
    with pytest.raises(ConfigurationError, match="list is not a pandas"):
        validate_frame([])  # pyright: ignore[reportArgumentType]


def test_hmac_needs_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PII_HASH_KEY", raising=False)
    keyed = Config.model_validate({"security": {"algorithm": "hmac-sha256"}})
    with pytest.raises(ConfigurationError, match="there is no key"):
        validate_frame(pl.DataFrame(ROWS), keyed)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["T-SECRET-1", 2, 3, 4], dtype="category"),
        pd.Series(pd.arrays.SparseArray([1, 2, 3, 4])),
        pd.Series([1j, 2j, 3j, 4j]),
    ],
    ids=["category", "sparse", "complex"],
)
def test_a_column_of_an_odd_type_is_named_without_its_values(column: Any) -> None:
    frame = pd.DataFrame({**ROWS, "transaction_id": column})
    with pytest.raises(SourceFormatError, match="the column transaction_id, of type") as caught:
        validate_frame(frame)
    assert "secret" not in everything_said(caught.value).lower()


def test_a_type_that_lists_values_is_not_quoted() -> None:
    lists = pl.Series([["T-SECRET-1"]] * 4, dtype=pl.List(pl.Enum(["T-SECRET-1"])))
    with pytest.raises(SourceFormatError, match="of type List, cannot be read") as caught:
        validate_frame(pl.DataFrame({**ROWS, "transaction_id": lists}))
    assert "secret" not in everything_said(caught.value).lower()


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_stands_twice_is_refused(kind: Callable[[Any], Any]) -> None:
    with pytest.raises(SourceFormatError, match="the frame names price twice") as caught:
        validate_frame(kind({**ROWS, " price": ["1"] * 4}))
    assert caught.value.remedy.startswith("Keep one column of each name")


def test_a_name_that_pandas_has_twice_is_refused() -> None:
    frame = pd.DataFrame(ROWS)
    frame = pd.concat([frame, frame[["date"]]], axis=1)
    with pytest.raises(SourceFormatError, match="the frame names date twice"):
        validate_frame(frame)


def test_a_plan_of_polars_that_fails_is_not_quoted() -> None:
    plan = pl.LazyFrame({**ROWS, "transaction_id": ["T-SECRET-1", "2", "3", "4"]})
    wrong = pl.col("transaction_id").cast(pl.Int64)
    for each in (plan.with_columns(wrong), plan.with_columns(pl.col("no such column"))):
        with pytest.raises(SourceFormatError, match="the lazy frame cannot be computed") as caught:
            validate_frame(each)
        assert "SECRET" not in everything_said(caught.value)


def test_it_says_what_to_use_instead() -> None:
    with pytest.warns(DeprecationWarning, match=r"use sales_mart\.validate"):
        validate_frame(pl.DataFrame(ROWS))
