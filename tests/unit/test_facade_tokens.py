"""`pseudonymise` makes the standard library's HMAC, in any frame, and refuses what is weak."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_mart.errors import ConfigurationError, SalesMartError, SourceFormatError
from sales_mart.facade.frames import Kind, as_kind
from sales_mart.facade.tokens import pseudonymise
from sales_mart.rows.tokens import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY = "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6"
RAW = bytes.fromhex("f0e1c3b596877869a5b4c3d2e1f00112a0b1c2d3e4f5968778695a4b3c2d1e0f")
TEXTS = st.lists(
    st.none() | st.text() | st.sampled_from(("e\u0301", "\u00e9", "\u1e9b\u0323")), max_size=20
)


def expected(
    values: Sequence[str | None], key: str | bytes | None = KEY, context: str | None = None
) -> list[str | None]:
    """Make the tokens with the standard library alone."""
    made: list[str | None] = []
    for value in values:
        if value is None:
            made.append(None)
            continue
        text = unicodedata.normalize("NFC", value)
        message = (text if context is None else f"{context}\x1f{text}").encode()
        if key is None:
            made.append(hashlib.sha256(message).hexdigest())
        else:
            secret = key.encode() if isinstance(key, str) else key
            made.append(hmac.new(secret, message, hashlib.sha256).hexdigest())
    return made


@pytest.mark.parametrize("key", [KEY, KEY.encode(), RAW])
@pytest.mark.parametrize("context", [None, "email"])
@given(values=TEXTS)
def test_tokens_are_the_standard_librarys(
    values: list[str | None], key: str | bytes, context: str | None
) -> None:
    frame = pl.DataFrame({"id": values}, schema={"id": pl.String})
    made = pseudonymise(frame, "id", key=key, context=context)
    assert made["id"].to_list() == expected(values, key, context)
    tokens = Tokeniser(key)
    assert [v if v is None else tokens.token(v, context) for v in values] == made["id"].to_list()


@given(values=TEXTS)
def test_plain_tokens_have_to_be_asked_for(values: list[str | None]) -> None:
    frame = pl.DataFrame({"id": values}, schema={"id": pl.String})
    assert pseudonymise(frame, ["id"], algorithm="sha256")["id"].to_list() == expected(values, None)
    with pytest.raises(ConfigurationError, match="no key is given"):
        pseudonymise(frame, ["id"])


@pytest.mark.parametrize(
    "key", ["short", b"short", "k" * 40, "secret" * 8, b"\xff" * 40, f"{KEY}\n", "\ud800" * 40]
)
def test_a_weak_key_is_refused_and_not_shown(key: str | bytes) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pseudonymise([{"id": "a"}], "id", key=key)
    assert "the argument" in caught.value.message
    assert "secretsecret" not in f"{caught.value.message}{caught.value.remedy}"


def test_what_makes_no_sense_is_refused() -> None:
    frame = pl.DataFrame({"e_mail": ["a"], "price": [1.5]})
    with pytest.raises(ConfigurationError, match="would not use it"):
        pseudonymise(frame, "e_mail", key=KEY, algorithm="sha256")
    with pytest.raises(ConfigurationError, match="no algorithm"):
        pseudonymise(frame, "e_mail", key=KEY, algorithm="md5")  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(SourceFormatError, match="no column email; did you mean e_mail"):
        pseudonymise(frame, "email", key=KEY)
    with pytest.raises(SourceFormatError, match="column price is of type Float64"):
        pseudonymise(frame, "price", key=KEY)
    with pytest.raises(ConfigurationError, match="separates"):
        pseudonymise(frame, "e_mail", key=KEY, context="a\x1fb")
    for wrong in (7, object(), {"a": [1]}, [1, 2], "frame.txt", "missing.csv"):
        with pytest.raises(SalesMartError) as caught:
            pseudonymise(wrong, "a", key=KEY)  # pyright: ignore[reportArgumentType, reportCallIssue]
        assert caught.value.remedy


ROWS: list[dict[str, Any]] = [
    {"email": "a@b.example", "number": 7, "amount": "1.50"},
    {"email": None, "number": 8, "amount": "2.25"},
]


def frames(folder: Path) -> dict[str, Any]:
    """Give the same rows as every kind of frame."""
    frame = pl.DataFrame(ROWS)
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    frame.write_parquet(folder / "rows.parquet")
    return {
        "polars": frame,
        "lazy": frame.lazy(),
        "pandas": frame.to_pandas(),
        "arrow": table,
        "batch": table.to_batches()[0],
        "reader": table.to_reader(),
        "mappings": ROWS,
        "tuple": tuple(ROWS),
        "path": folder / "rows.parquet",
        "text": str(folder / "rows.parquet"),
        "duckdb": duckdb.from_arrow(table),
        "stream": Stream(table),
    }


class Stream:
    """Knows Arrow's C stream interface, and nothing else."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


SAME = {
    "lazy": pl.LazyFrame,
    "pandas": pd.DataFrame,
    "arrow": pa.Table,
    "batch": pa.Table,
    "reader": pa.Table,
    "mappings": list,
    "tuple": list,
}


def test_every_kind_goes_in_and_comes_out(tmp_path: Path) -> None:
    wanted = [
        {**row, "email": token}
        for row, token in zip(ROWS, expected([row["email"] for row in ROWS]), strict=True)
    ]
    for name, frame in frames(tmp_path).items():
        made = pseudonymise(frame, "email", key=KEY)
        assert isinstance(made, SAME.get(name, pl.DataFrame)), name
        found = made if isinstance(made, list) else rows(made)
        assert found == wanted, name


def rows(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, pd.DataFrame):
        return pl.from_pandas(frame).to_dicts()
    if isinstance(frame, pa.Table):
        return frame.to_pylist()
    return frame.lazy().collect().to_dicts()


@pytest.mark.parametrize("kind", ["polars", "lazy", "pandas", "arrow", "mappings"])
def test_the_kind_that_is_asked_for_comes_out(kind: Kind, tmp_path: Path) -> None:
    for name, frame in frames(tmp_path).items():
        made = pseudonymise(frame, "email", key=KEY, output=kind)
        assert isinstance(made, SAME.get(kind, pl.DataFrame)), name


def test_pandas_keeps_its_index_and_its_other_columns() -> None:
    frame = pd.DataFrame({"id": [1, 2], "when": [date(2024, 1, 2)] * 2}, index=["x", "y"])
    made = pseudonymise(frame, ["id", "when"], key=KEY)
    assert list(made.index) == ["x", "y"]
    assert made["id"].tolist() == expected(["1", "2"])
    assert made["when"].tolist() == expected(["2024-01-02"] * 2)
    assert frame["id"].tolist() == [1, 2]


def test_whole_numbers_with_gaps_stay_whole_in_pandas() -> None:
    big = 2**53 + 1
    made = as_kind(pl.DataFrame({"n": [big, None]}), "pandas")
    assert made["n"][0] == big


def test_a_csv_file_is_text(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id,zip\n007,01234\n")
    made = pseudonymise(path, "id", key=KEY)
    assert made.to_dicts() == [{"id": expected(["007"])[0], "zip": "01234"}]


def test_no_plan_gives_the_key_away() -> None:
    plan = pseudonymise(pl.LazyFrame({"id": ["a"]}), "id", key=KEY)
    assert KEY not in plan.explain()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of Polars or of the pickler
        plan.serialize()
    assert KEY not in str(caught.value)


def test_no_error_shows_a_value() -> None:
    lazy = pl.LazyFrame({"id": ["secret-1"]}).with_columns(pl.col("id").cast(pl.Int64))
    with pytest.raises(SourceFormatError) as caught:
        pseudonymise(lazy, "id", key=KEY, output="polars")
    assert "secret-1" not in f"{caught.value}{caught.value.remedy}"
    mixed = pd.DataFrame({"id": ["secret-1", 2]})
    with pytest.raises(SourceFormatError, match="id") as caught:
        pseudonymise(mixed, "id", key=KEY)
    assert "secret-1" not in f"{caught.value}{caught.value.remedy}"
