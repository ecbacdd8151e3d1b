"""The page of a report: what it says, and that it is one file that does nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import html5lib
import pytest

from reports import HOSTILE, figures, sold
from sales_mart.cli import main
from sales_mart.control_characters import escape_control_characters
from sales_mart.lake.records import Export
from sales_mart.lake.runs import RunFolder
from sales_mart.report.dates import days_before, months_before
from sales_mart.report.figures import Figures, kept_figures
from sales_mart.report.page import findings, page

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.report.figures import Sold

EVERYTHING: dict[str, Any] = {
    "currencies": ("EUR", "USD", None),
    "names": HOSTILE,
    "returns": True,
    "dimensions": True,
    "warnings": ("a second value of currency was seen",),
}
HTML = "{http://www.w3.org/1999/xhtml}"


def parsed(shown: Figures) -> Any:
    """Parse a page; what a parser would have to put right is an error."""
    return html5lib.HTMLParser(strict=True).parse(page(shown).decode())


def text_of(element: Any) -> str:
    """Return all text of an element, spaces and line ends as one space."""
    return " ".join("".join(element.itertext()).split())


def body_of(shown: Figures) -> str:
    return text_of(parsed(shown).find(f"{HTML}body"))


@pytest.mark.parametrize(
    "shown",
    [
        figures(),
        figures(**EVERYTHING),
        figures(rejected=0, warehouses=("DuckDB",)),
        figures(before=None, quality=(), seconds={}, compared=(), month_before=()),
        figures(rows_read=0, rows_valid=0, rejected=0, days=(), months=(), totals=(), products=()),
    ],
    ids=["usual", "everything", "good", "little is known", "nothing"],
)
def test_the_page_is_valid_and_does_nothing_by_itself(shown: Figures) -> None:
    written = page(shown)
    assert written == page(Figures.model_validate_json(shown.to_json()))
    text, document = written.decode(), parsed(shown)
    names = {str(each.tag).rpartition("}")[2] for each in document.iter()}
    assert names.isdisjoint({"script", "link", "img", "iframe", "object", "form", "use", "image"})
    for each in document.iter():
        for name, value in each.attrib.items():
            assert not name.lower().startswith("on")
            assert name != "style"
            if name in {"href", "src"}:
                assert value.startswith("#")
    assert not re.search(r"url\(|@import|https?:|//", text.replace("http-equiv", ""))
    style = text_of_style(text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src &#39;none&#39;; style-src &#39;sha256-{digest}&#39;" in text


def text_of_style(text: str) -> str:
    found = re.search("<style>(.*?)</style>", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_part_has_a_name_and_headings_go_down_one_by_one() -> None:
    document = parsed(figures(**EVERYTHING))
    names = [str(each.tag).removeprefix(HTML) for each in document.iter()]
    assert [names.count(name) for name in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [each.get("id") for each in document.iter() if each.get("id")]
    assert len(ids) == len(set(ids))
    for each in document.iter():
        href, named_by = each.get("href"), each.get("aria-labelledby")
        assert href is None or href[1:] in ids
        assert named_by is None or named_by in ids
        if each.get("class") == "picture":
            assert len(each.get("aria-label")) > 20


def test_what_comes_from_elsewhere_is_text() -> None:
    document = parsed(figures(**EVERYTHING))
    cells = [text_of(each) for each in document.iter(f"{HTML}bdi")]
    for name in HOSTILE:
        assert " ".join(escape_control_characters(name, on_one_line=True).split()) in cells
    assert "49" not in cells
    raw = page(figures(**EVERYTHING)).decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", raw)


def test_the_first_cards_answer_what_was_sold_and_whether_it_is_more() -> None:
    said = body_of(figures())
    for words in (
        "Sales report of 20 Dec 2023",
        "Sold in December 2023 29,000.50 1,223 sales, 3,400 pieces",
        "▼ \N{MINUS SIGN}3.3 % \N{MINUS SIGN}999.50 against 30,000.00",
        "▲ < 0.1 % +567.89 to 1,234,567.89 in all",
        "Rejected 120 1.0 % of 12,000 rows. Most: missing_product",
        "Warehouses Agree PostgreSQL, BigQuery: to the cent",
        "Checked and published. Nothing to look at.",
    ):
        assert words in said


def test_a_reason_has_its_lines_and_the_command_that_shows_them() -> None:
    said = body_of(figures())
    assert "sales_20231220.csv, line 17; returns.csv.gz, line 1,234,567; book.xlsx, row 8" in said
    command = "quarantine show 2023-12-20-0123456789ab --reason missing_product --lake /data/lake"
    assert f"sales-mart {command}" in said


def test_amounts_in_different_currencies_are_never_added() -> None:
    said = body_of(figures(currencies=("EUR", "USD")))
    assert "29,000.50 EUR" in said
    assert "290,000.50 USD" in said
    assert "319,001.00" not in said
    # What a checksum adds up is not shown as an amount.
    assert "987,654,321.12" in body_of(figures())
    assert "987,654,321.12" not in said


def test_of_many_currencies_those_with_fewer_sales_are_listed() -> None:
    codes = tuple(f"X{ordinal:02}" for ordinal in range(9))
    totals = tuple(
        sold(None, "5.00", code, transactions=ordinal) for ordinal, code in enumerate(codes)
    )
    document = parsed(figures(currencies=codes, totals=totals))
    headings = [text_of(each) for each in document.iter(f"{HTML}h2")]
    assert [each for each in headings if each.startswith("Sales ")] == [
        f"Sales X0{ordinal}" for ordinal in (8, 7, 6, 5)
    ]
    (others,) = (each for each in document.iter(f"{HTML}section") if each.get("id") == "currencies")
    assert [text_of(each) for each in others.iter(f"{HTML}th")][4:] == [
        f"X0{ordinal}" for ordinal in (4, 3, 2, 1, 0)
    ]


@pytest.mark.parametrize(
    ("rejected", "is_good"), [(0, True), (60, True), (160, True), (175, False), (12_000, False)]
)
def test_more_than_twice_the_usual_rejects_are_to_be_looked_at(
    rejected: int, *, is_good: bool
) -> None:
    shown = figures(rejected=rejected)
    assert [each.is_good for each in findings(shown) if each.place == "rejects"] == [is_good]
    assert ("Nothing to look at" in body_of(shown)) is is_good


def test_without_days_to_compare_with_every_reject_is_to_be_looked_at() -> None:
    found = findings(figures(rejected=1, quality=()))
    assert [each.text for each in found if not each.is_good] == [
        "1 of 12,000 rows (< 0.1 %) were rejected."
    ]


def test_warehouses_that_differ_are_not_called_the_same() -> None:
    shown = figures()
    first, second = shown.compared
    other = second.model_copy(update={"amount": first.amount + Decimal("0.01")})
    said = body_of(shown.model_copy(update={"compared": (first, other)}))
    assert "Warehouses Differ" in said
    assert "PostgreSQL and BigQuery do not agree to the cent" in said


def test_rows_of_which_each_has_one_fate_are_drawn() -> None:
    def drawn(shown: Figures) -> str:
        (name,) = (
            each.get("aria-label")
            for each in parsed(shown).iter()
            if (each.get("aria-label") or "").startswith("What became")
        )
        return name.partition(": ")[2]

    valid = "Read 12,000, Valid 11,880, Rejected 120"
    assert drawn(figures()) == f"{valid}, In the marts 11,840, Not in the marts 40"
    assert drawn(figures(rows_excluded=0, hidden=7)) == (
        f"{valid}, In the marts 11,873, Superseded 7"
    )
    # A row may be superseded and not wanted by the marts: nobody knows how many are both.
    assert drawn(figures(hidden=7)) == f"{valid}, Loaded 11,880"


def test_the_extremes_of_dates_and_amounts_are_written() -> None:
    highest = "9" * 27 + ".99"
    days = (
        sold(date(1, 1, 1), "0.01"),
        sold(date(1, 1, 2), f"-{highest}"),
        sold(date(1, 1, 3), highest),
    )
    shown = figures(
        business_date=date(1, 1, 3),
        days=days,
        months=(sold(date(1, 1, 1), highest),),
        month_before=(sold(date(1, 1, 1), "0.01"),),
        totals=(sold(None, highest),),
        quality=(),
    )
    assert f"{Decimal(highest):,f}" in body_of(shown)


def test_days_and_months_end_where_dates_do() -> None:
    assert days_before(date(2024, 3, 1), 1) == date(2024, 2, 29)
    assert days_before(date(1, 1, 3), 27) == date.min
    assert months_before(date(2024, 1, 1), 1) == date(2023, 12, 1)
    assert months_before(date(2, 1, 1), 12) == date(1, 1, 1)
    assert months_before(date(1, 2, 1), 5) == date.min


def test_what_was_sold_is_added_up_without_rounding() -> None:
    back: dict[str, Any] = {"returned_amount": Decimal("0.10"), "returned_pieces": 1}
    both: Sold = sold(None, "0.01", **back).plus(sold(None, "9" * 27 + ".99"))
    assert both.amount == Decimal("1" + "0" * 27)
    assert (both.returned_amount, both.returned_pieces) == (Decimal("0.10"), 1)
    assert (both.transactions, both.pieces) == (14, 18)


# --- the command


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Return a lake with one run that was exported, and one whose export was replaced."""
    lake = tmp_path / "lake"
    for run_id in ("old", "new"):
        run = RunFolder(str(lake), run_id)
        run.write("report", figures(run_id=run_id))
        run.write(
            "export",
            Export(run_id=run_id, destination=f"{lake}/export", target="duckdb", files=()),
        )
    (lake / "export").mkdir()
    (lake / "export" / "manifest.json").write_text('{"run_id": "new", "files": []}')
    return lake


def test_the_report_is_written_again_beside_its_export(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--lake", str(lake)]) == 0
    written = lake / "export" / "report.html"
    assert capsys.readouterr().out == f"{written}\n"
    assert written.read_bytes() == page(figures(run_id="new"))


def test_the_report_of_another_run_is_not_put_beside_an_export(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "old", "--lake", str(lake)]) == 2
    said = capsys.readouterr().err
    assert "is of run new" in said
    assert "--to FILE" in said
    assert not (lake / "export" / "report.html").exists()
    file = tmp_path / "old.html"
    assert main(["report", "old", "--lake", str(lake), "--to", str(file)]) == 0
    assert file.read_bytes() == page(figures(run_id="old"))


def test_a_run_without_a_report_is_named(
    lake: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["report", "other", "--lake", str(lake)]) == 2
    assert "run other in" in capsys.readouterr().err
    assert main(["report", "--lake", str(tmp_path / "nothing")]) == 2
    assert "there is no export" in capsys.readouterr().err


def test_figures_of_another_version_keep_no_run_from_its_end(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lake / "runs" / "new" / "report.json").write_text('{"schema_version": 3, "run_id": "new"}')
    assert kept_figures(RunFolder(str(lake), "new")) is None
    assert kept_figures(RunFolder(str(lake), "old")) == figures(run_id="old")
    assert main(["report", "--lake", str(lake)]) == 2
    assert "not a record that this version can read" in capsys.readouterr().err


def test_the_report_is_opened_in_a_browser(
    lake: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    assert main(["report", "--lake", str(lake), "--open"]) == 0
    assert seen.read_text() == (lake / "export" / "report.html").as_uri()


def test_the_time_of_publication_is_in_utc() -> None:
    at = datetime(2023, 12, 21, 4, 5, tzinfo=timezone(timedelta(hours=7)))
    assert "Published 20 Dec 2023, 21:05 UTC" in body_of(figures(published_at=at))
