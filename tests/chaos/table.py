"""What an attack found, as a line of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Row", "added_up", "as_table"]

_SHOWN = 500


class Row(NamedTuple):
    """One attack: how often it was made, how often nothing went wrong, and what did."""

    attack: str
    attempts: int
    survived: int
    found: str


def added_up(rows: Iterable[Row]) -> list[Row]:
    """Make one row of those that have the same name."""
    found: dict[str, Row] = {}
    for row in rows:
        one = found.get(row.attack, Row(row.attack, 0, 0, ""))
        texts = "; ".join(filter(None, (one.found, row.found)))
        attempts, survived = one.attempts + row.attempts, one.survived + row.survived
        found[row.attack] = Row(row.attack, attempts, survived, texts)
    return list(found.values())


def as_table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| attack | attempts | survived | found |", "|---|---:|---:|---|"]
    lines += [
        f"| {row.attack} | {row.attempts:,} | {row.survived:,} | {_found(row)} |" for row in rows
    ]
    return "\n".join(lines)


def _found(row: Row) -> str:
    text = " ".join(row.found.replace("|", "/").split())[:_SHOWN]
    return text or ("nothing" if row.attempts else "not attempted")
