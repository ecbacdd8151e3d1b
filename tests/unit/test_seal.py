"""Duplicates across files and shards, counts that add up, and what later steps may read."""

from __future__ import annotations

import gzip
import hashlib
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pytest
from backports import zstd

from sales_mart.config import Config
from sales_mart.errors import (
    ConfigurationError,
    EmptyInputError,
    RejectedShareError,
    SourceChangedError,
    UnexpectedError,
)
from sales_mart.lake import parquet
from sales_mart.lake.records import Plan
from sales_mart.lake.runs import RunFolder
from sales_mart.steps import duplicates
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.lake.records import Seal

HEADER = "transaction_id,product,price,quantity,date\n"


def write(folder: Path, **files: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        (folder / f"{name}.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return folder


def sealed(
    config: Config,
    tmp_path: Path,
    source: Path,
    shards: int = 1,
    *,
    allow_empty: bool = False,
) -> tuple[RunFolder, Seal]:
    lake = tmp_path / f"lake-{shards}"
    made = plan(
        config,
        str(lake),
        business_date=date(2023, 10, 1),
        source=str(source),
        shards=shards,
        allow_empty=allow_empty,
    )
    run = RunFolder(str(lake), made.run_id)
    for shard in range(len(made.shards)):
        validate_shard(config, run, shard)
    return run, seal(config, run)


def valid(run: RunFolder, made: Seal) -> pl.DataFrame:
    return pl.concat([parquet.read_part(run, part) for part in made.valid])


def quarantine(run: RunFolder, made: Seal) -> pl.DataFrame:
    return pl.concat([parquet.read_part(run, part) for part in made.quarantine]).sort(
        "source_file", "source_row"
    )


def token(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest()


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("small", [False, True])
def test_the_first_valid_row_in_source_order_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int, *, small: bool
) -> None:
    if small:
        monkeypatch.setattr(duplicates, "BUCKET_ROWS", 2)
        monkeypatch.setattr(parquet, "PART_ROWS", 1)
    source = write(
        tmp_path / "raw",
        a=["T1,first,1,1,2023-10-01", "T2,bad,0,1,2023-10-01", "T1,again,2,1,2023-10-02"],
        b=["T2,first,3,1,2023-10-03", "T1,again,4,1,2023-10-04"],
        c=["T3,first,5,2,2023-10-05", "T2,again,6,1,2023-10-06", "T3,again,,1,2023-10-06"],
    )
    run, made = sealed(Config(), tmp_path, source, shards)
    rows = valid(run, made)
    assert rows["product"].to_list() == ["first"] * 3
    assert rows["transaction_id"].to_list() == [token("T1"), token("T2"), token("T3")]
    assert rows["source_file"].to_list() == [0, 1, 2]
    assert (made.rows_read, made.rows_valid, made.rows_rejected) == (8, 3, 5)
    assert made.reasons == {
        "conflicting_transaction_id": 3,
        "missing_price": 1,
        "price_too_low": 1,
    }
    assert made.sale_dates == (date(2023, 10, 1), date(2023, 10, 3), date(2023, 10, 5))
    assert (made.amount, made.quantity) == (Decimal("14.00"), 4)
    lost = quarantine(run, made).filter(
        pl.col("reasons").list.contains("conflicting_transaction_id")
    )
    first_line = len(HEADER)
    assert lost["line"].to_list() == [4, 3, 3]
    assert lost["byte_offset"].to_list() == [first_line + 46, first_line + 24, first_line + 24]
    assert lost["byte_length"].to_list() == [23, 23, 23]
    assert {part.name.rpartition("/")[0] for part in made.valid} == {"valid"}


def test_what_a_killed_attempt_left_is_never_read(tmp_path: Path) -> None:
    source = write(tmp_path / "raw", a=["T1,a,1,1,2023-10-01"])
    lake = tmp_path / "lake"
    made = plan(Config(), str(lake), business_date=date(2023, 10, 1), source=str(source))
    run = RunFolder(str(lake), made.run_id)
    stray = lake / "runs" / made.run_id / "valid" / "00000-00007.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half a file")
    left = lake / "runs" / made.run_id / "temporary" / "seal.dead.tmp"
    left.mkdir(parents=True)
    validate_shard(Config(), run, 0)
    first = seal(Config(), run)
    assert [part.name[:17] for part in first.valid] == ["valid/00000-00000"]
    assert not left.exists()
    validate_shard(Config(), run, 0)
    assert seal(Config(), run).digest == first.digest


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "raw", a=["T1,a,1,1,2023-10-01"], b=["T2,a,1,1,2023-10-01"])
    made = plan(
        Config(),
        str(tmp_path / "lake"),
        business_date=date(2023, 10, 1),
        source=str(source),
        shards=2,
    )
    run = RunFolder(str(tmp_path / "lake"), made.run_id)
    validate_shard(Config(), run, 1)
    with pytest.raises(ConfigurationError, match="no record of 'validate-00000'"):
        seal(Config(), run)


def test_too_many_rejected_rows_end_the_run_before_anything_is_loaded(tmp_path: Path) -> None:
    source = write(tmp_path / "raw", a=["T1,a,1,1,2023-10-01", "T2,a,0,1,2023-10-01"])
    config = Config.model_validate({"ingestion": {"validation": {"max_reject_share": 0.4}}})
    with pytest.raises(RejectedShareError, match=r"1 of 2 rows were rejected.*price_too_low 1"):
        sealed(config, tmp_path, source)
    assert not list(tmp_path.rglob("seal.json"))


def test_another_configuration_than_the_plans_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "raw", a=["T1,a,1,1,2023-10-01"])
    run, _ = sealed(Config(), tmp_path, source)
    other = Config.model_validate({"ingestion": {"validation": {"min_price": 5}}})
    for step in (lambda: validate_shard(other, run, 0), lambda: seal(other, run)):
        with pytest.raises(ConfigurationError, match="planned under another configuration"):
            step()


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "raw", a=["T1,a,1,1,2023-10-01"])
    made = plan(
        Config(), str(tmp_path / "lake"), business_date=date(2023, 10, 1), source=str(source)
    )
    run = RunFolder(str(tmp_path / "lake"), made.run_id)
    write(source, a=["T1,a,2,1,2023-10-01"])
    with pytest.raises(SourceChangedError, match="not the object that was planned"):
        validate_shard(Config(), run, 0)
    (source / "a.csv").unlink()
    with pytest.raises(SourceChangedError):
        validate_shard(Config(), run, 0)
    assert not list((tmp_path / "lake").rglob("validate-*.json"))


def test_trusted_input_counts_what_the_marts_leave_out(tmp_path: Path) -> None:
    source = write(
        tmp_path / "raw",
        a=[
            "T1,a,1,1,2023-10-01",
            "T2,a,0,7,2023-10-01",
            "T3,,3,1,2023-10-01",
            "T4,b,0,101,2023-10-01",
        ],
    )
    config = Config.model_validate(
        {
            "ingestion": {
                "trust_input": True,
                "validation": {"required_fields": ["transaction_id", "date", "price", "quantity"]},
            }
        }
    )
    _, made = sealed(config, tmp_path, source)
    assert (made.rows_valid, made.rows_excluded) == (4, 3)
    assert made.excluded == {"missing_product": 1, "price_too_low": 2, "quantity_range": 1}
    assert (made.amount, made.quantity) == (Decimal("1.00"), 1)


@pytest.mark.parametrize(("more", "fewer"), [("rows_valid", ""), ("rows_rejected", "rows_valid")])
def test_counts_are_compared_with_the_rows_of_the_parts(
    tmp_path: Path, more: str, fewer: str
) -> None:
    source = write(tmp_path / "raw", a=["T1,a,1,1,2023-10-01", "T2,a,0,1,2023-10-01"])
    lake = tmp_path / "lake"
    made = plan(Config(), str(lake), business_date=date(2023, 10, 1), source=str(source))
    run = RunFolder(str(lake), made.run_id)
    counted = validate_shard(Config(), run, 0)
    wrong = {more: getattr(counted, more) + 1}
    wrong |= {fewer: getattr(counted, fewer) - 1} if fewer else {"rows_read": 3}
    run.write("validate-00000", counted.model_copy(update=wrong))
    with pytest.raises(UnexpectedError, match="its parts hold 1 and 1"):
        seal(Config(), run)
    assert not list(lake.rglob("seal.json"))


def test_the_bytes_of_each_object_are_those_of_its_stream(tmp_path: Path) -> None:
    row, again, bad = "T1,a,1,1,2023-10-01", "T1,b,1,1,2023-10-01", "T2,a,0,1,2023-10-01"
    source = write(tmp_path / "raw", a=[row, "", bad], b=[again, again, bad[1:]])
    _, made = sealed(Config(), tmp_path, source, shards=2)
    size, line, header = 6 * (len(row) + 1) - 1, len(row) + 1, len(HEADER)
    assert [each.model_dump() for each in made.objects] == [
        {
            "object": 0,
            "size": header + 2 * line + 1,
            "header": header,
            "blank": 1,
            "valid": line,
            "rejected": line,
            "unplaced": 0,
        },
        {
            "object": 1,
            "size": header + 3 * line - 1,
            "header": header,
            "blank": 0,
            "valid": 0,
            "rejected": 3 * line - 1,
            "unplaced": 0,
        },
    ]
    assert sum(each.size for each in made.objects) == 2 * header + 1 + size - line


def test_a_seal_that_is_read_keeps_its_digest(tmp_path: Path) -> None:
    _, made = sealed(Config(), tmp_path, write(tmp_path / "raw", a=["T1,a,1,1,2023-10-01"]))
    assert type(made).model_validate_json(made.to_json()).digest == made.digest


@pytest.mark.parametrize("change", ["size", "header", "blank", "valid", "rejected", "object"])
def test_a_byte_that_stands_nowhere_ends_the_run(tmp_path: Path, change: str) -> None:
    source = write(tmp_path / "raw", a=["T1,a,1,1,2023-10-01", "T2,a,0,1,2023-10-01"])
    lake = tmp_path / "lake"
    made = plan(Config(), str(lake), business_date=date(2023, 10, 1), source=str(source))
    run = RunFolder(str(lake), made.run_id)
    counted = validate_shard(Config(), run, 0)
    (found,) = counted.objects
    wrong = found.model_copy(update={change: getattr(found, change) + 1})
    for objects in [(wrong,), ()]:
        run.write("validate-00000", counted.model_copy(update={"objects": objects}))
        with pytest.raises(UnexpectedError, match="bytes"):
            seal(Config(), run)
    assert not list(lake.rglob("seal.json"))


REJECTED = ["T1,a,0,1,2023-10-01", "T2,a,1,1,01.10.2023"]
NONE_SHOWN = {
    "all rejected": ({}, REJECTED, "price_too_low 1"),
    "all excluded from the marts": (
        {"trust_input": True, "validation": {"product_prefix": "Halal "}},
        ["T1,Halaal Mouse,5,1,2023-10-01", "T2,Haram,5,1,2023-10-01"],
        "product_prefix 2",
    ),
    "some rejected, the others excluded from the marts": (
        {"trust_input": True, "validation": {"product_prefix": "Halal "}},
        ["T1,Halal Mouse,5,1,01.10.2023", "T2,Haram,5,1,2023-10-01"],
        "date_format 1",
    ),
}


@pytest.mark.parametrize("case", NONE_SHOWN)
def test_rows_of_which_the_marts_show_none_end_the_run(tmp_path: Path, case: str) -> None:
    ingestion, lines, why = NONE_SHOWN[case]
    config = Config.model_validate({"ingestion": ingestion})
    source = write(tmp_path / "raw", a=lines)
    with pytest.raises(EmptyInputError, match=rf"none of the 2 rows is valid.*{why}") as caught:
        sealed(config, tmp_path, source)
    assert (caught.value.exit_code, "--allow-empty" in caught.value.remedy) == (65, True)
    assert not list(tmp_path.rglob("seal.json"))
    # The same run, when it is meant; and what was said last counts.
    run, made = sealed(config, tmp_path, source, allow_empty=True)
    assert (made.rows_read, made.allow_empty) == (2, True)
    with pytest.raises(EmptyInputError):
        sealed(config, tmp_path, source)
    assert run.read("plan", Plan).allow_empty is False


def test_a_header_alone_is_a_valid_empty_input_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config.model_validate({"security": {"algorithm": "sha256"}})
    _, made = sealed(config, tmp_path, write(tmp_path / "raw", a=[], b=[]))
    assert (made.rows_read, made.valid, made.sale_dates) == (0, (), ())
    assert made.warnings == ("the input has no row, so all marts will be empty",)
    assert made.warnings[0] in caplog.text


NO_HEADER = {
    "no bytes": (b"", ".csv"),
    "a gzip of nothing": (gzip.compress(b""), ".csv.gz"),
    "two of nothing in one": (gzip.compress(b"") * 2, ".csv.gz"),
    "a zstd of nothing": (zstd.compress(b""), ".csv.zst"),
    "a byte order mark alone": (b"\xef\xbb\xbf", ".csv"),
    "blank lines": (b"\r\n \n\n", ".csv"),
}


@pytest.mark.parametrize("case", NO_HEADER)
def test_a_file_without_a_header_is_named_and_ends_the_run(tmp_path: Path, case: str) -> None:
    content, suffix = NO_HEADER[case]
    source = write(tmp_path / "raw", good=["T1,a,1,1,2023-10-01"])
    (source / f"half{suffix}").write_bytes(content)
    with pytest.raises(EmptyInputError, match=rf"half\{suffix}.*|not even a header"):
        sealed(Config(), tmp_path, source)
    assert not list(tmp_path.rglob("validate-*.json"))
    _, made = sealed(Config(), tmp_path, source, allow_empty=True)
    assert (made.rows_read, made.rows_valid) == (1, 1)
    (source / "good.csv").unlink()
    _, made = sealed(Config(), tmp_path, source, allow_empty=True)
    assert made.rows_read == 0
