"""A file checked without a pipeline: read as a run reads it, whatever kind and form it has."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import polars as pl

from sales_mart.lake.parquet import broken_rows
from sales_mart.rows.checker import REASON_TYPE, Checker
from sales_mart.rows.frames import settled
from sales_mart.rows.tokens import tokeniser, warn_of_plain_tokens
from sales_mart.schema import polars_schema, schema_of
from sales_mart.source.listing import find_objects
from sales_mart.source.read import read_object

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.rows.frames import ValidationResult

__all__ = ["check_file"]

_log = logging.getLogger(__name__)


def check_file(  # pyright: ignore[reportUnknownParameterType]
    place: str, config: Config
) -> ValidationResult[pl.DataFrame]:
    """Check the rows of a file, and make tokens of its identifiers.

    Args:
        place: Path or bucket address of one file.
        config: The configuration, which says how the file is written.

    Returns:
        As `check_frame`; `source_row` is the number of the record in the file, and a record that
        nobody could read is among the rejected ones, without its texts.

    Raises:
        NoSourceObjectError: There is no such file.
        SourceFormatError: It is something that is not read, or lacks a column.
        EmptyInputError: It has not even a header.
        ConfigurationError: The key is missing, weak, or given without an algorithm.
    """
    schema = schema_of(config)
    checker = Checker(config, tokeniser(config))
    warn_of_plain_tokens(config)
    row = {"source_row": pl.Int64()}
    texts = dict.fromkeys(schema.fields, pl.String())
    valid = [pl.DataFrame(schema={**polars_schema(schema.columns), **row})]
    rejected = [pl.DataFrame(schema={**texts, "reasons": REASON_TYPE, **row})]
    for item in find_objects([place], warn=_log.warning):
        for block in read_object(
            item, schema.fields, config.ingestion.format, warn=_log.warning, allow_empty=False
        ):
            numbered = block.fields.lazy().with_columns(pl.Series("source_row", block.places.rows))
            good, bad = checker.check(numbered, block.typed)
            valid.append(good)
            rejected += (bad, broken_rows(block).select("source_row", "reasons"))
    return settled(pl.concat(valid), pl.concat(rejected, how="diagonal"), schema)
