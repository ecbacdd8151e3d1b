"""Rules and models of a caller's own in `validate`."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import polars as pl
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

import sales_mart
from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.facade.compiled_models import compiled

ROWS: list[dict[str, Any]] = [
    {
        "transaction_id": f" T{number} ",
        "product": "Tea",
        "price": "4.50",
        "quantity": number,
        "date": "2024-01-02",
        "store": store,
        "note": "x",
    }
    for number, store in ((1, "Solo"), (2, "B"), (3, None), (0, "Solo"), (4, "Bogor"), (1, "Ubud"))
]
RULES = {"few": pl.col("quantity") < 4, "noted": pl.col("note") == "x"}


class Sale(sales_mart.Transaction):
    """A sale of a store."""

    store: Annotated[str, Field(min_length=2)]


class Shouted(BaseModel):
    """Names columns, and changes one of them."""

    transaction_id: Annotated[str, Field(pattern=r"^T\d$")]
    price: Annotated[Decimal, Field(gt=Decimal("4.5"))] = Decimal(5)
    store: str | None = None

    @field_validator("store")
    @classmethod
    def _shout(cls, store: str | None) -> str | None:
        return store and store.upper()


@pytest.mark.parametrize("kind", [list, pl.DataFrame, pl.LazyFrame])
def test_rules_and_model_are_asked_after_the_pipelines_rules(kind: Any) -> None:
    result = sales_mart.validate(kind(ROWS), rules=RULES, model=Sale, output="mappings")
    assert [(row["store"], row["quantity"]) for row in result.valid] == [("Solo", 1)]
    assert [(row["source_row"], row["reasons"]) for row in result.rejected] == [
        (2, ["store_string_too_short"]),
        (3, ["store_string_type"]),
        (4, ["quantity_range"]),
        (5, ["few"]),
        (6, ["duplicate_transaction_id"]),
    ]
    assert result.counts["few"] == 1


def test_a_row_that_a_rule_rejects_is_no_earlier_one() -> None:
    result = sales_mart.validate(ROWS, rules={"no_solo": pl.col("store") != "Solo"})
    assert [row["source_row"] for row in result.valid] == [2, 3, 5, 6]


def test_a_model_that_is_not_compiled_changes_its_own_columns_only() -> None:
    rows = [row | {"price": "5"} for row in ROWS]
    result = sales_mart.validate(rows, model=Shouted, rules={"solo": pl.col("store") != "UBUD"})
    assert [row["store"] for row in result.valid] == ["SOLO", "B", None, "BOGOR"]
    assert result.counts == {"quantity_range": 1, "solo": 1}
    assert sales_mart.validate(ROWS, model=Shouted).counts["price_greater_than"] == 5


def test_one_row_of_a_model_with_more_fields() -> None:
    assert Sale.model_validate(ROWS[0]).store == "Solo"
    with pytest.raises(ValidationError, match="at least 2 characters"):
        Sale.model_validate(ROWS[1])


class Bounds(BaseModel):
    """Has every constraint that is compiled."""

    text: Annotated[str, Field(min_length=2, max_length=3, pattern="^[a-zé]+$")]
    number: Annotated[int, Field(gt=0, le=5)] | None
    money: Annotated[Decimal, Field(ge=Decimal("0.5"), lt=7)]
    day: Annotated[date, Field(ge=date(2024, 1, 1))]
    flag: bool = True


def test_what_is_compiled_is_what_the_model_accepts() -> None:
    values: dict[str, list[Any]] = {
        "text": ["a", "éé", "abc", "abcd", "AB", None],
        "number": [0, 1, 5, 6, None],
        "money": [Decimal("0.49"), Decimal("0.50"), Decimal("7.00"), None],
        "day": [date(2023, 12, 31), date(2024, 1, 1), None],
        "flag": [True, None],
    }
    frame = pl.DataFrame({"text": pl.Series(values["text"])})
    for name in list(values)[1:]:
        frame = frame.join(pl.DataFrame({name: values[name]}), how="cross")
    check = compiled(Bounds, {name: name for name in values}, frame.schema)
    assert check is not None
    said = frame.select(check.fill_null(value=False)).to_series().to_list()
    assert said == [_accepts(row) for row in frame.to_dicts()]
    assert 0 < sum(said) < len(said)


def _accepts(row: dict[str, Any]) -> bool:
    try:
        Bounds.model_validate(row)
    except ValidationError:
        return False
    return True


class Strange(BaseModel):
    """Has a setting that changes what its field accepts."""

    model_config = ConfigDict(str_to_lower=True)

    store: str


class Crashing(BaseModel):
    """Has code that fails."""

    store: str | None

    @field_validator("store")
    @classmethod
    def _fail(cls, store: str | None) -> str:
        raise KeyError(store)


def test_code_and_settings_are_not_compiled() -> None:
    types = {name: pl.String() for name in ("transaction_id", "price", "store")}
    for model in (Shouted, Strange, Crashing):
        columns = {name: name for name in model.model_fields}
        assert compiled(model, columns, types) is None
    rows = [row | {"store": "SOLO"} for row in ROWS]
    assert sales_mart.validate(rows, model=Strange).valid[0]["store"] == "solo"


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"rules": {"few": True}}, ConfigurationError, "few is no expression"),
        ({"rules": {"date_format": pl.lit(1) > 0}}, ConfigurationError, "'date_format' cannot be"),
        ({"rules": {"few": pl.col("quantity") + 1}}, ConfigurationError, "not true or false"),
        ({"rules": {"few": pl.col("stor") == "x"}}, SourceFormatError, "did you mean store"),
        ({"rules": {"few": pl.col("product") > 1}}, SourceFormatError, "few cannot be computed"),
        ({"model": dict}, ConfigurationError, "model is no class of Pydantic"),
        ({"model": Bounds}, SourceFormatError, "the frame has no column text"),
        ({"model": Crashing}, SourceFormatError, "the model cannot be asked: KeyError"),
    ],
)
def test_what_cannot_be_asked_is_refused(given: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        sales_mart.validate(ROWS, **given)
    assert "Solo" not in str(caught.value)
