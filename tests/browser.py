"""Pages in a real browser: Chromium of the system, on a screen, a telephone and paper."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import axe_playwright_python
import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Generator

    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
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


@contextmanager
def chromium() -> Generator[Browser]:
    """Start the Chromium of the system; without one the test is skipped."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"there is none of {', '.join(PROGRAMS)}; Debian has a package chromium")
    # The sandbox needs rights that root gives up.
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=alone)
        yield started
        started.close()


def opened(browser: Browser, address: str, width: int, scheme: Literal["light", "dark"]) -> Opened:
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = Opened(shown, address, [], [])
    shown.on("console", lambda message: found.messages.append(message.text))
    shown.on("pageerror", lambda error: found.messages.append(str(error)))
    shown.on("request", lambda request: found.requests.append(request.url))
    shown.goto(found.address)
    return found


def check_page(browser: Browser, address: str, width: int) -> None:
    """See that a page fits, asks for nothing else, and can be read by everybody."""
    pictures: list[bytes] = []
    for scheme in SCHEMES:
        found = opened(browser, address, width, scheme)
        found.page.evaluate(
            "document.querySelectorAll('details').forEach(each => { each.open = true })"
        )
        assert found.page.evaluate("document.documentElement.scrollWidth") == width
        # Nothing is drawn outside of its picture, but for the ends of letters.
        assert found.page.evaluate(OUTSIDE) == []
        pictures.append(found.page.screenshot(full_page=True))
        assert found.messages == []
        assert found.requests == [address]
        serious = [each for each in violations(found) if each["impact"] in SERIOUS]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []
        found.page.close()
    assert pictures[0] != pictures[1]


def violations(found: Opened) -> list[dict[str, Any]]:
    """Return what axe finds wrong for people who see, hear or point less well."""
    found.page.evaluate(AXE.read_text(encoding="utf-8"))
    return found.page.evaluate("axe.run().then(found => found.violations)")
