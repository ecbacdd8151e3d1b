"""Records, their places and their flaws."""

from __future__ import annotations

import io
import time

import pytest

from sales_mart.config import FIELDS
from sales_mart.errors import SourceFormatError
from sales_mart.source.csv_reader import ENCODING, MALFORMED, read_blocks
from sales_mart.source.csv_structure import MAX_RECORD_BYTES

HEADER = b"transaction_id,product,price,quantity,date\n"


class Endless(io.RawIOBase):
    """A stream that a test can make as long as it likes without holding it."""

    def __init__(self, start: bytes, filler: bytes, times: int, end: bytes) -> None:
        super().__init__()
        self._pieces = iter([start, *[filler] * times, end])

    def read(self, size: int = -1) -> bytes:
        del size
        return next(self._pieces, b"")


def read(data: bytes, block_bytes: int = 1 << 20) -> list[tuple[object, ...]]:
    """Read everything: (row, line, offset, length, first field or flaw) in the order of rows."""
    rows: list[tuple[object, ...]] = []
    for block in read_blocks(io.BytesIO(data), "file", FIELDS, block_bytes=block_bytes):
        for places, values in (
            (block.places, block.fields["transaction_id"].to_list()),
            (block.broken, block.flaws.tolist()),
        ):
            columns = (places.rows, places.lines, places.offsets, places.lengths)
            rows += zip(*(column.tolist() for column in columns), values, strict=True)
    return sorted(rows, key=lambda row: str(row[0]).zfill(9))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_lines_offsets_and_lengths(end: bytes, bom: bytes, last: bytes) -> None:
    header = bom + HEADER.rstrip() + end
    data = header + end.join([b"T1,a,1,1,2023-01-01", b"", b"T2,b,1,1,2023-01-01"]) + last
    first = len(header)
    second = first + 19 + 2 * len(end)
    assert read(data) == [(1, 2, first, 19, "T1"), (2, 4, second, 19, "T2")]


def test_quotes_hold_commas_line_ends_and_quotes() -> None:
    data = HEADER + b'"T1","a, ""b""\nc",1,1,x\nT2,d,1,1,x\n'
    blocks = list(read_blocks(io.BytesIO(data), "file", FIELDS))
    assert blocks[0].fields["product"].to_list() == ['a, "b"\nc', "d"]
    assert blocks[0].places.lines.tolist() == [2, 4]


@pytest.mark.parametrize(
    "line",
    [
        b'T1,a"b,1,1,x',
        b'T1,"a"b,1,1,x',
        b'T1,"a,1,1,x',
        b"T1,a,1,1",
        b"T1,a,1,1,x,y",
        b"T1,a,\0,1,x",
        b"one field",
        b'"',
        b' "T1",a,1,1,x',
    ],
)
def test_a_malformed_line_costs_itself_and_no_other(line: bytes) -> None:
    good = b"T%d,a,1,1,x"
    data = HEADER + b"\n".join([good % 1, line, good % 2, good % 3]) + b"\n"
    rows = read(data)
    assert [row[4] for row in rows] == ["T1", MALFORMED, "T2", "T3"]
    assert rows[1][1:4] == (3, len(HEADER) + len(good), len(line))


def test_encoding_is_judged_per_record() -> None:
    data = HEADER + b"T1,\xff,1,1,x\nT2,\xc3\xa9,1,1,x\nT3,\xe9\xff,1\n"
    assert [row[4] for row in read(data)] == [ENCODING, "T2", ENCODING | MALFORMED]


@pytest.mark.parametrize("block_bytes", [1, 7, 64, 200])
def test_blocks_do_not_show(block_bytes: int) -> None:
    lines = [
        b'T1,"a\n\n,b",1,1,x',
        b"T2,b,1,1,x",
        b"",
        b'T3,"open,1,1,x',
        b"\xef\xbb\xbfT4,b,1,1,x",
        b'T5,"c""\nd",1,1,x',
        b"T6",
        b"  \t",
        b"T7,\xff,1,1,x",
    ]
    data = HEADER + b"\n".join(lines * 7)
    assert read(data, block_bytes) == read(data, 1 << 20)
    assert len(read(data)) == 7 * 7


def test_a_byte_order_mark_at_the_start_of_a_block_is_data() -> None:
    rows = read(HEADER + b"\xef\xbb\xbfT1,a,1,1,x\n")
    assert [row[4] for row in rows] == ["\ufeffT1"]


def test_a_line_without_an_end_is_skipped_in_bounded_memory() -> None:
    times = MAX_RECORD_BYTES // (1 << 20) * 3
    stream = Endless(HEADER, b"x" * (1 << 20), times, b"\nT1,a,1,1,x\n")
    blocks = list(read_blocks(stream, "file", FIELDS))  # pyright: ignore[reportArgumentType]
    broken = [length for block in blocks for length in block.broken.lengths.tolist()]
    assert broken == [times << 20]
    assert [value for block in blocks for value in block.fields["transaction_id"]] == ["T1"]
    assert blocks[-1].places.lines.tolist() == [3]


def test_a_quote_that_stays_open_for_too_long_costs_one_line() -> None:
    stream = Endless(HEADER + b'T0,"', b"x" * 1023 + b"\n", MAX_RECORD_BYTES // 1024 + 1, b"")
    blocks = list(read_blocks(stream, "file", FIELDS))  # pyright: ignore[reportArgumentType]
    assert sum(len(block.broken.rows) for block in blocks) == MAX_RECORD_BYTES // 1024 + 1


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\n", b" \n\t", HEADER, HEADER.rstrip()])
def test_a_file_without_records_gives_none(data: bytes) -> None:
    assert read(data) == []


def test_columns_stand_in_any_order_and_case_and_extra_ones_are_named() -> None:
    warnings: list[str] = []
    data = b'"Date",PRICE, Quantity ,email,product,Transaction_ID\nx,1,2,e,p,T1\n'
    blocks = list(read_blocks(io.BytesIO(data), "f.csv", FIELDS, warn=warnings.append))
    assert blocks[0].fields.rows() == [("T1", "p", "1", "2", "x")]
    assert warnings == ["f.csv: 1 columns are not carried: email"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"transaction_id,product,price,date", "f.csv, line 1: the header lacks quantity"),
        (b"T001,Halal Laptop,999.99,2,2023-10-01", "no header was found"),
        (b"transaction_id,product,price,price,quantity,date", "names price twice"),
        (b"transaction_id\rproduct\rprice\r", "lone CR"),
        (b"PK\x03\x04\xff\0\0", "no header was found"),
    ],
)
def test_a_wrong_header_is_refused(header: bytes, expected: str) -> None:
    with pytest.raises(SourceFormatError, match=expected) as caught:
        list(read_blocks(io.BytesIO(header + b"\nT001,a,1,1,x\n"), "f.csv", FIELDS))
    assert "T001" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "before", [b"", b"\xef\xbb\xbf", b"\n" * 30, b"\xef\xbb\xbf" + b" \r\n" * 30]
)
def test_what_stands_before_the_header_makes_no_block_larger(before: bytes) -> None:
    data = before + HEADER + b"T1,a,1,1,x\n" * 50_000
    stream = io.BytesIO(data)
    next(iter(read_blocks(stream, "file", FIELDS, block_bytes=1000)))
    assert stream.tell() < 5000


def test_a_hundred_thousand_blank_lines_before_the_header_take_no_time() -> None:
    start = time.process_time()
    assert read(b"\r\n" * 300_000 + HEADER + b"T1,a,1,1,x\n")[0][1] == 300_002
    assert time.process_time() - start < 2


def test_a_line_that_is_too_long_has_its_reasons_however_it_is_read() -> None:
    for block_bytes in (1 << 20, 64 << 20):
        flaws = [row[4] for row in read(HEADER + b"\xff" * (18 << 20) + b"\n", block_bytes)]
        assert flaws == [MALFORMED | ENCODING]
    cut = [row[4] for row in read(HEADER + b"x" * (18 << 20) + b"\xe2\x82\n")]
    assert cut == [MALFORMED | ENCODING]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xfe" + HEADER.decode().encode("utf-16-le"), "not text in UTF-8"),
        (b"\xef\xbb\xbf\xef\xbb\xbf" + HEADER, "a second byte order mark"),
        (b",".join([HEADER[:-1], *[b"x"] * 10_000]), "10,005 columns"),
    ],
)
def test_a_refusal_says_what_it_probably_is(data: bytes, expected: str) -> None:
    with pytest.raises(SourceFormatError, match=expected) as caught:
        read(data + b"\n")
    assert len(caught.value.message) < 300


def test_a_name_of_any_length_is_not_shown_whole() -> None:
    with pytest.raises(SourceFormatError) as caught:
        read(b"product," + b"a" * 100_000 + b"\n")
    assert len(caught.value.message) < 300
