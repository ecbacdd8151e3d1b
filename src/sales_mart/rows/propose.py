"""Propose what the columns of a sample mean, and the rules that their values need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_mart.rows.column_roles import find_roles, header_of
from sales_mart.rows.columns_seen import columns_seen
from sales_mart.rows.known_names import rank
from sales_mart.rows.proposal import counted, quoted
from sales_mart.rows.propose_forms import (
    Findings,
    number_form,
    one,
    propose_dates,
    propose_null_words,
    propose_numbers,
)
from sales_mart.rows.propose_identity import propose_identifier
from sales_mart.rows.propose_money import MOST_CHOICES, map_column, propose_money, without_totals
from sales_mart.rows.propose_others import propose_attributes
from sales_mart.rows.propose_rules import propose_rules

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import polars as pl

    from sales_mart.rows.column_roles import Roles
    from sales_mart.rows.columns_seen import SeenColumn, SeenKind

__all__ = ["propose"]

_COLUMNS = "ingestion.columns"
_SOME = 0.02
"""Share of the rows from which on something is no mistake."""


def propose(
    found: Findings,
    names: Sequence[str],
    frame: pl.DataFrame,
    typed: Collection[int] = (),
    *,
    has_header: bool,
) -> tuple[SeenColumn, ...]:
    """Propose a configuration for the rows of a sample.

    Args:
        found: Told what is found.
        names: What the file calls its columns; without a header `column 1` and so on.
        frame: Their texts, without white space around them.
        typed: Where those stand whose values had a type.
        has_header: Whether the file names its columns.

    Returns:
        The columns that were seen.
    """
    seen = columns_seen(names, frame, typed)
    if not has_header:
        given = header_of(seen)
        found.ask(
            "ingestion.format.header",
            "The first row holds values, so the file does not name its columns.",
            [one("ingestion.format.header", given, "in this order, by what they hold")],
            "Without an answer the file is refused.",
            is_assumed=True,
        )
        seen = columns_seen(given, frame, typed)
    roles = find_roles(seen)
    money = [each for each in (roles.price, *roles.twins, *roles.amounts) if each]
    # Where a column is asked for, the likeliest one says how its values are written.
    money = money or _of_kind(roles, seen, "number")[:1]
    numbers = [*money, *([roles.quantity] if roles.quantity else [])]
    propose_numbers(found, numbers, money)
    form = number_form(found.assumed)
    roles = without_totals(roles, form)
    dates = [roles.date] if roles.date else _of_kind(roles, seen, "date")[:1]
    for column in dates:
        propose_dates(found, column)
    texts = [each for each in (roles.product, roles.identifier) if each]
    propose_null_words(found, [*numbers, *dates], texts)
    propose_identifier(found, roles, frame)
    _propose_columns(found, roles, seen)
    read = propose_money(found, roles, form)
    if not read:
        _ask_for(found, "price", _of_kind(roles, seen, "number"))
    propose_rules(found, roles, read, form)
    propose_attributes(found, roles, seen)
    return tuple(seen)


def _propose_columns(found: Findings, roles: Roles, seen: Sequence[SeenColumn]) -> None:
    if roles.product:
        _propose_product(found, roles.product, seen)
    else:
        _ask_for(found, "product", _of_kind(roles, seen, "text"))
    if roles.date:
        map_column(found, "date", roles.date)
    else:
        _ask_for(found, "date", _of_kind(roles, seen, "date"))
    _propose_quantity(found, roles)


def _propose_product(found: Findings, named: SeenColumn, seen: Sequence[SeenColumn]) -> None:
    """Propose the product's name, or its code where the name is missing in some rows."""
    codes = [
        each
        for each in seen
        if rank(each.name, "product") is not None and each.may_identify and _is_fuller(each, named)
    ]
    if not codes:
        map_column(found, "product", named)
        return
    key = f"{_COLUMNS}.product"
    missing = counted(named.empty, "row", "rows")
    says = f"{quoted(named.name)} is empty in {missing}, and this is not."
    found.decide(key, codes[0].name, says)
    found.ask(
        key,
        f"{quoted(named.name)} can be the product too.",
        [one(key, named.name, "rows without it are rejected")],
        "Without it the product's code counts.",
        is_open=False,
    )


def _is_fuller(column: SeenColumn, other: SeenColumn) -> bool:
    """Return whether something stands in all rows of the other column, and in more."""
    ours, others = column.texts.is_not_null(), other.texts.is_not_null()
    return bool((ours & ~others).any() and not (others & ~ours).any())


def _of_kind(roles: Roles, seen: Sequence[SeenColumn], kind: SeenKind) -> list[SeenColumn]:
    return [each for each in roles.unused(seen) if each.kind == kind]


def _ask_for(found: Findings, name: str, candidates: Sequence[SeenColumn]) -> None:
    key = f"{_COLUMNS}.{name}"
    found.ask(
        key,
        f"No column has a name that says that it is the {name}.",
        [one(key, each.name) for each in candidates[:MOST_CHOICES]] or [one(key, "COLUMN")],
        "Without an answer the file is refused.",
        is_assumed=bool(candidates),
    )


def _propose_quantity(found: Findings, roles: Roles) -> None:
    key = f"{_COLUMNS}.quantity"
    one_piece = [one(key, {"value": 1}, "each row is one piece")]
    if roles.quantity is None:
        found.ask(
            key,
            "No column has a name that says that it is the quantity. Is each row one piece?",
            one_piece,
            "Without an answer the file is refused.",
            is_assumed=True,
        )
        return
    map_column(found, "quantity", roles.quantity)
    if roles.price or not roles.amounts:
        return
    paid = roles.amounts[0].texts.is_not_null() & roles.quantity.texts.is_null()
    if paid.sum() >= max(paid.len() * _SOME, 2):
        found.ask(
            key,
            f"{paid.sum():,} rows have an amount and no quantity. Does each row count as one?",
            one_piece,
            "Without an answer these rows are rejected (missing_quantity).",
        )
