"""Which column of a sample is which of a sale: by its name, where its texts fit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_mart.rows.columns_seen import MOST
from sales_mart.rows.known_names import CENTS, Meaning, compared, rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sales_mart.rows.columns_seen import SeenColumn

__all__ = ["Roles", "find_roles", "header_of"]

_NEARLY_ALL = 0.9
_KINDS: dict[Meaning, tuple[str, ...]] = {
    "price": ("number",),
    "quantity": ("number",),
    "amount": ("number",),
    "discount": ("number",),
    "date": ("date",),
    "currency": ("text",),
}
"""What the texts of a column with a meaning must look like."""


@dataclass(frozen=True)
class Roles:
    """The columns of a sale among those of a sample; None for what is not there.

    Attributes:
        identifier: Its identifier.
        line: The line of an order.
        product: The product.
        price: The price of one piece.
        twins: Others that have the name of the price, but for what stands in brackets.
        quantity: The pieces.
        amounts: What may be the total of the row, the likelier one first.
        discounts: What may be taken off the total.
        date: The day.
        currency: The currency.
    """

    identifier: SeenColumn | None
    line: SeenColumn | None
    product: SeenColumn | None
    price: SeenColumn | None
    twins: tuple[SeenColumn, ...]
    quantity: SeenColumn | None
    amounts: tuple[SeenColumn, ...]
    discounts: tuple[SeenColumn, ...]
    date: SeenColumn | None
    currency: SeenColumn | None

    def unused(self, seen: Sequence[SeenColumn]) -> list[SeenColumn]:
        """Return the columns that have no role, no personal values, and a name of their own."""
        taken = {
            each.place
            for each in (
                *(self.identifier, self.line, self.product, self.price, self.quantity),
                *(*self.twins, *self.amounts, self.date, self.currency),
            )
            if each
        }
        return [
            each
            for each in seen
            if each.place not in taken
            and each.name
            and not each.is_personal
            and not each.is_twice
            and each.kind != "empty"
        ]

    @staticmethod
    def is_cents(column: SeenColumn) -> bool:
        """Whether a column's name says that it holds hundredths."""
        return CENTS.search(column.name) is not None


def find_roles(seen: Sequence[SeenColumn]) -> Roles:
    """Find the columns of a sale."""
    taken: set[int] = set()

    def all_of(
        meaning: Meaning, fits: Callable[[SeenColumn], bool] = lambda _: True
    ) -> list[SeenColumn]:
        kinds = _KINDS.get(meaning)
        found = [
            (place, column)
            for column in seen
            if (place := rank(column.name, meaning)) is not None
            and column.place not in taken
            and not column.is_twice
            and column.kind != "empty"
            and (kinds is None or column.kind in kinds)
            and fits(column)
        ]
        return [column for _, column in sorted(found, key=lambda pair: (pair[0], pair[1].place))]

    def first_of(
        meaning: Meaning, fits: Callable[[SeenColumn], bool] = lambda _: True
    ) -> SeenColumn | None:
        found = next(iter(all_of(meaning, fits)), None)
        taken.update([found.place] if found else [])
        return found

    identifier = first_of("transaction_id", _may_identify)
    date = first_of("date")
    quantity = first_of("quantity")
    price = first_of("price")
    named = compared(price.name) if price else ""
    twins = tuple(each for each in all_of("price") if compared(each.name) == named)
    taken.update(each.place for each in twins)
    # The total of an order often stands on its first line only, and is none of a row.
    amounts = tuple(all_of("amount", lambda each: each.filled_share > _NEARLY_ALL))
    if price is None:
        amounts = amounts or tuple(all_of("amount"))
    taken.update(each.place for each in amounts)
    product = first_of("product", lambda each: each.kind == "text" and not each.is_personal)
    product = product or first_of("product", lambda each: each.kind != "date")
    currency = first_of("currency")
    line = first_of("line", lambda each: each.filled_share > _NEARLY_ALL)
    discounts = tuple(all_of("discount"))
    return Roles(
        identifier, line, product, price, twins, quantity, amounts, discounts, date, currency
    )


def _may_identify(column: SeenColumn) -> bool:
    """Return whether a column may identify sales: nearly always there, and no name of a person."""
    if column.filled_share < _NEARLY_ALL or column.kind == "date":
        return False
    return rank(column.name, "person") is None or column.has_digits()


def header_of(seen: Sequence[SeenColumn]) -> list[str]:
    """Return names for the columns of a file without a header, by what they hold."""
    names = [f"column_{each.place + 1}" for each in seen]
    left = [each for each in seen if each.kind != "empty" and not each.is_personal]

    def take(name: str, candidates: Sequence[SeenColumn]) -> None:
        for column in candidates[:1]:
            names[column.place] = name
            left.remove(column)

    take("date", [each for each in left if each.kind == "date"])
    take("price", [each for each in left if _has_decimals(each)])
    texts = [each for each in left if each.kind == "text"]
    unique = [each for each in left if each.distinct > each.texts.len() * _NEARLY_ALL]
    if len(texts) > 1 or (unique and unique[0].kind == "number"):
        take("transaction_id", unique)
    take("product", [each for each in left if each.kind == "text"])
    take("quantity", [each for each in left if each.kind == "number"])
    return names


def _has_decimals(column: SeenColumn) -> bool:
    found = column.numbers
    marked = found.decimals.total() + found.unclear.total()
    return column.kind == "number" and marked >= found.count * MOST
