"""Plots and figures in words, for any figures."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.statistics import NOTHING, Interval
from allcomers.commands.lab.report import plots
from allcomers.commands.lab.report.plots import Axis, Row, Series

POSITIVE = st.floats(1e-9, 1e12)
POINTS = st.lists(st.tuples(POSITIVE, POSITIVE), max_size=8)
AXIS = Axis(name="figures", format=wording.number)
PLACES = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy")


def drawn(svg: str) -> ElementTree.Element:
    """Return the plot, which must be complete, with a number in every coordinate."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        assert all(math.isfinite(float(element.get(place, "0"))) for place in PLACES)
        assert "nan" not in element.get("d", "")
    return root


@given(st.lists(POINTS, max_size=plots.COLOURS))
def test_lines_of_any_figures(lines: list[list[tuple[float, float]]]) -> None:
    series = [Series(name=f"<{n}>", colour=n, points=points) for n, points in enumerate(lines)]
    root = drawn(plots.lines("A & B", series, AXIS, AXIS))
    if any(lines):
        names = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.text]
        assert {f"<{n}>" for n, points in enumerate(lines) if points} <= set(names)


ANY = st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf, 0.0])


@given(st.lists(st.tuples(ANY, ANY, ANY).map(sorted), max_size=8))
def test_rows_of_any_figures(figures: list[list[float]]) -> None:
    items = [Row(name="a", colour=0, value=b, low=a, high=c, label="") for a, b, c in figures]
    drawn(plots.rows("Rows", items, AXIS, mark=1.0))


def test_a_plot_of_its_own_has_its_colours() -> None:
    svg = plots.alone(plots.lines("One", [Series(name="a", colour=0, points=[(1, 1), (2, 3)])], AXIS, AXIS))
    assert "prefers-color-scheme: dark" in svg
    drawn(svg)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (wording.number(12345.6), "12,346"),
        (wording.number(1.2345), "1.23"),
        (wording.number(0.0), "0"),
        (wording.number(100.0), "100"),
        (wording.seconds(0.0123), "12.3 ms"),
        (wording.seconds(41e-6), "41 µs"),
        (wording.seconds(2.5), "2.5 s"),
        (wording.seconds(math.nan), "–"),
        (wording.size(1500), "1.5 KB"),
        (wording.percent(0.125), "12.5 %"),
        (wording.ratio(Interval(0.9, 0.85, 0.95, 3)), "0.90 (0.85–0.95)"),
        (wording.ratio(NOTHING), "–"),
        (wording.many(1, "client"), "1 client"),
        (wording.many(1000, "client"), "1,000 clients"),
    ],
)
def test_figures_in_words(said: str, text: str) -> None:
    assert said == text


@given(st.floats())
def test_any_figure_has_words(value: float) -> None:
    for say in (wording.number, wording.seconds, wording.size, wording.percent, wording.rate):
        assert say(value)
