"""Pictures of charts, for any figures."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from allcomers.server.charts.chart import Axis, Lines, Mark, Row, Rows, Series
from allcomers.server.charts.palette import COLOURS
from allcomers.server.charts.picture import picture, ticks

POSITIVE = st.floats(1e-9, 1e12)
POINTS = st.lists(st.tuples(POSITIVE, POSITIVE), max_size=8)
AXES = st.sampled_from([Axis(title="figures", log=True), Axis(title="figures"), Axis(low=0.0, high=1.0)])
PLACES = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy")


def drawn(svg: str) -> ElementTree.Element:
    """Return the picture, which must be complete, with a number in every coordinate."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        assert all(math.isfinite(float(element.get(place, "0"))) for place in PLACES)
        assert "nan" not in element.get("d", "")
    return root


@given(st.lists(st.tuples(POINTS, st.booleans()), max_size=COLOURS), AXES, AXES)
def test_lines_of_any_figures(lines: list[tuple[list[tuple[float, float]], bool]], x: Axis, y: Axis) -> None:
    series = [
        Series(name=f"<{n}>", colour=n, points=points, stepped=stepped) for n, (points, stepped) in enumerate(lines)
    ]
    root = drawn(picture(Lines(title="A & B", x=x, y=y, series=series, marks=[Mark(1.0, "goal")])))
    names = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.text]
    assert {one.name for one in series if one.points} <= set(names)
    assert ("nothing to show" in names) == (not any(one.points for one in series))


ANY = st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf, 0.0])


@given(st.lists(st.tuples(ANY, ANY, ANY).map(sorted), max_size=8))
def test_rows_of_any_figures(figures: list[list[float]]) -> None:
    items = [Row(name="a<b", colour=0, value=b, low=a, high=c, label="") for a, b, c in figures]
    drawn(picture(Rows(title="Rows & bars", axis=Axis(log=True), rows=items, mark=1.0)))


@given(st.booleans(), st.floats(1e-6, 1e6), st.floats(1.05, 1e6), st.integers(4, 12))
def test_ticks_are_few_and_within(log: bool, low: float, wide: float, most: int) -> None:
    found = ticks(Axis(log=log), low, low * wide, most)
    assert found == sorted(found)
    assert all(low * 0.999 <= tick <= low * wide * 1.001 for tick in found)
    assert len(found) <= most + 1 or log


def test_it_has_its_colours_light_and_dark() -> None:
    axis = Axis(title="clients", log=True)
    line = Series(name="a", colour=0, points=[(1, 1), (2, 3)], fit=[(1, 1), (2, 2)])
    svg = picture(Lines(title="One", x=axis, y=axis, series=[line]))
    assert "prefers-color-scheme: dark" in svg
    assert ">clients (log)<" in svg
    drawn(svg)
