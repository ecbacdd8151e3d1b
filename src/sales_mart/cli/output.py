"""What the commands print: data on stdout, everything else on stderr."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sales_mart.control_characters import escape_control_characters, escape_json
from sales_mart.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from pydantic import BaseModel
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = [
    "PipeClosed",
    "console",
    "fields_table",
    "open_streams",
    "print_bytes",
    "print_data",
    "print_json",
    "table",
]

_LONGEST_LIST = 6


def open_streams() -> None:
    """See that there are a stdout and a stderr, and that they take any text.

    A stream that the caller has closed leads nowhere; its number must not go to another file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class PipeClosed(BaseException):
    """Whoever read our stdout has closed it."""


def console(*, stderr: bool = False) -> Console:
    """Open a console that is plain when it is not a terminal, and honours `NO_COLOR`."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # Without a terminal a line is as long as it needs to be: a log or a pipe does not wrap.
    width = None if stream.isatty() else 200
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def print_json(document: object) -> None:
    """Print one JSON document on stdout.

    Raises:
        ConfigurationError: It cannot be written.
    """
    encoding = (sys.stdout.encoding or "utf-8").lower()
    text = escape_json(document, indent=2, only_ascii=not encoding.startswith("utf"))
    with _writing():
        sys.stdout.write(f"{text}\n")


def print_bytes(content: bytes) -> None:
    """Print a file on stdout as it is.

    Raises:
        ConfigurationError: It cannot be written.
    """
    with _writing():
        sys.stdout.flush()
        sys.stdout.buffer.write(content)


def print_data(*renderables: RenderableType) -> None:
    """Print text and tables on stdout.

    Raises:
        ConfigurationError: They cannot be written.
    """
    out = console()
    with _writing(), out.capture() as capture:
        for renderable in renderables:
            if isinstance(renderable, str):
                out.print(escape_control_characters(renderable), markup=False)
            else:
                out.print(renderable)
    lines = capture.get().splitlines()
    with _writing():
        for line in lines:
            sys.stdout.write(f"{line if out.is_terminal else line.rstrip()}\n")


@contextmanager
def _writing() -> Generator[None]:
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise PipeClosed from None
        msg = f"the output could not be written: {error.strerror}"
        raise ConfigurationError(
            msg, remedy="Make room where stdout goes, then run the command again."
        ) from error


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Iterable[object]],
    *,
    of_several_lines: bool = False,
) -> Table:
    """Build a table; numbers stand on the right. A line end is shown as one only if told so."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    made = Table(
        title=escape_control_characters(escape(title), on_one_line=True) or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if any(columns) else None,
        show_header=any(columns),
    )
    lines = [
        [
            escape(escape_control_characters(_text(cell), on_one_line=not of_several_lines))
            for cell in row
        ]
        for row in rows
    ]
    for ordinal, column in enumerate(columns):
        cells = [line[ordinal] for line in lines]
        numeric = bool(cells) and all(_is_number(cell) for cell in cells)
        shown = escape(escape_control_characters(column, on_one_line=True))
        made.add_column(shown, justify="right" if numeric else "left", no_wrap=numeric)
    for line in lines:
        made.add_row(*line)
    return made


def fields_table(title: str, record: BaseModel | Mapping[str, Any]) -> Table:
    """Show a record as names and values."""
    fields = dict(record)
    fields.pop("schema_version", None)
    return table(title, ("", ""), fields.items())


def _text(value: object) -> str:
    text = "-" if value is None or value in ({}, [], ()) else str(value)
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, dict) and value:
        text = ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    elif isinstance(value, list | tuple) and value:
        long = len(value) > _LONGEST_LIST or not all(isinstance(item, str) for item in value)
        text = f"{len(value):,}" if long else ", ".join(str(item) for item in value)
    return text


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "", 1).lstrip("-").isdigit()
