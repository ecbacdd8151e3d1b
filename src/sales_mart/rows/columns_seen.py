"""The columns of a sample: what their texts look like, whatever they are called."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import polars as pl

from sales_mart.rows.date_forms import Dates, look_at_dates
from sales_mart.rows.known_names import Meaning, compared, meanings, rank
from sales_mart.rows.number_forms import Numbers, look_at_numbers

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["MOST", "SeenColumn", "SeenKind", "columns_seen"]

SeenKind = Literal["empty", "number", "date", "text"]
"""What the texts of a column look like."""
MOST = 0.5
"""Share of the texts from which on a column is taken for what they are."""
_NEARLY_ALL = 0.8
_DISTINCT = 20_000
_TRIED = 50
_CODES = ("id", "code", "number", "nummer", "nr", "key", "uuid", "token", "reference", "ref", "sku")
_PHONE = r"^\+?[0-9][0-9 ()/-]{8,}$"


@dataclass(frozen=True)
class SeenColumn:
    """A column of a sample.

    Attributes:
        place: Where it stands, from 0.
        name: What the file calls it.
        texts: Its texts, without white space around them; null where nothing stands.
        is_twice: Another column has the same name.
        is_typed: Its values had a type, so that they are not written in any form.
    """

    place: int
    name: str
    texts: pl.Series
    is_twice: bool = False
    is_typed: bool = False

    @cached_property
    def counts(self) -> list[tuple[str, int]]:
        """Distinct texts and how often each stands there, the most frequent first."""
        there = self.texts.drop_nulls().value_counts(sort=True)
        return [(str(text), int(count)) for text, count in there.head(_DISTINCT).rows()]

    @cached_property
    def empty(self) -> int:
        """Rows in which nothing stands."""
        return self.texts.null_count()

    @property
    def filled_share(self) -> float:
        """Share of the rows in which something stands."""
        return 1 - self.empty / max(self.texts.len(), 1)

    @cached_property
    def distinct(self) -> int:
        """How many texts differ."""
        return self.texts.drop_nulls().n_unique()

    @cached_property
    def numbers(self) -> Numbers:
        """What its texts say of how numbers are written."""
        return look_at_numbers(self.counts)

    @cached_property
    def dates(self) -> Dates:
        """What its texts say of how dates are written."""
        if look_at_dates(self.counts[:_TRIED]).share < MOST / 2:
            return Dates(0, (), (), has_offset=False, null_words=())
        return look_at_dates(self.counts)

    @cached_property
    def kind(self) -> SeenKind:
        """What its texts look like."""
        if not self.counts:
            return "empty"
        # 20240105 is a number unless its name says that it is a date.
        if self.numbers.share >= MOST and self.dates.decided in {(), ("%Y%m%d",)}:
            return "number" if not self.dates.open or self.dates.share < MOST else "date"
        if self.dates.share >= MOST:
            return "date"
        return "number" if self.numbers.share >= MOST else "text"

    def others(self, kind: SeenKind) -> int:
        """Count the rows whose texts do not fit a kind."""
        if kind == "number":
            return self.numbers.others
        if kind == "date":
            return round((1 - self.dates.share) * (self.texts.len() - self.empty))
        return 0

    @cached_property
    def is_personal(self) -> bool:
        """Whether its name, or its texts, look like those of a person."""
        if rank(self.name, "person") is not None:
            return True
        shown = self.texts.drop_nulls()
        if shown.is_empty() or self.kind == "date":
            return False
        like = shown.str.contains("@", literal=True) | (
            shown.str.contains(_PHONE) & shown.str.contains("[ +()/-]")
        )
        return float(like.mean() or 0) >= MOST  # pyright: ignore[reportArgumentType]

    @property
    def meanings(self) -> tuple[Meaning, ...]:
        """What it may be by its name."""
        return meanings(self.name)

    @cached_property
    def may_identify(self) -> bool:
        """Whether it is called like something that tells sales, orders or things apart."""
        meant = {"transaction_id", "line"} & set(self.meanings)
        return bool(meant) or compared(self.name).endswith(_CODES)

    def has_digits(self) -> bool:
        """Whether nearly all of its texts hold a digit, and none an at sign."""
        shown = self.texts.drop_nulls()
        share = float(shown.str.contains("[0-9]").mean() or 0)  # pyright: ignore[reportArgumentType]
        return share >= _NEARLY_ALL and not shown.str.contains("@", literal=True).any()


def columns_seen(
    names: Sequence[str], frame: pl.DataFrame, typed: Collection[int] = ()
) -> list[SeenColumn]:
    """Look at the columns of a sample.

    Args:
        names: What the file calls them.
        frame: Their texts, in the same order, without white space around them.
        typed: Where those stand whose values had a type.
    """
    normal = [name.strip().lower() for name in names]
    return [
        SeenColumn(
            place,
            name,
            frame.to_series(place).replace({"": None}),
            is_twice=normal.count(normal[place]) > 1,
            is_typed=place in typed,
        )
        for place, name in enumerate(names)
    ]
