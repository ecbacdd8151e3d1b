"""How far the steps are, on a terminal; elsewhere the log tells of them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sales_mart import logs
from sales_mart.cli.output import console
from sales_mart.progress import Progress, measured

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.progress import Progress as Bars

    from sales_mart.cli.session import Session
    from sales_mart.steps.pipeline import StepEvent

__all__ = ["one_step", "showing"]


@contextmanager
def showing(session: Session) -> Generator[Callable[[StepEvent], None] | None]:
    """Show the steps of a run while they work; yields what is to be told of them."""
    with _bars(session) as bars:
        if bars is None:
            yield None
            return
        running: dict[str, Any] = {}

        def show(event: StepEvent) -> None:
            if event.state == "begun":
                running[event.step] = _begun(bars, event.step)
                return
            number = running[event.step]
            if event.progress is not None:
                _moved(bars, number, event.progress)
            elif event.state == "ended":
                bars.update(number, total=1, completed=1)
            else:
                bars.update(number, description=f"{event.step} failed")
                bars.stop_task(number)

        yield show


@contextmanager
def one_step(session: Session, name: str) -> Generator[None]:
    """Show how far the one step of a command is."""
    with _bars(session) as bars:
        if bars is None:
            with measured(lambda _: None):
                yield
            return
        number = _begun(bars, name)
        with measured(lambda progress: _moved(bars, number, progress)):
            yield
        bars.update(number, total=1, completed=1)


@contextmanager
def _bars(session: Session) -> Generator[Bars | None]:
    """Yield what shows them; None off a terminal, or where nobody wants to see them."""
    if session.quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    if session.log_level == "info":  # the bars say the same
        logs.set_level("warning")
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}", markup=False, table_column=Column(no_wrap=True)),
    )
    with Bars(*columns, console=console(stderr=True)) as bars:
        yield bars


def _begun(bars: Bars, step: str) -> Any:
    return bars.add_task(step, total=None, told="")


def _moved(bars: Bars, number: Any, progress: Progress) -> None:
    # Done is what the step says when it ends: much of it may come after its last row.
    share = min(progress.share, 0.999)
    left = f", {progress.seconds_left:,.0f} s left" if progress.done < progress.total else ""
    bars.update(number, total=1, completed=share, told=f"{progress}{left}")
