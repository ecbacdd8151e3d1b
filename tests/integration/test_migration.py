"""Tables that version 0.1 left are migrated in place by the first load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import bigquery
from psycopg.sql import SQL, Identifier

from append_story import D1, D2, dates
from sales_mart.errors import ConfigurationError
from sales_mart.lake.records import Mode
from sales_mart.names import raw_schema
from sales_mart.steps.load import load
from sales_mart.warehouses.bigquery.connection import client, query
from sales_mart.warehouses.bigquery.reader import BigQuerySession
from sales_mart.warehouses.history import latest_load, pending_window
from sales_mart.warehouses.postgres.connection import connect
from sales_mart.warehouses.postgres.reader import PostgresSession
from support import row, sealed_run, token
from targets import Target
from warehouses import ask, raw_table

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config

POSTGRES_0_1 = """
    create schema {schema};
    create table {raw} (
        transaction_id text collate "C" not null, product text collate "C", price numeric(18, 2),
        quantity bigint, sale_date date not null, source_file integer not null,
        source_row bigint not null, run_id text not null, business_date date not null
    );
    create unique index raw_transactions_token on {raw} (transaction_id);
    create index raw_transactions_date on {raw} (sale_date);
    create index raw_transactions_batch on {raw} (business_date);
    create table {loads} (
        sequence bigint primary key, run_id text not null, business_date date not null,
        mode text not null, rows bigint not null, yielded_rows bigint not null,
        key_id text not null, sale_date_window text, seal_digest text not null,
        loaded_at timestamptz not null default clock_timestamp()
    );
    insert into {raw} values ('{t1}', 'Halal Mouse', 20, 1, '{d1}', 0, 1, 'old', '{d1}');
    insert into {raw} values ('{t2}', 'Halal Mouse', 20, 1, '{d1}', 0, 2, 'old', '{d1}');
    insert into {loads} values (1, 'old', '{d1}', 'append', 2, 0, 'sha256', '["{d1}"]', 'x');
    create view {schema}.stg_transactions as
        select transaction_id, sale_date, run_id from {raw};
    create view {schema}.of_an_analyst as select count(*) as n from {schema}.stg_transactions;
    create role {role};
    grant select on {raw} to {role}
"""
_Field = bigquery.SchemaField
_RAW_0_1 = [
    _Field("transaction_id", "STRING", "REQUIRED"),
    _Field("product", "STRING"),
    _Field("price", "NUMERIC", precision=18, scale=2),
    _Field("quantity", "INT64"),
    _Field("sale_date", "DATE", "REQUIRED"),
    _Field("source_file", "INT64", "REQUIRED"),
    _Field("source_row", "INT64", "REQUIRED"),
    _Field("run_id", "STRING", "REQUIRED"),
    _Field("business_date", "DATE", "REQUIRED"),
]
_LOADS_0_1 = [
    _Field("sequence", "INT64", "REQUIRED"),
    _Field("run_id", "STRING", "REQUIRED"),
    _Field("business_date", "DATE", "REQUIRED"),
    _Field("mode", "STRING", "REQUIRED"),
    _Field("rows", "INT64", "REQUIRED"),
    _Field("yielded_rows", "INT64", "REQUIRED"),
    _Field("key_id", "STRING", "REQUIRED"),
    _Field("sale_date_window", "STRING"),
    _Field("seal_digest", "STRING", "REQUIRED"),
    _Field("loaded_at", "TIMESTAMP", "REQUIRED"),
]


def made_by_0_1(config: Config, target: Target) -> None:
    """Make the tables of one append, as 0.1 did."""
    schema, values = raw_schema(config), {"t1": token("T1"), "t2": token("T2"), "d1": D1}
    if target is Target.POSTGRES:
        names = {"schema": schema, "raw": f"{schema}.raw_transactions"}
        names |= {"loads": f"{schema}.load_runs", "role": f"reader_{schema}"}
        with connect(config) as connection:
            for statement in POSTGRES_0_1.format(**names, **values).split(";"):
                connection.execute(statement.encode())
            connection.commit()
        return
    with client(config) as connected:
        connected.create_dataset(schema)
        where = f"{config.data_warehouse.project_id}.{schema}"
        raw = bigquery.Table(f"{where}.raw_transactions", schema=_RAW_0_1)
        raw.time_partitioning = bigquery.TimePartitioning(field="sale_date")
        connected.create_table(raw)
        connected.create_table(bigquery.Table(f"{where}.load_runs", schema=_LOADS_0_1))
        for number, each in enumerate((values["t1"], values["t2"]), start=1):
            query(
                connected,
                f"insert into `{where}.raw_transactions` values ('{each}', 'Halal Mouse', 20, 1, "
                f"date '{D1}', 0, {number}, 'old', date '{D1}')",
            )
        query(
            connected,
            f"insert into `{where}.load_runs` values (1, 'old', date '{D1}', 'append', 2, 0, "
            f"'sha256', '[\"{D1}\"]', 'x', current_timestamp())",
        )


def versions(config: Config, target: Target) -> set[tuple[Any, ...]]:
    sql = "select transaction_id, run_id, superseded_by from {}"
    return set(ask(config, target, sql.format(raw_table(config, target))))


@pytest.mark.parametrize("target", list(Target))
def test_tables_of_0_1_are_migrated_in_place(config: Config, lake: Path, target: Target) -> None:
    made_by_0_1(config, target)
    if target is Target.POSTGRES:
        with connect(config) as connection:
            old = latest_load(PostgresSession(connection, config))
            with pytest.raises(ConfigurationError, match="by an older version"):
                pending_window(PostgresSession(connection, config))
    else:
        with client(config) as connected:
            old = latest_load(BigQuerySession(connected, config))
            with pytest.raises(ConfigurationError, match="by an older version"):
                pending_window(BigQuerySession(connected, config))
    assert old is not None
    assert (old.run_id, old.visible_rows, old.rules) == ("old", None, None)
    new = [row("T1", D2), row("T3", D2)]
    run = sealed_run(config, lake, "new", new, business_date=D2, mode=Mode.APPEND)
    record = load(config, run, target)
    assert (record.rows, record.superseded_rows, record.visible_rows) == (2, 1, 3)
    assert versions(config, target) == {
        (token("T1"), "old", *dates(D2)),
        (token("T2"), "old", None),
        (token("T1"), "new", None),
        (token("T3"), "new", None),
    }
    again = sealed_run(config, lake, "again", [], business_date=D2, mode=Mode.APPEND)
    assert load(config, again, target).shown_again_rows == 1
    assert versions(config, target) == {(token("T1"), "old", None), (token("T2"), "old", None)}


def test_indexes_views_and_grants_after_a_migration(config: Config, lake: Path) -> None:
    made_by_0_1(config, Target.POSTGRES)
    run = sealed_run(config, lake, "new", [row("T1", D2)], business_date=D2, mode=Mode.APPEND)
    load(config, run, Target.POSTGRES)
    schema = raw_schema(config)
    with connect(config) as connection:
        names = connection.execute(
            "select indexname from pg_indexes where schemaname = %s and tablename = %s",
            (schema, "raw_transactions"),
        ).fetchall()
        assert {name.rpartition("_")[2] for (name,) in names} == {"shown", "super", "date", "loads"}
        view = SQL("select n from {}").format(Identifier(schema, "of_an_analyst"))
        assert connection.execute(view).fetchone() == (3,)
        granted = connection.execute(
            "select has_table_privilege(%s, %s, 'select')",
            (f"reader_{schema}", f"{schema}.raw_transactions"),
        )
        assert granted.fetchone() == (True,)
