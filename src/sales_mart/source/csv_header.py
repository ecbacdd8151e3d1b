"""The first record of a CSV file into columns, or an error that shows no data.

What stands there may not be a header: a file may have none, may be transposed, or may have line
ends that nobody else writes. So its texts are shown only when all of them look like names.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.rows.characters import WHITE_SPACE
from sales_mart.rows.mapping import Mapped, Unmapped, map_columns, normal_name, wanted_names
from sales_mart.source.csv_structure import MAX_RECORD_BYTES
from sales_mart.source.encoding import BOM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sales_mart.schema import Origin
    from sales_mart.source.csv_buffer import Buffer
    from sales_mart.source.dialect import Dialect, Grammar

__all__ = ["Header", "find_header", "given_header", "read_header", "shown_names"]

_LINE_END = re.compile(rb"\r?\n")
_BLANK_LINES = re.compile(rb"(?:[ \t]*+\r?\n)*+")
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
        mapped: Where our fields stand among them.
        holds_values: A column that is not wanted has a number or a date for its name.
    """

    width: int
    mapped: Mapped
    holds_values: bool


def find_header(
    buffer: Buffer,
    uri: str,
    fields: Mapping[str, Origin],
    dialect: Dialect,
    warn: Callable[[str], None],
) -> tuple[Header, Grammar] | None:
    """Find the columns of a file and what stands between its fields, and take the header off.

    Args:
        buffer: The file, from its first line on.
        uri: What to call the file in an error.
        fields: Our name of each field -> the columns that it comes from.
        dialect: How the file is written.
        warn: Called with a sentence about columns that are not carried.

    Returns:
        None for a file without a header or a row.

    Raises:
        SourceFormatError: There is no header that has the columns, or two delimiters fit it.
        ConfigurationError: The names in the configuration lack a column.
    """
    account = buffer.account
    buffer.skip_lines(dialect.skip_rows)
    while buffer.fill() and not buffer.line_is_too_long:
        if not buffer.data and not buffer.final:
            continue  # a line feed of several bytes was read in part
        before, blank = buffer.offset, _end_of_blanks(buffer)
        if not blank:
            break
        buffer.drop(blank)
        account.blank += buffer.offset - before
    if not buffer.data and buffer.final:
        return None
    found = [(grammar, *_first_record(buffer, grammar)) for grammar in dialect.grammars]
    if dialect.names is not None:
        header = given_header(dialect.names, fields, uri)
        fitting = [one for one in found if len(one[0].split(one[1])) == header.width]
        grammar, *_ = _only(found, fitting, f"{uri}, line {buffer.line}: the first row")
        return header, grammar
    fitting = [one for one in found if _maps(one[1], one[0], fields)]
    where = f"{uri}, line {buffer.line}: the header"
    found.sort(key=lambda one: _known_names(one[1], one[0], fields), reverse=True)
    grammar, record, end = _only(found, fitting or found[:1], where)
    header = read_header(record, buffer.data, (uri, buffer.line), fields, grammar, warn)
    before = buffer.offset
    buffer.drop(end)
    account.header += buffer.offset - before
    return header, grammar


_Found = tuple["Grammar", bytes, int]


def _only(found: list[_Found], fitting: list[_Found], what: str) -> _Found:
    """Return the only grammar that there is, or that fits.

    Raises:
        SourceFormatError: None fits, or several.
    """
    if len(found) == 1:
        return found[0]
    if len(fitting) == 1:
        return fitting[0]
    names = " and ".join(grammar.name for grammar, *_ in fitting)
    says = f"fits several delimiters: {names}" if fitting else "fits no delimiter that is tried"
    msg = f"{what} {says}"
    raise SourceFormatError(msg, remedy="Say which it is: set ingestion.format.delimiter.")


def _first_record(buffer: Buffer, grammar: Grammar) -> tuple[bytes, int]:
    """Return the first record, and where its line end ends."""
    data = grammar.coded(buffer.data)
    match = grammar.record.match(data)
    while (
        not match
        and not buffer.final
        and len(buffer.data) <= MAX_RECORD_BYTES
        and grammar.open_record.match(data)
        and buffer.fill()
    ):
        data = grammar.coded(buffer.data)
        match = grammar.record.match(data)
    end = match.end() if match else 0
    line_end = _LINE_END.match(data, end)
    # The pattern of a field takes the carriage return of a line end with it.
    has_return = data[:end].endswith(b"\r") and line_end is not None
    return data[: end - has_return], line_end.end() if line_end else end


def _end_of_blanks(buffer: Buffer) -> int:
    """Find where blank lines end."""
    match = _BLANK_LINES.match(buffer.data)
    end = match.end() if match else 0
    # The last line of a file needs no line end to be blank.
    is_all = buffer.final and not buffer.data[end:].strip(b" \t")
    return len(buffer.data) if is_all else end


def _maps(record: bytes, grammar: Grammar, fields: Mapping[str, Origin]) -> bool:
    """Return whether a record is a header that has all wanted columns."""
    try:
        map_columns([_text(each, grammar).lower() for each in grammar.split(record)], fields)
    except Unmapped as problem:
        return not problem.missing
    return True


def _known_names(record: bytes, grammar: Grammar, fields: Mapping[str, Origin]) -> tuple[int, int]:
    """Return how many wanted names a record has, and how many fields."""
    names = [_text(each, grammar).lower() for each in grammar.split(record)]
    wanted = {normal_name(name) for part in wanted_names(fields) for name in part}
    return len(wanted & set(names)), len(names)


def given_header(names: tuple[str, ...], fields: Mapping[str, Origin], uri: str) -> Header:
    """Return the header of a file that has none, from the names that the configuration gives.

    Raises:
        ConfigurationError: The names lack a column, or have one twice.
    """
    try:
        mapped = map_columns([normal_name(name) for name in names], fields)
    except Unmapped as problem:
        what = (
            f"lacks {', '.join(problem.missing)}"
            if problem.missing
            else f"names {', '.join(problem.twice)}"
        )
        msg = f"{uri}: ingestion.format.header {what}"
        raise ConfigurationError(
            msg, remedy="Name every column of the files there, in their order."
        ) from None
    return Header(len(names), mapped, holds_values=False)


def read_header(  # noqa: PLR0913 - what a record is read by
    record: bytes,
    data: bytes,
    where: tuple[str, int],
    fields: Mapping[str, Origin],
    grammar: Grammar,
    warn: Callable[[str], None],
) -> Header:
    """Find the wanted columns in the first record of a file.

    Args:
        record: The record without its line end; nothing when the file begins with none.
        data: What the file begins with.
        where: What to call the file in an error, and the line of the record.
        fields: The wanted columns: our name -> what the file may call it, in any case.
        grammar: What stands between and around the names.
        warn: Called with a sentence about columns that are not carried.

    Raises:
        SourceFormatError: A column is missing or stands twice, a name holds a control character,
            or there are too many columns.
    """
    uri, line = where
    texts = [_text(field, grammar) for field in grammar.split(record)]
    names = [text.lower() for text in texts]
    wanted = wanted_names(fields)
    known_as = {normal_name(name) for part in wanted for name in part}
    is_mapped = any(normal_name(part[0]) not in fields for part in wanted)
    all_names = ", ".join(" or ".join(part) for part in wanted)
    known = set(names) & known_as
    showable = _is_showable(texts, names, known_as, is_mapped=is_mapped)
    for number, text in enumerate(texts if known else (), start=1):
        if broken := [each for each in text if unicodedata.category(each) in _BREAKS]:
            msg = (
                f"{uri}, line {line}: column {number} of the header holds the control character "
                f"U+{ord(broken[0]):04X}{_suspicion(data, record)}"
            )
            raise SourceFormatError(
                msg, remedy="End each line with LF or CRLF, and write each name on one line."
            )
    try:
        mapped = map_columns(names, fields)
    except Unmapped as problem:
        if problem.missing:
            if known or all(map(_PLAIN_NAME.fullmatch, names)) or (showable and record):
                shown = (
                    _listed([text for text in texts if text]) if showable else _count(len(texts))
                )
                what = f"the header lacks {', '.join(problem.missing)}; it has {shown}"
            else:
                what = "no header was found: the first line may be data"
                what += f" ({_count(len(texts))})" if record else ""
            what += _suspicion(data, record or data.partition(b"\n")[0])
            msg = f"{uri}, line {line}: {what}"
            raise SourceFormatError(
                msg,
                remedy=f"The first line must name these columns, in any order: {all_names}. Or say "
                "what the file calls them under ingestion.columns; `sales-mart inspect FILE` "
                "proposes it.",
            ) from None
        msg = f"{uri}, line {line}: the header names {', '.join(problem.twice)}"
        raise SourceFormatError(msg, remedy=problem.remedy) from None
    if len(texts) > _MOST_COLUMNS:
        msg = (
            f"{uri}, line {line}: the header names {len(texts):,} columns, "
            f"more than {_MOST_COLUMNS:,}"
        )
        raise SourceFormatError(msg, remedy=f"Keep the columns {all_names}.")
    # A delimiter at the end of each line makes a column without a name: nothing is lost with it.
    extra = [text for text in texts if text and text.lower() not in known_as]
    if extra:
        shown = f": {_listed(extra)}" if showable else ""
        warn(f"{uri}: {len(extra)} columns are ignored{shown}")
    return Header(
        width=len(texts),
        mapped=mapped,
        holds_values=any(_VALUE.fullmatch(text) for text in extra),
    )


def _is_showable(
    texts: list[str], names: list[str], wanted: Iterable[str], *, is_mapped: bool
) -> bool:
    """Return whether a record looks like a header: as a whole, since data may stand beside names.

    A file whose rows are columns begins with the name of the identifiers, and then has them all.
    """
    known = set(names) & set(wanted) - {_IDENTIFIER}
    return bool(known or is_mapped) and all(map(_is_name, texts))


def _is_name(text: str) -> bool:
    return len(text) <= _LONGEST_SHOWN_NAME and not any(
        # Numbers, and what is no text: control and format characters among others.
        each in "@\N{REPLACEMENT CHARACTER}"
        or unicodedata.category(each)[0] in "NC"
        or unicodedata.category(each) in _BREAKS
        for each in text
    )


def shown_names(names: Sequence[str], fields: Mapping[str, Origin]) -> str | None:
    """Return the names of a table's columns for a message; None when they may be data."""
    wanted = wanted_names(fields)
    known = {normal_name(name) for part in wanted for name in part}
    is_mapped = any(normal_name(part[0]) not in fields for part in wanted)
    texts = [name.strip(_AROUND) for name in names]
    if not _is_showable(texts, [text.lower() for text in texts], known, is_mapped=is_mapped):
        return None
    return _listed([text for text in texts if text])


def _listed(texts: list[str]) -> str:
    more = len(texts) - _MOST_SHOWN_NAMES
    return ", ".join(texts[:_MOST_SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _count(columns: int) -> str:
    return f"{columns:,} column{'' if columns == 1 else 's'}"


def _suspicion(data: bytes, record: bytes) -> str:
    """Say what probably keeps a header from being one."""
    if b"\0" in data[:_FIRST_BYTES]:
        return "; the file is not text in UTF-8 (probably UTF-16 without a mark, or binary)"
    if b"\r" in record.rstrip(b"\r"):
        return "; the lines seem to end with a lone CR"
    if b"\n" in record:
        return "; a quote opens in it and closes in a later line"
    if data.startswith(BOM):
        return "; a second byte order mark precedes it"
    return ""


def _text(field: bytes, grammar: Grammar) -> str:
    return grammar.value(field).decode("utf-8", "replace").strip(_AROUND)
