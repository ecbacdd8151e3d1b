"""How a run went, put together from the records that its steps left in the lake."""

from __future__ import annotations

import html
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from sales_mart.lake.records import (
    Agreement,
    Export,
    ExportedFile,
    Load,
    Mode,
    Plan,
    Publish,
    Reconcile,
    Run,
    Seal,
    Transform,
)
from sales_mart.report.figures import REPORT, kept_figures
from sales_mart.warehouses.base import names

if TYPE_CHECKING:
    from sales_mart.lake.runs import RunFolder

__all__ = ["LoadSummary", "RowSummary", "RunSummary", "summarise"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class RowSummary(_Part):
    """Where the rows went: `rows_read` is `rows_valid` plus `rows_rejected`."""

    rows_read: int
    rows_valid: int
    rows_rejected: int
    reasons: dict[str, int]
    rows_excluded: int
    excluded: dict[str, int]
    key_id: str
    warnings: tuple[str, ...]


class LoadSummary(_Part):
    """What one warehouse took in."""

    target: str
    sequence: int
    rows: int
    hidden_rows: int
    removed_rows: int | None
    superseded_rows: int | None
    shown_again_rows: int | None
    visible_rows: int | None
    window_days: int | None


class RunSummary(_Part):
    """One run, as far as it has come.

    Attributes:
        done: The steps that have left a record.
        warnings: What `plan` found strange; those about rows stand in `rows`.
        quarantine: Where rejected rows are; None when there are none.
        marts: Rows that readers see, by warehouse and mart.
        report: The page about the run, beside the files.
        seconds: Duration of each step, where one process ran the pipeline.
    """

    schema_version: Literal[2] = 2
    run_id: str
    business_date: date
    mode: Mode
    source: str
    objects: int
    bytes: int
    done: tuple[str, ...]
    dry_run: bool = False
    warnings: tuple[str, ...] = ()
    rows: RowSummary | None = None
    quarantine: str | None = None
    loads: tuple[LoadSummary, ...] = ()
    agreement: Agreement | None = None
    marts: dict[str, dict[str, int]] = {}
    published_at: datetime | None = None
    destination: str | None = None
    files: tuple[ExportedFile, ...] = ()
    report: str | None = None
    seconds: dict[str, float] = {}

    def __repr__(self) -> str:
        """Say it in one short line."""
        rows = self.rows
        counts = "" if rows is None else f", {rows.rows_read:,} read, {rows.rows_valid:,} valid"
        return f"RunSummary({self.run_id}{counts}, done: {', '.join(self.done)})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = self.rows
        cells: dict[str, object] = {"run": self.run_id, "source": self.source}
        if rows is not None:
            cells |= {"read": rows.rows_read, "valid": rows.rows_valid}
            cells |= {"rejected": rows.rows_rejected, **rows.reasons}
        lines = (
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in cells.items()
        )
        return f"<table>{''.join(lines)}</table>"


def summarise(run: RunFolder) -> RunSummary:
    """Read the records of a run.

    Raises:
        ConfigurationError: The lake has no such run.
    """
    plan = run.read("plan", Plan)
    seal = run.find("seal", Seal)
    loads = {f"load-{target}": run.find(f"load-{target}", Load) for target in names()}
    transform = run.find("transform", Transform)
    reconcile = run.find("reconcile", Reconcile)
    publish = run.find("publish", Publish)
    export = run.find("export", Export)
    ran = run.find("run", Run)
    validated = len(
        [name for name in run.lake.names(run.name("validate-")) if name.endswith("json")]
    )
    left = {
        "plan": True,
        "validate": validated >= len(plan.shards),
        "seal": seal,
        **loads,
        "transform": transform,
        "reconcile": reconcile,
        "publish": publish,
        "export": export,
    }
    return RunSummary(
        run_id=run.run_id,
        business_date=plan.business_date,
        mode=plan.mode,
        source=plan.source,
        objects=len(plan.objects),
        bytes=sum(each.size for each in plan.objects),
        done=tuple(step for step, record in left.items() if record),
        warnings=plan.warnings,
        quarantine=f"{run.uri}/quarantine" if seal and seal.rows_rejected else None,
        rows=RowSummary.model_validate(seal, from_attributes=True) if seal else None,
        loads=tuple(_load_summary(load) for load in loads.values() if load),
        agreement=Agreement.model_validate(reconcile, from_attributes=True) if reconcile else None,
        marts=publish.rows if publish else {},
        published_at=publish.published_at if publish else None,
        destination=export.destination if export else None,
        files=export.files if export else (),
        report=f"{export.destination}/{REPORT}" if export and kept_figures(run) else None,
        seconds=ran.seconds if ran else {},
    )


def _load_summary(load: Load) -> LoadSummary:
    return LoadSummary(
        target=load.target,
        sequence=load.sequence,
        rows=load.rows,
        hidden_rows=load.hidden_rows,
        removed_rows=load.removed_rows,
        superseded_rows=load.superseded_rows,
        shown_again_rows=load.shown_again_rows,
        visible_rows=load.visible_rows,
        window_days=None if load.window is None else len(load.window),
    )
