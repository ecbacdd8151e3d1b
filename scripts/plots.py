# ruff: noqa: INP001 - a script, no package
"""Draw the figures of the benchmarks as bars, from the tables of the documentation that have them.

    python scripts/plots.py

The tables are what `python -m benchmarks` prints. A plot has the first column of a table and one of
its columns of numbers.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple
from xml.sax.saxutils import escape

from pictures import FOLDER, ROOT, SCHEMES, svg

PAGE = ROOT / "docs" / "explanation" / "performance.md"
_WIDTH, _MARGIN, _ROW, _LABEL = 780, 24, 34, 330
_RULES = """
text { fill: var(--ink); font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
.title { font-size: 15px; font-weight: 650; }
.label { font-size: 13px; }
.value { font-size: 13px; font-weight: 600; }
.ours { fill: var(--bar); }
.other { fill: var(--before); }
"""


class Plot(NamedTuple):
    """A plot: the heading that its table stands under, the column, and the title."""

    heading: str
    column: str
    title: str


PLOTS = {
    "bench-checking": Plot("Checking 3 million rows", "seconds", "Seconds to check 3 million rows"),
    "bench-loading": Plot(
        "Loading the valid rows into PostgreSQL", "seconds", "Seconds to load the valid rows"
    ),
    "bench-growth": Plot("Growth", "peak MB", "Peak memory in MB, by rows of the pipeline"),
}


def table(plot: Plot) -> list[tuple[str, str]]:
    """Return the first column of a table, and the numbers of the plot's."""
    page = PAGE.read_text(encoding="utf-8")
    under = page.partition(f"\n## {plot.heading}\n")[2].partition("\n## ")[0]
    lines = [
        [cell.strip().replace("**", "").replace("`", "") for cell in line.strip("|").split("|")]
        for line in under.splitlines()
        if line.startswith("|")
    ]
    at = lines[0].index(plot.column)
    return [(cells[0], cells[at]) for cells in lines[2:]]


def drawn(name: str, scheme: str) -> str:
    """Return a plot in one of the colour schemes."""
    plot = PLOTS[name]
    rows = [(label, text, _number(text)) for label, text in table(plot)]
    most = max(value for _, _, value in rows)
    room = _WIDTH - 2 * _MARGIN - _LABEL - 100
    parts = [f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 14}">{escape(plot.title)}</text>']
    y = _MARGIN + 34
    for label, text, value in rows:
        kind = "ours" if "sales_mart" in label or label[0].isdigit() else "other"
        wide = round(value / most * room, 1)
        short = label if len(label) <= 50 else f"{label[:48].rstrip()}…"  # noqa: PLR2004 - letters
        bar = f'x="{_MARGIN + _LABEL}" y="{y}" width="{max(wide, 1)}" height="20" rx="3"'
        end = f'x="{_MARGIN + _LABEL + wide + 8}" y="{y + 15}"'
        parts += [
            f'<text class="label" x="{_MARGIN}" y="{y + 14}">{escape(short)}</text>',
            f'<rect class="{kind}" {bar}/>',
            f'<text class="value" {end}>{escape(text)}</text>',
        ]
        y += _ROW
    said = ", ".join(f"{label} {text}" for label, text, _ in rows)
    return svg(scheme, f"{plot.title}: {said}", (_WIDTH, y + 10), _RULES, parts)


def _number(text: str) -> Decimal:
    found = re.search(r"[0-9][0-9,]*(\.[0-9]+)?", text)
    assert found is not None, f"{text!r} has no number"  # noqa: S101 - a table of ours
    return Decimal(found[0].replace(",", ""))


def main() -> None:
    """Write all plots."""
    for name in PLOTS:
        for scheme in SCHEMES:
            (FOLDER / f"{name}-{scheme}.svg").write_text(drawn(name, scheme), encoding="utf-8")


if __name__ == "__main__":
    main()
