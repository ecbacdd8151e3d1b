"""The process around a command: its streams, its signals, its exit code, and what an error says."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from sales_mart import logs
from sales_mart.cli.output import PipeClosed, console, open_streams, print_json
from sales_mart.control_characters import escape_control_characters
from sales_mart.errors import ConfigurationError, SalesMartError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

__all__ = ["run_in_process"]

ERROR_FILE = "SALES_MART_ERROR_FILE"
USAGE, INTERRUPTED, TERMINATED, PIPE_CLOSED = 2, 130, 143, 141
_UNWIND_SECONDS = 10.0


class _Terminated(BaseException):
    """SIGTERM came: unwind, so that what is open is closed."""


def run_in_process(command: Callable[[], object], *, as_json: bool) -> int:
    """Call a command; return its exit code, after saying what went wrong.

    Args:
        command: What to do. An integer that it returns is the exit code.
        as_json: Whether an error is a JSON document on stdout.
    """
    open_streams()
    logs.configure()
    threading.excepthook = _thread_failed
    sys.unraisablehook = _close_failed
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    with _signals_unwind(), logs.at_step():
        try:
            _check_working_folder()
            result = command()
            code = result if isinstance(result, int) else 0
        except BaseException as error:  # noqa: BLE001 - a panic of a native library is no Exception
            code = _failed(error, as_json=as_json)
        if code in (INTERRUPTED, TERMINATED):
            word = "interrupted" if code == INTERRUPTED else "terminated"
            _report(as_json, code, word, "Run the same command again to go on.")
            _leave(code)
    return code


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Say that a thread failed; Python's own words would be the text of the exception."""
    kind = failure.exc_type.__name__
    logging.getLogger("sales_mart").debug(
        "unexpected %s in a thread", kind, exc_info=failure.exc_value
    )


def _close_failed(failure: sys.UnraisableHookArgs) -> None:
    """Say that an object could not be closed; Python's own words would show the object too."""
    kind = failure.exc_type.__name__
    logging.getLogger("sales_mart").debug(
        "unexpected %s on closing", kind, exc_info=failure.exc_value
    )


def _check_working_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        msg = "the current folder no longer exists"
        raise ConfigurationError(msg, remedy="Change to an existing folder.") from error


def _failed(error: BaseException, *, as_json: bool) -> int:
    """Say what an exception means, and give its exit code."""
    known: dict[type[BaseException], int] = {
        KeyboardInterrupt: INTERRUPTED,
        typer.Abort: INTERRUPTED,
        _Terminated: TERMINATED,
        PipeClosed: PIPE_CLOSED,
    }
    # An error on the way out, such as a file that is closed twice, hides why we were on it.
    first: BaseException | None = error
    while first is not None:
        if type(first) in known:
            return known[type(first)]
        first = first.__context__
    if isinstance(error, SalesMartError):
        _report(as_json, error.exit_code, error.message, error.remedy, error.details)
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return _unforeseen(error, as_json=as_json)


def _unforeseen(error: BaseException, *, as_json: bool) -> int:
    message = getattr(error, "format_message", None)
    if message is not None and getattr(error, "exit_code", None) == USAGE:
        # Typer keeps its usage errors private; without a message it has shown the help already.
        if message():
            path = getattr(getattr(error, "ctx", None), "command_path", "sales-mart")
            _report(as_json, USAGE, str(message()), f"See `{path} --help`.")
        return USAGE
    logging.getLogger("sales_mart").debug("unexpected", exc_info=error)
    _report(
        as_json,
        1,
        f"unexpected {type(error).__name__}: this is a bug",
        "Run it again with --log-level debug, and report the lines of code that it names.",
    )
    return 1


def _report(
    as_json: bool,
    code: int,
    message: str,
    remedy: str,
    details: dict[str, object] | None = None,
) -> None:
    """Say what went wrong: to a person, to a log collector, and to a program that reads JSON."""
    step = (details or {}).get("step")
    _tell_kubernetes(f"{step}: {message}" if step else message, remedy)
    if as_json:
        error = {"exit_code": code, "message": message, "remedy": remedy, "details": details or {}}
        try:
            print_json({"schema_version": 2, "error": error})
        except (PipeClosed, ConfigurationError):
            return
    if logs.in_json():
        extra = {"remedy": remedy, "exit_code": code, "details": details or {}}
        logging.getLogger("sales_mart").error(message, extra=extra)
        return
    from rich.text import Text

    err = console(stderr=True)
    err.print(Text.assemble(("error: ", "bold red"), escape_control_characters(message)))
    if remedy:
        err.print(Text.assemble(("  → ", "bold green"), escape_control_characters(remedy)))
    for key, value in (details or {}).items():
        if isinstance(value, str | int):
            err.print(
                Text.assemble((f"  {key}: ", "dim"), (escape_control_characters(str(value)), "dim"))
            )


def _tell_kubernetes(message: str, remedy: str) -> None:
    """Leave the message where Kubernetes looks for the reason why a container ended."""
    path = os.environ.get(ERROR_FILE)
    if path:
        text = f"{message} → {remedy}" if remedy else message
        with suppress(OSError):
            # Whoever looks at the pod reads it in a terminal.
            Path(path).write_text(
                escape_control_characters(text, on_one_line=True), encoding="utf-8"
            )


@contextmanager
def _signals_unwind() -> Generator[None]:
    """Unwind at the first SIGTERM or Ctrl-C, so that what is open is closed; leave at the second.

    What does not unwind in time, or swallows the exception, does not hold the process back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = threading.Event()

    def unwind(number: int, _frame: FrameType | None) -> NoReturn:
        code = 128 + number
        if told.is_set():
            os._exit(code)
        told.set()
        last = threading.Timer(_UNWIND_SECONDS, os._exit, (code,))
        last.daemon = True
        last.start()
        raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt

    # A shell that starts a job in the background has it ignore Ctrl-C; that stays so.
    heeded = [
        number
        for number in (signal.SIGTERM, signal.SIGINT)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, unwind) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(code: int) -> NoReturn:
    """End at once: threads that still talk to a server must not hold the process back."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os._exit(code)
