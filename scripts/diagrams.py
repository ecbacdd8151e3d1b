# ruff: noqa: INP001 - a script, no package
"""Draw the diagrams of the documentation, each in a light and a dark one.

    python scripts/diagrams.py

What a diagram shows is data: boxes in columns and rows, and the arrows between them. The colours
are those of the report.
"""

from __future__ import annotations

from typing import Literal, NamedTuple
from xml.sax.saxutils import escape

from pictures import FOLDER, SCHEMES, svg

WIDTH, MARGIN, GAP = 780, 24, 20
_LINE, _PAD = 17, 14
_TITLE = 24


class Box(NamedTuple):
    """One box.

    Attributes:
        name: What it is called.
        text: What it is, in lines that fit.
        kind: A step that works, data, or a place that several things stand in.
    """

    name: str
    text: tuple[str, ...]
    kind: Literal["step", "data", "place"] = "data"


class Row(NamedTuple):
    """Boxes side by side, of equal width.

    Attributes:
        title: What they have in common.
        boxes: The boxes; None leaves a place empty.
    """

    title: str
    boxes: tuple[Box | None, ...]


class Arrow(NamedTuple):
    """An arrow between two boxes, which are named; `text` stands at it."""

    begin: str
    end: str
    text: str = ""


class Diagram(NamedTuple):
    """A diagram, and what it shows in words."""

    title: str
    rows: tuple[Row, ...]
    arrows: tuple[Arrow, ...]


def _step(name: str, *text: str) -> Box:
    return Box(name, text, "step")


PIPELINE = Diagram(
    "The pipeline: source files are planned, validated and sealed in the lake; loaded, "
    "transformed, reconciled and published in each warehouse; and exported for readers. Rejected "
    "rows go to the quarantine.",
    (
        Row(
            "Files become checked rows in the lake",
            (
                Box("Source files", ("CSV, Parquet, JSON,", "workbooks, archives")),
                _step("plan", "finds the files, and", "cuts large ones"),
                _step("validate", "checks each row, and", "makes tokens"),
                _step("seal", "settles duplicates,", "counts for good"),
            ),
        ),
        Row(
            "", (None, None, Box("Quarantine", ("rejected rows, each", "with every reason")), None)
        ),
        Row(
            "In each warehouse: PostgreSQL, BigQuery, DuckDB",
            (
                _step("load", "adds the rows in", "one transaction"),
                _step("transform", "dbt builds and tests", "where nobody looks"),
                _step("reconcile", "compares them all,", "to the cent"),
                _step("publish", "shows all marts", "at once"),
            ),
        ),
        Row(
            "What readers see",
            (
                Box("Marts", ("tables and views for", "analysts")),
                _step("export", "writes files and", "the report"),
                Box("Files", ("summary, report,", "contract, lineage")),
                Box("API", ("answers for programs,", "a page for people")),
            ),
        ),
    ),
    (
        Arrow("Source files", "plan"),
        Arrow("plan", "validate"),
        Arrow("validate", "seal"),
        Arrow("validate", "Quarantine"),
        Arrow("seal", "load"),
        Arrow("load", "transform"),
        Arrow("transform", "reconcile"),
        Arrow("reconcile", "publish"),
        Arrow("publish", "Marts"),
        Arrow("Marts", "export"),
        Arrow("export", "Files"),
        Arrow("Marts", "API"),
    ),
)

LAYOUT = Diagram(
    "Where things are: runs and exports in the lake; raw, next and published tables in a "
    "warehouse.",
    (
        Row(
            "The lake: a folder, or a prefix in a bucket",
            (
                Box(
                    "runs/RUN_ID/*.json",
                    ("records: what each step", "read, did and counted"),
                    "place",
                ),
                Box("…/valid/", ("valid rows as Parquet,", "tokens for identifiers"), "place"),
                Box("…/quarantine/", ("rejected rows, with file,", "line and reasons"), "place"),
            ),
        ),
        Row(
            "A warehouse",
            (
                Box("raw_transactions", ("every loaded row, and", "what superseded it"), "place"),
                Box("schema …__next", ("what dbt builds and", "tests, unseen"), "place"),
                Box("the marts", ("one version of all,", "which readers see"), "place"),
            ),
        ),
        Row(
            "",
            (
                Box("load_runs", ("each load: its run, key,", "rules and counts"), "place"),
                Box("publications", ("which load the marts", "show, and checksums"), "place"),
                Box("quality_history", ("rejected rows by run", "and reason"), "place"),
            ),
        ),
        Row(
            "The export: a folder, or a prefix in a bucket",
            (
                Box("summary_sales.*", ("the summary as CSV,", "JSON and Parquet"), "place"),
                Box("report.html", ("the run on one page", ""), "place"),
                Box("contract, lineage", ("ODCS and OpenLineage", ""), "place"),
            ),
        ),
    ),
    (
        Arrow("…/valid/", "raw_transactions"),
        Arrow("raw_transactions", "schema …__next"),
        Arrow("schema …__next", "the marts"),
    ),
)

VERSIONS = Diagram(
    "Publishing on PostgreSQL: a view reads the version that a row names; the older version "
    "stays for snapshots that began before.",
    (
        Row(
            "",
            (
                Box("view summary_sales", ("what analysts query,", "grants and views on it")),
                Box("current_versions", ("names the version of", "each mart: 42")),
                Box("version 42", ("the table that", "readers see now"), "place"),
            ),
        ),
        Row(
            "",
            (
                Box("schema …__next", ("built and tested for", "the next run")),
                _step("publish", "attaches it as 43, and", "names it for each mart"),
                Box("version 41", ("for older snapshots,", "then dropped"), "place"),
            ),
        ),
    ),
    (
        Arrow("view summary_sales", "current_versions"),
        Arrow("current_versions", "version 42"),
        Arrow("schema …__next", "publish"),
        Arrow("publish", "current_versions"),
    ),
)

DIAGRAMS = {"pipeline": PIPELINE, "layout": LAYOUT, "versions": VERSIONS}

_RULES = """
text { fill: var(--ink); font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
.step { fill: var(--card); stroke: var(--bar); stroke-width: 1.5; }
.data { fill: var(--track); stroke: var(--line); }
.place { fill: var(--card); stroke: var(--line); }
.name { font-size: 15px; font-weight: 650; }
.fixed { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px; font-weight: 650; }
.text { fill: var(--soft); font-size: 13px; }
.title { fill: var(--soft); font-size: 13px; font-weight: 600; }
.arrow { fill: none; stroke: var(--soft); stroke-width: 1.5; }
.head { fill: var(--soft); }
"""


class _Place(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    row: int

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


def drawn(name: str, scheme: str) -> str:
    """Return a diagram in one of the colour schemes."""
    diagram = DIAGRAMS[name]
    places: dict[str, _Place] = {}
    parts: list[str] = []
    y = float(MARGIN)
    for number, row in enumerate(diagram.rows):
        if row.title:
            # At the right, since an arrow from the end of the row above comes in at the left.
            parts.append(
                f'<text class="title" x="{WIDTH - MARGIN}" y="{y + 12:g}" text-anchor="end">'
                f"{escape(row.title)}</text>"
            )
            y += _TITLE
        width = (WIDTH - 2 * MARGIN - GAP * (len(row.boxes) - 1)) / len(row.boxes)
        height = _PAD * 2 + 18 + _LINE * 2
        for column, box in enumerate(row.boxes):
            if box is not None:
                place = _Place(MARGIN + column * (width + GAP), y, width, height, number)
                places[box.name] = place
                parts += _box(box, place)
        y += height + (34 if number + 1 < len(diagram.rows) else MARGIN)
    for arrow in diagram.arrows:
        parts += _arrow(places[arrow.begin], places[arrow.end])
    return svg(scheme, diagram.title, (WIDTH, round(y)), _RULES, parts)


def _box(box: Box, place: _Place) -> list[str]:
    kind = "fixed" if box.kind == "place" else "name"
    top = place.y + _PAD + 13
    size = f'width="{place.width:g}" height="{place.height:g}"'
    parts = [f'<rect class="{box.kind}" x="{place.x:g}" y="{place.y:g}" {size} rx="10"/>']
    for number, (style, line) in enumerate([(kind, box.name), *(("text", x) for x in box.text)]):
        y = top + (20 + _LINE * (number - 1) if number else 0)
        parts.append(
            f'<text class="{style}" x="{place.x + _PAD:g}" y="{y:g}">{escape(line)}</text>'
        )
    return parts


def _arrow(begin: _Place, end: _Place) -> list[str]:
    (x0, y0), (x1, _) = begin.middle, end.middle
    bottom = begin.y + begin.height
    if begin.row == end.row and end.x - begin.x - begin.width <= GAP:
        return _line([(begin.x + begin.width, y0), (end.x - 2, y0)], "right")
    if begin.row == end.row:
        turn = bottom + MARGIN / 2
        return _line([(x0, bottom), (x0, turn), (x1, turn), (x1, bottom + 2)], "up")
    if begin.row > end.row:
        return _line([(x0, begin.y), (x0, end.y + end.height + 2)], "up")
    turn = end.y - _TITLE - 8
    bend = [] if x0 == x1 else [(x0, turn), (x1, turn)]
    return _line([(x0, bottom), *bend, (x1, end.y - 2)], "down")


def _line(points: list[tuple[float, float]], to: Literal["right", "down", "up"]) -> list[str]:
    path = "L".join(f"{x:g} {y:g}" for x, y in points)
    x, y = points[-1]
    head = {
        "right": f"M{x:g} {y:g}l-8 -4.5v9z",
        "down": f"M{x:g} {y:g}l-4.5 -8h9z",
        "up": f"M{x:g} {y:g}l-4.5 8h9z",
    }[to]
    return [f'<path class="arrow" d="M{path}"/>', f'<path class="head" d="{head}"/>']


def main() -> None:
    """Write all diagrams."""
    for name in DIAGRAMS:
        for scheme in SCHEMES:
            (FOLDER / f"{name}-{scheme}.svg").write_text(drawn(name, scheme), encoding="utf-8")


if __name__ == "__main__":
    main()
