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
from itertools import pairwise
from typing import Any, Final

import numpy as np

RESAMPLES: Final = 4000
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
    """Return the median, by the bootstrap's percentiles (Efron 1979): trials drawn anew, with replacement.

    The median, as something else may run during one trial and slow it down. The same values give the same interval. Of
    fewer than five it is too narrow.
    """
    known = np.array([value for value in values if math.isfinite(value)], dtype=float)
    if not len(known):
        return NOTHING
    draw = np.random.default_rng(len(known))
    medians = np.median(known[draw.integers(0, len(known), (RESAMPLES, len(known)))], axis=1)
    low, high = np.quantile(medians, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    value = float(np.median(known))
    return Interval(value, min(float(low), value), max(float(high), value), len(known))


def ratio(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Return the median of a / b over rounds, by its logarithm; pairs (a, b) that are not positive do not count."""
    logs = [math.log(a / b) for a, b in pairs if a > 0 and b > 0]
    found = typical(logs)
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
    values = np.asarray(series, dtype=float)
    count = len(values)
    if count < 2 * _SEGMENT:
        return ()
    penalty = 5 * _noise(values) ** 2 * math.log(count)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    squares = np.concatenate(([0.0], np.cumsum(values**2)))
    best = np.full(count + 1, math.inf)
    best[0] = -penalty
    last = np.zeros(count + 1, dtype=int)
    for end in range(_SEGMENT, count + 1):
        starts = np.arange(0, end - _SEGMENT + 1)
        length = end - starts
        spread = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / length
        costs = best[starts] + np.maximum(spread, 0) + penalty
        last[end] = starts[int(np.argmin(costs))]
        best[end] = costs.min()
    return _walk_back(last, count)


def _walk_back(last: Any, end: int) -> tuple[int, ...]:
    found = []
    while end := int(last[end]):
        found.append(end)
    return tuple(reversed(found))


def _noise(values: Any) -> float:
    """Return the standard deviation without the changes: robust, from the differences of neighbours, never 0."""
    differences = np.diff(values)
    deviation = float(np.median(np.abs(differences))) / 0.6745 / math.sqrt(2)
    return max(deviation, 1e-3 * float(np.abs(values).mean()), 1e-12)


def steadiness(series: Sequence[float]) -> Steadiness:
    """Return whether a series reaches a level that lasts for its second half."""
    values = [value for value in series if math.isfinite(value)]
    if len(values) < SHORTEST:
        return UNKNOWN
    changes = changepoints(values)
    edges = (0, *changes, len(values))
    levels = tuple(float(np.mean(values[a:b])) for a, b in pairwise(edges))
    alike = [abs(level - levels[-1]) <= _ALIKE * abs(levels[-1]) for level in levels]
    if all(alike):
        return Steadiness(Course.FLAT, changes, levels, 0)
    since = edges[len(alike) - alike[::-1].index(False)]
    if since > len(values) / 2:
        return Steadiness(Course.UNSTEADY, changes, levels, since)
    before = float(np.mean(values[:since]))
    return Steadiness(Course.FASTER if before < levels[-1] else Course.SLOWER, changes, levels, since)
