"""Differences between marts, and what is said about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sales_mart.errors import MartsChangedError
from sales_mart.rows.sums import Sums
from sales_mart.warehouses.questions import DayTotals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from decimal import Decimal

    from sales_mart.warehouses.base import Warehouse
    from sales_mart.warehouses.publishing import NextMarts

__all__ = [
    "RECORD",
    "Difference",
    "check_published",
    "check_reconciled",
    "differing_days",
    "listed",
]

RECORD = "the publication"
"""Stands for what was recorded, where a mart is compared with that."""
_SHOWN = 3
_LISTED = 50
_NOTHING = DayTotals(Sums(), None)


class Difference(NamedTuple):
    """A slice in which a mart is not what another one, or its own publication, says.

    Attributes:
        mart: The mart.
        other: The mart that it is compared with, or the publication.
        slice: The day or month; None for a mart without.
        here: Rows and sums of the first.
        there: Rows and sums of the second.
    """

    mart: str
    other: str
    slice: str | None
    here: Sums
    there: Sums

    @property
    def is_of_record(self) -> bool:
        """Whether the mart is not what was published, rather than not what another mart says."""
        return self.other == RECORD

    def __str__(self) -> str:
        """Say where, and by how much."""
        where = "" if self.slice is None else f" for {self.slice}"
        if self.here == self.there:
            return f"{self.mart} has other values than {self.other}{where} ({self.here})"
        return f"{self.mart} has {self.here}{where}, {self.other}: {self.there}"


def listed(found: Sequence[object]) -> str:
    """Say what was found, the first few in words."""
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(str(each) for each in found[:_SHOWN]) + more


def differing_days(
    mart: str, other: str, here: Mapping[date, DayTotals], there: Mapping[date, DayTotals]
) -> list[Difference]:
    """Return the days on which two tables differ, ascending."""
    return [
        Difference(
            mart,
            other,
            day.isoformat(),
            here.get(day, _NOTHING).sums,
            there.get(day, _NOTHING).sums,
        )
        for day in sorted(here.keys() | there.keys())
        if here.get(day) != there.get(day)
    ]


def check_published(
    target: str, found: Sequence[Difference], done: str, run_id: str | None = None
) -> None:
    """Check that nothing was found.

    Raises:
        MartsChangedError: Something was.
    """
    if found:
        what = f"{target}: the published marts are not what was published"
        raise _refusal(what, found, _remedy(done, run_id))


def check_reconciled(
    warehouse: Warehouse,
    following: NextMarts,
    days: Mapping[date, DayTotals],
    marts: Mapping[str, tuple[int, Decimal]],
) -> None:
    """Check that the next marts are the ones that `reconcile` added up.

    Args:
        warehouse: The warehouse.
        following: What `reconcile` found.
        days: Rows and sums of the next facts now.
        marts: Rows and checksum of each other next mart now.

    Raises:
        MartsChangedError: They are not.
    """
    then = {day: DayTotals(sums, None) for day, sums in (following.facts or {}).items()}
    found = [
        *differing_days(f"the next {warehouse.fact_table}", "reconcile", days, then),
        *(
            f"the next {name} has {marts[name][0]} rows and other values than the {rows} rows that "
            "reconcile compared"
            for name, (rows, checksum) in following.marts.items()
            if marts[name] != (rows, checksum)
        ),
    ]
    if found:
        what = f"{warehouse.name}: the next marts are not what was reconciled"
        raise _refusal(what, found, _remedy("Nothing was published.", following.run_id))


def _refusal(what: str, found: Sequence[object], remedy: str) -> MartsChangedError:
    return MartsChangedError(
        f"{what}: {listed(found)}",
        remedy=remedy,
        details={"differences": [str(each) for each in found[:_LISTED]]},
    )


def _remedy(done: str, run_id: str | None) -> str:
    run = run_id or "RUN_ID"
    return (
        f"{done} Build all marts anew from the raw table: repeat `sales-mart run` with its options "
        f"and `--full-refresh`, or run `sales-mart transform --full-refresh --run-id {run}`, then "
        "reconcile, publish and export for it. If rows are missing in the raw table, load their "
        "days again first."
    )
