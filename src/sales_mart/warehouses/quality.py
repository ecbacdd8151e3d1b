"""`quality_history`: what each run rejected, by reason, where readers of the marts see it.

All of it is made from `load_runs`, which no reader of the marts may see. A publication brings it up
to the load that the marts show then, in the same transaction. Of a run that was loaded several
times the last load counts, and no row goes that stands for another run.
"""

from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.names import LOAD_RUNS, QUALITY_HISTORY
from sales_mart.warehouses.own_tables import QUALITY_TABLES, SHARE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from sales_mart.warehouses.base import Session
    from sales_mart.warehouses.dialect import Dialect

__all__ = [
    "LoadedRun",
    "differing_runs",
    "history_differences",
    "history_sql",
    "loaded_runs",
]

_ROWS_AT_ONCE = 1_000
_NAMES = tuple(column.name for column in QUALITY_TABLES[QUALITY_HISTORY])
_DIGITS = 60


class _Row(NamedTuple):
    """A row of `quality_history`."""

    run_id: str
    business_date: date
    mode: str
    sequence: int
    reason: str | None
    rows_read: int | None
    rows_rejected: int | None
    share: Decimal | None


class LoadedRun(NamedTuple):
    """The last load of a run, as `load_runs` has it.

    Attributes:
        run_id: The run.
        business_date: Date of its batch.
        mode: How it was loaded.
        sequence: The load.
        seal_digest: Digest of what was sealed.
        rows_read: Rows of its input; None, as what follows, where an earlier version loaded it.
        rows_rejected: Rejected rows, each once.
        rejects: Rejected rows by reason.
    """

    run_id: str
    business_date: date
    mode: str
    sequence: int
    seal_digest: str
    rows_read: int | None
    rows_rejected: int | None
    rejects: Mapping[str, int] | None

    @property
    def counts(self) -> tuple[int | None, int | None, Mapping[str, int] | None]:
        """What was counted of it."""
        return self.rows_read, self.rows_rejected, self.rejects

    def rows(self) -> set[_Row]:
        """Return what the history has of it: one row for all rejected rows, one for each reason."""
        rejects = self.rejects or {}
        return {
            _Row(
                *self[:4],
                reason,
                self.rows_read,
                rows,
                _share(rows, self.rows_read),
            )
            for reason, rows in ((None, self.rows_rejected), *rejects.items())
        }


def loaded_runs(session: Session, sequence: int) -> dict[str, LoadedRun]:
    """Return the last load of each run, of the loads up to one of them, by run."""
    warehouse, quoted = session.warehouse, session.warehouse.dialect.identifier
    # A table that an earlier version made has fewer columns.
    known = session.columns(warehouse.raw_schema, LOAD_RUNS)
    listed = ", ".join(
        quoted(name) if name in known else f"null as {name}" for name in LoadedRun._fields
    )
    rows = session.query(f"""
        select {listed}
        from {warehouse.dialect.table(warehouse.raw_schema, LOAD_RUNS)}
        where sequence <= {warehouse.dialect.literal(sequence)}
        order by sequence
    """)
    return {
        row[0]: LoadedRun(*row[:-1], rejects=None if row[-1] is None else json.loads(row[-1]))
        for row in rows
    }


def differing_runs(here: Mapping[str, LoadedRun], there: Mapping[str, LoadedRun]) -> list[str]:
    """Return the runs of which two warehouses have other counts, though they loaded the same.

    What one of them does not know is no difference, nor is a run that it has not loaded.
    """
    return [
        run_id
        for run_id, one in here.items()
        if (other := there.get(run_id)) is not None
        and one.seal_digest == other.seal_digest
        and any(
            None not in pair and pair[0] != pair[1]
            for pair in zip(one.counts, other.counts, strict=True)
        )
    ]


def history_sql(session: Session, sequence: int) -> list[str]:
    """Return the statements that bring the history up to a load; none where it is.

    Each statement leaves the rows of every run whole or as they were, so that several are one
    change only in a transaction, and harmless without.
    """
    warehouse, shown = session.warehouse, _shown(session)
    table = warehouse.dialect.table(warehouse.mart_schema, QUALITY_HISTORY)
    changed = [
        (run_id, rows)
        for run_id, run in loaded_runs(session, sequence).items()
        if (rows := run.rows()) != shown.get(run_id)
    ]
    statements: list[str] = []
    if stale := [run_id for run_id, _ in changed if run_id in shown]:
        listed = ", ".join(map(warehouse.dialect.literal, stale))
        statements.append(f"delete from {table} where run_id in ({listed})")
    waiting: list[_Row] = []
    for at, (_, rows) in enumerate(changed, start=1):
        waiting += sorted(rows, key=lambda row: row.reason or "")
        if len(waiting) >= _ROWS_AT_ONCE or at == len(changed):
            statements.append(_insert(warehouse.dialect, table, waiting))
            waiting = []
    return statements


def history_differences(session: Session, sequence: int) -> list[str] | None:
    """Return the runs whose rows in the history are not what was loaded, up to a load.

    None where there is no history yet.
    """
    warehouse = session.warehouse
    if not session.exists(warehouse.mart_schema, QUALITY_HISTORY):
        return None
    shown, runs = _shown(session), loaded_runs(session, sequence)
    return [run_id for run_id, run in runs.items() if run.rows() != shown.get(run_id)]


def _shown(session: Session) -> dict[str, set[_Row]]:
    warehouse = session.warehouse
    listed = ", ".join(map(warehouse.dialect.identifier, _NAMES))
    table = warehouse.dialect.table(warehouse.mart_schema, QUALITY_HISTORY)
    found: dict[str, set[_Row]] = {}
    for row in session.query(f"select {listed} from {table}"):
        found.setdefault(row[0], set()).add(_Row(*row))
    return found


def _insert(dialect: Dialect, table: str, rows: Iterable[_Row]) -> str:
    names = ", ".join(map(dialect.identifier, _NAMES))
    values = ", ".join(f"({', '.join(_literals(dialect, row))})" for row in rows)
    return f"insert into {table} ({names}) values {values}"


def _literals(dialect: Dialect, row: _Row) -> Sequence[str]:
    share = "null"
    if row.share is not None:  # a bare number with a point is a float on BigQuery
        share = f"cast('{row.share:f}' as numeric({SHARE.digits}, {SHARE.scale}))"
    return [*map(dialect.literal, row[:-1]), share]


def _share(rows: int | None, of: int | None) -> Decimal | None:
    """Return the share of some rows, rounded half away from zero; None where it is not known."""
    if rows is None or not of:
        return None
    with localcontext(prec=_DIGITS):
        return (Decimal(rows) / of).quantize(Decimal(1).scaleb(-SHARE.scale), ROUND_HALF_UP)
