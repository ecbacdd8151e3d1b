"""Dirty files go through plan, validate and seal record by record as the oracle says."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, seed, settings
from hypothesis import strategies as st

import oracle
from sales_mart.config import Config
from sales_mart.source import csv_reader
from sales_mart.synthetic import generate
from sales_mart.testing import dirty_rows
from sealed_files import HEADERS, Case, cases, check, to_seal

RETURN_AT_THE_END = b'T,"x\n%b",1,1,2023-10-01\r' % (b"p" * 43)
"""One byte more than a record of 64 may have, since the carriage return is data."""
ROWS = 300_000
"""Several times what any part of the reader takes at once."""


@given(cases())
@example(Case(Config(), (HEADERS[0],)))
@example(Case(Config(), (b"", b"\n \n", HEADERS[1] + b"\n"), shards=3))
@example(Case(Config(), (HEADERS[0] + b"\n" + RETURN_AT_THE_END,), longest=64))
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
        b"".join(generate.generate(3000, seed=number, valid_share=0.6, config=config))
        for number in (1, 1, 2)
    )
    check(Case(config, files, shards=2, block_bytes=10_000), tmp_path)


def test_many_rows_lose_none(tmp_path: Path) -> None:
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
    times = ROWS // (body.count(b"\n")) + 1
    tiles = (body.replace(b"{}", f"R{number}".encode()) for number in range(times))
    data = HEADERS[0] + b"\n" + b"".join(tiles)
    case = Case(config, (data,))
    run, sealed = to_seal(case, tmp_path)
    del run
    read = 0
    reasons: Counter[str] = Counter()
    valid = 0
    for result in oracle.settle(oracle.check_file(data, config), {}, config):
        read += 1
        valid += not result.reasons
        reasons.update(result.reasons)
    assert read >= ROWS
    assert sealed.rows_read == read
    assert sealed.rows_valid == valid
    assert sealed.rows_rejected == read - valid
    assert sealed.reasons == reasons
