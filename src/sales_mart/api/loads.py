"""Questions about loads: which were made, and what was rejected in them, up to the one shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sales_mart.api.parameters import Page, RunId, parameters_of
from sales_mart.api.problems import ProblemError
from sales_mart.api.question import Question
from sales_mart.names import LOAD_RUNS, PUBLICATIONS
from sales_mart.schema import TableColumn
from sales_mart.warehouses.history import load_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.lake.records import Load
    from sales_mart.warehouses.base import Session, Warehouse
    from sales_mart.warehouses.history import Publication

__all__ = ["load_questions"]


def _count(name: str, description: str, *, is_nullable: bool = True) -> TableColumn:
    return TableColumn(name=name, kind="integer", is_nullable=is_nullable, description=description)


_LOAD = (
    _count("sequence", "Number of the load.", is_nullable=False),
    TableColumn(name="run_id", kind="text", is_nullable=False, description="The run."),
)
_LOADED = (
    *_LOAD,
    TableColumn(name="mode", kind="text", is_nullable=False, description="replace or append."),
    _count("rows", "Rows that it added, of those that are visible.", is_nullable=False),
    _count("hidden_rows", "Its rows that a later delivery supersedes.", is_nullable=False),
    _count("removed_rows", "Visible rows that are gone."),
    _count("superseded_rows", "Rows of earlier loads that it superseded."),
    _count("shown_again_rows", "Rows that are visible again."),
    _count("visible_rows", "Visible rows after the load."),
    TableColumn(
        name="loaded_at", kind="timestamp", is_nullable=False, description="When it was loaded."
    ),
)
_SHOWN = TableColumn(
    name="published_at",
    kind="timestamp",
    description="When readers saw it first; null where a later load came before.",
)
_REJECTED = (
    *_LOAD,
    TableColumn(name="reason", kind="text", is_nullable=False, description="Why."),
    _count("rejected_rows", "Rows rejected for it; a row may have many.", is_nullable=False),
    _count("valid_rows", "Valid rows of the run.", is_nullable=False),
)


def _loads(
    session: Session,
    published: Publication,
    page: str,
    run_id: str | None,
    *,
    rejecting: bool = False,
) -> list[Load]:
    """Read loads, the latest first, up to the one that is shown."""
    warehouse, dialect = session.warehouse, session.warehouse.dialect
    columns = session.columns(warehouse.raw_schema, LOAD_RUNS)
    conditions = [f"sequence <= {published.sequence:d}"]
    if run_id is not None:
        conditions.append(f"run_id = {dialect.literal(run_id)}")
    if rejecting and "rejects" in columns:  # not in a table that 0.1 made
        conditions.append(f"rejects <> {dialect.literal(json.dumps({}))}")
    rows = session.query(f"""
        select {", ".join(map(dialect.identifier, columns))}
        from {dialect.table(warehouse.raw_schema, LOAD_RUNS)}
        where {" and ".join(conditions)}
        order by sequence desc
        {page}
    """)
    return [load_of(warehouse.name, dict(zip(columns, row, strict=True))) for row in rows]


def load_questions(warehouse: Warehouse) -> tuple[Question, ...]:
    """Return what can be asked about loads."""
    return (*_runs(warehouse), _quality(warehouse))


def _runs(warehouse: Warehouse) -> list[Question]:
    def rows(
        session: Session, published: Publication, asked: Any, run_id: str | None = None
    ) -> list[Sequence[Any]]:
        page = f"limit {asked.limit + 1:d} offset {asked.offset:d}"
        loads = _loads(session, published, page, run_id)
        if run_id is not None and not loads and not asked.offset:
            raise ProblemError(404, "No run of this name has been loaded.")
        table = warehouse.dialect.table(warehouse.raw_schema, PUBLICATIONS)
        numbers = ", ".join(str(load.sequence) for load in loads) or "0"
        times = dict(
            session.query(
                f"select sequence, min(published_at) from {table}"
                f" where sequence in ({numbers}) group by sequence"
            )
        )
        return [
            [*(getattr(load, column.name) for column in _LOADED), times.get(load.sequence)]
            for load in loads
        ]

    columns, parameters = (*_LOADED, _SHOWN), parameters_of(warehouse.config, Page)
    return [
        Question("/runs", "The loads, the latest first", parameters, columns, rows),
        Question(
            "/runs/{run_id}", "The loads of one run", parameters, columns, rows, {"run_id": RunId}
        ),
    ]


def _quality(warehouse: Warehouse) -> Question:
    def rows(session: Session, published: Publication, asked: Any) -> Sequence[Sequence[Any]]:
        # Each of these loads has a reason or several, so no more of them are needed than rows.
        most = asked.offset + asked.limit + 1
        loads = _loads(session, published, f"limit {most:d}", asked.run_id, rejecting=True)
        found = [
            (load.sequence, load.run_id, reason, count, load.rows + load.hidden_rows)
            for load in loads
            for reason, count in sorted((load.rejects or {}).items())
        ]
        return found[asked.offset : most]

    run = (RunId | None, Field(default=None, description="Only this run."))
    parameters = parameters_of(warehouse.config, Page, run_id=run)
    return Question("/quality", "Rejected rows by load and reason", parameters, _REJECTED, rows)
