"""Records, their places and their flaws."""

from __future__ import annotations

import io
import time

import pytest

from sales_mart.config import Config
from sales_mart.errors import SourceFormatError
from sales_mart.schema import schema_of
from sales_mart.source.csv_reader import ENCODING, MALFORMED, Account, read_blocks
from sales_mart.source.csv_structure import MAX_RECORD_BYTES

COLUMNS = schema_of(Config()).fields
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
    for block in read_blocks(io.BytesIO(data), "file", COLUMNS, block_bytes=block_bytes):
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
    blocks = list(read_blocks(io.BytesIO(data), "file", COLUMNS))
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


def test_encoding_is_checked_per_record() -> None:
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
    blocks = list(read_blocks(stream, "file", COLUMNS))  # pyright: ignore[reportArgumentType]
    broken = [length for block in blocks for length in block.broken.lengths.tolist()]
    assert broken == [times << 20]
    assert [value for block in blocks for value in block.fields["transaction_id"]] == ["T1"]
    assert blocks[-1].places.lines.tolist() == [3]


def test_a_quote_that_stays_open_for_too_long_costs_one_line() -> None:
    stream = Endless(HEADER + b'T0,"', b"x" * 1023 + b"\n", MAX_RECORD_BYTES // 1024 + 1, b"")
    blocks = list(read_blocks(stream, "file", COLUMNS))  # pyright: ignore[reportArgumentType]
    assert sum(len(block.broken.rows) for block in blocks) == MAX_RECORD_BYTES // 1024 + 1


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\n", b" \n\t", HEADER, HEADER.rstrip()])
def test_a_file_without_records_gives_none(data: bytes) -> None:
    assert read(data) == []


def test_columns_stand_in_any_order_and_case_and_extra_ones_are_named() -> None:
    warnings: list[str] = []
    data = b'"Date",PRICE, Quantity ,email,product,Transaction_ID\nx,1,2,e,p,T1\n'
    blocks = list(read_blocks(io.BytesIO(data), "f.csv", COLUMNS, warn=warnings.append))
    assert blocks[0].fields.rows() == [("T1", "p", "1", "2", "x")]
    assert warnings == ["f.csv: 1 columns are ignored: email"]


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
        list(read_blocks(io.BytesIO(header + b"\nT001,a,1,1,x\n"), "f.csv", COLUMNS))
    assert "T001" not in str(caught.value)
    assert caught.value.remedy


SHOWN = "the header lacks price; it has"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        # Shown as a whole, and as it is written.
        (b"Order ref, Product,transaction_id,quantity,date", f"{SHOWN} Order ref, Product, tr"),
        (b"a,product,transaction_id,quantity,date,", f"{SHOWN} a, product,"),
        # Or not at all.
        (b"anna,product,transaction_id,quantity,date,line2", f"{SHOWN} 6 columns"),
        (b"anna,product,transaction_id,quantity,date,x@y", f"{SHOWN} 6 columns"),
        ("anna,product,transaction_id,quantity,date,x\u200by".encode(), f"{SHOWN} 6 columns"),
        ("anna,product,transaction_id,quantity,date,x\u0663".encode(), f"{SHOWN} 6 columns"),
        (b"anna,product,transaction_id,quantity,date,x\xff", f"{SHOWN} 6 columns"),
        (b"anna,product,transaction_id,quantity,date," + b"x" * 65, f"{SHOWN} 6 columns"),
        # A file without a header, and one whose rows are columns, the identifiers first.
        (b"anna,bert,carl", "lacks transaction_id, product, price, quantity, date; it has 3 col"),
        (b"anna", "it has 1 column$"),
        (b"anna,bert lee,carl", r"the first line may be data \(3 columns\)"),
        (b'"anna"x,bert', "the first line may be data$"),
        (
            b"transaction_id,anna,bert,carl",
            "lacks product, price, quantity, date; it has 4 columns",
        ),
    ],
)
def test_names_of_a_header_are_shown_as_a_whole_or_not_at_all(header: bytes, says: str) -> None:
    with pytest.raises(SourceFormatError, match=says) as caught:
        read(header + b"\nanna,p,1,1,x\n")
    assert says.startswith(SHOWN + " a") or "anna" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (b"date\rANNA", "column 6 .* U\\+000D; the lines seem to end with a lone CR"),
        (b"date\r\r", "U\\+000D"),
        (b'"date\nANNA"', "U\\+000A; a quote opens in it and closes in a later line"),
        (b"da\x1fte", "U\\+001F"),
        (b"da\tte", "U\\+0009"),
        ("date\u2028ANNA".encode(), "U\\+2028"),
        ("date\u0085ANNA".encode(), "U\\+0085"),
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_control_character_in_a_header_is_refused(name: bytes, says: str, end: bytes) -> None:
    with pytest.raises(SourceFormatError, match=says) as caught:
        read(HEADER.rstrip() + b"," + name + end + b"T1,a,1,1,x,y" + end)
    assert "anna" not in str(caught.value).lower()
    assert caught.value.remedy


def test_tabs_and_odd_spaces_may_stand_around_a_name() -> None:
    header = HEADER.replace(b"product", "\t\u00a0Product \u3000".encode())
    assert len(read(header + b"T1,a,1,1,x\n")) == 1


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER.rstrip() + b",", []),
        (HEADER.rstrip() + b',"",  ,', []),
        (HEADER.rstrip() + b",note,", ["f.csv: 1 columns are ignored: note"]),
        (HEADER.rstrip() + b",note,4711", ["f.csv: 2 columns are ignored"]),
        (b"anna@example.com," + HEADER.rstrip(), ["f.csv: 1 columns are ignored"]),
    ],
)
def test_what_is_said_of_columns_that_are_not_carried(header: bytes, expected: list[str]) -> None:
    warnings: list[str] = []
    row = b",".join([b"x"] * (header.count(b",") + 1))
    data = io.BytesIO(header + b"\n" + row + b"\n")
    assert len(list(read_blocks(data, "f.csv", COLUMNS, warn=warnings.append))) == 1
    assert warnings == expected


@pytest.mark.parametrize("between", [b",", b", ", b",T1 "])
def test_a_header_that_holds_the_rows_too_is_no_empty_input(between: bytes) -> None:
    with pytest.raises(SourceFormatError, match="values among them, and has no rows"):
        read(HEADER.rstrip() + between + b"T1,Cup,7.00,1,2024-01-05\n\n")
    assert read(HEADER.rstrip() + b",address2\n") == []


# --- quotes that swallow rows

ROW = b"T%d,a,1,1,x"
SWALLOWS = {
    "product": [b'T1,"a,1,1,x', ROW % 2, b'T3,a",1,1,x'],
    "first field": [b'"T1,a,1,1,x', b'T2",a,1,1,x'],
    "last field": [b'T1,a,1,1,"x', ROW % 2, b'T3,a,1,1,x"'],
    "last field, at its end": [b'T1,a,1,1,"', ROW % 2, b'T3,a,1,1,"'],
    "from one field to another": [b'T1,"a,1,1,x', b'T2,a,1",1,x'],
    "blank lines between": [b'T1,"a,1,1,x', b"", b" \t", ROW % 2, b"", b'T3,a",1,1,x'],
    "doubled quotes": [b'T1,"a ""b"",1,1,x', b'T2,a ""b""",1,1,x'],
    "two in a row": [b'T1,"a,1,1,x', b'T2,a",1,1,x', b'T3,"a,1,1,x', b'T4,a",1,1,x'],
    "one that closes where the next opens": [b'T1,"a,1,1,x', b'T2,a",1,1,"x', b'T3,a,1,1,x"'],
    "a comma in another quote": [b'"T,1","a,1,1,x', b'T2,a",1,1,"x, y"'],
    "rows between that are too short": [b'T1,"a,1,1,x', b"x", b"T2,,,,,,", b'T3,a",1,1,x'],
}


@pytest.mark.parametrize("name", SWALLOWS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("block_bytes", [1, 16, 1 << 20])
def test_a_quote_that_swallowed_rows_costs_each_of_its_lines(
    name: str, end: bytes, block_bytes: int
) -> None:
    lines = SWALLOWS[name]
    for last in (end + ROW % 9 + end, b""):
        data = HEADER + end.join([ROW % 0, *lines]) + last
        start, expected = len(HEADER) + len(ROW % 0 + end), []
        for number, line in enumerate(lines, start=3):
            if line.strip():
                expected.append((len(expected) + 2, number, start, len(line), MALFORMED))
            start += len(line + end)
        assert read(data, block_bytes)[1 : len(expected) + 1] == expected
        after = [row[4] for row in read(data, block_bytes) if row[4] != MALFORMED]
        assert after == (["T0", "T9"] if last else ["T0"])


@pytest.mark.parametrize(
    "lines",
    [
        [b'T1,"a', b'b",1,1,x'],
        [b'T1,"a, b, c, d', b'e",1,1,x'],
        [b'T1,"a', b"T2,b,1,1,x", b'c",1,1,x'],
        [b'"T1', b'a",a,1,1,x'],
        [b'T1,a,1,1,"x', b'y, z"'],
        [b'T1,"a', b"", b'",1,1,x'],
        [b'T1,"a, b, c, d', b'",1,1,x'],
        [b'T1,"', b'a,",1,1,x'],
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
def test_an_honest_text_of_several_lines_is_a_field(lines: list[bytes], block_bytes: int) -> None:
    rows = read(HEADER + b"\r\n".join([*lines, ROW % 2, b""]), block_bytes)
    assert [row[1] for row in rows] == [2, 2 + len(lines)]
    assert MALFORMED not in [row[4] for row in rows]


def test_a_warning_says_where_quotes_swallowed_rows() -> None:
    warnings: list[str] = []
    data = HEADER + b'T1,"a,1,1,x\nT2,a,1,1,x\nT3,a",1,1,x\n' * 7
    blocks = read_blocks(io.BytesIO(data), "f.csv", COLUMNS, block_bytes=60, warn=warnings.append)
    assert sum(len(block.broken.rows) for block in blocks) == 21
    (warning,) = warnings
    assert warning == (
        "f.csv: 7 quotes open in one row and close in a later one, so all rows of these lines are "
        "rejected as malformed_row: 2-4, 5-7, 8-10, 11-13, 14-16, …"
    )


# --- every byte is accounted for


@pytest.mark.parametrize("block_bytes", [1, 7, 40, 1 << 20])
def test_every_byte_stands_somewhere(block_bytes: int) -> None:
    start = b"\xef\xbb\xbf" + b" \r\n"
    records = [b"T1,a,1,1,x\r\n", b'T2,"a\n\nb",1,1,x\n', b'T3,"a\n', b"\xff\n", b"T4,a,1,1,x"]
    blank = [b"\n", b"\t\r\n"]
    data = start + HEADER + records[0] + blank[0] + b"".join(records[1:3]) + blank[1]
    data += b"".join(records[3:])
    account = Account()
    sizes: list[int] = []
    for block in read_blocks(
        io.BytesIO(data), "f", COLUMNS, block_bytes=block_bytes, account=account
    ):
        for places in (block.places, block.broken):
            sizes += (places.lengths + places.line_ends).tolist()
    assert sorted(sizes) == sorted(map(len, records))
    assert account == Account(
        size=len(data), header=3 + len(HEADER), blank=3 + sum(map(len, blank))
    )


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b""])
def test_the_bytes_of_a_line_that_is_too_long(end: bytes) -> None:
    account = Account()
    data = HEADER + b"x" * (18 << 20) + end
    blocks = list(read_blocks(io.BytesIO(data), "f", COLUMNS, account=account))
    assert [block.broken.line_ends.tolist() for block in blocks] == [[len(end)]]
    assert [block.broken.lengths.tolist() for block in blocks] == [[18 << 20]]
    assert account == Account(size=len(data), header=len(HEADER))


@pytest.mark.parametrize(
    "before", [b"", b"\xef\xbb\xbf", b"\n" * 30, b"\xef\xbb\xbf" + b" \r\n" * 30]
)
def test_what_stands_before_the_header_makes_no_block_larger(before: bytes) -> None:
    data = before + HEADER + b"T1,a,1,1,x\n" * 50_000
    stream = io.BytesIO(data)
    next(iter(read_blocks(stream, "file", COLUMNS, block_bytes=1000)))
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
        (HEADER.decode().encode("utf-16-le"), "not text in UTF-8"),
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
