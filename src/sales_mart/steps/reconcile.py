"""Step `reconcile`: the next marts agree with the sealed input and between the warehouses."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sales_mart.errors import ConfigurationError, ReconciliationError
from sales_mart.lake.records import Load, Mode, Reconcile, Seal, Transform
from sales_mart.rows.sums import Sums
from sales_mart.warehouses.base import open_warehouse
from sales_mart.warehouses.differences import listed
from sales_mart.warehouses.history import check_latest
from sales_mart.warehouses.quality import LoadedRun, differing_runs, loaded_runs
from sales_mart.warehouses.questions import DayTotals, Questions

if TYPE_CHECKING:
    from datetime import date

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.base import Session
    from sales_mart.warehouses.windows import Window

__all__ = ["reconcile"]

_log = logging.getLogger(__name__)

_DAYS_DRILLED = 3
_DAYS_LISTED = 50
_ROWS_FETCHED = 100_000
_HEX = re.compile("[0-9a-f]{3}")


@dataclass(frozen=True)
class _Side:
    """One warehouse: its questions, and what `load` and `transform` left for this run."""

    target: str
    session: Session
    questions: Questions
    load: Load
    window: Window


@dataclass(frozen=True)
class _Found:
    """What one warehouse answered."""

    days: dict[date, DayTotals]
    raw: dict[tuple[bool, bool], Sums]
    marts: dict[str, tuple[int, Decimal]]
    runs: dict[str, LoadedRun]


def reconcile(config: Config, run: RunFolder, targets: Sequence[str]) -> Reconcile:
    """Compare the next marts with the seal and with each other; write the record `reconcile`.

    In each warehouse: the run's raw rows are the sealed ones, and the fact table holds exactly
    those raw rows of the window that pass the marts' rules. Between two warehouses: rows, sums
    and an order-free checksum of every sale date are the same, and so are rows and checksum of
    each other mart, and what each run has rejected. Only totals travel.

    Raises:
        ConfigurationError: The marts were not built from the latest load.
        ReconciliationError: Something differs; `details` lists what, day by day.
        SupersededError: A newer run was loaded.
        TemporaryError: A warehouse does not answer.
    """
    seal = run.read("seal", Seal)
    run.forget("reconcile")
    with ExitStack() as stack:
        sides = [stack.enter_context(_side(config, run, target)) for target in targets]
        with ThreadPoolExecutor(len(sides)) as pool:
            asked = [pool.submit(_ask, side, run.run_id, len(sides)) for side in sides]
            found = [answer.result() for answer in asked]
        findings = [
            finding
            for side, answer in zip(sides, found, strict=True)
            for finding in _against_seal(side, answer, seal)
        ]
        differing = _differing_days(sides, found)
        # Facts that differ say where to look; the marts made of them would only repeat it.
        findings += [] if differing else _differing_marts(sides, found)
        findings += _differing_rejects(sides, found)
        if findings or differing:
            raise _disagreement(sides, found, findings, differing)
    facts = _facts(found[0].days)
    record = Reconcile(
        run_id=run.run_id,
        targets=tuple(targets),
        days=len(found[0].days),
        **facts._asdict(),
        sequences={side.target: side.load.sequence for side in sides},
        facts={
            side.target: {day: totals.sums for day, totals in answer.days.items()}
            for side, answer in zip(sides, found, strict=True)
        },
        marts={side.target: answer.marts for side, answer in zip(sides, found, strict=True)},
    )
    run.write("reconcile", record)
    _log.info("%d rows of %d days agree in %s", facts.rows, record.days, ", ".join(targets))
    return record


@contextmanager
def _side(config: Config, run: RunFolder, target: str) -> Generator[_Side]:
    """Open a warehouse in which this run is the latest load, and the marts were built from it."""
    warehouse = open_warehouse(config, target)
    with warehouse.session() as session:
        latest = check_latest(session, run.run_id)
        questions = Questions(warehouse, session.query)
        yield _Side(target, session, questions, latest, _built_window(run, latest))


def _built_window(run: RunFolder, latest: Load) -> Window:
    transform = run.read("transform", Transform)
    for built in transform.targets:
        if (built.target, built.sequence) == (latest.target, latest.sequence):
            return built.window
    msg = f"the last load of run {run.run_id} into {latest.target} has not passed transform"
    raise ConfigurationError(msg, remedy="Run `sales-mart transform` for it first.")


def _ask(side: _Side, run_id: str, sides: int) -> _Found:
    return _Found(
        days=side.questions.days(checksum=sides > 1),
        raw=side.questions.raw(run_id, side.window),
        marts=side.questions.marts(),
        runs=loaded_runs(side.session, side.load.sequence),
    )


def _facts(days: Mapping[date, DayTotals]) -> Sums:
    total = Sums()
    for day in days.values():
        total = total.plus(day.sums)
    return total


def _raw(found: _Found, *, of_run: tuple[bool, ...], in_marts: tuple[bool, ...]) -> Sums:
    total = Sums()
    for (is_of_run, is_in_marts), totals in found.raw.items():
        if is_of_run in of_run and is_in_marts in in_marts:
            total = total.plus(totals)
    return total


def _against_seal(side: _Side, found: _Found, seal: Seal) -> list[str]:
    """Say what one warehouse has other than the sealed input."""
    either, load = (True, False), side.load
    loaded = _raw(found, of_run=(True,), in_marts=either).rows
    sealed = seal.rows_valid - load.hidden_rows
    facts = _facts(found.days)
    shown = _raw(found, of_run=either, in_marts=(True,))
    findings: list[str] = []
    if loaded != sealed:
        findings.append(
            f"{side.target}: the raw table has {loaded} rows of the run, sealed: {sealed}"
        )
    if seal.mode is Mode.REPLACE and (other := _raw(found, of_run=(False,), in_marts=either)).rows:
        findings.append(f"{side.target}: the raw table has {other.rows} rows of other runs")
    if facts != shown:
        findings.append(
            f"{side.target}: the fact table has {facts}, the raw table has {shown} that pass "
            f"the rules (left out: {_reasons(side)})"
        )
    if load.hidden_rows == 0:
        passed = _raw(found, of_run=(True,), in_marts=(True,))
        if passed != seal.shown:
            findings.append(
                f"{side.target}: of the run, {passed} pass the marts' rules, sealed: {seal.shown} "
                f"(left out: {_reasons(side)})"
            )
    counts = {
        "rows_read": (load.rows_read, seal.rows_read),
        "rows_rejected": (load.rows_rejected, seal.rows_rejected),
        "rejects": (load.rejects, seal.reasons),
    }
    findings += [
        f"{side.target}: load_runs has {name} {here} for the run, sealed: {there}"
        for name, (here, there) in counts.items()
        if here is not None and here != there  # an earlier version did not keep it
    ]
    return findings


def _reasons(side: _Side) -> str:
    counts = side.questions.reasons(side.window)
    return ", ".join(f"{reason} {rows}" for reason, rows in counts.items() if rows) or "none"


def _differing_days(sides: Sequence[_Side], found: Sequence[_Found]) -> list[date]:
    """Return the days that differ between the first warehouse and any other, ascending.

    A warehouse may have more to catch up than another, so only days that both built count.
    """
    differing: set[date] = set()
    for side, answer in zip(sides[1:], found[1:], strict=True):
        here, there = found[0].days, answer.days
        differing |= {
            day
            for day in here.keys() | there.keys()
            if all(w is None or day in w for w in (sides[0].window, side.window))
            and here.get(day) != there.get(day)
        }
    return sorted(differing)


def _differing_marts(sides: Sequence[_Side], found: Sequence[_Found]) -> list[str]:
    """Say which marts differ between the first warehouse and any other.

    A warehouse may have more to catch up than another, and then holds more dates and months;
    marts without a slice are whole in either case.
    """
    findings: list[str] = []
    whole = sides[0].questions.whole
    for side, answer in zip(sides[1:], found[1:], strict=True):
        for name, (rows, checksum) in found[0].marts.items():
            is_comparable = name in whole or side.window == sides[0].window
            if is_comparable and answer.marts[name] != (rows, checksum):
                findings.append(
                    f"{name} of {sides[0].target} ({rows} rows) and of {side.target} "
                    f"({answer.marts[name][0]} rows) differ, though the facts of the run agree"
                )
    return findings


def _differing_rejects(sides: Sequence[_Side], found: Sequence[_Found]) -> list[str]:
    """Say of which runs a warehouse has kept other rejected rows than the first one."""
    return [
        f"load_runs of {sides[0].target} and of {side.target} have other rejected rows of run {run}"
        for side, answer in zip(sides[1:], found[1:], strict=True)
        for run in differing_runs(found[0].runs, answer.runs)
    ]


def _disagreement(
    sides: Sequence[_Side],
    found: Sequence[_Found],
    findings: Sequence[str],
    differing: Sequence[date],
) -> ReconciliationError:
    days = [_day_report(sides, found, day, number) for number, day in enumerate(differing)]
    said = [*findings, *(report["message"] for report in days)]
    return ReconciliationError(
        f"the marts do not reconcile: {listed(said)}",
        remedy="Nothing was published. Start a new run of the same input, by `--run-id` with a new "
        "name, which loads it anew. If products differ, a warehouse lacks a part of the history: "
        "load it there with `--target`. If it differs again, report it with these details.",
        details={"findings": list(findings), "days": days[:_DAYS_LISTED], "differing": len(days)},
    )


def _day_report(
    sides: Sequence[_Side], found: Sequence[_Found], day: date, number: int
) -> dict[str, Any]:
    """Tell how a day differs; the first few days down to their rows."""
    totals = {side.target: answer.days.get(day) for side, answer in zip(sides, found, strict=True)}
    text = ", ".join(f"{target} has {t.sums if t else 'no rows'}" for target, t in totals.items())
    report: dict[str, Any] = {
        "day": day.isoformat(),
        **{
            target: t.sums._asdict() | {"checksum": t.checksum} if t else None
            for target, t in totals.items()
        },
    }
    if number < _DAYS_DRILLED:
        rows = _drill(sides[0], sides[1], day)
        report["differing_rows"] = rows
        listed = ", ".join(f"{count} {where}" for where, count in rows.items())
        text = f"{text} ({listed})"
    return report | {"message": f"{day.isoformat()}: {text}"}


def _drill(here: _Side, there: _Side, day: date) -> dict[str, int]:
    """Count the rows of a day that stand on one side only, or differ between the sides.

    Only the rows of token ranges that differ are fetched, and no more than memory takes; the rest
    is counted as such.
    """
    ours, theirs = here.questions.buckets(day), there.questions.buckets(day)
    fetched: list[str] = []
    rows = left = 0
    for bucket in sorted(ours.keys() | theirs.keys()):
        if ours.get(bucket) == theirs.get(bucket):
            continue
        most = max(side[bucket][0] for side in (ours, theirs) if bucket in side)
        if _HEX.fullmatch(bucket) and rows + most <= _ROWS_FETCHED:
            rows += most
            fetched.append(bucket)
        else:
            left += most
    rows_here, rows_there = (side.questions.rows(day, fetched) for side in (here, there))
    only_here, only_there = rows_here - rows_there, rows_there - rows_here
    tokens_here, tokens_there = ({token for token, _ in side} for side in (only_here, only_there))
    changed = len(tokens_here & tokens_there)
    counts = {
        f"only in {here.target}": only_here.total() - changed,
        f"only in {there.target}": only_there.total() - changed,
        "with other values": changed,
    }
    return counts | ({"not looked into": left} if left else {})
