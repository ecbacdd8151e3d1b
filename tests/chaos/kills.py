"""Processes that are killed, terminated and interrupted at any moment, then started again."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sales_mart.local import local_servers

from .readers import Readers, State, polling
from .site import STORY, Input, Site, Step
from .table import Row

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from sales_mart.local import LocalServers

__all__ = ["STOPS", "WAYS", "Aim", "Campaign", "kills", "rows_of", "say", "servers_and_folder"]

STOPS = (
    *("plan", "validate", "seal", "load-postgres", "load-bigquery", "transform", "reconcile"),
    *("publish", "export"),
)
KILLS = ("kill", "kill group")
CLEAN = ("terminate", "interrupt", "interrupt twice")
DBT = "kill dbt"
WAYS: dict[str, tuple[str, ...]] = {
    stop: (*KILLS, *CLEAN, *((DBT,) if stop == "transform" else ())) for stop in STOPS
}
"""How each stop is struck."""
_SECONDS = {"transform": 8.0}  # the first guess of how long a command takes; then it is measured
_ALONE = 0.75  # share of walks by single commands, whose strikes cost less time than those of `run`
_TRIES = 4  # to strike a command before it ends
_STRIKES = 3  # of each command in such a walk
_END_SECONDS = 15.0  # how long a process may take to end after SIGTERM or Ctrl-C
_ORPHAN_SECONDS = 30.0  # how long dbt may take to end after its parent


class Aim(NamedTuple):
    """Where a process is struck, and how."""

    stop: str
    how: str


class Campaign:
    """Walks the inputs in turn, strikes, verifies after each, and keeps count."""

    def __init__(self, servers: LocalServers, folder: Path, seed: int, rows: int = 2_000) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - not a secret
        self.site = Site(servers, folder, seed, rows)
        self.attempts: Counter[Aim] = Counter()
        self.found: dict[Aim, list[str]] = defaultdict(list)
        self.other: list[str] = []
        self.looks: Counter[str] = Counter()
        self.episodes = 0
        self._struck: list[Aim] = []
        self._seconds: dict[str, float] = dict(_SECONDS)
        self.states: dict[Input, State] = {}
        self._records: dict[Input, dict[str, object]] = {}
        self._files: dict[Input, set[str]] = {}
        self.run_ids: dict[Input, str] = {}
        self._relations: list[set[str]] = []

    # --- what an undisturbed run gives

    def rehearse(self) -> None:
        """Walk the story undisturbed, and note what each run leaves."""
        for item in STORY:
            run_id = self.site.plan(item)
            step = self.site.start("run", *self.site.run_options(item))
            assert step.end() == 0, step.stderr
            self.run_ids[item] = run_id
            self.states[item] = self.state()
            self._records[item] = self.site.records(run_id)
            self._files[item] = self._listing(run_id)
            self._relations.append(self.site.relations())
            say(f"undisturbed: {item.name} {item.day}")
        assert len({state.postgres for state in self.states.values()}) == len(STORY)

    def state(self) -> State:
        """Look at everything that readers see."""
        return State(self.site.postgres(), self.site.bigquery(), self.site.exported())

    def _listing(self, run_id: str) -> set[str]:
        folder = self.site.lake / "runs" / run_id
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return files - {"run.json"}

    # --- one input, struck again and again

    def episode(self, readers: Readers, item: Input, aims: list[Aim], *, alone: bool) -> None:
        """Walk an input while it is struck; then let it end, and verify."""
        self.episodes += 1
        self._struck = []
        self.site.forget(self.run_ids[item])
        readers.announce(self.states[item])
        if alone:
            self.walk_stops(item, aims)
        else:
            for aim in aims:
                self._struck_run(item, aim)
            self._finish("run", *self.site.run_options(item))
        self._verify(item)
        self._complain(readers.complaints())

    def abandon(self, readers: Readers, item: Input, aim: Aim) -> None:
        """Strike a run and never start it again: another input comes next."""
        self._struck = []
        self.site.forget(self.run_ids[item])
        readers.announce(self.states[item])
        self._struck_run(item, aim)
        self._complain(readers.complaints())

    def _finish(self, *arguments: str) -> None:
        """Run a command to its end; a lock that a struck process still holds is worth a retry."""
        codes: list[int] = []
        while True:
            step = self.site.start(*arguments)
            codes.append(step.end())
            if codes[-1] == 0:
                return
            if codes[-1] != 75 or len(codes) > 2:
                self._complain([f"{arguments[0]} ended with {codes}: {_last(step)}"])
                return

    def walk_stops(self, item: Input, aims: list[Aim]) -> None:
        """Walk an input by the commands of its stops, each struck before it is let to its end."""
        for stop in STOPS:
            command = tuple(stop.split("-"))
            if stop == "plan":
                options = self.site.run_options(item)
            else:
                options = ("--run-id", self.run_ids[item])
            for aim in aims:
                if aim.stop == stop:
                    self._struck_command(aim, *command, *options)
            begun = time.monotonic()
            self._finish(*command, *options)
            self._seconds[stop] = time.monotonic() - begun

    def _struck_command(self, aim: Aim, *arguments: str) -> None:
        """Strike a command; one that had ended before is measured by that, and struck again."""
        for _ in range(_TRIES):
            before = self.attempts[aim]
            step = self.site.start(*arguments)
            expected = self._seconds.get(aim.stop, 1.5)
            if aim.how == DBT:
                self._strike_dbt(step, aim, expected)
                return
            self._wait_to_strike(step, aim, expected, arguments)
            self._strike(step, aim)
            if self.attempts[aim] > before:
                return
            self._seconds[aim.stop] = (time.monotonic() - step.begun) * 0.8

    def _wait_to_strike(
        self, step: Step, aim: Aim, expected: float, arguments: tuple[str, ...]
    ) -> None:
        record = self.dice.random() < 0.25 and "--run-id" in arguments
        if record:  # the boundary: the very moment at which the stop's record appears
            name = "validate-00000" if aim.stop == "validate" else aim.stop
            path = self.site.lake / "runs" / arguments[-1] / f"{name}.json"
            before = _changed(path)
            step.wait_until(lambda: _changed(path) != before)
        else:
            instant = step.begun + expected * self.dice.uniform(0.0, 1.05)
            step.wait_until(lambda: time.monotonic() >= instant)

    def _struck_run(self, item: Input, aim: Aim) -> None:
        """Strike `run` in a stop: at its first instant, or some time after it."""
        step = self.site.start("run", *self.site.run_options(item))
        if aim.stop == "plan":
            instant = step.begun + self.dice.uniform(0.0, 1.5)
            step.wait_until(lambda: time.monotonic() >= instant)
        else:
            before = {"load-bigquery": "seal", "transform": "load-bigquery"}
            last = before.get(aim.stop) or STOPS[STOPS.index(aim.stop) - 1]
            step.wait_until(lambda: last in step.done())
            if aim.how == DBT:
                self._strike_dbt(step, aim, self._seconds.get(aim.stop, 1.0))
                return
            if self.dice.random() < 0.7:
                seconds = self._seconds.get(aim.stop, 1.0) * self.dice.uniform(0, 0.7)
                instant = time.monotonic() + seconds
                step.wait_until(lambda: time.monotonic() >= instant)
        self._strike(step, aim)

    def _strike_dbt(self, step: Step, aim: Aim, seconds: float) -> None:
        """Kill dbt's processes, or one of them; the parent has to say that a retry may help."""
        step.wait_until(lambda: bool(self.site.dbt_children()))
        instant = time.monotonic() + seconds * self.dice.uniform(0, 0.8)
        step.wait_until(lambda: time.monotonic() >= instant)
        children = self.site.dbt_children()
        if not children or not step.is_running:
            step.end()
            return
        for child in children if self.dice.random() < 0.5 else children[:1]:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._count(aim)
        code = step.end()
        if code not in (0, 75):  # 0: the child had done its work
            self._complain([f"dbt was killed, {aim.stop} ended with {code}: {_last(step)}"])

    def _strike(self, step: Step, aim: Aim) -> None:
        if not step.is_running:
            self._expect(step, step.end(), (0,), aim)
            return
        self._count(aim)
        if aim.how in KILLS:
            step.signal(signal.SIGKILL, group=aim.how == "kill group")
            step.end()
            return
        number = signal.SIGTERM if aim.how == "terminate" else signal.SIGINT
        is_starting = not self._heeds_signals(step)
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
        if seconds > _END_SECONDS:
            self._complain([f"{aim.how} in {aim.stop}: it took {seconds:.0f} s to end"])
        if aim.how != "interrupt twice" and code == 128 + number:
            # A dbt that was just being started ends when it finds its parent gone.
            alive = self._outlive(_END_SECONDS)
            if alive:
                self._complain([f"{aim.how} in {aim.stop}: left behind: {'; '.join(alive)}"])
        if "Traceback" in step.stderr and not in_python:
            self._complain([f"{aim.how} in {aim.stop}: a stack trace: {step.stderr[-400:]}"])

    def _outlive(self, seconds: float) -> list[str]:
        """Name the processes that are alive so long after their run."""
        deadline = time.monotonic() + seconds
        while (alive := self.site.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return alive

    @staticmethod
    def _heeds_signals(step: Step) -> bool:
        """Tell whether the process has put its handlers in place: SIGTERM is caught."""
        with suppress(OSError):
            for line in Path("/proc", str(step.process.pid), "status").read_text().splitlines():
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
        return True

    def _expect(self, step: Step, code: int, codes: tuple[int, ...], aim: Aim) -> None:
        if code not in codes:
            self._complain([f"{aim.how} in {aim.stop}: exit code {code}: {_last(step)}"])

    def _count(self, aim: Aim) -> None:
        self.attempts[aim] += 1
        self._struck.append(aim)

    def _complain(self, texts: list[str]) -> None:
        for text in texts:
            say(f"FOUND {text}")
            for aim in set(self._struck) or {None}:
                if aim is None:
                    self.other.append(text)
                else:
                    self.found[aim].append(text)

    def complaints(self) -> list[str]:
        """Give everything that was found."""
        return [*self.other, *(text for texts in self.found.values() for text in texts)]

    # --- after it

    def _verify(self, item: Input) -> None:
        state, wanted = self.state(), self.states[item]
        found = [
            f"{place} is not that of an undisturbed run of {item.name}"
            for place in State._fields
            if getattr(state, place) != getattr(wanted, place)
        ]
        records, undisturbed = self.site.records(self.run_ids[item]), self._records[item]
        found += [
            f"{name} is not that of an undisturbed run of {item.name}"
            for name in sorted(records.keys() | undisturbed.keys())
            if records.get(name) != undisturbed.get(name)
        ]
        alive = self._outlive(_ORPHAN_SECONDS)
        found += [f"a process outlives its run: {each}" for each in alive]
        found += [f"left behind: {each}" for each in self.site.leftovers()]
        files = self._listing(self.run_ids[item])
        if files != self._files[item]:
            found.append(f"files of the run differ: {sorted(files ^ self._files[item])}")
        # A table that only a replace or only an append has is no orphan.
        orphans = self.site.relations() - set().union(*self._relations)
        found += [f"an orphan: {each}" for each in sorted(orphans)]
        if self.site.sessions():
            found.append("a session of ours is left in PostgreSQL")
        self._complain(found)

    # --- all of it

    def walk(self, deadline: float, kinds: Mapping[str, tuple[str, ...]]) -> None:
        """Strike until the time is over."""
        self.rehearse()
        with polling(self.site, self.states[STORY[-1]]) as readers:
            while time.monotonic() < deadline:
                for number, item in enumerate(STORY):
                    alone = self.dice.random() < _ALONE
                    aims = self._aims(kinds, alone=alone)
                    self.episode(readers, item, aims, alone=alone)
                    if time.monotonic() > deadline:
                        break
                    if number == len(STORY) - 1 and self.dice.random() < 0.5:
                        # An append that is never finished; the snapshot that follows replaces it.
                        aim = self.dice.choice(self._aims(kinds, alone=False))
                        self.abandon(readers, item, aim)
                say(f"{self.episodes} episodes, {sum(self.attempts.values())} strikes")
        self.looks = readers.looks
        self._struck = []
        self._complain(readers.complaints())

    def _aims(self, kinds: Mapping[str, tuple[str, ...]], *, alone: bool) -> list[Aim]:
        """Choose where to strike next: where it was done least."""
        every = [Aim(stop, how) for stop, hows in kinds.items() for how in hows]
        self.dice.shuffle(every)
        every.sort(key=self.attempts.__getitem__)
        if not alone:
            return every[: self.dice.randint(1, 3)]
        return [
            aim
            for stop in kinds
            for aim in [each for each in every if each.stop == stop][:_STRIKES]
        ]


def _last(step: Step) -> str:
    lines = step.stderr.strip().splitlines()
    return lines[-1][-700:] if lines else "it said nothing"


def _changed(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def say(text: str) -> None:
    """Tell of the progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


@contextmanager
def servers_and_folder() -> Generator[tuple[LocalServers, Path]]:
    """Run the servers, and give a folder beside theirs."""
    with (
        tempfile.TemporaryDirectory(prefix="sales-mart-chaos-") as folder,
        local_servers(Path(folder) / "servers") as servers,
    ):
        yield servers, Path(folder)


def kills(seconds: float, seed: int) -> list[Row]:
    """Kill, terminate and interrupt for some time; gives a row for each stop."""
    deadline = time.monotonic() + seconds
    with servers_and_folder() as (servers, folder):
        campaign = Campaign(servers, folder / "site", seed)
        campaign.walk(deadline, WAYS)
    return rows_of(campaign)


def rows_of(campaign: Campaign) -> list[Row]:
    """Add the strikes up: kills by stop, kills of dbt, signals, and what readers saw."""
    chosen = {f"SIGKILL in {stop}": [Aim(stop, how) for how in KILLS] for stop in STOPS}
    chosen["SIGKILL of dbt alone"] = [Aim("transform", DBT)]
    for how, name in zip(CLEAN, ("SIGTERM", "Ctrl-C", "Ctrl-C twice"), strict=True):
        chosen[f"{name} in any stop"] = [Aim(stop, how) for stop in STOPS]
    rows: list[Row] = []
    for name, aims in chosen.items():
        attempts = sum(campaign.attempts[aim] for aim in aims)
        found = {text for aim in aims for text in campaign.found.get(aim, [])}
        rows.append(Row(name, attempts, max(0, attempts - len(found)), "; ".join(sorted(found))))
    looks, other = sum(campaign.looks.values()), sorted(set(campaign.other))
    rows.append(
        Row("readers who look at it meanwhile", looks, looks - len(other), "; ".join(other))
    )
    return rows
