"""Workbooks of Excel into records: one sheet, row by row, with the values of its cells."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import ConfigurationError, EmptyInputError, SourceFormatError
from sales_mart.extras import need
from sales_mart.rows.transaction import strip
from sales_mart.source.csv_header import given_header
from sales_mart.source.csv_reader import MALFORMED
from sales_mart.source.tables import (
    MISSING,
    TEXT,
    TYPED,
    Cell,
    Place,
    Reading,
    Records,
    mapped_names,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from sales_mart.rows.mapping import Mapped
    from sales_mart.source.csv_reader import Block

__all__ = ["read_workbook"]

_MOST_BYTES = 1 << 30
"""Bytes of a workbook, unpacked. Its sheet is streamed."""
_MOST_HELD_BYTES = 64 << 20
"""Those of its parts that are held in memory, as the texts that cells share."""
_MOST_RATIO = 200
"""How many times smaller a large part may be packed: no table repeats itself that often."""
_ROWS = 16_384


def read_workbook(path: Path, reading: Reading) -> Iterator[Block]:
    """Read the records of the configured sheet, else of the only one.

    Yields:
        Blocks in the order of the sheet. Lines are rows of the sheet.

    Raises:
        SourceFormatError: There is no such sheet, or there are several; a column is missing or
            stands twice; or the workbook is damaged or too large.
        ConfigurationError: The extra is not installed, or the configured names lack a column.
        EmptyInputError: The sheet has no header, and `allow_empty` is not set.
    """
    need("excel", "openpyxl")
    import openpyxl

    size = path.stat().st_size
    reading.account.size += size
    reading.account.unplaced += size
    _check_size(path, reading.uri)
    with path.open("rb") as file:
        with _workbook_errors(reading.uri):
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        sheet = _sheet(book, reading)
        with _workbook_errors(reading.uri):
            sheet.reset_dimensions()  # what a file says of them need not be so
            rows = sheet.iter_rows(values_only=True)
        yield from _blocks(_filled(rows, reading), reading)


def _blocks(rows: Iterator[tuple[int, tuple[Any, ...]]], reading: Reading) -> Iterator[Block]:
    header = reading.format.header
    if isinstance(header, tuple):
        made = given_header(header, reading.fields, reading.uri)
        width, mapped = made.width, made.mapped
    else:
        _, first = next(rows, (0, None))
        if first is None:
            if reading.allow_empty:
                return
            msg = f"{reading.uri}: the sheet is empty, without even a header"
            raise EmptyInputError(
                msg,
                remedy="Deliver the file again, whole; --allow-empty takes it for an empty one.",
            )
        names = [strip(value) or "" for value in first]
        width, mapped = len(names), mapped_names(names, reading)
    records = Records(reading, mapped)
    for number, (line, values) in enumerate(rows, start=1):
        place = Place(number, line)
        if any(value is not None and value != "" for value in values[width:]):
            records.add_broken(MALFORMED, place)
        else:
            records.add(_cells(values, mapped), place)
        if len(records) >= _ROWS:
            yield from records.blocks()
    yield from records.blocks()


def _cells(values: tuple[Any, ...], mapped: Mapped) -> list[Cell]:
    return [_cell(values[at]) if at < len(values) else (None, MISSING) for at in mapped.columns]


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return value, TEXT
    text = str(value).lower() if isinstance(value, bool) else strip(value)
    return (None, MISSING) if text is None else (text, TYPED)


def _filled(rows: Any, reading: Reading) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the rows that are not empty with their numbers, behind those that are to be skipped."""
    number = 0
    while True:
        with _workbook_errors(reading.uri):
            values = next(rows, None)
        if values is None:
            return
        number += 1
        if number > reading.format.skip_rows and any(
            value is not None and (not isinstance(value, str) or value.strip()) for value in values
        ):
            yield number, values


def _sheet(book: Any, reading: Reading) -> Any:
    """Return the sheet that is read; one that is hidden has to be asked for."""
    sheets = {str(each.title): each for each in book.worksheets}
    wanted = reading.format.sheet
    names = ", ".join(escape_control_characters(name, on_one_line=True) for name in sheets)
    if wanted is not None:
        if wanted not in sheets:
            msg = f"{reading.uri} has no sheet {wanted!r}; it has {names}"
            raise SourceFormatError(msg, remedy="Set ingestion.format.sheet to one of them.")
        return sheets[wanted]
    visible = [each for each in sheets.values() if each.sheet_state == "visible"]
    if len(visible) != 1:
        msg = f"{reading.uri} has {len(visible)} sheets that can be seen: {names}"
        raise SourceFormatError(msg, remedy="Set ingestion.format.sheet to the one with the sales.")
    return visible[0]


def _check_size(path: Path, uri: str) -> None:
    """Refuse a workbook that would not fit into memory, before it is read."""
    with _workbook_errors(uri), zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    held = sum(each.file_size for each in parts if not each.filename.startswith("xl/worksheets/"))
    swollen = any(
        each.file_size > _MOST_HELD_BYTES and each.file_size > _MOST_RATIO * each.compress_size
        for each in parts
    )
    if swollen or held > _MOST_HELD_BYTES or sum(each.file_size for each in parts) > _MOST_BYTES:
        msg = (
            f"{uri}: the workbook is larger than {_MOST_BYTES >> 20} MiB unpacked, or than "
            f"{_MOST_HELD_BYTES >> 20} MiB without its sheets"
        )
        raise SourceFormatError(msg, remedy="Export the sheet as CSV: CSV has no limit.")


@contextmanager
def _workbook_errors(uri: str) -> Generator[None]:
    """Say that a workbook is damaged, without the words of a library that may quote it."""
    try:
        yield
    except (SourceFormatError, ConfigurationError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - of zipfile, of XML, or of what reads the parts
        msg = f"{uri}: the workbook is cut short or damaged"
        raise SourceFormatError(
            msg,
            remedy="Upload the file again, whole, or export the sheet as CSV.",
            details={"error": type(error).__name__},
        ) from None
