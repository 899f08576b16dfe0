"""When requests are due: the planned rate, however many processes share it."""

from __future__ import annotations

from itertools import islice, pairwise
from statistics import fmean, pstdev
from typing import Any

import pytest

from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.schedule import moments

SECOND = 10**9


def due(count: int, process: int = 0, **values: Any) -> list[int]:
    """Return the first moments of a process, in ns."""
    plan = Plan.make(url="http://127.0.0.1/", clients=64, **{"rate": 100.0, **values})
    return list(islice(moments(plan, process), count))


def test_a_constant_rate_is_even() -> None:
    assert due(4) == [0, SECOND // 100, 2 * SECOND // 100, 3 * SECOND // 100]


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_processes_share_one_schedule(arrivals: str) -> None:
    whole = due(90, arrivals=arrivals)
    shared = [due(30, process, arrivals=arrivals, processes=3) for process in range(3)]
    assert sorted(moment for part in shared for moment in part) == whole


def test_poisson_gaps_have_the_mean_and_the_deviation_of_an_exponential() -> None:
    moments = due(20_000, arrivals="poisson")
    gaps = [after - before for before, after in pairwise(moments)]
    assert fmean(gaps) == pytest.approx(SECOND / 100, rel=0.03)
    assert pstdev(gaps) == pytest.approx(SECOND / 100, rel=0.05)


def test_a_seed_gives_the_same_moments_again_and_another_others() -> None:
    assert due(50, arrivals="poisson") == due(50, arrivals="poisson")
    assert due(50, arrivals="poisson") != due(50, arrivals="poisson", seed=2)


def test_a_ramp_grows_to_the_rate() -> None:
    moments = due(1000, ramp=2.0)
    assert moments == sorted(moments)
    within = [sum(second * SECOND <= moment < (second + 1) * SECOND for moment in moments) for second in range(4)]
    assert within == pytest.approx([25, 75, 100, 100], abs=1)
