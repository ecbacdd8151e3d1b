"""What all readers of files share: what they need to know, and values into blocks of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from sales_mart.errors import SourceFormatError
from sales_mart.rows.mapping import (
    Unmapped,
    currencies_in,
    fields_of,
    map_columns,
    normal_name,
    wanted_names,
)
from sales_mart.source.csv_header import shown_names
from sales_mart.source.csv_reader import Account, Block, Places

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from sales_mart.config.ingestion import Format
    from sales_mart.lake.records import Range
    from sales_mart.rows.mapping import Mapped
    from sales_mart.schema import Origin

__all__ = [
    "NOTHING",
    "TEXT",
    "TYPED",
    "Cell",
    "Place",
    "Reading",
    "Records",
    "block_of",
    "mapped_names",
]

TEXT, TYPED, MISSING = 0, 1, -1
"""What the value of a cell was: a text, something that had a type of its own, or nothing."""

_MOST_SHOWN = 20

Cell = tuple[str | None, int]
"""A value as text, and what it was."""
NOTHING: Cell = (None, MISSING)


@dataclass(frozen=True)
class Reading:
    """How one file is read.

    Attributes:
        uri: What to call it in an error.
        label: What `$file` stands for.
        fields: Our name of each field -> the columns that it comes from.
        format: What the configuration says of files.
        block_bytes: About how many bytes to hold at a time.
        warn: Called with a sentence about what is not carried.
        account: Told where the bytes went that stand in no record.
        allow_empty: Whether a file without a header is one without a record, and no error.
        is_member: Whether the file stands in an archive.
        part: The range of a CSV file that is read; None for all of it.
    """

    uri: str
    label: str
    fields: Mapping[str, Origin]
    format: Format
    block_bytes: int
    warn: Callable[[str], None]
    account: Account
    allow_empty: bool
    is_member: bool = False
    part: Range | None = None


class Place(NamedTuple):
    """Where one record stands: see `Places`."""

    row: int
    line: int
    offset: int = 0
    length: int = 0
    line_end: int = 0


class Records:
    """Collects records, value by value, and makes blocks of them.

    A block knows of each field whether its values had a type. Where texts and numbers stand in one
    column, it ends where one follows the other.
    """

    def __init__(self, reading: Reading, mapped: Mapped) -> None:
        """Take how the file is read, and where the fields stand in it."""
        self._reading = reading
        self._mapped = mapped
        self._cells: list[Sequence[Cell]] = []
        self._places: list[Place] = []
        self._broken: list[Place] = []
        self._flaws: list[int] = []

    def __len__(self) -> int:
        """Count the records that wait."""
        return len(self._places) + len(self._broken)

    def add(self, cells: Sequence[Cell], place: Place) -> None:
        """Take a record: the values of `mapped.columns`, in their order."""
        self._cells.append(cells)
        self._places.append(place)

    def add_broken(self, flaw: int, place: Place) -> None:
        """Take a record that cannot be read."""
        self._broken.append(place)
        self._flaws.append(flaw)

    def blocks(self) -> Iterator[Block]:
        """Give what waits, in order, and forget it."""
        if not len(self):
            return
        places, broken = _as_places(self._places), _as_places(self._broken)
        flaws = np.array(self._flaws, np.uint8)
        columns = self._mapped.columns
        values = list(zip(*self._cells, strict=True)) or [()] * len(columns)
        texts = {
            at: [cell[0] for cell in column] for at, column in zip(columns, values, strict=True)
        }
        kinds = np.array([[cell[1] for cell in column] for column in values], np.int8)
        kinds = kinds.reshape(len(columns), len(self._cells))
        self._cells, self._places, self._broken, self._flaws = [], [], [], []
        frame = pl.DataFrame(
            {f"c{at}": pl.Series(found, dtype=pl.String) for at, found in texts.items()}
        )
        starts = _starts(kinds)
        for start, stop in zip(starts, [*starts[1:], len(places.rows)], strict=True):
            part = np.arange(start, stop)
            typed = {
                at for at, kind in zip(columns, kinds, strict=True) if (kind[part] == TYPED).any()
            }
            yield block_of(
                self._reading,
                self._mapped,
                frame[start:stop],
                typed,
                places.take(part),
                broken,
                flaws,
            )
            broken, flaws = broken.take(np.arange(0)), flaws[:0]


def block_of(  # noqa: PLR0913 - the parts of a block
    reading: Reading,
    mapped: Mapped,
    columns: pl.DataFrame,
    typed: Collection[int],
    places: Places,
    broken: Places | None = None,
    flaws: np.ndarray | None = None,
) -> Block:
    """Compose the fields of some records.

    Args:
        reading: How the file is read.
        mapped: Where the fields stand.
        columns: The texts of the columns that are read, called by their position: `c0`.
        typed: Positions of the columns whose values had a type.
        places: Where the records stand.
        broken: Where those stand that cannot be read.
        flaws: What is wrong with each of these.
    """
    fields = columns.with_columns(pl.Series("row", places.rows)).select(
        fields_of(
            mapped,
            {at: pl.col(f"c{at}") for at in mapped.columns},
            {"$row": pl.col("row"), "$file": pl.lit(reading.label)},
            reading.format.null_values,
        )
    )
    return Block(
        fields=fields,
        places=places,
        broken=_as_places([]) if broken is None else broken,
        flaws=np.zeros(0, np.uint8) if flaws is None else flaws,
        typed=frozenset(
            name for name, parts in mapped.parts.items() if set(typed).issuperset(parts)
        ),
        currencies=currencies_in(columns, mapped),
    )


def mapped_names(names: Sequence[str], reading: Reading) -> Mapped:
    """Find the columns of the fields among the names of a table's columns.

    Raises:
        SourceFormatError: One is missing, or stands twice.
    """
    try:
        mapped = map_columns([normal_name(name) for name in names], reading.fields)
    except Unmapped as problem:
        if problem.twice and not problem.missing:
            msg = f"{reading.uri} names {', '.join(problem.twice)}"
            raise SourceFormatError(msg, remedy=problem.remedy) from None
        wanted = ", ".join(" or ".join(part) for part in wanted_names(reading.fields))
        shown = shown_names(names, reading.fields) or f"{len(names):,} columns"
        msg = f"{reading.uri} lacks {', '.join(problem.missing)}; it has {shown}"
        raise SourceFormatError(
            msg,
            remedy=f"It must have the columns {wanted}. Or say what it calls them under "
            "ingestion.columns; `sales-mart inspect FILE` proposes it.",
        ) from None
    extra = [name for at, name in enumerate(names) if name and at not in mapped.columns]
    if extra:
        shown = f": {', '.join(extra[:_MOST_SHOWN])}" if shown_names(names, reading.fields) else ""
        reading.warn(f"{reading.uri}: {len(extra)} columns are ignored{shown}")
    return mapped


def _as_places(places: Sequence[Place]) -> Places:
    columns = np.array(places, np.int64).reshape(len(places), len(Place._fields)).T
    rows, lines, offsets, lengths, line_ends = (np.ascontiguousarray(each) for each in columns)
    return Places(rows, lines, offsets, lengths, line_ends.astype(np.int8))


def _starts(kinds: np.ndarray) -> list[int]:
    """Return where a column goes from texts to typed values or back; a missing one is either."""
    changes = np.zeros(kinds.shape[1], np.bool_)
    for column in kinds:
        known = np.flatnonzero(column != MISSING)
        turns = np.flatnonzero(np.diff(column[known])) + 1
        changes[known[turns]] = True
    return [0, *np.flatnonzero(changes).tolist()]
