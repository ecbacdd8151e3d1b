"""Bytes into records: where each begins and ends, and which ones nobody could read.

A record is what RFC 4180 says. One that breaks it ends with its first physical line, so that a
stray quote costs one line and not the rest of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "ENCODING",
    "FIELD",
    "MALFORMED",
    "MAX_RECORD_BYTES",
    "OPEN_RECORD",
    "RECORD",
    "Split",
    "split_records",
]

MAX_RECORD_BYTES = 16 << 20
"""A longer record is malformed: it is nearly always a quote that nobody closed."""
MALFORMED = 1
ENCODING = 2

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_NUL, _TAB, _LF, _CR, _SPACE, _QUOTE, _COMMA = 0, 9, 10, 13, 32, 34, 44
_FIRST_BEYOND_ASCII = 128
_QUOTED = rb'"[^"]*+(?:""[^"]*+)*+'
FIELD = rb'(?:%b"|[^",\n]*+)' % _QUOTED
RECORD = re.compile(rb"%b(?:,%b)*+(?=\r?\n|\Z)" % (FIELD, FIELD))
OPEN_RECORD = re.compile(rb"(?:%b,)*+%b\Z" % (FIELD, _QUOTED))


@dataclass(frozen=True)
class Split:
    """Records of a piece of data; positions count from its first byte, lines from 0."""

    consumed: int
    lines: int
    payload: bytes
    starts: Integers
    lengths: Integers
    first_lines: Integers
    flaws: npt.NDArray[np.uint8]

    @staticmethod
    def oversized(length: int, flaws_found: int) -> Split:
        """Give the one broken record of a line that was too long to hold."""
        one = np.zeros(1, np.int64)
        flaws = np.full(1, flaws_found, np.uint8)
        return Split(length, 1, b"", one, one + length, one, flaws)


def split_records(data: bytes, width: int, *, final: bool) -> Split:
    """Find the records of `data`, which ends with a line end unless it is the last."""
    real = len(data)
    if not data.endswith(b"\n"):
        data += b"\n"
    array = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero((array == _LF) | (array == _COMMA))
    at_end = np.flatnonzero(array[marks] == _LF)
    ends = marks[at_end]
    commas = np.diff(at_end, prepend=-1) - 1
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])

    spans: dict[int, tuple[int, int]] = {}
    broken_lines = np.zeros(len(ends), np.bool_)
    if b'"' in data:
        quotes = np.flatnonzero(array == _QUOTE)
        irregular = _judge_quotes(array, real, quotes, starts, ends, marks, commas)
        cut = _walk(data[:real], starts, ends, irregular, spans, broken_lines, final=final)
        if cut is not None:
            starts, ends, commas = starts[:cut], ends[:cut], commas[:cut]
            broken_lines = broken_lines[:cut]
            data = data[: ends[-1] + 1] if cut else b""
            real = len(data)
            array = array[:real]

    first = _first_lines(array, real, starts, ends, commas, spans)
    last = first.copy()
    fields = commas[first] + 1
    stops = ends[first]
    for line, (stop_line, width_found) in spans.items():
        index = int(np.searchsorted(first, line))
        last[index], stops[index], fields[index] = stop_line, ends[stop_line], width_found
    trimmed = (stops > starts[first]) & (stops < real) & (array[stops - 1] == _CR)
    too_long = stops - starts[first] - trimmed > MAX_RECORD_BYTES
    broken = broken_lines[first] | (fields != width) | too_long
    flaws = np.where(broken, MALFORMED, 0).astype(np.uint8)
    if b"\0" in data:
        flaws[_holders(starts[first], array == _NUL)] |= MALFORMED
    if not data.isascii():
        _judge_encoding(data, starts[first], stops, flaws)
    return Split(
        consumed=min(len(data), real),
        lines=len(ends) - (0 if data[:real].endswith(b"\n") or not len(ends) else 1),
        payload=_payload(data, starts[first], ends[last] + 1, flaws == 0),
        starts=starts[first],
        lengths=stops - starts[first] - trimmed,
        first_lines=first,
        flaws=flaws,
    )


def _judge_quotes(  # noqa: PLR0913 - the arrays of one pass
    array: npt.NDArray[np.uint8],
    real: int,
    quotes: Integers,
    starts: Integers,
    ends: Integers,
    marks: Integers,
    commas: Integers,
) -> Integers:
    """Find the lines whose quotes do not make sense by themselves; mend the others' `commas`.

    Within a line that starts outside of quotes, the first quote opens, the second closes, and so
    on; an escaped quote closes and opens. Each must have the right neighbour.
    """
    line = np.searchsorted(ends, quotes)
    fresh = np.flatnonzero(np.diff(line, prepend=-1))
    rank = np.arange(len(quotes)) - np.repeat(fresh, np.diff(np.append(fresh, len(quotes))))
    closes = (rank & 1).astype(np.bool_)
    before, after = array[quotes - 1], array[quotes + 1]
    opens_well = (quotes == starts[line]) | (before == _COMMA) | (before == _QUOTE)
    two_on = np.minimum(quotes + 2, len(array) - 1)
    at_line_end = (after == _LF) | ((after == _CR) & (array[two_on] == _LF) & (two_on < real))
    closes_well = (after == _COMMA) | (after == _QUOTE) | at_line_end
    wrong = np.where(closes, ~closes_well, ~opens_well)
    with_quotes = line[fresh]
    unclosed = np.diff(np.append(fresh, len(quotes))) & 1 == 1
    irregular = np.union1d(line[wrong], with_quotes[unclosed])

    quoted_line = np.zeros(len(ends), np.bool_)
    quoted_line[with_quotes] = True
    comma_line = np.repeat(np.arange(len(ends)), commas)
    positions = marks[array[marks] == _COMMA]
    chosen = quoted_line[comma_line]
    comma_line, positions = comma_line[chosen], positions[chosen]
    first_quote = np.searchsorted(quotes, starts[comma_line])
    inside = (np.searchsorted(quotes, positions) - first_quote) & 1 == 1
    np.subtract.at(commas, comma_line[inside], 1)
    return irregular


def _walk(  # noqa: PLR0913 - the arrays of one pass
    data: bytes,
    starts: Integers,
    ends: Integers,
    irregular: Integers,
    spans: dict[int, tuple[int, int]],
    broken_lines: Flags,
    *,
    final: bool,
) -> int | None:
    """Read records of several lines one by one, and mark the lines that no quote can mend.

    Returns:
        The line at which to stop, since its record goes on after `data`; None to take all.
    """
    free = 0
    for line in irregular.tolist():
        if line < free:
            continue
        start = int(starts[line])
        match = RECORD.match(data, start)
        if match and len(match.group().removesuffix(b"\r")) <= MAX_RECORD_BYTES:
            stop_line = int(np.searchsorted(ends, match.end()))
            width = re.sub(rb'"[^"]*"', b"", match.group()).count(b",") + 1
            spans[line] = (stop_line, width)
            free = stop_line + 1
        elif not final and len(data) - start <= MAX_RECORD_BYTES and OPEN_RECORD.match(data, start):
            return line
        else:
            broken_lines[line] = True
            free = line + 1
    return None


def _first_lines(  # noqa: PLR0913 - the arrays of one pass
    array: npt.NDArray[np.uint8],
    real: int,
    starts: Integers,
    ends: Integers,
    commas: Integers,
    spans: dict[int, tuple[int, int]],
) -> Integers:
    """Give the lines on which a record starts: neither blank nor inside another record."""
    takes_part = np.ones(len(ends), np.bool_)
    for line, (stop_line, _) in spans.items():
        takes_part[line + 1 : stop_line + 1] = False
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
    """Give the records that hold a marked byte; positions of them all would take 8 bytes each."""
    return np.flatnonzero(np.logical_or.reduceat(marked, starts))


def _judge_encoding(
    data: bytes, starts: Integers, stops: Integers, flaws: npt.NDArray[np.uint8]
) -> None:
    """Mark the records that are not UTF-8; one by one only when there are some."""
    try:
        data.decode()
    except UnicodeDecodeError:
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
