"""The command line: every step of the pipeline, the whole pipeline, and the tools around it."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import typer

from sales_mart.cli import api, descriptions, inspect, local, quarantine, steps, tools, workflow
from sales_mart.cli import run as pipeline
from sales_mart.cli.process import run_in_process

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "main"]

app = typer.Typer(
    name="sales-mart",
    help="Raw sales transactions into the same trusted sales mart in PostgreSQL and BigQuery.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    *(pipeline, steps, inspect, quarantine, tools, descriptions, local, api, workflow),
):
    commands.add_to(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code; see `sales_mart.errors` for what the codes mean."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    return run_in_process(
        lambda: app(args=given, prog_name="sales-mart", standalone_mode=False),
        as_json=_wants_json(given),
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        from sales_mart import __version__

        typer.echo(f"sales-mart {__version__}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


def _wants_json(arguments: Sequence[str]) -> bool:
    """Tell whether errors have to be JSON, even when the arguments cannot be understood."""
    joined = {"--output=json", "-ojson"}
    apart = {("--output", "json"), ("-o", "json")}
    return not joined.isdisjoint(arguments) or not apart.isdisjoint(pairwise(arguments))
