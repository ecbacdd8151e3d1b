"""The report in a real browser: Chromium of the system, on a screen, a telephone and paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser import OUTSIDE, SERIOUS, WIDTHS, check_page, chromium, opened, violations
from reports import HOSTILE, figures
from sales_mart.report.page import page

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser

REPORTS: dict[str, dict[str, Any]] = {
    "usual": {},
    "everything": {
        "currencies": ("EUR", None),
        "names": HOSTILE,
        "returns": True,
        "dimensions": True,
        "warnings": ("a second value of currency was seen",),
    },
    "nothing": {
        "rows_read": 0,
        "rows_valid": 0,
        "rejected": 0,
        "days": (),
        "months": (),
        "totals": (),
        "products": (),
        "quality": (),
    },
}


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(params=REPORTS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    shown = figures(**REPORTS[request.param])
    if request.param == "everything":
        # Tables of many rows take long to look at, and their rows are alike.
        shown = shown.model_copy(update={"days": shown.days[-8:], "months": shown.months[-8:]})
    path.write_bytes(page(shown))
    return path


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_asks_for_nothing_and_can_be_read_by_everybody(
    browser: Browser, file: Path, width: int
) -> None:
    check_page(browser, file.as_uri(), width)


def test_axe_and_the_search_for_overflow_find_what_they_look_for(
    browser: Browser, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!DOCTYPE html><html lang="en"><title>a</title><main><h1>a</h1>'
        '<p style="color:#ddd;background:#fff">pale</p><img src="data:,">'
        '<div style="width:3000px">wide</div><svg class="picture" width="50" height="20">'
        '<text x="0" y="15">much longer than it is wide</text></svg></main></html>'
    )
    report = opened(browser, bad.as_uri(), 390, "light")
    assert {"color-contrast", "image-alt"} <= {
        each["id"] for each in violations(report) if each["impact"] in SERIOUS
    }
    assert report.page.evaluate("document.documentElement.scrollWidth") > 390
    assert report.page.evaluate(OUTSIDE) == ["much longer than it is wide"]
    report.page.close()


def test_no_script_runs_whatever_gets_into_the_page(browser: Browser, tmp_path: Path) -> None:
    """Were a text not escaped, the policy in the page would still keep it from doing anything."""
    planted = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title='ran'\">"
    planted += "<style>main { display: none }</style>"
    path = tmp_path / "report.html"
    text = page(figures()).decode()
    path.write_text(text.replace("<main>", f"<main>{planted}", 1))
    report = opened(browser, path.as_uri(), 390, "light")
    assert report.page.title() == "Sales report of 20 Dec 2023"
    assert report.page.locator("h1").is_visible()
    assert report.page.locator("main").is_visible()
    assert any("Content Security Policy" in each for each in report.messages)
    report.page.close()


def test_on_paper_the_short_tables_are_open_and_the_colours_are_light(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(page(figures()))
    report = opened(browser, path.as_uri(), 1400, "dark")
    hidden = report.page.locator("details:not(.long) td").first
    assert not hidden.is_visible()
    dark = report.page.evaluate("getComputedStyle(document.body).backgroundColor")
    report.page.emulate_media(media="print")
    assert hidden.is_visible()
    assert not report.page.locator(".long").first.is_visible()
    assert report.page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    assert report.page.pdf(format="A4").startswith(b"%PDF-")
    report.page.close()
