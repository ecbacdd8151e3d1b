"""Random histories of loads against "the latest delivery of each day" in plain Python."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from attempts import configured
from histories import (
    DAYS,
    IDENTIFIERS,
    PRICES,
    Step,
    check_history,
    histories,
    site_of,
    versions_in,
)
from published_histories import published_histories
from sales_mart.lake.records import Mode
from sales_mart.warehouses.base import names
from support import in_memory
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config

EXAMPLES = {"postgres": 170, "duckdb": 30, "bigquery": 8}
LONGEST = {"bigquery": 4}


@pytest.mark.parametrize("target", names())
def test_any_history_ends_as_the_latest_delivery_of_each_day(config: Config, target: str) -> None:
    with in_memory() as folder:
        config = configured(config, "duckdb", path=str(folder / "sales.duckdb"))
        with site_of(config, folder / "lake", target) as site:

            @settings(
                max_examples=EXAMPLES[target],
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            )
            @given(histories(LONGEST.get(target, 6)))
            def every(steps: list[Step]) -> None:
                check_history(site, steps)

            every()


def any_step(chance: random.Random, day: str, mode: Mode = Mode.APPEND) -> Step:
    chosen = chance.sample(IDENTIFIERS, chance.randint(0, len(IDENTIFIERS)))
    return Step(mode, day, {n: (chance.choice(DAYS), chance.choice(PRICES)) for n in chosen})


def test_the_marts_of_histories_are_those_of_the_latest_deliveries(
    config: Config, lake: Path
) -> None:
    chance = random.Random(5)  # noqa: S311 - for variety, not for secrets
    with published_histories(config, lake, names()) as check:
        # Out of order, redelivered, corrected, shrunk; with a snapshot between, and after it.
        for days in ((DAYS[1], DAYS[0], DAYS[1]), (DAYS[2], DAYS[0]), (None, DAYS[3], DAYS[2])):
            modes = [Mode.REPLACE if day is None else Mode.APPEND for day in days]
            each = zip(days, modes, strict=True)
            check([any_step(chance, day or DAYS[2], mode) for day, mode in each])


def test_the_oracle_says_what_a_table_holds(config: Config, lake: Path) -> None:
    """By hand: a row goes with its delivery, and what it had superseded is shown again."""
    old, new = {"T0": (DAYS[0], "1.00")}, {"T0": (DAYS[1], "2.00"), "T1": (DAYS[1], "1.00")}
    steps = [
        Step(Mode.REPLACE, DAYS[1], old),
        Step(Mode.APPEND, DAYS[1], new),
        Step(Mode.APPEND, DAYS[0], old),
        Step(Mode.APPEND, DAYS[1], {"T1": (DAYS[1], "1.00")}),
    ]
    with site_of(config, lake, Target.POSTGRES) as site:
        check_history(site, steps)
        rows = [(row.price, row.business_date, row.superseded_by) for row in versions_in(site)]
    assert sorted(rows, key=str) == [
        ("1.00", DAYS[0], DAYS[1]),
        ("1.00", DAYS[1], None),
        ("1.00", DAYS[1], None),
    ]
