"""One line of the table that `make chaos` prints."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Row"]


class Row(NamedTuple):
    """How one attack went.

    Attributes:
        attack: What was done.
        attempts: How often.
        survived: How often the promises held.
        found: What did not hold, in a few words; empty when all of them held.
    """

    attack: str
    attempts: int
    survived: int
    found: str
