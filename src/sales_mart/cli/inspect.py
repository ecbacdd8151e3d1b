"""A look at a file before it is loaded, and a configuration that is written from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sales_mart.cli.output import table
from sales_mart.cli.session import Session, SessionCommand
from sales_mart.errors import ConfigurationError
from sales_mart.source.dialect import delimiter_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from sales_mart.rows.proposal import Proposal
    from sales_mart.source.inspect import Inspection
    from sales_mart.source.preview import Preview

__all__ = ["add_to"]

PANEL = "Tools"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("inspect", cls=SessionCommand, rich_help_panel=PANEL)(_inspect)
    app.command("init", cls=SessionCommand, rich_help_panel=PANEL)(_init)


def _inspect(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(help="File, local or in a bucket; of a folder or glob its first object."),
    ],
) -> None:
    """Look at a file: how it is written, what to configure, which rows would be rejected.

    Without --config it proposes the section `ingestion` of a configuration; with it, it reads the
    file by that configuration.
    """
    from sales_mart.source.inspect import inspect

    session: Session = ctx.obj
    config = session.config if session.config_file else None
    found = inspect(file, config)
    document = found.model_dump(mode="json")
    if found.proposal is not None:
        document["yaml"] = found.proposal.yaml()
    session.emit(document, *_shown(found))


def _init(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("pipeline_config.yaml"),
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A file of sales: look at it, and write how it is to be read.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented configuration with the recommended settings."""
    from sales_mart.config.report import template
    from sales_mart.lake.storage import open_storage
    from sales_mart.source.inspect import inspect

    session: Session = ctx.obj
    found = inspect(source) if source else None
    proposal = found.proposal if found else None
    text = template(proposal, found.file.uri if found else None)
    target = path.absolute()
    try:
        open_storage(str(target.parent)).write(target.name, text.encode(), create=not force)
    except FileExistsError:
        msg = f"{path} already exists"
        raise ConfigurationError(msg, remedy="Name another file, or use --force.") from None
    document: dict[str, object] = {"path": str(target)}
    shown: list[RenderableType] = []
    if found and proposal:
        document["open"] = [each.model_dump(mode="json") for each in proposal.open]
        document["preview"] = found.preview.model_dump(mode="json")
        shown += _questions(proposal)
        shown += _rows(found.preview, assumed=bool(proposal.open))
    key = "openssl rand -base64 48"
    shown.append(
        f"Wrote {path}. Its tokens need a key: export PII_HASH_KEY=$({key}), and keep it safe."
    )
    session.emit(document, *shown)


def _shown(found: Inspection) -> Iterator[RenderableType]:
    file = found.file
    part = "" if file.is_whole else ", the start of the file"
    yield f"{file.uri}: {file.kind}, {file.size:,} bytes, {file.rows:,} rows looked at{part}"
    if file.delimiter:
        header = "a header" if file.has_header else "no header"
        title = f", {file.title_lines} lines before it" if file.title_lines else ""
        yield (
            f"{file.encoding}; delimiter {delimiter_name(file.delimiter)}; "
            f"quote {file.quote or 'none'}; {header}{title}"
        )
    for warning in found.warnings:
        yield f"Note: {warning}"
    yield table(
        "Columns",
        ("name", "kind", "empty", "distinct", "example"),
        [
            (
                each.name,
                each.kind,
                f"{each.empty_share:.0%}",
                each.distinct,
                "(looks personal)" if each.is_personal else each.example,
            )
            for each in found.columns
        ],
    )
    proposal = found.proposal
    if proposal is not None:
        yield f"Proposed configuration:\n\n{proposal.yaml()}"
        yield from _questions(proposal)
    yield from _rows(found.preview, assumed=proposal is not None and bool(proposal.open))


def _questions(proposal: Proposal) -> Iterator[RenderableType]:
    """List what the file does not decide."""
    asked = proposal.open
    if not asked:
        yield "Nothing is left open: the file decides the rest."
        return
    lines = [f"Left open, for you to say ({len(asked)}):"]
    lines += [f"  {each.key}: {each.text} {each.without}" for each in asked]
    yield "\n".join(lines)


def _rows(preview: Preview, *, assumed: bool) -> Iterator[RenderableType]:
    how = " (by the first answer where nothing can be read without one)" if assumed else ""
    if preview.problem:
        yield f"It cannot be read so: {preview.problem}\n→ {preview.remedy}"
        return
    if preview.rows:
        names = [name for name in preview.rows[0] if any(row[name] for row in preview.rows)]
        rows = [[row[name] for name in names] for row in preview.rows]
        yield table(f"The first rows as they would be read{how}", names, rows)
    rejected = f"{preview.rows_rejected:,} of {preview.rows_read:,} rows would be rejected"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in preview.reasons.items())
    yield f"{rejected}: {reasons}" if reasons else rejected
    for warning in preview.warnings:
        yield f"Note: {warning}"
