"""The report in a real browser: Chromium of the system, on a screen, a telephone and paper."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import axe_playwright_python
import pytest
from playwright.sync_api import sync_playwright

from reports import HOSTILE, figures
from sales_mart.report.page import page

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
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
WIDTHS = (1400, 390)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SERIOUS = {"serious", "critical"}
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")

OUTSIDE = """
Array.from(document.querySelectorAll("svg.picture text")).filter(each => {
    const [inner, outer] = [each, each.ownerSVGElement].map(one => one.getBoundingClientRect());
    return inner.left < outer.left - 2 || inner.right > outer.right + 2
        || inner.top < outer.top - 2 || inner.bottom > outer.bottom + 2;
}).map(each => each.textContent)
"""
"""The texts of pictures that stand outside of them."""


class Opened(NamedTuple):
    """A report in a browser, and what it said and asked for."""

    page: Page
    address: str
    messages: list[str]
    requests: list[str]


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"there is none of {', '.join(PROGRAMS)}; Debian has a package chromium")
    # The sandbox needs rights that root gives up.
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=alone)
        yield started
        started.close()


@pytest.fixture(params=REPORTS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    shown = figures(**REPORTS[request.param])
    if request.param == "everything":
        # Tables of many rows take long to look at, and their rows are alike.
        shown = shown.model_copy(update={"days": shown.days[-8:], "months": shown.months[-8:]})
    path.write_bytes(page(shown))
    return path


def opened(browser: Browser, file: Path, width: int, scheme: Literal["light", "dark"]) -> Opened:
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = Opened(shown, file.as_uri(), [], [])
    shown.on("console", lambda message: found.messages.append(message.text))
    shown.on("pageerror", lambda error: found.messages.append(str(error)))
    shown.on("request", lambda request: found.requests.append(request.url))
    shown.goto(found.address)
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_asks_for_nothing_and_can_be_read_by_everybody(
    browser: Browser, file: Path, tmp_path: Path, width: int
) -> None:
    pictures: list[bytes] = []
    for scheme in SCHEMES:
        report = opened(browser, file, width, scheme)
        report.page.evaluate(
            "document.querySelectorAll('details').forEach(each => { each.open = true })"
        )
        assert report.page.evaluate("document.documentElement.scrollWidth") == width
        # Nothing is drawn outside of its picture, but for the ends of letters.
        assert report.page.evaluate(OUTSIDE) == []
        taken = tmp_path / f"{width}-{scheme}.png"
        pictures.append(report.page.screenshot(path=taken, full_page=True))
        assert report.messages == []
        assert report.requests == [report.address]
        serious = [each for each in violations(report) if each["impact"] in SERIOUS]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []
        report.page.close()
    assert pictures[0] != pictures[1]


def violations(report: Opened) -> list[dict[str, Any]]:
    """Return what axe finds wrong for people who see, hear or point less well."""
    report.page.evaluate(AXE.read_text(encoding="utf-8"))
    return report.page.evaluate("axe.run().then(found => found.violations)")


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
    report = opened(browser, bad, 390, "light")
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
    report = opened(browser, path, 390, "light")
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
    report = opened(browser, path, 1400, "dark")
    hidden = report.page.locator("details:not(.long) td").first
    assert not hidden.is_visible()
    dark = report.page.evaluate("getComputedStyle(document.body).backgroundColor")
    report.page.emulate_media(media="print")
    assert hidden.is_visible()
    assert not report.page.locator(".long").first.is_visible()
    assert report.page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    assert report.page.pdf(format="A4").startswith(b"%PDF-")
    report.page.close()
