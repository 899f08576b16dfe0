"""The knee and the Universal Scalability Law, on servers of a known law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.stats import t

from allcomers.commands.lab.analysis.scaling import Points, fit, knee, student
from support.measured import CLIENTS, EPOLL, ladder, usl


def points(law: object, **keywords: object) -> tuple[Points, ...]:
    trials = ladder(EPOLL, law, **keywords)  # type: ignore[arg-type]
    return tuple(tuple((step.clients, step.tps) for step in trial.steps) for trial in trials)


def test_the_knee_is_where_the_bounds_meet() -> None:
    assert knee(0.010, 2000) == pytest.approx(20)
    assert knee(0.010, 2000, think=1.0) == pytest.approx(2020)


@settings(max_examples=15)
@given(st.floats(10, 1e5), st.floats(0.001, 0.5), st.floats(1e-6, 1e-4))
def test_exact_figures_give_the_law_back(rate: float, contention: float, coherency: float) -> None:
    found = fit(points(usl(rate, contention, coherency), rounds=1))
    assert found is not None
    assert found.rate.value == pytest.approx(rate, rel=0.01)
    assert found.contention.value == pytest.approx(contention, rel=0.02)
    assert found.coherency.value == pytest.approx(coherency, rel=0.05)
    assert found.error < 0.01


def test_a_peak_is_where_the_law_has_it() -> None:
    found = fit(points(usl(1000, 0.02, 1e-5), noise=0.03))
    assert found is not None
    assert found.holds
    assert found.coherency.low > 0
    assert found.peak == pytest.approx((0.98 / 1e-5) ** 0.5, rel=0.15)
    assert 1e-5 in found.coherency
    assert 0.02 in found.contention


@pytest.mark.parametrize("seed", range(8))
def test_no_peak_is_claimed_where_there_is_none(seed: int) -> None:
    found = fit(points(usl(1000, 0.05, 0.0), noise=0.05, seed=seed))
    assert found is not None
    assert found.peak is None


def test_a_law_that_does_not_fit_does_not_hold() -> None:
    """A pool of threads: throughput grows linearly, then not at all."""
    found = fit(points(lambda clients: min(95.0 * clients, 3200.0), noise=0.01))
    assert found is not None
    assert not found.holds
    assert found.peak is None


def test_four_points_by_hand() -> None:
    """X = 100 N / (1 + 0.1 (N - 1) + 0.01 N (N - 1)): 100, 178.57, 281.69, 353.98 for 1, 2, 4 and 8 clients."""
    found = fit((((1, 100.0), (2, 200 / 1.12), (4, 400 / 1.42), (8, 800 / 2.26)),))
    assert found is not None
    assert (found.rate.value, found.contention.value, found.coherency.value) == pytest.approx((100, 0.1, 0.01))
    assert found.peak == pytest.approx(9.4868, abs=1e-4)  # the root of (1 - 0.1) / 0.01
    assert found.at(4) == pytest.approx(281.69, abs=0.01)
    assert found.error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("rate", "contention", "coherency", "noise"),
    [(1000, 0.02, 1e-5, 0.03), (1000, 0.05, 0.0, 0.05), (5e4, 0.3, 1e-6, 0.05), (10, 0.001, 1e-4, 0.02)],
)
def test_it_agrees_with_the_search_of_scipy(rate: float, contention: float, coherency: float, noise: float) -> None:
    """scipy fits the logarithm of the law; the two differ by far less than either is sure of."""
    trials = points(usl(rate, contention, coherency), noise=noise, rounds=2)
    clients, rates = np.array([point for trial in trials for point in trial]).T
    start = (math.log(rate), contention, coherency)
    best, covariance = curve_fit(logarithm, clients, np.log(rates), p0=start)
    wide = float(t.ppf(0.975, len(clients) - 3)) * np.sqrt(np.diag(covariance))
    found = fit(trials)
    assert found is not None
    assert math.log(found.rate.value) == pytest.approx(best[0], abs=0.3 * wide[0])
    for mine, value, width in ((found.contention, best[1], wide[1]), (found.coherency, best[2], wide[2])):
        assert mine.value == pytest.approx(value, abs=0.3 * width)
        assert mine.high - mine.low == pytest.approx(2 * width, rel=0.2)


def logarithm(clients: Any, rate: float, contention: float, coherency: float) -> Any:
    below = 1 + contention * (clients - 1) + coherency * clients * (clients - 1)
    return rate + np.log(clients) - np.log(np.maximum(below, 1e-9))


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 12, 30, 177])
def test_students_t_is_that_of_scipy(freedom: int) -> None:
    assert student(freedom) == pytest.approx(t.ppf(0.975, freedom), abs=1e-6)


def test_figures_that_no_law_fits_give_none() -> None:
    """N/X is -0.5 + (N - 1): λ would have to be negative."""
    assert fit((((2, 2 / 0.5), (3, 3 / 1.5), (4, 4 / 2.5), (5, 5 / 3.5)),)) is None


def test_too_few_numbers_of_clients_give_no_law() -> None:
    assert fit(points(usl(1000, 0.02, 0.0), clients=CLIENTS[:3])) is None
    assert fit(()) is None
    assert fit((((1, 0.0), (2, 0.0), (4, 0.0), (8, 0.0)),)) is None
