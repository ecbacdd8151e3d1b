"""How much memory a workbook would take, told from its parts before it is read.

A sheet is read into a table of all cells from the first to the last one, and texts that cells
share are copied: a few bytes may ask for more memory than there is.
"""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from sales_mart.errors import SourceFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_size"]

_MOST_BYTES = 256 << 20
"""Bytes of all parts, unpacked."""
_MOST_CELLS = 5_000_000
_MOST_TEXT = 256 << 20
"""Bytes of texts in cells."""
_CHUNK_BYTES = 4 << 20
_SHARED = b"<sst"
_END_OF_TEXT = re.compile(rb"</(?:\w+:)?si>")
_CELL = re.compile(
    rb"<(?:\w+:)?c\b(?=[^>]*[^/]>)(?:[^>]*?\br\s*=\s*[\"']([A-Z]{1,3})([0-9]{1,9})[\"'])?"
)
"""A cell that is not empty, with the letters of its column and the number of its row, if it says
them: else it is the next one of its row."""
_ROW = re.compile(rb"<(?:\w+:)?row\b[^>]*?\br\s*=\s*[\"']([0-9]{1,9})[\"']")
_SHARED_TEXT = re.compile(rb"\bt\s*=\s*[\"']s[\"'][^>]*>\s*<(?:\w+:)?v>\s*([0-9]{1,9})")


def check_size(path: Path, uri: str) -> None:
    """Refuse a workbook that would not fit into memory.

    Raises:
        SourceFormatError: It would not.
    """
    with zipfile.ZipFile(path) as archive:
        parts = [each for each in archive.infolist() if not each.is_dir()]
        size = sum(each.file_size for each in parts)
        texts = np.zeros(1, np.int64)
        cells = copied = 0
        if size <= _MOST_BYTES:
            sheets: list[str] = []
            for part in parts:
                with archive.open(part) as file:
                    if _SHARED in file.read(_CHUNK_BYTES >> 10):
                        texts = _lengths(archive.read(part))
                    else:
                        sheets.append(part.filename)
            for name in sheets:
                found, text = _measure(_chunks(archive, name), texts)
                cells, copied = max(cells, found), max(copied, text)
    if size > _MOST_BYTES or cells > _MOST_CELLS or copied > _MOST_TEXT:
        msg = (
            f"{uri}: the workbook is too large: it has {size:,} bytes unpacked, a sheet with "
            f"{cells:,} cells and {copied:,} bytes of text in them, and at most {_MOST_BYTES:,}, "
            f"{_MOST_CELLS:,} and {_MOST_TEXT:,} are read"
        )
        raise SourceFormatError(msg, remedy="Export the sheet as CSV, which has no limit.")


def _lengths(data: bytes) -> np.ndarray:
    """Return the bytes of each text that cells share."""
    ends = np.array([found.end() for found in _END_OF_TEXT.finditer(data)], np.int64)
    return np.append(np.diff(ends, prepend=0), 0)


def _chunks(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """Yield a part in pieces that begin with a tag of a cell or a row."""
    rest = b""
    with archive.open(name) as file:
        while piece := file.read(_CHUNK_BYTES):
            held = rest + piece
            end = max(held.rfind(b"<c"), held.rfind(b"<row"), held.rfind(b":c"), 0)
            yield held[:end]
            rest = held[end:]
    yield rest


def _measure(chunks: Iterator[bytes], texts: np.ndarray) -> tuple[int, int]:
    """Return the cells of a sheet from the first to the last one, and the bytes of their texts."""
    last_row = last_of_all = unnamed = copied = 0
    columns: set[bytes] = {b"A"}
    for chunk in chunks:
        cells = _CELL.findall(chunk)
        columns |= {column for column, _ in cells}
        named = [row for _, row in cells if row]
        last_row = max(last_row, _greatest(named))
        last_of_all = max(last_of_all, _greatest(_ROW.findall(chunk)))
        unnamed += len(cells) - len(named)
        shared = _SHARED_TEXT.findall(chunk)
        if shared:
            at = np.minimum(np.array(shared).astype(np.int64), len(texts) - 1)
            copied += int(texts[at].sum())
    width = max(map(_number, columns))
    if unnamed:
        last_row = max(last_row, last_of_all, unnamed)
    return last_row * width, copied


def _greatest(numbers: list[bytes]) -> int:
    return int(np.array(numbers).astype(np.int64).max()) if numbers else 0


def _number(letters: bytes) -> int:
    """Return the number of a column: 28 for AB."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number
