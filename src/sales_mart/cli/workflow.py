"""What a workflow asks for beside the steps: the days of a backfill, and a message."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Annotated

import typer

from sales_mart.cli.session import RunCommand, Session, SessionCommand, given
from sales_mart.cli.steps import Outputs, Source, Targets
from sales_mart.errors import ConfigurationError, SalesMartError

__all__ = ["add_to"]

_log = logging.getLogger("sales_mart.cli")

PANEL = "For a scheduler"
WEBHOOK = "SALES_MART_WEBHOOK_URL"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("days", cls=SessionCommand, rich_help_panel=PANEL)(_days)
    app.command("notify", cls=RunCommand, rich_help_panel=PANEL)(_notify)


def _days(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    *,
    first: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First business date.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last business date.")
    ] = None,
    catch_up: Annotated[
        int,
        typer.Option(
            "--catch-up",
            min=0,
            metavar="N",
            help="Instead of a range: those of the last N days that a warehouse has not loaded.",
        ),
    ] = 0,
    source: Source = None,
    target: Targets = None,
    outputs: Outputs = None,
) -> None:
    """List the business dates that a backfill runs, oldest first."""
    from sales_mart.business_date import business_date, day
    from sales_mart.steps.backfill import MOST_DAYS, days_of_range, unloaded_days

    session: Session = ctx.obj
    config = session.config
    if bool(catch_up) == bool(first or last) or bool(first) != bool(last):
        msg = "give either a range of days or a number of days to catch up with"
        raise ConfigurationError(msg, remedy="Use --from and --to together, or --catch-up alone.")
    if catch_up:
        yesterday = business_date(None, config.orchestration.timezone)
        # One too many is refused as much as a number that no date has room for.
        begin = yesterday - timedelta(days=min(catch_up, MOST_DAYS + 1) - 1)
        days = days_of_range(config, begin, yesterday, given(source))
        days = unloaded_days(config, days, session.targets(target))
    else:
        days = days_of_range(config, day(first or ""), day(last or ""), given(source))
    listed = [str(each) for each in days]
    session.hand_over(outputs, {"days": listed})
    session.emit({"days": listed}, *(listed or ["There is no day to run."]))


def _notify(
    ctx: typer.Context,
    *,
    status: Annotated[str, typer.Option("--status", help="How the workflow ended.")],
    duration: Annotated[str, typer.Option("--duration", help="Its seconds.")] = "",
    failures: Annotated[
        str, typer.Option("--failures", metavar="JSON", help="What failed, as Argo lists it.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the message only.")] = False,
) -> None:
    """Tell a webhook, whose address SALES_MART_WEBHOOK_URL holds, how a workflow ended.

    `--run-id` is the workflow's name.
    """
    from pydantic import SecretStr

    from sales_mart.lake.storage import open_storage
    from sales_mart.steps.notify import notification, runs_of, send
    from sales_mart.steps.status import RunSummary

    session: Session = ctx.obj
    if not session.run_id:
        msg = "no workflow is named"
        raise ConfigurationError(msg, remedy="Use --run-id with the workflow's name.")
    if not status.strip():
        msg = "no status is given"
        raise ConfigurationError(msg, remedy="Use --status, such as Succeeded or Failed.")
    url = os.environ.get(WEBHOOK)
    if not url and not dry_run:
        msg = f"{WEBHOOK} is not set"
        raise ConfigurationError(
            msg, remedy="Set it to the webhook's address, or use --dry-run to see the message."
        )
    runs: list[RunSummary] = []
    try:
        runs = runs_of(open_storage(session.lake), session.run_id)
    except SalesMartError as error:
        # What keeps a run from its lake is what has to be told; the counts are an extra.
        _log.warning("the counts of the runs cannot be read: %s", error.message)
    message = notification(session.run_id, status, duration, failures, runs)
    if url and not dry_run:
        send(SecretStr(url), message)
    session.emit(message, message.text)
