"""Tools: questions to the marts, test data, the configuration, a look at the setting."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sales_mart.cli.local import DEFAULT_DATA_DIR, DataDir, Local, on_local_servers
from sales_mart.cli.output import print_data, print_json, table
from sales_mart.cli.session import LakeCommand, RunCommand, Session, SessionCommand
from sales_mart.cli.steps import BusinessDate, Destination, Targets
from sales_mart.errors import ConfigurationError

__all__ = ["add_to"]

PANEL = "Tools"

config_app = typer.Typer(
    help="Show the configuration, its schema, or what the chart takes from it.",
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("top", cls=SessionCommand, rich_help_panel=PANEL)(_top)
    app.command("report", cls=LakeCommand, rich_help_panel=PANEL)(_report)
    app.command("verify", cls=LakeCommand, rich_help_panel=PANEL)(_verify)
    app.command("generate", cls=SessionCommand, rich_help_panel=PANEL)(_generate)
    app.command("doctor", cls=RunCommand, rich_help_panel=PANEL)(_doctor)
    app.add_typer(config_app, name="config", rich_help_panel=PANEL)
    config_app.command("show", cls=SessionCommand)(_show)
    config_app.command("schema", cls=SessionCommand)(_schema)
    config_app.command("values", cls=SessionCommand)(_values)


def _generate(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="CSV file; compressed if its name ends with .gz or .zst.")
    ],
    *,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Rows of data.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same file.")] = 0,
    valid_share: Annotated[
        float, typer.Option("--valid-share", min=0, max=1, help="Exact share of valid rows.")
    ] = 0.9,
    start: Annotated[
        datetime, typer.Option("--start", formats=["%Y-%m-%d"], help="First sale date.")
    ] = datetime(2023, 10, 1),  # noqa: DTZ001 - a constant, and a calendar day
    days: Annotated[int, typer.Option("--days", min=1, help="Sale dates from the first.")] = 92,
    products: Annotated[int, typer.Option("--products", min=1, help="Distinct products.")] = 12,
) -> None:
    """Write synthetic transactions, exact in how many of them are valid."""
    from sales_mart.synthetic.generate import generate, write

    session: Session = ctx.obj
    config, _ = session.loaded
    chunks = generate(
        rows,
        seed=seed,
        valid_share=valid_share,
        start=start.date(),
        days=days,
        products=products,
        config=config,
    )
    size = write(path, chunks)
    session.emit({"path": str(path.absolute()), "rows": rows, "bytes": size})


def _top(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    *,
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="Month of sale.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many products.")] = 5,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="NAME", help="Warehouse to ask. Default: the first."),
    ] = None,
    local: Local = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show the best products of a month, by amount."""
    from sales_mart.steps.top import top

    session: Session = ctx.obj
    with on_local_servers(session, data_dir) if local else nullcontext():
        chosen = session.targets([target] if target else None)[0]
        rows = top(session.config, month, limit, chosen)
    session.emit(
        {"month": month, "target": chosen, "products": rows},
        table(
            f"Best products of {month} ({chosen})",
            list(rows[0]) if rows else [],
            [list(row.values()) for row in rows],
        ),
    )


def _report(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN_ID", help="Name of the run. Default: the exported one."),
    ] = None,
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FILE", help="File to write. Default: beside its export."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Write the report of a run again; no warehouse is asked.

    Example: sales-mart report --open
    """
    from sales_mart.steps.report import write_report

    session: Session = ctx.obj
    written = write_report(session.config, session.lake, run, to)
    session.emit({"path": written}, written)
    if show:
        _open(written)


def _open(file: str) -> None:
    import webbrowser

    if "://" in file:
        msg = f"{file} is not on this computer"
        raise ConfigurationError(msg, remedy="Use --to FILE with a path.")
    if not webbrowser.open(Path(file).as_uri()):
        msg = f"no browser was found to open {file}"
        raise ConfigurationError(msg, remedy="Open the file yourself.")


def _verify(
    ctx: typer.Context,
    *,
    target: Targets = None,
    destination: Destination = None,
    local: Local = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Compare the published marts with the raw tables, with each other and with their export."""
    from sales_mart.steps.verify import verify

    session: Session = ctx.obj
    with on_local_servers(session, data_dir) if local else nullcontext():
        config = session.config
        found = verify(
            config,
            session.targets(target),
            lake=config.lake,
            destination=destination or None,
        )
    marks = {"ok": "ok", "failed": "FAILED", "skipped": "skipped"}
    rows = [
        (marks[each.status], each.name, "\n→ ".join(filter(None, (each.message, each.remedy))))
        for each in found.checks
    ]
    session.emit(found, table("", ("", "check", "finding"), rows, of_several_lines=True))
    raise typer.Exit(found.exit_code)


def _doctor(
    ctx: typer.Context,
    *,
    business_date: BusinessDate = None,
    values: Annotated[
        Path | None, typer.Option("--values", help="Values of the chart, to compare with.")
    ] = None,
) -> None:
    """Check configuration, key, warehouses, lake, source and versions."""
    from sales_mart.steps.doctor import examine

    session: Session = ctx.obj
    chart = None
    if values is not None:
        from sales_mart.config.yaml import read_plain

        chart = read_plain(values)
    report = examine(lambda: session.loaded, business_date or None, chart)
    marks = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}
    rows = [
        (marks[each.status], each.name, "\n→ ".join(filter(None, (each.message, each.remedy))))
        for each in report.checks
    ]
    session.emit(report, table("", ("", "check", "finding"), rows, of_several_lines=True))
    raise typer.Exit(report.exit_code)


def _show(ctx: typer.Context) -> None:
    """Show every key: its value (never a secret's) and where it came from."""
    from sales_mart.config.report import effective, logins
    from sales_mart.rows.tokens import warn_of_plain_tokens

    session: Session = ctx.obj
    config, origins = session.loaded
    warn_of_plain_tokens(config)
    rows = effective(config, origins)
    cells = [
        (row["key"], _shown(row), row["origin"] + _without_effect(row["effect"])) for row in rows
    ]
    known = logins(config)
    for title, login in known.values():
        cells.append((f"({title} connects as)", login["user"], login["origin"]))
    session.emit(
        {
            "digest": config.digest,
            **{f"{name}_login": login for name, (_, login) in known.items()},
            "keys": rows,
        },
        table("", ("key", "value", "origin"), cells),
    )


def _shown(row: dict[str, Any]) -> object:
    if row["effect"] == "none":
        return "ignored"
    value = row["value"]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _without_effect(effect: str) -> str:
    return {"none": " (no effect)", "chart": " (chart only)"}.get(effect, "")


def _schema() -> None:
    """Print the JSON Schema of the configuration."""
    from sales_mart.config.keys import schema

    print_json(schema())


def _values(ctx: typer.Context) -> None:
    """Print what the Helm chart's values take from the configuration."""
    import yaml

    from sales_mart.config.report import chart_values

    session: Session = ctx.obj
    values = chart_values(session.config)
    if session.as_json:
        print_json(values)
    else:
        print_data(yaml.safe_dump(values, sort_keys=False).rstrip())
