"""One row: its texts, the reasons to reject it, and the model of a valid one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, LiteralString, cast

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from sales_mart.config import Config
from sales_mart.rows.characters import WHITE_SPACE, nfc
from sales_mart.rows.readers import readers
from sales_mart.rows.rule_kinds import Present
from sales_mart.rows.rules import GATES, reasons_of, row_rules, rules
from sales_mart.schema import schema_of

__all__ = ["Transaction", "check", "strip"]


def strip(value: object) -> str | None:
    """Return a field as stripped text; None when it is missing.

    Integral floats count as integers, other floats by their shortest text, decimals without the
    zeros that their scale adds, dates and midnights as ISO dates; NaN is missing.
    """
    if value is None:
        return None
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124 - only NaN differs from itself
            return None
        value = int(value) if value.is_integer() else value
    if isinstance(value, Decimal) and value.is_finite():
        text = f"{value:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    elif isinstance(value, date):
        text = value.isoformat().removesuffix("T00:00:00")
    else:
        text = str(value)
    return text.strip(WHITE_SPACE) or None


def _texts(fields: Mapping[str, object], config: Config) -> dict[str, str | None]:
    """Return the fields of a row as text, as the rules see them."""
    schema = schema_of(config)
    missing = config.ingestion.format.null_values
    texts = {
        name: strip(fields.get(name)) if origin.value is None else origin.value
        for name, origin in schema.fields.items()
    }
    texts |= {name: None for name, text in texts.items() if text in missing}
    return texts | {name: nfc(text) for name in schema.compared_texts if (text := texts[name])}


def check(fields: Mapping[str, object], config: Config | None = None) -> tuple[str, ...]:
    """Check one row by every rule but the one on duplicates.

    Args:
        fields: Value by column, as we call it; a column that is not there is missing.
        config: The configuration with the rules. Default: the default configuration.

    Returns:
        The reasons to reject the row, in the order of `REASONS`; empty when it is valid.
    """
    return _checked(fields, config or Config())[0]


def _checked(
    fields: Mapping[str, object], config: Config
) -> tuple[tuple[str, ...], dict[str, object]]:
    """Return the reasons to reject a row, and what its fields come to when there are none."""
    texts = _texts(fields, config)
    if readers(config) or row_rules(config):
        return _checked_as_frame(fields, texts, config)
    found: list[str] = []
    for rule in rules(config):
        text = texts[rule.field]
        if text is None:
            if isinstance(rule, Present):
                found.append(rule.reason)
        elif not {*GATES.get(rule.field, ())} & {*found} and not rule.holds(text):
            found.append(rule.reason)
    return tuple(found), dict(texts)


def _checked_as_frame(
    fields: Mapping[str, object], texts: Mapping[str, str | None], config: Config
) -> tuple[tuple[str, ...], dict[str, object]]:
    """Check a row as a frame of one: the forms of numbers and dates are read in one place only."""
    import polars as pl

    from sales_mart.rows.checker import Checker
    from sales_mart.rows.tokens import Tokeniser

    frame = pl.LazyFrame(
        {name: [text] for name, text in texts.items()}, schema=dict.fromkeys(texts, pl.String())
    )
    typed = [name for name, value in fields.items() if not isinstance(value, str)]
    valid, rejected = Checker(config, Tokeniser()).check(frame, typed)
    if rejected.height:
        return tuple(rejected["reasons"][0]), {}
    row = valid.row(0, named=True)
    made = {field: row[each.name] for field, each in schema_of(config).by_field.items()}
    return (), {**row, **made, "transaction_id": texts["transaction_id"]}


class Transaction(BaseModel):
    """One valid transaction, for people who check one row.

    Validate with the configuration as context: `Transaction.model_validate(row, context=config)`.
    Each error's `type` is a reason, and no error shows the input. A subclass may add fields.

    Attributes:
        transaction_id: The identifier, in NFC: it becomes a token only in `validate`.
        product: Product name; None when the configuration does not require it.
        price: Price of one piece, exact.
        quantity: Pieces; a decimal where the configuration allows decimals.
        date: Day of the sale.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    transaction_id: str
    product: str | None
    price: Decimal | None
    quantity: int | Decimal | None
    date: date

    @model_validator(mode="before")
    @classmethod
    def _check(cls, row: Any, info: ValidationInfo) -> Any:
        if not isinstance(row, Mapping):
            problem = PydanticCustomError("mapping_type", "a row must be a mapping of its fields")
            raise ValidationError.from_exception_data(
                cls.__name__, [InitErrorDetails(type=problem, input=None)], hide_input=True
            )
        config = info.context if isinstance(info.context, Config) else Config()
        fields = cast("Mapping[str, object]", row)
        reasons, found = _checked(fields, config)
        meanings = reasons_of(config)
        by_reason = {rule.reason: rule.field for rule in rules(config)}
        by_reason |= {rule.reason: rule.fields[0] for rule in row_rules(config)}
        errors: list[InitErrorDetails] = [
            InitErrorDetails(
                type=PydanticCustomError(
                    cast("LiteralString", reason), cast("LiteralString", meanings[reason].meaning)
                ),
                loc=(by_reason[reason],),
                input=None,
            )
            for reason in reasons
        ]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors, hide_input=True)
        return {**fields, **found}
