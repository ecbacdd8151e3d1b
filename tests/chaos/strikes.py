"""A process is killed, terminated or interrupted, and what it does then is judged."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .ledger import DBT, KILLS, Aim, Ledger

if TYPE_CHECKING:
    import random

    from .site import Site, Step

__all__ = ["Striker", "last_line"]

_TRIES = 4  # to strike a command before it ends
_BOUNDARY = 0.15  # share of strikes at the moment at which a stop leaves its record
_END_SECONDS = 15.0  # how long a process may take to end after SIGTERM or Ctrl-C


class Striker:
    """Strikes commands of a site, at moments that the dice choose."""

    def __init__(self, site: Site, dice: random.Random, ledger: Ledger) -> None:
        self.site = site
        self.dice = dice
        self.ledger = ledger
        self.seconds = defaultdict(lambda: 1.5, {"transform": 8.0})
        """How long each command takes: a guess, until it is measured."""

    def commands(self, aims: list[Aim], *arguments: str) -> None:
        """Strike a command again and again, each time later than the time before.

        So each of them strikes at work, not at a command that finds its work done.
        """
        for aim, share in zip(aims, sorted(self.dice.random() for _ in aims), strict=True):
            for _ in range(_TRIES):
                before = self.ledger.attempts[aim]
                step = self.site.start(*arguments)
                self._strike_in_command(step, aim, share, arguments)
                if self.ledger.attempts[aim] > before:
                    break
                share *= 0.8  # noqa: PLW2901 - it had ended before

    def run(self, aim: Aim, *arguments: str) -> None:
        """Strike `run` in a stop: at its first instant, or some time after it."""
        step = self.site.start(*arguments)
        if aim.stop == "plan":
            instant = step.begun + self.dice.uniform(0.0, 1.5)
            step.wait_until(lambda: time.monotonic() >= instant)
        else:
            # All loads begin when the input is sealed.
            stops = self.site.stops
            loads = {each for each in stops if each.startswith("load-")}
            last = {"seal"} if aim.stop in loads else {stops[stops.index(aim.stop) - 1]}
            before = max(loads, last)
            step.wait_until(lambda: before <= set(step.done()))
            if aim.how == DBT:
                self._strike_dbt(step, aim, self.dice.random())
                return
            if self.dice.random() < 0.7:
                seconds = self.seconds[aim.stop] * self.dice.uniform(0, 0.7)
                instant = time.monotonic() + seconds
                step.wait_until(lambda: time.monotonic() >= instant)
        self._strike(step, aim)

    def outlive(self, seconds: float) -> list[str]:
        """Name the processes that are alive so long after their run."""
        deadline = time.monotonic() + seconds
        while (alive := self.site.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return alive

    def _strike_in_command(
        self, step: Step, aim: Aim, share: float, arguments: tuple[str, ...]
    ) -> None:
        if aim.how == DBT:
            self._strike_dbt(step, aim, share)
            return
        if share > 1 - _BOUNDARY and "--run-id" in arguments:
            # The boundary: the very moment at which the stop's record appears.
            name = "validate-00000" if aim.stop == "validate" else aim.stop
            path = self.site.lake / "runs" / arguments[-1] / f"{name}.json"
            before = _changed(path)
            step.wait_until(lambda: _changed(path) != before)
        else:
            instant = step.begun + self.seconds[aim.stop] * share
            step.wait_until(lambda: time.monotonic() >= instant)
        self._strike(step, aim)

    def _strike_dbt(self, step: Step, aim: Aim, share: float) -> None:
        """Kill dbt's processes, or one of them; the parent has to say that a retry may help."""
        step.wait_until(lambda: bool(self.site.dbt_children()))
        instant = time.monotonic() + self.seconds[aim.stop] * share * 0.8
        step.wait_until(lambda: time.monotonic() >= instant)
        children = self.site.dbt_children()
        if not children or not step.is_running:
            step.end()
            return
        for child in children if self.dice.random() < 0.5 else children[:1]:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.ledger.count(aim)
        code = step.end()
        if code not in (0, 75):  # 0: the child had done its work
            text = f"dbt was killed, {aim.stop} ended with {code}: {last_line(step)}"
            self.ledger.blame(aim, text)

    def _strike(self, step: Step, aim: Aim) -> None:
        if not step.is_running:
            self._expect(step, step.end(), (0,), aim)
            return
        self.ledger.count(aim)
        if aim.how in KILLS:
            step.signal(signal.SIGKILL, group=aim.how == "kill group")
            step.end()
        else:
            self._signal(step, aim)

    def _signal(self, step: Step, aim: Aim) -> None:
        number = signal.SIGTERM if aim.how == "terminate" else signal.SIGINT
        is_starting = not _heeds_signals(step)
        begun = time.monotonic()
        step.signal(number, group=number == signal.SIGINT)
        if aim.how == "interrupt twice":
            time.sleep(self.dice.uniform(0, 0.5))
            step.signal(number, group=True)
        code = step.end()
        seconds = time.monotonic() - begun
        # Before it heeds signals the system ends it: a shell reports the same codes. And before
        # the first line of ours, Python itself may say that it was interrupted.
        in_python = is_starting and "sales_mart/cli" not in step.stderr
        early = (*((-number,) if is_starting else ()), *((1,) if in_python else ()))
        self._expect(step, code, (0, 128 + number, *early), aim)
        where = f"{aim.how} in {aim.stop}"
        if seconds > _END_SECONDS:
            self.ledger.blame(aim, f"{where}: it took {seconds:.0f} s to end")
        if aim.how != "interrupt twice" and code == 128 + number:
            # A dbt that was just being started ends when it finds its parent gone.
            alive = self.outlive(_END_SECONDS)
            if alive:
                self.ledger.blame(aim, f"{where}: left behind: {'; '.join(alive)}")
        if "Traceback" in step.stderr and not in_python:
            self.ledger.blame(aim, f"{where}: a stack trace: {step.stderr[-400:]}")

    def _expect(self, step: Step, code: int, codes: tuple[int, ...], aim: Aim) -> None:
        if code not in codes:
            text = f"{aim.how} in {aim.stop}: exit code {code}: {last_line(step)}"
            self.ledger.blame(aim, text)


def last_line(step: Step) -> str:
    """Give the end of what a command logged last."""
    lines = step.stderr.strip().splitlines()
    return lines[-1][-700:] if lines else "it said nothing"


def _heeds_signals(step: Step) -> bool:
    """Tell whether the process has put its handlers in place: SIGTERM is caught."""
    with suppress(OSError):
        for line in Path("/proc", str(step.process.pid), "status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return True


def _changed(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
