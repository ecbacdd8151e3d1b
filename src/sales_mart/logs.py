"""Logs: JSON lines with `run_id` and `step` for machines, short lines for a person at a terminal.

The library only speaks through `logging.getLogger("sales_mart")`; the command line calls
`configure`. An exception is logged by its type and its place in the code, never by its text, which
may quote a row.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO, TypeVar

from sales_mart.control_characters import escape_control_characters, escape_json
from sales_mart.errors import BY_SEVERITY, SalesMartError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["at_step", "begin", "configure", "in_json", "most_severe", "set_level"]

E = TypeVar("E", bound=BaseException)

_run_id: ContextVar[str | None] = ContextVar("run_id", default=None)
_step: ContextVar[str | None] = ContextVar("step", default=None)

# Tokens that can be undone are no matter of taste: said whatever the level, once for a command.
_ALWAYS = "sales_mart.rows.tokens"

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextmanager
def at_step(step: str | None = None, run_id: str | None = None) -> Generator[None]:
    """Name the step and the run in every log line of the context (and of this thread only)."""
    tokens = (
        _step.set(step if step is not None else _step.get()),
        _run_id.set(run_id if run_id is not None else _run_id.get()),
    )
    try:
        yield
    finally:
        _step.reset(tokens[0])
        _run_id.reset(tokens[1])


def most_severe(errors: Sequence[E]) -> E:
    """Return the one to raise of the errors of work done side by side, and log the others.

    What is none of ours is a bug; of two that are as severe it is the first.
    """
    chosen = min(errors, key=lambda error: BY_SEVERITY.index(getattr(error, "exit_code", 1)))
    logger = logging.getLogger("sales_mart")
    for error in errors:
        if error is chosen:
            continue
        if isinstance(error, SalesMartError):
            extra = {"remedy": error.remedy, "exit_code": error.exit_code, "details": error.details}
            logger.error("%s", error.message, extra=extra)
        else:
            logger.error("unexpected %s", type(error).__name__)
    return chosen


def begin(step: str, run_id: str | None = None) -> None:
    """Name the step and the run in every log line from here on (of this thread only)."""
    _step.set(step)
    _run_id.set(run_id)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "run_id": _run_id.get(),
            "step": _step.get(),
            "message": record.getMessage(),
        }
        line.update(_extra(record))
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = type(record.exc_info[1]).__name__
            line["traceback"] = _places(record.exc_info[1])
        return escape_json(line)


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = [f"{record.levelname.lower()}:" if record.levelno >= logging.WARNING else ""]
        parts.append(f"{step}:" if (step := _step.get()) else "")
        parts.append(record.getMessage())
        lines = [" ".join(part for part in parts if part)]
        if record.exc_info and record.exc_info[1] is not None:
            lines.append(f"  {type(record.exc_info[1]).__name__}")
            lines += [f"    {place}" for place in _places(record.exc_info[1])]
        return escape_control_characters("\n".join(lines))


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _OWN_FIELDS}


def _places(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


class _ToStderr(logging.Handler):
    """Writes to what `sys.stderr` is at the moment: a progress display takes its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - logging never ends the program
            self.handleError(record)


class _Once(logging.Filter):
    """Lets a warning that every step gives through the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != _ALWAYS:
            return True
        message = record.getMessage()
        new = message not in self._said
        self._said.add(message)
        return new


def configure(
    level: str = "info", *, as_json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send the logs of sales_mart to `stream`, and those of other libraries nowhere.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        as_json: JSON lines, or lines for a person; None decides by whether `stream` is a terminal.
        stream: Where to write; None is standard error.
    """
    as_json = not (stream or sys.stderr).isatty() if as_json is None else as_json
    handler = _ToStderr() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(_Json() if as_json else _Human())
    handler.addFilter(_Once())
    logger = logging.getLogger("sales_mart")
    logger.handlers = [handler]
    logger.propagate = False
    set_level(level)
    # Without a handler, warnings of other libraries would reach standard error, values and all.
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())


def set_level(level: str) -> None:
    """Show log lines from this level on: `debug`, `info`, `warning` or `error`."""
    logger = logging.getLogger("sales_mart")
    logger.setLevel(level.upper())
    logging.getLogger(_ALWAYS).setLevel(min(logger.level, logging.WARNING))


def in_json() -> bool:
    """Whether the logs of sales_mart are lines of JSON."""
    handlers = logging.getLogger("sales_mart").handlers
    return any(isinstance(handler.formatter, _Json) for handler in handlers)
