"""Propose which columns are the price of one piece and the total of a row, by computing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from statistics import median_low
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.rows.column_roles import Roles
from sales_mart.rows.proposal import Choice, quoted
from sales_mart.rows.propose_forms import decimals_of, one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.rows.columns_seen import SeenColumn
    from sales_mart.rows.numbers import NumberForm
    from sales_mart.rows.propose_forms import Findings

    Values = Sequence[Decimal | None]

__all__ = ["MOST_CHOICES", "map_column", "money_of", "propose_money", "without_totals"]

MOST_CHOICES = 5
_COLUMNS = "ingestion.columns"
_AMOUNT = f"{_COLUMNS}.amount"
_NEARLY_ALL = 0.95
_CENT = Decimal("0.01")
_HIGHEST_TAX = Decimal("1.5")
_ENOUGH = 3
"""Rows from which on a constant factor is one."""


class _Way(NamedTuple):
    """How a total comes of something else.

    Attributes:
        share: Share of the rows in which it does.
        discount: What is taken off; None where both are equal.
    """

    share: float
    discount: SeenColumn | None


def map_column(found: Findings, name: str, column: SeenColumn) -> None:
    """Propose a column by its name; nothing where it has ours."""
    if column.name.strip().lower() != name:
        says = f"By its name, as {name}, and what it holds."
        found.decide(f"{_COLUMNS}.{name}", _source(column), says)


def money_of(column: SeenColumn, form: NumberForm) -> list[Decimal | None]:
    """Return the amounts of money of a column, row by row."""
    values = decimals_of(column, form)
    if not Roles.is_cents(column):
        return values
    return [None if each is None else each * _CENT for each in values]


def without_totals(roles: Roles, form: NumberForm) -> Roles:
    """Take a price for a line total where it grows with the pieces of the same product."""
    price, quantity, product = roles.price, roles.quantity, roles.product
    if price is None or quantity is None or product is None:
        return roles
    base = _product(roles, form)
    if any(_way(base, each, roles, form).share >= _NEARLY_ALL for each in roles.amounts):
        return roles
    seen: dict[str, dict[Decimal, Decimal]] = {}
    rows = zip(product.texts, decimals_of(quantity, form), money_of(price, form), strict=True)
    for name, pieces, money in rows:
        if name and pieces and money:
            seen.setdefault(name, {}).setdefault(abs(pieces), abs(money))
    growing = constant = compared = 0
    for pairs in seen.values():
        (first, paid), *others = pairs.items()
        for pieces, money in others:
            constant += abs(money - paid) <= _CENT
            growing += abs(money - paid * pieces / first) <= _CENT * max(pieces / first, 1)
        compared += len(others)
    if growing * 2 <= compared or growing <= constant:
        return roles
    return replace(roles, price=None, twins=(), amounts=(price, *roles.twins, *roles.amounts))


def propose_money(found: Findings, roles: Roles, form: NumberForm) -> list[SeenColumn]:
    """Propose the price and the line total.

    Returns:
        The columns that they are read from; none where there is neither.
    """
    if roles.price is None:
        return [_propose_total(found, roles, form)] if roles.amounts else []
    base = _product(roles, form)
    ways = [(each, _way(base, each, roles, form)) for each in roles.amounts]
    told = [(each, way) for each, way in ways if way.share >= _NEARLY_ALL]
    equal = [each for each, way in told if way.discount is None]
    reduced = [(each, way.discount) for each, way in told if way.discount is not None]
    _propose_price(found, roles, roles.price, equal)
    if reduced:
        ((total, discount), *_) = reduced
        says = f"It is price times quantity less {quoted(discount.name)}."
        found.decide(_AMOUNT, _source(total), says)
        return [roles.price, total]
    if roles.amounts and not equal:
        _ask_for_the_amount(found, roles, roles.price, base, form)
    return [roles.price]


def _propose_price(
    found: Findings, roles: Roles, price: SeenColumn, equal: Sequence[SeenColumn]
) -> None:
    key = f"{_COLUMNS}.price"
    is_ours = price.name.strip().lower() == "price"
    if roles.twins:
        found.ask(
            key,
            "Several columns may be the price of one piece, such as with and without tax.",
            [one(key, _source(each)) for each in (price, *roles.twins)[:MOST_CHOICES]],
            "Without an answer "
            + (f"{quoted(price.name)} counts." if is_ours else "the file is refused."),
            is_assumed=True,
        )
    elif equal and not is_ours:
        says = f"Price of one piece: times the quantity it gives {quoted(equal[0].name)}."
        found.decide(key, _source(price), says)
    else:
        map_column(found, "price", price)


def _ask_for_the_amount(
    found: Findings, roles: Roles, price: SeenColumn, base: Values, form: NumberForm
) -> None:
    """Ask for the total where it is not price times quantity."""
    first = roles.amounts[0]
    factor = _factor(base, money_of(first, form))
    key = f"{_COLUMNS}.price"
    is_set = roles.twins or any(each.key == key for each in found.settings)
    more = {} if is_set else {key: _source(price)}
    what = "not price times quantity: discounts, taxes or shipping may be in it. Should it count?"
    if factor:
        what = f"always price times quantity times {factor:f}: tax seems to be in it."
    found.ask(
        _AMOUNT,
        f"{quoted(first.name)} is {what}",
        [Choice(values=more | {_AMOUNT: _source(each)}) for each in roles.amounts[:MOST_CHOICES]],
        "Without an answer the amount is price times quantity.",
        is_open=not factor,
    )


def _propose_total(found: Findings, roles: Roles, form: NumberForm) -> SeenColumn:
    """Propose the line total of a file without a price."""
    first, *others = roles.amounts
    values = money_of(first, form)
    differing = [each for each in others if _share(values, money_of(each, form)) < _NEARLY_ALL]
    for base, total in ((first, others[0]), (others[0], first)) if len(others) == 1 else ():
        way = _way(money_of(base, form), total, roles, form)
        if way.discount is not None and way.share >= _NEARLY_ALL:
            says = f"The line total: {quoted(base.name)} less {quoted(way.discount.name)}."
            found.decide(_AMOUNT, _source(total), says)
            return total
    if differing:
        found.ask(
            _AMOUNT,
            "Several columns may be the total of a row, and they differ.",
            [one(_AMOUNT, _source(each)) for each in (first, *differing)[:MOST_CHOICES]],
            "Without an answer the file is refused.",
            is_assumed=True,
        )
    else:
        says = "There is no price of one piece, so it is computed from this line total."
        found.decide(_AMOUNT, _source(first), says)
    return first


def _source(column: SeenColumn) -> object:
    return {"from": column.name, "scale": _CENT} if Roles.is_cents(column) else column.name


def _product(roles: Roles, form: NumberForm) -> Values:
    """Return price times quantity."""
    price = money_of(roles.price, form) if roles.price else []
    if roles.quantity is None:
        return price
    pairs = zip(price, decimals_of(roles.quantity, form), strict=True)
    return [a * b if a is not None and b is not None else None for a, b in pairs]


def _way(base: Values, total: SeenColumn, roles: Roles, form: NumberForm) -> _Way:
    """Return how a total comes of its base; a discount only where it explains more rows."""
    totals = money_of(total, form)
    ways = [_Way(_share(base, totals), None)]
    for column in roles.discounts:
        off = [abs(each or Decimal(0)) for each in money_of(column, form)]
        pairs = list(zip(base, off, strict=True))
        reduced = (
            [each and each * (1 - share) for each, share in pairs],
            [each and each * (1 - share / 100) for each, share in pairs],
            # What is taken off is negative in some files, and positive for returns in others.
            [each and each - less.copy_sign(each) for each, less in pairs],
        )
        ways += [_Way(_share(made, totals), column) for made in reduced]
    return max(ways, key=lambda way: way.share)


def _share(ours: Values, others: Values) -> float:
    """Return the share of the rows in which both are equal to the cent."""
    pairs = [(a, b) for a, b in zip(ours, others, strict=True) if a is not None and b is not None]
    return sum(abs(a - b) <= _CENT / 2 for a, b in pairs) / max(len(pairs), 1)


def _factor(base: Values, total: Values) -> Decimal | None:
    """Return by what a total is always higher than its base, as by a tax."""
    ratios = [b / a for a, b in zip(base, total, strict=True) if a and b]
    if len(ratios) < _ENOUGH:
        return None
    factor = median_low(ratios).quantize(Decimal("0.0001")).normalize()
    made = [None if each is None else each * factor for each in base]
    return factor if 1 < factor < _HIGHEST_TAX and _share(made, total) >= _NEARLY_ALL else None
