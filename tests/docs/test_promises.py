"""The page about our promises shows what `make chaos` prints."""

from __future__ import annotations

from pathlib import Path

from chaos.ledger import Ledger

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "promises.md"


def test_the_page_has_the_table_of_the_attacks_that_are_made() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    for wanted in Ledger().rows():
        (found,) = [row for row in rows if row[0] == wanted.attack]
        assert int(found[1].replace(",", "")) >= (20 if "SIGKILL" in wanted.attack else 1)
