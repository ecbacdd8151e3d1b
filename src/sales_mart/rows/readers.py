"""How a configuration's files write numbers and dates, and what is computed from them."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Protocol

import polars as pl

from sales_mart.rows.dates import days_of
from sales_mart.rows.numbers import UNREADABLE, NumberForm, plain_numbers
from sales_mart.schema import polars_schema, schema_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config
    from sales_mart.schema import Schema

__all__ = ["Reader", "computed_columns", "readers"]

_TYPED_DATES = tuple(
    f"%Y-%m-%d{time}{zone}"
    for time in ("", "T%H:%M:%S", "T%H:%M:%S.%f")
    for zone in ("", "%z")
    if time or not zone
)
"""How dates and times that had a type are written."""


class Reader(Protocol):
    """Reads the texts of a field into plain ones, or into a text that no rule lets through."""

    def __call__(self, texts: pl.Series, *, is_typed: bool) -> pl.Series:
        """Read texts without white space around them; null stays null."""
        ...


def readers(config: Config) -> dict[str, Reader]:
    """Return what reads each field that is not written as `Checker` needs it anyway."""
    given, site = config.ingestion.format, config.rules
    found: dict[str, Reader] = {}
    for field, column in schema_of(config).by_field.items():
        if column.kind == "date" and (given.date_format or given.timezone):
            formats = given.date_format or ("%Y-%m-%d",)
            found[field] = partial(_days, formats=formats, timezone=given.timezone)
        if column.kind not in {"integer", "decimal"}:
            continue
        is_money = column.role in {"price", "amount"}
        scale = column.origin.scale
        form = NumberForm(
            decimal=given.decimal_separator,
            thousands=given.thousands,
            currency=given.currency_sign,
            scale=None if scale is None else Decimal(scale),
            decimals=site.max_decimals if is_money and site.rounding == "half_up" else None,
        )
        if form != NumberForm() or site.allow_returns:
            found[field] = partial(plain_numbers, form=form)
    return found


def _days(
    texts: pl.Series, *, formats: Sequence[str], timezone: str | None, is_typed: bool
) -> pl.Series:
    days = days_of(texts, _TYPED_DATES if is_typed else formats, timezone)
    frame = pl.DataFrame({"text": texts, "day": days})
    unread = pl.when(pl.col("text").is_not_null()).then(pl.lit(UNREADABLE))
    return frame.select(pl.coalesce("day", unread).alias(texts.name)).to_series()


def computed_columns(config: Config) -> tuple[pl.Expr, ...]:
    """Return what no file has: the amount, or with a line total the price.

    They have the names of typed fields, and are exact: whole numbers of the smallest unit.
    """
    schema = schema_of(config)
    types = polars_schema(schema.columns)
    fields = schema.by_field
    if "amount" not in fields:
        return (_amount(schema).cast(types["amount"], strict=False).alias("_amount"),)
    if "price" not in fields:
        return (_price(schema).cast(types["price"], strict=False).alias("_price"),)
    return ()


def _amount(schema: Schema) -> pl.Expr:
    """Return price times quantity, rounded half away from zero."""
    scale = schema.of_role("quantity")[0].scale
    price, quantity = pl.col("_price"), pl.col("_quantity")
    if not scale:
        # Where `trust_input` lets huge numbers through, it is null; no mart shows those rows.
        return price * quantity
    units = _units(price) * _units(quantity)
    return _as_money(_divided(units, pl.lit(10**scale, pl.Int128)), schema)


def _price(schema: Schema) -> pl.Expr:
    """Return amount divided by quantity, rounded half away from zero."""
    scale = schema.of_role("quantity")[0].scale
    quantity = pl.col("_quantity")
    units = _units(quantity) if scale else quantity.cast(pl.Int128)
    dividend = _units(pl.col("_amount")) * 10**scale
    divided = pl.when(units != 0).then(_divided(dividend, pl.when(units != 0).then(units)))
    return _as_money(divided, schema)


def _units(number: pl.Expr) -> pl.Expr:
    return number.to_physical().cast(pl.Int128)


def _divided(dividend: pl.Expr, divisor: pl.Expr) -> pl.Expr:
    """Divide whole numbers, and round half away from zero."""
    by = divisor.abs()
    half = (2 * dividend.abs() + by) // (2 * by)
    return half * dividend.sign() * divisor.sign()


def _as_money(units: pl.Expr, schema: Schema) -> pl.Expr:
    """Return whole numbers of the smallest unit as decimals."""
    scale = schema.of_role("price")[0].scale
    # The quotient keeps the scale of the dividend, so no digit is lost.
    return units.cast(pl.Decimal(38, scale), strict=False) / pl.lit(10**scale)
