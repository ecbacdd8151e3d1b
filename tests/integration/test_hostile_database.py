"""Nothing that another role planted in PostgreSQL runs with the pipeline's rights."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from hostile_database import Hostile, hostile_database
from sales_mart.dbt_runner import adapters
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.lake.records import Mode
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.doctor import examine_warehouses
from sales_mart.steps.export import export
from sales_mart.steps.pipeline import run
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.summary import best_products
from sales_mart.steps.transform import transform
from sales_mart.warehouses.postgres.connection import connect, lock_target
from sales_mart.warehouses.postgres.load import load
from support import row, sealed_run
from targets import Target
from warehouses import POSTGRES

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.servers.local import LocalServers

HEADER = "transaction_id,product,price,quantity,date\n"
DAYS = {
    date(2023, 10, 1): "T1,Ink,20.00,2,2023-10-01\nT2,Ink,0.05,1,2023-10-01\n",
    date(2023, 10, 2): "T3,Pen,1.25,4,2023-10-02\nT1,Ink,7.00,1,2023-10-02\n",
}


@pytest.fixture(scope="module")
def hostile(servers: LocalServers) -> Generator[Hostile]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "SALES_MART_SECRETS_DIR"):
            patch.delenv(name, raising=False)
        with hostile_database(servers) as made:
            yield made


def names(config: Config) -> dict[str, str]:
    mart = config.data_mart.postgres_schema
    return {"raw": config.data_warehouse.dataset, "mart": mart, "next": f"{mart}__next"}


def test_the_whole_pipeline_among_overloads(hostile: Hostile, tmp_path: Path) -> None:
    """Days, a correction and a snapshot are right; then each step refuses a planted trigger."""
    config, lake, shown = hostile.config(), str(tmp_path / "lake"), tmp_path / "shown"

    for day, rows in DAYS.items():
        (tmp_path / f"{day}.csv").write_text(HEADER + rows)
    totals: list[dict[str, tuple[Any, ...]]] = []
    run_id = ""
    for day in DAYS:
        done = run(
            config,
            lake,
            source=str(tmp_path / "{date}.csv"),
            business_date=day,
            destination=str(shown),
        )
        run_id = done.run_id
        rows = json.loads((shown / "summary_sales.json").read_text(), parse_float=str)
        totals.append(
            {each["product"]: (each["total_amount"], each["transaction_count"]) for each in rows}
        )
    assert totals == [{"Ink": ("40.05", 2)}, {"Ink": ("7.05", 2), "Pen": ("5.00", 1)}]
    best = best_products(config, Target.POSTGRES, date(2023, 10, 1), 1)
    assert [each["product"] for each in best] == ["Ink"]
    # A role that only reads is no member of the pipeline's, and may create nothing there.
    reader = f"reader_{config.data_warehouse.dataset}"
    hostile.execute(
        None,
        "create role {reader} login password 'pw'",
        "grant usage on schema {raw}, {mart} to {reader}",
        "grant select on all tables in schema {raw} to {reader}",
        "grant select on all tables in schema {mart} to {reader}",
        reader=reader,
        **names(config),
    )
    reading = hostile.config(reader, config)
    assert best_products(reading, Target.POSTGRES, date(2023, 10, 1), 1) == best
    export(reading, RunFolder(lake, run_id), str(tmp_path / "again"))
    for name in ("summary_sales.json", "summary_sales.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (shown / name).read_bytes()
    hostile.execute(None, "drop owned by {reader}", "drop role {reader}", reader=reader)

    latest = RunFolder(lake, run_id)
    hostile.execute(
        hostile.pipeline,
        "grant usage on schema {raw} to {attacker}",
        "grant trigger on {raw}.v1__sales_by_date to {attacker}",
        **names(config),
    )
    hostile.execute(
        hostile.attacker,
        "create trigger planted before insert on {raw}.v1__sales_by_date"
        " for each row execute function public.planted_trigger()",
        **names(config),
    )
    for step in (
        lambda: load(config, latest),
        lambda: publish(config, latest, POSTGRES),
        lambda: export(config, latest, str(shown)),
        lambda: best_products(config, Target.POSTGRES, date(2023, 10, 1), 1),
        lambda: transform(config, latest, POSTGRES),
        lambda: reconcile(config, latest, POSTGRES),
    ):
        with pytest.raises(ConfigurationError, match="has a trigger") as refused:
            step()
        assert "drop trigger planted on" in refused.value.remedy


def test_a_snapshot_among_overloads(hostile: Hostile, tmp_path: Path) -> None:
    config = hostile.config()
    rows = [row("T1", "2023-10-01"), row("T2", "2023-10-02", "0.05")]
    for number in (1, 2):
        made = load(config, sealed_run(config, tmp_path / "lake", f"r{number}", rows))
        assert (made.rows, made.sequence) == (2, number)


# Who does what, the schemas made by the pipeline, before the first load; and what is said.
BY = "create schema {raw}; create schema {mart}; create schema {next};"
LET = "grant usage, create on schema {raw}, {mart}, {next} to {attacker};"
TABLE = "create table {raw}.load_runs (run_id text);"
OURS = "create table {raw}.publications (run_id text, price integer);"
PLANTED: dict[str, tuple[str, str, str, str]] = {
    "schema": ("", "create schema {raw}; grant all on schema {raw} to public", "", "schema raw_"),
    "table": (BY + LET, TABLE, "", "load_runs belongs to"),
    "lock": (BY + LET, "create table {raw}.target_lock ()", "", "target_lock belongs to"),
    "raw table": (BY + LET, "create table {raw}.raw_transactions ()", "", "raw_transactions bel"),
    "view": (BY + LET, "create view {raw}.stg_transactions as select 1", "", "stg_transactions b"),
    "sequence": (BY + LET, "create sequence {mart}.pg_sales", "", "pg_sales belongs to"),
    "versions": (
        *(BY + LET, "create table {raw}.versions_of_pg_sales (a integer) partition by list (a)"),
        *("", "versions_of_pg_sales belongs to"),
    ),
    "version shown": (
        *(BY + LET, "create table {raw}.current_versions ()", "", "current_versions belongs to"),
    ),
    "mart": (BY + LET, "create table {mart}.summary_sales ()", "", "summary_sales belongs to"),
    "next": (BY + LET, "create table {next}.pg_sales__dbt_tmp ()", "", "__dbt_tmp belongs to"),
    "index": (
        *(BY + LET, "create table {raw}.raw_transactions_date ()", ""),
        "raw_transactions_date belongs to",
    ),
    "function": (
        *(BY + LET, "create function {next}.pg_sales() returns text language sql as 'select 1'"),
        *("", "has the name of one of our tables"),
    ),
    "type": (
        *(BY + LET, "create type {mart}.pg_sales as enum ()", ""),
        "has the name of one of our tables",
    ),
    "trigger": (
        BY + OURS + LET + "grant trigger on {raw}.publications to {attacker}",
        (
            "create trigger planted after insert on {raw}.publications"
            " for each statement execute function public.planted_trigger()"
        ),
        *("", "publications has a trigger"),
    ),
    "rule": (
        *("", "", BY + OURS + "create rule r as on insert to {raw}.publications do also select 1"),
        "publications has a rule",
    ),
    "policy": (
        *("", ""),
        BY + OURS + "alter table {raw}.publications enable row level security;"
        " alter table {raw}.publications force row level security",
        "row level security",
    ),
    "child": (
        *("", "", BY + OURS + "create table {raw}.child () inherits ({raw}.publications)"),
        "inherits from another table",
    ),
    "partitioned": (
        *("", "", BY + "create table {mart}.pg_sales (a integer) partition by range (a)"),
        "not the kind of relation",
    ),
    "default": (
        *("", ""),
        BY
        + OURS
        + "alter table {raw}.publications alter price set default public.planted_default()",
        "uses function",
    ),
    "operator": (
        *("", ""),
        BY + OURS + "alter table {raw}.publications add check (price operator(public.~) 'x'::name)",
        "uses",
    ),
    "published in public": ("", "", "", "pg_sales belongs to"),
}


@pytest.mark.parametrize("kind", list(PLANTED))
def test_what_others_made_is_refused(hostile: Hostile, kind: str, tmp_path: Path) -> None:
    config = hostile.config(mart="public" if kind == "published in public" else None)
    ours, planted, ours_too, message = PLANTED[kind]
    roles = (hostile.pipeline, hostile.attacker, hostile.pipeline)
    for role, statements in zip(roles, (ours, planted, ours_too), strict=True):
        if statements:
            hostile.execute(role, statements, **names(config))
    days = sealed_run(config, tmp_path, "r1", [row("T1", "2023-10-01")], mode=Mode.APPEND)
    with pytest.raises(ConfigurationError, match=message) as refused:
        load(config, days)
    assert refused.value.exit_code == 2
    assert refused.value.remedy
    report = examine_warehouses(config, POSTGRES)
    assert report.exit_code == 2 or kind in ("index", "schema"), report


def test_a_superuser_takes_nothing_of_others(hostile: Hostile, tmp_path: Path) -> None:
    """For a superuser every role's objects are its own, if the server is asked."""
    config = hostile.config()
    admin = f"admin_{config.data_warehouse.dataset}"
    with hostile.connect(None) as connection:
        connection.execute(f"create role {admin} superuser login password 'pw'".encode())
    hostile.execute(hostile.attacker, "create schema {raw}; " + TABLE, **names(config))
    settings = config.data_warehouse.postgres.model_copy(update={"user": admin})
    warehouse = config.data_warehouse.model_copy(update={"postgres": settings})
    config = config.model_copy(update={"data_warehouse": warehouse})
    with pytest.raises(ConfigurationError, match=hostile.attacker):
        load(config, sealed_run(config, tmp_path, "r1", [row("T1", "2023-10-01")]))


def test_what_an_administrator_may_own(hostile: Hostile, tmp_path: Path) -> None:
    """Schemas of a superuser, of the database's owner, and of a role that we belong to."""
    config = hostile.config()
    team = f"team_{config.data_warehouse.dataset}"
    hostile.execute(
        None,
        "create role {team}",
        "grant {team} to {pipeline}",
        "create schema {raw}; grant all on schema {raw} to {pipeline}",
        "create schema {mart} authorization {team}",
        "create table {mart}.summary_sales (); alter table {mart}.summary_sales owner to {team}",
        team=team,
        **names(config),
    )
    run = sealed_run(config, tmp_path, "r1", [row("T1", "2023-10-01")])
    assert load(config, run).rows == 1


def test_nobody_else_can_hold_the_lock(hostile: Hostile, tmp_path: Path) -> None:
    config = hostile.config()
    load(config, sealed_run(config, tmp_path, "r1", [row("T1", "2023-10-01")]))
    hostile.execute(
        hostile.pipeline,
        "grant usage on schema {raw} to {attacker}",
        "grant select on all tables in schema {raw} to {attacker}",
        **names(config),
    )
    lock = f'lock table "{config.data_warehouse.dataset}".target_lock in {{}} mode'
    again = sealed_run(config, tmp_path, "r2", [row("T1", "2023-10-01")], mode=Mode.APPEND)
    with hostile.connect(hostile.attacker) as connection:
        connection.execute("set search_path = pg_catalog")
        connection.autocommit = False
        key = f"sales_mart:{config.data_warehouse.dataset}"
        connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (key,))
        connection.commit()
        for mode in ("row share", "share", "exclusive", "access exclusive"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(lock.format(mode).encode())
            connection.rollback()
        connection.execute(lock.format("access share").encode())
        assert load(config, again).rows == 1
    with connect(config) as first:
        lock_target(first, config)
        with pytest.raises(TemporaryError, match="another run holds the lock"):
            load(config, again)


def test_doctor_says_what_to_revoke(hostile: Hostile) -> None:
    config = hostile.config(mart="public")
    report = examine_warehouses(config, POSTGRES)
    warned = [each for each in report.checks if each.status == "warn"]
    assert [each.remedy for each in warned] == [
        "Let an administrator run: revoke create on schema public from public;"
    ]


def test_a_pooler_that_changes_sessions_is_no_way_in(hostile: Hostile) -> None:
    """Each transaction has the search path, whatever the session has."""
    config = hostile.config()
    asked = "select pg_catalog.current_setting('search_path')"
    with connect(config) as connection:
        for _ in range(2):
            assert connection.execute(asked).fetchall() == [("pg_catalog, pg_temp",)]
            connection.execute("reset search_path")
            connection.commit()
        connection.autocommit = True
        connection.execute("reset search_path")
    import psycopg2

    postgres = config.data_warehouse.postgres
    connection = psycopg2.connect(
        host=postgres.host,
        port=postgres.port,
        dbname=postgres.dbname,
        user=postgres.user,
        password=hostile.password,
    )
    try:
        adapters.begin_session(connection)
        for _ in range(2):
            with connection.cursor() as cursor:
                cursor.execute(asked)
                assert cursor.fetchall() == [("pg_catalog, pg_temp",)]
                cursor.execute("reset search_path")
            connection.commit()
    finally:
        connection.close()
