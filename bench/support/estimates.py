"""From rounds to figures: the ratio to what was measured in the same round, and its confidence."""

import math
import random
import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

RESAMPLES = 2000
LEVEL = 0.95


class Ratio(NamedTuple):
    """The median of the ratios of `rounds` rounds, and its 95 % confidence interval."""

    median: float
    low: float
    high: float
    rounds: int


def ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Return the estimate of (figure, baseline of the same round): nan without a round; no interval for one alone."""
    ratios = [figure / baseline for figure, baseline in pairs if figure > 0 and baseline > 0]
    if not ratios:
        return Ratio(math.nan, math.nan, math.nan, 0)
    return Ratio(statistics.median(ratios), *interval(tuple(ratios)), len(ratios))


@lru_cache(maxsize=4096)
def interval(values: tuple[float, ...], seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap's percentile interval of the median (Efron, 1979): the rounds drawn anew, with replacement.

    The same values give the same interval. Of fewer than five rounds it is too narrow.
    """
    draw = random.Random(seed)
    count = len(values)
    medians = sorted(statistics.median(draw.choices(values, k=count)) for _ in range(RESAMPLES))
    cut = round(RESAMPLES * (1 - LEVEL) / 2)
    return medians[cut], medians[-cut - 1]
