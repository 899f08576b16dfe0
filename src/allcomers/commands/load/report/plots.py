"""Plots as SVG: lines, bars and a heat map on linear or logarithmic axes. Text in, text out.

Colours are the page's CSS variables, so that a plot is light or dark as the page is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, TypeAlias

WIDTH: Final = 640
HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 26, 26, 34

Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from `low` to `high`; `ticks` are (value, text)."""

    low: float
    high: float
    title: str
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def share(self, value: float) -> float:
        """Return the position of a value: 0 at `low`, 1 at `high`."""
        if self.log:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(high: float, title: str, exact: bool = False) -> Axis:
    """Return an axis from 0 on, with about five round ticks; to `high` exactly, or to the tick after it."""
    high = max(high, 1e-9)
    step = 10 ** math.floor(math.log10(high / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if high / (step * factor) <= 6)
    count = math.floor(high / step) if exact else math.ceil(round(high / step, 6))
    return Axis(0.0, high if exact else count * step, title, [(i * step, f"{i * step:,g}") for i in range(count + 1)])


def logarithmic(low: float, high: float, title: str, text: Callable[[float], str]) -> Axis:
    """Return an axis with a tick at each power of ten; `text` formats a value."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    ticks = [(10.0**power, text(10.0**power)) for power in range(first, last + 1)]
    return Axis(10.0**first, 10.0**last, title, ticks, log=True)


@dataclass(slots=True)
class Plot:
    """Axes and the marks on them, from back to front."""

    x: Axis
    y: Axis
    name: str
    _parts: list[str] = field(default_factory=list)
    _keys: list[tuple[str, str]] = field(default_factory=list)

    def line(self, points: Points, colour: str, key: str = "", dashed: bool = False) -> None:
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="var(--{colour})" stroke-width="1.8"'
            f' stroke-linejoin="round"{dash}/>'
        )
        if key:
            self._keys.append((colour, key))

    def box(self, x: tuple[float, float], y: tuple[float, float], colour: str, opacity: float, title: str) -> None:
        """Add a rectangle; `title` is its tooltip."""
        left, right = self._x(x[0]), self._x(x[1])
        top, bottom = self._y(y[1]), self._y(y[0])
        self._parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0.5):.1f}"'
            f' height="{max(bottom - top, 0.5):.1f}" fill="var(--{colour})" fill-opacity="{opacity:.2f}">'
            f"<title>{escape(title)}</title></rect>"
        )

    def svg(self) -> str:
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.name)}">'
            + "".join(self._grid())
            + "".join(self._parts)
            + "".join(self._legend())
            + "</svg>"
        )

    def _x(self, value: float) -> float:
        return _LEFT + self.x.share(value) * (WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - self.y.share(value) * (HEIGHT - _TOP - _BOTTOM)

    def _grid(self) -> Iterator[str]:
        low = HEIGHT - _BOTTOM
        for value, text in self.y.ticks:
            at = self._y(value)
            yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        for value, text in self.x.ticks:
            at = self._x(value)
            yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{low}"/>'
            yield f'<text x="{at:.1f}" y="{low + 15}" text-anchor="middle">{escape(text)}</text>'
        yield f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(self.x.title)}</text>'
        yield f'<text x="4" y="{HEIGHT - 4}">{escape(self.y.title)}</text>'

    def _legend(self) -> Iterator[str]:
        at = _LEFT + 0.0
        for colour, key in self._keys:
            yield f'<rect x="{at:.0f}" y="{_TOP - 14}" width="14" height="3" fill="var(--{colour})"/>'
            yield f'<text x="{at + 19:.0f}" y="{_TOP - 8}">{escape(key)}</text>'
            at += 30 + 7 * len(key)
