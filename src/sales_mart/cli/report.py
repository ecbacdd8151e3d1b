"""The closing tables of a run, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_mart.cli.output import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from sales_mart.steps.status import LoadSummary, RowSummary, RunSummary

__all__ = ["tables"]

_DIGEST = 12
_LOADED = {
    "rows": "loaded rows",
    "hidden_rows": "rows hidden",
    "removed_rows": "rows removed",
    "superseded_rows": "rows superseded",
    "shown_again_rows": "rows shown again",
    "visible_rows": "rows visible",
}
"""What a load has counted, and what the table calls it."""


def tables(summary: RunSummary) -> list[RenderableType]:
    """Lay a run out: rows, warehouses, agreement, files, seconds."""
    title = f"Run {summary.run_id}: {summary.mode} of {summary.business_date} from {summary.source}"
    parts: list[RenderableType] = [title]
    parts += [f"warning: {warning}" for warning in summary.warnings]
    if summary.rows is not None:
        parts.append(table("Rows", ("", "rows"), _rows(summary.rows)))
        parts += [f"warning: {warning}" for warning in summary.rows.warnings]
    if summary.loads or summary.marts:
        parts.append(_warehouses(summary))
    if summary.agreement is not None:
        same = summary.agreement
        between = " and ".join(same.targets)
        parts.append(
            f"Agreement: {between} and the sealed input are the same on {same.days:,} days: "
            f"{same.sums(same.rows):,}."
        )
    if summary.files:
        rows = [(each.name, each.rows, each.size, each.sha256[:_DIGEST]) for each in summary.files]
        parts.append(
            table(f"Files in {summary.destination}", ("", "rows", "bytes", "sha256"), rows)
        )
    if summary.report is not None:
        parts.append(f"Report: {summary.report}")
    if summary.seconds:
        seconds = [(step, f"{value:.2f}") for step, value in summary.seconds.items()]
        parts.append(table("Seconds", ("step", "seconds"), seconds))
    else:
        parts.append(f"Steps done: {', '.join(summary.done)}")
    return parts


def _rows(rows: RowSummary) -> Iterator[tuple[str, int]]:
    yield "read", rows.rows_read
    yield "valid", rows.rows_valid
    yield from _reasons("excluded", rows.rows_excluded, rows.excluded)
    yield from _reasons("rejected", rows.rows_rejected, rows.reasons)


def _reasons(what: str, count: int, reasons: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    if what == "rejected" or count:
        yield what, count
    for reason, rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        if rows:
            yield f"  {reason}", rows


def _days(load: LoadSummary) -> object:
    return "all" if load.window_days is None else load.window_days


def _warehouses(summary: RunSummary) -> RenderableType:
    loads = {load.target: load for load in summary.loads}
    targets = list(loads) + [target for target in summary.marts if target not in loads]
    names: dict[str, list[object]] = {
        name: [getattr(loads[target], field) if target in loads else None for target in targets]
        for field, name in _LOADED.items()
    }
    names["sale dates rewritten"] = [
        _days(loads[target]) if target in loads else None for target in targets
    ]
    marts = {mart for rows in summary.marts.values() for mart in rows}
    for mart in sorted(marts):
        names[mart] = [summary.marts.get(target, {}).get(mart) for target in targets]
    return table("Warehouses", ("", *targets), [(name, *cells) for name, cells in names.items()])
