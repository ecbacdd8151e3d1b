"""Frames into and out of BigQuery tables: one load job, which is atomic."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from google.cloud import bigquery

from sales_mart.errors import ConfigurationError
from sales_mart.lake.disk import temporary_folder
from sales_mart.warehouses.bigquery.connection import (
    Client,
    bigquery_errors,
    client,
    ensure_dataset,
    existing_table,
    is_emulator,
    query,
    run_job,
    table_id,
)
from sales_mart.warehouses.frames import (
    Field,
    FoundColumn,
    Written,
    fitted,
    table_of,
    write_parquet,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.warehouses.frames import Place, Rows, TableMode

__all__ = ["read_table", "write_table"]

_TYPES: dict[str, Any] = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "BYTES": pa.binary(),
}
# What the API calls them in answers.
_FORMER = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "DECIMAL": "NUMERIC"}
_DECIMALS = ("NUMERIC", "BIGNUMERIC")
_WHOLE, _SCALE = 29, 9  # digits of NUMERIC before and after the point
_MOST_DIGITS = 38


def write_table(config: Config, place: Place, rows: Rows, mode: TableMode) -> Written:
    """Make rows a table's by one load job, whose effect is all or nothing.

    Raises:
        ConfigurationError: A column has another type, or access is refused.
        DataError: A value does not fit; nothing was changed.
        TemporaryError: The server is away or busy.
    """
    full = table_id(config, *place)
    with (
        bigquery_errors(config),
        client(config) as connected,
        temporary_folder("sales-mart-load") as folder,
    ):
        table = existing_table(connected, full)
        there = list(table.schema) if table else []
        columns = [_column(each) for each in there]
        fields, added = fitted(rows, columns, place)
        path = folder / "rows.parquet"
        # The stand-in server takes the columns of a file by their places.
        written = [*columns, *added] if is_emulator(config) and table else fields
        count = write_parquet(rows, [Field(each.name, each.type) for each in written], path)
        if table is None:
            ensure_dataset(connected, config, place.schema)
        elif added and is_emulator(config):
            _add_columns(connected, full, table, added)
        schema = [*there, *(_field(each) for each in added)]
        _load(connected, path, full, schema, mode, grows=bool(table and added))
    return Written(count, table is None, tuple(name for name, _ in added) if table else ())


def _load(  # noqa: PLR0913 - what a load job is told
    client: Client,
    path: Path,
    full: str,
    schema: list[bigquery.SchemaField],
    mode: TableMode,
    *,
    grows: bool,
) -> None:
    appends = mode == "append"
    settings = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=schema,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND
        if appends
        else bigquery.WriteDisposition.WRITE_TRUNCATE,
    )
    if grows and appends:
        settings.schema_update_options = [bigquery.SchemaUpdateOption.ALLOW_FIELD_ADDITION]

    def start(job_id: str) -> bigquery.LoadJob:
        with path.open("rb") as file:
            return client.load_table_from_file(
                file,
                full,
                num_retries=3,
                job_id=job_id,
                job_config=settings,
                timeout=client.request_timeout,
            )

    run_job(client, f"sales_mart_frame-{uuid.uuid4().hex}", start)


def _add_columns(client: Client, full: str, table: bigquery.Table, added: list[Field]) -> None:
    """Add columns where the stand-in server would not see those of a load job."""
    for each in added:
        field = _field(each)
        query(client, f"alter table `{full}` add column if not exists {each.name} {_ddl(field)}")
    table.schema = [*table.schema, *(_field(each) for each in added)]
    client.update_table(table, ["schema"])


def read_table(config: Config, place: Place) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
    """Read a table whole, as it is when the statement begins.

    Raises:
        ConfigurationError: There is no such table, or access is refused.
    """
    full = table_id(config, *place)
    with bigquery_errors(config), client(config) as connected:
        table = existing_table(connected, full)
        if table is None:
            msg = f"there is no table {place} in BigQuery {config.data_warehouse.project_id}"
            raise ConfigurationError(msg, remedy="Check its name.")
        columns = [_column(each) for each in table.schema]
        listed = ", ".join(
            f"`{each.name}`"
            if each.type is not None or each.is_loose
            else f"to_json_string(`{each.name}`)"
            for each in columns
        )
        rows = query(connected, f"select {listed} from `{full}`")
        return table_of((row.values() for row in rows), columns)


def _column(field: bigquery.SchemaField) -> FoundColumn:
    name = _FORMER.get(field.field_type, field.field_type)
    required = field.mode == "REQUIRED" and not field.default_value_expression
    kind: Any = None
    loose = False
    if field.mode != "REPEATED":
        kind = _TYPES.get(name)
        if name in _DECIMALS and field.precision is not None:
            kind = pa.decimal128(min(field.precision, _MOST_DIGITS), field.scale or 0)
        elif name == "NUMERIC":
            kind = pa.decimal128(_MOST_DIGITS, _SCALE)
        loose = name == "BIGNUMERIC" and kind is None
    return FoundColumn(field.name, kind, _ddl(field).lower(), required, loose)


def _field(field: Field) -> bigquery.SchemaField:
    kind = field.type
    if not pa.types.is_decimal(kind):
        name = next(shown for shown, each in _TYPES.items() if each == kind)
        return bigquery.SchemaField(field.name, name)
    fits = kind.scale <= _SCALE and kind.precision - kind.scale <= _WHOLE
    return bigquery.SchemaField(
        field.name,
        "NUMERIC" if fits else "BIGNUMERIC",
        precision=kind.precision,
        scale=kind.scale,
    )


def _ddl(field: bigquery.SchemaField) -> str:
    if field.precision is None:
        return field.field_type
    return f"{field.field_type}({field.precision}, {field.scale or 0})"
