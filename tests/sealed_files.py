"""Some files taken from `plan` to `seal`, and held against the oracle row by row."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from backports import zstd
from hypothesis import strategies as st

import oracle
from sales_mart.config import Config
from sales_mart.lake import parquet
from sales_mart.lake.runs import RunFolder
from sales_mart.schema import FIELDS
from sales_mart.source import csv_buffer, csv_header, csv_reader, csv_structure
from sales_mart.steps import duplicates, seal, validate
from sales_mart.steps.plan import plan
from sales_mart.testing import configs, dirty_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.lake.records import Part, Seal

HEADERS = (
    b"transaction_id,product,price,quantity,date",
    b'\xef\xbb\xbfTransaction_ID,"product", Price ,QUANTITY,date',
    b"\r\n \t\ndate,price,transaction_id,product,quantity",
    b"transaction_id,product,price,quantity,date,note",
)
LINE_ENDS = (b"\n", b"\n", b"\r\n", b"\n\n", b"\n \t\r\n")
PACKERS = {".csv": bytes, ".csv.gz": gzip.compress, ".csv.zst": zstd.compress}


@dataclass(frozen=True)
class Case:
    """Some files, and the sizes at which the code cuts its work into pieces."""

    config: Config
    files: tuple[bytes, ...]
    suffix: str = ".csv"
    shards: int = 1
    block_bytes: int = csv_reader.BLOCK_BYTES
    longest: int = csv_reader.MAX_RECORD_BYTES
    part_rows: int = parquet.PART_ROWS
    bucket_rows: int = duplicates.BUCKET_ROWS


@st.composite
def dirty_files(draw: st.DrawFn, config: Config) -> bytes:
    header = draw(st.sampled_from(HEADERS))
    data = header + b"\n"
    for row in draw(st.lists(dirty_rows(config), max_size=15)):
        more = b",-" if header.endswith(b"note") else b""
        data += row + more + draw(st.sampled_from(LINE_ENDS))
    return data.rstrip(b"\n") if draw(st.booleans()) else data


@st.composite
def cases(draw: st.DrawFn) -> Case:
    config = draw(configs())
    return Case(
        config=config,
        files=tuple(draw(st.lists(dirty_files(config), min_size=1, max_size=3))),
        suffix=draw(st.sampled_from(list(PACKERS))),
        shards=draw(st.integers(1, 4)),
        block_bytes=draw(st.sampled_from((csv_reader.BLOCK_BYTES, 1, 17, 100, 500))),
        longest=draw(st.sampled_from((csv_reader.MAX_RECORD_BYTES, 64, 120))),
        part_rows=draw(st.sampled_from((parquet.PART_ROWS, 1, 7))),
        bucket_rows=draw(st.sampled_from((duplicates.BUCKET_ROWS, 1, 5))),
    )


def expected(case: Case) -> list[list[oracle.Checked]]:
    """Return the oracle's results by file."""
    seen: dict[str, oracle.Typed] = {}
    return [
        list(
            oracle.settle(
                oracle.check_file(data, case.config, longest=case.longest), seen, case.config
            )
        )
        for data in case.files
    ]


def to_seal(case: Case, folder: Path) -> tuple[RunFolder, Seal]:
    """Take the files through the steps up to the seal."""
    source = folder / "source"
    source.mkdir()
    for number, data in enumerate(case.files):
        name = f"{number:02}{case.suffix}"
        (source / name).write_bytes(PACKERS[case.suffix](data))
    made = plan(
        case.config,
        str(folder / "lake"),
        source=str(source),
        business_date=date(2023, 10, 1),
        shards=case.shards,
        allow_empty=True,
    )
    run = RunFolder(str(folder / "lake"), made.run_id)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for module in (csv_reader, csv_structure, csv_buffer, csv_header):
            patch.setattr(module, "MAX_RECORD_BYTES", case.longest)
        patch.setattr(parquet, "PART_ROWS", case.part_rows)
        patch.setattr(duplicates, "BUCKET_ROWS", case.bucket_rows)
        for shard in range(len(made.shards)):
            validate.validate_shard(case.config, run, shard, block_bytes=case.block_bytes)
        return run, seal.seal(case.config, run)


def rows_of(run: RunFolder, listed: Sequence[Part]) -> list[dict[str, Any]]:
    """Read parts, in the order of the source."""
    rows: list[dict[str, Any]] = []
    for part in listed:
        with run.lake.local(run.name(part.name)) as path:
            assert part.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
            frame = pl.read_parquet(path)
        assert frame.height == part.rows > 0
        rows.extend(frame.iter_rows(named=True))
    return sorted(rows, key=lambda row: (row["source_file"], row["source_row"]))


def token(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest()


def valid_row(number: int, result: oracle.Checked, config: Config) -> dict[str, Any]:
    values = oracle.typed(result, config)
    amount = None
    if values.price is not None and values.quantity is not None:
        amount = values.price * values.quantity
    return {
        "transaction_id": token(values.transaction_id),
        "product": values.product,
        "price": values.price,
        "quantity": values.quantity,
        "amount": amount,
        "sale_date": values.sale_date,
        "source_file": number,
        "source_row": result.source_row,
    }


def quarantine_row(number: int, result: oracle.Checked, config: Config) -> dict[str, Any]:
    fields: dict[str, str | None] = dict.fromkeys(FIELDS)
    if result.fields is not None:
        fields = dict(result.fields)
        identifier = fields["transaction_id"]
        fields["transaction_id"] = None if identifier is None else token(identifier)
    if result.reasons in {("duplicate_transaction_id",), ("conflicting_transaction_id",)}:
        # A duplicate was valid, so its text is that of its values.
        values = oracle.typed(replace(result, reasons=()), config)
        fields["price"] = None if values.price is None else f"{values.price:f}"
        fields["quantity"] = None if values.quantity is None else str(values.quantity)
    return {
        "source_file": number,
        "source_row": result.source_row,
        "line": result.line,
        "byte_offset": result.offset,
        "byte_length": result.length,
        "reasons": list(result.reasons),
        **fields,
    }


def check(case: Case, folder: Path) -> None:
    run, sealed = to_seal(case, folder)
    results = [(n, v) for n, each in enumerate(expected(case)) for v in each]
    good = [valid_row(n, v, case.config) for n, v in results if not v.reasons]
    bad = [quarantine_row(n, v, case.config) for n, v in results if v.reasons]
    quarantine = rows_of(run, sealed.quarantine)
    for row in quarantine:
        assert Path(row.pop("source_uri")).name == f"{row['source_file']:02}{case.suffix}"
    assert rows_of(run, sealed.valid) == good
    assert quarantine == bad
    assert (sealed.rows_read, sealed.rows_valid, sealed.rows_rejected) == (
        len(results),
        len(good),
        len(bad),
    )
    assert sealed.reasons == Counter(reason for row in bad for reason in row["reasons"])
    for data, each in zip(case.files, sealed.objects, strict=True):
        assert (each.size, each.unaccounted) == (len(data), 0)
    assert sealed.sale_dates == tuple(sorted({row["sale_date"] for row in good}))
