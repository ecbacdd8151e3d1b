"""Look at a file before it is loaded: how it is written, what to configure, what would come of it.

Nothing that tells a person or a sale is in the result: identifiers are tokens of a key that is
thrown away, and columns that look personal have no examples.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from sales_mart.config import Config, Security
from sales_mart.config.ingestion import Format, Ingestion
from sales_mart.rows.columns_seen import columns_seen
from sales_mart.rows.proposal import Proposal, counted
from sales_mart.rows.propose import propose
from sales_mart.rows.propose_forms import Findings, one
from sales_mart.source.dialect import dialect_of
from sales_mart.source.encoding import mark_of
from sales_mart.source.preview import Preview, preview_of
from sales_mart.source.sample import first_object, read_sample, whole_records
from sales_mart.source.sample_tables import SeenTable, look_at_table
from sales_mart.source.sniff import look_at_text, read_text, written_as

if TYPE_CHECKING:
    from sales_mart.rows.columns_seen import SeenColumn
    from sales_mart.source.sample import Sample
    from sales_mart.source.sniff import Text, Written

__all__ = ["ColumnProfile", "FileLook", "Inspection", "inspect", "missing_in"]

_FORMAT = "ingestion.format"
_LONGEST_EXAMPLE = 30
_FEW = 50


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class FileLook(_Frozen):
    """What a file is.

    Attributes:
        uri: Its path or address; behind it the member, of an archive.
        kind: What it holds: csv, jsonl, parquet or excel.
        size: Its bytes as stored.
        is_whole: All of it was looked at, and not its start only.
        rows: Records that were looked at.
        has_header: The columns have names.
        title_lines: Lines before the header.
        encoding: Encoding of a text, as far as it shows.
        delimiter: Between two fields of CSV.
        quote: Around a field of CSV.
        escape: Before a quote that stands for itself; None where it is doubled.
    """

    uri: str
    kind: str
    size: int
    is_whole: bool
    rows: int
    has_header: bool = True
    title_lines: int = 0
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None


class ColumnProfile(_Frozen):
    """What a column holds.

    Attributes:
        name: Its name in the file.
        kind: What its texts look like.
        empty_share: Share of the rows in which nothing stands.
        distinct: Texts that differ.
        example: The most frequent text; None where it may tell a person or a sale.
        is_personal: It looks like it holds what tells a person.
    """

    name: str
    kind: str
    empty_share: float
    distinct: int
    example: str | None
    is_personal: bool


class Inspection(_Frozen):
    """What was found in a file.

    Attributes:
        file: What it is.
        proposal: What to configure; None where a configuration was given.
        columns: What its columns hold.
        preview: What would come of the rows that were looked at.
        warnings: What else there is to know.
    """

    file: FileLook
    proposal: Proposal | None
    columns: tuple[ColumnProfile, ...]
    preview: Preview
    warnings: tuple[str, ...]


def inspect(source: str, config: Config | None = None) -> Inspection:
    """Look at the first megabyte of a file.

    Args:
        source: A file; of a folder or a glob the first object.
        config: How it is read. Default: as the proposal says, with the first answer to each
            question that nothing can be read without.

    Raises:
        NoSourceObjectError: There is no such file.
        EmptyInputError: It has no bytes.
        SourceFormatError: It is not read, or is damaged.
        ConfigurationError: It may not be read.
    """
    warnings: list[str] = []
    given = config.ingestion.format if config else Format()
    listed = first_object(source, warnings.append)
    sample = read_sample(listed, given.type, warnings.append)
    found = Findings()
    file, table, data = _looked_at(sample, config, found)
    columns = propose(found, table.names, table.frame, table.typed, has_header=table.has_header)
    proposal = Proposal(settings=tuple(found.settings), questions=tuple(found.questions))
    used = config or _assumed(proposal)
    preview = preview_of(data, sample.uri, used, hide_texts=not table.has_header)
    hidden = _identifying(proposal, used)
    return Inspection(
        file=file,
        proposal=None if config else proposal,
        columns=tuple(
            _profile(each, hidden, has_header=table.has_header) for each in columns if each.name
        ),
        preview=preview,
        warnings=tuple(warnings),
    )


def missing_in(source: str, config: Config) -> tuple[str, str] | None:
    """Say what keeps the first object of a source from being read, and what to do about it.

    Returns:
        None when nothing does.

    Raises:
        SalesMartError: The object cannot be opened.
    """
    given = config.ingestion.format
    sample = read_sample(first_object(source, lambda _: None), given.type)
    data = _whole(sample, given)
    preview = preview_of(data, sample.uri, config, hide_texts=True)
    return (preview.problem, preview.remedy) if preview.problem else None


def _whole(sample: Sample, given: Format) -> bytes:
    if sample.kind not in {"csv", "jsonl"}:
        return sample.data
    # As a run takes it: what else the bytes may be is not asked here.
    mark = mark_of(sample.data)
    encoding = given.encoding or (mark[1] if mark else "utf-8")
    return whole_records(sample, encoding, given.quote if sample.kind == "csv" else None)


def _looked_at(
    sample: Sample, config: Config | None, found: Findings
) -> tuple[FileLook, SeenTable, bytes]:
    """Return what a file is, its columns, and the bytes to read them from once more."""
    given = config.ingestion.format if config else Format()
    data = _whole(sample, given)
    file = FileLook(
        uri=sample.uri, kind=sample.kind, size=sample.size, is_whole=sample.is_whole, rows=0
    )
    if sample.kind != "csv":
        table = look_at_table(replace(sample, data=data), given)
        if table.skip_rows:
            says = "Rows before the header, with other cells than the others."
            found.decide(f"{_FORMAT}.skip_rows", table.skip_rows, says)
        more = {"title_lines": table.skip_rows, "rows": table.records}
        return file.model_copy(update={**more, "has_header": table.has_header}), table, data
    written = look_at_text(data, sample.uri)
    if config is not None:
        written = written_as(data, written, dialect_of(given))
    text = _propose_text(found, sample.uri, data, written)
    table = SeenTable(
        written.names, text.frame, frozenset(), text.records, has_header=written.has_header
    )
    return _text_look(file, written, text), table, data


def _assumed(proposal: Proposal) -> Config:
    values = proposal.values(assumed=True).get("ingestion", {})
    # Its tokens are thrown away.
    return Config(ingestion=Ingestion.model_validate(values), security=Security(algorithm="sha256"))


def _propose_text(found: Findings, uri: str, data: bytes, written: Written) -> Text:
    """Propose how the file is written, and read it so."""
    dialect = written.dialect
    if dialect.encoding:
        found.decide(f"{_FORMAT}.encoding", dialect.encoding, _why(dialect.encoding))
    if dialect.delimiter != ",":
        says = "It gives each row as many fields as the header."
        found.decide(f"{_FORMAT}.delimiter", dialect.delimiter, says)
    if dialect.escape:
        says = "A backslash stands before quotes in quoted fields."
        found.decide(f"{_FORMAT}.escape", dialect.escape, says)
    if dialect.skip_rows:
        says = "Lines before the header, with other fields than the rows."
        found.decide(f"{_FORMAT}.skip_rows", dialect.skip_rows, says)
    text = read_text(data, uri, written)
    if not text.short:
        return text
    key = f"{_FORMAT}.jagged_rows"
    says = f"{counted(text.short, 'row ends', 'rows end')} before the last field"
    filled = read_text(data, uri, replace(written, dialect=replace(dialect, jagged_rows=True)))
    if _fits(written, text, filled):
        found.decide(
            key,
            value=True,
            reason=f"{says}, and all numbers and dates in them stand in the right columns: "
            "missing fields are empty. Without it these rows are rejected (malformed_row).",
        )
        return filled
    found.ask(
        key,
        f"{says}, and some of them seem to lack others than the last.",
        [one(key, value=True, meaning="missing fields are empty")],
        "Without an answer these rows are rejected (malformed_row).",
    )
    return text


def _fits(written: Written, text: Text, filled: Text) -> bool:
    """Return whether rows that end early have the numbers and dates where the others have them."""
    pairs = zip(
        columns_seen(written.names, filled.frame),
        columns_seen(written.names, text.frame),
        strict=True,
    )
    return all(ours.others(ours.kind) <= whole.others(ours.kind) for ours, whole in pairs)


def _why(encoding: str) -> str:
    if encoding == "cp1252":
        return (
            "The bytes are no UTF-8, and all of them are characters of Windows-1252. If letters "
            "look wrong, it is another code page, such as cp1250 or cp850."
        )
    if encoding == "latin-1":
        return "The bytes are neither UTF-8 nor Windows-1252. If letters look wrong, name another."
    return "Every second byte is NUL, and there is no byte order mark."


def _text_look(file: FileLook, written: Written, text: Text) -> FileLook:
    encoding = written.dialect.encoding or written.encoding_seen
    if written.mark:
        encoding = f"{written.mark} (byte order mark)"
    return file.model_copy(
        update={
            "encoding": encoding or "ASCII only, so utf-8",
            "delimiter": written.dialect.delimiter or ",",
            "quote": written.dialect.quote,
            "escape": written.dialect.escape,
            "title_lines": written.dialect.skip_rows,
            "has_header": written.has_header or written.dialect.names is not None,
            "rows": text.records,
        }
    )


def _identifying(proposal: Proposal, config: Config) -> frozenset[str]:
    """Return the names, in lower case, of the columns that are or may be part of an identifier."""
    named = {
        name.strip().lower() for origin in _origins(config) for part in origin for name in part
    }
    for question in proposal.questions:
        for choice in question.choices:
            value = choice.values.get("ingestion.columns.transaction_id")
            named |= {str(each).strip().lower() for each in value} if value else set()
    return frozenset(named)


def _origins(config: Config) -> list[tuple[tuple[str, ...], ...]]:
    from sales_mart.schema import schema_of

    by_field = schema_of(config).by_field.values()
    return [each.origin.parts for each in by_field if each.is_personal]


def _profile(column: SeenColumn, hidden: frozenset[str], *, has_header: bool) -> ColumnProfile:
    is_personal = column.is_personal
    may_tell = (
        is_personal
        or column.name.strip().lower() in hidden
        or not has_header
        or column.may_identify
        or (column.kind == "text" and not column.meanings and column.distinct > _FEW)
        or (column.kind == "text" and column.distinct == column.texts.len() > _FEW)
    )
    example = column.counts[0][0] if column.counts and not may_tell else None
    if example and len(example) > _LONGEST_EXAMPLE:
        example = f"{example[:_LONGEST_EXAMPLE]}…"
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        empty_share=round(1 - column.filled_share, 4),
        distinct=column.distinct,
        example=example,
        is_personal=is_personal,
    )
