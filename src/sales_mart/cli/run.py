"""The whole pipeline in one process, and how a run went."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from sales_mart.cli.local import DEFAULT_DATA_DIR, DataDir, Local, on_local_servers
from sales_mart.cli.output import table
from sales_mart.cli.outputs import publication_outputs, row_outputs, warn_of_rejects
from sales_mart.cli.progress import showing
from sales_mart.cli.report import tables
from sales_mart.cli.session import RunCommand, Session
from sales_mart.cli.steps import (
    Accept,
    AcceptNewKey,
    AcceptNewRules,
    AllowEmpty,
    BusinessDate,
    Destination,
    FullRefresh,
    ModeName,
    Outputs,
    Source,
    Targets,
    load_options,
    plan_options,
)
from sales_mart.errors import SalesMartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from sales_mart.config import Config
    from sales_mart.steps.status import RunSummary

__all__ = ["add_to"]

PANEL = "The pipeline"
SMALL = 20
"""Rows of a summary that are shown after a run."""

_log = logging.getLogger("sales_mart.cli")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("run", cls=RunCommand, rich_help_panel=PANEL)(_run)
    app.command("status", cls=RunCommand, rich_help_panel=PANEL)(_status)


def _run(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="The same as --source.", show_default=False),
    ] = None,
    *,
    source: Source = None,
    business_date: BusinessDate = None,
    mode: ModeName = None,
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards",
            min=1,
            help="At most this many groups of files. Default: by the workers and the bytes.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Shards that are validated side by side. Default: by cores and memory.",
            show_default=False,
        ),
    ] = None,
    allow_empty: AllowEmpty = False,
    target: Targets = None,
    destination: Destination = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the input and the warehouses, change nothing.")
    ] = False,
    full_refresh: FullRefresh = False,
    accept_new_key: AcceptNewKey = False,
    accept_new_rules: AcceptNewRules = False,
    accept: Accept = None,
    outputs: Outputs = None,
    local: Local = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Run the whole pipeline in one process, from the source to the published marts."""
    from sales_mart.rows.tokens import warn_of_plain_tokens
    from sales_mart.steps.pipeline import run

    session: Session = ctx.obj
    accepted = load_options(accept, new_key=accept_new_key, new_rules=accept_new_rules)
    with ExitStack() as stack:
        if local:
            servers = stack.enter_context(on_local_servers(session, data_dir))
            for line in servers.ways_in():
                _log.info("%s, while this runs", line)
        config = session.config
        warn_of_plain_tokens(config)
        with showing(session) as progress:
            summary = run(
                config,
                session.lake,
                **plan_options(
                    session,
                    [*(files or ()), *(source or ())],
                    business_date,
                    mode,
                    allow_empty=allow_empty,
                ),
                shards=shards,
                workers=workers,
                targets=session.targets(target),
                destination=destination or None,
                dry_run=dry_run,
                full_refresh=full_refresh,
                accept_new_key=accepted.accept_new_key,
                accept_new_rules=accepted.accept_new_rules,
                progress=progress,
            )
        text = tables(summary)
        if dry_run:
            text.append("Dry run: nothing was loaded, built or published.")
        elif not session.as_json:
            text += _small_summaries(config, summary)
        if local and not dry_run:
            folder = "" if data_dir == DEFAULT_DATA_DIR else f" --data-dir {data_dir}"
            text.append(
                f"The databases, the lake and the export stay in {data_dir}. `sales-mart "
                f"local{folder}` starts the servers again, to look at them with psql."
            )
        if summary.rows is not None and summary.published_at is not None:
            handed = {**row_outputs(summary.rows), **publication_outputs(summary.published_at)}
            session.hand_over(outputs, handed)
        session.emit(summary, *text)
        if summary.rows is not None:
            warn_of_rejects(summary.rows, summary.quarantine)


def _status(
    ctx: typer.Context,
    run: Annotated[str | None, typer.Argument(metavar="RUN_ID", help="Name of the run.")] = None,
) -> None:
    """Show how a run went, from the records in the lake."""
    from sales_mart.steps.status import summarise

    session: Session = ctx.obj
    session.run_id = run or session.run_id
    summary = summarise(session.run())
    session.emit(summary, *tables(summary))


def _small_summaries(config: Config, summary: RunSummary) -> Iterator[RenderableType]:
    """Read the monthly summary from every warehouse, where it is short enough to be looked at.

    The run is done by now: what keeps its marts from being read again is a warning.
    """
    from sales_mart.steps.summary import published_summary, summary_columns

    loads = {load.target: load.sequence for load in summary.loads}
    for target, marts in summary.marts.items():
        if not 0 < marts.get("summary_sales", 0) <= SMALL:
            continue
        try:
            with published_summary(config, target) as (sequence, rows):
                found = list(rows) if sequence == loads.get(target) else None
        except SalesMartError as error:
            _log.warning(
                "the summary in %s is published but cannot be shown: %s", target, error.message
            )
            continue
        if found is None:
            _log.warning("%s already shows a newer run", target)
        else:
            columns = summary_columns(config, target)
            yield table(f"summary_sales in {target}", [each.name for each in columns], found)
