"""Bytes of a CSV file into records, block by block, with every byte accounted for.

Polars parses fields at full speed, but it tells neither lines nor offsets and gives up at the
first bad byte. So the structure is settled here first, vectorised: which bytes are a record (RFC
4180), on which line it starts, and which records nobody could split into the header's fields.
Polars then gets well-formed records only, and must find exactly as many as were counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from sales_mart.errors import EmptyInputError, SourceFormatError, UnexpectedError
from sales_mart.rows.mapping import currencies_in, fields_of
from sales_mart.source.csv_buffer import Account, Buffer, Places
from sales_mart.source.csv_header import find_header
from sales_mart.source.csv_structure import ENCODING, MALFORMED, MAX_RECORD_BYTES, split_records
from sales_mart.source.dialect import Dialect
from sales_mart.source.encoding import BOM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sales_mart.lake.records import Range
    from sales_mart.schema import Origin
    from sales_mart.source.csv_header import Header
    from sales_mart.source.dialect import Grammar

__all__ = [
    "BLOCK_BYTES",
    "DELIVER_AGAIN",
    "ENCODING",
    "MALFORMED",
    "MAX_RECORD_BYTES",
    "Account",
    "Block",
    "Places",
    "read_blocks",
]

BLOCK_BYTES = 4 << 20
"""Bytes that are checked at a time: memory follows this, not the file."""

DELIVER_AGAIN = "Deliver the file again, whole; --allow-empty takes it for an empty one."
"""What to do about a file without a header or a record."""
_MOST_SHOWN = 5
_LOOKS_COMPRESSED = (b"x", b"(", b"\x1f")
"""First bytes of zlib, zstd and gzip."""


@dataclass(frozen=True)
class Block:
    """Some whole records of a file.

    Attributes:
        fields: One text column per field of a transaction, one row per well-formed record.
        places: Where the well-formed records stand.
        broken: Where the others stand.
        flaws: Bits `MALFORMED` and `ENCODING` of each of the others.
        currencies: Values of a column called currency that is not carried.
        typed: Fields whose values had a type already, so that their texts are plain.
        member: The file in an archive that they come from.
    """

    fields: pl.DataFrame
    places: Places
    broken: Places
    flaws: npt.NDArray[np.uint8]
    currencies: frozenset[str] = frozenset()
    typed: frozenset[str] = frozenset()
    member: str = ""


def read_blocks(  # noqa: PLR0913 - what a file is read by
    stream: BinaryIO,
    uri: str,
    fields: Mapping[str, Origin],
    dialect: Dialect = Dialect(),  # noqa: B008 - frozen
    *,
    label: str = "",
    block_bytes: int = BLOCK_BYTES,
    warn: Callable[[str], None] = lambda _: None,
    account: Account | None = None,
    allow_empty: bool = True,
    part: Range | None = None,
) -> Iterator[Block]:
    """Read the records of one decompressed CSV file.

    Args:
        stream: The file's bytes.
        uri: What to call the file in an error.
        fields: Our name of each field -> the columns that it comes from, in any order.
        dialect: How the file is written.
        label: What `$file` stands for.
        block_bytes: About how many bytes to hold at a time.
        warn: Called with a sentence about columns that are not carried, and about quotes that
            swallowed rows.
        account: Told where the bytes went that stand in no record.
        allow_empty: Whether a file without a header is one without a record, and no error.
        part: The range of the file that follows the header in the stream; None for all of it.

    Yields:
        Blocks in the order of the file. A file without a record yields none.

    Raises:
        SourceFormatError: The header lacks a column, names one twice, holds a control character,
            or is no header; or two delimiters fit it.
        ConfigurationError: The names in the configuration lack a column, or the encoding is not
            that of the file's byte order mark.
        EmptyInputError: There is no header, and `allow_empty` is not set.
    """
    account = account or Account()
    buffer = Buffer(stream, uri, block_bytes, account, dialect.encoding)
    found = _find_header(buffer, (uri, fields, dialect, warn), part, allow_empty=allow_empty)
    if found is None:
        return
    header, grammar = found
    swallowed = 0
    shown: list[str] = []
    row = part.row if part else 1
    while buffer.fill():
        offset, line = buffer.offset, buffer.line
        if buffer.line_is_too_long:
            split, places = buffer.skip_line()
        else:
            split = split_records(
                buffer.data, header.width, grammar, final=buffer.final, jagged=dialect.jagged_rows
            )
            places = buffer.places(split)
            buffer.drop(split.consumed)
        swallowed += len(split.swallowed)
        if len(shown) < _MOST_SHOWN:
            quotes = split.swallowed[:_MOST_SHOWN]
            shown += [f"{line + first}-{line + last}" for first, last in quotes]
        places = replace(places, rows=row + np.arange(len(split.starts)))
        account.blank += buffer.offset - offset - places.size
        row += len(split.starts)
        good = split.flaws == 0
        frame = _parse(split.payload, header, grammar, jagged=dialect.jagged_rows)
        if frame.height != np.count_nonzero(good):
            msg = (
                f"{uri}: {np.count_nonzero(good)} records were counted and {frame.height} parsed "
                f"from byte {offset} on"
            )
            raise UnexpectedError(msg, remedy="Report this as a bug, with the file's dialect.")
        if len(split.starts):
            well_formed = places.take(good)
            composed = frame.select(
                fields_of(
                    header.mapped,
                    {place: pl.col(f"c{place}") for place in header.mapped.columns},
                    {"$row": pl.lit(pl.Series(well_formed.rows)), "$file": pl.lit(label)},
                    dialect.null_values,
                )
            )
            yield Block(
                composed,
                well_formed,
                places.take(~good),
                split.flaws[~good],
                # A value that the configuration gives is not written as the file is.
                typed=frozenset(header.mapped.values),
                currencies=currencies_in(frame, header.mapped),
            )
    if row == 1 and header.holds_values:
        msg = (
            f"{uri}: the header names {header.width:,} columns, values among them, and has no rows"
        )
        raise SourceFormatError(msg, remedy="End each row with a line end, the header first.")
    if swallowed:
        more = ", …" if swallowed > len(shown[:_MOST_SHOWN]) else ""
        warn(
            f"{uri}: {swallowed} quotes open in one row and close in a later one, so all rows of "
            f"these lines are rejected as malformed_row: {', '.join(shown[:_MOST_SHOWN])}{more}"
        )


def _find_header(
    buffer: Buffer,
    given: tuple[str, Mapping[str, Origin], Dialect, Callable[[str], None]],
    part: Range | None,
    *,
    allow_empty: bool,
) -> tuple[Header, Grammar] | None:
    """Take the header off, and go on with the range that is to be read."""
    uri, fields, dialect, warn = given
    if part is not None:
        dialect = replace(dialect, delimiter=part.delimiter)
    found = find_header(buffer, uri, fields, dialect, warn)
    if found is None and not allow_empty:
        what = "only blank lines" if buffer.offset else "no bytes"
        msg = f"{uri} has {what}, not even a header"
        raise EmptyInputError(msg, remedy=DELIVER_AGAIN)
    if part is not None:
        buffer.jump(part)
    return found


def _parse(
    payload: bytes, header: Header, grammar: Grammar, *, jagged: bool = False
) -> pl.DataFrame:
    """Let Polars parse well-formed records into texts; take the columns that are read."""
    names = [f"c{position}" for position in range(header.width)]
    schema = dict.fromkeys(names, pl.String())
    wanted = [f"c{position}" for position in header.mapped.columns]
    if not payload:
        return pl.DataFrame(schema=dict.fromkeys(wanted, pl.String()))
    # Polars would take a byte order mark at the start of any block for the file's own, and what
    # looks like the start of compressed data for that.
    is_misread = payload.startswith((BOM, *_LOOKS_COMPRESSED))
    # It takes the fields of the first record for those of all.
    is_led = is_misread or (jagged and header.width > 1)
    if is_led:
        payload = grammar.delimiter * (header.width - 1) + b"\n" + payload
    frame = pl.read_csv(
        payload,
        has_header=False,
        schema=schema,
        separator=grammar.delimiter.decode(),
        quote_char=grammar.quote.decode() if grammar.quote and grammar.quote in payload else None,
    )
    texts = frame.slice(1 if is_led else 0).select(wanted)
    if b"\0" not in payload:
        return texts
    hidden, meant = list(grammar.codes), list(grammar.codes.values())
    return texts.with_columns(pl.all().str.replace_many(hidden, meant))
