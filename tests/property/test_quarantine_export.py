"""Rejected rows, exported and read again: the same rows, rejected for the same reasons."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, SourceFormatError
from sales_mart.lake.parquet import read_part
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.plan import plan
from sales_mart.steps.quarantine import Choice, rejects_of
from sales_mart.steps.quarantine_export import ExportedRejects, export_rejects
from sales_mart.steps.validate import validate_shard

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    *("T2,Tea,2.50,1,2024-01-05", "\ufeff", "\u200b", "rejected_because", "\N{GRINNING FACE}"),
)
ENCODINGS = (None, None, "utf-8", "cp1252", "utf-16", "utf-16-be", "utf-32-le", "cp437", "cp037")
BROKEN = (b"", b"\xff", b"\xc3", b'"', b"\\", b"\n", b"\r\n", b",", b"\0")


@st.composite
def formats(draw: st.DrawFn) -> dict[str, Any]:
    quote = draw(st.sampled_from(('"', '"', "'", None)))
    return {
        "delimiter": draw(st.sampled_from(",,;\t|~_ e-")),
        "quote": quote,
        "escape": draw(st.sampled_from((None, None, "\\", "^"))),
        "encoding": draw(st.sampled_from(ENCODINGS)),
        "skip_rows": draw(st.sampled_from((0, 0, 2))),
        "jagged_rows": draw(st.booleans()),
        "header": draw(st.sampled_from((True, True, FIELDS))),
    }


@st.composite
def dirty_files(draw: st.DrawFn, given_format: dict[str, Any]) -> bytes:
    mark, quote = given_format["delimiter"], given_format["quote"] or ""
    cells = st.sampled_from(OTHERS) | st.text(f"{mark}{quote}\\^\n\r\0 ab", max_size=6)
    lines = ["title", "", *[]][: given_format["skip_rows"]]
    if given_format["header"] is True:
        around = [quote * (mark in name) for name in FIELDS]
        lines.append(mark.join(f"{q}{name}{q}" for q, name in zip(around, FIELDS, strict=True)))
    headed = len(lines)
    count = draw(st.integers(1, 8))
    # Two stray quotes, which hide the rows between them in one field.
    first, last = sorted(draw(st.tuples(*[st.integers(0, 2 * count)] * 2)))
    for at in range(count):
        row = [f"T{at}", *RIGHT[1:]]
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
    name = given_format["encoding"] or "utf-8"
    name, bom = ("utf-16-le", b"\xff\xfe") if name == "utf-16" else (name, b"")
    data = (
        bom
        + ends.join(lines).encode(name, "replace")
        + draw(st.sampled_from((b"", ends.encode(name))))
    )
    start = len(ends.join([*lines[:headed], ""]).encode(name, "replace"))
    place = draw(st.integers(len(bom) + start, len(data)))
    return data[:place] + draw(st.sampled_from(BROKEN)) + data[place:]


def configuration(given_format: dict[str, Any]) -> Config:
    return Config.model_validate(
        {"ingestion": {"format": given_format}, "security": {"algorithm": "sha256"}}
    )


def checked(config: Config, lake: Path, source: Path, run_id: str) -> RunFolder:
    """Check the rows of a file; duplicates are not settled."""
    plan(
        config,
        str(lake),
        business_date=date(2024, 1, 6),
        source=str(source),
        run_id=run_id,
        allow_empty=True,
    )
    run = RunFolder(str(lake), run_id)
    validate_shard(config, run, 0)
    return run


def rejected(run: RunFolder, left_out: Sequence[int] = ()) -> list[tuple[Any, ...]]:
    """Return the reasons and the fields of the rejected rows; what is empty is missing."""
    found = rejects_of(run)
    frames = [read_part(run, part) for part in found.parts]
    if not frames:
        return []
    rows = pl.concat(frames).sort("source_row").filter(~pl.col("line").is_in(list(left_out)))
    texts = [pl.col(name).fill_null("").str.strip_chars() for name in FIELDS]
    return rows.select("reasons", *texts).rows()


def exported(config: Config, run: RunFolder, to: Path) -> ExportedRejects:
    return export_rejects(config, run, Choice(), str(to))


@settings(max_examples=200)
@given(st.data())
def test_what_is_exported_is_rejected_again_for_the_same_reasons(data: st.DataObject) -> None:
    given_format = data.draw(formats())
    if given_format["quote"] is None:
        given_format["escape"] = given_format["escape"] or None
    content = data.draw(dirty_files(given_format))
    config = configuration(given_format)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, again = folder / "sales.csv", folder / "again.csv"
        source.write_bytes(content)
        try:
            run = checked(config, folder / "lake", source, "first")
        except (SourceFormatError, ConfigurationError):
            reject()
        found = exported(config, run, again)
        left_out = found.files[0].left_out if found.files else ()
        wide = str(given_format["encoding"]).startswith(("utf-16", "utf-32"))
        assert wide or not left_out  # only where a byte too many shifts all that follows
        expected = rejected(run, left_out)
        if not expected:
            assert not again.exists()
            return
        second = checked(config, folder / "lake", again, "second")
        assert rejected(second) == expected
        assert rejects_of(second).rows_read == len(rejected(second))
