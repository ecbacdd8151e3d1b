"""The pictures in the documentation are what the pages show now."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pictures
import pytest

from documentation import ROOT
from sales_mart.report.figures import Figures
from sales_mart.report.page import page


@pytest.mark.parametrize("name", pictures.PAGES)
@pytest.mark.parametrize("scheme", pictures.SCHEMES)
def test_the_pictures_are_up_to_date(scheme: str, name: str) -> None:
    kept = (pictures.FOLDER / f"{name}-{scheme}.svg").read_text(encoding="utf-8")
    assert kept == pictures.PAGES[name](scheme), "run `make reference`"
    # Nothing in them is of elsewhere, and no colour was left out.
    ET.fromstring(kept)  # noqa: S314 - our own file
    assert not re.search(r"var\(|href|url\(|<script", kept)
    assert "2,499.83" in kept


@pytest.mark.parametrize("name", pictures.PAGES)
def test_the_pictures_differ_in_their_colours_alone(name: str) -> None:
    light, dark = (
        re.sub("#[0-9a-f]{3,6}", "", pictures.PAGES[name](scheme)) for scheme in pictures.SCHEMES
    )
    assert light == dark


def test_the_readme_shows_them_with_what_they_say() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for scheme in pictures.SCHEMES:
        assert f"docs/pictures/report-{scheme}.svg" in text
    said = page(Figures.model_validate_json(pictures.FIGURES.read_bytes())).decode()
    assert "2,499.83" in said
    assert "2,499.83 sold in October 2023, one of five rows rejected" in text
