"""How generated rows differ from plain valid ones: unusual but valid, or wrong, and why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.schema import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sales_mart.config import Config

__all__ = [
    "BAD_BYTE",
    "DUPLICATE",
    "MARKS",
    "NO_FIELD",
    "OWN",
    "PLAIN",
    "Form",
    "common_cases",
    "edges",
    "lowest_price",
    "money",
    "quoted",
    "rare_cases",
]

OWN = "\ue002"
"""Within the text of a form: the text that a plain row would have in this field."""
BAD_BYTE = "\ue000"
"""Within the text of a form: a byte that is no UTF-8."""
NO_FIELD = "\ue001"
"""As the text of a form: the row lacks this field."""
MARKS = (BAD_BYTE, NO_FIELD, OWN)


class Form(NamedTuple):
    """The texts that make a row differ from a plain one, and the reason code that comes of it."""

    reason: str
    texts: dict[str, str]


PLAIN = Form("", {})
DUPLICATE = Form("conflicting_transaction_id", {})
"""A valid row but for its identifier, which is that of another valid row."""

_COMMON = (
    Form("missing_transaction_id", {"transaction_id": ""}),
    Form("missing_product", {"product": ""}),
    Form("missing_price", {"price": ""}),
    Form("missing_quantity", {"quantity": ""}),
    Form("missing_date", {"date": ""}),
    Form("price_format", {"price": "twenty"}),
    Form("quantity_format", {"quantity": "1.5"}),
    Form("date_format", {"date": "2023-02-30"}),
    Form("price_too_low", {"price": "0"}),
    Form("quantity_range", {"quantity": "0"}),
    DUPLICATE,
    Form("missing_transaction_id", {"transaction_id": " \u00a0\u3000"}),
    Form("missing_product", {"product": "\t "}),
    Form("negative_price", {"price": "-20.00"}),
    Form("price_format", {"price": "2e3"}),
    Form("price_format", {"price": "20."}),
    Form("price_format", {"price": ".5"}),
    Form("price_format", {"price": "1_000"}),
    Form("price_format", {"price": "\u0662\u0660"}),
    Form("price_format", {"price": "NaN"}),
    Form("negative_quantity", {"quantity": "-1"}),
    Form("quantity_format", {"quantity": "+1"}),
    Form("quantity_format", {"quantity": "\uff13"}),
    Form("quantity_format", {"quantity": str(1 << 63)}),
    Form("date_format", {"date": "2023-2-3"}),
    Form("date_format", {"date": "20231001"}),
    Form("date_format", {"date": "01/10/2023"}),
    Form("date_format", {"date": "2023-W40-1"}),
    Form("date_format", {"date": "0000-01-01"}),
    Form("date_format", {"date": "2023-10-0\u0662"}),
    Form("date_format", {"price": "-", "quantity": "none", "date": "yesterday"}),
    Form("missing_transaction_id", dict.fromkeys(FIELDS, "")),
    Form("transaction_id_format", {"transaction_id": f"{OWN}\u200b"}),
    Form("transaction_id_format", {"transaction_id": f"\u202e{OWN}"}),
)
_OPEN_QUOTE = Form("malformed_row", {"date": f'"{OWN}'})
_RARE = (
    _OPEN_QUOTE,
    Form("malformed_row", {"product": NO_FIELD}),
    Form("malformed_row", {"date": f"{OWN},extra"}),
    Form("malformed_row", {"product": 'Mouse "Pro'}),
    Form("malformed_row", {"product": '"Mouse" Pro'}),
    Form("malformed_row", {"product": "Mouse\0"}),
    Form("encoding", {"product": f"Mouse {BAD_BYTE}"}),
    Form("encoding", {"product": f"Mouse\0{BAD_BYTE}"}),
    Form("missing_product", {"product": '""'}),
    Form("price_format", {"price": '"1,000.00"'}),
)
"""A quote that nobody closed ends with its line only because the quote that comes next in the
file has a letter or a digit behind it: so it is with every form here."""


def common_cases(config: Config) -> list[Form]:
    """Faults of a field's value that a row can have under the rules."""
    return [form for form in (*_COMMON, *_by_the_rules(config)) if _can_happen(form, config)]


def rare_cases(config: Config) -> list[Form]:
    """Faults that cost a CSV reader its fast path: quotes, bad bytes, ragged rows."""
    # Quotes within the prefix could close the one that must stay open.
    skip = _OPEN_QUOTE if '"' in config.rules.product_prefix else None
    return [form for form in _RARE if form is not skip and _can_happen(form, config)]


def edges(config: Config, first_product: str, last_product: str) -> list[Form]:
    """Unusual forms of a valid row."""
    texts = [
        {"product": last_product},
        {"transaction_id": f" {OWN}\t"},
        {"price": f"00{OWN}"},
        {"quantity": f"0{OWN}"},
        {"quantity": str(config.rules.max_quantity)},
        {"price": f"\t{OWN} ", "quantity": f"\u00a0{OWN}", "date": f" {OWN}\u3000"},
    ]
    if not first_product.startswith('"'):
        texts += [{"product": f"  {OWN}\u2003"}, {"product": f'"{OWN}"'}]
    whole = -(-lowest_price(config) // 10**config.rules.max_decimals)
    if len(str(whole)) <= 18 - config.rules.max_decimals:
        texts.append({"price": str(whole)})
    return [Form("", text) for text in texts]


def lowest_price(config: Config) -> int:
    """Lowest valid price, in units of the last decimal."""
    return max(1, math.ceil(config.rules.min_price.scaleb(config.rules.max_decimals)))


def money(units: int, config: Config) -> str:
    """Write a price that is given in units of the last decimal."""
    decimals = config.rules.max_decimals
    whole, rest = divmod(units, 10**decimals)
    return f"{whole}.{rest:0{decimals}}" if decimals else str(whole)


def quoted(text: str) -> str:
    """Put a field in quotes where RFC 4180 wants them."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


def _by_the_rules(config: Config) -> Iterator[Form]:
    rules = config.rules
    lowest = lowest_price(config)
    one_more = "1" if rules.max_decimals else ".1"
    yield Form("price_decimals", {"price": money(lowest, config) + one_more})
    yield Form("price_decimals", {"price": "0." + "0" * rules.max_decimals + "1"})
    yield Form("price_format", {"price": "1" + "0" * (18 - rules.max_decimals)})
    yield Form("price_too_low", {"price": money(lowest - 1, config)})
    yield Form("quantity_range", {"quantity": str(rules.max_quantity + 1)})
    prefix = rules.product_prefix
    for name in ("Monitor", "Laptop", f"\u200b{prefix}", prefix.swapcase()):
        if not name.startswith(prefix):
            yield Form("product_prefix", {"product": quoted(name)})


def _can_happen(form: Form, config: Config) -> bool:
    if form.reason.startswith("missing_"):
        return form.reason.removeprefix("missing_") in config.rules.required_fields
    if form.reason in ("product_prefix", "price_too_low", "quantity_range"):
        return not config.ingestion.trust_input
    return True
