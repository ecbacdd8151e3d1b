"""The attacks of `make chaos` themselves: readers who notice, and a ledger that adds up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import pytest

from chaos.ledger import DBT, STOPS, Aim, Ledger
from chaos.readers import State, polling

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.site import Site

BEFORE = State("a", "a", {"summary_sales.json": "a", "manifest.json": "a"})
AFTER = State("b", "b", {"summary_sales.json": "b", "manifest.json": "b"})


class Shown:
    """What a site shows, and may be told to show."""

    def __init__(self, export: Path) -> None:
        self.export = export
        self.state = BEFORE
        (export / "manifest.json").write_text('{"files": []}')

    def postgres(self) -> str:
        return self.state.postgres

    def bigquery(self) -> str:
        return self.state.bigquery

    def exported(self) -> dict[str, str]:
        return self.state.exported


def complaints(export: Path, *states: State) -> list[str]:
    """Show states one after the other to readers who know of `BEFORE` and of `AFTER`."""
    shown = Shown(export)
    with polling(cast("Site", shown), BEFORE) as readers:
        readers.announce(AFTER)
        for state in states:
            seen = dict(readers.looks)
            shown.state = state
            deadline = time.monotonic() + 10
            places = ("postgres", "bigquery", "export")
            while any(readers.looks[place] < seen.get(place, 0) + 2 for place in places):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        return readers.complaints()


def test_readers_allow_the_state_before_and_the_state_after(tmp_path: Path) -> None:
    assert complaints(tmp_path, BEFORE, AFTER, AFTER) == []


@pytest.mark.parametrize(
    ("state", "place"),
    [
        (AFTER._replace(postgres="half"), "postgres"),
        (AFTER._replace(bigquery="half"), "bigquery"),
        (AFTER._replace(exported={"summary_sales.json": "half", "manifest.json": "b"}), "export"),
        (AFTER._replace(exported={"manifest.json": "b"}), "export"),
    ],
)
def test_readers_notice_what_no_run_made(tmp_path: Path, state: State, place: str) -> None:
    assert set(complaints(tmp_path, state)) == {f"a reader of {place} saw what no run had made"}


def test_readers_notice_a_step_back(tmp_path: Path) -> None:
    found = complaints(tmp_path, AFTER, BEFORE)
    assert {text.split()[3] for text in found} == {"postgres", "bigquery", "export"}


def test_a_ledger_counts_what_did_not_hold_and_what_was_not_tried() -> None:
    ledger = Ledger()
    for _ in range(20):
        ledger.count(Aim("seal", "kill"))
    ledger.begin()
    ledger.count(Aim("seal", "kill group"))
    ledger.count(Aim("transform", DBT))
    ledger.complain(["the marts differ"])
    ledger.blame(Aim("plan", "terminate"), "a stack trace")
    rows = {row.attack: row for row in ledger.rows(least=20)}
    assert rows["SIGKILL in seal"][1:] == (21, 20, "the marts differ")
    assert rows["SIGKILL of dbt alone"][1:] == (1, 0, "fewer than 20 kills; the marts differ")
    assert rows["SIGTERM in any stop"].found == "a stack trace"
    untried = [row for row in rows.values() if row.found == "fewer than 20 kills"]
    assert len(untried) == len(STOPS) - 1
