"""Random histories of loads against "the latest delivery of each day" in plain Python."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from histories import (
    DAYS,
    IDENTIFIERS,
    Oracle,
    Step,
    check_history,
    configured,
    histories,
    site_of,
    versions_in,
)
from sales_mart.lake.records import Mode
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.load import load
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform
from support import sealed_run
from targets import Target
from warehouses import BOTH, ask, fact_table, mart_schema, table

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config

EXAMPLES = {Target.POSTGRES: 200, Target.BIGQUERY: 16}
LONGEST = {Target.POSTGRES: 6, Target.BIGQUERY: 4}


@pytest.mark.parametrize("target", BOTH)
def test_any_history_ends_as_the_latest_delivery_of_each_day(
    config: Config, lake: Path, target: Target
) -> None:
    with site_of(config, lake, target) as site:

        @settings(
            max_examples=EXAMPLES[target],
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(histories(LONGEST[target]))
        def every(steps: list[Step]) -> None:
            check_history(site, steps)

        every()


def any_step(chance: random.Random, day: str, mode: Mode = Mode.APPEND) -> Step:
    chosen = chance.sample(IDENTIFIERS, chance.randint(0, len(IDENTIFIERS)))
    return Step(mode, day, {n: (chance.choice(DAYS), chance.choice("123")) for n in chosen})


def shown_marts(config: Config, target: Target) -> list[Counter[tuple[Any, ...]]]:
    schema = mart_schema(config, target)
    columns = {
        fact_table(target): "transaction_id, price, amount, sale_date",
        "sales_by_date": "sale_date, total_amount, transaction_count",
        "sales_by_product": "product, total_amount, transaction_count",
    }
    return [
        Counter(ask(config, target, f"select {listed} from {table(config, target, schema, name)}"))
        for name, listed in columns.items()
    ]


def marts_of(truth: Oracle) -> list[Counter[tuple[Any, ...]]]:
    """Add the visible rows up: each is one piece of the same product."""
    facts = [
        (each.transaction_id, Decimal(each.price), Decimal(each.price), each.sale_day)
        for each in truth.visible()
    ]
    days: defaultdict[Any, list[Decimal]] = defaultdict(list)
    for _, _, amount, day in facts:
        days[day].append(amount)
    whole = [("Halal Mouse", sum(fact[2] for fact in facts), len(facts))] if facts else []
    return [
        Counter(facts),
        Counter((day, sum(amounts), len(amounts)) for day, amounts in days.items()),
        Counter(whole),
    ]


def test_the_marts_of_histories_are_those_of_the_latest_deliveries(
    config: Config, lake: Path
) -> None:
    chance = random.Random(5)  # noqa: S311 - for variety, not for secrets
    rules = configured(config, any_step(chance, DAYS[0]))
    truth, runs = Oracle(), list[RunFolder]()
    # Out of order, redelivered, corrected, shrunk; with a snapshot between, and after it.
    for days in ((DAYS[1], DAYS[0], DAYS[1]), (DAYS[2], DAYS[0]), (None, DAYS[3], DAYS[2])):
        for day in days:
            mode = Mode.REPLACE if day is None else Mode.APPEND
            step = any_step(chance, day or DAYS[2], mode)
            name, rows = f"h{len(runs)}", step.values
            runs.append(sealed_run(rules, lake, name, rows, business_date=step.day, mode=mode))
            for target in BOTH:
                load(rules, runs[-1], target)
            truth = truth.after(step)
        transform(rules, runs[-1], BOTH)
        reconcile(rules, runs[-1], BOTH)
        publish(rules, runs[-1], BOTH)
        for target in BOTH:
            assert shown_marts(rules, target) == marts_of(truth), (target, days)


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
