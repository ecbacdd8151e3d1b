"""Batches appended in an order that tries every rule, and what must stand after each of them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from support import Row, row, token

if TYPE_CHECKING:
    from collections.abc import Sequence

D1, D2, D3 = "2023-10-01", "2023-10-02", "2023-10-03"


class Batch(NamedTuple):
    """The rows of one business date, and the sale dates that loading them changes."""

    name: str
    day: str
    rows: list[Row]
    window: tuple[date, ...]


def dates(*days: str) -> tuple[date, ...]:
    """Return ISO texts as dates."""
    return tuple(date.fromisoformat(day) for day in days)


STORY = (
    Batch("day 1", D1, [row("T1", D1), row("T2", D1), row("T3", D1)], dates(D1)),
    Batch("day 2", D2, [row("T4", D2), row("T5", D2)], dates(D2)),
    Batch("day 2 again", D2, [row("T4", D2), row("T5", D2)], dates(D2)),
    Batch(
        "day 2 with a late row for day 1",
        D2,
        [row("T4", D2), row("T5", D2), row("T6", D1)],
        dates(D1, D2),
    ),
    Batch("day 2, corrected, without the late row", D2, [row("T4", D2, "99.00")], dates(D1, D2)),
    Batch(
        "day 3 corrects a row of day 1", D3, [row("T1", D1, "5.55"), row("T7", D3)], dates(D1, D3)
    ),
    Batch("day 3 moves a row to another day", D3, [row("T2", D3), row("T7", D3)], dates(D1, D3)),
    Batch(
        "day 1 again, after newer ones",
        D1,
        [row("T1", D1), row("T2", D1), row("T3", D1, "1.00")],
        dates(D1),
    ),
    Batch("day 3 is empty after all", D3, [], dates(D1, D3)),
)


def expected_after(story: Sequence[Batch]) -> set[Row]:
    """Return the visible rows: of the latest delivery of each day, the latest day's row."""
    deliveries = {batch.day: batch.rows for batch in story}
    shown = {item.transaction_id: item for _, rows in sorted(deliveries.items()) for item in rows}
    return {item._replace(transaction_id=token(key)) for key, item in shown.items()}
