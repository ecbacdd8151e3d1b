"""The attacks of `make chaos` themselves: readers who notice, and a ledger that adds up."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, cast

import pytest

from chaos.ledger import DBT, GIVEN_UP, STEPS, Aim, Ledger
from chaos.loads import GROUPS
from chaos.readers import State, polling
from chaos.table import Row, added_up
from published import digests
from sales_mart.warehouses.base import names

if TYPE_CHECKING:
    from chaos.site import Site


def exported(which: str) -> dict[str, bytes]:
    """Return files of a run and the manifest that lists them."""
    summary = {"summary_sales.json": f"summary of {which}".encode()}
    listed = [{"name": name, "sha256": digest} for name, digest in digests(summary).items()]
    return {**summary, "manifest.json": json.dumps({"files": listed}).encode()}


def state(which: str) -> State:
    return State({"postgres": which, "bigquery": which}, digests(exported(which)))


BEFORE, AFTER = state("a"), state("b")


def half(target: str) -> State:
    return AFTER._replace(marts={**AFTER.marts, target: "half"})


class Shown:
    """What a site shows, and may be told to show."""

    def __init__(self) -> None:
        self.shown = BEFORE
        self.exported = exported("a")

    def marts(self, target: str) -> str:
        return self.shown.marts[target]

    def files(self) -> dict[str, bytes]:
        return self.exported


def complaints(*moments: tuple[State, dict[str, bytes]]) -> list[str]:
    """Show marts and files, moment by moment, to readers who know of `BEFORE` and of `AFTER`."""
    shown = Shown()
    with polling(cast("Site", shown), BEFORE) as readers:
        readers.announce(AFTER)
        for marts, files in moments:
            seen = dict(readers.looks)
            shown.shown, shown.exported = marts, files
            deadline = time.monotonic() + 10
            places = ("postgres", "bigquery", "the export")
            while any(readers.looks[place] < seen.get(place, 0) + 2 for place in places):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        return readers.complaints()


OLD, NEW = (BEFORE, exported("a")), (AFTER, exported("b"))
HALF_WAY = {**exported("a"), "summary_sales.json": exported("b")["summary_sales.json"]}


def test_readers_allow_the_state_before_and_the_state_after() -> None:
    assert complaints(OLD, NEW, NEW) == []


def test_readers_allow_files_that_the_manifest_does_not_list() -> None:
    assert complaints(OLD, (AFTER, HALF_WAY), NEW) == []


@pytest.mark.parametrize(
    ("marts", "files", "place"),
    [
        (half("postgres"), NEW[1], "postgres"),
        (half("bigquery"), NEW[1], "bigquery"),
        (AFTER, {**NEW[1], "summary_sales.json": b"half"}, "the export"),
        (AFTER, exported("c"), "the export"),
        (AFTER, {"manifest.json": NEW[1]["manifest.json"]}, "the export"),
    ],
)
def test_readers_notice_what_no_run_made(marts: State, files: dict[str, bytes], place: str) -> None:
    assert set(complaints((marts, files))) == {f"a reader of {place} saw what no run had made"}


def test_readers_notice_a_step_back() -> None:
    found = complaints(NEW, OLD)
    assert {text.split(" saw")[0].removeprefix("a reader of ") for text in found} == {
        "postgres",
        "bigquery",
        "the export",
    }


def test_a_ledger_counts_what_did_not_hold_and_what_was_not_tried() -> None:
    ledger = Ledger()
    for _ in range(20):
        ledger.count(Aim("seal", "kill"))
    ledger.begin()
    ledger.count(Aim("seal", "kill group"))
    ledger.count(Aim("transform", DBT))
    ledger.count(GIVEN_UP)
    ledger.complain(["the marts differ"])
    ledger.blame(Aim("plan", "terminate"), "a stack trace")
    rows = {row.attack: row for row in ledger.rows(least=20)}
    assert rows["SIGKILL in seal"][1:] == (21, 20, "the marts differ")
    assert rows["SIGKILL of dbt alone"][1:] == (1, 0, "fewer than 20 kills; the marts differ")
    given_up = rows["runs given up half-way, another input follows"]
    assert given_up[1:] == (1, 0, "the marts differ")
    assert rows["SIGTERM in any step"].found == "a stack trace"
    untried = [row for row in rows.values() if row.found == "fewer than 20 kills"]
    assert len(untried) == len(STEPS) - 1


def test_what_several_processes_found_is_one_row() -> None:
    rows = [Row("loads", 5, 5, ""), Row("other", 1, 1, ""), Row("loads", 3, 2, "a lost row")]
    assert added_up(rows) == [Row("loads", 8, 7, "a lost row"), Row("other", 1, 1, "")]


def test_histories_are_loaded_into_every_warehouse() -> None:
    assert {target for targets, _ in GROUPS for target in targets} == set(names())
    assert sum(share for _, share in GROUPS) == 1
