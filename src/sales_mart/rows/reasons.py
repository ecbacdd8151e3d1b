"""Every reason to reject a row: what it means, which keys decide about it, how to mend the row."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["REASONS", "Reason", "attribute_reason"]

_RULES = "ingestion.validation"
_FORMAT = "ingestion.format"
_COLUMNS = "ingestion.columns"


class Reason(NamedTuple):
    """Why a row is rejected.

    Attributes:
        meaning: What is wrong with it.
        keys: The keys of the configuration that decide about it; none where nothing does.
        remedy: What to do about it.
    """

    meaning: str
    keys: tuple[str, ...]
    remedy: str


def _missing(field: str) -> Reason:
    return Reason(
        f"{field} is empty",
        (f"{_RULES}.required_fields", f"{_FORMAT}.null_values", _COLUMNS),
        f"Fill it in, or take {field} out of {_RULES}.required_fields: the marts then leave the "
        "row out.",
    )


def _format(field: str) -> Reason:
    return Reason(
        f"{field} is not digits with an optional point and digits, or is too long",
        tuple(f"{_FORMAT}.{key}" for key in ("decimal_separator", "thousands", "currency_sign")),
        "Write it as the file's other numbers are written. Where all are rejected, say how the "
        "file writes numbers.",
    )


def _currency(field: str) -> Reason:
    return Reason(
        f"{field} has the sign or code of another currency",
        (f"{_FORMAT}.currency_sign",),
        "Deliver amounts in one currency, or name the column that says which one it is as an "
        "attribute with role: currency.",
    )


def _negative(field: str) -> Reason:
    return Reason(
        f"{field} is negative",
        (f"{_RULES}.allow_returns",),
        "Take the sign away where it is a mistake. Where negative rows are returns, set "
        f"{_RULES}.allow_returns.",
    )


def _decimals(field: str) -> Reason:
    return Reason(
        f"{field} has more decimals than allowed",
        (f"{_RULES}.max_decimals", f"{_RULES}.rounding"),
        f"Round it in the file, allow more decimals, or set {_RULES}.rounding: half_up.",
    )


REASONS: dict[str, Reason] = {
    "malformed_row": Reason(
        "not the header's number of fields, a stray quote, a swallowed row, or a NUL",
        tuple(f"{_FORMAT}.{key}" for key in ("delimiter", "quote", "escape", "jagged_rows")),
        "Put quotes around fields that hold a delimiter, double the quotes within them, close "
        "each quote, and give the row as many fields as the header has.",
    ),
    "encoding": Reason(
        "not UTF-8",
        (f"{_FORMAT}.encoding",),
        "Write the row again in the encoding of the file. Where many are rejected, all of the "
        "file is in another one: say which.",
    ),
    "missing_transaction_id": Reason(
        "transaction_id is empty",
        (f"{_FORMAT}.null_values", _COLUMNS),
        "Fill it in: a row without an identifier cannot be told from another. Of several columns "
        "none may be empty.",
    ),
    "transaction_id_format": Reason(
        "transaction_id holds an invisible character",
        (),
        "Take the character out: a zero-width space, a soft hyphen or a direction mark.",
    ),
    "missing_product": _missing("product"),
    "product_prefix": Reason(
        "product does not start with the prefix",
        (f"{_RULES}.product_prefix", "ingestion.trust_input"),
        "Correct the name, to the letter. Where such products are sold too, shorten the prefix "
        "or take it out.",
    ),
    "missing_price": _missing("price"),
    "price_currency": _currency("price"),
    "price_format": _format("price"),
    "negative_price": _negative("price"),
    "price_decimals": _decimals("price"),
    "price_too_low": Reason(
        "price is under the lowest price, or not above 0",
        (f"{_RULES}.min_price", f"{_RULES}.allow_returns", "ingestion.trust_input"),
        f"Correct the price, or lower {_RULES}.min_price. With {_RULES}.allow_returns a price of "
        "0 is a gift.",
    ),
    "missing_quantity": _missing("quantity"),
    "quantity_format": Reason(
        "quantity is not a number of digits, has decimals, or is too long",
        (f"{_RULES}.quantity_decimals", f"{_FORMAT}.decimal_separator", f"{_FORMAT}.thousands"),
        f"Write a whole number, or set {_RULES}.quantity_decimals for weights and lengths.",
    ),
    "negative_quantity": _negative("quantity"),
    "quantity_range": Reason(
        "quantity is not from 1 to the highest quantity",
        (f"{_RULES}.max_quantity", "ingestion.trust_input"),
        f"Correct the quantity, or raise {_RULES}.max_quantity.",
    ),
    "missing_amount": _missing("amount"),
    "amount_currency": _currency("amount"),
    "amount_format": _format("amount"),
    "negative_amount": _negative("amount"),
    "amount_decimals": _decimals("amount"),
    "missing_date": Reason(
        "date is empty",
        (f"{_FORMAT}.null_values", _COLUMNS),
        "Fill it in: a row without a date belongs to no day.",
    ),
    "date_format": Reason(
        "date is not a calendar date in the configured form",
        (f"{_FORMAT}.date_format", f"{_FORMAT}.timezone"),
        "Write a day that there is, in the configured form, or list the other form as well.",
    ),
    "duplicate_transaction_id": Reason(
        "an earlier valid row is the same",
        (f"{_COLUMNS}.transaction_id",),
        "Nothing is lost: the first of them counts. Deliver each row once.",
    ),
    "conflicting_transaction_id": Reason(
        "an earlier valid row has the same transaction_id, and differs",
        (f"{_COLUMNS}.transaction_id",),
        "Where they are lines of one order, name the column that tells the lines apart, or $row, "
        f"in {_COLUMNS}.transaction_id as well. Else decide which row is right: the first counts.",
    ),
}
"""Every reason for which a row is rejected, in the order in which a row lists them."""

_KINDS = {
    "integer": "is not a whole number of 64 bits",
    "decimal": "is not plain digits with an optional point, or has too many of them",
    "date": "is not a calendar date in the configured form",
    "boolean": "is neither true nor false",
}


def attribute_reason(name: str, kind: str) -> Reason:
    """Return the reason of a column of the configuration that cannot be read, or isn't accepted."""
    key = f"ingestion.attributes.{name}"
    if kind == "text":
        return Reason(
            f"{name} is missing, or none of the accepted values",
            (f"{key}.accepted_values",),
            f"Write one of the accepted values, to the letter, or add another one to "
            f"{key}.accepted_values.",
        )
    return Reason(
        f"{name} {_KINDS[kind]}",
        (f"{key}.type", *((f"{key}.decimals",) if kind == "decimal" else ())),
        f"Correct the value or leave it empty, or set {key}.type: text.",
    )
