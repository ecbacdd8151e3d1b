"""What `publish` promises in every warehouse."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from append_story import STORY
from conformance.subject import D1, D2, D3, Subject
from sales_mart.errors import (
    ConfigurationError,
    MartsChangedError,
    SupersededError,
    TemporaryError,
)
from sales_mart.lake.records import Mode
from sales_mart.names import PRODUCT_MONTHS
from sales_mart.steps.summary import best_products, published_summary
from sales_mart.warehouses.history import latest_publication, pending_window
from sales_mart.warehouses.questions import Questions
from support import row

if TYPE_CHECKING:
    from sales_mart.warehouses.history import Publication


def shown(subject: Subject) -> Publication | None:
    with subject.warehouse.session() as session:
        return latest_publication(session)


def totals(subject: Subject) -> str:
    """Return the query for the total of each of the four marts, in one statement."""
    fact = f"(select coalesce(sum(amount), 0) from {subject.live(subject.warehouse.fact_table)})"
    marts = [
        f"(select coalesce(sum(total_amount), 0) from {subject.live(name)})"
        for name in ("sales_by_date", "sales_by_product", "summary_sales")
    ]
    return "select " + ", ".join(f"{each} as t{n}" for n, each in enumerate([fact, *marts]))


def test_the_first_publication_shows_every_mart(subject: Subject) -> None:
    assert shown(subject) is None
    built = subject.loaded("a", [row("T1", D1), row("T2", D2), row("T3", D3, "5.00", 2)])
    assert built.window is None
    rows = subject.publish(built).rows
    assert rows == {
        subject.warehouse.fact_table: 3,
        "sales_by_date": 3,
        "sales_by_product": 1,
        "summary_sales": 2,
        PRODUCT_MONTHS: 2,
    }
    assert subject.contents() == subject.rebuilt()
    assert [*map(tuple, subject.ask(totals(subject)))] == [(Decimal("50.00"),) * 4]
    published = shown(subject)
    assert published is not None
    assert (published.sequence, published.rows) == (1, rows)
    assert published.mart_rules_digest == subject.config.mart_rules_digest


def test_an_empty_run_is_published(subject: Subject) -> None:
    fact = subject.warehouse.fact_table
    assert set(subject.publish(subject.loaded("a", [])).rows.values()) == {0}
    assert subject.publish(subject.loaded("b", [row("T1", D1)])).rows[fact] == 1
    assert set(subject.publish(subject.loaded("c", [])).rows.values()) == {0}
    assert subject.contents()[fact] == set()


def test_appends_end_as_a_full_build(subject: Subject) -> None:
    for number, batch in enumerate(STORY[:7]):
        built = subject.loaded(f"r{number}", batch.rows, business_date=batch.day, mode=Mode.APPEND)
        assert built.window == (batch.window if number else None)
        counts = subject.publish(built).rows
        contents = subject.contents()
        assert counts == {name: len(found) for name, found in contents.items()}
        assert contents == subject.rebuilt(), batch.name


def test_the_window_covers_all_loads_since_the_publication(subject: Subject) -> None:
    append = {"mode": Mode.APPEND}
    subject.published("a", [row("T1", D1)], **append)
    subject.loaded("b", [row("T2", D2)], business_date=D2, **append)
    built = subject.loaded("c", [row("T3", D3)], business_date=D3, **append)
    assert built.window == (date.fromisoformat(D2), date.fromisoformat(D3))
    subject.publish(built)
    assert subject.contents() == subject.rebuilt()
    # Published already: whoever runs it again builds and compares the load's own dates.
    assert subject.build(built.run).window == (date.fromisoformat(D3),)
    rules = subject.config.rules.model_copy(update={"product_prefix": "Halal"})
    ingestion = subject.config.ingestion.model_copy(update={"validation": rules})
    other = subject.config.model_copy(update={"ingestion": ingestion})
    with type(subject.warehouse)(other).session() as session:
        assert pending_window(session) == (3, None)


def test_the_same_run_again_changes_nothing(subject: Subject) -> None:
    built = subject.loaded("a", [row("T1", D1)])
    first = subject.publish(built)
    before = subject.contents()
    # A transform that is repeated finds nothing pending.
    assert subject.publish(subject.build(built.run)) == first
    assert subject.publish(built) == first
    assert subject.contents() == before


def test_what_is_not_the_latest_is_not_published(subject: Subject) -> None:
    older = subject.loaded("a", [row("T1", D1)])
    subject.published("b", [row("T2", D1, "7.00")])
    with pytest.raises(SupersededError, match="superseded by b"):
        subject.publish(older)
    subject.warehouse.load(older.run)
    with pytest.raises(SupersededError, match="built from load 1, the latest is 3"):
        subject.publish(older)
    assert [*map(tuple, subject.ask(totals(subject)))] == [(Decimal("7.00"),) * 4]
    assert subject.publish(subject.build(older.run)).sequence == 3
    assert [*map(tuple, subject.ask(totals(subject)))] == [(Decimal("20.00"),) * 4]


def test_marts_that_were_not_built_or_have_other_columns_are_refused(subject: Subject) -> None:
    built = subject.loaded("a", [row("T1", D1)])
    subject.change(f"drop table {subject.following('summary_sales')}")
    with pytest.raises(ConfigurationError, match="summary_sales has not been built"):
        subject.publish(built)
    assert shown(subject) is None
    subject.publish(subject.build(built.run))
    before = subject.contents()
    built = subject.loaded("b", [row("T2", D1, "2.00")])
    table = subject.following("sales_by_date")
    subject.change(f"drop table {table}", f"create table {table} as select 1 as another")
    with pytest.raises(ConfigurationError, match="other columns"):
        subject.publish(built._replace(marks=subject.marks()))
    assert subject.contents() == before


def test_a_mart_that_is_gone_is_built_whole(subject: Subject) -> None:
    built = subject.published("a", [row("T1", D1), row("T2", D2)], mode=Mode.APPEND)
    subject.drop("summary_sales")
    again = subject.build(built.run)
    assert again.window is None
    subject.publish(again)
    assert subject.contents() == subject.rebuilt()
    subject.drop("summary_sales")
    built = subject.loaded("b", [row("T3", D3)], business_date=D3, mode=Mode.APPEND)
    assert built.window is None
    subject.publish(built)
    assert subject.contents() == subject.rebuilt()


def test_marts_that_another_attempt_has_built_anew_are_not_shown(subject: Subject) -> None:
    subject.published("a", [row("T1", D1)])
    before = subject.contents()
    built = subject.loaded("b", [row("T2", D2)])
    subject.build(built.run)  # as dbt does that outlived a killed run, and is not done yet
    subject.change(f"delete from {subject.following('summary_sales')} where true")
    with pytest.raises(TemporaryError, match="another attempt has built"):
        subject.publish(built)
    assert subject.contents() == before
    subject.publish(subject.build(built.run))
    assert subject.contents() == subject.rebuilt()


def test_a_mean_that_is_not_the_one_that_was_compared_is_not_shown(subject: Subject) -> None:
    built = subject.loaded("a", [row("T1", D1), row("T2", D2)])
    with subject.warehouse.session() as session:
        questions = Questions(subject.warehouse, session.query)
        facts = {day: found.sums for day, found in questions.days(checksum=False).items()}
        marts = questions.marts()
    table = subject.following("summary_sales")
    subject.change(f"update {table} set avg_price = avg_price + 0.01 where true")
    changed = built._replace(marks=subject.marks())
    with pytest.raises(MartsChangedError, match="the next summary_sales has 1 rows and other"):
        subject.publish(changed, facts=facts, marts=marts)
    assert shown(subject) is None
    subject.publish(subject.build(built.run), facts=facts, marts=marts)
    assert subject.contents() == subject.rebuilt()


def test_what_somebody_changed_is_found_and_a_full_refresh_repairs_it(subject: Subject) -> None:
    subject.published("a", [row("T1", D1), row("T2", D3)], mode=Mode.APPEND)
    table = subject.live("sales_by_date")
    day = subject.dialect.literal(date.fromisoformat(D3))
    subject.change(f"update {table} set avg_price = 1 where sale_date = {day}")
    before = subject.contents()
    built = subject.loaded("b", [row("T3", D2)], business_date=D2, mode=Mode.APPEND)
    with pytest.raises(MartsChangedError, match="sales_by_date has other values"):
        subject.publish(built)
    assert subject.contents() == before
    whole = subject.build(built.run, full=True)
    for _ in range(2):
        subject.publish(whole, full_refresh=True)
        assert subject.contents() == subject.rebuilt()


def test_a_view_of_an_analyst_survives(subject: Subject) -> None:
    fact = subject.warehouse.fact_table
    subject.published("a", [row("T1", D1)])
    view = subject.dialect.table(subject.warehouse.mart_schema, "my_sales")
    subject.change(f"create view {view} as select sale_date, amount from {subject.live(fact)}")
    subject.published("b", [row("T1", D1), row("T2", D2)])
    assert subject.ask(f"select count(*) from {view}") == [(2,)]


def test_a_polling_reader_sees_only_whole_states(subject: Subject) -> None:
    subject.published("r0", [row("T0", D1, "1.00")])
    sql, done = totals(subject), threading.Event()
    seen: list[tuple[Decimal, ...]] = []
    failed: list[BaseException] = []

    def poll() -> None:
        try:
            while not done.is_set():
                seen.extend(subject.ask(sql))
                done.wait(0.05)  # where readers and writers take turns
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        for number, mode in enumerate((Mode.APPEND, Mode.REPLACE, Mode.APPEND), start=1):
            price = "1.00" if mode is Mode.APPEND else f"{number + 1}.00"
            day = f"2023-12-0{number}"
            rows = [row(f"T{number}", D2, price)]
            subject.published(f"r{number}", rows, business_date=day, mode=mode)
    finally:
        done.set()
        reader.join()
    assert failed == []
    assert seen
    assert set(seen) <= {(Decimal(n),) * 4 for n in range(1, 5)}
    assert [*map(tuple, subject.ask(sql))] == [(Decimal(4),) * 4]


def test_the_summary_is_read_back_in_order(subject: Subject) -> None:
    names = ["b", "B", "é", "a b", "Z"]
    rows = [
        row(f"T{n}", day)._replace(product=name)
        for n, (name, day) in enumerate([*((each, D1) for each in names), ("b", D3)])
    ]
    with (
        pytest.raises(ConfigurationError, match="has been published"),
        published_summary(subject.config, subject.name),
    ):
        pass
    subject.published("a", rows)
    with published_summary(subject.config, subject.name) as (sequence, found):
        assert sequence == 1
        read = [(each[0], each[1]) for each in found]
    october, november = date(2023, 10, 1), date(2023, 11, 1)
    assert read == [*((each, october) for each in sorted(names)), ("b", november)]
    best = best_products(subject.config, subject.name, october, 2)
    assert [each["product"] for each in best] == sorted(names)[:2]
    assert best[0]["total_amount"] == Decimal("20.00")
