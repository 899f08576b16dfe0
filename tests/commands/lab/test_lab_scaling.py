"""The knee and the Universal Scalability Law, on servers of a known law."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allcomers.commands.lab.analysis.scaling import fit, knee
from support.measured import CLIENTS, EPOLL, ladder, usl


def points(law: object, **keywords: object) -> list[list[tuple[float, float]]]:
    trials = ladder(EPOLL, law, **keywords)  # type: ignore[arg-type]
    return [[(step.clients, step.tps) for step in trial.steps] for trial in trials]


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


def test_too_few_numbers_of_clients_give_no_law() -> None:
    assert fit(points(usl(1000, 0.02, 0.0), clients=CLIENTS[:3])) is None
    assert fit([]) is None
    assert fit([[(1, 0.0), (2, 0.0), (4, 0.0), (8, 0.0)]]) is None
