"""Commands about rejected rows: count them, look at them, take them out to mend them."""

from __future__ import annotations

import logging
import posixpath
import re
from typing import TYPE_CHECKING, Annotated

import typer

from sales_mart.cli.output import table
from sales_mart.cli.session import LakeCommand, Session, SessionCommand
from sales_mart.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["add_to"]

PANEL = "Tools"
_LONGEST = 24
"""Characters of a value that a table shows: a token is longer."""
_MOST_LINES = 20
_log = logging.getLogger(__name__)

quarantine_app = typer.Typer(
    help="Rejected rows: list, show, export and explain them.",
    no_args_is_help=True,
)

RunId = Annotated[
    str | None,
    typer.Argument(metavar="RUN_ID", help="Name of the run. Default: the one loaded last."),
]
File = Annotated[
    str | None,
    typer.Option(
        "--file", metavar="NAME", help="Only rows of this file or archive: its path or its end."
    ),
]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="REASON", help="Only rows with this reason.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(quarantine_app, name="quarantine", rich_help_panel=PANEL)
    quarantine_app.command("list", cls=LakeCommand)(_list)
    quarantine_app.command("show", cls=LakeCommand)(_show)
    quarantine_app.command("export", cls=LakeCommand)(_export)
    quarantine_app.command("explain", cls=SessionCommand)(_explain)


def _list(
    ctx: typer.Context,
    run: RunId = None,
    *,
    last: Annotated[
        str | None,
        typer.Option("--last", metavar="DAYS", help="All runs of the last days, such as 7d."),
    ] = None,
    file: File = None,
    reason: Reason = None,
) -> None:
    """Count rejected rows by run, file and reason; a row with two reasons counts for each.

    Example: sales-mart quarantine list --last 7d --reason price_format
    """
    from sales_mart.business_date import business_date
    from sales_mart.steps.quarantine import (
        Choice,
        counts,
        first_of,
        rejects_of,
        rejects_since,
        run_of,
    )

    session: Session = ctx.obj
    choice = Choice(file, reason)
    if last is None:
        found = [rejects_of(run_of(session.lake, run))]
    else:
        days = _days(last)
        if run is not None:
            msg = "a run and --last are given, which are two answers to which runs are meant"
            raise ConfigurationError(msg, remedy="Leave one of them out.")
        newest = business_date(None, session.config.orchestration.timezone)
        found = rejects_since(session.lake, first_of(days, newest))
    choice.check(session.config, found)
    rows = [row for each in found for row in counts(each, choice)]
    runs = [
        {
            "run_id": each.run.run_id,
            "business_date": each.plan.business_date,
            "rows_read": each.rows_read,
            "rows_rejected": each.rows_rejected,
        }
        for each in found
    ]
    text = [
        f"Run {each.run.run_id} of {each.plan.business_date}: {each.rows_rejected:,} of "
        f"{each.rows_read:,} rows were rejected."
        for each in found
    ]
    session.emit(
        {"runs": runs, "rows": rows},
        *(text or [f"No run in {session.lake} is of these days."]),
        *(
            [
                table(
                    "Rejected rows",
                    ("run", "file", "reason", "rows"),
                    [list(row.values()) for row in rows],
                )
            ]
            if rows
            else []
        ),
    )


def _show(
    ctx: typer.Context,
    run: RunId = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many rows.")] = 20,
    file: File = None,
    reason: Reason = None,
) -> None:
    """Show rejected rows with their lines, reasons and fields; what is personal is a token.

    Example: sales-mart quarantine show --reason date_format --limit 5
    """
    from sales_mart.steps.quarantine import Choice, rejects_of, rows, run_of

    session: Session = ctx.obj
    choice = Choice(file, reason)
    found = rejects_of(run_of(session.lake, run))
    choice.check(session.config, [found])
    count, shown = rows(found, choice, limit)
    names: list[str] = [*shown[0]["fields"]] if shown else []
    title = f"Run {found.run.run_id}: {len(shown):,} of {count:,} rejected rows"
    cells = [
        (
            posixpath.basename(row["source_uri"]),
            row["line"],
            ", ".join(row["reasons"]),
            *(_short(row["fields"], name) for name in names),
        )
        for row in shown
    ]
    session.emit(
        {"run_id": found.run.run_id, "rows_rejected": count, "rows": shown},
        table(title, ("file", "line", "reasons", *names), cells)
        if shown
        else f"Run {found.run.run_id}: no such row was rejected.",
    )


def _export(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    run: RunId = None,
    *,
    to: Annotated[
        str,
        typer.Option("--to", metavar="FILE", help="File to write; a folder for one per source."),
    ],
    file: File = None,
    reason: Reason = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write rejected rows as they stand in their source, personal values too, to mend them.

    Only their owner can read the files. They are in the form of the source, with the reasons in one
    more column, which a run ignores.

    Example: sales-mart quarantine export --to mend.csv
    """
    from sales_mart.steps.quarantine import Choice, run_of
    from sales_mart.steps.quarantine_export import export_rejects

    session: Session = ctx.obj
    found = export_rejects(
        session.config, run_of(session.lake, run), Choice(file, reason), to, force=force
    )
    for each in found.files:
        if each.left_out:
            lines = ", ".join(f"{line:,}" for line in each.left_out[:_MOST_LINES])
            more = ", …" if len(each.left_out) > _MOST_LINES else ""
            _log.warning(
                "%s: %s rows cannot be written so that they are read the same, and are left out; "
                "mend them in the source, at these lines: %s%s",
                each.source,
                f"{len(each.left_out):,}",
                lines,
                more,
            )
    session.emit(
        found,
        *(f"{each.path}: {each.rows:,} rows of {each.source}" for each in found.files if each.rows),
        *(() if found.files else (f"Run {found.run_id}: no such row was rejected.",)),
    )


def _explain(
    ctx: typer.Context,
    reason: Annotated[
        str | None, typer.Argument(metavar="REASON", help="Name of a reason. Default: all.")
    ] = None,
) -> None:
    """Explain a reason: what it means, which keys of the configuration decide, what to do.

    Example: sales-mart quarantine explain price_format
    """
    from sales_mart.rows.rules import reasons_of
    from sales_mart.steps.quarantine import check_reason

    session: Session = ctx.obj
    known = reasons_of(session.config)
    check_reason(reason, known)
    chosen = known if reason is None else {reason: known[reason]}
    explained = [{"reason": name, **each._asdict()} for name, each in chosen.items()]
    session.emit(
        {"reasons": explained},
        *(
            f"{name}: {each.meaning}.\n"
            f"  decided by  {', '.join(each.keys) or 'no key of the configuration'}\n"
            f"  what to do  {each.remedy}"
            for name, each in chosen.items()
        ),
    )


def _short(fields: Mapping[str, str | None], name: str) -> str | None:
    text = fields[name]
    return text if text is None or len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _days(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,3})d", text)
    if found is None:
        msg = f"--last {text!r} is no number of days"
        raise ConfigurationError(msg, remedy="Write it as 7d.")
    return int(found[1])
