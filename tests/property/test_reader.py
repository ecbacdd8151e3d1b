"""The reader on raw bytes: broken in the ways in which files break, and as Python writes them."""

from __future__ import annotations

import csv
import gzip
import io
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from chaos.fuzz import SEEDS, mutate, read_as_the_oracle, read_packed
from sales_mart.config import Config
from sales_mart.schema import FIELDS, schema_of
from sales_mart.source.csv_reader import BLOCK_BYTES, read_blocks

COLUMNS = schema_of(Config()).fields
FOUND = (
    b"\r\r\n \t\ntransaction_id,product,price,quantity,date\nT1,p,1,1,x\n",
    b"\r \t\ntransaction_id,product,price,quantity,date\nT1,p,1,1,x\n",
    b"\r",
    b'transaction_id,product,price,quantity,date,"x\n\n,""y""\n",z\nT1,p,1,1,x,a,b\n',
    b"transaction_id,product,price,quantity,date,note\n\r,,,,,\n",
    b"transaction_id,product,price,quantity,date\n\r\r\n\r\n \r\n,\r\n",
)
"""The least of what once was read in another way than the oracle does."""


@pytest.mark.parametrize("data", [*FOUND, *SEEDS])
@pytest.mark.parametrize("block_bytes", [1, 16, BLOCK_BYTES])
def test_what_was_found_once(data: bytes, block_bytes: int) -> None:
    read_as_the_oracle(data, block_bytes)


@given(st.randoms(use_true_random=False))
def test_a_mutated_file_is_read_as_the_oracle_reads_it(chance: random.Random) -> None:
    data = mutate(chance.choice(SEEDS), chance)
    read_as_the_oracle(data, chance.choice((1, 7, 40, BLOCK_BYTES)))


@given(st.randoms(use_true_random=False))
def test_a_mutated_compressed_file_is_read_or_refused(chance: random.Random) -> None:
    pack = chance.choice((gzip.compress, zstd.compress))
    with TemporaryDirectory() as folder:
        read_packed(Path(folder) / "a.csv", mutate(pack(chance.choice(SEEDS) * 20), chance))


# Before 3.13 Python put no quotes around a carriage return, which then ends a line with the next.
fields = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)


@given(
    rows=st.lists(st.tuples(*[fields] * len(FIELDS)), max_size=8),
    line_end=st.sampled_from(("\n", "\r\n")),
    quoting=st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)),
    block_bytes=st.sampled_from((1, 30, BLOCK_BYTES)),
)
def test_what_python_writes_is_read_back(
    rows: list[tuple[str, ...]], line_end: str, quoting: int, block_bytes: int
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=line_end, quoting=quoting)  # pyright: ignore[reportArgumentType]
    writer.writerow(FIELDS)
    writer.writerows(rows)
    stream = io.BytesIO(file.getvalue().encode())
    read: list[tuple[str, ...]] = []
    for block in read_blocks(stream, "file", COLUMNS, block_bytes=block_bytes):
        assert not len(block.broken.rows)
        read += [tuple(text or "" for text in row) for row in block.fields.rows()]
    assert read == rows
