"""Rows with one identifier, across all parts of a run: the first one stays.

Memory follows a bucket, not the run: tokens are compared by 128 bits of hash, spread over buckets
on the disk so that equal tokens meet in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from sales_mart.lake.parquet import read_part
from sales_mart.rows.identity import contents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sales_mart.lake.records import Part
    from sales_mart.lake.runs import RunFolder
    from sales_mart.schema import Schema

__all__ = ["BUCKET_ROWS", "First", "find_losers", "is_conflict"]

BUCKET_ROWS = 1_000_000
"""About how many rows are compared at a time: memory follows this, not the run."""

_ZEROS = 1 << 20
_ENTRY = np.dtype([("high", "<u8"), ("low", "<u8"), ("contents", "<u8"), ("row", "<i8")])
_Entries = npt.NDArray[np.void]
First = npt.NDArray[np.uint64]
"""Of each row, 0 where it stays; else a number that tells the contents of the row that does."""


def find_losers(run: RunFolder, parts: Sequence[Part], schema: Schema, folder: Path) -> First:
    """Find the rows, in source order, whose transaction_id an earlier row has.

    A part's own duplicates are marked before, so that one identifier repeated a million times does
    not fill a bucket.
    """
    total = sum(part.rows for part in parts)
    if not total:
        return np.zeros(0, np.uint64)
    losers = _zeros(folder / "losers", total)
    buckets = -(-total // BUCKET_ROWS)
    files = [(folder / f"bucket-{number}").open("w+b") for number in range(buckets)]
    columns = [column.name for column in schema.columns]
    try:
        start = 0
        for part in parts:
            token = pl.col("transaction_id")
            hashes = read_part(run, part, columns).select(
                token.hash(0).alias("high"), token.hash(1).alias("low"), contents(schema)
            )
            entries = np.empty(hashes.height, _ENTRY)
            for name in hashes.columns:
                entries[name] = hashes[name].to_numpy()
            entries["row"] = np.arange(start, start + hashes.height)
            start += hashes.height
            entries = _settle(entries, losers)
            bucket = entries["high"] % np.uint64(buckets)
            for number, file in enumerate(files):
                file.write((entries[bucket == number] if buckets > 1 else entries).tobytes())
        for file in files:
            file.seek(0)
            _settle(np.frombuffer(file.read(), _ENTRY), losers)
    finally:
        for file in files:
            file.close()
    return losers


def is_conflict(lost: pl.DataFrame, first: First, schema: Schema) -> pl.Series:
    """Return which rows differ from the one that stays in their place.

    Args:
        lost: The rows of a part that do not stay, in their order.
        first: What `find_losers` found of them.
        schema: Their columns.
    """
    # The first row of the part may itself have lost to one of another part: that one counts.
    found = lost.with_columns(contents(schema), pl.Series("first", np.asarray(first)))
    stays = pl.col("first").first().over("transaction_id")
    return found.select(stays != pl.col("contents")).to_series()


def _zeros(path: Path, count: int) -> First:
    """Return `count` zeros that live in a file.

    The file is written first: on a full disk a page of a hole in it would end the process with
    SIGBUS.
    """
    size = count * 8
    with path.open("wb") as file:
        for start in range(0, size, _ZEROS):
            file.write(bytes(min(_ZEROS, size - start)))
    return np.memmap(path, np.uint64, mode="r+", shape=(count,))


def _settle(entries: _Entries, losers: First) -> _Entries:
    """Mark the entries that repeat an earlier one, and give the others.

    A sort of the bare hashes is quick and finds the few that occur twice; only those are compared
    in full and in order.
    """
    high = np.ascontiguousarray(entries["high"])
    ordered = np.sort(high)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return entries
    places = np.minimum(np.searchsorted(twice, high), len(twice) - 1)
    candidates = np.flatnonzero(twice[places] == high)
    chosen = entries[candidates]
    frame = pl.DataFrame({name: chosen[name] for name in ("high", "low", "contents")})
    token = pl.struct("high", "low")
    found = frame.select(
        token.is_first_distinct().alias("is_first"),
        pl.col("contents").first().over(token).alias("first"),
    )
    is_first = found["is_first"].to_numpy()
    losers[chosen["row"][~is_first]] = found["first"].to_numpy()[~is_first]
    return np.delete(entries, candidates[~is_first])
