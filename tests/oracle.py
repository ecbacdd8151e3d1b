"""What reading and checking must give, in plain Python: written from the rules, not from the code.

Slow and short on purpose. It shares no line and no library with `sales_mart`, and takes nothing
from it but the configuration object.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sales_mart.config import Config

FIELDS = ("transaction_id", "product", "price", "quantity", "date")
REASONS = (
    "missing_transaction_id",
    "transaction_id_format",
    "missing_product",
    "product_prefix",
    "missing_price",
    "price_format",
    "negative_price",
    "price_decimals",
    "price_too_low",
    "missing_quantity",
    "quantity_format",
    "negative_quantity",
    "quantity_range",
    "missing_date",
    "date_format",
    "malformed_row",
    "encoding",
    "duplicate_transaction_id",
    "conflicting_transaction_id",
)
"""Every reason code, in the order of the design's table."""
SKIPPED_WHEN_TRUSTED = ("product_prefix", "price_too_low", "quantity_range")
MAX_RECORD_BYTES = 16 * 1024 * 1024
LARGEST_INTEGER = 2**63 - 1
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True)
class Record:
    """One record's place in the file; `cells` is None when its structure is broken."""

    line: int
    offset: int
    data: bytes
    cells: tuple[bytes, ...] | None


@dataclass(frozen=True)
class Checked:
    """One data record, checked; `fields` is None when it could not be read as text."""

    line: int
    source_row: int
    offset: int
    length: int
    reasons: tuple[str, ...]
    fields: Mapping[str, str | None] | None


@dataclass(frozen=True)
class Typed:
    """A valid row's values."""

    transaction_id: str
    product: str | None
    price: Decimal | None
    quantity: int | None
    sale_date: date


def _line_end(data: bytes, start: int) -> tuple[int, int]:
    """Find where the physical line at `start` ends: without and with its line end."""
    feed = data.find(b"\n", start)
    if feed < 0:
        return len(data), len(data)
    if feed > start and data[feed - 1 : feed] == b"\r":
        return feed - 1, feed + 1
    return feed, feed + 1


def _quoted(data: bytes, start: int, limit: int) -> tuple[bytes, int] | None:
    """Read the quoted field at `start`: its value and the place behind its closing quote."""
    value = b""
    place = start + 1
    while True:
        quote = data.find(b'"', place, limit)
        if quote < 0:
            return None
        value += data[place:quote]
        if data[quote + 1 : quote + 2] != b'"':
            return value, quote + 1
        value += b'"'
        place = quote + 2


def _cells(data: bytes, start: int, longest: int) -> tuple[tuple[bytes, ...], int, int] | None:
    """Split the record at `start`: cells, its end, the next record's start; None if broken."""
    cells: list[bytes] = []
    place = start
    limit = min(len(data), start + longest + 2)
    while True:
        if data[place : place + 1] == b'"':
            found = _quoted(data, place, limit)
            if found is None:
                return None
            value, place = found
        else:
            end, _ = _line_end(data, place)
            comma = data.find(b",", place, end)
            stop = end if comma < 0 else comma
            value, place = data[place:stop], stop
            if b'"' in value:
                return None
        cells.append(value)
        if data[place : place + 1] == b",":
            place += 1
            continue
        for end_of_line in (b"\n", b"\r\n", b""):
            after = place + len(end_of_line)
            if data[place:after] == end_of_line and (end_of_line or place == len(data)):
                return (tuple(cells), place, after) if place - start <= longest else None
        return None


def _commas(text: bytes, *, inside: bool) -> int:
    """Count the commas between fields of a line; a quote that it does not close is no quote."""
    count, place = 0, 0
    if inside:
        while (quote := text.find(b'"', place)) >= 0 and text[quote + 1 : quote + 2] == b'"':
            place = quote + 2
        count, place = text[:quote].count(b","), quote + 1
    while place < len(text):
        if text[place : place + 1] == b'"':
            found = _quoted(text, place, len(text))
            if found is None:
                return count + text[place:].count(b",")
            place = found[1]
        comma = text.find(b",", place)
        if comma < 0:
            break
        count, place = count + 1, comma + 1
    return count


def _is_swallow(lines: list[bytes], width: int) -> bool:
    """Return whether the first and the last of several lines have as many fields as the header."""
    first, last = lines[0], lines[-1]
    return (
        len(lines) > 1
        and width - 1 in (first.count(b","), _commas(first, inside=False))
        and width - 1 in (last.count(b","), _commas(last, inside=True))
    )


def records(data: bytes, *, longest: int = MAX_RECORD_BYTES) -> Iterator[Record]:
    """Cut the bytes of a file into records, the header included.

    A record of several lines whose first and last line could each be a row is not one: a quote
    has swallowed rows, and each line is a broken record of its own.
    """
    place = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    line = 1
    width: int | None = None
    while place < len(data):
        end, after = _line_end(data, place)
        text = data[place:end]
        if not text.strip(b" \t"):
            place, line = after, line + 1
            continue
        if b'"' not in text:
            cells = None if len(text) > longest else tuple(text.split(b","))
            width = text.count(b",") + 1 if width is None else width
            yield Record(line, place, text, cells)
        else:
            found = _cells(data, place, longest)
            if found is None:
                yield Record(line, place, text, None)
            elif width is not None and _is_swallow(data[place : found[1]].split(b"\n"), width):
                stop = found[2]
                while place < stop:
                    end, after = _line_end(data, place)
                    if data[place:end].strip(b" \t"):
                        yield Record(line, place, data[place:end], None)
                    place, line = after, line + 1
                continue
            else:
                cells, end, after = found
                width = len(cells) if width is None else width
                yield Record(line, place, data[place:end], cells)
        line += data.count(b"\n", place, after)
        place = after


def stripped(text: str | None) -> str | None:
    """Take the white space off both ends; what is then empty is missing."""
    return (text or "").strip(WHITE_SPACE) or None


def texts(fields: Mapping[str, str | None]) -> dict[str, str | None]:
    """Take a row's fields as they are compared: stripped, the names and identifiers in NFC."""
    values = {name: stripped(fields.get(name)) for name in FIELDS}
    for name in ("transaction_id", "product"):
        text = values[name]
        values[name] = text and unicodedata.normalize("NFC", text)
    return values


def _is_invisible(character: str) -> bool:
    """Return whether nobody sees it: format characters, and what else Unicode says to ignore."""
    others = "\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0"
    return (
        unicodedata.category(character) == "Cf"
        or character in others
        or "\u180b" <= character <= "\u180f"
        or "\ufe00" <= character <= "\ufe0f"
        or "\ufff0" <= character <= "\ufff8"
        or "\U00013430" <= character <= "\U0001343f"
        or "\U000e0000" <= character <= "\U000e0fff"
    )


def _check_price(text: str, config: Config) -> list[str]:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return ["price_format"]
    whole, _, decimals = text.partition(".")
    if len(whole.lstrip("-0")) > 18 - config.rules.max_decimals:
        return ["price_format"]
    if Decimal(text) < 0:
        return ["negative_price"]
    reasons: list[str] = []
    if len(decimals.rstrip("0")) > config.rules.max_decimals:
        reasons.append("price_decimals")
    if Decimal(text) < config.rules.min_price or Decimal(text) <= 0:
        reasons.append("price_too_low")
    return reasons


def _check_quantity(text: str, config: Config) -> list[str]:
    if not re.fullmatch(r"-?[0-9]+(\.0+)?", text):
        return ["quantity_format"]
    digits = text.partition(".")[0].lstrip("-0") or "0"
    number = -int(digits[:20]) if text.startswith("-") else int(digits[:20])
    if not -LARGEST_INTEGER - 1 <= number <= LARGEST_INTEGER:
        return ["quantity_format"]
    if number < 0:
        return ["negative_quantity"]
    return [] if 1 <= number <= config.rules.max_quantity else ["quantity_range"]


def _check_date(text: str) -> list[str]:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return ["date_format"]
    try:
        date(int(text[:4]), int(text[5:7]), int(text[8:]))
    except ValueError:
        return ["date_format"]
    return []


def check(fields: Mapping[str, str | None], config: Config) -> tuple[str, ...]:
    """Return every reason why one row of text fields is not valid, duplicates aside."""
    values = texts(fields)
    reasons = [
        f"missing_{name}"
        for name in FIELDS
        if values[name] is None and name in config.rules.required_fields
    ]
    if any(_is_invisible(each) for each in values["transaction_id"] or ""):
        reasons.append("transaction_id_format")
    if values["product"] and not values["product"].startswith(config.rules.product_prefix):
        reasons.append("product_prefix")
    if values["price"]:
        reasons += _check_price(values["price"], config)
    if values["quantity"]:
        reasons += _check_quantity(values["quantity"], config)
    if values["date"]:
        reasons += _check_date(values["date"])
    if config.ingestion.trust_input:
        reasons = [reason for reason in reasons if reason not in SKIPPED_WHEN_TRUSTED]
    return tuple(sorted(reasons, key=REASONS.index))


def check_file(
    data: bytes, config: Config, *, longest: int = MAX_RECORD_BYTES
) -> Iterator[Checked]:
    """Check the data records of one file, duplicates aside; its header must be a good one."""
    rows = records(data, longest=longest)
    header = next(rows, None)
    if header is None or header.cells is None:
        return
    names = [cell.decode().strip(WHITE_SPACE).lower() for cell in header.cells]
    for source_row, record in enumerate(rows, start=1):
        reasons: list[str] = []
        fields: dict[str, str | None] | None = None
        wrong_shape = record.cells is None or len(record.cells) != len(names)
        if wrong_shape or b"\0" in record.data:
            reasons.append("malformed_row")
        try:
            record.data.decode()
        except UnicodeDecodeError:
            reasons.append("encoding")
        if not reasons and record.cells is not None:
            cells = (cell.decode() for cell in record.cells)
            found = {name: cell for name, cell in zip(names, cells, strict=True) if name in FIELDS}
            fields = texts(found)
            reasons.extend(check(fields, config))
        yield Checked(
            line=record.line,
            source_row=source_row,
            offset=record.offset,
            length=len(record.data),
            reasons=tuple(reasons),
            fields=fields,
        )


def settle(results: Iterable[Checked], seen: dict[str, Typed], config: Config) -> Iterator[Checked]:
    """Yield all but the first valid row of an id its reason; `seen` grows from file to file."""
    for result in results:
        if result.reasons or result.fields is None:
            yield result
            continue
        identifier = result.fields["transaction_id"] or ""
        values = typed(result, config)
        if identifier not in seen:
            seen[identifier] = values
            yield result
        elif seen[identifier] == values:
            yield replace(result, reasons=("duplicate_transaction_id",))
        else:
            yield replace(result, reasons=("conflicting_transaction_id",))


def typed(result: Checked, config: Config) -> Typed:
    """Return the values of a valid row, the price at its full scale."""
    fields = result.fields
    assert fields is not None
    assert not result.reasons
    price, quantity = fields["price"], fields["quantity"]
    scale = Decimal(1).scaleb(-config.rules.max_decimals)
    return Typed(
        transaction_id=fields["transaction_id"] or "",
        product=fields["product"],
        price=None if price is None else Decimal(price).quantize(scale),
        quantity=None if quantity is None else int(Decimal(quantity)),
        sale_date=date.fromisoformat(fields["date"] or ""),
    )
