"""Propose what identifies a row: a column, several, or the place of the row in its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sales_mart.rows.propose_forms import one

if TYPE_CHECKING:
    from sales_mart.rows.column_roles import Roles
    from sales_mart.rows.propose_forms import Findings

__all__ = ["propose_identifier"]

_KEY = "ingestion.columns.transaction_id"
_SOME = 0.02
"""Share of the rows from which on identifiers that stand on several of them are orders."""


def propose_identifier(found: Findings, roles: Roles, frame: pl.DataFrame) -> None:
    """Propose the identifier.

    Args:
        found: Told what is proposed.
        roles: The columns that have a role.
        frame: All columns as text.
    """
    column = roles.identifier
    if column is None:
        found.decide(
            _KEY,
            ["$file", "$row"],
            "No column identifies a sale, so its place does: the path of the file and the number "
            "of the row. This stays the same as long as files are delivered whole and keep their "
            "names.",
        )
        return
    rows = _repeated(frame, str(column.place))
    conflicting, all_rows = _conflicting(rows, str(column.place)), frame.height
    if not conflicting:
        _decide(found, column.name, "By its name, and no two different rows share a value.")
        return
    choice, why = _joined(roles, frame)
    says = f"{conflicting:,} rows share a value of it with a row that differs"
    if conflicting >= max(all_rows * _SOME, 2):
        found.decide(_KEY, choice, f"{says}, as the lines of an order do; {why}")
        return
    _decide(found, column.name, f"By its name; {says}, and such rows are rejected.")
    found.ask(
        _KEY,
        f"{says[0].upper()}{says[1:]}. Are they lines of one order?",
        [one(_KEY, choice, "each row counts")],
        "Without an answer the first of them counts.",
    )


def _decide(found: Findings, name: str, reason: str) -> None:
    if name.strip().lower() != "transaction_id":
        found.decide(_KEY, name, reason)


def _repeated(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    there = frame.filter(pl.col(column).fill_null("").str.len_bytes() > 0)
    return there.filter(pl.col(column).is_duplicated())


def _conflicting(rows: pl.DataFrame, column: str) -> int:
    """Count the rows that share an identifier with a row that is not the same."""
    if rows.is_empty():
        return 0
    differing = rows.unique().group_by(column).len().filter(pl.col("len") > 1)
    return rows.filter(pl.col(column).is_in(differing[column].implode())).height


def _joined(roles: Roles, frame: pl.DataFrame) -> tuple[list[str], str]:
    """Return the columns that identify a row together, and why."""
    column, line = roles.identifier, roles.line
    name = column.name if column else ""
    if column and line:
        pair = frame.select(str(column.place), str(line.place)).filter(
            pl.col(str(column.place)).fill_null("").str.len_bytes() > 0
        )
        if not pair.is_duplicated().any():
            return [name, line.name], "with the line each row is told from the others."
    why = (
        "no column tells them apart, so the number of the row does. It stays the same as long as "
        "files are delivered whole."
    )
    return [name, "$row"], why
