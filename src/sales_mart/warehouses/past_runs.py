"""Which runs were loaded lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sales_mart.names import LOAD_RUNS

if TYPE_CHECKING:
    from datetime import date

    from sales_mart.warehouses.base import Session

__all__ = ["PastRun", "recent_loads"]


class PastRun(NamedTuple):
    """A run that was loaded."""

    sequence: int
    run_id: str
    business_date: date


def recent_loads(session: Session, sequence: int, first: date) -> list[PastRun]:
    """Return the loads up to one: those of a business date and later ones, and the one before it.

    They come in the order of the loads.
    """
    if not session.exists(session.warehouse.raw_schema, LOAD_RUNS):
        return []
    dialect = session.warehouse.dialect
    loads, literal = dialect.table(session.warehouse.raw_schema, LOAD_RUNS), dialect.literal
    rows = session.query(f"""
        select sequence, run_id, business_date
        from {loads}
        where
            sequence <= {literal(sequence)}
            and (
                business_date >= {literal(first)}
                or sequence = (
                    select max(sequence) from {loads} where sequence < {literal(sequence)}
                )
            )
        order by sequence
    """)
    return [PastRun(*row) for row in rows]
