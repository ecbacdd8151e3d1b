"""The site builds strictly, needs nothing from elsewhere, and no link of a page is dead."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from documentation import ROOT, all_pages

_LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)#\s]+)(#[^)\s]+)?\)")
_LOADED = re.compile(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"?(https?:)?//")
_WORDS = re.compile(r"—|\b(seamless|blazing|powerful|cutting-edge|leverage)", re.IGNORECASE)


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the group docs is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in tmp_path.rglob("*.html"):
        assert not _LOADED.search(page.read_text(encoding="utf-8")), page


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    for link, _ in _LINK.findall(page.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_prose_is_plain(page: Path) -> None:
    assert not _WORDS.findall(page.read_text(encoding="utf-8")), page.name
