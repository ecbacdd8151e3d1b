"""Versions of the marts on PostgreSQL: how long they stay, and what becomes of published tables."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

import psycopg
import pytest

from conformance.subject import D1, D2, D3, Subject
from sales_mart.errors import ConfigurationError
from sales_mart.lake.records import Mode
from sales_mart.warehouses.postgres.connection import connect
from sales_mart.warehouses.postgres.former_versions import drop_former_versions
from sales_mart.warehouses.postgres.versions import show_version
from support import row

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.warehouses.postgres.connection import Connection

FACTS = "pg_sales"


@pytest.fixture
def subject(config: Config, lake: Path) -> Subject:
    return Subject("postgres", config, lake)


@contextmanager
def reader(subject: Subject, *, older: bool = False) -> Generator[Connection]:
    """Open a transaction as a reader does; an older one has its snapshot, and no lock of a mart."""
    with connect(subject.config) as connection:
        if older:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("select 1 from pg_class limit 1")
        yield connection


def count(subject: Subject, connection: Connection, mart: str = FACTS) -> int:
    return connection.execute(f"select count(*) from {subject.live(mart)}".encode()).fetchall()[0][
        0
    ]


def versions(subject: Subject, mart: str = FACTS) -> set[str]:
    """Return the tables with versions of a mart, attached or not."""
    found = subject.ask(
        "select relname from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace"
        f" where nspname = '{subject.warehouse.raw_schema}' and relkind = 'r'"
        f" and relname ~ '^v[0-9]+__{mart}$'"
    )
    return {name for (name,) in found}


def parent(subject: Subject, mart: str = FACTS) -> str:
    return subject.dialect.table(subject.warehouse.raw_schema, f"versions_of_{mart}")


# --- how long a version stays


def test_a_version_stays_while_an_older_snapshot_sees_it(subject: Subject) -> None:
    subject.published("a", [row("T1", D1)])
    with reader(subject, older=True) as older:
        subject.published("b", [row("T2", D1), row("T3", D2)])
        subject.published("c", [row("T4", D1), row("T5", D2), row("T6", D3)])
        assert versions(subject) == {"v1__pg_sales", "v2__pg_sales", "v3__pg_sales"}
        assert [count(subject, older, mart) for mart in (FACTS, "sales_by_date")] == [1, 1]
    drop_former_versions(subject.warehouse)  # pyright: ignore[reportArgumentType] - it is PostgreSQL
    assert versions(subject) == {"v3__pg_sales"}
    subject.published("d", [row("T7", D1)])
    assert versions(subject) == {"v4__pg_sales"}
    assert subject.contents() == subject.rebuilt()


@contextmanager
def halfway_detached(subject: Subject, mart: str = FACTS) -> Generator[Connection]:
    """Publish twice, and let a reader keep the version of before from being dropped."""
    subject.published("a", [row("T1", D1)])
    with reader(subject, older=True):
        subject.published("b", [row("T2", D1), row("T3", D2)])
    with reader(subject) as open_one:
        count(subject, open_one, mart)
        drop_former_versions(subject.warehouse)  # pyright: ignore[reportArgumentType] - it is PostgreSQL
        halfway = "select count(*) from pg_inherits where inhdetachpending"
        found = subject.ask(f"{halfway} and inhparent = '{parent(subject, mart)}'::regclass")
        assert found == [(1,)]
        yield open_one


def test_rows_are_copied_while_a_reader_stays(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detach that is given up is finished later, and publications go on meanwhile."""
    monkeypatch.setattr("sales_mart.warehouses.postgres.publish._ATTEMPTS", (0.05,))
    with halfway_detached(subject) as open_one:
        assert count(subject, open_one) == 2
        subject.published("c", [row("T4", D1)], business_date=D1)
        assert count(subject, open_one) == 1
        assert versions(subject) == {"v1__pg_sales", "v2__pg_sales"}
        assert subject.contents() == subject.rebuilt()
        # A column that is new, of a mart that nobody reads now.
        built = subject.loaded("d", [row("T5", D1), row("T6", D2)])
        table = subject.following("sales_by_product")
        subject.change(f"alter table {table} add column more bigint")
        subject.publish(built)
        assert count(subject, open_one) == 2
        more = f"select product, more from {subject.live('sales_by_product')}"
        assert subject.ask(more) == [("Halal Mouse", None)]
        assert versions(subject) == {"v1__pg_sales", "v2__pg_sales"}
    subject.published("e", [row("T7", D1), row("T8", D2)])
    assert versions(subject) == {"v3__pg_sales"}
    assert subject.contents() == subject.rebuilt()


def test_no_statement_is_planned_while_a_version_is_attached(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not know the version, and find the mart empty when the publication is there."""
    subject.published("a", [row("T1", D1)])
    blocked: list[str] = []

    def show(connection: Connection, config: Config, mart: str, version: int) -> None:
        with reader(subject) as other:
            other.execute("set lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                count(subject, other, mart)
            other.rollback()
        blocked.append(mart)
        show_version(connection, config, mart, version)

    monkeypatch.setattr("sales_mart.warehouses.postgres.publish.show_version", show)
    subject.published("b", [row("T2", D1), row("T3", D2)])
    assert sorted(blocked) == sorted(subject.models())
    assert versions(subject) == {"v2__pg_sales"}


def test_readers_who_never_rest_see_no_mart_empty(subject: Subject) -> None:
    """Between the plan of a statement and its start a publication may be over."""
    subject.published("a", [row("T0", D1)])
    asked = " union all ".join(f"select count(*) from {subject.live(n)}" for n in subject.models())
    ended, fewest = threading.Event(), [1]

    def poll() -> None:
        with connect(subject.config) as connection:
            connection.autocommit = True
            while not ended.is_set():
                found = connection.execute(asked.encode()).fetchall()
                fewest.append(min(count for (count,) in found))

    threads = [threading.Thread(target=poll) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        subject.published(f"b{number}", [row(f"T{number}", D1), row(f"U{number}", D2)])
    ended.set()
    for thread in threads:
        thread.join()
    assert len(fewest) > 1000
    assert min(fewest) == 1
    assert versions(subject) >= {"v5__pg_sales"}


def test_a_column_is_added_over_a_detach_that_was_given_up(subject: Subject) -> None:
    with halfway_detached(subject, "sales_by_product"):
        pass
    subject.change(
        "set lock_timeout = '1s'",
        f"alter table {parent(subject)} add column if not exists extra text",
    )
    built = subject.loaded("c", [row("T3", D1), row("T4", D2)])
    table = subject.following("sales_by_product")
    subject.change(f"alter table {table} add column more bigint")
    subject.publish(built)
    assert versions(subject, "sales_by_product") == {"v3__sales_by_product"}
    more = f"select product, more from {subject.live('sales_by_product')}"
    assert subject.ask(more) == [("Halal Mouse", None)]
    # Without it again: it stays, and is null from then on.
    subject.published("d", [row("T5", D1)])
    subject.published("e", [row("T6", D2)], business_date=D2, mode=Mode.APPEND)
    assert subject.ask(more) == [("Halal Mouse", None)]
    assert subject.contents() == subject.rebuilt()


def test_a_plan_of_before_reads_the_version_of_now(subject: Subject) -> None:
    subject.published("a", [row("T1", D1)])
    with connect(subject.config) as connection:
        connection.autocommit = True
        connection.execute(f"prepare facts as select count(*) from {subject.live(FACTS)}".encode())
        assert connection.execute("execute facts").fetchall() == [(1,)]
        subject.published("b", [row("T2", D1), row("T3", D2)])
        assert connection.execute("execute facts").fetchall() == [(2,)]
        plan = connection.execute(
            f"explain (analyze, costs off) select * from {subject.live(FACTS)}"
            f" where sale_date = '{D1}'".encode()
        ).fetchall()
    assert sum("never executed" in line for (line,) in plan) == len(versions(subject)) - 1


def test_a_type_changes_when_the_mart_was_dropped(subject: Subject) -> None:
    subject.published("a", [row("T1", D1)])
    built = subject.loaded("b", [row("T2", D1)])
    wider = f"alter table {subject.following(FACTS)} alter column price type numeric(18, 4)"
    subject.change(wider)
    with pytest.raises(ConfigurationError, match=r"price is numeric\(18,2\)") as refused:
        subject.publish(built)
    assert "drop the mart" in refused.value.remedy
    subject.drop(FACTS)
    built = subject.build(built.run)
    subject.change(wider)
    subject.publish(built)
    assert subject.contents() == subject.rebuilt()
    assert versions(subject) == {"v2__pg_sales"}


def test_a_table_in_the_way_of_a_version_is_refused(subject: Subject) -> None:
    subject.published("a", [row("T1", D1)])
    built = subject.loaded("b", [row("T2", D1)])
    other = subject.dialect.table(subject.warehouse.raw_schema, "v2__summary_sales")
    subject.change(f"create table {other} ()")
    before = subject.contents()
    with pytest.raises(ConfigurationError, match="v2__summary_sales is in the way"):
        subject.publish(built)
    assert subject.contents() == before
    subject.change(f"drop table {other}")
    subject.publish(built)
    assert subject.contents() == subject.rebuilt()


def test_who_may_read_the_views_needs_nothing_else(subject: Subject) -> None:
    subject.published("a", [row("T1", D1)])
    with roles(subject) as (analyst, _):
        subject.change(f"grant select on {subject.live(FACTS)} to {analyst}")
        subject.published("b", [row("T2", D1), row("T3", D2)])
        with reader(subject) as connection:
            connection.execute(f"set role {analyst}".encode())
            assert count(subject, connection) == 2
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select 1 from {parent(subject)}".encode())
            connection.rollback()


# --- tables that an earlier version of the program published


@contextmanager
def roles(subject: Subject) -> Generator[tuple[str, str]]:
    """Make two roles that may use the schema of the marts, and make views in it."""
    names = f"analyst_{uuid.uuid4().hex[:10]}", f"other_{uuid.uuid4().hex[:10]}"
    for name in names:
        subject.change(
            f"create role {name}",
            f"grant usage, create on schema {subject.warehouse.mart_schema} to {name}",
        )
    yield names
    for name in names:
        subject.change(f"drop owned by {name} cascade", f"drop role {name}")


def made_by_0_1(subject: Subject) -> None:
    """Make each published mart a table, as the version before made it."""
    for name in subject.models():
        live = subject.live(name)
        copy = f'"{name}_copy"'
        schema = live.partition(".")[0]
        subject.change(
            f"create table {schema}.{copy} as select * from {live}",
            f"drop view {live}",
            f"drop table {parent(subject, name)}",
            f'alter table {schema}.{copy} rename to "{name}"',
        )
        if name != "sales_by_product":
            column = "sale_date" if name in (FACTS, "sales_by_date") else "sale_month"
            subject.change(f"create index {name}_{column} on {live} ({column})")
    subject.change(
        f"drop table {subject.dialect.table(subject.warehouse.raw_schema, 'current_versions')}"
    )


@pytest.mark.parametrize("mode", list(Mode))
def test_published_tables_become_views_with_all_that_is_on_them(
    subject: Subject, mode: Mode
) -> None:
    subject.published("a", [row("T1", D1), row("T2", D2)], mode=Mode.APPEND)
    made_by_0_1(subject)
    schema, live = subject.warehouse.mart_schema, subject.live(FACTS)
    view, above = (subject.dialect.table(schema, name) for name in ("mine", "above"))
    with roles(subject) as (analyst, other):
        subject.change(
            f"comment on table {live} is 'All sales'",
            f"comment on column {live}.price is 'Of one'",
            f"grant select on {live} to {analyst} with grant option",
            f"grant select (sale_date) on {live} to {other}",
            f"set role {analyst}",
            f"create view {view} with (security_barrier=true) as"
            f" select sale_date, amount from {live} where quantity > 0",
            f"comment on view {view} is 'Mine'",
            f"grant select on {view} to {other}",
            f"create view {above} as select sum(amount) as amount from {view}",
            "reset role",
        )
        rows = [row("T3", D2), row("T4", D3)]
        built = subject.loaded("b", rows, business_date=D2, mode=mode)
        assert (built.window is None) == (mode is Mode.REPLACE)
        with reader(subject, older=True) as older:
            subject.publish(built)
            assert [count(subject, older, mart) for mart in subject.models()] == [2, 2, 1, 1, 1]
        assert subject.contents() == subject.rebuilt()
        number = 2 if mode is Mode.REPLACE else 4
        for role in (analyst, other):
            with reader(subject) as connection:
                connection.execute(f"set role {role}".encode())
                asked = f"select count(sale_date) from {live}"
                assert connection.execute(asked.encode()).fetchall() == [(number,)]
                asked = f"select count(*) from {view}"
                assert connection.execute(asked.encode()).fetchall() == [(number,)]
                if role == other:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(f"select price from {live}".encode())
                    connection.rollback()
        assert subject.ask(f"select amount from {above}") == [(20 * number,)]
        found = subject.ask(
            "select relname, pg_get_userbyid(relowner), array_to_string(reloptions, ''),"
            " obj_description(oid, 'pg_class'), relkind::text,"
            " has_table_privilege(relowner, oid, 'select') from pg_class"
            f" where relnamespace = '{schema}'::regnamespace"
            " and relname in ('mine', 'above', 'pg_sales') order by 1"
        )
        user = subject.ask("select current_user::text")[0][0]
        assert found == [
            ("above", analyst, None, None, "v", True),
            ("mine", analyst, "security_barrier=true", "Mine", "v", True),
            ("pg_sales", user, None, "All sales", "v", True),
        ]
        granted = subject.ask(
            f"select has_table_privilege('{analyst}', '{live}', 'select with grant option'),"
            f" has_table_privilege('{other}', '{live}', 'select')"
        )
        assert granted == [(True, False)]
        # From then on as ever.
        subject.published("c", [row("T9", D1)], business_date=D3)
        assert subject.contents() == subject.rebuilt()
        assert subject.ask(f"select amount from {above}") == [(20,)]


REFUSED = {
    "materialized view": "create materialized view {name} as select count(*) from {live}",
    "whole row": "create view {name} as select facts from {live} as facts",
    "function": "create function {name}() returns bigint begin atomic"
    " select count(*) from {live}; end",
    "type": "create table {name} (facts {live})",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_moved_to_the_view_is_named(subject: Subject, kind: str) -> None:
    subject.published("a", [row("T1", D1)])
    made_by_0_1(subject)
    schema = subject.warehouse.mart_schema
    name = subject.dialect.table(schema, "of_an_analyst")
    subject.change(REFUSED[kind].format(name=name, live=subject.live(FACTS)))
    before = subject.contents()
    built = subject.loaded("b", [row("T2", D1), row("T3", D2)])
    with pytest.raises(ConfigurationError, match=r"of_an_analyst.* reads the table") as refused:
        subject.publish(built)
    assert "Drop it, publish again" in refused.value.remedy
    assert subject.contents() == before
    what = {"whole row": "view", "type": "table"}.get(kind, kind)
    subject.change(f"drop {what} {name}")
    subject.publish(built)
    assert subject.contents() == subject.rebuilt()


def test_a_view_of_a_role_that_we_do_not_belong_to_is_named(subject: Subject) -> None:
    subject.published("a", [row("T1", D1)])
    made_by_0_1(subject)
    with roles(subject) as (analyst, pipeline):
        live, view = subject.live(FACTS), subject.dialect.table(subject.warehouse.mart_schema, "m")
        raw, following = subject.warehouse.raw_schema, subject.warehouse.next_schema
        schemas = f"{raw}, {following}, {subject.warehouse.mart_schema}"
        built = subject.loaded("b", [row("T2", D1), row("T3", D2)])
        subject.change(
            f"grant select on {live} to {analyst}",
            f"set role {analyst}",
            f"create view {view} as select amount from {live}",
            "reset role",
            f"alter role {pipeline} login password 'pw'",
            f"grant create on database {subject.config.data_warehouse.postgres.dbname}"
            f" to {pipeline}",
            f"grant usage, create on schema {schemas} to {pipeline}",
            *(
                f"alter table {subject.dialect.table(schema, name)} owner to {pipeline}"
                for schema, name, *_ in subject.ask(
                    "select nspname, relname from pg_class inner join pg_namespace"
                    " on pg_namespace.oid = relnamespace where relkind in ('r', 'v')"
                    f" and nspname = any('{{{raw}, {following}, {live.partition('.')[0][1:-1]}}}')"
                    " and relname <> 'm'"
                )
            ),
            *(f"alter schema {name} owner to {pipeline}" for name in schemas.split(", ")),
        )
        postgres = subject.config.data_warehouse.postgres.model_copy(update={"user": pipeline})
        warehouse = subject.config.data_warehouse.model_copy(update={"postgres": postgres})
        config = subject.config.model_copy(update={"data_warehouse": warehouse})
        theirs = Subject("postgres", config, subject.lake)
        login = {"POSTGRES_USER": pipeline, "POSTGRES_PASSWORD": "pw"}
        with (
            mock.patch.dict(os.environ, login),
            pytest.raises(ConfigurationError, match=f"of {analyst} reads the table") as refused,
        ):
            theirs.publish(built)
        assert f"grant {analyst} to {pipeline}" in refused.value.remedy
        subject.change(f"grant {analyst} to {pipeline}")
        with mock.patch.dict(os.environ, login):
            theirs.publish(built)
        subject.change(f"revoke {analyst} from {pipeline}")
        with reader(subject) as connection:
            found = connection.execute(f"select count(*) from {view}".encode()).fetchall()
        assert found == [(2,)]
