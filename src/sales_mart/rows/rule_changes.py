"""The rules of a load as data, and which of them admit more rows than those of an earlier load."""

from __future__ import annotations

from decimal import Decimal
from operator import gt
from typing import TYPE_CHECKING, Any

from sales_mart.rows.rule_kinds import Accepted, Present
from sales_mart.rows.rules import TRUSTED, attribute_rules
from sales_mart.schema import PRICE_DIGITS, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sales_mart.config import Config
    from sales_mart.rows.rule_kinds import Rule
    from sales_mart.schema import SaleColumn

__all__ = ["CURRENCY", "loosened", "rules_as_data"]

CURRENCY = "currency"
"""What a load keeps, beside its rules, of a column called currency that is not carried."""
ACCEPTED = "accepted"
"""Key of the texts that a column may have."""
NUMBERS = "numbers"
"""How numbers are written; no row is rejected for that alone."""


def rules_as_data(config: Config) -> dict[str, Any]:
    """Return the rules that a site may set: reason to reject a row -> the value of its rule.

    None says that no row is rejected for the reason: the field may be missing, or `trust_input`
    leaves the rule to the marts.
    """
    site, given = config.rules, config.ingestion.format
    lowest = max(site.min_price, Decimal(1).scaleb(-site.max_decimals))
    values: dict[str, Any] = {
        **{
            f"missing_{field}": True if field in site.required_fields else None
            for field in ("product", "price", "quantity")
        },
        "product_prefix": site.product_prefix,
        "price_format": PRICE_DIGITS - site.max_decimals,
        "price_decimals": site.max_decimals if site.rounding == "reject" else None,
        "price_too_low": f"{lowest:f}",
        "price_currency": given.currency_sign,
        "quantity_range": site.max_quantity,
        "quantity_format": site.quantity_decimals,
        **{
            f"negative_{field}": None if site.allow_returns else True
            for field in ("price", "quantity", "amount")
        },
        "date_format": [*given.date_format, given.timezone],
        "encoding": given.encoding or "utf-8",
        "malformed_row": [given.delimiter, given.quote, given.escape, given.jagged_rows],
        "conflicting_transaction_id": [
            list(part) for part in schema_of(config).fields["transaction_id"].parts
        ],
        NUMBERS: [given.decimal_separator, given.thousands],
        **{
            rule.reason: _value(rule, column)
            for column, rules in attribute_rules(config).items()
            for rule in rules
        },
    }
    if config.ingestion.trust_input:
        values |= dict.fromkeys(TRUSTED)
    return values


def loosened(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Return the reasons for which `before` rejected rows that may be valid now."""
    found = {
        reason
        for reason, value in before.items()
        if value is not None
        and (now.get(reason) is None or _ADMITS_MORE.get(reason, _more)(now[reason], value))
    }
    # Numbers that are written otherwise may be read now, whichever field they are of.
    formats = {f"{field}_format" for field in ("price", "quantity", "amount")}
    return found | formats if NUMBERS in found else found


def _value(rule: Rule, column: SaleColumn) -> Any:
    """Return what the rule of a column of the configuration is compared by."""
    if isinstance(rule, Accepted):
        return {ACCEPTED: sorted(rule.texts)}
    return True if isinstance(rule, Present) else f"{column.kind} {column.scale}"


def _more(now: Any, before: Any) -> bool:
    if isinstance(now, dict) and isinstance(before, dict):
        return not {*now[ACCEPTED]} <= {*before[ACCEPTED]}
    return now != before


def _other_prefix(now: str, before: str) -> bool:
    return not now.startswith(before)


def _lower(now: str, before: str) -> bool:
    return Decimal(now) < Decimal(before)


_ADMITS_MORE: dict[str, Callable[[Any, Any], bool]] = {
    "product_prefix": _other_prefix,
    "price_format": gt,
    "price_decimals": gt,
    "price_too_low": _lower,
    "quantity_range": gt,
    "quantity_format": gt,
}
"""Tells whether the first value of a rule admits rows that the second one does not."""
