"""What an attack came to."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Row"]


class Row(NamedTuple):
    """One line of the table of attacks: what was tried, how often, and what came of it."""

    attack: str
    attempts: int
    survived: int
    found: str
