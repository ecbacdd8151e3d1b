"""Texts that look alike: one token, one product, or a reason."""

from __future__ import annotations

import hashlib
import sys
import unicodedata
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from sales_mart import Config, Transaction, validate
from sales_mart.rows.characters import holds_invisible, nfc, seems_alike
from sales_mart.rows.tokens import Tokeniser
from sales_mart.rows.transaction import check

COMPOSED, DECOMPOSED = "Caf\u00e9-1", "Cafe\u0301-1"


def frame(*rows: tuple[str, str]) -> pl.DataFrame:
    """Make rows of an identifier and a product."""
    return pl.DataFrame(
        {
            "transaction_id": [identifier for identifier, _ in rows],
            "product": [product for _, product in rows],
            "price": "20.00",
            "quantity": "1",
            "date": "2023-10-01",
        }
    )


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_normal_forms_make_one_identifier_and_one_product() -> None:
    rows = frame((DECOMPOSED, "Th\u00e9 \u212b"), (COMPOSED, "x"), ("T2", "The\u0301 \u00c5"))
    result: Any = validate(rows)
    assert result.valid["transaction_id"].to_list() == [sha256(COMPOSED), sha256("T2")]
    assert result.valid["product"].to_list() == ["Th\u00e9 \u00c5"] * 2
    assert result.counts == {"conflicting_transaction_id": 1}


@pytest.mark.parametrize(
    "text", ["T001", " T001\t", "caf\u00e9", "\u0430", "\uff21\u4e00", "\U0001f600"]
)
def test_tokens_of_normal_identifiers_are_what_they_were(text: str) -> None:
    result: Any = validate(frame((text, "p")))
    assert result.valid["transaction_id"].to_list() == [sha256(text.strip())]
    assert Tokeniser().token(text) == sha256(text)


def test_a_token_does_not_depend_on_the_normal_form() -> None:
    assert Tokeniser().token(DECOMPOSED) == Tokeniser().token(COMPOSED) == sha256(COMPOSED)


def test_a_prefix_and_a_row_are_normalised_too() -> None:
    rules = {"product_prefix": "Cafe\u0301"}
    config = Config.model_validate({"ingestion": {"validation": rules}})
    row = dict(zip(frame().columns, (DECOMPOSED, COMPOSED, "1", "1", "2023-10-01"), strict=True))
    assert check(row, config) == ()
    made = Transaction.model_validate({**row, "product": DECOMPOSED}, context=config)
    assert (made.transaction_id, made.product) == (COMPOSED, COMPOSED)
    result: Any = validate(pl.DataFrame([row]), config)
    assert result.rows_valid == 1


INVISIBLE = (
    "\u200b",
    "\u200d",
    "\u00ad",
    "\u2060",
    "\u202e",
    "\u200e",
    "\ufeff",
    "\ufe0f",
    "\u3164",
)


@pytest.mark.parametrize("character", INVISIBLE)
def test_an_invisible_character_in_an_identifier_is_a_reason(character: str) -> None:
    rows = frame(
        (f"T{character}1", "p"), (f"T1{character}", "p"), (f"{character}T1", "p"), ("T1", "p")
    )
    result: Any = validate(rows)
    assert result.counts == {"transaction_id_format": 3}
    assert result.valid["source_row"].to_list() == [4]
    row = dict(zip(rows.columns, rows.row(0), strict=True))
    assert check(row) == ("transaction_id_format",)
    with pytest.raises(ValidationError, match="holds an invisible character") as caught:
        Transaction.model_validate(row)
    assert "T" + character not in str(caught.value)


def test_every_format_character_is_an_invisible_one() -> None:
    for number in range(sys.maxunicode + 1):
        if unicodedata.category(chr(number)) == "Cf":
            assert holds_invisible(chr(number)), hex(number)
    seen = "\t aT1-_/\u00e9\u0301\u0430\u4e00\u0627\u0939\U0001f600"
    assert not any(map(holds_invisible, seen))


def test_what_a_product_is_spelled_with_stays_and_what_hides_in_it_counts() -> None:
    spelled = [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f469\u200d\U0001f373",
        "\u2764\ufe0f",
    ]
    hidden = ["Mou\u00adse", "Mouse\u200b", "\u202eMouse", "\ufeffMouse"]
    products = [*spelled, *hidden, "Mouse"]
    rows = frame(*((f"T{n}", product) for n, product in enumerate(products)))
    result: Any = validate(rows)
    assert result.valid["product"].to_list() == [nfc(product) for product in products]
    assert seems_alike(result.valid["product"]) == len(hidden)
    assert seems_alike(pl.Series(["Mouse", None])) == 0
