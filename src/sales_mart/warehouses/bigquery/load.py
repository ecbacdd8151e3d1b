"""Step `load` for BigQuery: the sealed rows become the raw table's in one transaction.

Parts go by load jobs into a staging table of the run, which expires. Then one script, a
transaction, changes the raw table and writes `load_runs`. Whatever dies in between, the next
attempt finds the same staging table and the same job ids, attaches to what still runs and repeats
what did not happen.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeGuard

from google.api_core import exceptions as api

from sales_mart.errors import DataError, TemporaryError, UnexpectedError
from sales_mart.lake.records import Load, Mode, Seal
from sales_mart.warehouses.admission import LoadOptions, check_admission, check_removed_share
from sales_mart.warehouses.bigquery.append import (
    Delivery,
    Effect,
    append_statements,
    effect_query,
)
from sales_mart.warehouses.bigquery.connection import (
    Client,
    bigquery_errors,
    client,
    query,
    run_job,
)
from sales_mart.warehouses.bigquery.dialect import Value, conditional_script, empty_table, literal
from sales_mart.warehouses.bigquery.reader import BigQuerySession
from sales_mart.warehouses.bigquery.staging import LoadTables, ensure_tables, stage
from sales_mart.warehouses.history import Change, latest_load, load_values, past_loads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.cloud import bigquery

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.admission import PastLoad

__all__ = ["change_script", "load", "replace_statements"]

_NOTHING_SAID = LoadOptions()
_log = logging.getLogger(__name__)

MAX_DATES = 4_000
"""Partitions that one BigQuery job may modify."""


def load(config: Config, run: RunFolder, options: LoadOptions = _NOTHING_SAID) -> Load:
    """Load a sealed run into BigQuery and write the record `load-bigquery`.

    Raises:
        ConfigurationError: A column has another type, key ids would mix, or access is refused.
        DataError: The batch has more dates than one job may touch, or the load is refused: by age,
            by rules, or for the rows that it would take away.
        SourceChangedError: A part is not the one that was sealed.
        TemporaryError: The server is away or busy, or another run loads at the same time.
        UnexpectedError: The table does not hold what the seal says; nothing was changed.
    """
    seal = run.read("seal", Seal)
    run.check_digest(seal.config_digest, config.digest)
    _check_dates(len(seal.sale_dates), run.run_id)
    # The staging table is the run's. Where the jobs' ids alone keep two processes of one run apart,
    # in a bucket, the one that comes too late finds the table gone.
    seconds = config.data_warehouse.lock_timeout
    with run.alone(seconds, "valid"), bigquery_errors(config), client(config) as connected:
        record = _load(connected, config, run, seal, options)
    run.write("load-bigquery", record)
    _log.info(
        "bigquery: %d rows in %s mode, load %d%s",
        record.rows,
        record.mode,
        record.sequence,
        ", loaded already" if record.already_loaded else "",
    )
    return record


def _load(client: Client, config: Config, run: RunFolder, seal: Seal, options: LoadOptions) -> Load:
    tables = LoadTables.of(config, seal)
    ensure_tables(client, config, tables)
    latest = latest_load(BigQuerySession(client, config))
    if _is_this(latest, seal):
        _drop(client, tables.staging)
        return latest.model_copy(update={"already_loaded": True})
    try:
        _change(client, config, run, seal, tables, options)
    except (api.NotFound, UnexpectedError):
        loaded = latest_load(BigQuerySession(client, config))
        if not _is_this(loaded, seal):
            raise
        _log.info("another process has loaded run %s meanwhile", run.run_id)
        return loaded.model_copy(update={"already_loaded": True})
    loaded = latest_load(BigQuerySession(client, config))
    if not _is_this(loaded, seal):
        msg = "another run was loaded into BigQuery at the same time"
        raise TemporaryError(msg, remedy="Run the same command again.")
    _drop(client, tables.staging)
    return loaded


def _change(  # noqa: PLR0913 - what a load needs
    client: Client,
    config: Config,
    run: RunFolder,
    seal: Seal,
    tables: LoadTables,
    options: LoadOptions,
) -> None:
    """Stage the rows and change the raw table, unless another load came in between."""
    past = past_loads(BigQuerySession(client, config))
    sequence = past[-1].sequence + 1 if past else 1
    holds_rows = bool(past) and _count(client, tables.raw) > 0
    check_admission(config, run, seal, options, past, holds_rows=holds_rows)
    before = _visible_rows(client, tables, past)
    if seal.mode is Mode.REPLACE:
        check_removed_share(config, seal, before, seal.rows_valid)
    prefix = stage(client, run, seal, tables, sequence)
    if seal.mode is Mode.REPLACE:
        change = Change(None, seal.rows_valid, removed_rows=before)
        statements = replace_statements(config, tables, seal)
    else:
        delivery = Delivery.of(seal.business_date, past)
        found = query(client, effect_query(tables, delivery))
        effect = Effect.of((row[0], row[1], row[2]) for row in found)
        change = effect.change
        check_removed_share(config, seal, before, change.visible_after(before))
        _check_dates(len(effect.changed), run.run_id)
        statements = append_statements(tables, seal, delivery, effect)
    values = load_values(config, seal, change, change.visible_after(before))
    script = change_script(config, tables, statements, values, sequence)

    def start(job_id: str) -> bigquery.QueryJob:
        return client.query(script, job_id=job_id, job_retry=None)

    run_job(client, f"{prefix}-change", start)


def _is_this(latest: Load | None, seal: Seal) -> TypeGuard[Load]:
    found = None if latest is None else (latest.run_id, latest.seal_digest)
    return found == (seal.run_id, seal.digest)


def _drop(client: Client, staging: str) -> None:
    client.delete_table(staging, not_found_ok=True)


def _check_dates(days: int, run_id: str) -> None:
    if days > MAX_DATES:
        msg = (
            f"run {run_id} touches {days} sale dates, BigQuery changes at most {MAX_DATES} at once"
        )
        raise DataError(msg, remedy="Split the source by date, and load the pieces one by one.")


def _count(client: Client, table: str, where: str = "true") -> int:
    return next(iter(query(client, f"select count(*) from `{table}` where {where}")))[0]


def _visible_rows(client: Client, tables: LoadTables, past: Sequence[PastLoad]) -> int:
    """Return how many rows are visible: as the last load noted, else by counting them."""
    if past and past[-1].visible_rows is not None:
        return past[-1].visible_rows
    return _count(client, tables.raw, "superseded_by is null")


def replace_statements(config: Config, tables: LoadTables, seal: Seal) -> list[str]:
    """Return the statements that make the table the staged rows."""
    columns = ", ".join(f"`{column.name}`" for column in tables.columns)
    run, day = literal(seal.run_id), literal(seal.business_date)
    insert = (
        f"insert into `{tables.raw}` ({columns}, run_id, business_date) "
        f"select {columns}, {run}, {day} from `{tables.staging}`"
    )
    check = (
        f"select if((select count(*) from `{tables.raw}`) = {seal.rows_valid}, "
        "true, error('the raw table does not hold the sealed rows'))"
    )
    return [empty_table(config, tables.raw), insert, check]


def change_script(
    config: Config,
    tables: LoadTables,
    statements: Sequence[str],
    values: Mapping[str, Value],
    sequence: int,
) -> str:
    """Return the script that changes the raw table and notes the load, all at once.

    Args:
        config: The configuration.
        tables: The tables of the load.
        statements: What changes the raw table.
        values: What `load_runs` keeps of the load.
        sequence: Its number.
    """
    noted = {"sequence": literal(sequence)}
    noted |= {name: literal(value) for name, value in values.items()}
    noted |= {"loaded_at": "current_timestamp()"}
    note = (
        f"insert into `{tables.load_runs}` ({', '.join(f'`{name}`' for name in noted)}) "
        f"values ({', '.join(noted.values())})"
    )
    run_id = str(values["run_id"])
    return conditional_script(config, run_id, sequence - 1, [*statements, note])
