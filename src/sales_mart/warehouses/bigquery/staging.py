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

from sales_mart.errors import UnexpectedError
from sales_mart.names import LOAD_RUNS, raw_schema
from sales_mart.progress import advance
from sales_mart.schema import TableColumn, schema_of
from sales_mart.warehouses.bigquery.connection import (
    Client,
    add_columns,
    ensure_dataset,
    existing_table,
    query,
    run_job,
    table_id,
)
from sales_mart.warehouses.bigquery.dialect import LOCK, BigQueryDialect
from sales_mart.warehouses.own_tables import LOAD_TABLES, check_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.lake.records import Part, Seal
    from sales_mart.lake.runs import RunFolder

__all__ = ["MAX_URIS", "LoadTables", "ensure", "ensure_tables", "stage"]

_log = logging.getLogger(__name__)

MAX_URIS = 10_000
"""Addresses that one load job may name."""
_JOBS = 8
_UPLOAD_IS_OVER = (404, 410)
_UPLOADS = 2  # the client holds up to 100 MB of a file that it sends
_EXPIRY = timedelta(days=1)
_SPARE = timedelta(hours=2)

_LOCK_COLUMNS = (TableColumn(name="run_id", kind="text", is_nullable=False),)


class LoadTables(NamedTuple):
    """Full names of the tables of one load, and the columns that come with its parts."""

    raw: str
    load_runs: str
    staging: str
    columns: tuple[TableColumn, ...]

    @classmethod
    def of(cls, config: Config, seal: Seal) -> LoadTables:
        """Name the tables; the staging table is the sealed run's own."""
        schema = raw_schema(config)
        digest = hashlib.sha256(f"{seal.run_id} {seal.digest}".encode()).hexdigest()[:16]
        return cls(
            raw=table_id(config, schema, config.data_warehouse.table),
            load_runs=table_id(config, schema, LOAD_RUNS),
            staging=table_id(config, schema, f"staging_{digest}"),
            columns=schema_of(config).valid,
        )


def ensure_tables(client: Client, config: Config, tables: LoadTables) -> None:
    """Create what is missing, and compare the raw table's columns with what a load writes.

    Raises:
        ConfigurationError: A column is missing or has another type.
    """
    schema, sales = raw_schema(config), schema_of(config)
    raw = existing_table(client, tables.raw)
    if raw is None:
        ensure_dataset(client, config, schema)
        raw = bigquery.Table(tables.raw, schema=list(map(_field, sales.raw)))
        raw.time_partitioning = bigquery.TimePartitioning(field=sales.named("date"))
        raw.clustering_fields = list(sales.grain[:-1])
        raw = client.create_table(raw, exists_ok=True)
    _evolve(client, config, raw, sales.raw)
    made = ensure(client, config, schema, {**LOAD_TABLES, LOCK: _LOCK_COLUMNS})
    if not made[LOCK].num_rows:
        lock = table_id(config, schema, LOCK)
        query(client, f"insert into `{lock}` (run_id) values ('')")


def ensure(
    client: Client, config: Config, schema: str, tables: Mapping[str, Sequence[TableColumn]]
) -> dict[str, bigquery.Table]:
    """Create the pipeline's own tables that are missing; add the columns that the others lack.

    Raises:
        ConfigurationError: A column has another type, or cannot be added.
    """
    made: dict[str, bigquery.Table] = {}
    for name, columns in tables.items():
        full = table_id(config, schema, name)
        table = existing_table(client, full)
        if table is None:
            new = bigquery.Table(full, schema=list(map(_field, columns)))
            table = client.create_table(new, exists_ok=True)
        _evolve(client, config, table, columns)
        made[name] = table
    return made


def _field(column: TableColumn, *, in_staging: bool = False) -> bigquery.SchemaField:
    """Return a column as BigQuery's API has it.

    All of a staging table are nullable: a Parquet column that may hold nulls does not load into a
    required one. Nor do decimals there have a scale, which a load job would compare.
    """
    name, kind = column.name, BigQueryDialect("").type_of(column).partition("(")[0]
    mode = "NULLABLE" if column.is_nullable or in_staging else "REQUIRED"
    if column.kind != "decimal" or not column.digits or in_staging:
        return bigquery.SchemaField(name, kind, mode, description=column.description)
    return bigquery.SchemaField(
        name,
        kind,
        mode,
        description=column.description,
        precision=column.digits,
        scale=column.scale,
    )


def _evolve(
    client: Client, config: Config, table: bigquery.Table, columns: Sequence[TableColumn]
) -> None:
    """Add the nullable columns that a table lacks; views and grants on it stay.

    Raises:
        ConfigurationError: A column has another type, or cannot be added.
    """
    dialect = BigQueryDialect("")
    wanted = {column.name: dialect.type_of(column) for column in columns}
    found = {field.name: _shown(field, wanted.get(field.name, "")) for field in table.schema}
    where = f"{table.dataset_id}.{table.table_id}"
    missing = check_columns(dialect, where, columns, found)
    add_columns(client, config, table, list(map(_field, missing)))


def _shown(field: bigquery.SchemaField, wanted: str) -> str:
    """Return the type of a column as `type_of` spells it; a bare NUMERIC takes any scale."""
    names = {"INTEGER": "INT64", "DECIMAL": "NUMERIC", "BOOLEAN": "BOOL"}
    kind = names.get(field.field_type, field.field_type)
    if kind == "NUMERIC" and field.scale is None and wanted.startswith(kind):
        return wanted
    return kind if field.scale is None else f"{kind}({field.precision},{field.scale})"


def stage(client: Client, run: RunFolder, seal: Seal, tables: LoadTables, sequence: int) -> str:
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
    staging = tables.staging
    for _ in range(2):
        table = _staging_table(client, tables)
        created = int(table.created.timestamp() * 1000) if table.created else 0
        prefix = f"{table.table_id.replace('staging', 'sales_mart')}-{sequence}-{created}"
        if _count(client, staging) == seal.rows_valid:
            return prefix
        _load_parts(client, run, seal.valid, staging, prefix)
        if _count(client, staging) == seal.rows_valid:
            return prefix
        # What an attempt left behind that was killed half way: start with an empty table.
        _log.info("staging table %s is filled wrongly, starting anew", table.table_id)
        client.delete_table(staging, not_found_ok=True)
    msg = f"the staging table of run {run.run_id} does not hold the {seal.rows_valid} sealed rows"
    raise UnexpectedError(msg, remedy="Nothing was changed. Please report this as a bug.")


def _staging_table(client: Client, tables: LoadTables) -> bigquery.Table:
    staging = tables.staging
    table = existing_table(client, staging)
    now = datetime.now(UTC)
    if table is not None and table.expires is not None and table.expires < now + _SPARE:
        client.delete_table(staging, not_found_ok=True)
        table = None
    if table is None:
        fields = [_field(column, in_staging=True) for column in tables.columns]
        table = bigquery.Table(staging, schema=fields)
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

    if not run.uri.startswith("gs://"):
        with ThreadPoolExecutor(_JOBS, "upload") as pool:
            for part, _ in zip(parts, pool.map(upload, enumerate(parts)), strict=True):
                advance(part.rows, part.rows)
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
        rows = sum(part.rows for part in parts[first : first + MAX_URIS])
        advance(rows, rows)
