"""Step `transform` on real servers: what dbt builds, where, and what stops it."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sales_mart.dbt_runner.process import DbtProcess
from sales_mart.errors import (
    ConfigurationError,
    SupersededError,
    TemporaryError,
    TestFailedError,
)
from sales_mart.lake.records import Mode, Transform
from sales_mart.lake.temporary import hold_folder
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform, warm
from sales_mart.warehouses.bigquery import connection as bigquery
from sales_mart.warehouses.postgres import connection as postgres
from support import Row, row, sealed_run, token
from targets import Target
from warehouses import (
    BOTH,
    POSTGRES,
    Schemas,
    ask,
    change,
    loaded,
    next_schema,
    next_table,
    raw_table,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

RULES = {"product_prefix": "Halal", "min_price": "10", "max_quantity": 100}
HOSTILE = "O'Brien \\' \" -- {{ 1/0 }} {% x %} 100%_;\t\u00e9\U0001f600 $$ %(a)s"


@pytest.fixture(scope="module")
def built(
    schemas: Schemas, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[Config, RunFolder]]:
    """Give warehouses in which the marts of one run are built, and those of no run shown."""
    with schemas.config(**RULES) as config:
        lake = tmp_path_factory.mktemp("lake")
        run = loaded(config, sealed_run(config, lake, "r1", VALID + OUTSIDE))
        with warm(config, BOTH) as ready:
            transform(config, run, BOTH, warm=ready)
        yield config, run


def mart(config: Config, target: Target, name: str, columns: str) -> list[tuple[Any, ...]]:
    """Return the rows of a next mart in the order of their columns."""
    return sorted(ask(config, target, f"select {columns} from {next_table(config, target, name)}"))


def mean(prices: Sequence[Decimal]) -> Decimal:
    return (sum(prices, Decimal(0)) / len(prices)).quantize(Decimal("0.01"), ROUND_HALF_UP)


def measures(rows: Sequence[Row]) -> tuple[Decimal, int, int, Decimal]:
    """Return total_amount, total_quantity, transaction_count and avg_price in plain Python."""
    sold = [(item.price or Decimal(0), item.quantity or 0) for item in rows]
    amount = sum((price * quantity for price, quantity in sold), Decimal(0))
    prices = [price for price, _ in sold]
    return amount, sum(quantity for _, quantity in sold), len(sold), mean(prices)


def grouped(rows: Sequence[Row], *columns: str) -> list[tuple[tuple[Any, ...], list[Row]]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for item in rows:
        values = item._asdict() | {"sale_month": item.sale_date.replace(day=1)}
        groups[tuple(values[column] for column in columns)].append(item)
    return list(groups.items())


VALID = [
    row("T1", "2023-10-01", "10.00", 1),
    row("T2", "2023-10-31", "20.75", 2),
    row("T3", "2023-11-01", "999999999.99", 100),
    Row("T4", "Halal Kettle", Decimal("15.37"), 3, date(2023, 10, 1)),
    Row("T5", "Halal Kettle", Decimal("15.38"), 1, date(2023, 10, 2)),
    Row("T6", "Halal", Decimal("10.01"), 1, date(2024, 2, 29)),
]
OUTSIDE = [
    Row("X1", "Monitor", Decimal("20.00"), 1, date(2023, 10, 1)),
    Row("X2", None, Decimal("20.00"), 1, date(2023, 10, 1)),
    Row("X3", "Halal Mouse", Decimal("9.99"), 1, date(2023, 12, 1)),
    Row("X4", "Halal Mouse", None, 1, date(2023, 10, 1)),
    Row("X5", "Halal Mouse", Decimal("20.00"), 101, date(2023, 10, 1)),
    Row("X6", "Halal Mouse", Decimal("20.00"), None, date(2023, 10, 1)),
]


def test_both_warehouses_are_built_and_tested_at_once(built: tuple[Config, RunFolder]) -> None:
    config, run = built
    record = run.read("transform", Transform)
    assert [target.target for target in record.targets] == list(BOTH)
    for target in record.targets:
        assert (target.sequence, target.window) == (1, None)
        assert {node.status for node in target.nodes} == {"success", "pass"}
        assert len({node.unique_id for node in target.nodes}) > 15
    for target in BOTH:
        facts = mart(
            config, target, "fact_sales", "transaction_id, product, price, quantity, sale_date"
        )
        tokens = [item._replace(transaction_id=token(item.transaction_id)) for item in VALID]
        assert facts == sorted(tuple(item) for item in tokens)
        columns = "total_amount, total_quantity, transaction_count, avg_price"
        for name, key in (("sales_by_product", "product"), ("sales_by_date", "sale_date")):
            expected = sorted((*value, *measures(rows)) for value, rows in grouped(VALID, key))
            assert mart(config, target, name, f"{key}, {columns}") == expected
        columns = "product, sale_month, total_amount, transaction_count, avg_price"
        assert mart(config, target, "summary_sales", columns) == sorted(
            (*key, amount, count, average)
            for key, rows in grouped(VALID, "product", "sale_month")
            for amount, _, count, average in [measures(rows)]
        )


@pytest.mark.parametrize("target", BOTH)
def test_the_unit_tests_of_the_models_pass(built: tuple[Config, RunFolder], target: Target) -> None:
    with DbtProcess(built[0], target) as process:
        process.start("test", None, ("--select", "test_type:unit"))
        outcome = process.wait()
    assert outcome.failures == ()
    assert len(outcome.nodes) >= 9
    assert [node for node in outcome.nodes if node.status != "pass"] == []


def test_the_types_on_postgresql_are_those_of_the_contract(
    built: tuple[Config, RunFolder],
) -> None:
    config = built[0]
    found = ask(
        config,
        Target.POSTGRES,
        f"""
        select relname || '.' || attname, format_type(atttypid, atttypmod), attnotnull
        from pg_attribute
        inner join pg_class on pg_class.oid = attrelid
        where
            relnamespace = to_regnamespace('"{next_schema(config, Target.POSTGRES)}"')
            and relkind = 'r'
            and attnum > 0
        """,
    )
    types = {name: kind for name, kind, _ in found}
    assert all(required for _, _, required in found)
    assert types["pg_sales.amount"] == "numeric(29,2)"
    assert types["pg_sales.price"] == "numeric(18,2)"
    assert types["pg_sales.quantity"] == "bigint"
    assert types["sales_by_product.total_amount"] == "numeric(29,2)"
    assert types["sales_by_product.avg_price"] == "numeric(20,2)"
    assert types["summary_sales.sale_month"] == "date"
    assert types["summary_sales.transaction_count"] == "bigint"


def test_nothing_is_built_where_readers_look(built: tuple[Config, RunFolder]) -> None:
    config = built[0]
    where = f"'{config.data_mart.postgres_schema}'"
    sql = f"select count(*) from pg_namespace where nspname = {where}"
    assert ask(config, Target.POSTGRES, sql) == [(0,)]
    with bigquery.client(config) as client:
        names = {dataset.dataset_id for dataset in client.list_datasets()}
    assert config.data_mart.dataset not in names


def test_a_window_builds_its_dates_and_whole_months_only(config: Config, lake: Path) -> None:
    days = ("2023-10-01", "2023-10-31", "2023-11-01", "2023-12-24")
    first = sealed_run(config, lake, "r1", [row(f"T{day}", day) for day in days], mode=Mode.APPEND)
    loaded(config, first)
    transform(config, first, BOTH)
    reconcile(config, first, BOTH)
    publish(config, first, BOTH)

    batch = [row("N1", "2023-10-31", "30.00"), row("N2", "2023-11-02", "1.25")]
    second = sealed_run(config, lake, "r2", batch, mode=Mode.APPEND, business_date="2023-11-02")
    loaded(config, second)
    record = transform(config, second, BOTH)
    for target, result in zip(BOTH, record.targets, strict=True):
        assert result.window == (date(2023, 10, 31), date(2023, 11, 2))
        facts = mart(config, target, "fact_sales", "sale_date, amount")
        assert facts == [
            (date(2023, 10, 31), Decimal(20)),
            (date(2023, 10, 31), Decimal(30)),
            (date(2023, 11, 2), Decimal("1.25")),
        ]
        assert mart(config, target, "sales_by_date", "sale_date, transaction_count") == [
            (date(2023, 10, 31), 2),
            (date(2023, 11, 2), 1),
        ]
        assert mart(config, target, "summary_sales", "sale_month, total_amount, avg_price") == [
            (date(2023, 10, 1), Decimal(70), Decimal("23.33")),
            (date(2023, 11, 1), Decimal("21.25"), Decimal("10.63")),
        ]
        # All of history, though only two months of it were computed.
        assert mart(config, target, "sales_by_product", "total_amount, transaction_count") == [
            (Decimal("111.25"), 6)
        ]


@pytest.fixture
def hostile(schemas: Schemas) -> Generator[Config]:
    with schemas.config(product_prefix=HOSTILE) as lent:
        yield lent


def test_a_hostile_prefix_means_nothing_but_itself(hostile: Config, lake: Path) -> None:
    config = hostile
    products = (HOSTILE, f"{HOSTILE} Tea", HOSTILE.replace("%", "x"), HOSTILE.replace("_", "x"))
    rows = [
        Row(f"T{number}", product, Decimal("20.00"), 1, date(2023, 10, 1))
        for number, product in enumerate(products)
    ]
    run = loaded(config, sealed_run(config, lake, "r1", rows))
    transform(config, run, BOTH, select="+fact_sales")
    for target in BOTH:
        expected = [(HOSTILE,), (f"{HOSTILE} Tea",)]
        assert mart(config, target, "fact_sales", "product") == expected
    # A part of the marts can't be published, so nothing says that there are any.
    assert run.find("transform", Transform) is None


PLANTED = {
    "fact_sales_transaction_id_is_unique": "insert into {raw} select * from {raw} limit 1",
    "fact_sales_rows_are_valid": "update {raw} set transaction_id = upper(transaction_id)",
}


SELECTS_NOTHING = ("nosuchmodel", "fact_sales nosuchmodel", "fact_sales,summary_sales")
NO_SELECTION = ("--help", "-h", " ", "fact_sales --full-refresh", "--exclude=fact_sales")


def test_a_selection_of_nothing_is_refused(config: Config, lake: Path) -> None:
    run = loaded(config, sealed_run(config, lake, "r1", [row("T1", "2023-10-01")]), POSTGRES)
    for select in (*NO_SELECTION, *SELECTS_NOTHING):
        with pytest.raises(ConfigurationError) as caught:
            transform(config, run, POSTGRES, select=select)
        assert caught.value.exit_code == 2, select
        assert run.find("transform", Transform) is None


@pytest.mark.parametrize("name", list(PLANTED))
def test_a_failed_test_stops_the_run_and_says_where_to_look(
    name: str, config: Config, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALES_MART_DBT_FOLDER", str(tmp_path / "dbt"))
    run = loaded(config, sealed_run(config, lake, "r1", VALID), POSTGRES)
    run.write("transform", Transform(run_id="r1", targets=()))
    raw = raw_table(config, Target.POSTGRES)
    change(config, Target.POSTGRES, PLANTED[name].format(raw=raw))
    with pytest.raises(TestFailedError, match=f"{name} of fact_sales has") as raised:
        transform(config, run, POSTGRES)
    assert raised.value.exit_code == 65
    failed = raised.value.details["tests"]
    assert isinstance(failed, list)
    compiled = Path(failed[0]["compiled_path"])
    # A person can run the file to see the rows.
    assert ask(config, Target.POSTGRES, compiled.read_text())
    assert run.find("transform", Transform) is None
    password = config.data_warehouse.postgres.password
    assert password is not None
    for path in (tmp_path / "dbt").rglob("*"):
        assert not path.is_file() or password.get_secret_value().encode() not in path.read_bytes()


def test_a_lock_that_another_holds_is_worth_a_retry(config: Config, lake: Path) -> None:
    config = config.model_copy(
        update={"data_warehouse": config.data_warehouse.model_copy(update={"lock_timeout": 1})}
    )
    run = loaded(config, sealed_run(config, lake, "r1", VALID), POSTGRES)
    raw = raw_table(config, Target.POSTGRES)
    with postgres.connect(config) as connection:
        connection.execute(f"lock table {raw}".encode())
        with pytest.raises(TemporaryError, match="SQLSTATE 55P03") as raised:
            transform(config, run, POSTGRES, select="stg_transactions")
    assert raised.value.exit_code == 75


def test_two_that_build_the_same_marts_take_turns(config: Config, lake: Path) -> None:
    config = config.model_copy(
        update={"data_warehouse": config.data_warehouse.model_copy(update={"lock_timeout": 1})}
    )
    run = loaded(config, sealed_run(config, lake, "r1", VALID), POSTGRES)
    schema = next_schema(config, Target.POSTGRES)
    with postgres.connect(config) as connection:
        postgres.ensure_lock(connection, schema)
        connection.execute(f'lock table "{schema}".target_lock in exclusive mode'.encode())
        with pytest.raises(TemporaryError, match="SQLSTATE 55P03"):
            transform(config, run, POSTGRES)
    tables = f"select tablename from pg_tables where schemaname = '{schema}'"
    assert ask(config, Target.POSTGRES, tables) == [("target_lock",)]


def test_two_runs_of_one_lake_do_not_build_at_once(config: Config, lake: Path) -> None:
    config = config.model_copy(
        update={"data_warehouse": config.data_warehouse.model_copy(update={"lock_timeout": 1})}
    )
    run = loaded(config, sealed_run(config, lake, "r1", VALID), POSTGRES)
    with hold_folder(lake / "runs", 0), pytest.raises(TemporaryError, match="another process"):
        transform(config, run, POSTGRES)


def test_a_newer_load_supersedes_the_run(config: Config, lake: Path) -> None:
    run = loaded(config, sealed_run(config, lake, "r1", VALID), POSTGRES)
    loaded(config, sealed_run(config, lake, "r2", VALID), POSTGRES)
    with pytest.raises(SupersededError):
        transform(config, run, POSTGRES)


def test_a_process_ends_with_its_context(config: Config) -> None:
    with warm(config, (Target.POSTGRES,)) as ready:
        process = ready.take(Target.POSTGRES)
        assert process is not None
        process.close()
        assert not process.folder.exists()
