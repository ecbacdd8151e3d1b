"""Objects into shards of about equal bytes, the large ones cut into ranges of whole records."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.errors import ConfigurationError
from sales_mart.schema import schema_of
from sales_mart.source.ranges import Uncut, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config
    from sales_mart.lake.records import Plan, Range, SourceObject

__all__ = ["RANGE_BYTES", "Shards", "make_shards", "piece_bytes", "pieces_of", "shard_bytes"]

RANGE_BYTES = 32 << 20
"""A range of fewer bytes, or a shard of them in a run, is not worth a worker."""


class Shards(NamedTuple):
    """How the objects of a run are shared out: see `Plan`."""

    shards: tuple[tuple[int, ...], ...]
    ranges: dict[int, tuple[Range, ...]]
    whole: dict[int, str]


def make_shards(
    config: Config,
    objects: Sequence[SourceObject],
    count: int,
    *,
    shard_bytes: int = 0,
    range_bytes: int = RANGE_BYTES,
) -> Shards:
    """Share the objects out, in their order.

    The shards stay in source order, so that the first of two duplicates is the one in the earlier
    shard.

    Args:
        config: The configuration.
        objects: The objects.
        count: At most so many shards.
        shard_bytes: No more shards than give each about so many bytes.
        range_bytes: No range has fewer bytes, about.

    Raises:
        ConfigurationError: There is to be no shard.
        SourceChangedError: An object is not the one that was found.
    """
    if count < 1:
        msg = f"{count} shards are too few"
        raise ConfigurationError(msg, remedy="Ask for at least one shard.")
    total = sum(each.size for each in objects)
    if shard_bytes:
        count = min(count, max(1, total // shard_bytes))
    ranges: dict[int, tuple[Range, ...]] = {}
    whole: dict[int, str] = {}
    pieces: list[tuple[int, int]] = []
    begin = 0
    for ordinal, item in enumerate(objects):
        ends = [total * shard // count - begin for shard in range(1, count)]
        begin += item.size
        near = _spaced(ends, item.size, range_bytes)
        try:
            found = _cut(config, item, near, range_bytes) if near else ()
        except Uncut as why:
            whole[ordinal] = str(why)
            found = ()
        if len(found) > 1:
            ranges[ordinal] = found
        pieces += [(ordinal, each.end - each.begin) for each in ranges.get(ordinal, ())] or [
            (ordinal, item.size)
        ]
    return Shards(_grouped(pieces, count), ranges, whole)


def pieces_of(plan: Plan, shard: int) -> list[tuple[int, Range | None]]:
    """Return what a shard reads: ordinals of objects, and the range of each that is cut."""
    before = Counter(chain(*plan.shards[:shard]))
    pieces: list[tuple[int, Range | None]] = []
    for ordinal in plan.shards[shard]:
        ranges = plan.ranges.get(ordinal)
        pieces.append((ordinal, ranges[before[ordinal]] if ranges else None))
        before[ordinal] += 1
    return pieces


def piece_bytes(item: SourceObject, part: Range | None) -> int:
    """Return how many bytes of an object a shard works on, as stored."""
    return item.size if part is None else part.end - part.begin


def shard_bytes(plan: Plan, shard: int) -> int:
    """Return how many bytes a shard works on, as stored."""
    return sum(piece_bytes(plan.objects[ordinal], part) for ordinal, part in pieces_of(plan, shard))


def _spaced(ends: Sequence[int], size: int, least: int) -> list[int]:
    """Return the places inside of an object that leave enough bytes between them."""
    chosen: list[int] = []
    for end in ends:
        if max([0, *chosen[-1:]]) + least <= end <= size - least:
            chosen.append(end)
    return chosen


def _cut(
    config: Config, item: SourceObject, near: Sequence[int], range_bytes: int
) -> tuple[Range, ...]:
    block_bytes = max(1, range_bytes // 8)
    fields = schema_of(config).fields
    return cut(item, fields, config.ingestion.format, near, block_bytes=block_bytes)


def _grouped(pieces: Sequence[tuple[int, int]], count: int) -> tuple[tuple[int, ...], ...]:
    """Make at most `count` groups of about equal bytes of objects and ranges, in their order."""
    total = sum(size for _, size in pieces) + len(pieces)
    groups: list[list[int]] = [[] for _ in range(min(count, len(pieces)))]
    done = 0
    for ordinal, size in pieces:
        middle = done + (size + 1) / 2
        groups[min(int(middle * len(groups) / total), len(groups) - 1)].append(ordinal)
        done += size + 1
    return tuple(tuple(group) for group in groups if group)
