"""Rows with one identifier: whether they are the same, or only called the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sales_mart.rows.rules import CONFLICT, DUPLICATE

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.schema import Schema

__all__ = ["conflict_warning", "contents", "reason_of"]


def contents(schema: Schema) -> pl.Expr:
    """Return a number, never 0, that tells rows apart by all columns but the identifier."""
    others = [column.name for column in schema.columns if column.role != "key"]
    # Not hashes of single columns, combined by hand: a price that is the amount would cancel.
    return (pl.struct(others).hash(0) | 1).alias("contents")


def reason_of(conflicts: pl.Expr | pl.Series) -> pl.Expr:
    """Return the reason to reject each row whose identifier an earlier row has."""
    condition = pl.lit(conflicts) if isinstance(conflicts, pl.Series) else conflicts
    return pl.when(condition).then(pl.lit(CONFLICT)).otherwise(pl.lit(DUPLICATE))


def conflict_warning(config: Config, conflicts: int) -> list[str]:
    """Say what rows with one identifier that differ look like, and which key helps."""
    if not conflicts:
        return []
    names = (
        [part[0] for part in config.ingestion.columns["transaction_id"].origin("").parts]
        if "transaction_id" in config.ingestion.columns
        else ["transaction_id"]
    )
    warning = (
        f"{conflicts} rows have the transaction_id of an earlier row and differ from it, as the "
        "lines of one order do: they were rejected. Name what tells the lines apart as well, such "
        f"as the column of the line or $row: ingestion.columns.transaction_id: "
        f"[{', '.join(names)}, $row]"
    )
    return [warning]
