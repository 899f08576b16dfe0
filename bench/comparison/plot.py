"""A plot as SVG, of nothing but text, lines and circles: each server a row, readable on light and dark pages.

The picture has its own background, and both follow the reader's system (prefers-color-scheme).
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, LEFT, RIGHT, TOP, EACH, BOTTOM = 760, 190, 90, 44, 24, 34
STEPS = (1, 2, 5)

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .small { font-size: 11px; fill: #59636e }
.back { fill: #ffffff } .grid { stroke: #d1d9e0 } .floor { stroke: #59636e; stroke-dasharray: 4 3 }
.other { stroke: #59636e; fill: #59636e } .ours { stroke: #0969da; fill: #0969da } .bold { font-weight: 600 }
line { stroke-width: 1 } .range { stroke-width: 3; stroke-linecap: round; opacity: .45 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 } .back { fill: #0d1117 } .grid { stroke: #3d444d }
.floor { stroke: #9198a1 } .other { stroke: #9198a1; fill: #9198a1 } .ours { stroke: #4493f8; fill: #4493f8 } }
"""


class Point(NamedTuple):
    """A row: its figure, its range, its text, and whether it is allcomers."""

    name: str
    value: float
    low: float
    high: float
    label: str
    ours: bool


def svg(title: str, axis: str, points: Sequence[Point], line: float | None = None) -> str:
    """Plot rows from top to bottom on a logarithmic axis; `line` is a value that all are compared with."""
    known = [value for point in points for value in point[1:4] if value > 0 and math.isfinite(value)]
    least, most = bounds(known if line is None else [*known, line])
    height = TOP + EACH * len(points) + BOTTOM
    at = scale(least, most)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{escape(title)}</text>',
        *(grid(at(tick), tick, height) for tick in ticks(least, most)),
        f'<text class="small" x="{WIDTH - 12}" y="24" text-anchor="end">{escape(axis)}</text>',
    ]
    if line is not None:
        parts.append(vertical("floor", at(line), height))
    parts += [drawn(point, TOP + EACH * number + EACH // 2, at) for number, point in enumerate(points)]
    return "\n".join([*parts, "</svg>", ""])


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return a range a little wider than from the lowest to the highest."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    return low / 1.15, max(high * 1.1, low * 2)


def scale(least: float, most: float) -> Callable[[float], float]:
    wide = WIDTH - LEFT - RIGHT

    def at(value: float) -> float:
        value = min(max(value, least), most)
        return LEFT + wide * (math.log(value) - math.log(least)) / (math.log(most) - math.log(least))

    return at


def ticks(least: float, most: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten between the two."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    return [step * 10.0**power for power in powers for step in STEPS if least <= step * 10.0**power <= most]


def grid(x: float, tick: float, height: int) -> str:
    label = f"{tick:,.0f}" if tick >= 1 else f"{tick:g}"
    under = f'<text class="small" x="{x:.1f}" y="{height - 12}" text-anchor="middle">{label}</text>'
    return vertical("grid", x, height) + under


def vertical(kind: str, x: float, height: int) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - BOTTOM + 4}"/>'


def drawn(point: Point, y: float, at: Callable[[float], float]) -> str:
    kind = "ours" if point.ours else "other"
    bold = ' class="bold"' if point.ours else ""
    name = f'<text{bold} x="{LEFT - 14}" y="{y + 4:.0f}" text-anchor="end">{escape(point.name)}</text>'
    if not (point.value > 0 and math.isfinite(point.value)):
        return name
    label = f'<text class="small" x="{WIDTH - 12}" y="{y + 4:.0f}" text-anchor="end">{escape(point.label)}</text>'
    spread = f'<line class="{kind} range" x1="{at(point.low):.1f}" x2="{at(point.high):.1f}" y1="{y}" y2="{y}"/>'
    return f'{name}{spread}<circle class="{kind}" cx="{at(point.value):.1f}" cy="{y}" r="4"/>{label}'
