"""Bytes into records: where each begins and ends, and which ones nobody could read.

A record is what RFC 4180 says. One that breaks it ends with its first physical line, so that a
stray quote costs one line and not the rest of the file. Two stray quotes can obey RFC 4180 and
still hide whole rows in one field: `_swallows_rows` tells such a record from a text of several
lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    import re

    from sales_mart.source.dialect import Grammar

__all__ = [
    "ENCODING",
    "MALFORMED",
    "MAX_RECORD_BYTES",
    "Flags",
    "Integers",
    "Small",
    "Split",
    "plain_records",
    "split_records",
]

MAX_RECORD_BYTES = 16 << 20
"""A longer record is malformed: it is nearly always a quote that nobody closed."""
MALFORMED = 1
ENCODING = 2

Integers = npt.NDArray[np.int64]
Small = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]

_NUL, _TAB, _LF, _CR, _SPACE = 0, 9, 10, 13, 32
_FIRST_BEYOND_ASCII = 128
_MAY_BE_BLANK = (b"\n", b"\r", b" ", b"\t")
"""How a blank line begins; other lines may."""


@dataclass(frozen=True)
class Split:
    """Records of a piece of data; positions count from its first byte, lines from 0.

    Attributes:
        consumed: Bytes of the data that the records and the blank lines take.
        payload: The records without a flaw, to parse.
        starts: First byte of each record.
        lengths: Its bytes without the line end.
        line_ends: Bytes of its line end.
        first_lines: Line on which it starts.
        last_lines: Line on which it ends.
        flaws: Its bits `MALFORMED` and `ENCODING`.
        swallowed: First and last line of each quote that swallowed rows.
    """

    consumed: int
    payload: bytes
    starts: Integers
    lengths: Integers
    line_ends: Small
    first_lines: Integers
    last_lines: Integers
    flaws: npt.NDArray[np.uint8]
    swallowed: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def oversized(length: int, line_end: int, flaws_found: int) -> Split:
        """Return the one broken record of a line that was too long to hold."""
        zero = np.zeros(1, np.int64)
        flaws = np.full(1, flaws_found, np.uint8)
        ends = np.full(1, line_end, np.int8)
        return Split(length + line_end, b"", zero, zero + length, ends, zero, zero, flaws)


def plain_records(source: bytes, grammar: Grammar) -> int | None:
    """Count the records of whole lines where each line is one; None where it takes a closer look.

    `split_records` finds as many.
    """
    if grammar.quote and grammar.quote in source:
        return None
    if source.startswith(_MAY_BE_BLANK) or any(b"\n" + each in source for each in _MAY_BE_BLANK):
        return None
    feeds = int(np.count_nonzero(np.frombuffer(source, np.uint8) == _LF))
    # Of a file in UTF-16 there may be no whole line yet.
    return feeds + (source[-1:] not in {b"", b"\n"})


def split_records(
    source: bytes, width: int, grammar: Grammar, *, final: bool, jagged: bool = False
) -> Split:
    """Find the records of some text in UTF-8.

    Args:
        source: The text, which ends with a line end unless it is the last.
        width: Fields of a record.
        grammar: What stands between and around fields.
        final: No text follows.
        jagged: Fields may be missing at the end of a record.
    """
    real = len(source)
    if not source.endswith(b"\n"):
        source += b"\n"
    data = grammar.coded(source)
    array = np.frombuffer(data, np.uint8)
    feeds = array == _LF
    marks = np.flatnonzero(feeds | (array == ord(grammar.delimiter)))
    ends, commas = _line_ends(feeds, marks, width)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])

    spans: dict[int, tuple[int, int]] = {}
    swallowed: list[tuple[int, int]] = []
    broken_lines = np.zeros(len(ends), np.bool_)
    if grammar.quote and grammar.quote in data:
        quotes = np.flatnonzero(array == ord(grammar.quote))
        irregular = _check_quotes(array, real, quotes, starts, ends, marks, commas, grammar)
        lines = _Lines(data[:real], starts, ends, width, grammar, spans, swallowed, broken_lines)
        cut = _mark_records(lines, irregular, final=final)
        if cut is not None:
            starts, ends, commas = starts[:cut], ends[:cut], commas[:cut]
            broken_lines = broken_lines[:cut]
            real = int(ends[-1]) + 1 if cut else 0
            source, data, array = source[:real], data[:real], array[:real]

    first = _first_lines(array, real, starts, ends, commas, _inside(spans, len(ends)))
    last = first.copy()
    fields = commas[first] + 1
    stops = ends[first]
    for line, (stop_line, width_found) in spans.items():
        index = int(np.searchsorted(first, line))
        last[index], stops[index], fields[index] = stop_line, ends[stop_line], width_found
    trimmed = (stops > starts[first]) & (stops < real) & (array[stops - 1] == _CR)
    too_long = stops - starts[first] - trimmed > MAX_RECORD_BYTES
    fits = (fields <= width) if jagged else (fields == width)
    broken = broken_lines[first] | ~fits | too_long
    flaws = np.where(broken, MALFORMED, 0).astype(np.uint8)
    if b"\0" in source:
        flaws[_holders(starts[first], np.frombuffer(source, np.uint8) == _NUL)] |= MALFORMED
    if not source.isascii():
        _check_encoding(source, starts[first], stops, flaws)
    return Split(
        consumed=min(len(data), real),
        payload=_payload(data, starts[first], ends[last] + 1, flaws == 0),
        starts=starts[first],
        lengths=stops - starts[first] - trimmed,
        # The last line of a file may have no end.
        line_ends=(np.minimum(ends[last] + 1, real) - stops + trimmed).astype(np.int8),
        first_lines=first,
        last_lines=last,
        flaws=flaws,
        swallowed=tuple(swallowed),
    )


def _line_ends(feeds: Flags, marks: Integers, width: int) -> tuple[Integers, Integers]:
    """Return the line feed of each line, and how many delimiters stand in it.

    Args:
        feeds: Which bytes are line feeds.
        marks: Where line feeds and delimiters stand.
        width: Fields of a record.
    """
    ends = marks[width - 1 :: width]
    # Nearly all files are regular: each line has the same number of delimiters.
    if len(marks) == len(ends) * width and len(ends) == np.count_nonzero(feeds) == np.count_nonzero(
        feeds[ends]
    ):
        return ends, np.full(len(ends), width - 1)
    at_end = np.flatnonzero(feeds[marks])
    return marks[at_end], np.diff(at_end, prepend=-1) - 1


def _check_quotes(  # noqa: PLR0913 - the arrays of one pass
    array: npt.NDArray[np.uint8],
    real: int,
    quotes: Integers,
    starts: Integers,
    ends: Integers,
    marks: Integers,
    commas: Integers,
    grammar: Grammar,
) -> Integers:
    """Find the lines whose quotes do not make sense by themselves; fill the others' `commas`.

    Within a line that starts outside of quotes, the first quote opens, the second closes, and so
    on; an escaped quote closes and opens. Each must have the right neighbour.
    """
    line = np.searchsorted(ends, quotes)
    fresh = np.flatnonzero(np.diff(line, prepend=-1))
    rank = np.arange(len(quotes)) - np.repeat(fresh, np.diff(np.append(fresh, len(quotes))))
    closes = (rank & 1).astype(np.bool_)
    before, after = array[quotes - 1], array[quotes + 1]
    mark, quote = ord(grammar.delimiter), ord(grammar.quote)
    opens_well = (quotes == starts[line]) | (before == mark) | (before == quote)
    two_on = np.minimum(quotes + 2, len(array) - 1)
    at_line_end = (after == _LF) | ((after == _CR) & (array[two_on] == _LF) & (two_on < real))
    closes_well = (after == mark) | (after == quote) | at_line_end
    wrong = np.where(closes, ~closes_well, ~opens_well)
    with_quotes = line[fresh]
    unclosed = np.diff(np.append(fresh, len(quotes))) & 1 == 1
    irregular = np.union1d(line[wrong], with_quotes[unclosed])

    quoted_line = np.zeros(len(ends), np.bool_)
    quoted_line[with_quotes] = True
    comma_line = np.repeat(np.arange(len(ends)), commas)
    positions = marks[array[marks] == mark]
    chosen = quoted_line[comma_line]
    comma_line, positions = comma_line[chosen], positions[chosen]
    first_quote = np.searchsorted(quotes, starts[comma_line])
    inside = (np.searchsorted(quotes, positions) - first_quote) & 1 == 1
    np.subtract.at(commas, comma_line[inside], 1)
    return irregular


@dataclass(frozen=True)
class _Lines:
    """The lines of some data, and what is known of those whose quotes make no sense alone.

    Attributes:
        data: The data.
        starts: First byte of each line.
        ends: Line feed of each line.
        width: Fields of the header.
        grammar: What stands between and around them.
        spans: Last line and number of fields of a record of several lines, by its first line.
        swallowed: First and last line of each quote that swallowed rows.
        broken: The lines that no quote can repair.
    """

    data: bytes
    starts: Integers
    ends: Integers
    width: int
    grammar: Grammar
    spans: dict[int, tuple[int, int]]
    swallowed: list[tuple[int, int]]
    broken: Flags

    def text(self, line: int) -> bytes:
        """Return the bytes of a line without its line feed."""
        return self.data[int(self.starts[line]) : int(self.ends[line])]


def _mark_records(lines: _Lines, irregular: Integers, *, final: bool) -> int | None:
    """Read records of several lines one by one, and mark the lines that no quote can repair.

    Returns:
        The line at which to stop, since its record goes on after the data; None to take all.
    """
    data, grammar = lines.data, lines.grammar
    free = 0
    for line in irregular.tolist():
        if line < free:
            continue
        start = int(lines.starts[line])
        match = grammar.record.match(data, start)
        if match and _length(match, data) <= MAX_RECORD_BYTES:
            stop_line = int(np.searchsorted(lines.ends, match.end()))
            free = stop_line + 1
            if stop_line > line and _swallows_rows(lines, line, stop_line):
                lines.swallowed.append((line, stop_line))
                lines.broken[line:free] = True
            else:
                lines.spans[line] = (stop_line, grammar.count_delimiters(match.group()) + 1)
        elif (
            not final
            and len(data) - start <= MAX_RECORD_BYTES
            and grammar.open_record.match(data, start)
        ):
            return line
        else:
            lines.broken[line] = True
            free = line + 1
    return None


def _length(record: re.Match[bytes], data: bytes) -> int:
    """Return the bytes of a record: at its end a carriage return is data without a line feed."""
    text, end = record.group(), record.end()
    return len(text.removesuffix(b"\r") if data[end : end + 1] == b"\n" else text)


def _swallows_rows(lines: _Lines, line: int, stop_line: int) -> bool:
    """Return whether a record of several lines is a row whose quote closes in a later row.

    Its first and its last line then have the header's number of fields, each read as a row of its
    own. A text of several lines cuts the first or the last one short.
    """
    grammar = lines.grammar
    first, last = lines.text(line), lines.text(stop_line)
    opened = _end(grammar.closed_fields, first)
    closed = _end(grammar.rest_of_text, last)
    mark, count = grammar.delimiter, grammar.count_delimiters
    # The stray quote is no quote; the others of its row may be, or not.
    first_counts = (first.count(mark), count(first[:opened]) + first[opened:].count(mark))
    last_counts = (last.count(mark), last[:closed].count(mark) + count(last[closed:]))
    return lines.width - 1 in first_counts and lines.width - 1 in last_counts


def _end(pattern: re.Pattern[bytes], text: bytes) -> int:
    match = pattern.match(text)
    return match.end() if match else 0


def _inside(spans: dict[int, tuple[int, int]], count: int) -> Flags:
    """Mark the lines that go on with the record of a line before."""
    inside = np.zeros(count, np.bool_)
    for line, (stop_line, _) in spans.items():
        inside[line + 1 : stop_line + 1] = True
    return inside


def _first_lines(  # noqa: PLR0913 - the arrays of one pass
    array: npt.NDArray[np.uint8],
    real: int,
    starts: Integers,
    ends: Integers,
    commas: Integers,
    inside: Flags,
) -> Integers:
    """Return the lines on which a record starts: neither blank nor inside another record."""
    takes_part = ~inside
    alone = np.flatnonzero(takes_part & (commas == 0))
    if len(alone):
        first, stops = starts[alone], ends[alone]
        # Without a line feed behind it, a carriage return is data.
        stops = stops - ((stops > first) & (stops < real) & (array[stops - 1] == _CR))
        solid = np.zeros(len(array) + 1, np.int32)
        np.cumsum((array != _SPACE) & (array != _TAB), out=solid[1:])
        takes_part[alone] = solid[stops] > solid[first]
    return np.flatnonzero(takes_part)


def _holders(starts: Integers, marked: Flags) -> Integers:
    """Return the records that hold a marked byte; positions of them all would take 8 bytes each."""
    return np.flatnonzero(np.logical_or.reduceat(marked, starts))


def _check_encoding(
    data: bytes, starts: Integers, stops: Integers, flaws: npt.NDArray[np.uint8]
) -> None:
    """Mark the records that are not UTF-8; one by one only when there are some."""
    try:
        # Polars finds out ten times as fast as Python, which makes a text of it.
        pl.Series([data]).cast(pl.String)
    except pl.exceptions.PolarsError:
        records = _holders(starts, np.frombuffer(data, np.uint8) >= _FIRST_BEYOND_ASCII)
        spans = zip(
            records.tolist(), starts[records].tolist(), stops[records].tolist(), strict=True
        )
        for record, start, stop in spans:
            try:
                data[start:stop].decode()
            except UnicodeDecodeError:
                flaws[record] |= ENCODING


def _payload(data: bytes, starts: Integers, stops: Integers, good: Flags) -> bytes:
    """Join the bytes of the good records, whole runs of them at a time."""
    if not good.any():
        return b""
    # A run goes on while a good record begins where the good record before it stopped.
    joined = good[1:] & good[:-1] & (starts[1:] == stops[:-1])
    run_starts = starts[good & ~np.append(False, joined)]
    run_stops = stops[good & ~np.append(joined, False)]
    if len(run_starts) == 1 and run_starts[0] == 0 and run_stops[0] == len(data):
        return data
    view = memoryview(data)
    pairs = zip(run_starts.tolist(), run_stops.tolist(), strict=True)
    return b"".join(view[start:stop] for start, stop in pairs)
