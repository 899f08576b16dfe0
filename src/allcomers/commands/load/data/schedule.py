"""When requests are due in an open loop: one schedule, from which each process takes its own share.

The rate is that of all processes together, so process i of t takes every t-th moment from the i-th on; all make the
same moments, by the same random numbers. With a ramp the rate grows linearly from 0. Times are ns since the start.

It knows no clock and no request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count, islice
from random import Random

from allcomers.commands.load.data.plan import Plan


def moments(plan: Plan, process: int) -> Iterator[int]:
    """Return the moments of this process, without end."""
    return islice(_moments(plan), process, None, plan.processes)


def _moments(plan: Plan) -> Iterator[int]:
    for number in _poisson(plan.seed) if plan.arrivals == "poisson" else count():
        yield int(1e9 * _when(number, plan.rate, plan.ramp))


def _poisson(seed: int) -> Iterator[float]:
    """Yield the moments of a Poisson process of rate 1."""
    draw = Random(seed).expovariate
    at = 0.0
    while True:
        at += draw(1.0)
        yield at


def _when(number: float, rate: float, ramp: float) -> float:
    """Return the second at which `number` requests are due: rate·t²/2·ramp in the ramp, a straight line after it."""
    within = rate * ramp / 2
    if number < within:
        return math.sqrt(2 * number * ramp / rate)
    return ramp + (number - within) / rate
