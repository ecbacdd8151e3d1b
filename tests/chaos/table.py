"""What an attack found, as a line of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Row", "as_table"]


class Row(NamedTuple):
    """One attack: how often it was made, how often nothing went wrong, and what did."""

    attack: str
    attempts: int
    survived: int
    found: str


def as_table(rows: Iterable[Row]) -> str:
    """Give the rows as a Markdown table."""
    lines = ["| attack | attempts | survived | found |", "|---|---:|---:|---|"]
    lines += [
        f"| {row.attack} | {row.attempts:,} | {row.survived:,} | {row.found or 'nothing'} |"
        for row in rows
    ]
    return "\n".join(lines)
