"""Propose what the columns of a sample mean, and the rules that their values need."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sales_mart.rows.column_roles import Roles, find_roles, header_of
from sales_mart.rows.columns_seen import columns_seen
from sales_mart.rows.proposal import Choice, counted, quoted
from sales_mart.rows.propose_forms import (
    Findings,
    decimals_of,
    number_form,
    one,
    propose_dates,
    propose_null_words,
    propose_numbers,
)
from sales_mart.rows.propose_identity import propose_identifier
from sales_mart.rows.propose_others import propose_attributes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import polars as pl

    from sales_mart.rows.columns_seen import SeenColumn, SeenKind
    from sales_mart.rows.numbers import NumberForm

__all__ = ["propose"]

_COLUMNS = "ingestion.columns"
_RULES = "ingestion.validation"
_NEARLY_ALL = 0.95
_MOST_CHOICES = 5
_CENT = Decimal("0.01")
_MOST_DECIMALS = 9
_MOST_PIECES = 100
_MOST_PLACES = 6


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
    money = [each for each in (roles.price, *roles.amounts) if each]
    # Where a column is asked for, the likeliest one says how its values are written.
    money = money or _of_kind(roles, seen, "number")[:1]
    numbers = [*money, *([roles.quantity] if roles.quantity else [])]
    propose_numbers(found, numbers, money)
    dates = [roles.date] if roles.date else _of_kind(roles, seen, "date")[:1]
    for column in dates:
        propose_dates(found, column)
    texts = [each for each in (roles.product, roles.identifier) if each]
    propose_null_words(found, [*numbers, *dates], texts)
    propose_identifier(found, roles, frame)
    _propose_columns(found, roles, seen)
    _propose_rules(found, roles)
    propose_attributes(found, roles, seen)
    return tuple(seen)


def _propose_columns(found: Findings, roles: Roles, seen: Sequence[SeenColumn]) -> None:
    wanted: tuple[tuple[str, SeenColumn | None, SeenKind], ...] = (
        ("product", roles.product, "text"),
        ("date", roles.date, "date"),
    )
    for name, column, kind in wanted:
        if column:
            _map(found, name, column)
        else:
            _ask_for(found, name, _of_kind(roles, seen, kind))
    _propose_quantity(found, roles)
    _propose_money(found, roles, seen)


def _of_kind(roles: Roles, seen: Sequence[SeenColumn], kind: SeenKind) -> list[SeenColumn]:
    return [each for each in roles.unused(seen) if each.kind == kind]


def _map(found: Findings, name: str, column: SeenColumn) -> None:
    if column.name.strip().lower() == name and name != "amount":
        return
    also = f", as {name}" if column.name.strip().lower() != name else ""
    found.decide(f"{_COLUMNS}.{name}", _source(column), f"By its name{also}, and what it holds.")


def _source(column: SeenColumn) -> object:
    return {"from": column.name, "scale": _CENT} if Roles.is_cents(column) else column.name


def _ask_for(found: Findings, name: str, candidates: Sequence[SeenColumn]) -> None:
    key = f"{_COLUMNS}.{name}"
    found.ask(
        key,
        f"No column has a name that says that it is the {name}.",
        [one(key, each.name) for each in candidates[:_MOST_CHOICES]] or [one(key, "COLUMN")],
        "Without an answer the file is refused.",
        is_assumed=bool(candidates),
    )


def _propose_quantity(found: Findings, roles: Roles) -> None:
    if roles.quantity:
        _map(found, "quantity", roles.quantity)
        return
    key = f"{_COLUMNS}.quantity"
    found.ask(
        key,
        "No column has a name that says that it is the quantity. Is each row one piece?",
        [one(key, {"value": 1}, "each row is one piece")],
        "Without an answer the file is refused.",
        is_assumed=True,
    )


def _propose_money(found: Findings, roles: Roles, seen: Sequence[SeenColumn]) -> None:
    key = f"{_COLUMNS}.amount"
    if roles.price is None and not roles.amounts:
        _ask_for(found, "price", _of_kind(roles, seen, "number"))
        return
    if roles.price is None:
        _propose_total(found, roles)
        return
    form = number_form(found.assumed)
    totals = [each for each in roles.amounts if not _is_product(roles, each, form)]
    agrees = len(totals) < len(roles.amounts)
    if agrees and roles.price.name.strip().lower() != "price":
        (equal, *_) = [each for each in roles.amounts if each not in totals]
        found.decide(
            f"{_COLUMNS}.price",
            _source(roles.price),
            f"Price of one piece: times the quantity it gives {quoted(equal.name)}.",
        )
    else:
        _map(found, "price", roles.price)
    if totals and not agrees:
        price = {f"{_COLUMNS}.price": _source(roles.price)}
        written = {each.key for each in found.settings}
        more = {} if price.keys() <= written else price
        found.ask(
            key,
            f"{quoted(totals[0].name)} is not price times quantity: discounts, taxes or shipping "
            "may be in it. Should it count?",
            [Choice(values=more | {key: _source(each)}) for each in totals[:_MOST_CHOICES]],
            "Without an answer the amount is price times quantity.",
        )


def _propose_total(found: Findings, roles: Roles) -> None:
    """Propose the line total of a file without a price."""
    key = f"{_COLUMNS}.amount"
    first, *others = roles.amounts
    form = number_form(found.assumed)
    values = decimals_of(first, form)
    differing = [each for each in others if not _are_equal(values, decimals_of(each, form))]
    if not differing:
        why = "There is no price of one piece, so it is computed from this line total."
        found.decide(key, _source(first), why)
        return
    found.ask(
        key,
        "Several columns may be the total of a row, and they differ.",
        [one(key, _source(each)) for each in (first, *differing)[:_MOST_CHOICES]],
        "Without an answer the file is refused.",
        is_assumed=True,
    )


def _is_product(roles: Roles, total: SeenColumn, form: NumberForm) -> bool:
    """Return whether a column is price times quantity in nearly all rows."""
    if roles.price is None:
        return False
    price = _scaled(roles.price, decimals_of(roles.price, form))
    count = decimals_of(roles.quantity, form) if roles.quantity else [Decimal(1)] * len(price)
    made = [
        a * b if a is not None and b is not None else None
        for a, b in zip(price, count, strict=True)
    ]
    return _are_equal(made, _scaled(total, decimals_of(total, form)))


def _scaled(column: SeenColumn, values: list[Decimal | None]) -> list[Decimal | None]:
    if not Roles.is_cents(column):
        return values
    return [None if each is None else each * _CENT for each in values]


def _are_equal(ours: Sequence[Decimal | None], others: Sequence[Decimal | None]) -> bool:
    pairs = [(a, b) for a, b in zip(ours, others, strict=True) if a is not None and b is not None]
    equal = sum(abs(a - b) <= _CENT / 2 for a, b in pairs)
    return bool(pairs) and equal >= len(pairs) * _NEARLY_ALL


def _propose_rules(found: Findings, roles: Roles) -> None:
    """Propose the rules without which rows of the sample would be rejected."""
    form = number_form(found.assumed)
    read = [
        (each, [value for value in _scaled(each, decimals_of(each, form)) if value is not None])
        for each in (roles.quantity, roles.price, *roles.amounts[: not roles.price])
        if each
    ]
    negative = sum(value < 0 for _, values in read for value in values)
    free = sum(
        value == 0 for column, values in read if column is not roles.quantity for value in values
    )
    if negative or free:
        what = [counted(negative, "negative value", "negative values")] * bool(negative)
        what += [counted(free, "price or amount", "prices or amounts") + " of 0"] * bool(free)
        found.ask(
            f"{_RULES}.allow_returns",
            f"Seen: {' and '.join(what)}. Are these returns or gifts?",
            [one(f"{_RULES}.allow_returns", value=True, meaning="net sums, with returns apart")],
            "Without it these rows are rejected.",
        )
    for column, values in read:
        places = [_places(value) for value in values]
        if column is roles.quantity:
            _propose_pieces(found, values, places)
        else:
            _propose_decimals(found, places)


def _propose_pieces(found: Findings, values: Sequence[Decimal], places: Sequence[int]) -> None:
    most = max(places, default=0)
    if 0 < most <= _MOST_PLACES:
        many = counted(sum(map(bool, places)), "quantity has", "quantities have")
        says = f"{many} decimals, at most {most}."
        found.decide(f"{_RULES}.quantity_decimals", most, says)
    large = [value for value in values if value > _MOST_PIECES]
    if large:
        key = f"{_RULES}.max_quantity"
        power = 10 ** len(str(int(max(large))))
        found.ask(
            key,
            f"{counted(len(large), 'quantity is', 'quantities are')} above {_MOST_PIECES}, the "
            "highest valid one.",
            [one(key, power)],
            "Without an answer these rows are rejected (quantity_range).",
        )


def _propose_decimals(found: Findings, places: Sequence[int]) -> None:
    default = 2
    many = sum(each > default for each in places)
    key = f"{_RULES}.max_decimals"
    if not many or any(each.key == key for each in found.questions):
        return
    most = max(places)
    choices = [one(key, most, "keeps every digit")] if most <= _MOST_DECIMALS else []
    choices.append(one(f"{_RULES}.rounding", "half_up", "rounds them, half away from zero"))
    found.ask(
        key,
        f"{counted(many, 'price or amount has', 'prices or amounts have')} more decimals than "
        f"{default}.",
        choices,
        "Without an answer these rows are rejected.",
    )


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
