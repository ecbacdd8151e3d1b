"""How a CSV file is written: what stands between fields, around them, and for what does not fit.

The structure of a file is the same whatever its delimiter and quote are, so a `Grammar` holds all
that depends on them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sales_mart.config.ingestion import Format

__all__ = ["CANDIDATES", "Dialect", "Grammar", "delimiter_name", "dialect_of", "grammar_of"]

CANDIDATES = (",", ";", "\t", "|")
"""The delimiters of which the one that fits the header is taken, where none is configured."""
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
_CODES = b"dqe"
"""What an escaped delimiter, quote or escape is coded by, behind a NUL: no record holds one."""


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        delimiter: Between two fields; None for the one of `CANDIDATES` that fits the header.
        quote: Around a field; None where nothing is.
        escape: Before a delimiter, a quote or itself; None where quotes are doubled.
        encoding: Name of the codec; None for that of the byte order mark, else UTF-8.
        names: Names of the columns, for files without a header.
        skip_rows: Lines before the header.
        jagged_rows: Whether fields may be missing at the end of a row.
        null_values: Texts that mean that a value is missing.
    """

    delimiter: str | None = None
    quote: str | None = '"'
    escape: str | None = None
    encoding: str | None = None
    names: tuple[str, ...] | None = None
    skip_rows: int = 0
    jagged_rows: bool = False
    null_values: tuple[str, ...] = ()

    @property
    def grammars(self) -> tuple[Grammar, ...]:
        """What the delimiter may be, with the rest."""
        found = (self.delimiter,) if self.delimiter else CANDIDATES
        return tuple(
            grammar_of(each, self.quote, self.escape)
            for each in found
            if each not in (self.quote, self.escape)
        )


class Grammar:
    """The bytes and the regular expressions of one delimiter, quote and escape.

    Attributes:
        delimiter: The delimiter.
        quote: The quote; nothing where there is none.
        escape: The escape; nothing where there is none.
        record: A record of RFC 4180, of one line or of several.
        open_record: The start of one whose last field goes on.
        closed_fields: The fields that end in a piece of text.
        rest_of_text: The rest of a quoted field.
    """

    def __init__(self, delimiter: bytes, quote: bytes, escape: bytes) -> None:
        """Build the patterns."""
        self.delimiter, self.quote, self.escape = delimiter, quote, escape
        mark, end = re.escape(delimiter), re.escape(quote)
        never = b"(?!)"
        # What a quoted field holds; a quote in it is doubled.
        inside = b"[^%b]*+(?:%b%b[^%b]*+)*+" % (end, end, end, end) if quote else never
        text = end + inside
        self._field = b"(?:%b%b|[^%b%b\n]*+)" % (text, end, end, mark)
        self.record = re.compile(rb"%b(?:%b%b)*+(?=\r?\n|\Z)" % (self._field, mark, self._field))
        self.open_record = re.compile(rb"(?:%b%b)*+%b\Z" % (self._field, mark, text))
        self.closed_fields = re.compile(b"(?:%b%b)*+" % (self._field, mark))
        self.rest_of_text = re.compile(b"%b(?:%b)?" % (inside, end))
        self._quotes = re.compile(b"%b[^%b]*%b" % (end, end, end) if quote else never)
        before = re.escape(escape)
        self._pairs = re.compile(b"%b(%b)" % (before, b"|".join({mark, end, before} - {b""})))

    @property
    def name(self) -> str:
        """The delimiter as messages name it."""
        return delimiter_name(self.delimiter.decode())

    def split(self, record: bytes) -> list[bytes]:
        """Return the fields of a record as they are written."""
        mark = re.escape(self.delimiter)
        return [found[1] for found in re.finditer(b"(?:^|%b)(%b)" % (mark, self._field), record)]

    def value(self, field: bytes) -> bytes:
        """Return what a field means."""
        if self.quote and field.startswith(self.quote):
            field = field[1:-1].replace(self.quote * 2, self.quote)
        return self.decoded(field)

    def count_delimiters(self, text: bytes) -> int:
        """Count the delimiters outside of quotes."""
        return self._quotes.sub(b"", text).count(self.delimiter)

    def coded(self, data: bytes) -> bytes:
        """Hide what is escaped: each pair becomes a NUL and a letter, of the same length."""
        if not self.escape or self.escape not in data:
            return data
        return self._pairs.sub(lambda pair: b"\0%c" % _CODES[self._escaped.index(pair[1])], data)

    def decoded(self, text: bytes) -> bytes:
        """Return what hidden pairs stand for."""
        for code, meant in zip(_CODES, self._escaped, strict=True):
            text = text.replace(b"\0%c" % code, meant)
        return text

    @property
    def codes(self) -> dict[str, str]:
        """What a hidden pair stands for."""
        pairs = zip(_CODES, self._escaped, strict=True)
        return {f"\0{chr(code)}": meant.decode() for code, meant in pairs}

    @property
    def _escaped(self) -> tuple[bytes, bytes, bytes]:
        return self.delimiter, self.quote or self.escape, self.escape


@lru_cache(maxsize=256)
def grammar_of(delimiter: str, quote: str | None, escape: str | None) -> Grammar:
    """Return the grammar of a delimiter, a quote and an escape."""
    given = None if escape == quote else escape  # a quote before a quote is what doubling means
    return Grammar(delimiter.encode(), (quote or "").encode(), (given or "").encode())


def delimiter_name(delimiter: str) -> str:
    """Return a delimiter as messages name it."""
    return _NAMES.get(delimiter, delimiter)


def dialect_of(given: Format) -> Dialect:
    """Return the dialect that a configuration describes."""
    return Dialect(
        delimiter=given.delimiter,
        quote=given.quote,
        escape=given.escape,
        encoding=given.encoding,
        names=given.header if isinstance(given.header, tuple) else None,
        skip_rows=given.skip_rows,
        jagged_rows=given.jagged_rows,
        null_values=given.null_values,
    )
