"""Which days a catch-up runs: those that a warehouse has not loaded."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from sales_mart.lake.records import Mode
from sales_mart.steps.backfill import loaded_days, unloaded_days
from sales_mart.warehouses.bigquery.load import load as load_bigquery
from sales_mart.warehouses.postgres.load import load as load_postgres
from support import row, sealed_run
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config

FIRST = date(2023, 10, 1)
DAYS = [FIRST + timedelta(days=ordinal) for ordinal in range(4)]


def test_a_day_is_missing_until_every_warehouse_has_it(config: Config, lake: Path) -> None:
    assert unloaded_days(config, DAYS) == DAYS
    runs = [
        sealed_run(
            config,
            lake,
            f"day-{day}",
            [row(f"T{ordinal}", str(day))],
            business_date=str(day),
            mode=Mode.APPEND,
        )
        for ordinal, day in enumerate(DAYS[:3])
    ]
    for run in (runs[0], runs[2]):
        load_postgres(config, run)
    load_bigquery(config, runs[0])
    assert loaded_days(config, Target.POSTGRES) == {DAYS[0], DAYS[2]}
    assert loaded_days(config, Target.BIGQUERY) == {DAYS[0]}
    assert unloaded_days(config, DAYS) == DAYS[1:]
    assert unloaded_days(config, DAYS, [Target.POSTGRES]) == [DAYS[1], DAYS[3]]


def test_a_snapshot_takes_the_days_before_it_away(config: Config, lake: Path) -> None:
    day = sealed_run(
        config, lake, "day", [row("T1", str(FIRST))], business_date=str(FIRST), mode=Mode.APPEND
    )
    snapshot = sealed_run(config, lake, "all", [row("T2", str(FIRST))])
    for load, target in ((load_postgres, Target.POSTGRES), (load_bigquery, Target.BIGQUERY)):
        load(config, day)
        assert loaded_days(config, target) == {FIRST}
        load(config, snapshot)
        assert loaded_days(config, target) == set()
