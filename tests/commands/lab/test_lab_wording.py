"""Figures in words, for any figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.lab.analysis import wording
from allcomers.commands.lab.analysis.statistics import NOTHING, Interval


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
