"""Workbooks of Excel into records: one sheet, row by row, with the values of its cells."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import ConfigurationError, EmptyInputError, SourceFormatError
from sales_mart.extras import need
from sales_mart.rows.transaction import strip
from sales_mart.source.csv_header import given_header
from sales_mart.source.csv_reader import DELIVER_AGAIN, MALFORMED
from sales_mart.source.tables import (
    NOTHING,
    TEXT,
    TYPED,
    Cell,
    Place,
    Reading,
    Records,
    mapped_names,
)
from sales_mart.source.workbook_size import check_size

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from python_calamine import CalamineSheet, CalamineWorkbook

    from sales_mart.rows.mapping import Mapped
    from sales_mart.source.csv_reader import Block

__all__ = ["filled_rows", "read_workbook", "sheet_of", "workbook_errors"]

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
    need("excel", "python_calamine")
    from python_calamine import CalamineWorkbook

    size = path.stat().st_size
    reading.account.size += size
    reading.account.unplaced += size
    with workbook_errors(reading.uri):
        check_size(path, reading.uri)
        book = CalamineWorkbook.from_path(path)
    sheet = sheet_of(book, reading)
    yield from _blocks(filled_rows(sheet, reading), reading)


def _blocks(rows: Iterator[tuple[int, list[Any]]], reading: Reading) -> Iterator[Block]:
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
                remedy=DELIVER_AGAIN,
            )
        while first and first[-1] == "":
            first.pop()
        names = [strip(value) or "" for value in first]
        width, mapped = len(names), mapped_names(names, reading)
    records = Records(reading, mapped)
    for number, (line, values) in enumerate(rows, start=1):
        place = Place(number, line)
        if any(value != "" for value in values[width:]):
            records.add_broken(MALFORMED, place)
        else:
            records.add(_cells(values, mapped), place)
        if len(records) >= _ROWS:
            yield from records.blocks()
    yield from records.blocks()


def _cells(values: list[Any], mapped: Mapped) -> list[Cell]:
    return [_cell(values[at]) if at < len(values) else NOTHING for at in mapped.columns]


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return (value, TEXT) if value else NOTHING
    text = str(value).lower() if isinstance(value, bool) else strip(value)
    return NOTHING if text is None else (text, TYPED)


def filled_rows(sheet: CalamineSheet, reading: Reading) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows that are not empty with their numbers, behind those that are to be skipped."""
    for number, values in enumerate(sheet.iter_rows(), start=1):
        if number > reading.format.skip_rows and any(
            value.strip() if isinstance(value, str) else True for value in values
        ):
            yield number, values


def sheet_of(book: CalamineWorkbook, reading: Reading) -> CalamineSheet:
    """Return the sheet that is read; one that is hidden has to be asked for."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    sheets = [each for each in book.sheets_metadata if each.typ == SheetTypeEnum.WorkSheet]
    names = ", ".join(escape_control_characters(each.name, on_one_line=True) for each in sheets)
    name = reading.format.sheet
    if name is None:
        visible = [each.name for each in sheets if each.visible == SheetVisibleEnum.Visible]
        if len(visible) != 1:
            msg = f"{reading.uri} has {len(visible)} sheets that can be seen: {names}"
            raise SourceFormatError(
                msg, remedy="Set ingestion.format.sheet to the one with the sales."
            )
        name = visible[0]
    elif name not in [each.name for each in sheets]:
        msg = f"{reading.uri} has no sheet {name!r}; it has {names}"
        raise SourceFormatError(msg, remedy="Set ingestion.format.sheet to one of them.")
    with workbook_errors(reading.uri):
        return book.get_sheet_by_name(name)


@contextmanager
def workbook_errors(uri: str) -> Generator[None]:
    """Say that a workbook is damaged, without the words of a library that may quote it."""
    try:
        yield
    except (SourceFormatError, ConfigurationError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - of zip, of XML, or of what reads the parts
        msg = f"{uri}: the workbook is cut short or damaged"
        raise SourceFormatError(
            msg,
            remedy="Upload the file again, whole, or export the sheet as CSV.",
            details={"error": type(error).__name__},
        ) from None
