"""Killed, interrupted and doubled: the fast part of `make chaos`.

A run is walked stop by stop, and in each of them a first attempt is struck. What comes of it is
what an undisturbed run gives on a site of its own.
"""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from chaos.kills import STOPS, WAYS, Aim, Campaign
from chaos.site import STORY, Site
from chaos.table import Row, as_table

if TYPE_CHECKING:
    from sales_mart.local import LocalServers

INPUT = STORY[0]
ROWS = 400
# dbt takes seconds to start; its kills are many in `make chaos`, and one here.
STRUCK = {"transform": ("kill",), "load-postgres": ("kill group",), "publish": ("terminate",)}


class Walked(NamedTuple):
    """A site on which a run was struck in each stop, and one on which it was left in peace."""

    struck: Campaign
    in_peace: Site
    run_id: str


@pytest.fixture(scope="module")
def walked(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    folder = tmp_path_factory.mktemp("killed")
    dice = random.Random(20231005)  # noqa: S311 - not a secret
    struck = Campaign(servers, folder / "struck", dice.randrange(100), rows=ROWS)
    run_id = struck.site.plan(INPUT)
    struck.run_ids[INPUT] = run_id
    aims = [Aim(stop, dice.choice(STRUCK.get(stop, WAYS[stop][:4]))) for stop in STOPS]
    struck.walk_stops(INPUT, aims)
    in_peace = Site(servers, folder / "in-peace", 0, rows=ROWS)
    in_peace.take_inputs_of(struck.site)
    assert in_peace.do("run", *in_peace.run_options(INPUT)) == 0
    return Walked(struck, in_peace, run_id)


def test_a_run_that_is_struck_in_every_stop_ends_as_one_in_peace(walked: Walked) -> None:
    site, peace = walked.struck.site, walked.in_peace
    assert walked.struck.complaints() == []
    assert sum(walked.struck.attempts.values()) >= len(STOPS) - 2
    assert site.postgres() == peace.postgres()
    assert site.bigquery() == peace.bigquery()
    (other,) = peace.runs()
    exported, wanted = site.exported(), peace.exported()
    for name in ("summary_sales.json", "summary_sales.csv", "summary_sales.parquet"):
        assert exported[name] == wanted[name]
    seal, sealed = site.records(walked.run_id)["seal.json"], peace.records(other)["seal.json"]
    assert {**seal, "run_id": "", "config_digest": ""} == {
        **sealed,
        "run_id": "",
        "config_digest": "",
    }


def test_nothing_is_left_behind(walked: Walked) -> None:
    site = walked.struck.site
    assert site.leftovers() == []
    deadline = time.monotonic() + 30
    while site.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert site.processes() == []
    names = {name.rpartition(".")[2] for name in site.relations()}
    assert names == {name.rpartition(".")[2] for name in walked.in_peace.relations()}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_run_that_is_told_to_end_ends_in_seconds_and_takes_dbt_along(
    walked: Walked, number: int, code: int
) -> None:
    site = walked.struck.site
    step = site.start("run", *site.run_options(INPUT))
    assert step.wait_until(lambda: "validate" in step.done())
    assert site.dbt_children()
    step.signal(number, group=number == signal.SIGINT)
    begun = time.monotonic()
    assert step.end() == code
    assert time.monotonic() - begun < 15
    assert site.processes() == []
    assert site.leftovers() == []
    assert "Traceback" not in step.stderr


@pytest.mark.parametrize("stop", ["validate", "load-bigquery", "export"])
def test_a_stop_that_is_started_twice_at_once_gives_the_same(walked: Walked, stop: str) -> None:
    site = walked.struck.site
    before = site.exported(), site.records(walked.run_id)
    steps = [site.start(*stop.split("-"), "--run-id", walked.run_id) for _ in range(2)]
    codes = sorted(step.end() for step in steps)
    assert codes in ([0, 0], [0, 75]), [step.stderr for step in steps]
    assert (site.exported(), site.records(walked.run_id)) == before
    assert site.leftovers() == []


def test_the_table_says_how_many_survived() -> None:
    rows = [Row("a kill", 1200, 1199, "a lost row"), Row("a signal", 3, 3, "")]
    assert as_table(rows).splitlines()[2:] == [
        "| a kill | 1,200 | 1,199 | a lost row |",
        "| a signal | 3 | 3 | nothing |",
    ]
