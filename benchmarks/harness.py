"""Contestants in turns, each in a process of its own: seconds, peak memory, what they found."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.memory import Peak, held_by


@dataclass(frozen=True)
class Contestant:
    """One way to do a section's work.

    Attributes:
        name: What the table calls it.
        function: `module:function` below `benchmarks`; it takes keyword arguments and gives a
            dictionary of counts.
        share: Share of the rows that it is given; its seconds are scaled up by it.
        note: What it does and does not do.
        agrees: Whether it applies the same rules, so that its counts must be ours.
        imports: Modules that it needs, imported before its time begins.
        prepare: `module:function` below `benchmarks` of what is there before its time begins.
    """

    name: str
    function: str
    share: float = 1.0
    note: str = ""
    agrees: bool = True
    imports: tuple[str, ...] = ()
    prepare: str = ""


@dataclass(frozen=True)
class Measured:
    """One contestant's runs: medians, scaled to all rows where they are seconds.

    Attributes:
        contestant: The contestant.
        seconds: How long it took.
        cpu: Seconds that it and what it started kept cores busy, servers aside.
        logged: Megabytes that PostgreSQL wrote to its log.
        megabytes: The highest peak of its memory.
        counts: What it found.
    """

    contestant: Contestant
    seconds: float
    cpu: float
    logged: float
    megabytes: float
    counts: dict[str, Any]


class _Outcome(NamedTuple):
    seconds: float
    cpu: float
    log: int
    peak: float
    counts: dict[str, Any]


def compete(
    contestants: list[Contestant], arguments: dict[float, dict[str, Any]], runs: int
) -> list[Measured]:
    """Let each run in turn, `runs` rounds long; `arguments` are those for each share of the rows.

    Raises:
        AssertionError: A contestant failed, or two that apply the same rules disagree.
    """
    results: dict[str, list[_Outcome]] = {}
    for turn in range(runs):
        for each in contestants:
            _say(f"{turn + 1}/{runs} {each.name}")
            results.setdefault(each.name, []).append(_run(each, arguments[each.share]))
    measured: list[Measured] = []
    agreed: dict[float, dict[str, Any]] = {}
    for each in contestants:
        outcomes = results[each.name]
        counts = outcomes[0].counts
        wavers = f"{each.name} wavers: {outcomes}"
        assert all(outcome.counts == counts for outcome in outcomes), wavers
        if each.agrees:
            expected = agreed.setdefault(each.share, counts)
            common = expected.keys() & counts.keys()
            differing = {key: (expected[key], counts[key]) for key in common}
            differing = {key: pair for key, pair in differing.items() if pair[0] != pair[1]}
            assert not differing, f"{each.name} disagrees: {differing}"
        measured.append(
            Measured(
                each,
                statistics.median(outcome.seconds for outcome in outcomes) / each.share,
                statistics.median(outcome.cpu for outcome in outcomes) / each.share,
                statistics.median(outcome.log for outcome in outcomes) / 1e6,
                max(outcome.peak for outcome in outcomes),
                counts,
            )
        )
    return measured


def _run(contestant: Contestant, arguments: dict[str, Any]) -> _Outcome:
    """Run it once: seconds without its imports, peak megabytes of its process tree, counts."""
    order = (contestant.function, contestant.prepare, *contestant.imports)
    command = [sys.executable, "-m", "benchmarks.child", *order]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        with Peak(lambda: held_by(process.pid, "VmRSS")) as memory:
            # Arguments may hold a password: they go through a pipe.
            output, _ = process.communicate(json.dumps(arguments).encode())
        assert process.returncode == 0, f"{contestant.name} failed"
    answer = json.loads(output.splitlines()[-1])
    peak = memory.bytes / 1e6
    return _Outcome(answer["seconds"], answer["cpu"], answer["log"], peak, answer["counts"])


def table(title: str, measured: list[Measured], base: Measured, rows: int) -> str:
    """Write a section as Markdown; ratios are to `base`."""
    columns = (
        *("contestant", "seconds", "ratio", "CPU seconds", "million rows/s"),
        *("server's log MB", "peak MB", "what it does"),
    )
    lines = [
        f"### {title}",
        "",
        f"| {' | '.join(columns)} |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for each in measured:
        note = each.contestant.note
        if each.contestant.share < 1:
            note += f"; measured on {each.contestant.share:.1%} of the rows and scaled up"
        lines.append(
            f"| {each.contestant.name} | {each.seconds:.2f} | {each.seconds / base.seconds:.2f} "
            f"| {each.cpu:.2f} | {rows / each.seconds / 1e6:.2f} | {each.logged:.0f} "
            f"| {each.megabytes:.0f} | {note} |"
        )
    return "\n".join([*lines, ""])


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
