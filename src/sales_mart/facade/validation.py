"""Check the sales in any frame."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sales_mart.config import Config
from sales_mart.config.file import load_config
from sales_mart.config.keys import nearest
from sales_mart.errors import SourceFormatError
from sales_mart.facade.frames import as_kind, kind_of, to_polars, unquoted
from sales_mart.rows.frames import validate_frame
from sales_mart.schema import FIELDS

if TYPE_CHECKING:
    from sales_mart.facade.frames import Data, Kind

__all__ = ["Validation", "validate"]


@dataclass(frozen=True, repr=False)
class Validation:
    """Rows that passed, rows that did not, and why. No raw identifier is in it.

    Attributes:
        valid: Typed rows with tokens, in a frame of the kind that was given.
        rejected: The other rows as text, with tokens and their reasons.
        counts: Rejected rows by reason; a row counts for each of its reasons.
        rows_read: Rows of the input: `rows_valid + rows_rejected`.
        rows_valid: Rows in `valid`.
        rows_rejected: Rows in `rejected`.
    """

    valid: Any
    rejected: Any
    counts: dict[str, int]
    rows_read: int
    rows_valid: int
    rows_rejected: int

    def __repr__(self) -> str:
        """Say it in one short line."""
        counts = f"{self.rows_valid:,} valid, {self.rows_rejected:,} rejected"
        return f"Validation({self.rows_read:,} read, {counts})"

    def _repr_html_(self) -> str:
        cells = {"read": self.rows_read, "valid": self.rows_valid, "rejected": self.rows_rejected}
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{count:,}</td></tr>"
            for name, count in (cells | self.counts).items()
        )
        return f"<table>{rows}</table>"


def validate(
    data: Data,
    config: Config | str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    output: Kind | None = None,
) -> Validation:
    """Check the sales in a frame by the rules of the pipeline, and make tokens of identifiers.

    Args:
        data: A frame of any kind, or the path of a .csv or .parquet file.
        config: The configuration, or its file. Default: the default configuration.
        columns: Our names of columns -> the frame's, where they differ.
        output: What to give back. Default: the kind that came in.

    Returns:
        The rows that passed and those that did not.

    Raises:
        SourceFormatError: A column is missing, stands twice, or cannot be read as text.
        ConfigurationError: The key is missing, weak, or given without an algorithm; or this is no
            frame.
    """
    found = config if isinstance(config, Config) else load_config(config) if config else Config()
    frame = to_polars(data)
    if columns:
        frame = _renamed(frame, columns)
    checked = validate_frame(frame.lazy(), found)
    kind = output or kind_of(data)
    return Validation(
        valid=as_kind(checked.valid, kind),
        rejected=as_kind(checked.rejected, kind),
        counts=checked.counts,
        rows_read=checked.rows_read,
        rows_valid=checked.rows_valid,
        rows_rejected=checked.rows_rejected,
    )


def _renamed(
    frame: pl.DataFrame | pl.LazyFrame, columns: Mapping[str, str]
) -> pl.DataFrame | pl.LazyFrame:
    """Give columns our names; another column that has one of these gives way."""
    with unquoted("the lazy frame cannot be computed"):
        names = frame.collect_schema().names()
    for ours, theirs in columns.items():
        for name, known, whose in ((ours, FIELDS, "ours"), (theirs, names, "the frame's")):
            if name not in known:
                meant = nearest(name, known)
                hint = f"; did you mean {meant}?" if meant else ""
                msg = f"columns: {name} is no name of {whose}{hint}"
                raise SourceFormatError(msg, remedy=f"There are {', '.join(known)}.")
    kept = [name for name in names if name not in {*columns, *columns.values()}]
    return frame.select(*kept, *(pl.col(theirs).alias(ours) for ours, theirs in columns.items()))
