"""The rules of a load as data, and which of them admit more rows than those of an earlier load."""

from __future__ import annotations

from decimal import Decimal
from operator import gt, ne
from typing import TYPE_CHECKING, Any

from sales_mart.rows.rules import TRUSTED, attribute_rules
from sales_mart.schema import PRICE_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sales_mart.config import Config

__all__ = ["loosened", "rules_as_data"]


def rules_as_data(config: Config) -> dict[str, Any]:
    """Return the rules that a site may set: reason to reject a row -> the value of its rule.

    None says that no row is rejected for the reason: the field may be missing, or `trust_input`
    leaves the rule to the marts.
    """
    site = config.rules
    lowest = max(site.min_price, Decimal(1).scaleb(-site.max_decimals))
    values: dict[str, Any] = {
        **{
            f"missing_{field}": True if field in site.required_fields else None
            for field in ("product", "price", "quantity")
        },
        "product_prefix": site.product_prefix,
        "price_format": PRICE_DIGITS - site.max_decimals,
        "price_decimals": site.max_decimals,
        "price_too_low": f"{lowest:f}",
        "quantity_range": site.max_quantity,
        **{
            rule.reason: f"{column.kind} {column.scale}"
            for column, rule in attribute_rules(config).items()
        },
    }
    if config.ingestion.trust_input:
        values |= dict.fromkeys(TRUSTED)
    return values


def loosened(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Return the reasons for which `before` rejected rows that may be valid now."""
    return {
        reason
        for reason, value in before.items()
        if value is not None
        and (now.get(reason) is None or _ADMITS_MORE.get(reason, ne)(now[reason], value))
    }


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
}
"""Tells whether the first value of a rule admits rows that the second one does not."""
