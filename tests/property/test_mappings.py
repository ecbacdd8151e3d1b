"""Any valid table, mapped and written in any form, comes to the rows of its plain form."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

import sales_mart
from sales_mart.config import Config
from sales_mart.schema import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ["product", "price", "quantity", "amount", "sale_date", "source_row"]
NAMES = st.text(st.characters(codec="utf-8", categories=("L", "Nd")), min_size=1, max_size=6)
FORMS: dict[str, tuple[dict[str, Any], Callable[[str], str]]] = {
    "plain": ({}, lambda text: text),
    "comma": ({"decimal_separator": ","}, lambda text: text.replace(".", ",")),
    "euro": (
        {"decimal_separator": ",", "thousands": ".", "currency_sign": "€"},
        lambda text: f"{Decimal(text):,f} €".translate(str.maketrans(",.", ".,")),
    ),
    "dollar": (
        {"thousands": ",", "currency_sign": "$"},
        lambda text: f"${Decimal(text):,f}",
    ),
    "french": (
        {"decimal_separator": ",", "thousands": " "},
        lambda text: f"{Decimal(text):,f}".translate(str.maketrans({",": "\u202f", ".": ","})),
    ),
}
DATES = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%d %b %Y", "%B %d, %Y")


def configuration(**ingestion: Any) -> Config:
    return Config.model_validate({"ingestion": ingestion, "security": {"algorithm": "sha256"}})


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "transaction_id": st.integers(1, 8).map(str),
                    "product": st.sampled_from(("Tea", "Caf\u00e9", "a;b", 'q"x', "N/A-ish")),
                    "price": st.integers(1, 10**9).map(lambda cents: f"{cents / 100:.2f}"),
                    "quantity": st.integers(1, 100).map(str),
                    "date": st.dates(date(2000, 1, 1), date(2068, 12, 31)).map(date.isoformat),
                }
            ),
            min_size=1,
            max_size=12,
        )
    )
    return list(rows)


@given(tables(), st.data())
def test_any_form_and_mapping_of_a_table_gives_its_rows(
    rows: list[dict[str, str]], data: st.DataObject
) -> None:
    theirs = data.draw(st.lists(NAMES, min_size=6, max_size=6, unique_by=str.casefold))
    names = dict[str, str](zip(FIELDS, theirs, strict=False))
    form, write = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    date_format = data.draw(st.sampled_from(DATES))
    is_composite = data.draw(st.booleans())
    has_total = data.draw(st.booleans())
    columns: dict[str, Any] = dict(names)
    if is_composite:
        columns["transaction_id"] = [names["transaction_id"], theirs[5]]
    if has_total:
        columns["amount"] = columns.pop("price")

    def written(row: dict[str, str]) -> dict[str, str]:
        money = Decimal(row["price"]) * (int(row["quantity"]) if has_total else 1)
        day = date.fromisoformat(row["date"])
        texts = row | {
            "price": write(f"{money:.2f}"),
            "quantity": write(f"{row['quantity']}.00"),
            "date": day.strftime(date_format),
        }
        return {names[name]: text for name, text in texts.items()} | {theirs[5]: "x"}

    plain = sales_mart.validate(pl.DataFrame(rows), configuration())
    other = sales_mart.validate(
        pl.DataFrame([written(row) for row in rows]),
        configuration(format=form | {"date_format": date_format}, columns=columns),
    )
    assert other.valid.select(COLUMNS).rows() == plain.valid.select(COLUMNS).rows()
    assert other.counts == plain.counts
