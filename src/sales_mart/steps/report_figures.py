"""The figures of a run's report, from the records of its steps and the published marts."""

from __future__ import annotations

import platform
import posixpath
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sales_mart.lake.parquet import read_part
from sales_mart.lake.records import Load, Plan, Publish, Reconcile, Run, Seal, Transform
from sales_mart.lake.runs import RunFolder
from sales_mart.report.dates import days_before
from sales_mart.report.figures import (
    Before,
    Comparison,
    Figures,
    Line,
    LoadedDay,
    Reject,
    TableRows,
    kept_figures,
)
from sales_mart.report.marts import read_best, read_sold
from sales_mart.rows.rules import reasons_of
from sales_mart.rows.sums import Sums
from sales_mart.schema import schema_of
from sales_mart.warehouses.base import open_warehouse, warehouse_class
from sales_mart.warehouses.past_runs import recent_loads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from sales_mart.config import Config
    from sales_mart.lake.records import Part
    from sales_mart.rows.reasons import Reason
    from sales_mart.warehouses.base import Session
    from sales_mart.warehouses.past_runs import PastRun

__all__ = ["collect"]

_QUALITY_DAYS = 28
_LINES = 3
_FILES = 12
_DISTRIBUTIONS = ("sales-mart", "polars", "pyarrow", "dbt-core")


class _Records(NamedTuple):
    """What the steps of a run left, as far as a report shows it."""

    plan: Plan
    seal: Seal
    publish: Publish
    loads: tuple[Load, ...]
    transform: Transform | None
    reconcile: Reconcile | None


def collect(config: Config, run: RunFolder, session: Session) -> Figures:
    """Put together what a run's report shows.

    Args:
        config: The configuration.
        run: A published run.
        session: A session of a warehouse that shows it.
    """
    known = _records(run)
    plan, seal = known.plan, known.seal
    sequence = next(each.sequence for each in known.loads if each.target == session.warehouse.name)
    sold = read_sold(session, plan.business_date)
    products, dimensions = read_best(session, sold.month) if sold.month else ((), ())
    past = recent_loads(session, sequence, days_before(plan.business_date, _QUALITY_DAYS - 1))
    tables = tuple(_table(config, known, load) for load in known.loads)
    return Figures(
        run_id=run.run_id,
        business_date=plan.business_date,
        mode=plan.mode,
        published_at=known.publish.published_at,
        lake=run.lake.uri,
        files=tuple(posixpath.basename(each.uri) for each in plan.objects[:_FILES]),
        file_count=len(plan.objects),
        rows_read=seal.rows_read,
        rows_valid=seal.rows_valid,
        rows_rejected=seal.rows_rejected,
        rows_excluded=seal.rows_excluded,
        excluded=_counted(seal.excluded),
        rejects=_rejects(run, seal, reasons_of(config)),
        tables=tables,
        compared=_compared(known.reconcile),
        days=sold.days,
        months=sold.months,
        totals=sold.totals,
        month_before=sold.month_before,
        has_currencies=bool(schema_of(config).of_role("currency")),
        products=products,
        dimensions=dimensions,
        before=_before(run, sequence, past),
        quality=_quality(run, plan.business_date, past),
        seconds=_seconds(run, tables),
        bytes=_bytes(known),
        config_digest=plan.config_digest,
        key_id=seal.key_id,
        versions=_versions(tables),
        warnings=(*plan.warnings, *seal.warnings),
    )


def _records(run: RunFolder) -> _Records:
    publish = run.read("publish", Publish)
    return _Records(
        plan=run.read("plan", Plan),
        seal=run.read("seal", Seal),
        publish=publish,
        loads=tuple(run.read(f"load-{target}", Load) for target in publish.rows),
        transform=run.find("transform", Transform),
        reconcile=run.find("reconcile", Reconcile),
    )


def _rejects(run: RunFolder, seal: Seal, known: Mapping[str, Reason]) -> tuple[Reject, ...]:
    """Return the reasons for which rows were rejected, each with the first lines to look at."""
    counts = _counted(seal.reasons)
    places = _first_lines(run, seal.quarantine, len(counts))
    return tuple(
        Reject(
            reason=reason,
            rows=rows,
            meaning=known[reason].meaning if reason in known else "",
            remedy=known[reason].remedy if reason in known else "",
            lines=tuple(places.get(reason, ())),
        )
        for reason, rows in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    )


def _first_lines(run: RunFolder, parts: Sequence[Part], reasons: int) -> dict[str, list[Line]]:
    """Return the first lines of each reason, from as few parts as have them all."""
    found: dict[str, list[Line]] = {}
    for part in parts:
        if len(found) == reasons and all(len(each) == _LINES for each in found.values()):
            break
        rows = read_part(run, part, ["source_uri", "source_row", "line", "reasons"])
        first = (
            rows.explode("reasons")
            .group_by("reasons", maintain_order=True)
            .agg(pl.all().head(_LINES))
            .explode("source_uri", "source_row", "line")
        )
        for uri, row, line, reason in first.select(
            "source_uri", "source_row", "line", "reasons"
        ).iter_rows():
            lines = found.setdefault(reason, [])
            if len(lines) < _LINES:
                lines.append(Line(file=posixpath.basename(uri), line=line, row=row))
    return found


def _table(config: Config, known: _Records, load: Load) -> TableRows:
    kind = warehouse_class(load.target)
    rows = known.publish.rows[load.target]
    built = known.transform.targets if known.transform else ()
    nodes = [node for each in built if each.target == load.target for node in each.nodes]
    return TableRows(
        target=load.target,
        title=kind.title,
        sequence=load.sequence,
        added=load.rows,
        hidden=load.hidden_rows,
        removed=load.removed_rows,
        superseded=load.superseded_rows,
        shown_again=load.shown_again_rows,
        visible=load.visible_rows,
        in_marts=rows.get(open_warehouse(config, load.target).fact_table, 0),
        marts=dict(sorted(rows.items())),
        tests=sum(
            node.status == "pass" and node.unique_id.startswith(("test.", "unit_test."))
            for node in nodes
        ),
    )


def _compared(record: Reconcile | None) -> tuple[Comparison, ...]:
    made: list[Comparison] = []
    for target, days in (record.facts if record else {}).items():
        total = Sums()
        for each in days.values():
            total = total.plus(each)
        rows, amount, pieces = total
        made.append(
            Comparison(
                target=target,
                title=warehouse_class(target).title,
                days=len(days),
                rows=rows,
                amount=amount,
                pieces=pieces,
            )
        )
    return tuple(made)


def _before(run: RunFolder, sequence: int, past: Sequence[PastRun]) -> Before | None:
    """Return the run that was loaded before, as far as its own report tells of it."""
    others = [each for each in past if each.sequence < sequence and each.run_id != run.run_id]
    found = kept_figures(RunFolder(run.lake, others[-1].run_id)) if others else None
    if found is None:
        return None
    return Before(
        run_id=found.run_id,
        business_date=found.business_date,
        rows_read=found.rows_read,
        rows_rejected=found.rows_rejected,
        in_marts=max((each.in_marts for each in found.tables), default=0),
        totals=found.totals,
    )


def _quality(run: RunFolder, newest: date, past: Iterable[PastRun]) -> tuple[LoadedDay, ...]:
    """Return what the last load of each business date read and rejected, where it is kept."""
    oldest = days_before(newest, _QUALITY_DAYS - 1)
    last = {each.business_date: each for each in past if oldest <= each.business_date <= newest}
    return tuple(
        LoadedDay(
            business_date=day,
            run_id=each.run_id,
            rows_read=seal.rows_read,
            rows_rejected=seal.rows_rejected,
        )
        for day, each in sorted(last.items())
        if (seal := RunFolder(run.lake, each.run_id).find("seal", Seal))
    )


def _seconds(run: RunFolder, tables: Sequence[TableRows]) -> dict[str, float]:
    """Return how long each step took when these loads were reported first.

    A run that is started again has nothing to do, and takes no time.
    """
    first = kept_figures(run)
    if first and [each.sequence for each in first.tables] == [each.sequence for each in tables]:
        return first.seconds
    ran = run.find("run", Run)
    return {step: took for step, took in (ran.seconds if ran else {}).items() if step != "export"}


def _bytes(known: _Records) -> dict[str, int]:
    return {
        "source files": sum(each.size for each in known.plan.objects),
        "their text": sum(each.size for each in known.seal.objects),
        "valid rows, as Parquet": sum(part.size for part in known.seal.valid),
        "rejected rows, as Parquet": sum(part.size for part in known.seal.quarantine),
    }


def _versions(tables: Iterable[TableRows]) -> dict[str, str]:
    brought = (each for table in tables for each in warehouse_class(table.target).packages)
    found = {"Python": platform.python_version()}
    for name in dict.fromkeys((*_DISTRIBUTIONS, *brought)):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
