"""Step `load` against a server that speaks BigQuery's API."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from append_story import D1, D2, D3, dates
from sales_mart.errors import (
    ConfigurationError,
    DataError,
    TemporaryError,
    UnexpectedError,
)
from sales_mart.lake.records import Load, Mode, Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.names import LOAD_RUNS, raw_schema
from sales_mart.warehouses.bigquery import load as step
from sales_mart.warehouses.bigquery import staging as bigquery_tables
from sales_mart.warehouses.bigquery.connection import (
    Client,
    bigquery_errors,
    client,
    query,
    table_id,
)
from sales_mart.warehouses.bigquery.load import load
from sales_mart.warehouses.bigquery.reader import BigQuerySession
from sales_mart.warehouses.bigquery.staging import LoadTables, ensure_tables
from sales_mart.warehouses.history import latest_load
from support import Row, row, sealed_run, token

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from sales_mart.config import Config


@pytest.fixture
def connected(config: Config) -> Generator[Client]:
    with client(config) as opened:
        yield opened


def raw_rows(connected: Client, config: Config) -> list[tuple[Any, ...]]:
    """Return the valid columns, run and batch of every visible raw row, in the order of tokens."""
    name = table_id(config, raw_schema(config), config.data_warehouse.table)
    rows = query(
        connected,
        "select transaction_id, product, price, quantity, sale_date, run_id, business_date"
        f" from `{name}` where superseded_by is null order by transaction_id",
    )
    return [row.values() for row in rows]


def append(config: Config, lake: Path, run_id: str, day: str, rows: Sequence[Row]) -> Load:
    """Load `rows` as the batch of `day`."""
    run = sealed_run(config, lake, run_id, rows, business_date=day, mode=Mode.APPEND)
    return load(config, run)


def tables_of(connected: Client, config: Config) -> set[str]:
    return {table.table_id for table in connected.list_tables(raw_schema(config))}


def test_the_raw_table_is_partitioned_and_clustered(
    config: Config, lake: Path, connected: Client
) -> None:
    load(config, sealed_run(config, lake, "a", [row("T1", D1)]))
    name = table_id(config, raw_schema(config), config.data_warehouse.table)
    table = connected.get_table(name)
    assert table.time_partitioning is not None
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("DAY", "sale_date")
    assert table.clustering_fields == ["product"]


def test_a_process_that_comes_too_late_finds_its_run_loaded(
    config: Config, lake: Path, connected: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of two processes of one run in a bucket, which keeps nobody out."""
    run = sealed_run(config, lake, "a", [row("T1", D1)])
    staging = LoadTables.of(config, run.read("seal", Seal)).staging
    stage = bigquery_tables.stage

    def overtaken(*_: object) -> str:
        monkeypatch.setattr(step, "stage", stage)
        assert not load(config, run).already_loaded
        return str(list(query(connected, f"select count(*) from `{staging}`")))

    monkeypatch.setattr(RunFolder, "alone", lambda *_: nullcontext())  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(step, "stage", overtaken)
    assert load(config, run).already_loaded
    assert [found[0] for found in raw_rows(connected, config)] == [token("T1")]
    latest = latest_load(BigQuerySession(connected, config))
    assert latest is not None
    assert latest.sequence == 1


def test_nothing_but_the_tables_stays_behind(config: Config, lake: Path, connected: Client) -> None:
    load(config, sealed_run(config, lake, "a", [row("T1", D1)]))
    assert tables_of(connected, config) == {
        "raw_transactions",
        "load_runs",
        "target_lock",
    }


def test_what_a_killed_attempt_staged_is_not_loaded_twice(
    config: Config, lake: Path, connected: Client
) -> None:
    run = sealed_run(config, lake, "a", [row("T1", D1), row("T2", D1)])
    seal = run.read("seal", Seal)
    names = LoadTables.of(config, seal)
    ensure_tables(connected, config, names)
    query(
        connected,
        f"create table `{names.staging}` as select transaction_id, product, price, quantity, "
        f"amount, sale_date, source_file, source_row from `{names.raw}`",
    )
    query(
        connected,
        f"insert into `{names.staging}` (transaction_id, sale_date) "
        f"values ('{token('T1')}', date '{D1}')",
    )
    assert load(config, run).rows == 2
    assert [found[0] for found in raw_rows(connected, config)] == sorted([token("T1"), token("T2")])
    assert names.staging.rpartition(".")[2] not in tables_of(connected, config)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_failure_after_the_change_takes_it_back(
    config: Config,
    lake: Path,
    connected: Client,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
) -> None:
    load(config, sealed_run(config, lake, "a", [row("T1", D1)]))
    run = sealed_run(config, lake, "b", [row("T2", D1)], mode=mode)
    script = step.change_script

    def wrong(*args: Any) -> str:
        return script(*args).replace(") = 1,", ") = 2,")

    with monkeypatch.context() as patch:
        patch.setattr(step, "change_script", wrong)
        with pytest.raises(UnexpectedError):
            load(config, run)
    assert [found[0] for found in raw_rows(connected, config)] == [token("T1")]
    latest = latest_load(BigQuerySession(connected, config))
    assert latest is not None
    assert latest.run_id == "a"
    assert load(config, run).sequence == 2


def test_a_load_that_was_overtaken_changes_nothing(
    config: Config, lake: Path, connected: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(config, sealed_run(config, lake, "a", [row("T1", D1)]))
    run = sealed_run(config, lake, "b", [row("T2", D1)])
    plan = step.change_script

    def overtaken(*args: Any) -> str:
        monkeypatch.undo()
        load(config, sealed_run(config, lake, "c", [row("T3", D1)]))
        return plan(*args)

    monkeypatch.setattr(step, "change_script", overtaken)
    with pytest.raises(TemporaryError, match="at the same time"):
        load(config, run)
    assert [found[0] for found in raw_rows(connected, config)] == [token("T3")]


def test_a_column_of_another_type_is_refused(config: Config, lake: Path, connected: Client) -> None:
    connected.create_dataset(raw_schema(config))
    name = table_id(config, raw_schema(config), config.data_warehouse.table)
    query(connected, f"create table `{name}` (transaction_id string, price float64)")
    with pytest.raises(ConfigurationError, match=r"column price of .* is FLOAT"):
        load(config, sealed_run(config, lake, "a", [row("T1", D1)]))


def test_too_many_dates_are_refused_before_the_load(
    config: Config, lake: Path, connected: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "MAX_DATES", 2)
    run = sealed_run(config, lake, "a", [row("T1", D1), row("T2", D2), row("T3", D3)])
    with pytest.raises(DataError, match="touches 3 sale dates") as caught:
        load(config, run)
    assert caught.value.exit_code == 65
    assert caught.value.remedy
    assert latest_load(BigQuerySession(connected, config)) is None


def test_old_dates_count_as_touched(
    config: Config, lake: Path, connected: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(config, lake, "a", D1, [row("T1", D1), row("T2", D2)])
    monkeypatch.setattr(step, "MAX_DATES", 2)
    with pytest.raises(DataError, match="touches 3 sale dates"):
        append(config, lake, "b", D1, [row("T1", D3)])
    latest = latest_load(BigQuerySession(connected, config))
    assert latest is not None
    assert latest.run_id == "a"


def test_parts_of_a_bucket_are_loaded_by_their_addresses(
    config: Config, lake: Path, gcs: str, connected: Client
) -> None:
    local = sealed_run(config, lake, "a", [row("T1", D1), row("T2", D2)])
    run = RunFolder(f"{gcs}/lake", "a")
    seal = local.read("seal", Seal)
    for part in seal.valid:
        run.lake.write(run.name(part.name), local.lake.read(local.name(part.name)))
    run.write("seal", seal)
    assert load(config, run).rows == 2
    assert len(raw_rows(connected, config)) == 2


def test_a_server_that_is_away_is_temporary(config: Config, lake: Path) -> None:
    settings = config.data_warehouse.bigquery.model_copy(
        update={"api_endpoint": "http://127.0.0.1:9", "request_timeout": 1}
    )
    warehouse = config.data_warehouse.model_copy(update={"bigquery": settings})
    away = config.model_copy(update={"data_warehouse": warehouse})
    with pytest.raises(TemporaryError, match="does not answer") as caught:
        load(away, sealed_run(away, lake, "a", [row("T1", D1)]))
    assert caught.value.exit_code == 75


def test_a_wrong_statement_is_a_bug_and_quotes_no_value(config: Config, connected: Client) -> None:
    with pytest.raises(UnexpectedError) as caught, bigquery_errors(config):
        query(connected, "select cast('secret-value' as int64)")
    assert "secret-value" not in str(caught.value) + str(caught.value.details)
    assert caught.value.__cause__ is None


def test_load_runs_tells_every_load(config: Config, lake: Path, connected: Client) -> None:
    append(config, lake, "a", D1, [row("T1", D1)])
    append(config, lake, "b", D2, [row("T2", D2)])
    rows = query(
        connected,
        "select run_id, business_date, sequence, mode, `rows`, key_id, sale_date_window"
        f" from `{table_id(config, raw_schema(config), LOAD_RUNS)}` order by sequence",
    )
    assert [found.values() for found in rows] == [
        ("a", *dates(D1), 1, "append", 1, "sha256", f'["{D1}"]'),
        ("b", *dates(D2), 2, "append", 1, "sha256", f'["{D2}"]'),
    ]
