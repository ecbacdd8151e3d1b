"""The first record of a CSV file into columns, or an error that shows no data.

What stands there may not be a header: a file may have none, may be transposed, or may have line
ends that nobody else writes. So its texts are shown only when all of them look like names.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_mart.errors import SourceFormatError
from sales_mart.rows.characters import WHITE_SPACE
from sales_mart.rows.mapping import Mapped, Unmapped, map_columns, normal_name, wanted_names
from sales_mart.source.csv_structure import FIELD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["BOM", "Header", "read_header"]

BOM = b"\xef\xbb\xbf"
_LONGEST_SHOWN_NAME = 64
_MOST_SHOWN_NAMES = 20
_FIRST_BYTES = 1024
_MOST_COLUMNS = 10_000
"""Every column of a block is parsed, so more of them take more memory than a run may have."""
_BREAKS = ("Cc", "Zl", "Zp")
"""Unicode categories of what ends a line somewhere, or is no text at all."""
_AROUND = "".join(
    each for each in WHITE_SPACE if each == "\t" or unicodedata.category(each) not in _BREAKS
)
"""White space that may stand around a name."""
_PLAIN_NAME = re.compile(rf"[a-z_]{{1,{_LONGEST_SHOWN_NAME}}}")
_VALUE = re.compile(r"[0-9]+([.,][0-9]+)?|.*[0-9]{4}-[0-9]{2}-[0-9]{2}.*")
_IDENTIFIER = "transaction_id"


@dataclass(frozen=True)
class Header:
    """The columns of a file.

    Attributes:
        width: How many there are.
        positions: Where the wanted ones stand, from 0, by our name.
        holds_values: A column that is not wanted has a number or a date for its name.
    """

    width: int
    positions: Mapping[str, int]
    holds_values: bool


def read_header(
    record: bytes,
    data: bytes,
    where: tuple[str, int],
    fields: Mapping[str, str],
    warn: Callable[[str], None],
) -> Header:
    """Find the wanted columns in the first record of a file.

    Args:
        record: The record without its line end; nothing when the file begins with none.
        data: What the file begins with.
        where: What to call the file in an error, and the line of the record.
        fields: The wanted columns: our name -> what the file calls it, in any case.
        warn: Called with a sentence about columns that are not carried.

    Raises:
        SourceFormatError: A column is missing or stands twice, a name holds a control character,
            or there are too many columns.
    """
    uri, line = where
    texts = [_text(field) for field in _split_fields(record)]
    names = [text.lower() for text in texts]
    wanted = {theirs.strip(_AROUND).lower(): theirs for theirs in fields.values()}
    known = set(names) & wanted.keys()
    for number, text in enumerate(texts if known else (), start=1):
        if broken := [each for each in text if unicodedata.category(each) in _BREAKS]:
            msg = (
                f"{uri}, line {line}: column {number} of the header holds the control character "
                f"U+{ord(broken[0]):04X}{_suspicion(data, record)}"
            )
            raise SourceFormatError(
                msg, remedy="End each line with LF or CRLF, and write each name on one line."
            )
    missing = [theirs for name, theirs in wanted.items() if name not in names]
    if missing:
        if known or all(map(_PLAIN_NAME.fullmatch, names)):
            what = f"the header lacks {', '.join(missing)}; it has {_shown(texts, names, wanted)}"
        else:
            what = "no header was found: the first line may be data"
            what += f" ({_count(len(texts))})" if record else ""
        what += _suspicion(data, record or data.partition(b"\n")[0])
        msg = f"{uri}, line {line}: {what}"
        raise SourceFormatError(
            msg,
            remedy="The first line must name these columns, in any order: "
            f"{', '.join(wanted.values())}.",
        )
    if len(texts) > _MOST_COLUMNS:
        msg = (
            f"{uri}, line {line}: the header names {len(texts):,} columns, "
            f"more than {_MOST_COLUMNS:,}"
        )
        raise SourceFormatError(msg, remedy=f"Keep the columns {', '.join(wanted.values())}.")
    twice = sorted(theirs for name, theirs in wanted.items() if names.count(name) > 1)
    if twice:
        msg = f"{uri}, line {line}: the header names {', '.join(twice)} twice"
        raise SourceFormatError(msg, remedy="Keep one column of each name.")
    # A delimiter at the end of each line makes a column without a name: nothing is lost with it.
    extra = [text for text in texts if text and text.lower() not in wanted]
    if extra:
        shown = f": {_listed(extra)}" if _is_showable(texts, names, wanted) else ""
        warn(f"{uri}: {len(extra)} columns are ignored{shown}")
    return Header(
        width=len(texts),
        positions={
            name: names.index(theirs.strip(_AROUND).lower()) for name, theirs in fields.items()
        },
        holds_values=any(_VALUE.fullmatch(text) for text in extra),
    )


def _is_showable(texts: list[str], names: list[str], wanted: Iterable[str]) -> bool:
    """Return whether a record looks like a header: as a whole, since data may stand beside names.

    A file whose rows are columns begins with the name of the identifiers, and then has them all.
    """
    known = set(names) & set(wanted) - {_IDENTIFIER}
    return bool(known) and all(map(_is_name, texts))


def _is_name(text: str) -> bool:
    return len(text) <= _LONGEST_SHOWN_NAME and not any(
        # Numbers, and what is no text: control and format characters among others.
        each in "@\N{REPLACEMENT CHARACTER}"
        or unicodedata.category(each)[0] in "NC"
        or unicodedata.category(each) in _BREAKS
        for each in text
    )


def _shown(texts: list[str], names: list[str], wanted: Iterable[str]) -> str:
    if _is_showable(texts, names, wanted):
        return _listed([text for text in texts if text])
    return _count(len(texts))


def _listed(texts: list[str]) -> str:
    more = len(texts) - _MOST_SHOWN_NAMES
    return ", ".join(texts[:_MOST_SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _count(columns: int) -> str:
    return f"{columns:,} column{'' if columns == 1 else 's'}"


def _suspicion(data: bytes, record: bytes) -> str:
    """Say what probably keeps a header from being one."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:_FIRST_BYTES]:
        return "; the file is not text in UTF-8 (probably UTF-16 or binary)"
    if b"\r" in record.rstrip(b"\r"):
        return "; the lines seem to end with a lone CR"
    if b"\n" in record:
        return "; a quote opens in it and closes in a later line"
    if data.startswith(BOM):
        return "; a second byte order mark precedes it"
    return ""


def _split_fields(record: bytes) -> list[bytes]:
    return [match.group(1) for match in re.finditer(rb"(?:^|,)(%b)" % FIELD, record)]


def _text(field: bytes) -> str:
    if field.startswith(b'"'):
        field = field[1:-1].replace(b'""', b'"')
    return field.decode("utf-8", "replace").strip(_AROUND)
