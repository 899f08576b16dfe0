"""Plots as SVG, of nothing but text, lines and circles: no script, no outside resource, light and dark.

Two kinds: lines over a logarithmic axis, each named at its end; and rows with a dot and its interval. A plot takes
its colours from STYLE, which a page has once and a single picture includes (`alone`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 660
_HEIGHT: Final = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 172, 46, 46
_ROW: Final = 26
_NAMES: Final = 190
_APART: Final = 15
"""Pixels between two names at the end of lines."""

_LIGHT: Final = (
    "#0b62d6",
    "#c8381f",
    "#12805c",
    "#9a6700",
    "#7a3fc4",
    "#0b7f93",
    "#b3246f",
    "#59636e",
    "#6b7d00",
    "#8c5a3c",
)
_DARK: Final = (
    "#58a6ff",
    "#ff8066",
    "#3fcf95",
    "#e3b341",
    "#bc8cff",
    "#39c5d8",
    "#f57fb8",
    "#9aa7b5",
    "#bccf4a",
    "#d9a68a",
)
COLOURS: Final = len(_LIGHT)

_PLOT: Final = """
.plot { font: 13px system-ui, sans-serif }
.plot text { fill: var(--ink) } .plot .title { font-weight: 600; font-size: 15px }
.plot .small { font-size: 11.5px; fill: var(--soft) }
.plot .grid { stroke: var(--rule); stroke-width: 1 } .plot .back { fill: var(--paper) }
.plot .line { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round }
.plot .fit { stroke-dasharray: 2 5; stroke-width: 1.8; opacity: .85 }
.plot .range { stroke-width: 4; opacity: .3; stroke-linecap: round }
.plot .mark { stroke: var(--soft); stroke-dasharray: 4 4 } .plot .name { font-weight: 600; font-size: 12.5px }
"""


def _palette(colours: Sequence[str]) -> str:
    return " ".join(f"--c{number}: {colour};" for number, colour in enumerate(colours))


_DAY: Final = f"--ink: #1f2328; --soft: #59636e; --rule: #e3e8ee; --paper: #ffffff; {_palette(_LIGHT)}"
_NIGHT: Final = f"--ink: #e6edf3; --soft: #9aa7b5; --rule: #2b333d; --paper: #0f141b; {_palette(_DARK)}"
STYLE: Final = f":root {{ {_DAY} }} @media (prefers-color-scheme: dark) {{ :root {{ {_NIGHT} }} }}{_PLOT}" + " ".join(
    f".plot .c{n} {{ stroke: var(--c{n}) }} .plot .f{n} {{ fill: var(--c{n}) }}" for n in range(COLOURS)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line of points (x, y), with its colour, 0 to COLOURS - 1; `fit` is a second, dotted one."""

    name: str
    colour: int
    points: Sequence[tuple[float, float]]
    fit: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A dot at `value`, a bar from `low` to `high`, a label at the end."""

    name: str
    colour: int
    value: float
    low: float
    high: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """`format` formats a value; the axis is logarithmic unless it is of `parts`, 0 to 1. The title names y."""

    name: str = ""
    format: Callable[[float], str]
    parts: bool = False
    least: float = 0.0


Scale = Callable[[float], float]


def lines(title: str, series: Sequence[Series], x: Axis, y: Axis, mark: tuple[float, str] | None = None) -> str:
    """Plot lines over an axis; `mark` is a value of y with a line of its own, and its label."""
    seen = [point for one in series for point in (*one.points, *one.fit)]
    if not seen:
        return _svg(title, 90, [_text(_LEFT, 60, "nothing to show", "small")])
    left, right = _bounds(x, [a for a, _ in seen])
    low, high = _bounds(y, [b for _, b in seen] + ([mark[0]] if mark else []))
    across = _scale(x, left, right, _LEFT, WIDTH - _RIGHT)
    up = _scale(y, low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = [_text(WIDTH - _RIGHT, _HEIGHT - 8, x.name, "small", "end")]
    parts += [_column(across(tick), x.format(tick)) for tick in _ticks(x, left, right, 9)]
    parts += [_level(up(tick), y.format(tick)) for tick in _ticks(y, low, high, 6)]
    if mark and low <= mark[0] <= high:
        parts += [_line("mark", _LEFT, up(mark[0]), WIDTH - _RIGHT, up(mark[0]))]
        parts += [_text(_LEFT + 6, up(mark[0]) - 5, mark[1], "small")]
    parts += [_drawn(one, across, up, x, y) for one in series]
    return _svg(title, _HEIGHT, [*parts, *_names(series, up)])


def rows(title: str, items: Sequence[Row], axis: Axis, mark: float | None = None) -> str:
    """Plot a row for each item; `mark` is a value that all are compared with."""
    known = [item for item in items if all(map(math.isfinite, (item.low, item.value, item.high))) and item.value > 0]
    height = _TOP + _ROW * max(1, len(known)) + _BOTTOM
    if not known:
        return _svg(title, height, [_text(_LEFT, _TOP + 18, "nothing to show", "small")])
    values = [value for item in known for value in (item.value, item.low, item.high) if value > 0]
    low, high = _bounds(axis, [*values, *([mark] if mark else [])])
    across = _scale(axis, low, high, _NAMES, WIDTH - _RIGHT)
    parts = [_text(WIDTH - _RIGHT, height - 8, axis.name, "small", "end")]
    for tick in _ticks(axis, low, high, 7):
        parts += [_line("grid", across(tick), _TOP - 4, across(tick), height - _BOTTOM + 4)]
        parts += [_text(across(tick), height - 24, axis.format(tick), "small", "middle")]
    if mark:
        parts.append(_line("mark", across(mark), _TOP - 4, across(mark), height - _BOTTOM + 4))
    parts += [_row(item, _TOP + _ROW * number + _ROW / 2, across, low) for number, item in enumerate(known)]
    return _svg(title, height, parts)


def alone(svg: str) -> str:
    """Return a plot as a file of its own."""
    return svg.replace(">", f"><style>{STYLE}</style>", 1) + "\n"


# ------------------------------------------------------------ scales


def _bounds(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    if axis.parts:
        return 0.0, 1.0
    known = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    low, high = min(known), max(known)
    low = max(low, axis.least) if axis.least else low
    return (low * 0.87, high * 1.15) if high < low * 3 else (low * 0.8, high * 1.25)


def _scale(axis: Axis, low: float, high: float, start: float, end: float) -> Scale:
    if axis.parts:
        return lambda value: start + (end - start) * min(max(value, 0.0), 1.0)
    wide = math.log(high / low)
    return lambda value: start + (end - start) * math.log(min(max(value, low), high) / low) / wide


def _ticks(axis: Axis, low: float, high: float, most: int) -> list[float]:
    """Return round values between: 1, 2, 5 times the powers of ten, or 1 alone, as far as there is room for labels."""
    if axis.parts:
        return [0.0, 0.25, 0.5, 0.75, 0.9, 1.0]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) <= most:
            break
    return found


# ------------------------------------------------------------ marks


def _drawn(one: Series, across: Scale, up: Scale, x: Axis, y: Axis) -> str:
    parts = [f'<path class="line fit c{one.colour}" d="{_path(one.fit, across, up)}"/>'] if one.fit else []
    parts.append(f'<path class="line c{one.colour}" d="{_path(one.points, across, up)}"/>')
    if len(one.points) <= 20:
        for a, b in one.points:
            title = escape(f"{one.name}: {x.format(a)}, {y.format(b)}")
            dot = f'cx="{across(a):.1f}" cy="{up(b):.1f}" r="3.4"'
            parts.append(f'<circle class="f{one.colour}" {dot}><title>{title}</title></circle>')
    return "".join(parts)


def _path(points: Sequence[tuple[float, float]], across: Scale, up: Scale) -> str:
    return "M" + "L".join(f"{across(a):.1f} {up(b):.1f}" for a, b in points)


def _names(series: Sequence[Series], up: Scale) -> list[str]:
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
        f'<text class="name f{colour}" style="fill: var(--c{colour})" x="{WIDTH - _RIGHT + 10}" y="{at + 4:.1f}">'
        f"{escape(name)}</text>"
        for at, (_, name, colour) in zip(placed, ends, strict=True)
    ]


def _row(item: Row, y: float, across: Scale, low: float) -> str:
    x = across(item.value)
    return "".join(
        (
            _text(_NAMES - 14, y + 4, item.name, "name", "end"),
            _line(f"range c{item.colour}", across(max(item.low, low)), y, across(item.high), y),
            f'<circle class="f{item.colour}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>',
            _text(WIDTH - _RIGHT + 12, y + 4, item.label, "small"),
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


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return "".join(
        (
            f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f'<title>{escape(title)}</title><rect class="back" width="{WIDTH}" height="{height:.0f}" rx="8"/>',
            _text(18, 25, title, "title"),
            *parts,
            "</svg>",
        )
    )
