# ruff: noqa: INP001 - a script, no package
"""Draw the pages of the sample as pictures for the documentation, light and dark.

    python scripts/pictures.py

The texts, pictures and colours are those of the pages themselves. Their figures are kept beside
the pictures, and a test compares them with those of a run.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import html5lib

from sales_mart.api.front_page import Chosen, View, rendered
from sales_mart.report.figures import Figures
from sales_mart.report.page import page
from sales_mart.warehouses.history import Publication

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
FIGURES = FOLDER / "sample.json"
STYLE = ROOT / "src" / "sales_mart" / "report" / "templates" / "report.css"
SCHEMES = ("light", "dark")
_HTML, _SVG = "{http://www.w3.org/1999/xhtml}", "{http://www.w3.org/2000/svg}"
_WIDTH, _MARGIN, _GAP, _INNER = 980, 24, 12, 16
_ROOM = _WIDTH - 2 * _MARGIN
_LETTERS = 25
"""Letters on a line of a card."""
_RULES = """
text { fill: var(--ink); font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
.box { fill: var(--card); stroke: var(--line); }
.field { fill: var(--card); stroke: var(--soft); }
.soft { fill: var(--soft); font-size: 11.5px; }
.title { font-size: 22px; font-weight: 700; }
.part { font-size: 15px; font-weight: 700; }
.name { fill: var(--soft); font-size: 11px; font-weight: 600; }
.big { font-size: 22px; font-weight: 700; }
.row { font-size: 13px; }
.status { fill: var(--warn-back); }
.said { fill: var(--warn); font-size: 13px; font-weight: 600; }
.bar { fill: var(--bar); } .bad { fill: var(--bad); } .warn { fill: var(--warn); }
.track { fill: var(--track); } .ribbon { opacity: 0.22; }
.grid { stroke: var(--line); stroke-dasharray: 3 4; } .axis { stroke: var(--soft); }
.note { fill: var(--soft); font-size: 12px; } .number { font-size: 15px; font-weight: 650; }
"""


def report(scheme: str) -> str:
    """Return the report in one of the colour schemes."""
    document = html5lib.parse(page(_figures()).decode())
    top = 126
    parts = [*_head(document), *_status(document), *_cards(document, top)]
    parts += _sales(document, top + 100)
    title, picture = "From rows read to rows shown", _picture(document, "What became")
    tall = int(float(picture.get("height")))
    parts += _box(_MARGIN, top + 356, _ROOM, tall + 60, title, picture)
    return _drawn(scheme, "The report of the sample", top + 356 + tall + 60 + _MARGIN, parts)


def front_page(scheme: str) -> str:
    """Return the front page of the API in one of the colour schemes."""
    document = html5lib.parse(rendered(_view(_figures())).body.decode())
    top = 150
    parts = [*_head(document), *_choices(document), *_cards(document, top)]
    parts += _sales(document, top + 100)
    return _drawn(scheme, "The front page of the API", top + 100 + 244 + _MARGIN, parts)


PAGES = {"report": report, "front-page": front_page}


def _figures() -> Figures:
    return Figures.model_validate_json(FIGURES.read_bytes())


def _view(figures: Figures) -> View:
    """Return what the front page shows once the run of the figures is published."""
    month = max(each.start for each in figures.months if each.start)
    return View(
        title=figures.tables[0].title,
        publication=Publication(1, "", {}, figures.published_at, figures.run_id, None),
        asked=Chosen(),
        month=month,
        known=[month],
        names=(),
        item="product",
        proposed=(),
        found=figures,
        whole=None,
        loads=figures.quality,
        rejected=(),
        links=(),
    )


def _drawn(scheme: str, title: str, height: int, parts: list[str]) -> str:
    return svg(scheme, title, (_WIDTH, height), _RULES, parts)


def svg(scheme: str, title: str, size: tuple[int, int], rules: str, parts: list[str]) -> str:
    """Return a picture of its parts, in one of the colour schemes of the report.

    Args:
        scheme: The colour scheme.
        title: What it shows, in words.
        size: Its width and height.
        rules: CSS, with the names of the colours.
        parts: What is in it.
    """
    colours = _colours(scheme)
    coloured = re.sub(r"var\(--([a-z-]+)\)", lambda found: colours[found[1]], rules.strip())
    width, height = size
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    )
    back = f'<rect width="100%" height="100%" rx="12" fill="{colours["page"]}"/>'
    return "\n".join([head, f"<style>\n{coloured}\n</style>", back, *parts, "</svg>", ""])


def _sales(document: Any, top: int) -> list[str]:
    half = (_ROOM - _GAP) // 2
    by_day = _box(_MARGIN, top, half, 244, "By day", _picture(document, "Sales by day"))
    return [*by_day, *_products(document, _MARGIN + half + _GAP, top, half, 244)]


def _picture(document: Any, title: str) -> Any:
    """Return the first picture of a page whose title begins so."""
    return next(
        each
        for each in document.iter(f"{_SVG}svg")
        if (each.get("aria-label") or "").startswith(title)
    )


def _colours(scheme: str) -> dict[str, str]:
    """Return the colours that the page gives names to."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.DOTALL)
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", blocks[SCHEMES.index(scheme)]))


def _head(document: Any) -> list[str]:
    header = next(document.iter(f"{_HTML}header"))
    texts = [_text(each) for each in header]
    return [
        _line(_MARGIN, 46, "title", texts[0]),
        _line(_MARGIN, 68, "soft", texts[1]),
    ]


def _status(document: Any) -> list[str]:
    status = list(next(document.iter(f"{_HTML}header")))[2]
    return [
        f'<rect class="status" x="{_MARGIN}" y="82" width="{_ROOM}" height="32" rx="8"/>',
        _line(_MARGIN + 12, 103, "said", re.sub(r"^([!✓]) ?", r"\1  ", _text(status))),
    ]


def _choices(document: Any) -> list[str]:
    """Return the form, with what is chosen in it."""
    parts: list[str] = []
    for ordinal, label in enumerate(document.iter(f"{_HTML}label")):
        x = _MARGIN + ordinal * 260
        field = label[0]
        chosen = next((_text(each) for each in field if each.get("selected") is not None), "")
        parts += [
            _line(x, 96, "name", (label.text or "").strip()),
            f'<rect class="field" x="{x}" y="104" width="244" height="30" rx="8"/>',
            _line(x + 12, 124, "row", chosen or field.get("placeholder") or ""),
        ]
    return parts


def _cards(document: Any, top: int) -> list[str]:
    cards = [each for each in document.iter(f"{_HTML}div") if each.get("class") == "card"]
    wide = (_ROOM - _GAP * (len(cards) - 1)) / len(cards)
    parts: list[str] = []
    for ordinal, card in enumerate(cards):
        x = round(_MARGIN + ordinal * (wide + _GAP), 1)
        name, big, small = list(card)[:3]
        parts += [
            f'<rect class="box" x="{x}" y="{top}" width="{wide:.1f}" height="88" rx="10"/>',
            _line(x + 12, top + 22, "name", _text(name)),
            _big(x + 12, top + 48, big),
        ]
        for below, line in enumerate(textwrap.wrap(_text(small), _LETTERS - 2)[:2]):
            parts.append(_line(x + 12, top + 66 + 14 * below, "soft", line))
    return parts


def _big(x: float, y: float, element: Any) -> str:
    """Return a number, and smaller what stands behind it."""
    behind = "".join(f'<tspan class="soft"> {escape(_text(each))}</tspan>' for each in element)
    return _line(x, y, "big", (element.text or "").strip()).replace("</text>", f"{behind}</text>")


def _products(document: Any, x: int, y: int, width: int, height: int) -> list[str]:
    table = next(
        each
        for each in document.iter(f"{_HTML}section")
        if str(each.get("aria-label")).startswith("Best")
    )
    parts = _box(x, y, width, height, "Best products")
    for ordinal, row in enumerate(next(table.iter(f"{_HTML}tbody"))):
        name, picture, amount, *_ = list(row)
        top = y + 64 + ordinal * 52
        shape = next(picture.iter(f"{_SVG}svg"))
        parts += [
            _line(x + _INNER, top, "row", _text(name)),
            _line(x + width - _INNER, top, "row", _text(amount), end=True),
            _placed(shape, x + _INNER, top + 10, width - 2 * _INNER),
        ]
    return parts


def _box(x: int, y: int, width: int, height: int, title: str, picture: Any = None) -> list[str]:  # noqa: PLR0913 - a box
    parts = [
        f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="10"/>',
        _line(x + _INNER, y + 28, "part", title),
    ]
    if picture is not None:
        parts.append(_placed(picture, x + _INNER, y + 42, width - 2 * _INNER))
    return parts


def _placed(picture: Any, x: float, y: float, width: float) -> str:
    """Return a picture of the page, whose widths are shares, at a place of its own."""
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    height = picture.get("height")
    inner = "".join(ET.tostring(each, encoding="unicode") for each in picture)
    inner = inner.replace(' xmlns="http://www.w3.org/2000/svg"', "")
    return f'<svg x="{x}" y="{y}" width="{width}" height="{height}">{inner}</svg>'


def _line(x: float, y: float, kind: str, text: str, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text class="{kind}" x="{x}" y="{y}"{anchor}>{escape(text)}</text>'


def _text(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def main() -> None:
    """Write all pictures."""
    for name, drawn in PAGES.items():
        for scheme in SCHEMES:
            (FOLDER / f"{name}-{scheme}.svg").write_text(drawn(scheme), encoding="utf-8")


if __name__ == "__main__":
    main()
