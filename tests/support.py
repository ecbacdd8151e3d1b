"""Helpers that several test modules share."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from datetime import date
from decimal import Decimal, localcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sales_mart.lake.records import Mode, Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.rows.rules import mart_rules
from sales_mart.rows.transaction import check
from sales_mart.schema import arrow_schema, schema_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.servers.local import LocalServers


_ROOM = 1 << 29
"""Bytes that a folder in memory has to have free: containers often have less."""


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
    """Write the parts and the seal that `validate` and `seal` would have left for `rows`."""
    rejected = sum((rejects or {}).values())
    run = RunFolder(str(lake), run_id)
    schema = arrow_schema(schema_of(config).valid)
    table = pa.table(
        {each.name: pa.nulls(len(rows), each.type) for each in schema}
        | {
            "transaction_id": pa.array([token(r.transaction_id) for r in rows], pa.string()),
            "product": pa.array([r.product for r in rows], pa.string()),
            "price": pa.array([r.price for r in rows], schema.field("price").type),
            "quantity": pa.array([r.quantity for r in rows], pa.int64()),
            "amount": pa.array([_amount_of(r) for r in rows], schema.field("amount").type),
            "sale_date": pa.array([r.sale_date for r in rows], pa.date32()),
            "source_file": pa.array([0] * len(rows), pa.int32()),
            "source_row": pa.array(range(1, len(rows) + 1), pa.int64()),
        },
        schema=schema,
    )
    lake.mkdir(parents=True, exist_ok=True)
    path = lake / f"{run_id}.parquet"
    pq.write_table(table, path)
    part = run.put_part("valid/00000-00000", path, len(rows))
    shown = [r for r in rows if not check({**r._asdict(), "date": r.sale_date}, mart_rules(config))]
    seal = Seal(
        run_id=run_id,
        rows_read=len(rows) + rejected,
        rows_valid=len(rows),
        rows_rejected=rejected,
        reasons=dict(rejects or {}),
        excluded={},
        rows_excluded=len(rows) - len(shown),
        amount=_amount(shown),
        quantity=sum(r.quantity or 0 for r in shown),
        key_id=key_id,
        valid=(part,) if rows else (),
        quarantine=(),
        business_date=date.fromisoformat(business_date),
        mode=mode,
        config_digest=config.digest,
        sale_dates=tuple(sorted({r.sale_date for r in rows})),
        allow_empty=allow_empty,
    )
    run.write("seal", seal)
    return run


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
