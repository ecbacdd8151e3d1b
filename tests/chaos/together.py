"""Two at once, and out of order: serialised or refused, never interleaved."""

from __future__ import annotations

import threading
import time
from itertools import cycle
from typing import TYPE_CHECKING, Self

import psycopg
from psycopg.sql import SQL, Identifier

from warehouses import published_tables

from .ledger import say
from .readers import polling
from .story import STORY
from .table import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .kills import Campaign
    from .readers import Readers
    from .site import Site
    from .story import Input

__all__ = ["Crowd", "Pairs", "together"]

A, DAY_1, DAY_2, B = STORY
REFUSED = (65, 75)
"""Superseded by a newer load; or another holds the lock, and a retry helps."""


class Pairs:
    """Starts two commands at the same time, and checks what comes of it."""

    def __init__(self, campaign: Campaign, readers: Readers) -> None:
        self.site = campaign.site
        self._campaign = campaign
        self._readers = readers
        self._dice = campaign.dice
        self.found: list[str] = []
        self.looks = 0

    def twice(self, *arguments: str) -> None:
        """Start a command twice; one of them must get through, the other may be refused."""
        self.at_once(arguments, arguments)

    def at_once(self, *commands: Sequence[str], one_gets_through: bool = True) -> list[int]:
        """Start commands at about the same time and give their exit codes."""
        started = []
        for command in commands:
            started.append(self.site.start(*command))
            time.sleep(self._dice.choice((0.0, 0.1, 0.5)))
        codes = [running.end() for running in started]
        for running, code in zip(started, codes, strict=True):
            if code != 0 and code not in REFUSED:
                last = running.stderr.strip().splitlines()[-1:]
                self.found.append(f"{' '.join(running.arguments[:2])} ended with {code}: {last}")
        if one_gets_through and 0 not in codes:
            self.found.append(f"none of two {commands[0][0]} got through: {codes}")
        return codes

    def announce(self, item: Input) -> None:
        """Allow readers to see an input's marts from now on."""
        self._readers.announce(self._campaign.states[item])

    def settle(self, item: Input) -> None:
        """Run an input alone, and see that the site is as if nothing had happened."""
        self.announce(item)
        running = self.site.start("run", *self.site.run_options(item))
        if running.end() != 0:
            self.found.append(f"the run after it ended with {running.process.returncode}")
        self._compare(item)

    def _compare(self, item: Input) -> None:
        if self._campaign.state() != self._campaign.states[item]:
            self.found.append("the marts after it are not those of an undisturbed run")
        self.found += self.site.broken_accounts()
        self.found += self._readers.complaints()

    # --- the stories

    def same_input(self) -> None:
        """Two runs of the same input."""
        self.announce(A)
        self.twice("run", *self.site.run_options(A))
        self._compare(A)

    def different_inputs(self) -> None:
        """Two runs of different snapshots."""
        for item in (A, B, A):
            self.announce(item)
        self.at_once(
            ("run", *self.site.run_options(A)),
            ("run", *self.site.run_options(B)),
            one_gets_through=False,
        )
        self.settle(self._dice.choice((A, B)))

    def two_days(self) -> None:
        """Two days that are appended at the same time, then in their order."""
        self.settle(A)
        codes = self.at_once(
            ("plan", *self.site.run_options(DAY_1)), ("plan", *self.site.run_options(DAY_2))
        )
        if codes != [0, 0]:
            self.found.append(f"two plans ended with {codes}")
        runs = [self._campaign.run_ids[item] for item in (DAY_1, DAY_2)]
        for run_id in runs:
            for step in ("validate", "seal"):
                self.site.do(step, "--run-id", run_id)
        for target in self.site.targets:
            commands = [("load", target, "--run-id", run_id) for run_id in runs]
            codes = self.at_once(*commands)
            for command, code in zip(commands, codes, strict=True):
                if code != 0 and self.site.do(*command) != 0:
                    self.found.append(f"{' '.join(command)} could not be repeated")
        # A later day's rows win in either order.
        if self.site.raw() != self._campaign.raw[DAY_2]:
            self.found.append("the raw tables do not hold what two days in their order leave")
        self.settle(B)

    def overtaken(self) -> None:
        """A run loads between another's load and its publication, which is refused."""
        run_id = self._campaign.run_ids[A]
        self.site.do("plan", *self.site.run_options(A))
        for step in self.site.steps[1:-2]:
            self.site.do(*step.split("-"), "--run-id", run_id)
        other = self._campaign.run_ids[B]
        self.site.do("plan", *self.site.run_options(B))
        for step in self.site.steps[1:4]:
            self.site.do(*step.split("-"), "--run-id", other)
        before = self.site.marts("postgres")
        code = self.site.do("publish", "--run-id", run_id, "--target", "postgres")
        if code != 65 or self.site.marts("postgres") != before:
            self.found.append(f"an overtaken run was published: exit code {code}")
        self.settle(B)

    def every_step(self) -> None:
        """Each step twice at once, then once more."""
        run_id = self._campaign.run_ids[A]
        self.announce(A)
        self.site.forget(run_id)
        self.site.do("plan", *self.site.run_options(A))
        for step in self.site.steps[1:]:
            command = (*step.split("-"), "--run-id", run_id)
            self.twice(*command)
            code = self.site.do(*command)
            if code != 0:
                self.found.append(f"{step} after two of it ended with {code}")
        self._compare(A)

    def crowded(self) -> None:
        """Another snapshot is published while a crowd reads."""
        run_id = self._campaign.run_ids[B]
        self.announce(B)
        self.site.do("plan", *self.site.run_options(B))
        for step in self.site.steps[1:-2]:
            self.site.do(*step.split("-"), "--run-id", run_id)
        with Crowd(self.site, 20) as crowd:
            code = self.site.do("publish", "--run-id", run_id)
        self.looks += crowd.looks
        self.found += crowd.complaints()
        if code != 0:
            self.found.append(f"publish before a crowd ended with {code}")
        self.settle(B)  # the export is still that of the run before


class Crowd:
    """Readers who ask for the totals of all marts within one snapshot, without a pause."""

    def __init__(self, site: Site, size: int) -> None:
        self._site = site
        self._ended = threading.Event()
        self.looks = 0
        self._met: set[str] = set()
        self._seen: set[tuple[object, ...]] = set()
        self._edges: list[tuple[object, ...]] = []
        self._threads = [threading.Thread(target=self._read, daemon=True) for _ in range(size)]

    def __enter__(self) -> Self:
        self._look_once()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)
        self._look_once()

    def _look_once(self) -> None:
        with self._site.session() as connection:
            self._edges.append(self.look(connection))

    def complaints(self) -> list[str]:
        """Give what was wrong with its looks."""
        found = sorted(self._met)
        if len(set(self._edges)) != len(self._edges):
            found.append("nothing was published before the crowd")
        if self._seen != set(self._edges):
            found.append(f"the crowd saw {len(self._seen)} states, not those before and after")
        return found

    def look(self, connection: psycopg.Connection[tuple[object, ...]]) -> tuple[object, ...]:
        """Give the totals of the marts, which are the same in each of them, as one snapshot has."""
        marts = published_tables(self._site.config, "postgres")
        found: list[object] = []
        with connection.transaction():
            for name, (schema, _) in marts.items():
                column = "amount" if name == "pg_sales" else "total_amount"
                query = SQL("select sum({}) from {}").format(
                    Identifier(column), Identifier(schema, name)
                )
                found += connection.execute(query).fetchone() or ()
        return tuple(found)

    def _read(self) -> None:
        with self._site.session() as connection:
            connection.rollback()
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not self._ended.is_set():
                try:
                    self._seen.add(self.look(connection))
                except psycopg.Error as error:
                    self._met.add(f"a reader of the crowd met {type(error).__name__}")
                    return
                self.looks += 1


def together(campaign: Campaign, seconds: float) -> list[Row]:
    """Tell the stories in turn, each once at least, until the time is over."""
    deadline = time.monotonic() + seconds
    crowded = "20 readers while a run publishes"
    with polling(campaign.site, campaign.state()) as readers:
        pairs = Pairs(campaign, readers)
        stories: dict[str, Callable[[], None]] = {
            "two runs of the same input at once": pairs.same_input,
            crowded: pairs.crowded,
            "every step twice at once": pairs.every_step,
            "two runs of different inputs at once": pairs.different_inputs,
            "two days loaded at once": pairs.two_days,
            "a load between another's load and publication": pairs.overtaken,
        }
        told: dict[str, list[str]] = {name: [] for name in stories}
        for name in cycle(stories):
            if time.monotonic() > deadline and all(told.values()):
                break
            say(name)
            pairs.found = []
            stories[name]()
            for text in pairs.found:
                say(f"FOUND {text}")
            told[name].append("; ".join(sorted(set(pairs.found))))
    told[f"{crowded}, {pairs.looks:,} looks"] = told.pop(crowded)
    return [
        Row(
            name,
            len(outcomes),
            sum(not text for text in outcomes),
            "; ".join({text for text in outcomes if text}),
        )
        for name, outcomes in told.items()
    ]
