"""Ratios, ties and changes, on figures with a known result."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.commands.lab.analysis.statistics import (
    INDIFFERENT,
    NOTHING,
    Course,
    Interval,
    bounds,
    changepoints,
    is_tie,
    medians,
    quotient,
    ratio,
    steadiness,
    typical,
)

POSITIVE = st.floats(0.01, 1e6)


def noisy(level: float, count: int, noise: float = 0.03, seed: int = 1) -> list[float]:
    draw = Random(seed)
    return [draw.gauss(level, noise * level) for _ in range(count)]


@given(st.lists(POSITIVE, min_size=1, max_size=12))
def test_the_median_is_in_its_interval_and_that_within_the_trials(values: list[float]) -> None:
    found = typical(values)
    assert found.count == len(values)
    assert found.low <= found.value <= found.high
    slack = 1e-9 * max(values)
    assert min(values) - slack <= found.low
    assert found.high <= max(values) + slack


def test_three_trials_by_hand() -> None:
    """Of 27 equally likely draws of three, 7 have the least in the middle and 7 the most: each far above 2.5 in 100."""
    assert typical([3.0, 1.0, 2.0]) == Interval(2.0, 1.0, 3.0, 3)


@given(st.lists(POSITIVE, min_size=2, max_size=300))
def test_the_bounds_are_those_of_numpy(samples: list[float]) -> None:
    assert bounds(samples) == pytest.approx(tuple(np.quantile(samples, (0.025, 0.975))))


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8, 15])
def test_the_interval_is_that_of_every_draw(count: int) -> None:
    """numpy draws forty thousand times; the interval knows all draws, so it needs none."""
    values = np.array(noisy(100, count, 0.1))
    draw = np.random.default_rng(1)
    medians = np.median(values[draw.integers(0, count, (40_000, count))], axis=1)
    found = typical(list(values))
    beyond = [(medians < found.low - 1e-9).mean(), (medians > found.high + 1e-9).mean()]
    within = [(medians <= found.low + 1e-9).mean(), (medians >= found.high - 1e-9).mean()]
    assert max(beyond) < 0.028  # 2.5 in 100, and four deviations of chance
    assert min(within) > 0.022


@pytest.mark.parametrize("count", range(1, 16))
def test_all_that_can_be_drawn_is_certain(count: int) -> None:
    assert math.fsum(chance for _, chance in medians(list(range(count)))) == pytest.approx(1)


def test_two_experiments_by_hand() -> None:
    """Of three trials each: the extremes of either have 7 in 27, so both at once 6.7 in 100."""
    found = quotient([200.0, 220.0, 210.0], [100.0, 110.0, 105.0])
    assert (found.value, found.low, found.high, found.count) == (
        pytest.approx(2), pytest.approx(200 / 110), pytest.approx(220 / 100), 3,
    )  # fmt: skip
    assert quotient([1.0], [0.0, math.nan]) is NOTHING


def test_of_one_trial_there_is_no_interval_and_of_none_nothing() -> None:
    assert typical([5.0]) == Interval(5.0, 5.0, 5.0, 1)
    assert typical([math.nan]) is NOTHING
    assert math.isnan(ratio([(0.0, 1.0)]).value)


def test_the_interval_has_its_coverage() -> None:
    """Of 95 in 100, the percentile bootstrap of 20 values has some 92: it is known to be a little too narrow."""
    draw = Random(7)
    hits = sum(10.0 in typical([draw.gauss(10, 2) for _ in range(20)]) for _ in range(300))
    assert 0.88 <= hits / 300 <= 0.98


def test_the_same_figures_give_the_same_interval() -> None:
    assert typical(noisy(5, 9)) == typical(noisy(5, 9))


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=8))
def test_a_ratio_and_its_inverse_agree(pairs: list[tuple[float, float]]) -> None:
    there, back = ratio(pairs), ratio([(b, a) for a, b in pairs])
    assert there.value == pytest.approx(1 / back.value)


def test_pairs_cancel_the_state_of_a_round() -> None:
    """The machine is twice as fast in every other round; one is 10 % behind in each."""
    mood = [1.0, 2.0, 1.0, 2.0, 1.1, 1.9]
    found = ratio([(0.9 * m, m) for m in mood])
    assert (found.value, found.low, found.high) == pytest.approx((0.9, 0.9, 0.9))
    assert not is_tie(found)


def test_a_tie_is_called_a_tie() -> None:
    assert is_tie(Interval(0.97, 0.9, 1.04, 3))  # it may be 1
    assert is_tie(Interval(0.985, 0.981, 0.989, 5))  # too small to choose by
    assert not is_tie(Interval(0.9, 0.85, 1 - 1.1 * INDIFFERENT, 5))
    assert not is_tie(NOTHING)


def test_a_change_is_found_where_it_is() -> None:
    assert changepoints(noisy(100, 15) + noisy(80, 15, seed=2)) == (15,)
    assert changepoints(noisy(100, 10) + noisy(60, 10, seed=2) + noisy(100, 10, seed=3)) == (10, 20)


def test_noise_is_seldom_a_change() -> None:
    seen = [changepoints(noisy(100, 20, seed=seed)) for seed in range(200)]
    assert sum(map(bool, seen)) <= 10


@given(st.lists(st.floats(0, 1e9), max_size=40))
def test_any_series_has_a_course(series: list[float]) -> None:
    found = steadiness(series)
    assert list(found.changes) == sorted(set(found.changes))
    assert not found.levels or len(found.levels) == len(found.changes) + 1
    assert 0 <= found.since <= len(series)


@pytest.mark.parametrize(
    ("series", "course"),
    [
        (noisy(100, 7), Course.SHORT),
        (noisy(100, 20), Course.FLAT),
        ([100.0] * 20, Course.FLAT),
        (noisy(50, 5) + noisy(100, 20), Course.FASTER),
        (noisy(100, 5) + noisy(70, 20), Course.SLOWER),
        (noisy(100, 15) + noisy(50, 5), Course.UNSTEADY),
    ],
)
def test_how_a_series_went(series: list[float], course: Course) -> None:
    assert steadiness(series).course is course
