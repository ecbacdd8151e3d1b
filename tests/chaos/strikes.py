"""A process is killed, terminated or interrupted, and what it does then is checked."""

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

    from .site import Running, Site

__all__ = ["Striker", "last_line"]

_TRIES = 4  # to strike a command before it ends
_BOUNDARY = 0.15  # share of strikes at the moment at which a step leaves its record
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
                running = self.site.start(*arguments)
                self._strike_in_command(running, aim, share, arguments)
                if self.ledger.attempts[aim] > before:
                    break
                share *= 0.8  # noqa: PLW2901 - it had ended before

    def run(self, aim: Aim, *arguments: str) -> None:
        """Strike `run` in a step: at its first instant, or some time after it."""
        running = self.site.start(*arguments)
        if aim.step == "plan":
            instant = running.begun + self.dice.uniform(0.0, 1.5)
            running.wait_until(lambda: time.monotonic() >= instant)
        else:
            # All loads begin when the input is sealed.
            steps = self.site.steps
            loads = {each for each in steps if each.startswith("load-")}
            last = {"seal"} if aim.step in loads else {steps[steps.index(aim.step) - 1]}
            before = max(loads, last)
            running.wait_until(lambda: before <= set(running.done()))
            if aim.how == DBT:
                self._strike_dbt(running, aim, self.dice.random())
                return
            if self.dice.random() < 0.7:
                seconds = self.seconds[aim.step] * self.dice.uniform(0, 0.7)
                instant = time.monotonic() + seconds
                running.wait_until(lambda: time.monotonic() >= instant)
        self._strike(running, aim)

    def outlive(self, seconds: float) -> list[str]:
        """Name the processes that are alive so long after their run."""
        deadline = time.monotonic() + seconds
        while (alive := self.site.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return alive

    def _strike_in_command(
        self, running: Running, aim: Aim, share: float, arguments: tuple[str, ...]
    ) -> None:
        if aim.how == DBT:
            self._strike_dbt(running, aim, share)
            return
        if share > 1 - _BOUNDARY and "--run-id" in arguments:
            # The boundary: the very moment at which the step's record appears.
            name = "validate-00000" if aim.step == "validate" else aim.step
            path = self.site.lake / "runs" / arguments[-1] / f"{name}.json"
            before = _changed(path)
            running.wait_until(lambda: _changed(path) != before)
        else:
            instant = running.begun + self.seconds[aim.step] * share
            running.wait_until(lambda: time.monotonic() >= instant)
        self._strike(running, aim)

    def _strike_dbt(self, running: Running, aim: Aim, share: float) -> None:
        """Kill dbt's processes, or one of them; the parent has to say that a retry may help."""
        running.wait_until(lambda: bool(self.site.dbt_children()))
        instant = time.monotonic() + self.seconds[aim.step] * share * 0.8
        running.wait_until(lambda: time.monotonic() >= instant)
        children = self.site.dbt_children()
        if not children or not running.is_running:
            running.end()
            return
        for child in children if self.dice.random() < 0.5 else children[:1]:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.ledger.count(aim)
        code = running.end()
        if code not in (0, 75):  # 0: the child had done its work
            text = f"dbt was killed, {aim.step} ended with {code}: {last_line(running)}"
            self.ledger.blame(aim, text)

    def _strike(self, running: Running, aim: Aim) -> None:
        if not running.is_running:
            self._expect(running, running.end(), (0,), aim)
            return
        self.ledger.count(aim)
        if aim.how in KILLS:
            running.signal(signal.SIGKILL, group=aim.how == "kill group")
            running.end()
        else:
            self._signal(running, aim)

    def _signal(self, running: Running, aim: Aim) -> None:
        number = signal.SIGTERM if aim.how == "terminate" else signal.SIGINT
        is_starting = not _heeds_signals(running)
        begun = time.monotonic()
        running.signal(number, group=number == signal.SIGINT)
        if aim.how == "interrupt twice":
            time.sleep(self.dice.uniform(0, 0.5))
            running.signal(number, group=True)
        code = running.end()
        seconds = time.monotonic() - begun
        # Before it heeds signals the system ends it: a shell reports the same codes. And before
        # the first line of ours, Python itself may say that it was interrupted.
        in_python = is_starting and "sales_mart/cli" not in running.stderr
        early = (*((-number,) if is_starting else ()), *((1,) if in_python else ()))
        self._expect(running, code, (0, 128 + number, *early), aim)
        where = f"{aim.how} in {aim.step}"
        if seconds > _END_SECONDS:
            self.ledger.blame(aim, f"{where}: it took {seconds:.0f} s to end")
        if aim.how != "interrupt twice" and code == 128 + number:
            # A dbt that was just being started ends when it finds its parent gone.
            alive = self.outlive(_END_SECONDS)
            if alive:
                self.ledger.blame(aim, f"{where}: left behind: {'; '.join(alive)}")
        if "Traceback" in running.stderr and not in_python:
            self.ledger.blame(aim, f"{where}: a stack trace: {running.stderr[-400:]}")

    def _expect(self, running: Running, code: int, codes: tuple[int, ...], aim: Aim) -> None:
        if code not in codes:
            text = f"{aim.how} in {aim.step}: exit code {code}: {last_line(running)}"
            self.ledger.blame(aim, text)


def last_line(running: Running) -> str:
    """Give the end of what a command logged last."""
    lines = running.stderr.strip().splitlines()
    return lines[-1][-700:] if lines else "it said nothing"


def _heeds_signals(running: Running) -> bool:
    """Tell whether the process has put its handlers in place: SIGTERM is caught."""
    with suppress(OSError):
        for line in Path("/proc", str(running.process.pid), "status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return True


def _changed(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
