"""Stop `load` for BigQuery: the sealed rows become the raw table's in one transaction.

Parts go by load jobs into a staging table of the run, which expires. Then one script, a
transaction, changes the raw table and writes `load_runs`. Whatever dies in between, the next
attempt finds the same staging table and the same job ids, attaches to what still runs and repeats
what did not happen.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from google.api_core import exceptions as api
from google.cloud import bigquery

from sales_mart.errors import DataError, TemporaryError, UnexpectedError
from sales_mart.lake.records import Load, Mode, Seal
from sales_mart.names import CLEAN_COLUMNS
from sales_mart.steps.plan import check_digest
from sales_mart.warehouses.bigquery.connection import (
    Client,
    bigquery_errors,
    client,
    query,
    run_job,
)
from sales_mart.warehouses.bigquery.dialect import (
    date_predicate,
    empty_table,
    guarded_script,
    literal,
)
from sales_mart.warehouses.bigquery.history import latest_load
from sales_mart.warehouses.bigquery.staging import LoadTables, ensure_tables, stage
from sales_mart.warehouses.history import Window, check_key, window_to_json

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

__all__ = ["Change", "append_query", "change_script", "load"]

_log = logging.getLogger(__name__)

MAX_DATES = 4_000
"""Partitions that one BigQuery job may modify."""


class Change(NamedTuple):
    """What a load does to the raw table."""

    window: Window
    yielded_rows: int = 0


def load(config: Config, run: RunFolder) -> Load:
    """Load a sealed run into BigQuery and write the record `load-bigquery`.

    Raises:
        ConfigurationError: A column has another type, key ids would mix, or access is refused.
        DataError: The batch has more dates than one job may touch.
        SourceChangedError: A part is not the one that was sealed.
        TemporaryError: The server is away or busy, or another run loads at the same time.
        UnexpectedError: The table does not hold what the seal says; nothing was changed.
    """
    seal = run.read("seal", Seal)
    check_digest(config, run, seal.config_digest)
    _check_dates(len(seal.sale_dates), run.run_id)
    # The staging table is the run's. Where the jobs' ids alone keep two processes of one run apart,
    # in a bucket, the one that comes too late finds the table gone.
    seconds = config.data_warehouse.postgres.lock_timeout
    with run.alone(seconds, "clean"), bigquery_errors(config), client(config) as connected:
        record = _load(connected, config, run, seal)
    run.write("load-bigquery", record)
    _log.info(
        "bigquery: %d rows in %s mode, load %d%s",
        record.rows,
        record.mode,
        record.sequence,
        ", loaded already" if record.already_loaded else "",
    )
    return record


def _load(client: Client, config: Config, run: RunFolder, seal: Seal) -> Load:
    tables = LoadTables.of(config, seal)
    ensure_tables(client, config, tables)
    latest = latest_load(client, config)
    if _is_this(latest, seal):
        _drop(client, tables.staging)
        return latest.model_copy(update={"already_loaded": True})
    try:
        _change(client, config, run, seal, tables, latest.sequence + 1 if latest else 1)
    except (api.NotFound, UnexpectedError):
        loaded = latest_load(client, config)
        if not _is_this(loaded, seal):
            raise
        _log.info("another process has loaded run %s meanwhile", run.run_id)
        return loaded.model_copy(update={"already_loaded": True})
    loaded = latest_load(client, config)
    if not _is_this(loaded, seal):
        msg = "another run was loaded into BigQuery at the same time"
        raise TemporaryError(msg, remedy="Run the same command again.")
    _drop(client, tables.staging)
    return loaded


def _change(  # noqa: PLR0913 - what a load needs
    client: Client, config: Config, run: RunFolder, seal: Seal, tables: LoadTables, sequence: int
) -> None:
    """Stage the rows and change the raw table, unless another load came in between."""
    if seal.mode is Mode.APPEND:
        _check_key(client, tables, seal)
    prefix = stage(client, run, seal, tables.staging, sequence)
    change = _plan_append(client, tables, seal) if seal.mode is Mode.APPEND else Change(None)
    _check_dates(len(change.window or ()), run.run_id)
    script = change_script(config, tables, seal, change, sequence)

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


def _check_key(client: Client, tables: LoadTables, seal: Seal) -> None:
    rows = query(
        client,
        f"""
        select key_id
        from `{tables.load_runs}`
        where (select count(*) from `{tables.raw}`) > 0
        order by sequence desc
        limit 1
        """,
    )
    check_key(next((row[0] for row in rows), None), seal)


def _plan_append(client: Client, tables: LoadTables, seal: Seal) -> Change:
    """Find out what replacing one business date changes, and which rows must stay out.

    This runs before the transaction, which checks that no other load came in between.
    """
    day = bigquery.ScalarQueryParameter("day", "DATE", seal.business_date)
    days = list(query(client, append_query(tables), [day]))
    return Change(
        window=tuple(row[0] for row in days if row[1]),
        yielded_rows=sum(row[2] for row in days),
    )


def append_query(tables: LoadTables) -> str:
    """Ask what the staged rows would change by sale date; `@day` is their business date."""
    return f"""
        with held as (
            select transaction_id, business_date, sale_date
            from `{tables.raw}`
            where
                business_date = @day
                or transaction_id in (select transaction_id from `{tables.staging}`)
        ),
        later as (
            select transaction_id from held where business_date > @day
        ),
        changes as (
            select
                batch.sale_date,
                later.transaction_id is null as is_change
            from `{tables.staging}` as batch
            left join later on batch.transaction_id = later.transaction_id
            union all
            select
                sale_date,
                true as is_change
            from held
            where business_date <= @day
        )
        select
            sale_date,
            countif(is_change) as changes,
            countif(not is_change) as yielded_rows
        from changes
        group by sale_date
        order by sale_date
    """


def change_script(
    config: Config, tables: LoadTables, seal: Seal, change: Change, sequence: int
) -> str:
    """Give the script that makes the staged rows the raw table's, all at once."""
    rows = seal.rows_clean - change.yielded_rows
    columns = ", ".join(CLEAN_COLUMNS)
    day = literal(seal.business_date)
    insert = (
        f"insert into `{tables.raw}` ({columns}, run_id, business_date) "
        f"select {columns}, {literal(seal.run_id)}, {day} from `{tables.staging}`"
    )
    if change.window is None:
        where = "true"
        remove = empty_table(config, tables.raw)
    else:
        where = f"{date_predicate('sale_date', change.window)} and business_date = {day}"
        remove = (
            f"delete from `{tables.raw}` "
            f"where {date_predicate('sale_date', change.window)} and (business_date = {day} "
            f"or (business_date < {day} and transaction_id in "
            f"(select transaction_id from `{tables.staging}`)))"
        )
    if change.yielded_rows:
        insert += (
            " where transaction_id not in "
            f"(select transaction_id from `{tables.raw}` where business_date > {day})"
        )
    check = (
        f"select if((select count(*) from `{tables.raw}` where {where}) = {rows}, "
        "true, error('the raw table does not hold the sealed rows'))"
    )
    values = (
        literal(sequence),
        literal(seal.run_id),
        day,
        literal(seal.mode.value),
        literal(rows),
        literal(change.yielded_rows),
        literal(seal.key_id),
        literal(window_to_json(change.window)),
        literal(seal.digest),
        "current_timestamp()",
    )
    note = (
        f"insert into `{tables.load_runs}` (sequence, run_id, business_date, mode, `rows`, "
        "yielded_rows, key_id, sale_date_window, seal_digest, loaded_at) "
        f"values ({', '.join(values)})"
    )
    return guarded_script(config, seal.run_id, sequence - 1, [remove, insert, check, note])
