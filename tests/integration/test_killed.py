"""Killed, interrupted and doubled: the fast part of `make chaos`.

A run goes step by step, and in each of them a first attempt is struck. What comes of it is
what an undisturbed run gives on a site of its own.
"""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from chaos.kills import Campaign
from chaos.ledger import CLEAN, KILLS, STEPS, Aim
from chaos.site import Site
from chaos.story import STORY
from chaos.table import Row, as_table
from sales_mart.names import LOAD_RUNS, PUBLICATIONS, PUBLISHED_SLICES, QUALITY_HISTORY, STAGING
from sales_mart.steps.summary import published_summary
from sales_mart.warehouses.bigquery.dialect import LOCK
from targets import Target
from warehouses import ask, mart_schema, published_tables, raw_table, table

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.servers.local import LocalServers

INPUT = STORY[0]
ROWS = 400
# dbt takes seconds to start; its kills are many in `make chaos`, and one here.
STRUCK = {"transform": ("kill",), "load-postgres": ("kill group",), "publish": ("terminate",)}


class Finished(NamedTuple):
    """A site on which a run was struck in each step, and one on which it was left in peace."""

    struck: Campaign
    in_peace: Site
    run_id: str


@pytest.fixture(scope="module")
def finished(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("killed")
    dice = random.Random(20231005)  # noqa: S311 - not a secret
    struck = Campaign(servers, folder / "struck", dice.randrange(100), rows=ROWS)
    run_id = struck.site.plan(INPUT)
    struck.run_ids[INPUT] = run_id
    aims = [Aim(step, dice.choice(STRUCK.get(step, (*KILLS, *CLEAN[:2])))) for step in STEPS]
    struck.run_steps(INPUT, aims)
    in_peace = Site(servers, folder / "in-peace", 0, rows=ROWS)
    in_peace.inputs = struck.site.inputs
    # One warehouse will do: the summaries and reconcile's sums tell of the other.
    assert in_peace.do("run", *in_peace.run_options(INPUT), "--target", "postgres") == 0
    return Finished(struck, in_peace, run_id)


def test_a_run_that_is_struck_in_every_step_ends_as_one_in_peace(finished: Finished) -> None:
    site, peace = finished.struck.site, finished.in_peace
    assert finished.struck.ledger.complaints() == []
    assert {aim.step for aim in finished.struck.ledger.attempts} == set(STEPS)
    assert site.marts("postgres") == peace.marts("postgres")
    with (
        published_summary(site.config, Target.POSTGRES) as (_, here),
        published_summary(site.config, Target.BIGQUERY) as (_, there),
    ):
        assert list(here) == list(there)
    assert _rejected(site, Target.POSTGRES) == _rejected(peace, Target.POSTGRES)
    assert _rejected(site, Target.BIGQUERY) == _rejected(peace, Target.POSTGRES)
    (other,) = peace.runs()
    exported, wanted = site.exported(), peace.exported()
    for name in ("summary_sales.json", "summary_sales.csv", "summary_sales.parquet"):
        assert exported[name] == wanted[name]
    seal, sealed = site.records(finished.run_id)["seal.json"], peace.records(other)["seal.json"]
    assert {**seal, "run_id": "", "config_digest": ""} == {
        **sealed,
        "run_id": "",
        "config_digest": "",
    }


def _rejected(site: Site, target: Target) -> list[tuple[str, ...]]:
    """Return what the readers of the marts are told of the rejected rows of the one run."""
    name = table(site.config, target, mart_schema(site.config, target), QUALITY_HISTORY)
    rows = ask(site.config, target, f"select reason, rows_read, rows_rejected, share from {name}")
    assert rows
    return sorted((str(row[0]), *(f"{value:.9f}" for value in row[1:])) for row in rows)


def test_nothing_is_left_behind(finished: Finished) -> None:
    site = finished.struck.site
    assert site.leftovers() == []
    deadline = time.monotonic() + 30
    while site.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert site.processes() == []
    found, peace = site.relations(), finished.in_peace.relations()
    in_postgres = {name.rpartition(".")[2] for name in found if not name.startswith("bigquery:")}
    assert in_postgres == {name.rpartition(".")[2] for name in peace}
    published = published_tables(site.config, Target.BIGQUERY)
    ours = {LOAD_RUNS, PUBLICATIONS, PUBLISHED_SLICES, STAGING, LOCK}
    raw = {site.config.data_warehouse.table, *ours}
    in_bigquery = {name.rpartition(".")[2] for name in found if name.startswith("bigquery:")}
    assert in_bigquery == {*published, *raw, QUALITY_HISTORY}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_run_that_is_told_to_end_ends_in_seconds_and_takes_dbt_along(
    finished: Finished, number: int, code: int
) -> None:
    site = finished.struck.site
    running = site.start("run", *site.run_options(INPUT))
    assert running.wait_until(lambda: "validate" in running.done())
    assert site.dbt_children()
    running.signal(number, group=number == signal.SIGINT)
    begun = time.monotonic()
    assert running.end() == code
    assert time.monotonic() - begun < 15
    assert site.processes() == []
    assert "Traceback" not in running.stderr
    # A signal may come between the making of a folder and the promise to remove it.
    assert site.do("seal", "--run-id", finished.run_id) == 0
    assert site.leftovers() == []


def test_steps_that_are_started_twice_at_once_do_their_work_once(finished: Finished) -> None:
    site = finished.struck.site
    run_id = site.plan(STORY[-1])
    for step in ("validate", "seal", "load-postgres", "load-bigquery"):
        started = [site.start(*step.split("-"), "--run-id", run_id) for _ in range(2)]
        codes = sorted(running.end() for running in started)
        assert codes in ([0, 0], [0, 75]), [running.stderr for running in started]
    rows = site.records(run_id)["seal.json"]["rows_valid"]
    assert rows > ROWS // 2
    for target in Target:
        found = ask(site.config, target, f"select count(*) from {raw_table(site.config, target)}")
        assert found == [(rows,)]
        loads = load_runs(site.config, target)
        assert loads.count(run_id) == 1
    assert not any("staging_" in name for name in site.relations(expiring=True))
    assert site.leftovers() == []


def load_runs(config: Config, target: Target) -> list[str]:
    name = raw_table(config, target).replace(config.data_warehouse.table, LOAD_RUNS)
    return [row[0] for row in ask(config, target, f"select run_id from {name}")]


def test_the_table_says_how_many_survived() -> None:
    rows = [
        Row("a kill", 1200, 1199, "a lost\nrow | a column"),
        Row("a signal", 3, 3, ""),
        Row("a flood", 0, 0, ""),
    ]
    assert as_table(rows).splitlines()[2:] == [
        "| a kill | 1,200 | 1,199 | a lost row / a column |",
        "| a signal | 3 | 3 | nothing |",
        "| a flood | 0 | 0 | not attempted |",
    ]
