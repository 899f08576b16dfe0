"""What a chart shows, as plain values: a page draws it with uPlot (page.py), a picture as SVG (picture.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from allcomers.server.charts.units import Unit

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis; its title says if it is logarithmic.

    low, high  its ends; None: a little beyond the values, and 0 at the lower end of a linear one
    """

    title: str = ""
    unit: Unit = "number"
    log: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def label(self) -> str:
        return f"{self.title} (log)".strip() if self.log else self.title


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line of points (x, y), in the palette's colour of that number; its legend has the name.

    fit      points of a second, dotted line of the same name: a law fitted to the first
    stepped  each value holds until the next point
    """

    name: str
    colour: int
    points: Points
    fit: Points = ()
    dashed: bool = False
    filled: bool = False
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across at a value of y, with its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A box of a heat map; `share` is 0 to 1, of the fullest."""

    x: tuple[float, float]
    y: tuple[float, float]
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines over an axis, all charts of one x-axis with one crosshair; `cells` lie behind them."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    cells: Sequence[Cell] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not any(one.points for one in self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A dot at `value`, a bar from `low` to `high`, a label at the end."""

    name: str
    colour: int
    value: float
    low: float
    high: float
    label: str

    @property
    def is_known(self) -> bool:
        """Whether it can be drawn on a logarithmic axis."""
        return all(map(math.isfinite, (self.low, self.value, self.high))) and self.value > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A row for each item; `mark` is a value that all are compared with, `notes` are lines below a picture's title."""

    title: str
    axis: Axis
    rows: Sequence[Row]
    mark: float | None = None
    notes: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not any(row.is_known for row in self.rows)


Chart = Lines | Rows


def as_values(chart: Chart) -> dict[str, Any]:
    """Return what charts.js draws: the fields of the chart, in JSON's types."""
    values: dict[str, Any] = _finite(asdict(chart))
    if isinstance(chart, Lines):
        values["x"]["label"], values["y"]["label"] = chart.x.label, chart.y.label
    else:
        values["axis"]["label"] = chart.axis.label
    return values


def _finite(value: Any) -> Any:
    """Return a value with nine digits and None for what is no number; of dicts and sequences, each."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
