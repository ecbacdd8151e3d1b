"""`sales-mart quarantine export`: the originals, to the byte, in files that read back the same."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import signal
import subprocess
import sys
import tracemalloc
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from openpyxl import Workbook, load_workbook

from sales_mart.config.file import load_config
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.quarantine import Choice
from sales_mart.steps.quarantine_export import export_rejects
from secrecy import find_in, find_in_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Ask = Callable[..., tuple[int, str, str]]

SECRETS = {"identifier": "BELEG-99481", "mail": "ann@x.example"}
HEADER = "transaction_id,product,price,quantity,date\n"
WRONG = f"{SECRETS['identifier']},Tea,two,1,2024-01-05"
DIRTY = f"{HEADER}T1,Tea,2.50,1,2024-01-05\n{WRONG}\nT3,Tea\n"
MENDED = DIRTY.replace("two", "2.00")


@pytest.fixture(autouse=True)
def with_a_key(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with a key."""
    monkeypatch.setenv("PII_HASH_KEY", "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6")
    configure()
    return elsewhere


def configure(text: str = "{}") -> None:
    """Write the configuration, with a section about files."""
    Path("pipeline_config.yaml").write_text(
        f"security: {{algorithm: hmac-sha256}}\ndata_lake: {{lake: lake}}\ningestion: {text}\n"
    )


def validated(ask: Ask, run_id: str, *sources: str) -> None:
    """Plan a run of some sources, and check its rows."""
    given = [word for source in sources for word in ("--source", source)]
    assert ask("plan", "--run-id", run_id, "--allow-empty", *given)[0] == 0
    for step in ("validate", "seal"):
        code, _, err = ask(step, "--run-id", run_id)
        assert code == 0, err


def export(ask: Ask, *arguments: str) -> list[dict[str, Any]]:
    """Return what an export says that it has written."""
    code, out, err = ask("quarantine", "export", *arguments, "-o", "json")
    assert code == 0, err
    return json.loads(out)["files"]


def reasons(ask: Ask, run_id: str) -> list[list[str]]:
    """Return the reasons of the rejected rows of a run, in order."""
    code, out, err = ask("quarantine", "show", run_id, "-o", "json")
    assert code == 0, err
    return [row["reasons"] for row in json.loads(out)["rows"]]


def test_originals_are_written_with_their_reasons(ask: Ask) -> None:
    Path("a.csv").write_text(DIRTY)
    validated(ask, "x", "a.csv")
    [found] = export(ask, "x", "--to", "mend.csv")
    assert (found["rows"], found["left_out"]) == (2, [])
    assert Path("mend.csv").read_text() == (
        HEADER.replace("\n", ",rejected_because\n")
        + f'{WRONG},"price_format"\n'
        + 'T3,Tea,"malformed_row"\n'
    )
    assert Path("mend.csv").stat().st_mode & 0o777 == 0o600
    validated(ask, "again", "mend.csv")
    assert reasons(ask, "again") == reasons(ask, "x") == [["price_format"], ["malformed_row"]]


def test_rows_are_chosen_by_their_reason(ask: Ask) -> None:
    Path("a.csv").write_text(DIRTY)
    validated(ask, "x", "a.csv")
    assert export(ask, "x", "--to", "mend.csv", "--reason", "malformed_row")[0]["rows"] == 1
    assert WRONG not in Path("mend.csv").read_text()


def test_a_file_that_is_there_is_kept_unless_told_otherwise(ask: Ask) -> None:
    Path("a.csv").write_text(DIRTY)
    Path("mend.csv").write_text("mine")
    validated(ask, "x", "a.csv")
    code, _, err = ask("quarantine", "export", "x", "--to", "mend.csv")
    assert code == 2
    assert "already exists" in err
    assert Path("mend.csv").read_text() == "mine"
    export(ask, "x", "--to", "mend.csv", "--force")
    assert Path("mend.csv").read_text().startswith("transaction_id")
    assert Path("mend.csv").stat().st_mode & 0o777 == 0o600
    assert not list(Path().glob(".rejected*"))


def test_what_is_no_file_of_its_own_is_never_replaced(ask: Ask) -> None:
    for name in ("a.csv", "in/rejected-a.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(DIRTY)
    Path("link.csv").symlink_to("a.csv")
    os.mkfifo("pipe")
    validated(ask, "x", "a.csv", "in/rejected-a.csv")

    def there() -> dict[Path, tuple[int, int]]:
        found = (each for each in Path().rglob("*") if "lake" not in each.parts)
        return {each: (each.lstat().st_ino, each.lstat().st_size) for each in found}

    before = there()
    for to in ("a.csv", "./a.csv", "link.csv", "in/", "pipe", "-", "~nosuch/a"):
        only = () if to == "in/" else ("--file", "a.csv")
        code, _, err = ask("quarantine", "export", "x", "--to", to, *only, "--force")
        assert (code, "this is a bug" in err) == (2, False), to
    assert there() == before


def test_long_and_odd_names_of_sources_are_written_under_others(ask: Ask) -> None:
    names = [f"{'long ' * 50}{number}.csv" for number in range(3)]
    members = {name: DIRTY.encode() for name in (*names, "two\nlines\x1b.csv")}
    Path("in.zip").write_bytes(zipped(members))
    validated(ask, "x", "in.zip")
    found = export(ask, "x", "--to", "mend/")
    assert [each["rows"] for each in found] == [2, 3, 3, 3]
    written = [path.name for path in Path("mend").iterdir()]
    assert len(written) == 4
    assert all(name.isprintable() and name.endswith(".csv") for name in written)
    code, _, err = ask("quarantine", "export", "x", "--to", "n" * 300, "--file", names[0])
    assert code == 2
    assert "shorter name" in err


def test_a_run_without_rejects_writes_nothing(ask: Ask) -> None:
    Path("a.csv").write_text(f"{HEADER}T1,Tea,2.50,1,2024-01-05\n")
    validated(ask, "x", "a.csv")
    code, out, _ = ask("quarantine", "export", "x", "--to", "mend.csv")
    assert code == 0
    assert "no such row was rejected" in out
    assert not Path("mend.csv").exists()


KILLED = """
import resource, signal, sys
from sales_mart.__main__ import main
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
main()
"""
"""A process that the system ends where it writes more than a few bytes."""


def test_what_a_killed_export_left_goes_with_the_next_one_of_any_run(ask: Ask) -> None:
    Path("a.csv").write_text(DIRTY)
    for run in ("x", "y"):
        validated(ask, run, "a.csv")
    done = subprocess.run(
        [sys.executable, "-B", "-c", KILLED, "quarantine", "export", "x", "--to", "mend/"],
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGXFSZ
    assert [each.stat().st_mode & 0o777 for each in Path("mend").iterdir()] == [0o700]
    export(ask, "y", "--to", "mend/")
    assert [each.name for each in Path("mend").iterdir()] == ["rejected-a.csv"]


@pytest.mark.parametrize("now", [None, DIRTY.replace("two", "six")])
def test_a_source_that_is_gone_or_has_changed_is_refused(ask: Ask, now: str | None) -> None:
    Path("a.csv").write_text(DIRTY)
    validated(ask, "x", "a.csv")
    Path("a.csv").unlink()
    if now is not None:
        Path("a.csv").write_text(now)
    code, _, err = ask("quarantine", "export", "x", "--to", "mend.csv")
    assert code == 65
    assert "is not the object that was planned" in err
    assert [each.name for each in Path().iterdir() if "mend" in each.name] == []
    assert not list(Path().glob(".rejected*"))


def test_a_source_that_is_another_kind_of_file_now_has_changed_too(ask: Ask) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(HEADER.strip().split(","))
    book.save("empty.xlsx")
    sheet.append(["T1", "Tea", -1, 1, date(2024, 1, 5)])
    book.save("a.xlsx")
    Path("b.csv").write_text(DIRTY)
    validated(ask, "x", "a.xlsx", "b.csv")
    for name, content in (
        ("a.xlsx", Path("empty.xlsx").read_bytes()),
        ("b.csv", b"a,b\n1,2\n"),
        ("b.csv", b"%PDF-1.7"),
        ("b.csv", b"\x1f\x8bnot gzip"),
        ("b.csv", b""),
    ):
        Path(name).write_bytes(content)
        code, _, err = ask("quarantine", "export", "x", "--to", "m", "--file", name)
        assert (code, "is not the object that was planned" in err) == (65, True), content


def test_another_configuration_is_refused(ask: Ask) -> None:
    Path("a.csv").write_text(DIRTY)
    validated(ask, "x", "a.csv")
    configure("{validation: {max_quantity: 7}}")
    code, _, err = ask("quarantine", "export", "x", "--to", "mend.csv")
    assert code == 2
    assert "another configuration" in err


def test_each_source_has_a_file_of_its_own(ask: Ask) -> None:
    for name in ("in/1/a.csv", "in/2/a.csv", "in/2/b.csv.gz"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        data = DIRTY.replace("T3", name).encode()
        Path(name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    validated(ask, "x", "in/**/*.*")
    code, _, err = ask("quarantine", "export", "x", "--to", "mend.csv")
    assert code == 2
    assert "rows of 3 files were rejected" in err
    assert not Path("mend.csv").exists()
    assert export(ask, "x", "--to", "one.csv", "--file", "1/a.csv")[0]["rows"] == 2
    found = export(ask, "x", "--to", "mend/")
    names = sorted(path.name for path in Path("mend").iterdir())
    assert names == ["rejected-1-a.csv", "rejected-2-a.csv", "rejected-2-b.csv"]
    assert sorted(each["path"] for each in found) == [
        str(Path("mend", name).absolute()) for name in names
    ]
    assert "in/2/b.csv.gz,Tea," in Path("mend/rejected-2-b.csv").read_text()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "plain": bytes,
}


def zipped(members: Mapping[str, bytes]) -> bytes:
    """Pack some files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("packing", PACKED)
def test_packed_files_are_read_by_what_is_in_them(ask: Ask, packing: str) -> None:
    data = DIRTY.replace("\n", "\r\n").encode()
    Path("a.csv").write_bytes(PACKED[packing](data))
    validated(ask, "x", "a.csv")
    export(ask, "x", "--to", "mend.csv")
    lines = Path("mend.csv").read_bytes().split(b"\r\n")
    assert lines[1] == f'{WRONG},"price_format"'.encode()


def test_members_of_an_archive_have_files_of_their_own(ask: Ask) -> None:
    other = '{"transaction_id": "J1", "product": "Tea", "price": 2, "quantity": 0}'
    members = {
        "b/a.csv": DIRTY.encode(),
        "good.csv": f"{HEADER}T9,Tea,2.50,1,2024-01-05\n".encode(),
        "z.csv": gzip.compress(DIRTY.replace("T3", "Z3").encode()),
        "zz.jsonl": f"{other}\n[]\n".encode(),
        "README": b"not read",
    }
    Path("in.zip").write_bytes(zipped(members))
    validated(ask, "x", "in.zip")
    found = export(ask, "x", "--to", "mend/")
    assert [each["source"].rpartition("!")[2] for each in found] == [
        "b/a.csv",
        "z.csv",
        "zz.jsonl",
    ]
    assert 'T3,Tea,"malformed_row"' in Path("mend/rejected-in.zip-b-a.csv").read_text()
    # The identifiers of the first file are duplicates in the second one, and count as such.
    again = Path("mend/rejected-in.zip-z.csv").read_text().splitlines()
    assert [line.rpartition(",")[2] for line in again[1:]] == [
        '"duplicate_transaction_id"',
        '"price_format"',
        '"malformed_row"',
    ]
    assert Path("mend/rejected-in.zip-zz.jsonl").read_text() == (
        f'{other[:-1]}, "rejected_because": "quantity_range missing_date"}}\n[]\n'
    )


def test_json_lines_get_one_key_more(ask: Ask) -> None:
    right = '{"transaction_id": "J1", "product": "Tea", "price": 2.50, "quantity": 1,'
    lines = [
        "[1]",
        f'{right} "date": "2024-01-05"}}',
        f'{right.replace("2.50", "1e-5")} "date": "2024-01-05" }}  ',
        "{}",
        '{"product": {}}',
        '{"product": "a", "product": "b"}',
        '{"rejected_because": "mine"}',
    ]
    Path("a.jsonl").write_text("\n".join(lines))
    configure("{format: {type: jsonl}}")
    validated(ask, "x", "a.jsonl")
    export(ask, "x", "--to", "mend.jsonl")
    written = Path("mend.jsonl").read_text().splitlines()
    assert '{"rejected_because": "' in "".join(written)
    assert written[-1] == lines[-1]
    validated(ask, "again", "mend.jsonl")
    first = reasons(ask, "x")
    assert len(first) == len(written) == len(lines) - 1
    assert sorted(reasons(ask, "again")) == sorted(first)


def test_parquet_keeps_its_types(ask: Ask) -> None:
    table = pa.table(
        {
            "transaction_id": ["P1", "P2", "P3"],
            "product": ["Tea", "Tea", None],
            "price": pa.array([2.5, -1.0, 2.5]),
            "quantity": pa.array([1, 1, 1], pa.int16()),
            "date": pa.array([0, 1, 2], pa.date32()),
        }
    )
    pq.write_table(table, "a.parquet", row_group_size=2)
    validated(ask, "x", "a.parquet")
    export(ask, "x", "--to", "mend.parquet")
    found = pq.read_table("mend.parquet")
    assert found.schema.types[:5] == table.schema.types
    assert found["rejected_because"].to_pylist() == ["negative_price", "missing_product"]
    assert found["transaction_id"].to_pylist() == ["P2", "P3"]
    assert Path("mend.parquet").stat().st_mode & 0o777 == 0o600
    validated(ask, "again", "mend.parquet")
    assert reasons(ask, "again") == reasons(ask, "x")
    export(ask, "again", "--to", "more.parquet")
    assert pq.read_table("more.parquet").schema == found.schema


def test_workbooks_keep_their_types(ask: Ask) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Sales & <more>"
    rows: list[list[Any]] = [
        ["a title"],
        [],
        HEADER.strip().split(","),
        ["T1", "Tea", 2.5, 1, date(2024, 1, 5)],
        ["T2", " a_x001F_b_x005F_x0041_<&>\n ", -1, 1, datetime(2024, 1, 5, 12, 30, 15)],  # noqa: DTZ001
        ["T3", "Tea", True, time(12, 30), timedelta(days=1, hours=2)],
        ["T4", None, 2.5, 1, date(2024, 1, 5)],
        ["T5", "Tea", 2.5, 1, date(2024, 1, 5), "one too many"],
        # Stored with 16 digits it is above the largest number there is, and reads as infinite.
        ["T6", "Tea", 1.7976931348623155e308, 1, date(2024, 1, 5)],
    ]
    for row in rows:
        sheet.append(row)
    book.save("a.xlsx")
    configure("{format: {skip_rows: 2}}")
    validated(ask, "x", "a.xlsx")
    [found] = export(ask, "x", "--to", "mend.xlsx")
    assert (found["rows"], found["left_out"]) == (5, [])
    assert Path("mend.xlsx").stat().st_mode & 0o777 == 0o600
    validated(ask, "again", "mend.xlsx")
    first = reasons(ask, "x")
    assert len(first) == 5
    assert reasons(ask, "again") == first
    written = load_workbook("mend.xlsx")
    assert written.sheetnames == [sheet.title]
    values = [*written[sheet.title].iter_rows(values_only=True)]
    assert values[0][0] == "a title"
    assert values[2][:6] == (*rows[2], "rejected_because")
    assert values[4][2:6] == (True, time(12, 30), timedelta(days=1, hours=2), " ".join(first[1]))
    assert values[6][5:] == ("malformed_row", "one too many")
    assert values[7][2] == math.inf


SWALLOWED = (
    HEADER
    + 'A1,"Tea,2.50,1,2024-01-05\n'
    + "A2,Tea,2.50,1,2024-01-05\n"
    + 'A3,Tea",2.50,1,2024-01-05\n'
    + 'A4,"a\nb",2.50,1,\n'
    # As long as the header on its first line with the reasons, and one shorter on its last.
    + 'A5,"a,b,c,d,e\nf,g",2.50,1,\n'
    + 'A6,Tea,2.50,1,2024-01-05,"\n'
)
HARD = {
    "swallowed rows": ("{}", SWALLOWED),
    "no header": (
        "{format: {header: [transaction_id, product, price, quantity, date]}}",
        SWALLOWED.removeprefix(HEADER),
    ),
    "no header, and a delimiter": (
        "{format: {delimiter: ',', header: [transaction_id, product, price, quantity, date]}}",
        SWALLOWED.removeprefix(HEADER),
    ),
    # As files have them that were put behind one another.
    "no header, and the mark of an encoding": (
        "{format: {header: [transaction_id, product, price, quantity, date]}}",
        "A1,Tea,2.50,1,2024-01-05\n\ufeffA2,Tea,2.50,1,2024-01-05\n",
    ),
    "no header, and the mark of an archive": (
        "{format: {header: [transaction_id, product, price, quantity, date]}}",
        "A1,Tea,2.50,1,2024-01-05\nPK\x03\x04,Tea,2.50,0,2024-01-05\n",
    ),
    "rows that end early": ("{format: {jagged_rows: true}}", f"{SWALLOWED}A7,Tea,2\nA8\n"),
    "an escape": (
        "{format: {escape: '\\', delimiter: ';'}}",
        HEADER.replace(",", ";") + "A1;Tea;1;1;x\\\nA2;Te\\;a;1;1;\\\\\nA3;Tea;1;1\\\n",
    ),
    "a delimiter of the reasons": (
        "{format: {delimiter: _, quote: null}, columns: {transaction_id: nr}}",
        "nr_product_price_quantity_date\nA1_Tea_1_0_2024-01-05\nA2_Tea\n",
    ),
    "a column called like ours": (
        "{columns: {product: rejected_because}}",
        HEADER.replace("product", "rejected_because") + "A1,,1,1,2024-01-05\nA2,Tea\n",
    ),
}


@pytest.mark.parametrize("case", HARD)
def test_nothing_mends_itself(ask: Ask, case: str) -> None:
    ingestion, text = HARD[case]
    configure(ingestion)
    Path("a.csv").write_text(text)
    validated(ask, "x", "a.csv")
    [found] = export(ask, "x", "--to", "mend.csv")
    assert found["left_out"] == []
    validated(ask, "again", "mend.csv")
    first = reasons(ask, "x")
    assert first
    assert sorted(reasons(ask, "again")) == sorted(first)


def test_what_shifts_the_rest_of_the_file_is_left_out_and_named(ask: Ask) -> None:
    configure("{format: {encoding: utf-16-le}}")
    Path("a.csv").write_bytes(f"{HEADER}{WRONG}\n{WRONG}".encode("utf-16-le")[:-1])
    validated(ask, "x", "a.csv")
    code, out, err = ask("quarantine", "export", "x", "--to", "mend.csv", "-o", "json")
    assert code == 0
    assert [(each["rows"], each["left_out"]) for each in json.loads(out)["files"]] == [(1, [3])]
    assert "at these lines: 3" in err


def test_rejected_rows_are_not_all_held_as_objects(ask: Ask) -> None:
    """A row takes some hundred bytes as one, and there may be millions."""
    config = load_config()

    def held(rows: int) -> int:
        name = f"n{rows}"
        Path(f"{name}.csv").write_text(
            HEADER + "".join(f"T{at},Tea,two,1,\n" for at in range(rows))
        )
        validated(ask, name, f"{name}.csv")
        tracemalloc.start()
        try:
            export_rejects(config, RunFolder("lake", name), Choice(), f"{name}.out")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    held(1)
    small = held(1_000)
    assert held(9_000) - small < 150 * 8_000


def test_mended_rows_count_beside_the_others(ask: Ask) -> None:
    Path("a.csv").write_text(DIRTY)
    validated(ask, "x", "a.csv")
    export(ask, "x", "--to", "mend.csv")
    text = Path("mend.csv").read_text().replace("two", "2.00")
    Path("mend.csv").write_text(text.replace("T3,Tea,", "T3,Tea,7.00,1,2024-01-06,"))
    Path("right.csv").write_text(
        DIRTY.replace("two", "2.00").replace("T3,Tea", "T3,Tea,7.00,1,2024-01-06")
    )
    validated(ask, "both", "a.csv", "mend.csv")
    validated(ask, "right", "right.csv")
    both, right = (
        json.loads(Path(f"lake/runs/{run}/seal.json").read_text()) for run in ("both", "right")
    )
    same = ("rows_valid", "amount", "quantity", "sale_dates")
    assert {key: both[key] for key in same} == {key: right[key] for key in same}
    assert reasons(ask, "both") == reasons(ask, "x")


def test_personal_values_are_in_the_export_and_nowhere_else(ask: Ask) -> None:
    Path("a.csv").write_text(DIRTY)
    validated(ask, "x", "a.csv")
    Path("there.csv").write_text("")
    said = ""
    for to in ("mend.csv", "there.csv", "no/such/\0", "gs://bucket/a.csv"):
        for output in ("text", "json"):
            _, out, err = ask(
                "quarantine", "export", "x", "--to", to, "-o", output, "--log-level", "debug"
            )
            said += out + err
    assert said
    assert not find_in(said, SECRETS, "what was said")
    assert find_in_files([Path("mend.csv")], SECRETS)
    assert not find_in_files([Path("lake")], SECRETS)
