"""Pictures as SVG that stand in the page itself: bars over time, shares, and a flow of rows.

Widths are shares of the page and heights are pixels, so that a picture fills a telephone as well as
a screen and its letters stay as large as they are. Colours are the page's, by class.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Axis", "Bar", "Stage", "bars", "flow", "share"]

_TOP, _BOTTOM = 22, 24
_FLOW, _SLOT, _GAP = 150, 38, 8
_NARROW = Decimal("0.5")


class Bar(NamedTuple):
    """One bar.

    Attributes:
        label: What it is of.
        value: How high it is.
        shown: Its value in words.
        kind: The class that gives its colour.
        at: Its place along the axis, from 0.
    """

    label: str
    value: Decimal
    shown: str
    kind: str
    at: int


class Axis(NamedTuple):
    """Where bars stand.

    Attributes:
        places: How many places there are.
        first: What the first place is of.
        last: What the last one is of.
    """

    places: int
    first: str
    last: str


class Stage(NamedTuple):
    """Rows that became something.

    Attributes:
        name: What they became.
        rows: How many.
        kind: The class that gives the colour.
    """

    name: str
    rows: int
    kind: str


def bars(title: str, shown: Sequence[Bar], axis: Axis, top: str, height: int = 150) -> Markup:
    """Draw bars side by side, those below zero downwards.

    Args:
        title: What the picture shows, in words.
        shown: The bars.
        axis: Where they stand.
        top: What the highest bar stands for.
        height: Height of the tallest one in pixels.
    """
    values = [each.value for each in shown]
    high, low = max(Decimal(0), *values, Decimal(0)), min(Decimal(0), *values, Decimal(0))
    unit = Decimal(height) / (high - low) if high > low else Decimal(0)
    zero = _TOP + high * unit
    step = Decimal(100) / axis.places
    parts = [
        f'<line class="grid" x1="0" x2="100%" y1="{_TOP}" y2="{_TOP}"/>',
        f'<text class="note" x="0" y="{_TOP - 7}">{escape(top)}</text>',
    ]
    for each in shown:
        tall = max(abs(each.value) * unit, Decimal(1))
        y = zero - tall if each.value >= 0 else zero
        parts.append(
            f'<rect class="{each.kind}" x="{_number(step * each.at + step / 10)}%" '
            f'y="{_number(y)}" width="{_number(step * 8 / 10)}%" height="{_number(tall)}">'
            f"<title>{escape(each.label)}: {escape(each.shown)}</title></rect>"
        )
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{_number(zero)}" y2="{_number(zero)}"/>')
    y = _TOP + height + 17
    parts += [
        f'<text class="note" x="0" y="{y}">{escape(axis.first)}</text>',
        f'<text class="note" x="100%" y="{y}" text-anchor="end">{escape(axis.last)}</text>',
    ]
    return _picture(title, _TOP + height + _BOTTOM, parts)


def share(part: Decimal | int, whole: Decimal | int, kind: str = "bar") -> Markup:
    """Draw a thin bar that is a share of the room; the number stands beside it."""
    width = max(Decimal(part) / Decimal(whole), Decimal(0)) * 100 if whole else Decimal(0)
    return Markup(  # noqa: S704 - numbers alone
        '<svg class="share" width="100%" height="8" aria-hidden="true" focusable="false">'
        '<rect class="track" width="100%" height="8" rx="4"/>'
        f'<rect class="{kind}" width="{_number(min(width, Decimal(100)))}%" height="8" rx="4"/>'
        "</svg>"
    )


def flow(
    title: str, columns: Sequence[Sequence[Stage]], links: Sequence[tuple[int, int]]
) -> Markup:
    """Draw how rows go from one column to the next, as wide as they are many.

    Args:
        title: What the picture shows, in words.
        columns: The stages from left to right.
        links: Of each stage from the second column on, in their order: the column and the place of
            the stage that its rows come from.
    """
    most = max(sum(stage.rows for stage in column) for column in columns)
    unit = Decimal(_FLOW) / max(most, 1)
    slots = [[max(stage.rows * unit, Decimal(_SLOT)) for stage in column] for column in columns]
    heights = [sum(column, Decimal(_GAP * (len(column) - 1))) for column in slots]
    height = max(heights)
    middles: list[list[Decimal]] = []
    for column, filled in zip(slots, heights, strict=True):
        y = (height - filled) / 2
        middles.append([])
        for slot in column:
            middles[-1].append(y + slot / 2)
            y += slot + _GAP
    last = len(columns) - 1
    xs = [
        Decimal(_NARROW) + (100 - 2 * _NARROW) * Decimal(at) / max(last, 1)
        for at in range(last + 1)
    ]
    ribbons = _ribbons(columns, links, middles, xs, unit)
    tall = _number(height)
    parts = [
        f'<svg width="100%" height="{tall}" viewBox="0 0 100 {tall}" preserveAspectRatio="none">',
        *ribbons,
        "</svg>",
    ]
    for at, column in enumerate(columns):
        for stage, y in zip(column, middles[at], strict=True):
            tall = max(stage.rows * unit, Decimal(2))
            parts.append(
                f'<rect class="{stage.kind}" x="{_number(xs[at] - _NARROW)}%" '
                f'y="{_number(y - tall / 2)}" width="{_number(Decimal(2 * _NARROW))}%" '
                f'height="{_number(tall)}"/>'
            )
            x, anchor = (xs[at] - 2, "end") if at == last else (xs[at] + 2, "start")
            parts.append(
                f'<text class="note" x="{_number(x)}%" y="{_number(y - 4)}" '
                f'text-anchor="{anchor}">{escape(stage.name)}</text>'
                f'<text class="number" x="{_number(x)}%" y="{_number(y + 13)}" '
                f'text-anchor="{anchor}">{stage.rows:,}</text>'
            )
    return _picture(title, int(height) + 1, parts)


def _ribbons(
    columns: Sequence[Sequence[Stage]],
    links: Sequence[tuple[int, int]],
    middles: Sequence[Sequence[Decimal]],
    xs: Sequence[Decimal],
    unit: Decimal,
) -> list[str]:
    """Draw what leads from each stage to those behind it, side by side where it begins."""
    used: dict[tuple[int, int], Decimal] = {}
    ends = [(at, place) for at in range(1, len(columns)) for place in range(len(columns[at]))]
    made: list[str] = []
    for (at, place), (from_at, from_place) in zip(ends, links, strict=True):
        stage, source = columns[at][place], columns[from_at][from_place]
        wide = stage.rows * unit
        begun = used.get((from_at, from_place), Decimal(0))
        used[from_at, from_place] = begun + wide
        y0 = middles[from_at][from_place] - source.rows * unit / 2 + begun
        y1 = middles[at][place] - wide / 2
        x0, x1 = xs[from_at] + _NARROW, xs[at] - _NARROW
        bend = (x0 + x1) / 2
        points = [x0, y0, bend, y0, bend, y1, x1, y1, y1 + wide, bend, y0 + wide, x0]
        a, b, c, d, e, f, g, h, i, j, k, m = map(_number, points)
        made.append(
            f'<path class="{stage.kind} ribbon" d="M{a} {b}C{c} {d} {e} {f} {g} {h}V{i}'
            f'C{j} {i} {j} {k} {m} {k}Z"/>'
        )
    return made


def _picture(title: str, height: int, parts: Sequence[str]) -> Markup:
    return Markup(  # noqa: S704 - all that comes from elsewhere is escaped above
        f'<svg class="picture" width="100%" height="{height}" role="img" '
        f'aria-label="{escape(title)}" focusable="false">{"".join(parts)}</svg>'
    )


def _number(value: Decimal) -> str:
    """Write a number with two decimals at most: more cannot be seen."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
