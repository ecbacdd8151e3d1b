"""Propose the rules without which valid rows of a sample would be rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_mart.rows.proposal import counted
from sales_mart.rows.propose_forms import decimals_of, one
from sales_mart.rows.propose_money import money_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from sales_mart.rows.column_roles import Roles
    from sales_mart.rows.columns_seen import SeenColumn
    from sales_mart.rows.numbers import NumberForm
    from sales_mart.rows.propose_forms import Findings

__all__ = ["propose_rules"]

_RULES = "ingestion.validation"
_DECIMALS = 2
_MOST_DECIMALS = 9
_PIECES = 100
_MOST_PIECES = 10**9
_MOST_PLACES = 6


def propose_rules(
    found: Findings, roles: Roles, money: Sequence[SeenColumn], form: NumberForm
) -> None:
    """Propose the rules.

    Args:
        found: Told what is found.
        roles: The columns that have a role.
        money: The price, the line total or both.
        form: How numbers are written.
    """
    pieces = decimals_of(roles.quantity, form) if roles.quantity else []
    prices = money_of(roles.price, form) if roles.price else []
    is_twice_negative = any(
        a is not None and b is not None and a < 0 and b < 0
        for a, b in zip(pieces, prices, strict=False)
    )
    paid = [each for column in money for each in money_of(column, form) if each is not None]
    counts = [each for each in pieces if each is not None]
    _propose_returns(found, counts, paid, is_twice_negative=is_twice_negative)
    _propose_pieces(found, counts)
    _propose_decimals(found, [_places(each) for each in paid])


def _propose_returns(
    found: Findings, pieces: Sequence[Decimal], paid: Sequence[Decimal], *, is_twice_negative: bool
) -> None:
    key = f"{_RULES}.allow_returns"
    negative = sum(each < 0 for each in (*pieces, *paid))
    free = sum(each == 0 for each in paid)
    what = [counted(negative, "negative value", "negative values")] * bool(negative)
    what += [counted(free, "price or amount", "prices or amounts") + " of 0"] * bool(free)
    without = "Without it these rows are rejected."
    if is_twice_negative:
        found.ask(
            key,
            "Price and quantity are both negative in some rows. Are these returns?",
            [one(key, value=True, meaning="net sums, with returns apart")],
            without,
        )
    elif what:
        says = f"Seen: {' and '.join(what)}, as of returns and gifts. Sums are net, returns apart."
        found.decide(key, value=True, reason=f"{says} {without}")


def _propose_pieces(found: Findings, values: Sequence[Decimal]) -> None:
    places = [_places(each) for each in values]
    most = max(places, default=0)
    if 0 < most <= _MOST_PLACES:
        many = counted(sum(map(bool, places)), "quantity has", "quantities have")
        says = f"{many} decimals, at most {most}."
        found.decide(f"{_RULES}.quantity_decimals", most, says)
    large = [abs(each) for each in values if abs(each) > _PIECES]
    if large:
        many = counted(len(large), "quantity is", "quantities are")
        found.decide(
            f"{_RULES}.max_quantity",
            min(10 ** len(str(int(max(large)))), _MOST_PIECES),
            f"{many} above {_PIECES}, the highest valid one without it. This is the next power of "
            "ten: lower it to what is sold at once.",
        )


def _propose_decimals(found: Findings, places: Sequence[int]) -> None:
    many = sum(each > _DECIMALS for each in places)
    if not many:
        return
    says = (
        f"{counted(many, 'price or amount has', 'prices or amounts have')} more decimals than "
        f"{_DECIMALS}"
    )
    if max(places) <= _MOST_DECIMALS:
        found.decide(
            f"{_RULES}.max_decimals",
            max(places),
            f"{says}: this keeps every digit, and `rounding: half_up` in its place rounds them.",
        )
        return
    key = f"{_RULES}.rounding"
    found.ask(
        f"{_RULES}.max_decimals",
        f"{says}, and some more than {_MOST_DECIMALS}.",
        [one(key, "half_up", "rounds them, half away from zero")],
        "Without an answer these rows are rejected.",
    )


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
