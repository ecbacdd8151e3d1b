"""Step `publish` against a real PostgreSQL server."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from sales_mart.errors import (
    ConfigurationError,
    TemporaryError,
    UnexpectedError,
)
from sales_mart.lake.records import Load, Mode, Publish, Reconcile, TargetTransform, Transform
from sales_mart.names import PRODUCT_MONTHS, PUBLICATIONS, QUALITY_HISTORY, raw_schema
from sales_mart.steps.publish import publish
from sales_mart.warehouses.history import pending_window
from sales_mart.warehouses.postgres.connection import connect, lock_target
from sales_mart.warehouses.postgres.load import load
from sales_mart.warehouses.postgres.reader import PostgresSession
from sales_mart.warehouses.postgres.versions import current_version, partition_name
from support import Row, row, sealed_run
from targets import Target
from warehouses import mart_schema, next_schema, publish_marts, published_tables

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.windows import Window

D1, D2, D3 = "2023-10-01", "2023-10-02", "2023-11-03"
PG = Target.POSTGRES

SUMS = """
    cast(sum(price * quantity) as numeric(29, 2)) as total_amount,
    cast(sum(quantity) as bigint) as total_quantity,
    count(*) as transaction_count
"""
MEAN = "cast(avg(price) as numeric(20, 2)) as avg_price"
TOTAL_PRICE = "cast(sum(price) as numeric(29, 2)) as total_price"
MONTH = "cast(date_trunc('month', sale_date) as date)"
# What dbt builds, reduced to what publishing cares about: grain, columns, and only the window.
MODELS = {
    "pg_sales": """
        select transaction_id, product, price, quantity,
            cast(price * quantity as numeric(29, 2)) as amount, sale_date
        from {raw} where {days}
    """,
    "sales_by_date": f"""
        select sale_date, {SUMS}, {MEAN} from {{raw}} where {{days}} group by sale_date
    """,
    "sales_by_product": f"select product, {SUMS}, {MEAN} from {{raw}} group by product",
    "summary_sales": f"""
        select product, {MONTH} as sale_month, {SUMS}, {MEAN}
        from {{raw}} where {{months}} group by 1, 2
    """,
    PRODUCT_MONTHS: f"""
        select product, {MONTH} as sale_month, {SUMS}, {TOTAL_PRICE}
        from {{raw}} where {{months}} group by 1, 2
    """,
}


class Built(NamedTuple):
    """A run that is loaded, and whose next marts are built."""

    run: RunFolder
    window: Window
    sequence: int


def build(config: Config, run: RunFolder) -> Built:
    """Build the next marts of the latest load, as `transform` would."""
    with connect(config) as connection:
        sequence, window = pending_window(PostgresSession(connection, config))
        home = Identifier(next_schema(config, PG))
        connection.execute(SQL("drop schema if exists {} cascade").format(home))
        connection.execute(SQL("create schema {}").format(home))
        days = SQL("true")
        months = SQL("true")
        if window is not None:
            days = SQL("sale_date = any({})").format(Literal(list(window)))
            months = SQL(MONTH + " = any({})").format(
                Literal([day.replace(day=1) for day in window])
            )
        for name, model in MODELS.items():
            select = SQL(model).format(  # pyright: ignore[reportArgumentType]
                raw=Identifier(raw_schema(config), config.data_warehouse.table),
                days=days,
                months=months,
            )
            connection.execute(
                SQL("create table {} as {}").format(
                    Identifier(next_schema(config, PG), name), select
                )
            )
        connection.commit()
    return Built(run, window, sequence)


def loaded(  # noqa: PLR0913 - a run has many facts
    config: Config,
    lake: Path,
    run_id: str,
    rows: Sequence[Row],
    *,
    day: str = D1,
    mode: Mode = Mode.REPLACE,
) -> Built:
    """Load rows and build the next marts of them."""
    run = sealed_run(config, lake, run_id, rows, business_date=day, mode=mode)
    load(config, run)
    return build(config, run)


def show(config: Config, built: Built) -> dict[str, int]:
    """Publish what was built."""
    marks = numbers(config)
    return publish_marts(config, PG, built.run, built.window, built.sequence, marks).rows


def published(  # noqa: PLR0913 - a run has many facts
    config: Config,
    lake: Path,
    run_id: str,
    rows: Sequence[Row],
    *,
    day: str = D1,
    mode: Mode = Mode.REPLACE,
) -> Built:
    """Load, build and publish."""
    built = loaded(config, lake, run_id, rows, day=day, mode=mode)
    show(config, built)
    return built


@contextmanager
def session(config: Config) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
    """Open a connection in autocommit mode, like an analyst's."""
    with connect(config) as connection:
        connection.autocommit = True
        yield connection


def live(config: Config, table: str = "pg_sales") -> Identifier:
    return Identifier(published_tables(config, PG)[table][0], table)


def state(
    config: Config, connection: psycopg.Connection[tuple[Any, ...]]
) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Read the total of each of the four marts in one statement."""
    names = ("pg_sales", "sales_by_date", "sales_by_product", "summary_sales")
    statement = SQL("""
        select
            (select coalesce(sum(amount), 0) from {}),
            (select coalesce(sum(total_amount), 0) from {}),
            (select coalesce(sum(total_amount), 0) from {}),
            (select coalesce(sum(total_amount), 0) from {})
    """).format(*(live(config, name) for name in names))
    found = connection.execute(statement).fetchone()
    assert found is not None
    return found[0], found[1], found[2], found[3]


def contents(config: Config) -> dict[str, set[tuple[Any, ...]]]:
    """Read all published tables."""
    with session(config) as connection:
        return {
            name: set(connection.execute(SQL("select * from {}").format(live(config, name))))
            for name in published_tables(config, PG)
        }


def shown_table(config: Config, name: str) -> Identifier:
    """Return the table with the version that a view shows."""
    with connect(config) as connection:
        version = current_version(connection, config, name)
    return Identifier(raw_schema(config), partition_name(name, version))


def test_indexes_and_comments_survive(config: Config, lake: Path) -> None:
    built = loaded(config, lake, "a", [row("T1", D1)])
    following = Identifier(next_schema(config, PG), "pg_sales")
    with session(config) as connection:
        for place, text in (("table {}", "All sales"), ("column {}.sale_date", "One day")):
            connection.execute(
                SQL("comment on " + place + " is {}").format(following, Literal(text))  # pyright: ignore[reportArgumentType]
            )
    show(config, built)
    published(config, lake, "b", [row("T1", D1), row("T2", D2)])
    with session(config) as connection:
        indexed = connection.execute(
            "select substring(tablename from '__(.*)$'), indexdef from pg_indexes"
            " where schemaname = %s and tablename like 'v%%'",
            (raw_schema(config),),
        ).fetchall()
        comments = connection.execute(
            "select objsubid, description from pg_description where objoid = to_regclass(%s)"
            " order by objsubid",
            (f"{mart_schema(config, PG)}.pg_sales",),
        ).fetchall()
    assert {(name, found.rpartition(" ")[2]) for name, found in indexed} == {
        ("pg_sales", "(sale_date)"),
        ("sales_by_date", "(sale_date)"),
        ("summary_sales", "(sale_month)"),
        (PRODUCT_MONTHS, "(sale_month)"),
    }
    assert len(indexed) == 4
    assert [text for _, text in comments] == ["All sales", "One day"]


def rebuilt(config: Config) -> dict[str, set[tuple[Any, ...]]]:
    """Compute every mart from the raw table at once."""
    raw = Identifier(raw_schema(config), config.data_warehouse.table)
    everything = SQL("true")
    with session(config) as connection:
        return {
            name: set(
                connection.execute(
                    SQL(model).format(raw=raw, days=everything, months=everything)  # pyright: ignore[reportArgumentType]
                )
            )
            for name, model in MODELS.items()
        }


def versions(config: Config, table: str, key: str) -> dict[Any, str]:
    """Return the transaction that wrote each live row."""
    statement = SQL("select {}, xmin::text from {}").format(
        Identifier(key), shown_table(config, table)
    )
    with session(config) as connection:
        return dict(connection.execute(statement).fetchall())


def test_rows_outside_of_the_window_are_not_touched(config: Config, lake: Path) -> None:
    published(config, lake, "a", [row("T1", D1), row("T2", D3)], mode=Mode.APPEND)
    before = {
        "pg_sales": versions(config, "pg_sales", "sale_date"),
        "sales_by_date": versions(config, "sales_by_date", "sale_date"),
        "summary_sales": versions(config, "summary_sales", "sale_month"),
        PRODUCT_MONTHS: versions(config, PRODUCT_MONTHS, "sale_month"),
    }
    published(config, lake, "b", [row("T3", D2)], day=D2, mode=Mode.APPEND)
    for table, key in (("pg_sales", "sale_date"), ("sales_by_date", "sale_date")):
        after = versions(config, table, key)
        del after[date.fromisoformat(D2)]
        assert after == before[table]
    for table in ("summary_sales", PRODUCT_MONTHS):
        after = versions(config, table, "sale_month")
        october, november = date(2023, 10, 1), date(2023, 11, 1)
        assert after[october] != before[table][october]
        assert after[november] == before[table][november]


def test_a_snapshot_copies_no_row(config: Config, lake: Path) -> None:
    published(config, lake, "a", [row("T1", D1), row("T2", D2)])
    built = loaded(config, lake, "b", [row("T1", D1), row("T2", D2, "7.00"), row("T3", D3)])
    tables = numbers(config)
    show(config, built)
    with session(config) as connection:
        for name in MODELS:
            shown = shown_table(config, name).as_string(connection)
            asked = connection.execute("select to_regclass(%s)::oid::text", (shown,))
            assert asked.fetchall() == [(tables[name],)]
    assert contents(config) == rebuilt(config)


def test_the_same_run_again_changes_nothing(config: Config, lake: Path) -> None:
    built = loaded(config, lake, "a", [row("T1", D1)])
    first = show(config, built)
    before = versions(config, "sales_by_product", "product")
    assert show(config, build(config, built.run)) == first
    assert show(config, built) == first
    assert versions(config, "sales_by_product", "product") == before
    with session(config) as connection:
        done = connection.execute(
            SQL("select run_id, sequence, mart_rules_digest from {}").format(
                Identifier(raw_schema(config), PUBLICATIONS)
            )
        ).fetchall()
    assert done == [("a", 1, config.mart_rules_digest)]


def test_a_view_and_a_grant_of_an_analyst_survive(config: Config, lake: Path) -> None:
    published(config, lake, "a", [row("T1", D1)])
    role = Identifier(f"analyst_{uuid.uuid4().hex[:12]}")
    view = Identifier(mart_schema(config, PG), "my_sales")
    with session(config) as connection:
        connection.execute(SQL("create role {}").format(role))
        try:
            connection.execute(
                SQL("create view {} as select sale_date, amount from {}").format(view, live(config))
            )
            for statement in (
                SQL("grant usage on schema {} to {}").format(
                    Identifier(mart_schema(config, PG)), role
                ),
                SQL("grant select on {}, {}, {} to {}").format(
                    live(config), view, Identifier(mart_schema(config, PG), QUALITY_HISTORY), role
                ),
            ):
                connection.execute(statement)
            published(config, lake, "b", [row("T1", D1), row("T2", D2)])
            published(config, lake, "c", [row("T3", D3)], day=D3, mode=Mode.APPEND)
            connection.execute(SQL("set role {}").format(role))
            for relation in (view, live(config)):
                count = connection.execute(
                    SQL("select count(*) from {}").format(relation)
                ).fetchone()
                assert count == (3,)
            runs = SQL("select run_id from {} order by sequence").format(
                Identifier(mart_schema(config, PG), QUALITY_HISTORY)
            )
            assert connection.execute(runs).fetchall() == [("a",), ("b",), ("c",)]
        finally:
            connection.execute("reset role")
            connection.execute(SQL("drop owned by {}").format(role))
            connection.execute(SQL("drop role {}").format(role))


@pytest.mark.parametrize("mode", list(Mode))
def test_an_older_snapshot_sees_the_old_marts_whole(config: Config, lake: Path, mode: Mode) -> None:
    published(config, lake, "a", [row("T1", D1, "1.00"), row("T2", D2, "2.00")])
    built = loaded(config, lake, "b", [row("T3", D2, "5.00")], day=D2, mode=mode)
    with connect(config) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        # The snapshot is taken by a statement that touches no mart.
        reader.execute("select 1 from pg_class limit 1")
        show(config, built)
        assert state(config, reader) == (Decimal("3.00"),) * 4
        reader.rollback()
        new = Decimal("5.00") if mode is Mode.REPLACE else Decimal("8.00")
        assert state(config, reader) == (new,) * 4


def test_a_reader_in_an_open_transaction_keeps_nobody_waiting(config: Config, lake: Path) -> None:
    published(config, lake, "a", [row("T1", D1)])
    built = loaded(config, lake, "b", [row("T2", D2)])
    with connect(config) as reader:
        state(config, reader)  # holds a read lock on every mart until its transaction ends
        assert show(config, built)["pg_sales"] == 1


def test_rows_outside_of_the_window_are_a_bug(config: Config, lake: Path) -> None:
    published(config, lake, "a", [row("T1", D1)], mode=Mode.APPEND)
    built = loaded(config, lake, "b", [row("T2", D2)], day=D2, mode=Mode.APPEND)
    with session(config) as connection:
        connection.execute(
            SQL("update {} set sale_date = {}").format(
                Identifier(next_schema(config, PG), "pg_sales"), Literal(date(2023, 12, 1))
            )
        )
    with pytest.raises(UnexpectedError, match="1 rows outside of the window"):
        show(config, built)


def numbers(config: Config) -> dict[str, str]:
    """Return what tells the next tables apart from others of their names."""
    with connect(config) as connection:
        found = connection.execute(
            "select relname, oid::text from pg_class where relnamespace = to_regnamespace(%s)",
            (next_schema(config, PG),),
        )
        return dict(found.fetchall())


def test_a_held_lock_is_temporary(config: Config, lake: Path) -> None:
    built = loaded(config, lake, "a", [row("T1", D1)])
    warehouse = config.data_warehouse.model_copy(update={"lock_timeout": 1})
    with connect(config) as connection:
        lock_target(connection, config)
        with pytest.raises(TemporaryError, match="another run holds the lock"):
            show(config.model_copy(update={"data_warehouse": warehouse}), built)


def audited(config: Config, built: Built, *, transformed: int = 0, reconciled: int = 0) -> None:
    """Write the records that `transform` and `reconcile` leave; the numbers shift sequences."""
    marts = TargetTransform(
        target=PG,
        sequence=built.sequence + transformed,
        window=built.window,
        nodes=(),
        seconds=0.0,
        built=numbers(config),
    )
    built.run.write("transform", Transform(run_id=built.run.run_id, targets=(marts,)))
    reconcile = Reconcile(
        run_id=built.run.run_id,
        targets=(PG,),
        days=1,
        rows=1,
        amount=Decimal(1),
        quantity=1,
        sequences={PG: built.sequence + reconciled},
    )
    built.run.write("reconcile", reconcile)


def test_the_step_publishes_what_was_audited(config: Config, lake: Path) -> None:
    built = loaded(config, lake, "a", [row("T1", D1)])
    before = datetime.now(UTC)
    audited(config, built)
    record = publish(config, built.run, [PG])
    assert record == built.run.read("publish", Publish)
    assert record.rows[PG]["pg_sales"] == 1
    after = datetime.now(UTC)
    assert before <= record.published_at <= after
    # Nothing is shown anew, so the marts do not look younger than they are.
    assert publish(config, built.run, [PG]) == record


@pytest.mark.parametrize("step", ["transform", "reconcile"])
def test_the_step_refuses_what_was_not_audited(config: Config, lake: Path, step: str) -> None:
    built = loaded(config, lake, "a", [row("T1", D1)])
    with pytest.raises(ConfigurationError, match="no record"):
        publish(config, built.run, [PG])
    # Records of an earlier load of the same run: A, then B, then A again.
    audited(config, built, transformed=-(step == "transform"), reconciled=-(step == "reconcile"))
    with pytest.raises(ConfigurationError, match=f"has not passed {step}"):
        publish(config, built.run, [PG])
    assert built.run.find("publish", Publish) is None
    assert built.run.read("load-postgres", Load).sequence == 1
