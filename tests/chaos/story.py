"""The inputs of the campaign of kills: what runs read, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from pathlib import Path

__all__ = ["STORY", "Input", "write_inputs"]

_PRODUCTS = ("Halal Mouse", "Halal Laptop", "Halal Keyboard", "Halal Écran", "Other Chair")


class Input(NamedTuple):
    """What a run reads: a snapshot, or one business date of a daily source."""

    name: str
    day: str
    daily: bool


STORY = (
    Input("a", "2023-10-07", daily=False),
    Input("days", "2023-10-06", daily=True),
    Input("days", "2023-10-07", daily=True),
    Input("b", "2023-10-07", daily=False),
)
"""Run one after the other, then from the start again: a snapshot, two days, another snapshot.

No snapshot is older than what was loaded before it, or it would be refused. The first day is older
than the snapshot, whose rows go before its own; the second one's go before the snapshot's.
"""


def write_inputs(folder: Path, dice: random.Random, rows: int) -> None:
    """Write the inputs of the story: valid rows, rejects, duplicates, late rows, corrections.

    Both days have identifiers of the snapshot, of each other, and of their own.
    """
    for name, first in (("a", 0), ("b", rows // 3)):
        lines = [_line(dice, first + number, "2023-10-{:02d}") for number in range(rows)]
        lines += dice.sample(lines, rows // 50)
        _write(folder / name / "1.csv", lines[: rows // 2])
        _write(folder / name / "2.csv", lines[rows // 2 :])
    for day, first in (("2023-10-06", rows * 3 // 4), ("2023-10-07", rows * 7 // 8)):
        lines = [_line(dice, first + number, "2023-10-{:02d}") for number in range(rows // 2)]
        _write(folder / "days" / day / "1.csv", lines[: rows // 4])
        _write(folder / "days" / day / "2.csv", lines[rows // 4 :])


def _line(dice: random.Random, number: int, day: str) -> str:
    price = dice.choice((f"{dice.randint(10, 999)}.{dice.randint(0, 99):02d}", "1.234", ""))
    price = price if dice.random() < 0.1 else f"{dice.randint(1, 999)}.{dice.randint(0, 99):02d}"
    when = day.format(dice.randint(1, 28))
    return f"T{number:06d},{dice.choice(_PRODUCTS)},{price},{dice.randint(0, 120)},{when}"


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["transaction_id,product,price,quantity,date", *lines, ""]))
