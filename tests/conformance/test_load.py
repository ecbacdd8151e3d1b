"""What `load` promises in every warehouse."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from append_story import STORY, dates, expected_after
from conformance.subject import D1, D2, D3, Subject
from sales_mart.errors import (
    ConfigurationError,
    SourceChangedError,
    SupersededError,
    TemporaryError,
    UnexpectedError,
)
from sales_mart.lake.records import Load, Mode, Part, Seal
from sales_mart.lake.runs import RunFolder
from sales_mart.schema import Column
from sales_mart.warehouses.admission import LoadOptions
from sales_mart.warehouses.history import check_latest, latest_load, loaded_days, pending_window
from support import Row, row, token

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


def latest(subject: Subject) -> Load | None:
    with subject.warehouse.session() as session:
        return latest_load(session)


def in_parts(lake: Path, run: RunFolder, rows_each: int) -> RunFolder:
    """Cut the one sealed part of a run into several, written by Polars; the first is empty."""
    seal = run.read("seal", Seal)
    with run.sealed_part(seal.valid[0]) as path:
        frame = pl.read_parquet(path)
    parts: list[Part] = []
    pieces = [frame[:0], *(frame[n : n + rows_each] for n in range(0, frame.height, rows_each))]
    for number, piece in enumerate(pieces):
        path = lake / f"{run.run_id}-{number}.parquet"
        piece.write_parquet(path, row_group_size=2)
        parts.append(run.put_part(f"valid/{number:05d}-00001", path, piece.height))
    run.write("seal", seal.model_copy(update={"valid": tuple(parts)}))
    return run


def test_nothing_loaded_yet_is_said(subject: Subject) -> None:
    with subject.warehouse.session() as session:
        assert latest_load(session) is None
        assert loaded_days(session) == set()
        with pytest.raises(ConfigurationError, match="nothing is loaded"):
            check_latest(session, "a")
        with pytest.raises(ConfigurationError, match="nothing is loaded"):
            pending_window(session)


def test_replace_makes_the_table_the_rows_of_the_run(subject: Subject) -> None:
    first = subject.replace("a", [row("T1", D1), row("T2", D2)])
    run = subject.sealed("b", [row("T3", D3, "0.01", 7)])
    second = subject.warehouse.load(run)
    assert (first.target, first.sequence, first.rows, first.window) == (subject.name, 1, 2, None)
    assert (second.sequence, second.rows, second.window) == (2, 1, None)
    assert second == run.read(f"load-{subject.name}", Load)
    assert subject.raw_rows() == [
        (token("T3"), "Halal Mouse", Decimal("0.01"), 7, *dates(D3), "b", *dates(D1))
    ]
    with subject.warehouse.session() as session:
        assert check_latest(session, "b").sequence == 2
        with pytest.raises(SupersededError, match="superseded by b"):
            check_latest(session, "a")
        assert pending_window(session) == (2, None)
    assert subject.replace("c", []).rows == 0
    assert subject.raw_rows() == []


VALUES = [
    Row("T1", None, None, None, date(1, 1, 1)),
    Row("T2", "'\\\"\n€ 🎉", Decimal("9999999999999999.99"), 2**63 - 1, date(9999, 12, 31)),
    Row("T3", "", Decimal("0.00"), 0, date(2024, 2, 29)),
    Row("T4", "E'\\'' -- ; drop table", Decimal("0.05"), -(2**63), date(1582, 10, 10)),
    Row("T5", "\u0301e\u200b\ufeff\r\t", Decimal("10.10"), 1, date(7, 2, 3)),
]


def test_every_value_arrives_exactly_and_hashes_alike(subject: Subject) -> None:
    """The checksum is the one that is computed here, so that all warehouses have the same."""
    subject.replace("a", VALUES)
    found = {Row(*values[:5]) for values in subject.raw_rows()}
    assert found == {each._replace(transaction_id=token(each.transaction_id)) for each in VALUES}
    columns = (
        Column(name="transaction_id", kind="text"),
        Column(name="product", kind="text"),
        Column(name="price", kind="decimal", scale=2),
        Column(name="quantity", kind="integer"),
        Column(name="sale_date", kind="date"),
    )
    checksum = subject.dialect.row_checksum(columns)
    hashes = subject.ask(f"select transaction_id, {checksum} from {subject.raw}")
    assert {key: int(value) for key, value in hashes} == {
        token(each.transaction_id): expected_hash(each) for each in VALUES
    }


def expected_hash(each: Row) -> int:
    texts = ["<null>" if value is None else str(value) for value in each[1:]]
    canonical = "|".join([token(each.transaction_id), *texts])
    return int(hashlib.md5(canonical.encode()).hexdigest()[:15], 16)  # noqa: S324 - as the product


def test_the_same_run_twice_in_a_row_changes_nothing(subject: Subject) -> None:
    a = subject.sealed("a", [row("T1", D1)])
    first, again = subject.warehouse.load(a), subject.warehouse.load(a)
    assert again.already_loaded
    assert not first.already_loaded
    assert again.model_copy(update={"already_loaded": False}) == first
    assert subject.tokens() == [token("T1")]
    b = subject.sealed("b", [row("T2", D1)])
    assert [subject.warehouse.load(run).sequence for run in (b, a)] == [2, 3]
    assert subject.tokens() == [token("T1")]


def test_already_loaded_tells_the_facts_of_an_append(subject: Subject) -> None:
    subject.append("two", D2, [row("T1", D2)])
    rows = [row("T1", D1, "3.00", 4), row("T2", D1)]
    run = subject.sealed("one", rows, business_date=D1, mode=Mode.APPEND)
    first = subject.warehouse.load(run)
    assert (first.rows, first.hidden_rows) == (1, 1)
    assert subject.warehouse.load(run).model_copy(update={"already_loaded": False}) == first


def test_key_ids_do_not_mix(subject: Subject) -> None:
    subject.append("a", D1, [row("T1", D1)])
    options = {"business_date": D2, "mode": Mode.APPEND, "key_id": "0123abcd"}
    other = subject.sealed("b", [row("T2", D2)], **options)
    with pytest.raises(ConfigurationError, match="tokens of key sha256"):
        subject.warehouse.load(other)
    assert subject.tokens() == [token("T1")]
    whole = subject.sealed("c", [row("T2", D2)], business_date=D2, key_id="0123abcd")
    with pytest.raises(ConfigurationError, match="tokens of key sha256"):
        subject.warehouse.load(whole)
    assert subject.warehouse.load(whole, LoadOptions(accept_new_key=True)).sequence == 2
    assert subject.warehouse.load(other).sequence == 3


def test_appended_batches_end_as_their_replay(subject: Subject) -> None:
    for number, batch in enumerate(STORY, start=1):
        record = subject.append(f"r{number}", batch.day, batch.rows)
        found = {Row(*values[:5]) for values in subject.raw_rows()}
        assert found == expected_after(STORY[:number]), batch.name
        assert record.window == batch.window, batch.name
        assert record.rows + record.hidden_rows == len(batch.rows), batch.name
    with subject.warehouse.session() as session:
        assert loaded_days(session) == {date.fromisoformat(batch.day) for batch in STORY}
    subject.replace("whole", [row("T1", D1)], business_date=D3)
    with subject.warehouse.session() as session:
        assert loaded_days(session) == set()


@pytest.mark.parametrize("mode", list(Mode))
def test_parts_are_loaded_one_after_the_other(subject: Subject, mode: Mode) -> None:
    rows = [row(f"T{n}", D1, f"{n}.50", n) for n in range(1, 8)]
    run = in_parts(subject.lake, subject.sealed("a", rows, business_date=D1, mode=mode), 3)
    assert subject.warehouse.load(run).rows == 7
    expected = sorted((token(r.transaction_id), *r[1:]) for r in rows)
    assert [found[:5] for found in subject.raw_rows()] == expected


@pytest.mark.parametrize("mode", list(Mode))
def test_a_load_that_breaks_off_changes_nothing(
    subject: Subject, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject.replace("a", [row("T1", D1)])
    rows = [row("T2", D1), row("T3", D1), row("T4", D1), row("T5", D1)]
    run = in_parts(subject.lake, subject.sealed("b", rows, business_date=D2, mode=mode), 1)
    whole, opened = RunFolder.sealed_part, list[str]()

    @contextmanager
    def breaks_off(self: RunFolder, part: Part) -> Generator[Any]:
        opened.append(part.name)
        if len(opened) > 2:
            raise KeyboardInterrupt
        with whole(self, part) as path:
            yield path

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "sealed_part", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            subject.warehouse.load(run)
    assert subject.tokens() == [token("T1")]
    found = latest(subject)
    assert found is not None
    assert (found.run_id, found.sequence) == ("a", 1)
    assert run.find(f"load-{subject.name}", Load) is None
    assert subject.warehouse.load(run).rows == 4
    assert len(subject.tokens()) == (4 if mode is Mode.REPLACE else 5)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_lost_row_undoes_the_load(subject: Subject, mode: Mode) -> None:
    subject.replace("a", [row("T1", D1)])
    run = subject.sealed("b", [row("T2", D1)], mode=mode)
    run.write("seal", run.read("seal", Seal).model_copy(update={"rows_valid": 2}))
    with pytest.raises(UnexpectedError):
        subject.warehouse.load(run)
    assert subject.tokens() == [token("T1")]
    found = latest(subject)
    assert found is not None
    assert found.sequence == 1


def test_what_is_not_what_was_sealed_is_refused(subject: Subject) -> None:
    run = subject.sealed("a", [row("T1", D1)])
    seal = run.read("seal", Seal)
    run.write("seal", seal.model_copy(update={"config_digest": "0" * 64}))
    with pytest.raises(ConfigurationError, match="another configuration"):
        subject.warehouse.load(run)
    run.write("seal", seal)
    path = subject.lake / "runs" / "a" / seal.valid[0].name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SourceChangedError, match="not the file that was sealed"):
        subject.warehouse.load(run)
    path.unlink()
    with pytest.raises(SourceChangedError, match="is gone"):
        subject.warehouse.load(run)
    assert latest(subject) is None


def test_a_raw_table_with_other_columns_is_refused(subject: Subject) -> None:
    subject.replace("a", [])
    subject.change(
        f"drop table {subject.raw}", f"create table {subject.raw} as select 'x' as transaction_id"
    )
    with pytest.raises(ConfigurationError, match=r"column \w+ of .* is missing") as caught:
        subject.replace("b", [row("T1", D1)])
    assert caught.value.remedy
    found = latest(subject)
    assert found is not None
    assert found.run_id == "a"


def test_loads_at_the_same_time_take_turns(subject: Subject) -> None:
    """One that another has overtaken says so, and comes through when it is repeated."""
    runs = [
        subject.sealed(f"r{n}", [row(f"T{n}", D1)], business_date=day, mode=Mode.APPEND)
        for n, day in enumerate((D1, D2, D3))
    ]
    failed: list[BaseException] = []

    def load(run: RunFolder) -> None:
        for _ in range(5):
            try:
                subject.warehouse.load(run)
            except TemporaryError:
                continue
            except BaseException as error:  # noqa: BLE001 - shown below
                failed.append(error)
            return

    threads = [threading.Thread(target=load, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(subject.tokens()) == 3
    found = latest(subject)
    assert found is not None
    assert found.sequence == 3
