"""The pictures in the documentation are what the pages show now."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import diagrams
import pictures
import plots
import pytest
import typer

from documentation import ROOT
from sales_mart.cli import steps
from sales_mart.report.figures import Figures
from sales_mart.report.page import page

if TYPE_CHECKING:
    from collections.abc import Callable

PAGES: dict[str, Callable[[str], str]] = {
    **pictures.PAGES,
    **{name: partial(diagrams.drawn, name) for name in diagrams.DIAGRAMS},
    **{name: partial(plots.drawn, name) for name in plots.PLOTS},
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", pictures.SCHEMES)
def test_the_pictures_are_up_to_date(scheme: str, name: str) -> None:
    kept = (pictures.FOLDER / f"{name}-{scheme}.svg").read_text(encoding="utf-8")
    assert kept == PAGES[name](scheme), "run `make reference`"
    # Nothing in them is of elsewhere, and no colour was left out.
    ET.fromstring(kept)  # noqa: S314 - our own file
    assert not re.search(r"var\(|href|url\(|<script", kept)
    assert ("2,499.83" in kept) is (name in pictures.PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_the_pictures_differ_in_their_colours_alone(name: str) -> None:
    light, dark = (re.sub("#[0-9a-f]{3,6}", "", PAGES[name](scheme)) for scheme in pictures.SCHEMES)
    assert light == dark


def test_the_pipeline_has_the_steps_that_there_are() -> None:
    app = typer.Typer()
    steps.add_to(app)
    boxes = [box for row in diagrams.PIPELINE.rows for box in row.boxes if box is not None]
    drawn = [box.name for box in boxes if box.kind == "step"]
    assert drawn == [command.name for command in app.registered_commands]


def test_the_readme_shows_them_with_what_they_say() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for scheme in pictures.SCHEMES:
        assert f"docs/pictures/report-{scheme}.svg" in text
    said = page(Figures.model_validate_json(pictures.FIGURES.read_bytes())).decode()
    assert "2,499.83" in said
    assert "2,499.83 sold in October 2023, one of five rows rejected" in text
