"""Dirty files go through plan, validate and seal record by record as the oracle says."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from backports import zstd
from hypothesis import example, given, seed, settings
from hypothesis import strategies as st

import oracle
from sales_mart import csv_reader, csv_structure, generate, parts, seal, validate
from sales_mart.config import FIELDS, Config
from sales_mart.lake import RunFolder
from sales_mart.plan import plan
from sales_mart.testing import configs, dirty_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.records import Part, Seal

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
    part_rows: int = parts.PART_ROWS
    bucket_rows: int = seal.BUCKET_ROWS


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
        part_rows=draw(st.sampled_from((parts.PART_ROWS, 1, 7))),
        bucket_rows=draw(st.sampled_from((seal.BUCKET_ROWS, 1, 5))),
    )


def expected(case: Case) -> list[list[oracle.Verdict]]:
    """Give the oracle's verdicts by file."""
    seen: set[str] = set()
    return [
        list(oracle.settle(oracle.judge_file(data, case.config, longest=case.longest), seen))
        for data in case.files
    ]


def walk(case: Case, folder: Path) -> tuple[RunFolder, Seal]:
    """Take the files through the stops up to the seal."""
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
    )
    run = RunFolder(str(folder / "lake"), made.run_id)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for module in (csv_reader, csv_structure):
            patch.setattr(module, "MAX_RECORD_BYTES", case.longest)
        patch.setattr(parts, "PART_ROWS", case.part_rows)
        patch.setattr(seal, "BUCKET_ROWS", case.bucket_rows)
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


def clean_row(number: int, verdict: oracle.Verdict, config: Config) -> dict[str, Any]:
    values = oracle.clean(verdict, config)
    return {
        "transaction_id": token(values.transaction_id),
        "product": values.product,
        "price": values.price,
        "quantity": values.quantity,
        "sale_date": values.sale_date,
        "source_file": number,
        "source_row": verdict.source_row,
    }


def quarantine_row(number: int, verdict: oracle.Verdict, config: Config) -> dict[str, Any]:
    fields: dict[str, str | None] = dict.fromkeys(FIELDS)
    if verdict.fields is not None:
        fields = dict(verdict.fields)
        identifier = fields["transaction_id"]
        fields["transaction_id"] = None if identifier is None else token(identifier)
    if verdict.reasons == ("duplicate_transaction_id",):
        # A duplicate was valid, so its text is that of its values.
        values = oracle.clean(replace(verdict, reasons=()), config)
        fields["price"] = None if values.price is None else f"{values.price:f}"
        fields["quantity"] = None if values.quantity is None else str(values.quantity)
    return {
        "source_file": number,
        "source_row": verdict.source_row,
        "line": verdict.line,
        "byte_offset": verdict.offset,
        "byte_length": verdict.length,
        "reasons": list(verdict.reasons),
        **fields,
    }


def check(case: Case, folder: Path) -> None:
    run, sealed = walk(case, folder)
    verdicts = [(n, v) for n, each in enumerate(expected(case)) for v in each]
    good = [clean_row(n, v, case.config) for n, v in verdicts if not v.reasons]
    bad = [quarantine_row(n, v, case.config) for n, v in verdicts if v.reasons]
    quarantine = rows_of(run, sealed.quarantine)
    for row in quarantine:
        assert Path(row.pop("source_uri")).name == f"{row['source_file']:02}{case.suffix}"
    assert rows_of(run, sealed.clean) == good
    assert quarantine == bad
    assert (sealed.rows_read, sealed.rows_clean, sealed.rows_quarantined) == (
        len(verdicts),
        len(good),
        len(bad),
    )
    assert sealed.reasons == Counter(reason for row in bad for reason in row["reasons"])
    assert sealed.sale_dates == tuple(sorted({row["sale_date"] for row in good}))


@given(cases())
@example(Case(Config(), (HEADERS[0],)))
@example(Case(Config(), (b"", b"\n \n", HEADERS[1] + b"\n"), shards=3))
def test_files(case: Case) -> None:
    with TemporaryDirectory() as folder:
        check(case, Path(folder))


@given(st.data())
@settings(max_examples=50)
def test_an_open_quote_across_blocks(data: st.DataObject) -> None:
    """Quotes that nobody closes make the reader look far ahead, and come back."""
    pieces = st.sampled_from(
        (
            b'"',
            b'""',
            b",",
            b"\n",
            b"\r\n",
            b"x",
            b"A,p,1,1,2023-10-01\n",
            b'A,"p\n",1,1,2023-10-01\n',
        )
    )
    body = b"".join(data.draw(st.lists(pieces, max_size=60)))
    case = Case(
        Config(),
        (HEADERS[0] + b"\n" + body,),
        block_bytes=data.draw(st.sampled_from((1, 10, 64, 1000))),
        longest=data.draw(st.sampled_from((64, 90, csv_reader.MAX_RECORD_BYTES))),
    )
    with TemporaryDirectory() as folder:
        check(case, Path(folder))


def test_a_record_of_the_full_length(tmp_path: Path) -> None:
    """A record may have 16 MiB and no byte more."""
    start, end = b'T1,"', b'",1,1,2023-10-01'
    fill = csv_reader.MAX_RECORD_BYTES - len(start) - len(end)
    records = (start + b"x" * (fill - 1) + b"\n" + end, start + b"x" * fill + b"\n" + end, b"T2,p")
    check(Case(Config(), (b"\n".join((HEADERS[0], *records)),), block_bytes=1 << 20), tmp_path)


def test_generated_files(tmp_path: Path) -> None:
    rules = {"min_price": "10", "product_prefix": "Halal"}
    config = Config.model_validate({"ingestion": {"validation": rules}})
    files = tuple(
        b"".join(generate.generate(3000, seed=number, config=config)) for number in (1, 1, 2)
    )
    check(Case(config, files, shards=2, block_bytes=10_000), tmp_path)


def test_a_million_rows_lose_none(tmp_path: Path) -> None:
    """A few thousand generated records, repeated with identifiers of their own."""
    config = Config()
    pool: list[bytes] = []

    @seed(1)
    @settings(max_examples=150, database=None)
    @given(st.lists(dirty_rows(config), min_size=10, max_size=20))
    def collect(rows: list[bytes]) -> None:
        pool.extend(rows)

    collect()
    # A quote that stays open reaches into the next record, so each has to stand alone here.
    alone = [row for row in pool if row.count(b'"') % 2 == 0 and not re.search(rb"[\r\n]", row)]
    body = b"\n".join(b"{}" + row for row in alone) + b"\n"
    times = 1_000_000 // (body.count(b"\n")) + 1
    tiles = (body.replace(b"{}", f"R{number}".encode()) for number in range(times))
    data = HEADERS[0] + b"\n" + b"".join(tiles)
    case = Case(config, (data,))
    run, sealed = walk(case, tmp_path)
    del run
    read = 0
    reasons: Counter[str] = Counter()
    clean = 0
    for verdict in oracle.settle(oracle.judge_file(data, config), set()):
        read += 1
        clean += not verdict.reasons
        reasons.update(verdict.reasons)
    assert read >= 1_000_000
    assert sealed.rows_read == read
    assert sealed.rows_clean == clean
    assert sealed.rows_quarantined == read - clean
    assert sealed.reasons == reasons
