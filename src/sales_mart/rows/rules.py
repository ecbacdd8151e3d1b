"""The rules of a row: each stands here once, for one row and for millions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sales_mart.rows.numbers import OTHER_CURRENCY
from sales_mart.rows.reasons import REASONS, Reason, attribute_reason
from sales_mart.rows.rule_kinds import (
    Accepted,
    CalendarDate,
    LowestPrice,
    NotNegative,
    Pattern,
    Prefix,
    Present,
    PriceFormat,
    QuantityRange,
    Rule,
    Unlike,
    Visible,
    Whole,
)
from sales_mart.schema import AMOUNT_DIGITS, FIELDS, PRICE_DIGITS, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    import polars as pl

    from sales_mart.config import Config
    from sales_mart.config.ingestion import Validation
    from sales_mart.schema import SaleColumn

__all__ = [
    "CONFLICT",
    "DUPLICATE",
    "GATES",
    "OF_WHOLE_ROWS",
    "TRUSTED",
    "RowRule",
    "attribute_rules",
    "mart_rules",
    "reasons_of",
    "row_rules",
    "rules",
]

DUPLICATE = "duplicate_transaction_id"
CONFLICT = "conflicting_transaction_id"
"""The two reasons that other rows are needed for."""
OF_WHOLE_ROWS = ("malformed_row", "encoding", DUPLICATE, CONFLICT)
"""The reasons that no field decides."""

TRUSTED = ("product_prefix", "price_too_low", "quantity_range")
"""What `trust_input` leaves to the marts."""

GATES = {
    "price": ("price_currency", "price_format", "negative_price"),
    "quantity": ("quantity_format", "negative_quantity"),
    "amount": ("amount_currency", "amount_format", "negative_amount"),
}
"""The rules of a field of which each must hold before the field's later rules are asked."""


def rules(config: Config) -> tuple[Rule, ...]:
    """Return the rules of a valid transaction under a configuration, in the order of reasons."""
    site = config.rules
    fields = schema_of(config).fields
    written: tuple[Rule, ...] = (
        Present("missing_transaction_id", "transaction_id"),
        Visible("transaction_id_format", "transaction_id"),
        Present("missing_product", "product"),
        Prefix("product_prefix", "product", site.product_prefix),
        *_money_rules("price", config),
        # Where returns are allowed, or the price is computed, it takes other fields to tell.
        *(() if row_rules(config) else (_lowest_price(config),)),
        Present("missing_quantity", "quantity"),
        *_quantity_rules(config),
        *_money_rules("amount", config),
        Present("missing_date", "date"),
        CalendarDate("date_format", "date"),
        *(rule for rules in attribute_rules(config).values() for rule in rules),
    )
    return tuple(
        rule
        for rule in written
        if rule.field in fields
        and not (config.ingestion.trust_input and rule.reason in TRUSTED)
        and not (
            isinstance(rule, Present)
            and rule.field in FIELDS
            and rule.field not in site.required_fields
        )
    )


def _money_rules(field: str, config: Config) -> Iterator[Rule]:
    places = config.rules.max_decimals
    whole = PRICE_DIGITS - places
    part = rf"(?:\.[0-9]{{1,{places}}}0*)?" if places else r"(?:\.0+)?"
    yield Present(f"missing_{field}", field)
    if config.ingestion.format.currency_sign:
        yield Unlike(f"{field}_currency", field, OTHER_CURRENCY)
    yield PriceFormat(f"{field}_format", field, rf"-?0*[0-9]{{1,{whole}}}(?:\.[0-9]+)?")
    if not config.rules.allow_returns:
        yield NotNegative(f"negative_{field}", field)
    yield Pattern(f"{field}_decimals", field, f"-?[0-9]+{part}")


def _lowest_price(config: Config) -> Rule:
    return LowestPrice("price_too_low", "price", config.rules.min_price, config.rules.max_decimals)


def _quantity_rules(config: Config) -> Iterator[Rule]:
    site = config.rules
    places = site.quantity_decimals
    if places:
        whole = rf"-?0*[0-9]{{1,{PRICE_DIGITS - places}}}"
        yield Pattern("quantity_format", "quantity", rf"{whole}(?:\.[0-9]{{1,{places}}}0*)?")
    else:
        yield Whole("quantity_format", "quantity")
    if not site.allow_returns:
        yield NotNegative("negative_quantity", "quantity")
    yield QuantityRange("quantity_range", "quantity", site.max_quantity, places)


@dataclass(frozen=True)
class RowRule:
    """One reason to reject a row that takes several of its fields to tell.

    Attributes:
        reason: Code of the reason.
        fields: The fields.
        holds: Whether it holds, of the fields' numbers in their order; it is asked only where they
            are all there and pass their own rules.
    """

    reason: str
    fields: tuple[str, ...]
    holds: Callable[..., pl.Expr]


def row_rules(config: Config) -> tuple[RowRule, ...]:
    """Return the rules that look at several fields; none where a price has to be above 0 anyway."""
    site = config.rules
    fields = schema_of(config).fields
    has_price, has_total = "price" in fields, "amount" in fields
    if not site.allow_returns and has_price:
        return ()
    low = "price_too_low"
    lowest = site.min_price
    if not has_price:
        found = (RowRule(low, ("amount", "quantity"), partial(_covers, site)),)
    elif has_total:
        found = (RowRule(low, ("amount", "price"), partial(_sold_for_enough, lowest)),)
    else:
        found = (
            RowRule("negative_price", ("price", "quantity"), _one_is_positive),
            RowRule(low, ("price", "quantity"), partial(_is_high_enough, lowest)),
        )
    trusts = config.ingestion.trust_input
    return tuple(rule for rule in found if not (trusts and rule.reason in TRUSTED))


def _one_is_positive(price: pl.Expr, quantity: pl.Expr) -> pl.Expr:
    return (price >= 0) | (quantity >= 0)


def _is_high_enough(lowest: Decimal, price: pl.Expr, quantity: pl.Expr) -> pl.Expr:
    """Return whether a row is a return or a gift, or has a price that is high enough."""
    return (price <= 0) | (quantity <= 0) | (price >= lowest)


def _sold_for_enough(lowest: Decimal, amount: pl.Expr, price: pl.Expr) -> pl.Expr:
    """Tell the same where the line total says which rows are returns or gifts."""
    return (amount <= 0) | ((price >= lowest) & (price > 0))


def _covers(site: Validation, amount: pl.Expr, quantity: pl.Expr) -> pl.Expr:
    """Return whether a line total is what its quantity costs at the lowest price, or more."""
    import polars as pl

    exponent = site.min_price.normalize().as_tuple().exponent
    scale = max(-exponent, 0) if isinstance(exponent, int) else 0
    # Both sides as whole numbers of the same small unit.
    shift = site.quantity_decimals + scale - site.max_decimals
    least = quantity.abs().to_physical().cast(pl.Int128) * int(site.min_price.scaleb(scale))
    has = amount.to_physical().cast(pl.Int128)
    enough = has * 10 ** max(shift, 0) >= least * 10 ** max(-shift, 0)
    return (has <= 0) | enough if site.allow_returns else (has > 0) & enough


def attribute_rules(config: Config) -> dict[SaleColumn, tuple[Rule, ...]]:
    """Return the rules of the columns of the configuration: each can be read, and is accepted."""
    return {column: _attribute_rules(column) for column in schema_of(config).attributes}


def _attribute_rules(column: SaleColumn) -> tuple[Rule, ...]:
    if column.accepted:
        return (
            Present(f"missing_{column.name}", column.name),
            Accepted(f"{column.name}_not_accepted", column.name, column.accepted),
        )
    return () if column.kind == "text" else (_can_be_read(column),)


def _can_be_read(column: SaleColumn) -> Rule:
    reason = f"{column.name}_format"
    if column.kind == "integer":
        return Whole(reason, column.name)
    if column.kind == "date":
        return CalendarDate(reason, column.name)
    if column.kind == "boolean":
        return Pattern(reason, column.name, "(?i:true|false)")
    # Zeros at the end lose nothing.
    part = rf"(?:\.[0-9]{{1,{column.scale}}}0*)?" if column.scale else r"(?:\.0+)?"
    whole = rf"-?0*[0-9]{{1,{AMOUNT_DIGITS - column.scale}}}"
    return Pattern(reason, column.name, whole + part)


def reasons_of(config: Config) -> dict[str, Reason]:
    """Return every reason to reject a row under a configuration."""
    return REASONS | {
        rule.reason: attribute_reason(column.name, column.kind)
        for column, rules in attribute_rules(config).items()
        for rule in rules
    }


def mart_rules(config: Config) -> Config:
    """Return the configuration whose rules a row must pass to be shown in a mart."""
    everything = config.rules.model_copy(update={"required_fields": FIELDS})
    ingestion = config.ingestion.model_copy(update={"validation": everything, "trust_input": False})
    return config.model_copy(update={"ingestion": ingestion})
