"""Step `load` against a real PostgreSQL server."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier

from append_story import D1, D2, D3
from sales_mart.errors import (
    ConfigurationError,
    DataError,
    TemporaryError,
)
from sales_mart.lake.records import Load, Mode
from sales_mart.names import raw_schema
from sales_mart.warehouses.admission import LoadOptions
from sales_mart.warehouses.history import latest_load
from sales_mart.warehouses.postgres.connection import connect, lock_target
from sales_mart.warehouses.postgres.load import load
from sales_mart.warehouses.postgres.reader import PostgresSession
from support import Row, row, sealed_run, token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sales_mart.config import Config


def query(config: Config, statement: str, *names: str) -> list[tuple[Any, ...]]:
    """Run a statement on the raw schema's tables and commit it."""
    with connect(config) as connection:
        identifiers = [Identifier(raw_schema(config), name) for name in names]
        cursor = connection.execute(SQL(statement).format(*identifiers))  # pyright: ignore[reportArgumentType]
        rows = cursor.fetchall() if cursor.description else []
        connection.commit()
        return rows


def raw_rows(config: Config) -> list[tuple[Any, ...]]:
    """Return the valid columns, run and batch of every visible raw row, in the order of tokens."""
    return query(
        config,
        "select transaction_id, product, price, quantity, sale_date, run_id, business_date"
        " from {} where superseded_by is null order by transaction_id",
        config.data_warehouse.table,
    )


def append(config: Config, lake: Path, run_id: str, day: str, rows: Sequence[Row]) -> Load:
    """Load `rows` as the batch of `day`."""
    run = sealed_run(config, lake, run_id, rows, business_date=day, mode=Mode.APPEND)
    return load(config, run)


def with_lock_timeout(config: Config, seconds: int) -> Config:
    warehouse = config.data_warehouse.model_copy(update={"lock_timeout": seconds})
    return config.model_copy(update={"data_warehouse": warehouse})


def test_replace_keeps_the_staging_view(config: Config, lake: Path) -> None:
    load(config, sealed_run(config, lake, "a", [row("T1", D1)]))
    table = config.data_warehouse.table
    query(config, "create view {} as select * from {}", "stg_transactions", table)
    append(config, lake, "b", D2, [row("T2", D2)])
    whole = sealed_run(config, lake, "c", [row("T3", D1), row("T4", D1)], business_date=D2)
    load(config, whole)
    assert query(config, "select count(*) from {}", "stg_transactions") == [(2,)]


texts = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
)
prices = st.decimals(
    min_value=0, max_value=Decimal("9999999999999999.99"), places=2, allow_nan=False
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    values=st.lists(
        st.tuples(
            texts,
            st.none() | prices,
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.dates(),
        ),
        max_size=30,
    )
)
def test_every_value_arrives_exactly(
    config: Config, lake: Path, values: list[tuple[str | None, Decimal | None, int | None, date]]
) -> None:
    rows = [Row(f"T{number}", *value) for number, value in enumerate(values)]
    load(config, sealed_run(config, lake, "x", rows))
    expected = sorted(
        (token(r.transaction_id), r.product, r.price, r.quantity, r.sale_date) for r in rows
    )
    assert sorted(found[:5] for found in raw_rows(config)) == expected


def latest_sequence(config: Config) -> int:
    with connect(config) as connection:
        latest = latest_load(PostgresSession(connection, config))
    return latest.sequence if latest else 0


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("price", "numeric(18, 4)"),
        ("price", "double precision"),
        ("quantity", "integer"),
        ("quantity", "timestamptz"),
        ("sale_date", "integer"),
        ("product", "varchar(200)"),
        ("business_date", "text"),
    ],
)
def test_a_column_of_another_type_is_refused(
    config: Config, lake: Path, column: str, kind: str
) -> None:
    load(config, sealed_run(config, lake, "a", []))
    table = config.data_warehouse.table
    query(config, f"alter table {{}} drop column {column}, add column {column} {kind}", table)
    with pytest.raises(ConfigurationError, match=f"column {column} of .* is ") as caught:
        load(config, sealed_run(config, lake, "b", [row("T1", D1)]))
    assert caught.value.remedy
    assert latest_sequence(config) == 1


def test_a_missing_column_is_refused(config: Config, lake: Path) -> None:
    load(config, sealed_run(config, lake, "a", []))
    query(config, "alter table {} drop column source_row", config.data_warehouse.table)
    with pytest.raises(ConfigurationError, match=r"column source_row of .* is missing"):
        load(config, sealed_run(config, lake, "b", [row("T1", D1)]))


def test_the_same_run_twice_in_a_row_changes_nothing(config: Config, lake: Path) -> None:
    run = sealed_run(config, lake, "a", [row("T1", D1)])
    first = load(config, run)
    before = query(config, "select xmin::text, ctid::text from {}", config.data_warehouse.table)
    again = load(config, run)
    assert again.already_loaded
    assert not first.already_loaded
    assert again.model_copy(update={"already_loaded": False}) == first
    after = query(config, "select xmin::text, ctid::text from {}", config.data_warehouse.table)
    assert before == after


def test_a_held_lock_is_temporary(config: Config, lake: Path) -> None:
    run = sealed_run(config, lake, "a", [row("T1", D1)])
    with connect(config) as connection:
        lock_target(connection, config)
        with pytest.raises(TemporaryError, match="another run holds the lock") as caught:
            load(with_lock_timeout(config, 1), run)
    assert caught.value.exit_code == 75
    assert load(config, run).rows == 1


def test_append_looks_identifiers_up_by_index(config: Config, lake: Path) -> None:
    append(config, lake, "a", D1, [row("T1", D1)])
    indexes = """
        select pg_get_indexdef(indexrelid, 1, true), pg_get_expr(indpred, indrelid), indisunique
        from pg_index where indrelid = to_regclass(%s) order by 1, 2
    """
    with connect(config) as connection:
        found = connection.execute(
            indexes, (f"{raw_schema(config)}.{config.data_warehouse.table}",)
        ).fetchall()
    assert found == [
        ("business_date", None, False),
        ("sale_date", None, False),
        ("transaction_id", "(superseded_by IS NOT NULL)", False),
        ("transaction_id", "(superseded_by IS NULL)", True),
    ]


def test_a_load_that_is_killed_leaves_no_trace(config: Config, lake: Path) -> None:
    load(config, sealed_run(config, lake, "a", [row("T1", D1)]))
    run = sealed_run(config, lake, "b", [row("T2", D1)])
    raised: list[BaseException] = []

    def attempt() -> None:
        try:
            load(config, run)
        except TemporaryError as error:
            raised.append(error)

    thread = threading.Thread(target=attempt)
    with connect(config) as reader:
        # A reader of the raw table stops the load at its TRUNCATE, with work done already.
        reader.execute(
            SQL("select from {} limit 1").format(
                Identifier(raw_schema(config), config.data_warehouse.table)
            )
        )
        thread.start()
        with connect(config) as killer:
            killed = False
            while not killed:
                killed = killer.execute(
                    "select pg_terminate_backend(pid) from pg_locks"
                    " where not granted and relation = to_regclass(%s)",
                    (f"{raw_schema(config)}.{config.data_warehouse.table}",),
                ).fetchone() == (True,)
        thread.join()
    assert len(raised) == 1
    assert latest_sequence(config) == 1
    assert [found[0] for found in raw_rows(config)] == [token("T1")]
    assert run.find("load-postgres", Load) is None
    assert load(config, run).sequence == 2


def test_an_older_snapshot_is_refused_unless_it_is_a_former_run_by_its_id(
    config: Config, lake: Path
) -> None:
    old = sealed_run(config, lake, "old", [row("T1", D1)], business_date=D1)
    load(config, old)
    load(config, sealed_run(config, lake, "new", [row("T2", D2)], business_date=D2))
    never = sealed_run(config, lake, "never", [row("T3", D1)], business_date=D1)
    for run, by_run_id in ((never, True), (old, False)):
        with pytest.raises(DataError, match=r"snapshot of 2023-10-01, and load 2 \(run new\)") as e:
            load(config, run, LoadOptions(by_run_id=by_run_id))
        assert e.value.exit_code == 65
    assert [found[0] for found in raw_rows(config)] == [token("T2")]
    assert load(config, old).sequence == 3
    assert [found[0] for found in raw_rows(config)] == [token("T1")]


def ruled(config: Config, **rules: object) -> Config:
    validation = config.rules.model_copy(update=rules)
    ingestion = config.ingestion.model_copy(update={"validation": validation})
    return config.model_copy(update={"ingestion": ingestion})


def test_looser_rules_are_refused_with_the_days_and_accepted_once(
    config: Config, lake: Path
) -> None:
    rejects = {"quantity_range": 2, "date_format": 1}
    for number, day in enumerate((D1, D2)):
        run = sealed_run(
            config, lake, f"r{number}", [], business_date=day, mode=Mode.APPEND, rejects=rejects
        )
        load(config, run)
    looser = ruled(config, max_quantity=200)
    third, fourth, first = (
        sealed_run(looser, lake, name, [], business_date=day, mode=Mode.APPEND, rejects=rejects)
        for name, day in (("third", D3), ("fourth", "2023-10-04"), ("first", D1))
    )
    with pytest.raises(DataError, match=f"quantity_range of {D1}, {D2}$") as caught:
        load(looser, third)
    assert caught.value.details == {"days": {"quantity_range": [D1, D2]}}
    with pytest.raises(DataError, match=f"quantity_range of {D2}$"):
        load(looser, first)
    load(looser, third, LoadOptions(accept_new_rules=True))
    # Who has accepted them is not asked each day, until they are loosened again.
    assert load(looser, fourth).rejects == rejects
    loosest = ruled(config, max_quantity=300)
    again = sealed_run(loosest, lake, "again", [], business_date=D1, mode=Mode.APPEND)
    with pytest.raises(DataError, match=f"quantity_range of {D2}, {D3}, 2023-10-04$"):
        load(loosest, again)


def test_a_load_that_takes_too_many_rows_away_is_refused(config: Config, lake: Path) -> None:
    limited = ruled(config, max_removed_share=0.5)
    rows = [row(f"T{number}", D1) for number in range(4)]
    append(limited, lake, "a", D1, rows)
    with pytest.raises(DataError, match="1 rows would be visible, 4 are now") as caught:
        append(limited, lake, "b", D1, rows[:1])
    assert "MAX_REMOVED_SHARE" in caught.value.remedy
    assert append(limited, lake, "c", D1, rows[:2]).visible_rows == 2
    with pytest.raises(DataError, match="no row, and 2 rows are visible"):
        append(limited, lake, "d", D2, [])
    run = sealed_run(limited, lake, "e", [], business_date=D1, mode=Mode.APPEND, allow_empty=True)
    assert load(limited, run).visible_rows == 0
    # The limit is no part of a run: one that was refused may be loaded under another one.
    again = sealed_run(limited, lake, "f", rows, business_date=D1, mode=Mode.APPEND)
    assert load(config, again).rows == 4


def test_a_delivery_leaves_a_snapshot_of_its_day_alone(config: Config, lake: Path) -> None:
    load(config, sealed_run(config, lake, "all", [row(f"T{n}", D1) for n in range(5)]))
    record = append(config, lake, "day", D1, [row("T0", D1, "3.00")])
    assert (record.removed_rows, record.superseded_rows, record.visible_rows) == (0, 1, 5)
    with pytest.raises(ConfigurationError, match="snapshot of the same name"):
        append(config, lake, "all", D1, [row("T9", D1)])
