"""What every command shares: its common options, configuration, lake, run, and its output."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import typer
from typer.core import TyperCommand

from sales_mart import logs
from sales_mart.cli.output import fields_table, print_data, print_json
from sales_mart.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel
    from rich.console import RenderableType

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

__all__ = ["LakeCommand", "RunCommand", "Session", "SessionCommand", "given"]


@dataclass
class Session:
    """One command's common options, and what follows from them."""

    step: str
    config_file: str | None
    output: str
    log_level: str
    log_format: str | None
    quiet: bool
    lake_option: str | None = None
    run_id: str | None = None
    overrides: dict[str, object] = field(default_factory=dict[str, object])

    @property
    def as_json(self) -> bool:
        """Whether stdout takes exactly one JSON document."""
        return self.output == "json"

    @cached_property
    def loaded(self) -> tuple[Config, dict[str, str]]:
        """The configuration, with the options of the command line over it, and its origins."""
        from sales_mart.config.file import load_with_origins

        lake = {} if self.lake_option is None else {"data_lake.lake": self.lake_option}
        return load_with_origins(self.config_file, {**self.overrides, **lake})

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.loaded[0]

    @property
    def lake(self) -> str:
        """Address of the lake.

        Raises:
            ConfigurationError: Nothing names one.
        """
        lake = self.config.lake
        if lake is None:
            msg = "no lake is given to keep the run in"
            raise ConfigurationError(msg, remedy="Use --lake, or set data_lake.lake.")
        return lake

    def run(self) -> RunFolder:
        """Open the run that `--run-id` names.

        Raises:
            ConfigurationError: Nothing names a run.
        """
        from sales_mart.lake.runs import RunFolder

        if self.run_id is None:
            msg = f"{self.step} needs a run, and none is given"
            raise ConfigurationError(
                msg, remedy="Use --run-id with the run_id that `sales-mart plan` printed."
            )
        return RunFolder(self.lake, self.run_id)

    def targets(self, chosen: Sequence[str] | None) -> tuple[str, ...]:
        """Give the targets to work on: those chosen, else the configuration's.

        Raises:
            ConfigurationError: A name is no warehouse's.
        """
        from sales_mart.warehouses.base import names

        listed = [name.strip() for each in chosen or () for name in each.split(",")]
        unknown = [name for name in listed if name and name not in names()]
        if unknown:
            msg = f"{unknown[0]!r} is not a warehouse"
            raise ConfigurationError(msg, remedy=f"The warehouses are {', '.join(names())}.")
        known = tuple(name for name in names() if name in listed)
        return known or self.config.data_warehouse.targets

    def hand_over(self, folder: str | None, values: Mapping[str, object]) -> None:
        """Write values into files of their names, for a workflow to pass on; lists as JSON.

        Raises:
            ConfigurationError: The folder is not writable.
        """
        if folder is None:
            return
        from sales_mart.lake.storage import open_storage

        storage = open_storage(folder)
        for name, value in values.items():
            text = json.dumps(value) if isinstance(value, list) else str(value)
            storage.write(name, text.encode())

    def emit(self, document: BaseModel | dict[str, Any], *text: RenderableType) -> None:
        """Print the command's result: the document, or the text made for people."""
        if self.as_json:
            dumped = document if isinstance(document, dict) else document.model_dump(mode="json")
            print_json({"schema_version": 2, **dumped})
        elif text:
            print_data(*text)
        else:
            print_data(fields_table(self.step, document))


def _options_of_all(
    config_file: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="Configuration file. Default: $SALES_MART_CONFIG, else pipeline_config.yaml.",
        ),
    ] = None,
    output: Annotated[
        Literal["text", "json"],
        typer.Option("--output", "-o", help="Text, or exactly one JSON document on stdout."),
    ] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option("--log-level", help="Least severe log line to show."),
    ] = "info",
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(
            "--log-format",
            envvar="SALES_MART_LOG_FORMAT",
            help="Log lines for a person or as JSON. Default: text on a terminal, else json.",
        ),
    ] = None,
    *,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No progress; log only errors and unkeyed tokens."),
    ] = False,
) -> None:
    """The options of every command, by the fields of `Session`."""


def _option_of_a_lake(
    lake_option: Annotated[
        str | None,
        typer.Option("--lake", metavar="PLACE", help="Folder or bucket prefix of the runs."),
    ] = None,
) -> None:
    """One more option of a command that looks into a lake."""


def _option_of_a_run(
    run_id: Annotated[str | None, typer.Option("--run-id", help="Name of the run.")] = None,
) -> None:
    """One more option of a command about a run."""


def _parameters(function: Callable[..., None]) -> list[Any]:
    """Read the options that a function declares, as Typer reads those of a command."""
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return list(typer.main.get_command(app).params)


class SessionCommand(TyperCommand):
    """A command with the options that all share; its function finds the `Session` in `ctx.obj`."""

    shared: ClassVar[list[Any]] = _parameters(_options_of_all)

    def __init__(self, *arguments: Any, params: list[Any], **options: Any) -> None:
        super().__init__(*arguments, params=[*params, *self.shared], **options)

    def invoke(self, ctx: Any) -> Any:
        """Make the session of the shared options, then run the command with its own."""
        values = {each.name: ctx.params.pop(each.name) for each in self.shared}
        session = ctx.obj = Session(ctx.info_name, **values)
        as_json = None if session.log_format is None else session.log_format == "json"
        logs.configure("error" if session.quiet else session.log_level, as_json=as_json)
        logs.begin(session.step, session.run_id)
        return super().invoke(ctx)


class LakeCommand(SessionCommand):
    """A command that may look into a lake, and is about no run: with `--lake` too."""

    shared: ClassVar[list[Any]] = [*_parameters(_option_of_a_lake), *SessionCommand.shared]


class RunCommand(SessionCommand):
    """A command about a run: with `--lake` and `--run-id` too."""

    shared: ClassVar[list[Any]] = [
        *_parameters(_option_of_a_lake),
        *_parameters(_option_of_a_run),
        *SessionCommand.shared,
    ]


def given(values: list[str] | None) -> list[str] | None:
    """Leave out what is empty; None when nothing is left. A list in JSON stands for its texts."""
    return [text for each in values or () for text in _texts(each) if text] or None


def _texts(value: str) -> list[str]:
    """Return the texts of a list, as a workflow passes them on, or the one text."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    listed = cast("list[object]", found) if isinstance(found, list) else []
    texts = [each for each in listed if isinstance(each, str)]
    return texts if texts and len(texts) == len(listed) else [value]
