"""Statistics of repeated trials: ratios and their confidence, ties, and the steadiness of a series. Pure.

A trial, one server from its start to its end, is the unit: what differs from start to start (where memory lies, in
which order threads started) is the same for all that one trial measures, so a thousand seconds of one trial are one
sample. Two candidates are compared within a round, as both then had the machine in the same state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import accumulate, pairwise
from statistics import fmean, median, quantiles
from typing import Any, Final

LEVEL: Final = 0.95
INDIFFERENT: Final = 0.02
"""A difference below this is too small to choose by."""

SHORTEST: Final = 8
"""Points of a series in which a change can be told from noise."""

_SEGMENT: Final = 3
_ALIKE: Final = 0.05
"""Levels that differ by less count as one."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % confidence interval, from `count` trials (or pairs of them).

    nan if there is nothing to estimate from; low = high = value of one trial alone.
    """

    value: float
    low: float
    high: float
    count: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def as_dict(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "count": self.count}


NOTHING: Final = Interval(math.nan, math.nan, math.nan, 0)


def typical(values: Sequence[float]) -> Interval:
    """Return the median, and the percentiles of its bootstrap: trials drawn anew, with replacement (Efron 1979).

    The median, as something else may run during one trial and slow it down. Of fewer than five trials the interval is
    too narrow.
    """
    known = sorted(value for value in values if math.isfinite(value))
    if not known:
        return NOTHING
    return _interval(median(known), medians(known), len(known))


def medians(known: Sequence[float]) -> list[tuple[float, float]]:
    """Return (sample, its probability) of all medians that the bootstrap can draw from sorted values."""
    return [((known[low] + known[high]) / 2, chance) for low, high, chance in _draws(len(known))]


@cache
def _draws(count: int) -> tuple[tuple[int, int, float], ...]:
    """Return (place, place, probability): `count` draws from as many sorted values have these two in their middle, or
    this one twice. Each draw is one of them with the same probability, so no chance is needed to know it."""
    lower = (count + 1) // 2  # place of the lower of the two in the middle, from 1
    if count % 2:
        ends = [_at_least(lower, count, place / count) for place in range(count + 1)]
        return tuple((place, place, ends[place + 1] - ends[place]) for place in range(count))
    found = []
    for low in range(count):
        begins = ((low + 1) / count) ** lower - (low / count) ** lower
        apart = [
            (
                low,
                high,
                math.comb(count, lower) * begins * ((1 - high / count) ** lower - (1 - (high + 1) / count) ** lower),
            )
            for high in range(low + 1, count)
        ]
        chance = _at_least(lower, count, (low + 1) / count) - _at_least(lower, count, low / count)
        found += [(low, low, max(0.0, chance - math.fsum(one for _, _, one in apart))), *apart]
    return tuple(found)


def _at_least(wanted: int, count: int, chance: float) -> float:
    """Return the probability that of `count` draws `wanted` or more hit, each with `chance` (the binomial's tail)."""
    return math.fsum(
        math.comb(count, hits) * chance**hits * (1 - chance) ** (count - hits) for hits in range(wanted, count + 1)
    )


def _interval(value: float, samples: Sequence[tuple[float, float]], count: int) -> Interval:
    """Return the interval of (sample, its probability): what lies beyond either end has 2.5 % or less."""
    ordered = sorted(samples)
    low, high = _percentile(ordered), _percentile(ordered[::-1])
    return Interval(value, min(low, value), max(high, value), count)


def _percentile(ordered: Sequence[tuple[float, float]]) -> float:
    """Return the first sample at which the probabilities reach half of what is outside the interval."""
    reached = 0.0
    for sample, chance in ordered:
        reached += chance
        if reached >= (1 - LEVEL) / 2:
            return sample
    return ordered[-1][0]


def bounds(samples: Sequence[float]) -> tuple[float, float]:
    """Return the bounds that enclose 95 % of the bootstrap's samples; those between two of them by a straight line."""
    parts = quantiles(samples, n=round(2 / (1 - LEVEL)), method="inclusive")
    return parts[0], parts[-1]


def ratio(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Return the median of a / b over rounds, by its logarithm; pairs (a, b) that are not positive do not count."""
    logs = [math.log(a / b) for a, b in pairs if a > 0 and b > 0]
    found = typical(logs)
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.count)


def quotient(mine: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Return the median of `mine` over that of `theirs`, of two experiments that share no rounds; figures that are not
    positive do not count. The interval has each drawn anew by itself."""
    above, below = (sorted(math.log(value) for value in values if value > 0) for values in (mine, theirs))
    if not above or not below:
        return NOTHING
    samples = [(a - b, chance * other) for a, chance in medians(above) for b, other in medians(below)]
    found = _interval(median(above) - median(below), samples, min(len(above), len(below)))
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high), found.count)


def is_tie(found: Interval) -> bool:
    """Whether a ratio to the best may be 1, or differs from it by too little to matter."""
    return found.count > 0 and found.high >= 1 - INDIFFERENT


# ------------------------------------------------------------ a series over time


class Course(Enum):
    """The course of a series (after Barrett et al., "Virtual machine warmup blows hot and cold", OOPSLA 2017)."""

    SHORT = "too short to tell"
    FLAT = "steady"
    FASTER = "faster by and by, then steady"
    SLOWER = "slower by and by, then steady"
    UNSTEADY = "no steady state"


@dataclass(frozen=True, slots=True)
class Steadiness:
    """changes  where new levels begin; `levels`: one more than those; `since`: where the last level begins."""

    course: Course
    changes: tuple[int, ...] = ()
    levels: tuple[float, ...] = ()
    since: int = 0


UNKNOWN: Final = Steadiness(Course.SHORT)


def changepoints(series: Sequence[float]) -> tuple[int, ...]:
    """Return where the mean of a series changes: the cheapest cut into segments of three points or more.

    A segment costs its squares about its mean, and 5 σ² ln n beside, σ from the differences of neighbours: few
    changes are then found where there are none (Killick et al. 2012 have the cost; this is their search without
    pruning, O(n²)).
    """
    count = len(series)
    if count < 2 * _SEGMENT:
        return ()
    penalty = 5 * _noise(series) ** 2 * math.log(count)
    sums = list(accumulate(series, initial=0.0))
    squares = list(accumulate((value**2 for value in series), initial=0.0))
    best = [-penalty] + [math.inf] * count
    last = [0] * (count + 1)
    for end in range(_SEGMENT, count + 1):
        for start in range(end - _SEGMENT + 1):
            spread = squares[end] - squares[start] - (sums[end] - sums[start]) ** 2 / (end - start)
            cost = best[start] + max(spread, 0.0) + penalty
            if cost < best[end]:
                best[end], last[end] = cost, start
    return _walk_back(last, count)


def _walk_back(last: Sequence[int], end: int) -> tuple[int, ...]:
    found = []
    while end := last[end]:
        found.append(end)
    return tuple(reversed(found))


def _noise(values: Sequence[float]) -> float:
    """Return the standard deviation without the changes: robust, from the differences of neighbours, never 0."""
    deviation = median(abs(b - a) for a, b in pairwise(values)) / 0.6745 / math.sqrt(2)
    return max(deviation, 1e-3 * fmean(map(abs, values)), 1e-12)


def steadiness(series: Sequence[float]) -> Steadiness:
    """Return whether a series reaches a level that lasts for its second half."""
    values = [value for value in series if math.isfinite(value)]
    if len(values) < SHORTEST:
        return UNKNOWN
    changes = changepoints(values)
    edges = (0, *changes, len(values))
    levels = tuple(fmean(values[a:b]) for a, b in pairwise(edges))
    alike = [abs(level - levels[-1]) <= _ALIKE * abs(levels[-1]) for level in levels]
    if all(alike):
        return Steadiness(Course.FLAT, changes, levels, 0)
    since = edges[len(alike) - alike[::-1].index(False)]
    if since > len(values) / 2:
        return Steadiness(Course.UNSTEADY, changes, levels, since)
    before = fmean(values[:since])
    return Steadiness(Course.FASTER if before < levels[-1] else Course.SLOWER, changes, levels, since)
