"""Propose what else to carry: a currency, personal columns as tokens, dimensions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sales_mart.names import MART_NAMES
from sales_mart.rows.known_names import compared, rank
from sales_mart.rows.proposal import quoted
from sales_mart.rows.propose_forms import one
from sales_mart.schema import RESERVED_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.rows.column_roles import Roles
    from sales_mart.rows.columns_seen import SeenColumn
    from sales_mart.rows.propose_forms import Findings

__all__ = ["propose_attributes"]

_SECTION = "ingestion.attributes"
_CODE = re.compile(r"[A-Za-z]{3}|[^\w\s]{1,3}")
_TIME = re.compile(r"\d{1,2}:\d{2}(:\d{2})?( ?[AaPp][Mm])?")
_NO_SALE = frozenset(
    {
        *("canceled", "cancelled", "void", "voided", "failed", "declined", "rejected", "expired"),
        *("abandoned", "draft", "test", "storniert", "storno", "abgebrochen", "fehlgeschlagen"),
        *("annule", "annulee", "echoue", "cancelado", "anulado", "fallido"),
        *("dibatalkan", "batal", "gagal"),
    }
)
"""What a state says of an order or a payment that came to nothing."""
_MOST_DIMENSIONS = 8
_MOST_PERSONAL = 20
_MOST_VALUES = 50
_FEW_ROWS = 20


def propose_attributes(found: Findings, roles: Roles, seen: Sequence[SeenColumn]) -> None:
    """Propose attributes; what is only possible is a commented choice."""
    taken: set[str] = set()
    if roles.currency and all(_CODE.fullmatch(text) for text, _ in roles.currency.counts):
        _propose_currency(found, roles.currency, taken)
    used = {each.place for each in (roles.identifier, roles.product) if each}
    personal = [each for each in seen if each.is_personal and each.name and each.place not in used]
    for column in personal[:_MOST_PERSONAL]:
        if not column.is_twice and column.kind != "empty":
            _offer(found, column, {"pii": True}, "looks personal: tokens only", taken)
    free = roles.unused(seen)
    states = [each for each in free if _came_to_nothing(each) and each.distinct <= _MOST_VALUES]
    for column in states:
        _ask_what_counts(found, column, taken)
    kinds = [each for each in free if each not in states and _says_what_is_paid(each, roles)]
    for column in kinds:
        _ask_for_sales(found, column, taken)
    free = [each for each in free if each not in states and each not in kinds]
    for column in [each for each in free if _is_sliced_by(each)][:_MOST_DIMENSIONS]:
        values = f"{column.distinct} values"
        _offer(found, column, {"dimension": True}, f"{values}: sums by each", taken)


def _propose_currency(found: Findings, column: SeenColumn, taken: set[str]) -> None:
    value = {"from": column.name, "role": "currency"}
    key = f"{_SECTION}.{_slug(column, taken)}"
    if column.distinct > 1:
        says = f"{column.distinct} currencies, which are never added together."
        found.decide(key, value, says)
        return
    found.ask(
        key,
        f"{quoted(column.name)} holds one currency in what was read.",
        [one(key, value, "in the grain of every sum")],
        "Without it, a second currency is refused when it comes.",
        is_open=False,
    )


def _came_to_nothing(column: SeenColumn) -> list[str]:
    """Return the values that say of a row that it is no sale."""
    return [text for text, _ in column.counts if compared(text) in _NO_SALE]


def _ask_what_counts(found: Findings, column: SeenColumn, taken: set[str]) -> None:
    key = f"{_SECTION}.{_slug(column, taken)}"
    nothing = _came_to_nothing(column)
    counts = sorted(text for text, _ in column.counts if text not in nothing)
    found.ask(
        key,
        f"{quoted(column.name)} says {quoted(nothing[0])} of some rows. Which of them count?",
        [one(key, {"from": column.name, "accepted_values": counts}, "all others")],
        "Without an answer all rows count.",
    )


def _says_what_is_paid(column: SeenColumn, roles: Roles) -> bool:
    """Return whether a column is called after the amount, such as `amount-type`."""
    names = [compared(each.name) for each in roles.amounts]
    is_named = any(compared(column.name).startswith(name) for name in names)
    return is_named and column.kind == "text" and 1 < column.distinct <= _MOST_VALUES


def _ask_for_sales(found: Findings, column: SeenColumn, taken: set[str]) -> None:
    key = f"{_SECTION}.{_slug(column, taken)}"
    values = sorted(text for text, _ in column.counts)
    found.ask(
        key,
        f"{quoted(column.name)} says what is paid in each row. Which of them are sales, and no "
        "taxes, fees or shipping?",
        [one(key, {"from": column.name, "accepted_values": values}, "leave those that are sales")],
        "Without an answer all rows count.",
    )


def _offer(
    found: Findings, column: SeenColumn, more: dict[str, object], meaning: str, taken: set[str]
) -> None:
    key = f"{_SECTION}.{_slug(column, taken)}"
    found.ask(
        key,
        f"{quoted(column.name)} can be carried.",
        [one(key, {"from": column.name, **more}, meaning)],
        "Without it the column is left out.",
        is_open=False,
    )


def _is_sliced_by(column: SeenColumn) -> bool:
    values = column.distinct
    rows = column.texts.len()
    few = values * 2 <= rows or rows <= _FEW_ROWS
    is_time = sum(_TIME.fullmatch(text) is not None for text, _ in column.counts) * 2 > values
    is_sliced = column.kind == "text" and 1 < values <= _MOST_VALUES and few
    return is_sliced and not is_time and not column.may_identify


def _slug(column: SeenColumn, taken: set[str]) -> str:
    """Return a name that an attribute may have."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.name)
    plain = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:40]
    if not plain or not plain[0].isalpha():
        plain = f"column_{column.place + 1}"
    if rank(column.name, "currency") is not None:
        plain = "currency"
    if plain in RESERVED_NAMES | MART_NAMES or plain in taken:
        plain = f"{plain}_{column.place + 1}"
    taken.add(plain)
    return plain
