"""Tables of a BigQuery load, and how parts reach the staging table by load jobs."""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Semaphore
from typing import IO, TYPE_CHECKING, NamedTuple

from google.api_core import exceptions as api
from google.cloud import bigquery

from sales_mart.errors import ConfigurationError, UnexpectedError
from sales_mart.lake.storage import is_gcs
from sales_mart.names import LOAD_RUNS, PUBLICATIONS, clean_schema, raw_schema
from sales_mart.warehouses.bigquery.connection import (
    Client,
    ensure_dataset,
    existing_table,
    is_emulator,
    query,
    run_job,
    table_id,
)
from sales_mart.warehouses.bigquery.dialect import LOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.config import Config
    from sales_mart.lake.records import Part, Seal
    from sales_mart.lake.runs import RunFolder

__all__ = ["MAX_URIS", "LoadTables", "ensure_tables", "stage"]

_log = logging.getLogger(__name__)

MAX_URIS = 10_000
"""Addresses that one load job may name."""
_JOBS = 8
_UPLOAD_IS_OVER = (404, 410)
_UPLOADS = 2  # the client holds up to 100 MB of a file that it sends
_EXPIRY = timedelta(days=1)
_SPARE = timedelta(hours=2)

_Field = bigquery.SchemaField
# What came after 0.1: nullable, so that they can be added to what it left.
_SUPERSEDED_BY = _Field("superseded_by", "DATE", description="next later date; null: visible")
_NEW_LOAD_COLUMNS = (
    _Field("removed_rows", "INT64", description="visible rows that are gone"),
    _Field("superseded_rows", "INT64", description="rows of earlier loads that it overrides"),
    _Field("shown_again_rows", "INT64", description="rows that are visible again"),
    _Field("visible_rows", "INT64", description="visible rows after the load"),
    _Field("rules", "STRING", description="JSON object: the rules by reason"),
    _Field("rejects", "STRING", description="JSON object: rejected rows by reason"),
)
_LOAD_RUNS_SCHEMA = (
    _Field("sequence", "INT64", "REQUIRED", description="1 for the first load, then one more each"),
    _Field("run_id", "STRING", "REQUIRED"),
    _Field("business_date", "DATE", "REQUIRED"),
    _Field("mode", "STRING", "REQUIRED", description="replace or append"),
    _Field("rows", "INT64", "REQUIRED", description="visible rows that the run added"),
    _Field("yielded_rows", "INT64", "REQUIRED", description="its rows that a later date overrides"),
    _Field("key_id", "STRING", "REQUIRED", description="key of the tokens, never the key itself"),
    _Field("sale_date_window", "STRING", description="JSON array of dates; null for all"),
    _Field("seal_digest", "STRING", "REQUIRED"),
    _Field("loaded_at", "TIMESTAMP", "REQUIRED"),
    *_NEW_LOAD_COLUMNS,
)
_PUBLICATIONS_SCHEMA = (
    _Field("run_id", "STRING", "REQUIRED"),
    _Field("sequence", "INT64", "REQUIRED", description="sequence of the load that is shown"),
    _Field("mart_rules_digest", "STRING", "REQUIRED"),
    _Field("mart_rows", "STRING", "REQUIRED", description="JSON object: rows of each table"),
    _Field("published_at", "TIMESTAMP", "REQUIRED"),
    _Field("slices", "INT64", description="slices recorded in published_slices"),
)
_LOCK_SCHEMA = (_Field("run_id", "STRING", "REQUIRED"),)
# All nullable: a Parquet column that may hold nulls does not load into a required one.
_STAGING_SCHEMA = (
    _Field("transaction_id", "STRING"),
    _Field("product", "STRING"),
    _Field("price", "NUMERIC"),
    _Field("quantity", "INT64"),
    _Field("sale_date", "DATE"),
    _Field("source_file", "INT64"),
    _Field("source_row", "INT64"),
)
_REQUIRED = {field.name for field in clean_schema(0) if not field.nullable}


class LoadTables(NamedTuple):
    """Full names of the tables of one load."""

    raw: str
    load_runs: str
    staging: str

    @classmethod
    def of(cls, config: Config, seal: Seal) -> LoadTables:
        """Name the tables; the staging table is the sealed run's own."""
        schema = raw_schema(config)
        digest = hashlib.sha256(f"{seal.run_id} {seal.digest}".encode()).hexdigest()[:16]
        return cls(
            raw=table_id(config, schema, config.data_warehouse.table),
            load_runs=table_id(config, schema, LOAD_RUNS),
            staging=table_id(config, schema, f"staging_{digest}"),
        )


def ensure_tables(client: Client, config: Config, tables: LoadTables) -> None:
    """Create what is missing, and compare the raw table's columns with what a load writes.

    Raises:
        ConfigurationError: A column is missing or has another type.
    """
    schema = raw_schema(config)
    raw = existing_table(client, tables.raw)
    if raw is None:
        ensure_dataset(client, config, schema)
        raw = bigquery.Table(tables.raw, schema=_raw_columns(config))
        raw.time_partitioning = bigquery.TimePartitioning(field="sale_date")
        raw.clustering_fields = ["product"]
        raw = client.create_table(raw, exists_ok=True)
    _check_columns(config, raw)
    _add_columns(client, config, raw, (_SUPERSEDED_BY,))
    for name, columns in (
        (LOAD_RUNS, _LOAD_RUNS_SCHEMA),
        (PUBLICATIONS, _PUBLICATIONS_SCHEMA),
        (LOCK, _LOCK_SCHEMA),
    ):
        full = table_id(config, schema, name)
        table = existing_table(client, full)
        if table is None:
            table = bigquery.Table(full, schema=columns)
            table = client.create_table(table, exists_ok=True)
        if name == LOAD_RUNS:
            table = _add_columns(client, config, table, _NEW_LOAD_COLUMNS)
        if name == LOCK and not table.num_rows:
            query(client, f"insert into `{full}` (run_id) values ('')")


def _add_columns(
    client: Client, config: Config, table: bigquery.Table, columns: Sequence[bigquery.SchemaField]
) -> bigquery.Table:
    """Add the columns that a table of 0.1 lacks; views and grants on it stay."""
    found = {field.name for field in table.schema}
    missing = [field for field in columns if field.name not in found]
    if not missing:
        return table
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    added = [f"add column if not exists {each.name} {each.field_type}" for each in missing]
    # The stand-in server takes one at a time, and does not see them in its own catalogue.
    for addition in added if is_emulator(config) else [", ".join(added)]:
        query(client, f"alter table `{name}` {addition}")
    if is_emulator(config):
        table.schema = [*table.schema, *missing]
        return client.update_table(table, ["schema"])
    return client.get_table(name)


def _raw_columns(config: Config) -> list[bigquery.SchemaField]:
    fields = [
        _Field(field.name, field.field_type, "REQUIRED" if field.name in _REQUIRED else "NULLABLE")
        if field.name != "price"
        else _Field("price", "NUMERIC", precision=18, scale=config.rules.max_decimals)
        for field in _STAGING_SCHEMA
    ]
    return [
        *fields,
        _Field("run_id", "STRING", "REQUIRED"),
        _Field("business_date", "DATE", "REQUIRED"),
        _SUPERSEDED_BY,
    ]


def _check_columns(config: Config, table: bigquery.Table) -> None:
    found = {field.name: field for field in table.schema}
    for wanted in _raw_columns(config):
        have = found.get(wanted.name)
        if have is None and wanted is _SUPERSEDED_BY:
            continue  # it is about to be added
        # A bare NUMERIC reports no scale and takes any.
        if have is not None and _same_type(have, wanted):
            continue
        shown = "missing" if have is None else _shown(have)
        where = f"{table.dataset_id}.{table.table_id}"
        msg = f"column {wanted.name} of {where} is {shown}, the run writes {_shown(wanted)}"
        raise ConfigurationError(
            msg,
            remedy="Move the table away or drop it and load the history anew, or put "
            "ingestion.validation.max_decimals back.",
        )


def _same_type(have: bigquery.SchemaField, wanted: bigquery.SchemaField) -> bool:
    names = {"INTEGER": "INT64", "DECIMAL": "NUMERIC"}
    return names.get(have.field_type, have.field_type) == wanted.field_type and (
        have.scale is None or have.scale == wanted.scale
    )


def _shown(field: bigquery.SchemaField) -> str:
    return field.field_type if field.scale is None else f"{field.field_type}(18,{field.scale})"


def stage(client: Client, run: RunFolder, seal: Seal, staging: str, sequence: int) -> str:
    """Bring the sealed parts into the staging table, each row once.

    Job ids derive from the run, the load's sequence and the moment at which the table was made,
    so a repeated attempt attaches to its predecessor's jobs, but never to jobs that filled a table
    that is gone.

    Returns:
        What the ids of this load's jobs start with.

    Raises:
        SourceChangedError: A part is not the one that was sealed.
        UnexpectedError: The table does not hold what the seal says.
    """
    for _ in range(2):
        table = _staging_table(client, staging)
        created = int(table.created.timestamp() * 1000) if table.created else 0
        prefix = f"{table.table_id.replace('staging', 'sales_mart')}-{sequence}-{created}"
        if _count(client, staging) == seal.rows_clean:
            return prefix
        _load_parts(client, run, seal.clean, staging, prefix)
        if _count(client, staging) == seal.rows_clean:
            return prefix
        # What an attempt left behind that was killed half way: start with an empty table.
        _log.info("staging table %s is filled wrongly, starting anew", table.table_id)
        client.delete_table(staging, not_found_ok=True)
    msg = f"the staging table of run {run.run_id} does not hold the {seal.rows_clean} sealed rows"
    raise UnexpectedError(msg, remedy="Nothing was changed. Please report this as a bug.")


def _staging_table(client: Client, staging: str) -> bigquery.Table:
    table = existing_table(client, staging)
    now = datetime.now(UTC)
    if table is not None and table.expires is not None and table.expires < now + _SPARE:
        client.delete_table(staging, not_found_ok=True)
        table = None
    if table is None:
        table = bigquery.Table(staging, schema=_STAGING_SCHEMA)
        table.expires = now + _EXPIRY
        table = client.create_table(table, exists_ok=True)
    return table


def _count(client: Client, name: str) -> int:
    return next(iter(query(client, f"select count(*) from `{name}`")))[0]


def _load_parts(
    client: Client, run: RunFolder, parts: Sequence[Part], staging: str, prefix: str
) -> None:
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
    )

    uploading = Semaphore(_UPLOADS)

    def send(file: IO[bytes], job_id: str) -> bigquery.LoadJob:
        return client.load_table_from_file(
            file,
            staging,
            num_retries=3,
            job_id=job_id,
            job_config=config,
            timeout=client.request_timeout,
        )

    def upload(numbered: tuple[int, Part]) -> None:
        number, part = numbered

        def start(job_id: str) -> bigquery.LoadJob:
            with uploading, run.sealed_part(part) as path, path.open("rb") as file:
                try:
                    return send(file, job_id)
                except api.ClientError as error:
                    if error.code not in _UPLOAD_IS_OVER:
                        raise
                    # The upload is over, as after an answer that got lost. If that made the job,
                    # its id says so now.
                    file.seek(0)
                    return send(file, job_id)

        run_job(client, f"{prefix}-part-{number}", start)

    if not is_gcs(run.uri):
        with ThreadPoolExecutor(_JOBS, "upload") as pool:
            list(pool.map(upload, enumerate(parts)))
        return
    uris = [f"{run.uri}/{part.name}" for part in parts]
    for first in range(0, len(uris), MAX_URIS):
        chunk = uris[first : first + MAX_URIS]

        def start(job_id: str, chunk: list[str] = chunk) -> bigquery.LoadJob:
            return client.load_table_from_uri(
                chunk,
                staging,
                job_id=job_id,
                job_config=config,
            )

        run_job(client, f"{prefix}-uris-{first}", start)
