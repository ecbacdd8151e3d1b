"""What would come of some rows: the first ones as they would be read, and how many are rejected."""

from __future__ import annotations

import io
import re
import secrets
from collections import Counter
from typing import TYPE_CHECKING

import polars as pl
from pydantic import BaseModel, ConfigDict

from sales_mart.errors import SalesMartError
from sales_mart.lake.parquet import broken_rows
from sales_mart.rows.checker import Checker
from sales_mart.rows.frames import settled
from sales_mart.rows.tokens import Tokeniser
from sales_mart.schema import schema_of
from sales_mart.source.read import read_stream
from sales_mart.source.sample_tables import MOST_ROWS, reading_of

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.schema import Schema

__all__ = ["Preview", "preview_of"]

_SHOWN = 5
_TOKEN_LETTERS = 8
_PLAIN = re.compile(r"[-+\d.,:/ TZ()$€£¥%']{1,30}")
_HIDDEN = "(not shown)"


class Preview(BaseModel):
    """What would come of the rows that were looked at.

    Attributes:
        rows_read: The rows.
        rows_rejected: Those that would be rejected.
        reasons: Rejected rows by reason; a row counts for each of its reasons.
        rows: The first ones: our name of each column -> its value; what is personal is the start of
            a token whose key is thrown away. `row` is its number, `reasons` why it is rejected.
        problem: Why none can be read; None when they can.
        remedy: What to do about it.
        warnings: What a run would warn of.
    """

    model_config = ConfigDict(frozen=True)

    rows_read: int = 0
    rows_rejected: int = 0
    reasons: dict[str, int] = {}
    rows: tuple[dict[str, str | None], ...] = ()
    problem: str | None = None
    remedy: str = ""
    warnings: tuple[str, ...] = ()


def preview_of(data: bytes, uri: str, config: Config, *, hide_texts: bool) -> Preview:
    """Read and check some rows as a run would.

    Args:
        data: The first bytes of a file, whole records.
        uri: What to call it in a message.
        config: How it is read.
        hide_texts: Show no text, since it is not known what the columns mean.
    """
    schema = schema_of(config)
    checker = Checker(config, Tokeniser(secrets.token_urlsafe()))
    warnings: list[str] = []
    valid: list[pl.DataFrame] = []
    rejected: list[pl.DataFrame] = []
    broken: list[pl.DataFrame] = []
    try:
        reading = reading_of(uri, schema.fields, config.ingestion.format, warnings.append)
        for block in read_stream(io.BytesIO(data), reading):
            rows = pl.Series("source_row", block.places.rows)
            good, bad = checker.check(block.fields.lazy().with_columns(rows), block.typed)
            valid.append(good)
            rejected.append(bad)
            broken.append(broken_rows(block).select("source_row", "reasons"))
            if sum(each.height for each in (*valid, *rejected)) >= MOST_ROWS:
                break
    except SalesMartError as error:
        return Preview(problem=error.message, remedy=error.remedy, warnings=tuple(warnings))
    if not valid:
        return Preview(warnings=tuple(warnings))
    good, bad = pl.concat(valid), pl.concat(rejected)
    found = settled(good, pl.concat([bad, *broken], how="diagonal"), schema)
    return Preview(
        rows_read=found.rows_read,
        rows_rejected=found.rows_rejected,
        reasons=dict(Counter(found.counts).most_common()),
        rows=_first_rows(good, bad, schema, hide_texts=hide_texts),
        warnings=tuple(warnings),
    )


def _first_rows(
    good: pl.DataFrame, bad: pl.DataFrame, schema: Schema, *, hide_texts: bool
) -> tuple[dict[str, str | None], ...]:
    made: list[dict[str, str | None]] = []
    for row in good.head(_SHOWN).to_dicts():
        shown: dict[str, str | None] = {"row": str(row["source_row"])}
        for column in schema.columns:
            value = row[column.name]
            text = None if value is None else str(value)
            if text and column.is_personal:
                text = _short(text)
            elif text and column.kind == "text" and (hide_texts or "@" in text):
                text = _HIDDEN
            shown[column.name] = text
        made.append({**shown, "reasons": None})
    for row in bad.head(_SHOWN).to_dicts():
        shown = {"row": str(row["source_row"])}
        for column in schema.columns:
            text = row.get(column.field or "")
            if text and column.is_personal:
                text = _short(text)
            elif text and not _PLAIN.fullmatch(text):
                # What stands in a row that is not as it should be may be anything.
                may_show = column.kind == "text" and not hide_texts and "@" not in text
                text = text if may_show else _HIDDEN
            shown[column.name] = text
        made.append({**shown, "reasons": ", ".join(row["reasons"])})
    return tuple(sorted(made, key=lambda row: int(row["row"] or 0))[:_SHOWN])


def _short(token: str) -> str:
    return f"{token[:_TOKEN_LETTERS]}…"
