"""Rows of a workbook as they stand in it, in a workbook of one sheet that reads back the same.

Values and their types are kept: a number stays one, and a date too. What does not read back as it
was is left out.
"""

from __future__ import annotations

import html
import os
import re
import zipfile
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from sales_mart.lake.disk import disk_errors
from sales_mart.source.workbook import filled_rows, sheet_of, workbook_errors
from sales_mart.source.workbook_size import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sales_mart.source.csv_originals import Record, Records
    from sales_mart.source.tables import Reading

__all__ = ["write_workbook"]

_Row = list[Any]
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>'
    f'<Override PartName="/xl/sheet.xml" ContentType="{_TYPE}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    "</Relationships>",
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="{sheet}" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="sheet.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">'
    '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="5"><xf numFmtId="0"/>'
    '<xf numFmtId="14" applyNumberFormat="1"/><xf numFmtId="22" applyNumberFormat="1"/>'
    '<xf numFmtId="21" applyNumberFormat="1"/><xf numFmtId="46" applyNumberFormat="1"/>'
    '</cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/>'
    "</cellStyles></styleSheet>",
}
_DATE, _MOMENT, _TIME, _SPAN = 1, 2, 3, 4
"""Numbers of the styles that make a number a date."""
_FIRST_DAY = datetime(1899, 12, 30)  # noqa: DTZ001 - a workbook knows no time zones
_CODED = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
"""What XML cannot hold, and what would be read as a code of it."""
_TOO_LARGE = "1.8e308"
"""Reads back as infinite, and is a number to every reader; `inf` is none to Excel and openpyxl."""


def write_workbook(
    path: Path, reading: Reading, records: Records, column: str, out: Path
) -> list[int]:
    """Write rows of the sheet that is read, with the reasons of each behind its fields.

    Args:
        path: The workbook.
        reading: How it is read.
        records: The rows, by their lines.
        column: What to call the column of the reasons.
        out: Where to write.

    Returns:
        Lines of the rows that do not read back as they were, and are left out.

    Raises:
        SourceFormatError: The workbook is damaged or too large.
    """
    from python_calamine import CalamineWorkbook

    with workbook_errors(reading.uri):
        check_size(path, reading.uri)
        sheet = sheet_of(CalamineWorkbook.from_path(path), reading)
        every = sheet.iter_rows()
        above = [next(every, []) for _ in range(reading.format.skip_rows)]
    rows = filled_rows(sheet, reading)
    names = reading.format.header
    if isinstance(names, tuple):
        width, title = len(names), None
    else:
        above.append(_trimmed(next(rows, (0, []))[1]))
        width, title = len(above[-1]), column
        above[-1] = [*above[-1], title]
    found = dict(rows)
    kept = {
        record.line: _with_reasons(found[record.line], width, record)
        if title
        else found[record.line]
        for record in records
    }
    _write(out, sheet.name, [*above, *kept.values()])
    with workbook_errors(reading.uri):
        again = [*CalamineWorkbook.from_path(out).get_sheet_by_name(sheet.name).iter_rows()]
    left_out = [
        line
        for at, (line, row) in enumerate(kept.items(), start=len(above))
        if at >= len(again) or not _is_same(again[at], row)
    ]
    if left_out:
        out.unlink()
        _write(
            out, sheet.name, [*above, *(row for line, row in kept.items() if line not in left_out)]
        )
    return left_out


def _with_reasons(row: _Row, width: int, record: Record) -> _Row:
    """Put the reasons behind the fields, and before what stands where no field is."""
    fields = row[:width] + [""] * (width - len(row))
    return [*fields, record.because, *row[width:]]


def _trimmed(row: _Row) -> _Row:
    found = list(row)
    while found and found[-1] == "":
        found.pop()
    return found


def _is_same(one: _Row, other: _Row) -> bool:
    values = [[(type(value), value) for value in _trimmed(row)] for row in (one, other)]
    return values[0] == values[1]


def _write(out: Path, sheet: str, rows: Sequence[_Row]) -> None:
    """Write a workbook that only its owner can read."""
    with disk_errors(out):
        descriptor = os.open(out, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(descriptor, "w+b") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name, text in _PARTS.items():
                archive.writestr(name, _XML + text.replace("{sheet}", html.escape(sheet)))
            with archive.open("xl/sheet.xml", "w") as part:
                part.write(f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
                for number, row in enumerate(rows, start=1):
                    cells = "".join(_cells(row, number))
                    part.write(f'<row r="{number}">{cells}</row>'.encode())
                part.write(b"</sheetData></worksheet>")


def _cells(row: _Row, number: int) -> Iterator[str]:
    for at, value in enumerate(row):
        place = f'<c r="{_letters(at)}{number}"'
        if isinstance(value, str):
            if value:
                text = html.escape(_CODED.sub(_code, value), quote=False)
                yield f'{place} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
        elif isinstance(value, bool):
            yield f'{place} t="b"><v>{value:d}</v></c>'
        else:
            style, found = _number(value)
            text = repr(found).replace("inf", _TOO_LARGE)
            yield f'{place} s="{style}"><v>{text}</v></c>'


def _code(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):04X}_"


def _letters(at: int) -> str:
    """Return the name of a column, counted from 0."""
    name, at = "", at + 1
    while at:
        at, last = divmod(at - 1, 26)
        name = chr(ord("A") + last) + name
    return name


def _number(value: Any) -> tuple[int, float]:
    """Return the style and the number of a value that is no text."""
    day = timedelta(days=1)
    if isinstance(value, datetime):
        return _MOMENT, (value - _FIRST_DAY) / day
    if isinstance(value, date):
        return _DATE, float((value - _FIRST_DAY.date()).days)
    if isinstance(value, time):
        moment = datetime.combine(_FIRST_DAY.date(), value)
        return _TIME, (moment - _FIRST_DAY) / day
    if isinstance(value, timedelta):
        return _SPAN, value / day
    return 0, float(value)
