"""Files of all kinds into records: what each is, what it says, and what is not read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import resource
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
from backports import zstd

from sales_mart.config import Config
from sales_mart.errors import (
    ConfigurationError,
    DataError,
    EmptyInputError,
    SourceChangedError,
    SourceFormatError,
)
from sales_mart.lake.records import Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.schema import schema_of
from sales_mart.source.csv_reader import Account, Block
from sales_mart.source.listing import find_objects
from sales_mart.source.read import read_object
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard

CASES = Path(__file__).parents[1] / "cases"
DAY = date(2024, 1, 5)
MIDNIGHT = datetime(2024, 1, 5)  # noqa: DTZ001 - cells have no zone
HEADER = "transaction_id,product,price,quantity,date"
CSV = f"{HEADER}\nB1,Cup,7.00,1,2024-01-05\nB2,Tea,2.50,3,2024-01-06\n"
ROWS = [
    {"transaction_id": "B1", "product": "Cup", "price": 7.0, "quantity": 1, "date": "2024-01-05"},
    {"transaction_id": "B2", "product": "Tea", "price": 2.5, "quantity": 3, "date": "2024-01-06"},
]
NAMES = tuple(ROWS[0])


def config_of(**ingestion: Any) -> Config:
    return Config.model_validate({"ingestion": ingestion})


def read(
    path: Path, config: Config | None = None, **options: Any
) -> tuple[list[Block], Account, list[str]]:
    """Read a file; gives its blocks, the account of its bytes, and what was warned of."""
    config = config or Config()
    account, warnings = Account(), list[str]()
    (item,) = find_objects([str(path)])
    found = read_object(
        item,
        schema_of(config).fields,
        config.ingestion.format,
        account=account,
        warn=warnings.append,
        **options,
    )
    return list(found), account, warnings


def rows_of(blocks: list[Block]) -> list[tuple[Any, ...]]:
    return [row for block in blocks for row in block.fields.rows()]


def values(path: Path, config: Config | None = None) -> list[tuple[Any, ...]]:
    return rows_of(read(path, config)[0])


def loaded(path: Path, lake: Path, config: Config | None = None) -> Seal:
    """Plan, validate and seal a source."""
    config = config or Config()
    made = plan(config, str(lake), business_date=DAY, source=str(path))
    run = RunFolder(str(lake), made.run_id)
    for shard in range(len(made.shards)):
        validate_shard(config, run, shard)
    return seal(config, run)


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def zipped(
    path: Path, members: dict[str, str | bytes], packing: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def in_bytes(book: Path) -> bytes:
    return book.read_bytes()


SHEET = [[*NAMES], ["B1", "Cup", 7.0, 1, date(2024, 1, 5)], ["B2", "Tea", 2.5, 3, "2024-01-06"]]


# --- the same sales in every kind


def _parquet(folder: Path) -> Path:
    path = folder / "a.parquet"
    pl.DataFrame(ROWS).with_columns(pl.col("date").str.to_date()).write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["sales.jsonl", "UPPER.CSV", "csv_named_gz.csv.gz"])
def test_the_files_of_a_delivery(name: str, tmp_path: Path) -> None:
    sealed = loaded(CASES / "delivery" / name, tmp_path / "lake")
    assert (sealed.rows_read, sealed.rows_valid, sealed.amount) == (2, 2, Decimal("14.50"))


@pytest.mark.parametrize(
    "kind", ["csv", "gzip", "zstd", "jsonl", "jsonl.gz", "parquet", "parquet.gz", "xlsx", "zip"]
)
def test_every_kind_gives_the_same_sales(kind: str, tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    parquet = _parquet(tmp_path).read_bytes()
    made = {
        "csv": CSV.encode(),
        "gzip": gzip.compress(CSV.encode()),
        "zstd": zstd.compress(CSV.encode()),
        "jsonl": lines,
        "jsonl.gz": gzip.compress(lines),
        "parquet": parquet,
        "parquet.gz": gzip.compress(parquet),
        "xlsx": in_bytes(workbook(tmp_path / "x", Sales=SHEET)),
        "zip": in_bytes(zipped(tmp_path / "z", {"deep/a.CSV": CSV})),
    }
    path = write(tmp_path / "any.name", made[kind])
    sealed = loaded(path, tmp_path / "lake")
    assert (sealed.rows_read, sealed.rows_valid, sealed.amount) == (2, 2, Decimal("14.50"))
    (account,) = sealed.objects
    assert account.unaccounted == 0
    placed = kind not in {"parquet", "parquet.gz", "xlsx"}
    assert (account.valid > 0, account.unplaced > 0) == (placed, not placed)


def test_a_delivery_of_all_kinds_is_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.csv", CSV.replace("B", "C"))
    _parquet(folder).rename(folder / "b.parquet")
    write(folder / "c.jsonl", json.dumps(ROWS[0] | {"transaction_id": "J"}) + "\n")
    zipped(folder / "d.zip", {"x.csv": CSV.replace("B", "Z"), "y.txt": CSV.replace("B", "Y")})
    workbook(folder / "e.xlsx", S=[SHEET[0], ["X", "Cup", 1, 1, DAY]])
    sealed = loaded(folder, tmp_path / "lake")
    assert (sealed.rows_read, sealed.rows_valid) == (10, 10)


# --- zip


def test_the_members_of_an_archive_follow_each_other(tmp_path: Path) -> None:
    config = config_of(columns={"transaction_id": {"from": ["$file", "$row"]}})
    names = {"b/2.csv": CSV, "1.csv": CSV + "x\n", "3.jsonl": json.dumps(ROWS[0]) + "\n"}
    path = zipped(tmp_path / "a.zip", dict(names))
    blocks, account, _ = read(path, config)
    assert [block.member for block in blocks] == ["1.csv", "3.jsonl", "b/2.csv"]
    ids = [row[0].split("\x1f") for row in rows_of(blocks)]
    assert ids == [
        *[["a.zip!1.csv", "1"], ["a.zip!1.csv", "2"], ["a.zip!3.jsonl", "1"]],
        *[["a.zip!b/2.csv", "1"], ["a.zip!b/2.csv", "2"]],
    ]
    whole = b"".join(data.encode() for _, data in sorted(names.items()))
    for block in blocks:
        for places in (block.places, block.broken):
            for offset, length in zip(places.offsets, places.lengths, strict=True):
                assert b"\n" not in whole[offset : offset + length]
    rows = [*(row for block in blocks for row in [*block.places.rows, *block.broken.rows])]
    assert sorted(rows) == [1, 2, 3, 4, 5, 6]
    assert account.size == len(whole)


def test_the_quarantine_names_the_member(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"1.csv": CSV, "2.csv": CSV.replace("7.00", "x")})
    config = config_of(columns={"transaction_id": {"from": ["$file", "$row"]}})
    made = plan(config, str(tmp_path / "lake"), business_date=DAY, source=str(path))
    run = RunFolder(str(tmp_path / "lake"), made.run_id)
    validate_shard(config, run, 0)
    sealed = seal(config, run)
    rows = pl.read_parquet([f"{run.uri}/{part.name}" for part in sealed.quarantine])
    assert rows.select("source_uri", "line").rows() == [(f"{path}!2.csv", 2)]


def test_what_is_not_read_of_an_archive_is_named(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "a.zip",
        {
            "a.csv": CSV,
            "folder/": "",
            "__MACOSX/._a.csv": "x",
            ".hidden.csv": "x",
            ".git/x.csv": "x",
            "b.csv.part": "x",
            "read\x1bme.md": "x",
        },
    )
    blocks, _, (warning,) = read(path)
    assert len(rows_of(blocks)) == 2
    for said in (
        *("__MACOSX/._a.csv (of macOS)", ".hidden.csv (hidden)", ".git/x.csv (hidden)"),
        *("b.csv.part (a temporary file)", "read\\x1bme.md (not one of"),
    ):
        assert said in warning
    only = zipped(tmp_path / "b.zip", {"readme.md": "x"})
    with pytest.raises(SourceFormatError, match=r"no data file; not read: readme\.md"):
        read(only)
    with pytest.raises(SourceFormatError, match="no data file"):
        read(zipped(tmp_path / "c.zip", {}))


def test_an_archive_in_an_archive_is_refused_by_name(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "i.zip", {"a.csv": CSV}).read_bytes()
    for name in ("inner.zip", "inner.csv"):
        path = zipped(tmp_path / "a.zip", {name: inner})
        with pytest.raises(SourceFormatError, match=rf"a\.zip!{name} is a zip archive inside"):
            read(path)
    book = in_bytes(workbook(tmp_path / "x", S=SHEET))
    assert len(values(zipped(tmp_path / "b.zip", {"a.xlsx": book}))) == 2


def test_an_encrypted_member_is_refused_by_name(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.csv": CSV}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(SourceFormatError, match=r"a\.zip!a\.csv is encrypted"):
        read(path)


def test_a_damaged_archive_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", {"a.csv": CSV * 1000, "b.csv": CSV}).read_bytes()
    path = tmp_path / "b.zip"
    for cut in (4, 30, len(whole) // 2, len(whole) - 10):
        with pytest.raises(SourceFormatError, match="cut short or damaged"):
            read(write(path, whole[:cut]))
    for at in range(35, len(whole), 7):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        with suppress(DataError):
            read(write(path, bytes(broken)))


def test_a_member_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.csv", CSV)
    with pytest.raises(SourceFormatError, match="twice"):
        read(tmp_path / "a.zip")


READ = """
import resource, sys
from sales_mart.config import Config
from sales_mart.errors import SalesMartError
from sales_mart.schema import schema_of
from sales_mart.source.listing import find_objects
from sales_mart.source.read import read_object
(item,) = find_objects([sys.argv[1]])
config = Config()
import polars, pyarrow.parquet, python_calamine
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for block in read_object(item, schema_of(config).fields, config.ingestion.format):
        pass
    print("read")
except SalesMartError as error:
    print(error.exit_code, error.message)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10)
"""


def grown(path: Path) -> tuple[str, int]:
    """Read a file in a process of its own; gives what it says, and by how many MiB it grew."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)),
    )
    *said, grown_by = done.stdout.splitlines()
    return said[-1], int(grown_by)


def test_a_bomb_does_not_fill_the_memory(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.csv", "w") as file,
    ):
        file.write(f"{HEADER}\n".encode())
        for _ in range(256):
            file.write(bytes(1 << 20))
    said, grown_by = grown(tmp_path / "a.zip")
    assert said == "read"
    assert grown_by < 200


def test_a_line_without_end_of_json_does_not_fill_the_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.jsonl", "wb", 1) as file:
        file.write(b'{"transaction_id":"A"}\n{"product":"')
        for _ in range(256):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n')
    said, grown_by = grown(tmp_path / "a.jsonl")
    assert said == "read"
    assert grown_by < 200


# --- JSON Lines


def test_numbers_of_json_keep_their_text(tmp_path: Path) -> None:
    numbers = ["0.1", "12345678901234567.89", "7.10", "1e3", "2.5E-1", "-0.0", "1E+400", "7"]
    path = write(
        tmp_path / "a.jsonl",
        "".join(f'{{"transaction_id": "A", "price": {number}}}\n' for number in numbers),
    )
    blocks, _, _ = read(path)
    prices = [row[2] for row in rows_of(blocks)]
    assert prices == ["0.1", "12345678901234567.89", "7.10", "1000", "0.25", "-0.0", "1E+400", "7"]
    assert all("price" in block.typed for block in blocks)


def test_a_number_of_json_is_not_written_as_the_files_write_texts(tmp_path: Path) -> None:
    """In one column there are both: 1.234 is a number, and "1.234" is a thousand and more."""
    config = config_of(format={"decimal_separator": ",", "thousands": "."})
    prices = ["1.23", '"1.234"', "null", '"7,50"', "2.5"]
    lines = [
        f'{{"transaction_id": "A{at}", "product": "Cup", "price": {price}, "quantity": 1, '
        '"date": "2024-01-05"}\n'
        for at, price in enumerate(prices)
    ]
    sealed = loaded(write(tmp_path / "a.jsonl", "".join(lines)), tmp_path / "lake", config)
    assert sealed.amount == Decimal("1.23") + 1234 + Decimal("7.50") + Decimal("2.5")
    assert sealed.reasons == {"missing_price": 1}


def test_lines_that_are_no_rows(tmp_path: Path) -> None:
    good = json.dumps(ROWS[0]).encode()
    lines = [
        (good, 0),
        (b"", None),
        (b"  \t", None),
        (b"{", 1),
        (b"[1]", 1),
        (b"7", 1),
        (b'{"transaction_id": ["A"]}', 1),
        (b'{"price": {"amount": 7}}', 1),
        (b'{"other": {"amount": 7}}', 0),
        (b'{"price": NaN}', 1),
        (b'{"price": 1, "price": 2}', 1),
        (b'{"Price": 1, "price": 2}', 1),
        (b'{"product": "\\ud800"}', 1),
        (b'{"product": "\xff"}', 2),
        (b"[" * 100_000, 1),
        (good + good, 1),
        (b"\0", 1),
    ]
    data = b"\xef\xbb\xbf" + b"\r\n".join(line for line, _ in lines)
    path = write(tmp_path / "a.jsonl", data)
    for block_bytes in (1, 7, 1000, 1 << 20):
        blocks, account, _ = read(path, block_bytes=block_bytes)
        flaws = {}
        for block in blocks:
            flaws |= dict.fromkeys(block.places.lines.tolist(), 0)
            flaws |= dict(zip(block.broken.lines.tolist(), block.flaws.tolist(), strict=True))
            for places in (block.places, block.broken):
                for line, offset, length in zip(
                    places.lines, places.offsets, places.lengths, strict=True
                ):
                    assert data[offset : offset + length] == lines[line - 1][0]
        expected = {at: flaw for at, (_, flaw) in enumerate(lines, start=1) if flaw is not None}
        assert dict(sorted(flaws.items())) == expected
        records = sum(places.size for block in blocks for places in (block.places, block.broken))
        assert account.size == len(data) == account.header + account.blank + records


def test_keys_by_any_name_and_keys_that_are_missing(tmp_path: Path) -> None:
    config = config_of(
        columns={"price": {"any_of": ["Unit price", "price"]}, "date": {"from": "Day"}},
        attributes={"store": {"from": "Branch"}},
    )
    lines = [
        {"transaction_id": "A", "UNIT PRICE": 1.5, "day": "2024-01-05", "x": 1},
        {"transaction_id": "B", "price": 2, " Day ": None, "Branch": "S"},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    blocks, _, warnings = read(path, config)
    assert rows_of(blocks) == [
        ("A", None, "1.5", None, "2024-01-05", None),
        ("B", None, "2", None, None, "S"),
    ]
    assert any("no object has product, quantity" in each for each in warnings)
    assert any("1 keys are ignored: x" in each for each in warnings)


@pytest.mark.parametrize("data", [b'{"a": 1}\n{"b": 2}\n', b'{"": 1}'])
def test_json_without_any_of_the_keys_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SourceFormatError, match="no line is an object with one of the keys"):
        read(write(tmp_path / "a.jsonl", data))


def test_json_lines_without_a_line(tmp_path: Path) -> None:
    config = config_of(format={"type": "jsonl"})
    path = write(tmp_path / "a.jsonl", b" \n\n")
    with pytest.raises(EmptyInputError):
        read(path, config, allow_empty=False)
    blocks, account, _ = read(path, config)
    assert (blocks, account.blank) == ([], 3)


# --- Parquet


def test_the_columns_of_parquet_become_text_as_those_of_frames_do(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "TRANSACTION_ID": [1, 2],
            "product": pl.Series(["Cup", None], dtype=pl.Categorical),
            "price": pl.Series([Decimal("7.10"), Decimal("12345678901234567.89")]),
            "quantity": [0.1, 3.0],
            "date": [MIDNIGHT, MIDNIGHT.replace(day=6, hour=10, minute=30)],
            "other": [[1], [2]],
        }
    )
    path = tmp_path / "a.parquet"
    frame.write_parquet(path)
    blocks, account, warnings = read(path)
    assert rows_of(blocks) == [
        ("1", "Cup", "7.1", "0.1", "2024-01-05"),
        ("2", None, "12345678901234567.89", "3", "2024-01-06T10:30:00"),
    ]
    assert blocks[0].typed == {"transaction_id", "price", "quantity", "date"}
    assert blocks[0].places.rows.tolist() == [1, 2]
    assert account.size == account.unplaced == path.stat().st_size
    assert warnings == [f"{path}: 1 columns are ignored: other"]


def test_typed_values_are_not_read_in_the_form_of_texts(tmp_path: Path) -> None:
    config = config_of(
        format={"decimal_separator": ",", "thousands": ".", "date_format": "%d.%m.%Y"}
    )
    frame = pl.DataFrame(ROWS).with_columns(
        pl.col("date").str.to_date(), price=pl.Series([1.234, 2.5]).round(2)
    )
    frame.write_parquet(tmp_path / "a.parquet")
    sealed = loaded(tmp_path / "a.parquet", tmp_path / "lake", config)
    assert (sealed.rows_valid, sealed.amount) == (2, Decimal("8.73"))
    texts = frame.with_columns(price=pl.Series(["1.234,00", "2,50"]), date=pl.lit("06.01.2024"))
    texts.write_parquet(tmp_path / "b.parquet")
    sealed = loaded(tmp_path / "b.parquet", tmp_path / "lake", config)
    assert (sealed.rows_valid, sealed.amount) == (2, Decimal("1241.50"))


def test_text_of_parquet_that_is_not_utf_8_is_a_rejected_row(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS).with_columns(product=pl.Series([b"Cup", b"\xff"]))
    frame.write_parquet(tmp_path / "a.parquet")
    sealed = loaded(tmp_path / "a.parquet", tmp_path / "lake")
    assert (sealed.rows_valid, sealed.reasons) == (1, {"encoding": 1})


def test_parquet_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS)
    whole = tmp_path / "a.parquet"
    frame.with_columns(price=pl.lit([1, 2])).write_parquet(whole)
    with pytest.raises(SourceFormatError, match="the column price, of type"):
        read(whole)
    frame.drop("price").write_parquet(whole)
    with pytest.raises(
        SourceFormatError, match="lacks price; it has transaction_id, product"
    ) as lacking:
        read(whole)
    assert "sales-mart inspect FILE" in (lacking.value.remedy or "")
    frame.with_columns(PRICE="price").write_parquet(whole)
    with pytest.raises(SourceFormatError, match="names price twice"):
        read(whole)
    frame.write_parquet(whole)
    data = whole.read_bytes()
    for cut in (4, 100, len(data) - 1):
        with pytest.raises(SourceFormatError, match="cut short or damaged"):
            read(write(tmp_path / "b.parquet", data[:cut]))


def test_parquet_without_a_row(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).head(0).write_parquet(tmp_path / "a.parquet")
    sealed = loaded(tmp_path / "a.parquet", tmp_path / "lake")
    assert sealed.rows_read == 0


def test_row_groups_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({name: [f"{name} {at}" for at in range(150_000)] for name in NAMES}).write_parquet(
        path, row_group_size=50_000
    )
    blocks, _, _ = read(path)
    assert max(block.fields.height for block in blocks) <= 65_536
    assert blocks[-1].places.rows[-1] == 150_000


# --- workbooks


def test_the_cells_of_a_workbook(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "a.xlsx",
        Sales=[
            ["A title"],
            [],
            [None, "Transaction_ID", " product ", "price", "quantity", "date", None],
            [None, "A1", "Cup", 7.1, 1, date(2024, 1, 5)],
            [],
            [None, 100234, "Tea", "7,50", 3, MIDNIGHT.replace(day=6, hour=10, minute=30)],
            [None, "A3", None, 1e-7, True, "05.01.2024"],
            [None, "A4", "x", 1, 1, date(2024, 1, 5), None, "more"],
        ],
    )
    config = config_of(format={"skip_rows": 1})
    blocks, _, _ = read(path, config)
    assert rows_of(blocks) == [
        ("A1", "Cup", "7.1", "1", "2024-01-05"),
        ("100234", "Tea", "7,50", "3", "2024-01-06T10:30:00"),
        ("A3", None, "1e-07", "true", "05.01.2024"),
    ]
    assert [line for block in blocks for line in block.places.lines] == [4, 6, 7]
    assert [row for block in blocks for row in block.places.rows] == [1, 2, 3]
    assert [line for block in blocks for line in block.broken.lines] == [8]
    assert ["price" in block.typed for block in blocks] == [True, False, True]


def test_the_sheet_is_the_only_one_or_the_one_that_is_said(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Notes=[["x"]], Sales=SHEET)
    with pytest.raises(SourceFormatError, match="has 2 sheets that can be seen: Notes, Sales"):
        read(path)
    assert len(values(path, config_of(format={"sheet": "Sales"}))) == 2
    with pytest.raises(SourceFormatError, match="has no sheet 'sales'; it has Notes, Sales"):
        read(path, config_of(format={"sheet": "sales"}))
    book = openpyxl.load_workbook(path)
    book["Notes"].sheet_state = "hidden"
    book.save(path)
    assert len(values(path)) == 2


def test_names_for_a_sheet_without_a_header(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", S=SHEET[1:])
    assert len(values(path, config_of(format={"header": [*NAMES]}))) == 2
    with pytest.raises(SourceFormatError, match="lacks transaction_id") as caught:
        read(path)
    assert "Cup" not in caught.value.message
    with pytest.raises(EmptyInputError):
        read(workbook(tmp_path / "b.xlsx", S=[]), allow_empty=False)


def _with_part(path: Path, name: str, data: bytes) -> Path:
    """Write a workbook again with another part."""
    with zipfile.ZipFile(path) as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    return zipped(path, {**parts, name: data})


def test_a_workbook_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    sheet = "xl/worksheets/sheet1.xml"
    head = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    far = (
        head + b'<sheetData><row r="1"><c r="A1"><v>1</v></c></row><row r="1048576">'
        b'<c r="XFD1048576"><v>1</v></c></row></sheetData></worksheet>'
    )
    path = _with_part(workbook(tmp_path / "a.xlsx", S=SHEET), sheet, far)
    said, grown_by = grown(path)
    assert said.startswith("65 ")
    assert "17,179,869,184 cells" in said
    assert grown_by < 100
    swollen = _with_part(workbook(tmp_path / "b.xlsx", S=SHEET), "xl/x.xml", bytes(300 << 20))
    with pytest.raises(SourceFormatError, match="too large"):
        read(swollen)
    text = b"<si><t>" + b"x" * (1 << 20) + b"</t></si>"
    cells = b"".join(b'<c r="A%d" t="s"><v>0</v></c>' % at for at in range(1, 1000))
    book = _with_part(workbook(tmp_path / "c.xlsx", S=SHEET), sheet, head + cells)
    book = _with_part(book, "xl/sharedStrings.xml", b"<sst>" + text + b"</sst>")
    with pytest.raises(SourceFormatError, match=r"1,0\d\d,\d\d\d,\d\d\d bytes of text"):
        read(book)


def test_a_stray_format_far_below_is_no_cell(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", S=SHEET)
    book = openpyxl.load_workbook(path)
    sheet: Any = book["S"]
    sheet.cell(1_048_576, 100).number_format = "0.00"
    book.save(path)
    assert len(values(path)) == 2


def test_a_damaged_workbook_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = in_bytes(workbook(tmp_path / "a.xlsx", S=SHEET))
    path = tmp_path / "b.xlsx"
    for at in range(30, len(whole), 97):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        with suppress(DataError):
            read(write(path, bytes(broken)))
    rubbish = _with_part(workbook(tmp_path / "c.xlsx", S=SHEET), "xl/workbook.xml", b"<rubbish")
    with pytest.raises(SourceFormatError, match="cut short or damaged"):
        read(rubbish)


# --- what is not read


def _sqlite(folder: Path) -> bytes:
    with sqlite3.connect(folder / "x.db") as connection:
        connection.execute("create table sales (id)")
    connection.close()
    return (folder / "x.db").read_bytes()


def _tar() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = len(CSV)
        archive.addfile(info, io.BytesIO(CSV.encode()))
    return held.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old or encrypted Excel workbook"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"Obj\x01", "an Avro file"),
        (b"ORC\x08", "an ORC file"),
        (b"ARROW1\0\0", "an Arrow or Feather file"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"\xff\xd8\xff\xe0", "a picture"),
        (b"Rar!\x1a\x07\x01", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (bz2.compress(b"x"), "packed with bzip2"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\n <HTML>", "an HTML page"),
        (b"<?xml version='1.0'?>", "an XML document"),
        (b'[{"transaction_id": "A"}]', "one JSON array"),
        (b'{\n  "transaction_id": "A"\n}', "one JSON document"),
        (b"PAREabc", "an encrypted Parquet file"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "gzip inside"),
        (_tar(), "a tar archive"),
    ],
)
def test_what_cannot_be_read_is_called_by_its_name(tmp_path: Path, data: bytes, name: str) -> None:
    path = write(tmp_path / "a.csv", data)
    with pytest.raises(SourceFormatError, match=rf"a\.csv is {name}") as caught:
        read(path)
    assert caught.value.remedy
    inside = zipped(tmp_path / "a.zip", {"b.csv": data})
    with pytest.raises(SourceFormatError, match=rf"a\.zip!b\.csv is {name}"):
        read(inside)


def test_databases_and_documents_are_called_by_their_names(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match="is a SQLite database"):
        read(write(tmp_path / "a.csv", _sqlite(tmp_path)))
    for member, name in (
        ("content.xml", "an OpenDocument file"),
        ("xl/workbook.bin", "a binary Excel workbook"),
        ("word/document.xml", "a Word document"),
    ):
        with pytest.raises(SourceFormatError, match=f"is {name}"):
            read(zipped(tmp_path / "b.xlsx", {member: "x"}))


@pytest.mark.parametrize(
    ("kind", "said"),
    [("csv", "a Parquet file"), ("jsonl", "a Parquet file"), ("excel", "a Parquet file")],
)
def test_a_file_of_another_kind_than_is_said_is_refused(
    tmp_path: Path, kind: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"{said}, and ingestion\.format\.type is {kind}"):
        read(_parquet(tmp_path), config_of(format={"type": kind}))
    with pytest.raises(ConfigurationError, match=r"text, and ingestion\.format\.type is parquet"):
        read(write(tmp_path / "a.csv", CSV), config_of(format={"type": "parquet"}))


def test_text_is_what_the_configuration_says(tmp_path: Path) -> None:
    data = '{"transaction_id"},product,price,quantity,date\nA,Cup,1,1,2024-01-05\n'
    config = config_of(
        format={"type": "csv", "quote": None},
        columns={"transaction_id": {"from": '{"transaction_id"}'}},
    )
    assert len(values(write(tmp_path / "a.csv", data), config)) == 1


@pytest.mark.parametrize("packed", ["", "gz"])
def test_rubbish_is_an_error_of_ours(tmp_path: Path, packed: str) -> None:
    starts = [b"", b"PK\x03\x04", b"PAR1", b"{", b"{}", b"PK\x05\x06", b"\xef\xbb\xbf", b"\x1f\x8b"]
    for number, start in enumerate(starts):
        data = start + bytes((number * at * 37) % 256 for at in range(3000))
        path = write(tmp_path / "a.csv", gzip.compress(data) if packed else data)
        with pytest.raises(DataError) as caught:
            read(path, allow_empty=False)
        assert caught.value.remedy


def test_an_object_that_changes_is_found_out_whatever_its_kind(tmp_path: Path) -> None:
    for path in (
        _parquet(tmp_path),
        workbook(tmp_path / "a.xlsx", S=SHEET),
        zipped(tmp_path / "a.zip", {"a.csv": CSV}),
        write(tmp_path / "a.jsonl", json.dumps(ROWS[0])),
    ):
        (item,) = find_objects([str(path)])
        wrong = item.model_copy(update={"digest": "sha256:" + "0" * 64})
        config = Config()
        with pytest.raises(SourceChangedError):
            list(read_object(wrong, schema_of(config).fields, config.ingestion.format))


# --- half a file


def test_half_a_file_is_not_read_while_there_is_a_way_to_wait(tmp_path: Path) -> None:
    """A cut line is rejected, and a cut between lines does not show: a marker or an age does."""
    assert loaded(CASES / "partial.csv", tmp_path / "lake").rows_rejected == 1
    assert loaded(CASES / "partial2.csv", tmp_path / "lake").rows_rejected == 0


@pytest.mark.parametrize("name", ["1.csv", "2_newcol.csv", "3_order.csv", "4_case.csv"])
def test_columns_that_drift_are_found(tmp_path: Path, name: str) -> None:
    assert loaded(CASES / "drift" / name, tmp_path / "lake").rows_valid == 1


def test_a_renamed_column_is_named_and_may_have_several_names(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match="lacks price; it has transaction_id, product"):
        loaded(CASES / "drift" / "5_renamed.txt", tmp_path / "lake")
    config = config_of(columns={"price": {"any_of": ["price", "unit_price"]}})
    sealed = loaded(CASES / "drift", tmp_path / "lake", config)
    assert (sealed.rows_valid, sealed.amount) == (5, Decimal("35.00"))
