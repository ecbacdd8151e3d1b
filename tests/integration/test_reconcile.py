"""Step `reconcile` on real servers: it passes what agrees, and finds each planted difference."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from sales_mart.errors import ConfigurationError, ReconciliationError, SupersededError
from sales_mart.lake.records import Mode, Reconcile, Transform
from sales_mart.lake.runs import RunFolder
from sales_mart.marts import fact, marts_of
from sales_mart.names import LOAD_RUNS, raw_schema
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform
from sales_mart.warehouses.base import open_warehouse
from support import Row, row, sealed_run, token
from targets import Target
from warehouses import (
    BOTH,
    POSTGRES,
    Schemas,
    ask,
    change,
    dialect,
    loaded,
    next_table,
    raw_table,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from sales_mart.config import Config

PG, BQ = BOTH
D1, D2 = "2023-10-01", "2023-10-02"
# Amounts that a text of theirs could show in several ways.
ROWS = [
    row("T1", D1, "10.00", 1),
    row("T2", D1, "10.10", 7),
    row("T3", D1, "0.05", 1),
    row("T4", D2, "99999999999999.99", 3),
    row("T5", "0007-02-03", "100", 100),
    Row("T6", "a|b'c\\d é\U0001f600", Decimal("12.34"), 2, date.fromisoformat(D2)),
    Row("T7", "Halal Ink", Decimal("12.34"), 2, date.fromisoformat(D2)),
]
OUTSIDE = [Row("X1", None, Decimal("7.00"), 1, date(2023, 10, 1)), row("X2", D1, "7.00", 101)]
AMOUNT = sum(((item.price or 0) * (item.quantity or 0) for item in ROWS), Decimal(0))


@pytest.fixture(scope="module")
def built(
    schemas: Schemas, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Config, RunFolder]]:
    """Give warehouses in which the marts of one run are built, with a copy of what they hold."""
    with schemas.config() as config:
        lake = tmp_path_factory.mktemp("lake")
        run = loaded(config, sealed_run(config, lake, "r1", ROWS + OUTSIDE))
        transform(config, run, BOTH)
        for target in BOTH:
            for name in _tables(config, target).values():
                change(config, target, f"create table {_copy(name)} as select * from {name}")
        yield config, run


@pytest.fixture
def plant(built: tuple[Config, RunFolder]) -> Generator[Callable[[Target, str], None]]:
    """Yield what changes a warehouse; everything is put back afterwards."""
    config, _ = built
    touched: set[Target] = set()

    def changed(target: Target, sql: str) -> None:
        touched.add(target)
        change(config, target, sql.format(**_tables(config, target)))

    yield changed
    for target in touched:
        for name in _tables(config, target).values():
            restore = f"insert into {name} select * from {_copy(name)}"
            change(config, target, f"delete from {name} where true", restore)


def _tables(config: Config, target: Target) -> dict[str, str]:
    models = [mart.model for mart in marts_of(open_warehouse(config, target))]
    found = {
        "fact" if model == "fact_sales" else model: next_table(config, target, model)
        for model in models
    }
    return {**found, "raw": raw_table(config, target)}


def _copy(name: str) -> str:
    return f"{name[:-1]}_copy{name[-1]}"


def differences(built: tuple[Config, RunFolder], targets: tuple[Target, ...] = BOTH) -> Any:
    with pytest.raises(ReconciliationError) as raised:
        reconcile(*built, targets)
    assert raised.value.exit_code == 65
    assert "T1" not in raised.value.message
    return raised.value


def test_marts_that_agree_pass(built: tuple[Config, RunFolder]) -> None:
    config, run = built
    record = reconcile(config, run, BOTH)
    assert run.read("reconcile", Reconcile) == record
    assert (record.days, record.rows, record.amount) == (3, len(ROWS), AMOUNT)
    assert record.sequences == {PG: 1, BQ: 1}


@pytest.mark.parametrize("target", BOTH)
def test_one_warehouse_is_held_against_the_seal(
    built: tuple[Config, RunFolder], target: Target
) -> None:
    record = reconcile(*built, (target,))
    assert (record.targets, record.rows) == ((target,), len(ROWS))


@pytest.mark.parametrize("target", BOTH)
def test_a_cent_is_found(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None], target: Target
) -> None:
    where = f"where transaction_id = '{token('T2')}'"
    plant(target, f"update {{fact}} set amount = amount + 0.01 {where}")
    error = differences(built)
    (day,) = error.details["days"]
    assert day["day"] == D1
    assert day["differing_rows"] == {
        "only in postgres": 0,
        "only in bigquery": 0,
        "with other values": 1,
    }
    assert f"{target}: the fact table has 7 rows" in error.message


def test_a_lost_row_is_found(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None]
) -> None:
    plant(BQ, f"delete from {{fact}} where transaction_id = '{token('T3')}'")
    error = differences(built)
    (day,) = error.details["days"]
    assert day["differing_rows"]["only in postgres"] == 1
    assert day["differing_rows"]["only in bigquery"] == 0
    assert (day["postgres"]["rows"], day["bigquery"]["rows"]) == (3, 2)


def test_a_row_on_another_day_is_found_though_the_totals_agree(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None]
) -> None:
    plant(PG, f"update {{fact}} set sale_date = date '{D2}' where transaction_id = '{token('T1')}'")
    error = differences(built)
    assert error.details["findings"] == []
    assert [day["day"] for day in error.details["days"]] == [D1, D2]


def test_values_that_swapped_rows_are_found_though_every_sum_agrees(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None]
) -> None:
    """Only the checksum knows which product belongs to which row."""
    plant(
        PG,
        "update {fact} set product = case product "
        "when 'Halal Ink' then 'Halal Mouse' else 'Halal Ink' end "
        f"where transaction_id in ('{token('T7')}', '{token('T4')}')",
    )
    error = differences(built)
    (day,) = error.details["days"]
    assert day["differing_rows"]["with other values"] == 2


INK, OTHER = "product = 'Halal Ink'", "product like 'a|%'"
A_CENT = {
    "sales_by_date": f"total_amount = total_amount + 0.01 where sale_date = date '{D1}'",
    "sales_by_product": f"total_amount = total_amount + 0.01 where {INK}",
    "sales_by_product_month": f"total_price = total_price + 0.01 where {INK}",
    "summary_sales": f"total_amount = total_amount - 0.01 where {INK}",
}
A_MEAN = {
    "sales_by_date": f"avg_price = avg_price + 0.01 where sale_date = date '{D1}'",
    "sales_by_product": f"avg_price = avg_price + 0.01 where {INK}",
    "summary_sales": f"avg_price = avg_price - 0.01 where {INK}",
}
WITH_EQUAL_SUMS = {
    "sales_by_date": f"""
        transaction_count = case when sale_date = date '{D1}' then 1 else 3 end
        where transaction_count in (1, 3)
    """,
    "sales_by_product": """
        product = case when product = 'Halal Ink' then 'Halal Mouse' else 'Halal Ink' end
        where product in ('Halal Ink', 'Halal Mouse')
    """,
    "sales_by_product_month": f"sale_month = date '2023-09-01' where {OTHER}",
    "summary_sales": f"product = 'Halal Inc' where {INK}",
}


@pytest.mark.parametrize("target", BOTH)
@pytest.mark.parametrize("changes", [A_CENT, WITH_EQUAL_SUMS, A_MEAN])
def test_marts_that_differ_though_the_facts_agree_are_found(
    built: tuple[Config, RunFolder],
    plant: Callable[[Target, str], None],
    target: Target,
    changes: dict[str, str],
) -> None:
    for mart, change_of_mart in changes.items():
        plant(target, f"update {{{mart}}} set {change_of_mart}")
    error = differences(built)
    findings = error.details["findings"]
    assert sorted(finding.split()[0] for finding in findings) == sorted(changes)
    assert error.details["days"] == []


def test_a_product_that_one_warehouse_lost_is_found(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None]
) -> None:
    plant(BQ, f"delete from {{sales_by_product}} where {INK}")
    assert "sales_by_product of postgres (3 rows) and of bigquery (2 rows)" in (
        differences(built).message
    )


def test_a_loss_that_both_share_is_found_by_the_seal(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None]
) -> None:
    for target in BOTH:
        for name in ("{fact}", "{raw}"):
            plant(target, f"delete from {name} where transaction_id = '{token('T2')}'")
    error = differences(built)
    assert error.details["days"] == []
    assert [finding.partition(":")[0] for finding in error.details["findings"]] == [
        *("postgres", "postgres"),
        *("bigquery", "bigquery"),
    ]
    assert "the raw table has 8 rows" in error.message


def test_a_loss_in_the_marts_of_both_is_found_by_the_raw_table(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None]
) -> None:
    for target in BOTH:
        plant(target, f"delete from {{fact}} where transaction_id = '{token('T2')}'")
    error = differences(built)
    assert len(error.details["findings"]) == 2
    assert "left out: missing_product 1, quantity_range 1" in error.message


def test_a_cent_in_the_raw_table_is_found(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None]
) -> None:
    plant(PG, f"update {{raw}} set price = price + 0.01 where transaction_id = '{token('T1')}'")
    error = differences(built, POSTGRES)
    assert "sealed" in error.message


def test_a_new_run_of_the_same_input_cures_a_table_that_was_changed(
    config: Config, tmp_path: Path
) -> None:
    run = loaded(config, sealed_run(config, tmp_path, "r1", ROWS), POSTGRES)
    raw = raw_table(config, PG)
    dearer = "price = price + 1, amount = amount + quantity"
    change(config, PG, f"update {raw} set {dearer} where product = 'Halal Ink'")
    transform(config, run, POSTGRES)
    with pytest.raises(ReconciliationError) as raised:
        reconcile(config, run, POSTGRES)
    assert "new run of the same input" in raised.value.remedy
    again = loaded(config, sealed_run(config, tmp_path, "r2", ROWS), POSTGRES)
    transform(config, again, POSTGRES)
    assert reconcile(config, again, POSTGRES).amount == AMOUNT


def test_rejected_rows_that_a_warehouse_tells_otherwise_are_found(
    built: tuple[Config, RunFolder],
) -> None:
    config, _ = built
    name = table(config, PG, raw_schema(config), LOAD_RUNS)
    edits = {
        "rejects": "'{\"price_format\": 1}'",
        "rows_rejected": "1",
        "rows_read": str(len(ROWS)),
    }
    for column, value in edits.items():
        ((kept,),) = ask(config, PG, f"select {column} from {name}")
        change(config, PG, f"update {name} set {column} = {value}")
        try:
            error = differences(built)
        finally:
            change(config, PG, f"update {name} set {column} = {dialect(config, PG).literal(kept)}")
        assert [column in each for each in error.details["findings"]] == [True, False]
        assert error.details["findings"][1] == (
            "load_runs of postgres and of bigquery have other rejected rows of run r1"
        )
    reconcile(*built, BOTH)


def test_rows_of_another_run_are_found(
    built: tuple[Config, RunFolder], plant: Callable[[Target, str], None]
) -> None:
    plant(PG, f"update {{raw}} set run_id = 'other' where transaction_id = '{token('X2')}'")
    assert "1 rows of other runs" in differences(built, POSTGRES).message


def test_both_warehouses_hash_a_row_alike(built: tuple[Config, RunFolder]) -> None:
    """Equal sums could hide two errors, equal checksums of single rows can't."""
    config = built[0]
    facts = fact(marts_of(open_warehouse(config, PG))).columns
    found = [
        sorted(
            (str(identifier), int(checksum))
            for identifier, checksum in ask(
                config,
                target,
                f"select transaction_id, {dialect(config, target).row_checksum(facts)} as checksum "
                f"from {next_table(config, target, 'fact_sales')}",
            )
        )
        for target in BOTH
    ]
    assert found[0] == found[1]
    assert len({checksum for _, checksum in found[0]}) == len(ROWS)


def test_marts_of_an_older_load_do_not_pass(built: tuple[Config, RunFolder]) -> None:
    config, run = built
    record = run.read("transform", Transform)
    older = [target.model_copy(update={"sequence": 0}) for target in record.targets]
    run.write("transform", record.model_copy(update={"targets": tuple(older)}))
    try:
        with pytest.raises(ConfigurationError, match="has not passed transform"):
            reconcile(config, run, POSTGRES)
    finally:
        run.write("transform", record)


def test_an_appended_batch_is_held_against_its_own_seal(config: Config, tmp_path: Path) -> None:
    """The last one yields a row to a later business date, and changes an old day."""
    batches = {
        D2: [row("T1", D1), row("T2", D2), row("T3", D2, "7.77")],
        D1: [row("T1", D1), row("T4", D1), row("T3", D1)],
    }
    records: list[Reconcile] = []
    for number, (day, rows) in enumerate(batches.items()):
        run = sealed_run(config, tmp_path, f"r{number}", rows, mode=Mode.APPEND, business_date=day)
        loaded(config, run, POSTGRES)
        transform(config, run, POSTGRES)
        records.append(reconcile(config, run, POSTGRES))
    assert [record.rows for record in records] == [3, 4]
    assert records[-1].amount == Decimal("67.77")
    with pytest.raises(SupersededError):
        reconcile(config, RunFolder(str(tmp_path), "r0"), POSTGRES)


def test_a_warehouse_without_the_history_is_found(config: Config, tmp_path: Path) -> None:
    """Days that only one of them has to catch up are its own; all products are of both."""
    first = sealed_run(config, tmp_path, "r0", [row("T1", D1)], business_date=D1)
    loaded(config, first, POSTGRES)
    transform(config, first, POSTGRES)
    reconcile(config, first, POSTGRES)
    publish(config, first, POSTGRES)
    batch = [row("T2", D2)]
    run = sealed_run(config, tmp_path, "r1", batch, mode=Mode.APPEND, business_date=D2)
    loaded(config, run)
    transform(config, run, BOTH)
    error = differences((config, run))
    (finding,) = error.details["findings"]
    assert finding.startswith("sales_by_product of postgres")
    assert "load it there with `--target`" in error.remedy
