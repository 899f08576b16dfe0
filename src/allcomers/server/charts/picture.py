"""A chart as a picture: SVG of nothing but text, lines and circles, light and dark by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from allcomers.server.charts.chart import Axis, Chart, Lines, Row, Rows, Series
from allcomers.server.charts.palette import COLOURS, PALETTE
from allcomers.server.charts.units import WRITTEN

WIDTH: Final = 660
_HEIGHT: Final = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 172, 46, 46
_ROW: Final = 26
_NOTE: Final = 17
_NAMES: Final = 190
_APART: Final = 15
"""Pixels between two names at the end of lines."""

_STYLE: Final = (
    PALETTE
    + """text { font: 13px system-ui, sans-serif; fill: var(--ink) }
.title { font-weight: 600; font-size: 15px } .small { font-size: 11.5px; fill: var(--soft) }
.grid { stroke: var(--rule) } .back { fill: var(--paper) }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round }
.dashed { stroke-dasharray: 6 4 } .fit { stroke-dasharray: 2 5; stroke-width: 1.8; opacity: .85 }
.range { stroke-width: 4; opacity: .3; stroke-linecap: round } .mark { stroke: var(--soft); stroke-dasharray: 4 4 }
.name { font-weight: 600; font-size: 12.5px }
"""
    + " ".join(f".c{n} {{ stroke: var(--c{n}) }} .f{n} {{ fill: var(--c{n}) }}" for n in range(COLOURS))
)

_Scale = Callable[[float], float]


def picture(chart: Chart) -> str:
    """Return the chart as an SVG file."""
    height, parts = _rows(chart) if isinstance(chart, Rows) else _lines(chart)
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f"<title>{escape(chart.title)}</title><style>{_STYLE}</style>",
            f'<rect class="back" width="{WIDTH}" height="{height:.0f}" rx="8"/>',
            _text(18, 25, chart.title, "title"),
            *(parts if not chart.is_empty else [_text(18, 60, "nothing to show", "small")]),
            "</svg>\n",
        )
    )


def _lines(chart: Lines) -> tuple[float, list[str]]:
    x, y = chart.x, chart.y
    seen = [point for one in chart.series for point in (*one.points, *one.fit)]
    left, right = _ends(x, [a for a, _ in seen], [])
    low, high = _ends(y, [b for _, b in seen], [mark.at for mark in chart.marks])
    across = _scale(x, left, right, _LEFT, WIDTH - _RIGHT)
    up = _scale(y, low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = [_text(WIDTH - _RIGHT, _HEIGHT - 8, x.label, "small", "end"), _text(18, _HEIGHT - 8, y.label, "small")]
    parts += [_column(across(tick), WRITTEN[x.unit](tick)) for tick in ticks(x, left, right, 9)]
    parts += [_level(up(tick), WRITTEN[y.unit](tick)) for tick in ticks(y, low, high, 6)]
    for mark in chart.marks:
        if low <= mark.at <= high:
            parts.append(_line("mark", _LEFT, up(mark.at), WIDTH - _RIGHT, up(mark.at)))
            parts.append(_text(_LEFT + 6, up(mark.at) - 5, mark.text, "small"))
    parts += [_drawn(one, across, up, chart) for one in chart.series if one.points]
    return _HEIGHT, [*parts, *_names(chart.series, up)]


def _rows(chart: Rows) -> tuple[float, list[str]]:
    known = [row for row in chart.rows if row.is_known]
    top = _TOP + _NOTE * len(chart.notes)
    height = top + _ROW * max(1, len(chart.rows)) + _BOTTOM
    values = [value for row in known for value in (row.value, row.low, row.high) if value > 0]
    axis = chart.axis
    low, high = _ends(axis, values, [chart.mark] if chart.mark else [])
    across = _scale(axis, low, high, _NAMES, WIDTH - _RIGHT)
    parts = [_text(WIDTH - _RIGHT, height - 8, axis.label, "small", "end")]
    parts += [_text(18, 44 + _NOTE * number, note, "small") for number, note in enumerate(chart.notes)]
    for tick in ticks(axis, low, high, 7):
        parts.append(_line("grid", across(tick), top - 4, across(tick), height - _BOTTOM + 4))
        parts.append(_text(across(tick), height - 24, WRITTEN[axis.unit](tick), "small", "middle"))
    if chart.mark:
        parts.append(_line("mark", across(chart.mark), top - 4, across(chart.mark), height - _BOTTOM + 4))
    for number, row in enumerate(chart.rows):
        parts.append(_row(row, top + _ROW * number + _ROW / 2, across, low))
    return height, parts


# ------------------------------------------------------------ scales


def _ends(axis: Axis, values: Sequence[float], marks: Sequence[float]) -> tuple[float, float]:
    known = [value for value in (*values, *marks) if math.isfinite(value) and (value > 0 or not axis.log)] or [1.0]
    low, high = min(known), max(known)
    if axis.log:
        low, high = (low * 0.87, high * 1.15) if high < low * 3 else (low * 0.8, high * 1.25)
    else:
        low, high = min(0.0, low), (high * 1.05 or 1.0)
    return low if axis.low is None else axis.low, high if axis.high is None else axis.high


def _scale(axis: Axis, low: float, high: float, start: float, end: float) -> _Scale:
    if axis.log:
        wide = math.log(high / low)
        return lambda value: start + (end - start) * math.log(min(max(value, low), high) / low) / wide
    return lambda value: start + (end - start) * (min(max(value, low), high) - low) / (high - low)


def ticks(axis: Axis, low: float, high: float, most: int) -> list[float]:
    """Return round values from low to high, at most `most`: 1, 2, 5 times a power of ten, or, on a logarithmic axis, 1
    alone as far as there is room. charts.js has the same rule."""
    if not axis.log:
        raw = (high - low) / most
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.9999)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1,),) if axis.unit == "percentile" else ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) <= most:
            break
    return found


# ------------------------------------------------------------ marks


def _drawn(one: Series, across: _Scale, up: _Scale, chart: Lines) -> str:
    kind = " dashed" if one.dashed else ""
    points = list(_steps(one.points)) if one.stepped else one.points
    parts = [f'<path class="line fit c{one.colour}" d="{_path(one.fit, across, up)}"/>'] if one.fit else []
    parts.append(f'<path class="line{kind} c{one.colour}" d="{_path(points, across, up)}"/>')
    if len(one.points) <= 20 and not one.stepped:
        for a, b in one.points:
            title = escape(f"{one.name}: {WRITTEN[chart.x.unit](a)}, {WRITTEN[chart.y.unit](b)}")
            dot = f'cx="{across(a):.1f}" cy="{up(b):.1f}" r="3.4"'
            parts.append(f'<circle class="f{one.colour}" {dot}><title>{title}</title></circle>')
    return "".join(parts)


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of a line on which each value holds until the next point."""
    corners = [(after[0], before[1]) for before, after in pairwise(points)]
    return [point for pair in zip(points, [*corners, points[-1]], strict=True) for point in pair]


def _path(points: Sequence[tuple[float, float]], across: _Scale, up: _Scale) -> str:
    return "M" + "L".join(f"{across(a):.1f} {up(b):.1f}" for a, b in points)


def _names(series: Sequence[Series], up: _Scale) -> list[str]:
    """Place each name at the end of its line, moved apart where two would touch."""
    ends = sorted((up(one.points[-1][1]), one.name, one.colour) for one in series if one.points)
    placed: list[float] = []
    for wanted, _, _ in ends:
        placed.append(max(wanted, placed[-1] + _APART) if placed else wanted)
    over = max(0.0, placed[-1] - (_HEIGHT - _BOTTOM + 4)) if placed else 0.0
    for place in range(len(placed) - 1, -1, -1):  # a name beyond the edge moves up, and pushes the others
        limit = placed[place + 1] - _APART if place + 1 < len(placed) else math.inf
        placed[place] = min(placed[place] - (over if place == len(placed) - 1 else 0), limit)
    return [
        f'<text class="name" style="fill: var(--c{colour})" x="{WIDTH - _RIGHT + 10}" y="{at + 4:.1f}">'
        f"{escape(name)}</text>"
        for at, (_, name, colour) in zip(placed, ends, strict=True)
    ]


def _row(row: Row, y: float, across: _Scale, low: float) -> str:
    name = _text(_NAMES - 12, y + 4, row.name, "name", "end")
    if not row.is_known:
        return name
    start, end = across(max(row.low, low)), across(row.high)
    return "".join(
        (
            name,
            _line(f"range c{row.colour}", start, y, end, y),
            f'<circle class="f{row.colour}" cx="{across(row.value):.1f}" cy="{y:.1f}" r="4.5"/>',
            _text(WIDTH - _RIGHT + 10, y + 4, row.label, "small"),
        )
    )


def _column(x: float, label: str) -> str:
    under = _text(x, _HEIGHT - _BOTTOM + 18, label, "small", "middle")
    return _line("grid", x, _TOP, x, _HEIGHT - _BOTTOM) + under


def _level(y: float, label: str) -> str:
    return _line("grid", _LEFT, y, WIDTH - _RIGHT, y) + _text(_LEFT - 8, y + 4, label, "small", "end")


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
