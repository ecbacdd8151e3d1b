"""JSON Lines into records: one object on each line, with every byte accounted for."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from sales_mart.errors import EmptyInputError, SourceFormatError
from sales_mart.rows.mapping import CURRENCY_NAME, mapped_at, normal_name, wanted_names
from sales_mart.source.csv_header import shown_names
from sales_mart.source.csv_reader import DELIVER_AGAIN, ENCODING, MALFORMED, MAX_RECORD_BYTES
from sales_mart.source.encoding import BOM
from sales_mart.source.tables import NOTHING, TEXT, TYPED, Cell, Place, Reading, Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_mart.schema import Origin
    from sales_mart.source.csv_reader import Account, Block

__all__ = ["read_json_lines"]

_BLANK = b" \t\r\n"
_EXPONENT = re.compile(r"[eE][+-]?0*([0-9]+)$")
_MOST_ZEROS = 100
"""Exponent up to which a number is written out; no rule lets a larger one through."""
_MOST_KEYS = 1000
"""Keys that are remembered: data may stand where a key is expected."""
_MOST_SHOWN = 20


class _Number(str):
    """The text of a number, as it stands in the file: a float would round it."""

    __slots__ = ()


def read_json_lines(stream: BinaryIO, reading: Reading) -> Iterator[Block]:
    """Read the records of one file.

    A key that an object lacks is a missing value. A line that is no object, or has a list or an
    object for a value that is needed, is `malformed_row`; one that is not UTF-8 is `encoding`.

    Yields:
        Blocks in the order of the file.

    Raises:
        SourceFormatError: No object has any of the keys.
        EmptyInputError: There is no record, and `allow_empty` is not set.
    """
    keys = _Keys(reading.fields)
    records = Records(reading, keys.mapped)
    row = 0
    held = 0
    for line, place in _lines(stream, reading.account, reading.block_bytes):
        row += 1
        here = Place(row, *place)
        held += here.length
        cells = MALFORMED if line is None else keys.cells(line)
        if isinstance(cells, int):
            records.add_broken(cells, here)
        else:
            records.add(cells, here)
        if held >= reading.block_bytes:
            yield from records.blocks()
            held = 0
    yield from records.blocks()
    if not row and not reading.allow_empty:
        msg = f"{reading.uri} has no bytes but blank lines"
        raise EmptyInputError(msg, remedy=DELIVER_AGAIN)
    if row:
        _tell_of_keys(keys, reading)


def _tell_of_keys(keys: _Keys, reading: Reading) -> None:
    """Say which keys no object had, and which ones were not read."""
    wanted = [" or ".join(part) for part in keys.wanted]
    absent = [name for at, name in enumerate(wanted) if at not in keys.seen]
    others = [key for key, at in keys.places.items() if at is None]
    is_shown = shown_names([*wanted, *others], reading.fields) is not None
    names = f": {', '.join(others[:_MOST_SHOWN])}" if is_shown else ""
    if absent and len(absent) == len(wanted):
        msg = f"{reading.uri}: no line is an object with one of the keys {', '.join(absent)}"
        msg += f"; others are there{names}" if others else ""
        raise SourceFormatError(msg, remedy="Say what the file calls them under ingestion.columns.")
    if absent:
        reading.warn(f"{reading.uri}: no object has {', '.join(absent)}: missing in all rows")
    if others:
        reading.warn(f"{reading.uri}: {len(others)} keys are ignored{names}")


class _Keys:
    """Finds the values of the fields in objects, by their keys."""

    def __init__(self, fields: Mapping[str, Origin]) -> None:
        self.wanted = wanted_names(fields)
        at = {part: place for place, part in enumerate(self.wanted)}
        self._wanted_at: dict[str, set[int]] = {}
        for part, place in at.items():
            for name in part:
                self._wanted_at.setdefault(normal_name(name), set()).add(place)
        is_carried = CURRENCY_NAME in self._wanted_at
        self._wanted_at.setdefault(CURRENCY_NAME, {len(at)})
        self.mapped = mapped_at(fields, at, None if is_carried else len(at))
        self.places: dict[str, set[int] | None] = {}
        self.seen: set[int] = set()
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_object,
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_refuse,
        )

    def cells(self, line: bytes) -> list[Cell] | int:
        """Return the values of a line, or what is wrong with it."""
        try:
            found = self._decoder.decode(line.decode())
            return self._values(found) if isinstance(found, dict) else MALFORMED
        except UnicodeDecodeError:
            return ENCODING
        except (ValueError, RecursionError):
            return MALFORMED

    def _values(self, found: dict[str, Any]) -> list[Cell]:
        cells = [NOTHING] * len(self.mapped.columns)
        there: set[int] = set()
        for key, value in found.items():
            places = self.places.get(key)
            if places is None and key not in self.places:
                places = self._wanted_at.get(normal_name(key))
                if len(self.places) < _MOST_KEYS:
                    self.places[key] = places
            for place in places or ():
                if place in there:  # by two of its names
                    raise ValueError
                there.add(place)
                cells[place] = _cell(value)
        self.seen |= there
        return cells


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, unless a key stands in it twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError
    return made


def _refuse(_: str) -> NoReturn:
    raise ValueError


def _cell(value: object) -> Cell:
    if value is None:
        return NOTHING
    if isinstance(value, _Number):
        return (_written_out(value) if "e" in value or "E" in value else value), TYPED
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # half of a pair of surrogates is no text
        return value, TEXT
    if isinstance(value, bool):
        return str(value).lower(), TYPED
    raise ValueError


def _written_out(number: _Number) -> str:
    """Return a number without an exponent."""
    exponent = _EXPONENT.search(number)
    if not exponent or len(exponent[1]) > 3 or int(exponent[1]) > _MOST_ZEROS:  # noqa: PLR2004
        return str(number)
    return f"{Decimal(number):f}"


def _lines(
    stream: BinaryIO, account: Account, block_bytes: int
) -> Iterator[tuple[bytes | None, tuple[int, int, int, int]]]:
    """Yield the lines that are not blank, with line number, offset, length and bytes of the end.

    A line that is too long to be held comes as None.
    """
    offset, number, held = 0, 0, b""
    final = False
    skipped = 0
    while not final:
        piece = stream.read(block_bytes)
        account.size += len(piece)
        final = not piece
        held += piece
        if offset == 0 and number == 0 and held.startswith(BOM):
            account.header += len(BOM)
            offset, held = len(BOM), held[len(BOM) :]
        start = 0
        while (end := held.find(b"\n", start)) >= 0 or (final and (start < len(held) or skipped)):
            stop = len(held) if end < 0 else end + 1
            line = held[start:stop]
            number += 1
            size = skipped + len(line)
            ends = len(line) - len(line.rstrip(b"\r\n")) if end >= 0 else 0
            ends = min(ends, 2)
            if not skipped and not line.strip(_BLANK):
                account.blank += size
            else:
                text = None if skipped else line[: len(line) - ends]
                yield text, (number, offset, size - ends, ends)
            offset += size
            start, skipped = stop, 0
        held = held[start:]
        if skipped or len(held) > MAX_RECORD_BYTES:
            skipped, held = skipped + len(held), b""
