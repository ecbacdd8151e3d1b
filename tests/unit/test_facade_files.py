"""`export` writes exact, atomic files; read back they are equal to the digit."""

from __future__ import annotations

import csv
import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sales_mart.errors import ConfigurationError, DataError
from sales_mart.facade.files import export
from support import open_folder

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ("=1+1", "+1", "-1", "@a", "'=1", "\uff1d1", "a,b", 'a"b', "a\nb", "a\r\nb", "\t=1", "")
)
UNITS = st.integers(-(10**38 - 1), 10**38 - 1)
SCHEMA = pl.Schema(
    {
        "text": pl.String(),
        "amount": pl.Decimal(38, 9),
        "count": pl.Int64(),
        "float": pl.Float64(),
        "flag": pl.Boolean(),
        "day": pl.Date(),
        "moment": pl.Datetime("us"),
    }
)


def exact(units: int) -> Decimal:
    """Give a number with nine decimals, without rounding."""
    return Decimal((units < 0, tuple(map(int, str(abs(units)))), -9))


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Draw a frame with nulls and extremes."""
    rows = st.tuples(
        st.none() | TEXTS,
        st.none() | UNITS.map(exact),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.booleans(),
        st.none() | st.dates(),
        st.none() | st.datetimes(),
    )
    return pl.DataFrame(draw(st.lists(rows, max_size=6)), SCHEMA, orient="row")


@settings(deadline=None, max_examples=40)
@given(frames())
def test_parquet_is_read_back_equal(frame: pl.DataFrame) -> None:
    with open_folder() as folder:
        export(frame, folder / "a.parquet")
        assert_frame_equal(pl.read_parquet(folder / "a.parquet"), frame)


@settings(deadline=None, max_examples=40)
@given(frames())
def test_json_is_read_back_equal(frame: pl.DataFrame) -> None:
    with open_folder() as folder:
        export(frame, folder / "a.json")
        found = json.loads((folder / "a.json").read_text("utf-8"), parse_float=Decimal)
    assert [list(row) for row in found] == [SCHEMA.names()] * frame.height
    for row, wanted in zip(found, frame.to_dicts(), strict=True):
        assert (row["text"], row["count"]) == (wanted["text"], wanted["count"])
        assert row["flag"] is wanted["flag"]
        shown = [
            None if each is None else f"{each:f}" for each in (row["amount"], wanted["amount"])
        ]
        assert shown[0] == shown[1]
        number = wanted["float"]
        assert row["float"] is None if number is None else float(row["float"]) == number
        assert row["day"] == (wanted["day"] and wanted["day"].isoformat())
        moment = wanted["moment"]
        assert (moment and datetime.fromisoformat(row["moment"])) == moment


@settings(deadline=None, max_examples=40)
@given(frames())
def test_csv_is_read_back_equal_and_runs_no_formula(frame: pl.DataFrame) -> None:
    with open_folder() as folder:
        export(frame, folder / "a.csv")
        with (folder / "a.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    assert header == SCHEMA.names()
    for row, wanted in zip(rows, frame.to_dicts(), strict=True):
        text, amount, count, *_ = row
        assert not text.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))
        quoted = text.removeprefix("'") if text.startswith("'") else text
        assert wanted["text"] in {text, quoted} or (wanted["text"] is None and not text)
        assert amount == ("" if wanted["amount"] is None else f"{wanted['amount']:f}")
        assert count == ("" if wanted["count"] is None else str(wanted["count"]))


def test_the_text_of_each_format(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "=name": ["=a", "", None],
            "amount": [Decimal("1.50"), Decimal("-0.05"), None],
            "day": [date(2024, 2, 29), None, None],
        },
        schema_overrides={"amount": pl.Decimal(9, 2)},
    )
    assert export(frame, tmp_path / "a.csv").rows == 3
    assert (tmp_path / "a.csv").read_text() == (
        "'=name,amount,day\n'=a,1.50,2024-02-29\n\"\",-0.05,\n,,\n"
    )
    export(frame, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == (
        '[\n  {"=name": "=a", "amount": 1.50, "day": "2024-02-29"},\n'
        '  {"=name": "", "amount": -0.05, "day": null},\n'
        '  {"=name": null, "amount": null, "day": null}\n]\n'
    )
    export(frame.clear(), tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "[]\n"


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"x": [math.nan]}, "a.json", "column x holds NaN"),
    ({"x": [math.inf]}, "a.json", "column x holds NaN or an infinity"),
    ({"x": [[1]]}, "a.json", "column x is of type List"),
    ({"x": [b"1"]}, "a.csv", "column x is of type Binary"),
]


@pytest.mark.parametrize(("columns", "name", "said"), REFUSED)
def test_what_a_format_cannot_say_is_refused_and_leaves_the_old_file(
    tmp_path: Path, columns: dict[str, Any], name: str, said: str
) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(DataError, match=said):
        export(pl.DataFrame(columns), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_a_lazy_frame_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    plan = pl.LazyFrame({"x": ["secret"]}).with_columns(pl.col("x").cast(pl.Int64))
    with pytest.raises(DataError) as caught:
        export(plan, tmp_path / "a.parquet")
    assert "secret" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("path", "form", "said"),
    [
        ("a.txt", None, "no known format"),
        ("a.jsn", None, "did you mean json"),
        ("a.json", "xml", "'xml' is no format"),
        ("", None, "the path is empty"),
        ("/", None, "no file"),
        ("ftp://bucket/a.json", None, "neither a path nor begins with gs://"),
    ],
)
def test_a_wrong_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, form: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=said) as caught:
        export([{"n": 1}], path, format=form)
    assert caught.value.remedy


def test_a_format_may_be_said(tmp_path: Path) -> None:
    result = export([{"n": 1}], tmp_path / "rows.txt", format="json")
    assert json.loads((tmp_path / "rows.txt").read_text()) == [{"n": 1}]
    assert repr(result) == f"ExportResult(1 rows, 15 bytes, {tmp_path / 'rows.txt'})"
    assert result.size == (tmp_path / "rows.txt").stat().st_size


def test_the_same_frame_gives_the_same_bytes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(100_000)}).with_columns(pl.col("n").cast(pl.String).alias("t"))
    for ending in ("json", "csv", "parquet"):
        one = export(frame, tmp_path / f"one.{ending}")
        other = export(frame.lazy(), tmp_path / f"other.{ending}")
        assert (one.sha256, one.rows) == (other.sha256, 100_000)


def test_a_bucket_takes_files(gcs: str) -> None:
    result = export([{"n": 1}], f"{gcs}/out/rows.parquet")
    assert result.path == f"{gcs}/out/rows.parquet"
    again = export(result.path, f"{gcs}/out/rows.csv")
    assert again.rows == 1
