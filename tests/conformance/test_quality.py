"""What `quality_history` promises in every warehouse."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from conformance.subject import D1, D2, Subject
from sales_mart.errors import MartsChangedError
from sales_mart.lake.records import Mode, Seal
from sales_mart.names import LOAD_RUNS, QUALITY_HISTORY
from support import row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.subject import Built

Counts = dict[str | None, tuple[int | None, Decimal | None]]


def history(subject: Subject) -> dict[str, Counts]:
    """Return rows and share by run and reason, and see that nothing stands twice."""
    with subject.warehouse.session() as session:
        if not session.exists(subject.warehouse.mart_schema, QUALITY_HISTORY):
            return {}
        rows = list(
            session.query(
                "select run_id, reason, rows_rejected, share from"
                f" {subject.dialect.table(subject.warehouse.mart_schema, QUALITY_HISTORY)}"
            )
        )
    found: dict[str, Counts] = {}
    for run_id, reason, rejected, share in rows:
        assert reason not in found.setdefault(run_id, {})
        found[run_id][reason] = (rejected, share)
    return found


def columns(subject: Subject, names: str, run_id: str) -> set[tuple[Any, ...]]:
    """Return some columns of the rows of a run."""
    table = subject.dialect.table(subject.warehouse.mart_schema, QUALITY_HISTORY)
    run = subject.dialect.literal(run_id)
    return {*map(tuple, subject.ask(f"select {names} from {table} where run_id = {run}"))}


def loaded(
    subject: Subject,
    run_id: str,
    day: str,
    rejects: Mapping[str, int] | None = None,
    rows_rejected: int | None = None,
) -> Built:
    """Load two rows as the batch of a day, beside rejected ones, and build the next marts."""
    rows = [row(f"{day}-1", day), row(f"{day}-2", day)]
    run = subject.sealed(run_id, rows, business_date=day, mode=Mode.APPEND, rejects=rejects)
    if rows_rejected is not None:  # a row with two reasons
        seal = run.read("seal", Seal)
        counts = {"rows_rejected": rows_rejected, "rows_read": len(rows) + rows_rejected}
        run.write("seal", seal.model_copy(update=counts))
    subject.warehouse.load(run)
    return subject.build(run)


A: Counts = {
    None: (3, Decimal("0.6")),
    "price_format": (2, Decimal("0.4")),
    "quantity_range": (2, Decimal("0.4")),
}
B: Counts = {None: (1, Decimal("0.333333333")), "date_format": (1, Decimal("0.333333333"))}
GOOD: Counts = {None: (0, Decimal(0))}


def test_each_run_that_the_marts_show_has_its_rows_once(subject: Subject) -> None:
    first = loaded(subject, "a", D1, {"price_format": 2, "quantity_range": 2}, 3)
    assert history(subject) == {}
    subject.publish(first)
    assert history(subject) == {"a": A}
    of_a = "business_date, mode, sequence, rows_read"
    assert columns(subject, of_a, "a") == {(date.fromisoformat(D1), "append", 1, 5)}

    # What waits to be published is not seen, and comes with the marts that show it.
    loaded(subject, "b", D2, {"date_format": 1})
    good = loaded(subject, "good", D1)
    assert history(subject) == {"a": A}
    subject.publish(good)
    subject.publish(good)
    assert history(subject) == {"a": A, "b": B, "good": GOOD}

    # A run that is loaded again has the same rows; a publication that is refused leaves them.
    subject.warehouse.load(first.run)
    day = subject.dialect.literal(date.fromisoformat(D2))
    marts = subject.live("sales_by_date")
    subject.change(f"update {marts} set avg_price = 1 where sale_date = {day}")
    with pytest.raises(MartsChangedError):
        subject.publish(subject.build(first.run))
    assert history(subject) == {"a": A, "b": B, "good": GOOD}
    assert columns(subject, "sequence", "a") == {(1,)}

    # A table that is gone is made whole. What earlier versions did not keep is not known.
    loads = subject.dialect.table(subject.warehouse.raw_schema, LOAD_RUNS)
    subject.change(
        f"update {loads} set rows_read = null, rows_rejected = null where sequence = 2",
        f"update {loads} set rows_read = null, rows_rejected = null, rejects = null"
        " where sequence = 3",
        f"drop table {subject.dialect.table(subject.warehouse.mart_schema, QUALITY_HISTORY)}",
    )
    subject.publish(subject.build(first.run, full=True), full_refresh=True)
    assert history(subject) == {
        "a": A,
        "b": {None: (None, None), "date_format": (1, None)},
        "good": {None: (None, None)},
    }
    assert columns(subject, "sequence", "a") == {(4,)}
