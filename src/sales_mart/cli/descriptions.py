"""What other tools read of a publication, shown again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sales_mart.cli.output import print_bytes
from sales_mart.cli.session import LakeCommand, Session

__all__ = ["add_to"]

PANEL = "Tools"

RunId = Annotated[
    str | None,
    typer.Argument(metavar="RUN_ID", help="Name of the run. Default: the exported one."),
]
To = Annotated[
    Path | None, typer.Option("--to", metavar="FILE", help="File to write. Default: stdout.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("contract", cls=LakeCommand, rich_help_panel=PANEL)(_contract)
    app.command("lineage", cls=LakeCommand, rich_help_panel=PANEL)(_lineage)


def _contract(ctx: typer.Context, run_id: RunId = None, *, to: To = None) -> None:
    """Show the data contract of a run (Open Data Contract Standard); no warehouse is asked."""
    from sales_mart.steps.descriptions import CONTRACT

    _show(ctx.obj, CONTRACT, run_id, to)


def _lineage(ctx: typer.Context, run_id: RunId = None, *, to: To = None) -> None:
    """Show the lineage of a run (OpenLineage events, one a line); no warehouse is asked."""
    from sales_mart.steps.descriptions import LINEAGE

    _show(ctx.obj, LINEAGE, run_id, to)


def _show(session: Session, name: str, run_id: str | None, to: Path | None) -> None:
    """Print a description, or write it into a file."""
    from sales_mart.lake.storage import open_storage
    from sales_mart.steps.descriptions import described, exported_run

    run = exported_run(session.config, session.lake, run_id)
    content = described(run, name)
    if to is None:
        print_bytes(content)
        return
    target = to.absolute()
    open_storage(str(target.parent)).write(target.name, content)
    session.emit({"run_id": run.run_id, "path": str(target)}, f"Wrote {to}.")
