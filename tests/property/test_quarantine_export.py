"""Rejected rows, exported and read again: rejected for the same reasons, until they are mended."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zipfile
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.lake.parquet import read_part
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.plan import plan
from sales_mart.steps.quarantine import Choice, rejects_of
from sales_mart.steps.quarantine_export import export_rejects
from sales_mart.steps.validate import validate_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

FIELDS = ("transaction_id", "product", "price", "quantity", "date")
RIGHT = ("T1", "Tea", "2.50", "1", "2024-01-05")
OTHERS = (
    *(
        "",
        "two",
        "-1",
        "0.001",
        "2024-02-30",
        'Mouse "Pro',
        '"',
        '""',
        '"a',
        'a"',
        "'",
        "\\",
        "a\\",
    ),
    *("{d}", "a{d}b{d}{d}c{d}d", "{q}a{d}b{q}", "{q}two\nlines{q}", "{q}a\n{d}{d}{d}{d}b{q}", "\0"),
    *("{q}a{d}{d}{d}{d}{d}\nb{q}", "{q}a\n\nb", "{q}{q}", "{e}{q}", "{e}{d}", "\u00e9", "\r", " "),
    *(
        "T2,Tea,2.50,1,2024-01-05",
        "\ufeff",
        "\ufeffT2",
        "PAR1",
        "\u200b",
        "rejected_because",
        "\N{GRINNING FACE}",
    ),
)
ENCODINGS = (None, None, "utf-8", "cp1252", "utf-16", "utf-16-be", "utf-32-le", "cp437", "cp037")
BROKEN = (b"", b"\xff", b"\xc3", b'"', b"\\", b"\n", b"\r\n", b",", b"\0")


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "zip": lambda data: zipped({"sales.csv": data, "README": b""}),
}


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


class Form(NamedTuple):
    """How a file is written, and whether the configuration says what stands between fields."""

    format: dict[str, Any]
    mark: str
    is_told: bool

    @property
    def has_header(self) -> bool:
        return self.format["header"] is True

    @property
    def encoding(self) -> str:
        name = self.format["encoding"] or "utf-8"
        return "utf-16-le" if name == "utf-16" else name

    def cell(self, text: str) -> str | None:
        """Write a text as one field; None where the form has no way to do so."""
        quote, escape = self.format["quote"], self.format["escape"]
        if self.mark not in text:
            return text
        if quote:
            return f"{quote}{text}{quote}"
        return text.replace(self.mark, f"{escape}{self.mark}") if escape else None

    def right(self, identifier: str) -> list[str | None]:
        """Return the fields of a valid row."""
        price = RIGHT[2].replace(".", self.format["decimal_separator"])
        return [*map(self.cell, (identifier, RIGHT[1], price, *RIGHT[3:]))]

    def mended(self, number: int) -> bytes | None:
        """Return a valid row as it stands in an export, without reasons."""
        fields = self.right(f"M{number}") + [""] * self.has_header
        if None in fields:
            return None
        return self.mark.join(map(str, fields)).encode(self.encoding)


@st.composite
def forms(draw: st.DrawFn) -> Form:
    mark = draw(st.sampled_from(",,;\t|~_ e-"))
    is_told = mark not in ",;\t|" or draw(st.booleans())
    given_format = {
        "delimiter": mark if is_told else None,
        "quote": draw(st.sampled_from(('"', '"', "'", None))),
        "escape": draw(st.sampled_from((None, None, "\\", "^"))),
        "encoding": draw(st.sampled_from(ENCODINGS)),
        "skip_rows": draw(st.sampled_from((0, 0, 2))),
        "jagged_rows": draw(st.booleans()),
        "header": draw(st.sampled_from((True, True, FIELDS))),
        "decimal_separator": draw(st.sampled_from("..,")),
    }
    return Form(given_format, mark, is_told)


@st.composite
def dirty_files(draw: st.DrawFn, form: Form) -> bytes:
    given_format, mark = form.format, form.mark
    quote = given_format["quote"] or ""
    cells = st.sampled_from(OTHERS) | st.text(f"{mark}{quote}\\^\n\r\0 ab", max_size=6)
    lines = ["title", "", *[]][: given_format["skip_rows"]]
    if form.has_header:
        around = [quote * (mark in name) for name in FIELDS]
        lines.append(mark.join(f"{q}{name}{q}" for q, name in zip(around, FIELDS, strict=True)))
    headed = len(lines)
    count = draw(st.integers(1, 8))
    # Two stray quotes, which hide the rows between them in one field.
    first, last = sorted(draw(st.tuples(*[st.integers(0, 2 * count)] * 2)))
    for at in range(count):
        row = [each or "" for each in form.right(f"T{at}")]
        if first < last < count:
            row[1] = f"{quote * (at == first)}{row[1]}{quote * (at == last)}"
        for place in draw(st.lists(st.integers(0, 4), max_size=2)):
            text = draw(cells)
            row[place] = (
                text.replace("{d}", mark)
                .replace("{q}", quote)
                .replace("{e}", given_format["escape"] or "")
            )
        row = row[: draw(st.sampled_from((5, 5, 5, 4, 1)))] + draw(
            st.lists(st.sampled_from(("", "more")), max_size=1)
        )
        lines.append(mark.join(row))
    ends = draw(st.sampled_from(("\n", "\r\n")))
    name, bom = form.encoding, b"\xff\xfe" if given_format["encoding"] == "utf-16" else b""
    data = (
        bom
        + ends.join(lines).encode(name, "replace")
        + draw(st.sampled_from((b"", ends.encode(name))))
    )
    start = len(ends.join([*lines[:headed], ""]).encode(name, "replace"))
    place = draw(st.integers(len(bom) + start, len(data)))
    return data[:place] + draw(st.sampled_from(BROKEN)) + data[place:]


JSON_RIGHT = dict(zip(FIELDS, RIGHT, strict=True))
JSON_LINES = (
    *(b"", b"[]", b"1", b"{", b"{}", b"nonsense", b"\xff", b"\0", b'{"product": {}}', b"[" * 3000),
    *(b'{"product": "a", "product": "b"}', b'{"rejected_because": "mine"}', b'{"a": "\xc3"}'),
    b'{"transaction_id": "\\ud800"}',
)


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    lines = [json.dumps(JSON_RIGHT).encode()] * draw(st.integers(0, 1))
    for at in range(draw(st.integers(1, 6))):
        found: dict[str, Any] = {**JSON_RIGHT, "transaction_id": f"T{at}"}
        found[draw(st.sampled_from(FIELDS))] = draw(st.sampled_from((None, "", "two", -1, [], "é")))
        ends = draw(st.sampled_from(("", " ", "\r")))
        line = json.dumps(found, ensure_ascii=draw(st.booleans())) + ends
        lines.append(draw(st.sampled_from((line.encode(), *JSON_LINES))))
    return b"\n".join(lines) + draw(st.sampled_from((b"", b"\n")))


@st.composite
def tables(draw: st.DrawFn) -> Any:
    """Rows with types of their own, of which some break rules."""
    rows = draw(st.integers(1, 6))

    def column(kind: Any, *values: Any) -> Any:
        return pa.array([draw(st.sampled_from(values)) for _ in range(rows)], kind)

    return pa.table(
        {
            "transaction_id": pa.array([f"T{at}" for at in range(rows)]),
            "product": column(pa.string(), "Tea", "Tea", None, ""),
            "price": column(*draw(st.sampled_from(PRICES))),
            "quantity": column(pa.int16(), 1, 1, 0, None),
            "other": column(*draw(st.sampled_from(CARRIED))),
            "date": column(pa.date32(), date(2024, 1, 5), None),
        }
    )


CARRIED: tuple[tuple[Any, ...], ...] = (
    (pa.list_(pa.int8()), [1], None),
    (pa.string_view(), "a", None),
    (pa.dictionary(pa.int8(), pa.string()), "a", "b", None),
    (pa.binary_view(), b"longer than it holds in place", None),
    (pa.decimal256(60, 2), Decimal("1.25"), None),
)
PRICES: tuple[tuple[Any, ...], ...] = (
    (pa.float64(), 2.5, 2.5, -1.0, float("nan"), None),
    (pa.decimal128(9, 3), Decimal("2.500"), Decimal("2.555")),
    (pa.binary(), b"2.50", b"\xff"),
)


def configuration(given_format: Mapping[str, Any]) -> Config:
    return Config.model_validate(
        {"ingestion": {"format": given_format}, "security": {"algorithm": "sha256"}}
    )


def checked(config: Config, source: Path, content: bytes) -> RunFolder:
    """Check the rows of a file; duplicates are not settled."""
    source.write_bytes(content)
    lake = str(source.with_name("lake"))
    plan(
        config,
        lake,
        business_date=date(2024, 1, 6),
        source=str(source),
        run_id=source.stem,
        allow_empty=True,
    )
    run = RunFolder(lake, source.stem)
    validate_shard(config, run, 0)
    return run


def quarantined(run: RunFolder) -> pl.DataFrame:
    frames = [read_part(run, part) for part in rejects_of(run).parts]
    return pl.concat(frames).sort("source_row") if frames else pl.DataFrame()


def rejected(run: RunFolder, left_out: Sequence[int] = ()) -> list[tuple[Any, ...]]:
    """Return the reasons and the fields of the rejected rows; what is empty is missing."""
    rows = quarantined(run)
    if rows.is_empty():
        return []
    texts = [pl.col(name).fill_null("").str.strip_chars() for name in FIELDS]
    return rows.filter(~pl.col("line").is_in(list(left_out))).select("reasons", *texts).rows()


def rows_valid(run: RunFolder) -> int:
    found = rejects_of(run)
    return found.rows_read - found.rows_rejected


class Trip(NamedTuple):
    """Rejected rows that were written and read again.

    Attributes:
        folder: Where the files are.
        second: The run of what was written.
        expected: Reasons and fields of the rows that the first run rejected.
    """

    folder: Path
    second: RunFolder
    expected: list[tuple[Any, ...]]


@contextmanager
def exported_and_read(
    config: Config,
    content: bytes,
    *,
    loses: bool = False,
    reorders: bool = False,
    told_by_rows: bool = False,
) -> Generator[Trip | None]:
    """Export the rejected rows of a file, and check that they are rejected again, and no other.

    Args:
        config: How the file is read.
        content: The file.
        loses: Whether rows may be left out.
        reorders: Whether another row may come first.
        told_by_rows: Whether nothing but its rows tells what the file is, so that it is refused as
            a whole where none of them has a field.

    Yields:
        What became of them; None where there are none.
    """
    order: Callable[[Any], Any] = partial(sorted, key=repr) if reorders else list
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            run = checked(config, folder / "first.csv", content)
        except (SourceFormatError, ConfigurationError):
            reject()
        again = folder / "again.csv"
        found = export_rejects(config, run, Choice(), str(again))
        left_out = found.files[0].left_out if found.files else ()
        assert loses or not left_out
        expected = rejected(run, left_out)
        if not expected:
            assert not again.exists()
            yield None
            return
        try:
            second = checked(config, folder / "second.csv", again.read_bytes())
        except SourceFormatError:
            assert told_by_rows
            assert not any(field for _, *fields in expected for field in fields)
            yield None
            return
        assert order(rejected(second)) == order(expected)
        assert rows_valid(second) == 0
        yield Trip(folder, second, rejected(second))


def mend(trip: Trip, config: Config, chosen: set[int], right: Callable[[int], bytes]) -> None:
    """Put valid rows in the place of some, and check that these are valid and no other is."""
    content = (trip.folder / "second.csv").read_bytes()
    places = quarantined(trip.second).select("byte_offset", "byte_length").rows()
    for at in sorted(chosen, reverse=True):
        start, length = places[at]
        content = content[:start] + right(at) + content[start + length :]
    third = checked(config, trip.folder / "third.csv", content)
    assert rejected(third) == [row for at, row in enumerate(trip.expected) if at not in chosen]
    assert rows_valid(third) == len(chosen)


def some_of(count: int) -> st.SearchStrategy[set[int]]:
    return st.sets(st.integers(0, count - 1), min_size=1)


@settings(max_examples=120)
@given(st.data())
def test_what_is_exported_is_rejected_again_for_the_same_reasons(data: st.DataObject) -> None:
    form = data.draw(forms())
    content = PACKED[data.draw(st.sampled_from([*PACKED]))](data.draw(dirty_files(form)))
    config = configuration(form.format)
    wide = form.encoding.startswith(("utf-16", "utf-32"))
    told_by_rows = not (form.is_told or form.has_header)
    with exported_and_read(
        config,
        content,
        loses=wide,  # only where a byte too many shifts all that follows
        reorders=told_by_rows,
        told_by_rows=told_by_rows,
    ) as trip:
        right = form.mended(0)
        if trip is None or right is None:
            return
        chosen = data.draw(some_of(len(trip.expected)))
        mend(trip, config, chosen, lambda at: form.mended(at) or b"")


@settings(max_examples=30)
@given(json_lines(), st.sampled_from([*PACKED]), st.data())
def test_json_lines_are_rejected_again_and_can_be_mended(
    content: bytes, packing: str, data: st.DataObject
) -> None:
    is_told = packing == "zip" or data.draw(st.booleans())
    config = configuration({"type": "jsonl"} if is_told else {})
    members = {"sales.jsonl": content}
    packed = zipped(members) if packing == "zip" else PACKED[packing](content)
    with exported_and_read(config, packed, reorders=True, told_by_rows=True) as trip:
        if trip is not None:
            right = {**JSON_RIGHT, "rejected_because": "typed over"}
            mend(
                trip,
                config,
                data.draw(some_of(len(trip.expected))),
                lambda at: json.dumps(right | {"transaction_id": f"M{at}"}).encode(),
            )


@settings(max_examples=25)
@given(tables(), st.integers(1, 3), st.booleans())
def test_parquet_is_rejected_again(table: Any, rows: int, packed: bool) -> None:
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=rows)
    content = out.getvalue()
    if packed:
        content = zipped({"a.csv": f"{','.join(FIELDS)}\n".encode(), "b.parquet": content})
    with exported_and_read(configuration({}), content) as trip:
        if trip is not None:
            found = pq.read_schema(trip.folder / "second.csv")
            assert found.remove(len(found) - 1).equals(table.schema)


@st.composite
def sheets(draw: st.DrawFn) -> list[list[Any]]:
    """Rows of a workbook, of which some break rules."""
    texts = st.sampled_from(
        ("", " ", "Tea", "=1+1", "_x0041_", '<&"', "two\nlines", "\t", "12", "é")
    )
    moments = st.datetimes(*map(datetime.fromisoformat, ("1900-03-01", "2200-01-01")))
    cells = st.one_of(
        texts,
        st.booleans(),
        st.integers(-(10**9), 10**9),
        st.floats(-1e308, 1e308),
        moments.map(lambda moment: moment.replace(microsecond=0)),
        moments.map(lambda moment: moment.date()),
        st.none(),
    )
    rows: list[list[Any]] = []
    for at in range(draw(st.integers(1, 6))):
        row: list[Any] = [f"T{at}", "Tea", 2.5, 1, date(2024, 1, 5)]
        row[draw(st.integers(1, 4))] = draw(cells)
        rows.append(row + draw(st.lists(texts, max_size=1)))
    return rows


def workbook(rows: Sequence[Sequence[Any]]) -> bytes:
    book, out = Workbook(), io.BytesIO()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    book.save(out)
    return out.getvalue()


@settings(max_examples=30)
@given(sheets(), st.booleans(), st.data())
def test_a_workbook_is_rejected_again_and_can_be_mended(
    rows: list[list[Any]],
    has_header: bool,
    data: st.DataObject,
) -> None:
    config = configuration({} if has_header else {"header": FIELDS})
    content = workbook([FIELDS, *rows] if has_header else rows)
    with exported_and_read(config, content) as trip:
        if trip is None:
            return
        chosen = data.draw(some_of(len(trip.expected)))
        book = load_workbook(io.BytesIO((trip.folder / "again.csv").read_bytes()))
        for at in chosen:
            line = at + 1 + has_header
            book.worksheets[0].delete_rows(line)
            book.worksheets[0].insert_rows(line)
            for column, value in enumerate((f"M{at}", "Tea", 2.5, 1, date(2024, 1, 5)), start=1):
                book.worksheets[0].cell(line, column, value)
        out = io.BytesIO()
        book.save(out)
        third = checked(config, trip.folder / "third.csv", out.getvalue())
        assert rejected(third) == [row for at, row in enumerate(trip.expected) if at not in chosen]
        assert rows_valid(third) == len(chosen)
