"""Processes that are killed, terminated and interrupted at any moment, then started again."""

from __future__ import annotations

import random
import time
from itertools import combinations, cycle
from typing import TYPE_CHECKING

from sales_mart.warehouses.base import DEFAULT_TARGETS

from .ledger import CLEAN, DBT, GIVEN_UP, KILLS, Aim, Ledger, say
from .readers import Readers, State, polling
from .site import Site
from .story import STORY, Input
from .strikes import Striker, last_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sales_mart.servers.local import LocalServers

    from .table import Row

__all__ = ["Campaign", "kills"]

_ALONE = 0.9  # share of runs by single commands, whose strikes cost less time than those of `run`
_EACH = 2  # times that each kind of SIGKILL strikes each command in such a run
_ABANDONED = 0.3  # share of appends that the next snapshot finds half done
_TRIES = 3  # to strike a run that is given up, before it ends
_LEAST = 20  # kills of each step, and of dbt, when there is time
_LEAST_SECONDS = 480.0
_ORPHAN_SECONDS = 30.0  # how long dbt may take to end after its parent


class Campaign:
    """Runs the inputs in turn, strikes, verifies after each, and keeps count."""

    def __init__(
        self,
        servers: LocalServers,
        folder: Path,
        seed: int,
        rows: int = 1_000,
        targets: Sequence[str] = DEFAULT_TARGETS,
    ) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - not a secret
        self.site = Site(servers, folder, seed, rows, targets)
        self.ledger = Ledger(self.site.steps)
        self.striker = Striker(self.site, self.dice, self.ledger)
        self.episodes = 0
        self._given_up = 0
        self.states: dict[Input, State] = {}
        self.run_ids: dict[Input, str] = {}
        self._records: dict[Input, dict[str, object]] = {}
        self._files: dict[Input, set[str]] = {}
        self._relations: list[set[str]] = []
        self._places: set[str] = set()
        self.raw: dict[Input, str] = {}
        """Digests of both raw tables after each input of the story."""

    # --- what an undisturbed run gives

    def rehearse(self) -> None:
        """Run the story undisturbed, note what each run leaves, and how long each step takes."""
        for item in STORY:
            self.run_ids[item] = run_id = self.site.plan(item)
            if item == STORY[0]:
                self.run_steps(item, [])
            else:
                running = self.site.start("run", *self.site.run_options(item))
                assert running.end() == 0, running.stderr
            self.states[item] = self.state()
            self._records[item] = self.site.records(run_id)
            self._files[item] = self._listing(run_id)
            self._relations.append(self.site.relations())
            self.raw[item] = self.site.raw()
            say(f"undisturbed: {item.name} {item.day}")
        self._places = self.site.places()
        shown = [state.marts for state in self.states.values()]
        assert all(one != other for one, other in combinations(shown, 2))

    def state(self) -> State:
        """Look at everything that readers see."""
        marts = {target: self.site.marts(target) for target in self.site.targets}
        return State(marts, self.site.exported())

    def _listing(self, run_id: str) -> set[str]:
        folder = self.site.lake / "runs" / run_id
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return files - {"run.json"}

    # --- one input, struck again and again

    def episode(self, readers: Readers, item: Input, aims: list[Aim], *, alone: bool) -> None:
        """Run an input while it is struck; then let it end, and verify."""
        self.episodes += 1
        self._begin(readers, item)
        for _ in range(self._given_up):
            self.ledger.count(GIVEN_UP)  # now that another input follows, it may be to blame
        self._given_up = 0
        if alone:
            self.run_steps(item, aims)
        else:
            for aim in aims:
                self.striker.run(aim, "run", *self.site.run_options(item))
            self._finish("run", *self.site.run_options(item))
        self._verify(item)
        self.ledger.complain(readers.complaints())

    def abandon(self, readers: Readers, item: Input) -> None:
        """Strike a run after it has begun to load, and never start it again: another comes next."""
        self._begin(readers, item)
        later = self.site.steps[self.site.steps.index("seal") + 1 :]
        aims = [aim for aim in self._aims() if aim.step in later]
        for aim in self.dice.choices(aims, k=_TRIES):
            before = self.ledger.attempts[aim]
            self.striker.run(aim, "run", *self.site.run_options(item))
            if self.ledger.attempts[aim] > before:
                self._given_up += 1
                break
            self.site.forget(self.run_ids[item])  # it had ended before
        self.ledger.complain(readers.complaints())

    def _begin(self, readers: Readers, item: Input) -> None:
        self.ledger.begin()
        self.site.forget(self.run_ids[item])
        readers.announce(self.states[item])

    def _finish(self, *arguments: str) -> None:
        """Run a command to its end; a lock that a struck process still holds is worth a retry."""
        codes: list[int] = []
        while True:
            running = self.site.start(*arguments)
            codes.append(running.end())
            if codes[-1] == 0:
                return
            if codes[-1] != 75 or len(codes) > 2:
                text = f"{arguments[0]} ended with {codes}: {last_line(running)}"
                self.ledger.complain([text])
                return

    def run_steps(self, item: Input, aims: list[Aim]) -> None:
        """Run an input by the commands of its steps, each struck before it is let to its end."""
        for step in self.site.steps:
            command = tuple(step.split("-"))
            if step == "plan":
                options = self.site.run_options(item)
            else:
                options = ("--run-id", self.run_ids[item])
            self.striker.commands([aim for aim in aims if aim.step == step], *command, *options)
            begun = time.monotonic()
            self._finish(*command, *options)
            if not aims:
                self.striker.seconds[step] = time.monotonic() - begun

    # --- after it

    def _verify(self, item: Input) -> None:
        state, wanted = self.state(), self.states[item]
        found = [
            f"what {target} shows is not that of an undisturbed run of {item.name}"
            for target in self.site.targets
            if state.marts[target] != wanted.marts[target]
        ]
        if state.exported != wanted.exported:
            found.append(f"the export is not that of an undisturbed run of {item.name}")
        found += self.site.broken_accounts()
        records, undisturbed = self.site.records(self.run_ids[item]), self._records[item]
        found += [
            f"{name} is not that of an undisturbed run of {item.name}"
            for name in sorted(records.keys() | undisturbed.keys())
            if records.get(name) != undisturbed.get(name)
        ]
        alive = self.striker.outlive(_ORPHAN_SECONDS)
        found += [f"a process outlives its run: {each}" for each in alive]
        found += [f"left behind: {each}" for each in self.site.leftovers()]
        files = self._listing(self.run_ids[item])
        if files != self._files[item]:
            found.append(f"files of the run differ: {sorted(files ^ self._files[item])}")
        # A table that only a replace or only an append has is no orphan.
        orphans = self.site.relations() - set().union(*self._relations)
        orphans |= self.site.places() - self._places
        found += [f"an orphan: {each}" for each in sorted(orphans)]
        if self.site.sessions():
            found.append("a session of ours is left in PostgreSQL")
        self.ledger.complain(found)

    # --- all of it

    def run(self, deadline: float) -> None:
        """Strike until the time is over."""
        with polling(self.site, self.states[STORY[-1]]) as readers:
            # Another snapshot comes first, so that a short attack has it, too.
            for item in cycle((STORY[-1], *STORY[:-1])):
                if item == STORY[-1]:
                    # Another snapshot is never finished; the one that follows replaces it.
                    self.abandon(readers, STORY[0])
                if item == STORY[-2] and self.dice.random() < _ABANDONED:
                    self.abandon(readers, item)
                    continue
                alone = self.dice.random() < _ALONE
                self.episode(readers, item, self._aims() if alone else self._some(), alone=alone)
                say(f"{self.episodes} episodes, {self.ledger.attempts.total()} strikes")
                if time.monotonic() > deadline:
                    break
        self.ledger.looks = readers.looks
        self.ledger.begin()
        self.ledger.complain(readers.complaints())

    def _aims(self) -> list[Aim]:
        """Choose how each command is struck in a run, in the dice's order."""
        aims: list[Aim] = []
        for step in self.site.steps:
            clean = [Aim(step, how) for how in CLEAN]
            self.dice.shuffle(clean)
            least = min(clean, key=self.ledger.attempts.__getitem__)
            of_step = [*(Aim(step, how) for how in KILLS * _EACH), least]
            if step == "transform":
                of_step += [Aim(step, DBT)] * len(KILLS * _EACH)
            self.dice.shuffle(of_step)
            aims += of_step
        return aims

    def _some(self) -> list[Aim]:
        """Choose a few steps of `run` to strike, where it was done least."""
        aims = self._aims()
        self.dice.shuffle(aims)
        aims.sort(key=self.ledger.attempts.__getitem__)
        return aims[: self.dice.randint(1, 3)]


def kills(campaign: Campaign, seconds: float) -> list[Row]:
    """Kill, terminate and interrupt for some time; gives a row for each step."""
    campaign.run(time.monotonic() + seconds)
    return campaign.ledger.rows(least=int(_LEAST * min(1.0, seconds / _LEAST_SECONDS)))
