"""From rounds to figures: the ratio to the floor, and its confidence."""

import math
import random
import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

RESAMPLES = 2000
LEVEL = 0.95


class Ratio(NamedTuple):
    """Return the geometric mean of the ratios of `rounds` rounds, and its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    rounds: int


def ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Return the estimate of (figure, floor of the same round): nan without a round; no interval for one alone."""
    logs = [math.log(figure / floor) for figure, floor in pairs if figure > 0 and floor > 0]
    if not logs:
        return Ratio(math.nan, math.nan, math.nan, 0)
    low, high = interval(tuple(logs))
    return Ratio(math.exp(statistics.fmean(logs)), math.exp(low), math.exp(high), len(logs))


@lru_cache(maxsize=1024)
def interval(values: tuple[float, ...], seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap's percentile interval of the mean (Efron, 1979): the rounds drawn anew, with replacement.

    The same values give the same interval. Of fewer than five rounds it is too narrow.
    """
    draw = random.Random(seed)
    count = len(values)
    means = sorted(sum(draw.choices(values, k=count)) / count for _ in range(RESAMPLES))
    cut = round(RESAMPLES * (1 - LEVEL) / 2)
    return means[cut], means[-cut - 1]
