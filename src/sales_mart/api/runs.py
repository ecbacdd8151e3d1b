"""Questions about runs: which the marts show or have shown, and what was rejected in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from sales_mart.api.parameters import Page, RunId, parameters_of
from sales_mart.api.problems import ProblemError
from sales_mart.api.question import Question
from sales_mart.names import PUBLICATIONS, QUALITY_HISTORY
from sales_mart.report.dates import days_before
from sales_mart.report.figures import LoadedDay
from sales_mart.schema import TableColumn
from sales_mart.warehouses.own_tables import QUALITY_TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.warehouses.base import Session, Warehouse
    from sales_mart.warehouses.history import Publication

__all__ = ["loads_until", "rejects_of", "run_questions"]

_HISTORY = QUALITY_TABLES[QUALITY_HISTORY]
_OF_RUNS = tuple(column for column in _HISTORY if column.name != "reason")
_MOST_LOADS = 1_000
_PUBLISHED_AT = TableColumn(
    name="published_at",
    kind="timestamp",
    description="When readers saw its last load first; null where a later one came before.",
)


def run_questions(warehouse: Warehouse) -> tuple[Question, ...]:
    """Return what can be asked about runs."""

    def runs(
        session: Session, _: Publication, asked: Any, run_id: str | None = None
    ) -> Sequence[Sequence[Any]]:
        found = _history(session, _OF_RUNS, ["reason is null", *_of_run(session, run_id)], asked)
        if run_id is not None and not found and not asked.offset:
            raise ProblemError(404, "No run of this name has been published.")
        at = [column.name for column in _OF_RUNS].index("sequence")
        numbers = ", ".join(str(row[at]) for row in found) or "0"
        table = session.warehouse.dialect.table(warehouse.raw_schema, PUBLICATIONS)
        times = dict(
            session.query(
                f"select sequence, min(published_at) from {table}"
                f" where sequence in ({numbers}) group by sequence"
            )
        )
        return [(*row, times.get(row[at])) for row in found]

    def quality(session: Session, _: Publication, asked: Any) -> Sequence[Sequence[Any]]:
        return _history(session, _HISTORY, _of_run(session, asked.run_id), asked)

    page = parameters_of(warehouse.config, Page)
    one = (RunId | None, Field(default=None, description="Only this run."))
    columns = (*_OF_RUNS, _PUBLISHED_AT)
    return (
        Question("/runs", "The runs, the latest first", page, columns, runs),
        Question("/runs/{run_id}", "One run", page, columns, runs, {"run_id": RunId}),
        Question(
            "/quality",
            "Rejected rows by run and reason, the latest first",
            parameters_of(warehouse.config, Page, run_id=one),
            _HISTORY,
            quality,
        ),
    )


def rejects_of(session: Session, sequence: int) -> dict[str, int]:
    """Return the rejected rows of a load by reason."""
    conditions = ["reason is not null", f"sequence = {sequence:d}"]
    columns = [column for column in _HISTORY if column.name in ("reason", "rows_rejected")]
    return {reason: int(rows or 0) for reason, rows in _history(session, columns, conditions)}


def loads_until(session: Session, sequence: int, days: int) -> tuple[LoadedDay, ...]:
    """Return the last load of each business date up to a load, over so many dates before its own.

    Those are left out of which an earlier version did not keep what they read and rejected.
    """
    columns = [column for column in _HISTORY if column.name in LoadedDay.model_fields]
    conditions = [
        "reason is null",
        "rows_read is not null",
        "rows_rejected is not null",
        f"sequence <= {sequence:d}",
    ]
    rows = _history(session, columns, conditions, Page(limit=_MOST_LOADS))
    names = [column.name for column in columns]
    loads = [LoadedDay(**dict(zip(names, row, strict=True))) for row in rows]
    if not loads:
        return ()
    newest = loads[0].business_date
    # The latest comes first, and is the one that stays.
    by_date = {each.business_date: each for each in reversed(loads)}
    return tuple(
        by_date[day] for day in sorted(by_date) if days_before(newest, days) < day <= newest
    )


def _of_run(session: Session, run_id: str | None) -> list[str]:
    return [] if run_id is None else [f"run_id = {session.warehouse.dialect.literal(run_id)}"]


def _history(
    session: Session,
    columns: Sequence[TableColumn],
    conditions: Sequence[str],
    asked: Page | None = None,
) -> list[tuple[Any, ...]]:
    """Read the history of what was rejected; no rows where an older version has published."""
    warehouse, dialect = session.warehouse, session.warehouse.dialect
    if not session.exists(warehouse.mart_schema, QUALITY_HISTORY):
        return []
    rows = session.query(f"""
        select {", ".join(dialect.identifier(column.name) for column in columns)}
        from {dialect.table(warehouse.mart_schema, QUALITY_HISTORY)}
        {f"where {' and '.join(conditions)}" if conditions else ""}
        order by sequence desc, {dialect.by_code_point("reason")} nulls first
        {f"limit {asked.limit + 1:d} offset {asked.offset:d}" if asked else ""}
    """)
    return list(rows)
