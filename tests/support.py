"""Helpers that several test modules share."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from datetime import date
from decimal import Decimal, localcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sales_mart.lake.records import Mode, Plan, Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.rows.rules import mart_rules
from sales_mart.rows.sums import Sums
from sales_mart.rows.transaction import check
from sales_mart.schema import arrow_schema, schema_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.servers.local import LocalServers


SERVERS_OF_ANOTHER = "SALES_MART_TEST_SERVERS"
"""Environment variable with the servers of tests that wait for these ones, as JSON."""
WARM_DBT = "WARM_DBT"
"""Environment variable with the program, and its arguments, that gives a command a dbt which has
parsed the project: not where a test is about the first start."""
_ROOM = 1 << 29
"""Bytes that a folder in memory has to have free: containers often have less."""


def warm_dbt() -> dict[str, str]:
    """Return the variables with which a command that a test starts uses the dbt of all tests."""
    folder = str(Path(__file__).with_name("warm"))
    return {"PYTHONPATH": folder, WARM_DBT: os.environ[WARM_DBT]}


class Row(NamedTuple):
    """One valid row, with the raw identifier that its token is made of."""

    transaction_id: str
    product: str | None
    price: Decimal | None
    quantity: int | None
    sale_date: date


def row(identifier: str, day: str, price: str = "20.00", quantity: int = 1) -> Row:
    """Build a valid row of the product `Halal Mouse`."""
    return Row(identifier, "Halal Mouse", Decimal(price), quantity, date.fromisoformat(day))


def token(identifier: str) -> str:
    """Return the plain SHA-256 token of an identifier."""
    return hashlib.sha256(identifier.encode()).hexdigest()


def _amount_of(row: Row) -> Decimal | None:
    known = row.price is not None and row.quantity is not None
    return _amount([row]) if known and len(str(row.quantity)) < 12 else None


def _amount(rows: Sequence[Row]) -> Decimal:
    with localcontext(prec=100):
        return sum(((r.price or Decimal(0)) * (r.quantity or 0) for r in rows), Decimal(0))


def sealed_run(  # noqa: PLR0913 - a record has many fields
    config: Config,
    lake: Path,
    run_id: str,
    rows: Sequence[Row],
    *,
    business_date: str = "2023-10-01",
    mode: Mode = Mode.REPLACE,
    key_id: str = "sha256",
    rejects: Mapping[str, int] | None = None,
    allow_empty: bool = False,
) -> RunFolder:
    """Write the parts, the plan and the seal that the steps up to `seal` would have left."""
    shown = [r for r in rows if not check({**r._asdict(), "date": r.sale_date}, mart_rules(config))]
    return sealed_columns(
        config,
        lake,
        run_id,
        {
            "transaction_id": [r.transaction_id for r in rows],
            "product": [r.product for r in rows],
            "price": [r.price for r in rows],
            "quantity": [r.quantity for r in rows],
            "amount": [_amount_of(r) for r in rows],
            "sale_date": [r.sale_date for r in rows],
        },
        Sums(len(shown), _amount(shown), sum(r.quantity or 0 for r in shown)),
        business_date=business_date,
        mode=mode,
        key_id=key_id,
        rejects=rejects,
        allow_empty=allow_empty,
    )


def sealed_columns(  # noqa: PLR0913 - a record has many fields
    config: Config,
    lake: Path,
    run_id: str,
    columns: Mapping[str, Sequence[Any]],
    shown: Sums,
    *,
    business_date: str = "2023-10-01",
    mode: Mode = Mode.REPLACE,
    key_id: str = "sha256",
    rejects: Mapping[str, int] | None = None,
    allow_empty: bool = False,
) -> RunFolder:
    """Write the parts, the plan and the seal that the steps up to `seal` would have left.

    Args:
        config: The configuration.
        lake: The lake.
        run_id: The run.
        columns: Values by column, identifiers as they are; a column that is not there is null.
        shown: What the rows come to that the marts show.
        business_date: Of the seal, as all that follows.
        mode: How it is loaded.
        key_id: Key of the tokens.
        rejects: Rejected rows by reason.
        allow_empty: Whether the input may be empty.
    """
    rejected = sum((rejects or {}).values())
    run = RunFolder(str(lake), run_id)
    schema = arrow_schema(schema_of(config).valid)
    rows = len(columns["sale_date"])
    columns = {
        **columns,
        "transaction_id": [token(each) for each in columns["transaction_id"]],
        "source_file": [0] * rows,
        "source_row": range(1, rows + 1),
    }
    table = pa.table(
        {each.name: pa.array(columns.get(each.name, [None] * rows), each.type) for each in schema},
        schema=schema,
    )
    lake.mkdir(parents=True, exist_ok=True)
    path = lake / f"{run_id}.parquet"
    pq.write_table(table, path)
    part = run.put_part("valid/00000-00000", path, rows)
    seal = Seal(
        run_id=run_id,
        rows_read=rows + rejected,
        rows_valid=rows,
        rows_rejected=rejected,
        reasons=dict(rejects or {}),
        excluded={},
        rows_excluded=rows - shown.rows,
        amount=shown.amount,
        quantity=shown.quantity,
        key_id=key_id,
        valid=(part,) if rows else (),
        quarantine=(),
        business_date=date.fromisoformat(business_date),
        mode=mode,
        config_digest=config.digest,
        sale_dates=tuple(sorted(set(columns["sale_date"]))),
        allow_empty=allow_empty,
    )
    write_input(run, seal)
    return run


def write_input(run: RunFolder, seal: Seal) -> None:
    """Write a seal, and the plan of a run that read no file."""
    plan = Plan(
        run_id=run.run_id,
        business_date=seal.business_date,
        mode=seal.mode,
        source="sales.csv",
        objects=(),
        shards=(),
        config_digest=seal.config_digest,
    )
    run.write("plan", plan)
    run.write("seal", seal)


@contextmanager
def open_folder() -> Generator[Path]:
    """Yield a temporary folder that others may pass through, as PostgreSQL must that root starts.

    Not one of pytest's folders: another session of the same user closes them.
    """
    with tempfile.TemporaryDirectory(prefix="sales-mart-tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@contextmanager
def without_fsync(servers: LocalServers) -> Generator[None]:
    """Let PostgreSQL not wait for the disc, as long as no power cut is what is tested.

    What is killed meanwhile loses nothing: the system has what was written.
    """
    assert servers.postgres_url is not None
    with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
        try:
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
            yield
        finally:
            connection.execute("alter system reset fsync")
            connection.execute("select pg_reload_conf()")


@contextmanager
def in_memory() -> Generator[Path]:
    """Give a temporary folder whose files cost no wait for a disc, where the system has one."""
    memory = Path("/dev/shm")  # noqa: S108 - what is made in it has a name that nobody knows
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM
    with tempfile.TemporaryDirectory(
        prefix="sales-mart-tests-", dir=memory if has_room else None
    ) as folder:
        yield Path(folder)


def mount_or_skip(*options: str) -> None:
    """Mount something for a test; where that is not allowed, the test is skipped."""
    try:
        done = subprocess.run(["mount", *options], check=False, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"nothing can be mounted: {error}")
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")
