"""Throughput against clients: the knee by Little's law, and the Universal Scalability Law. Pure.

With N clients that each send their next request after a think time Z, a server that needs Rmin for a lone request and
gives Xmax requests/s at most gives

    X(N) ≤ min(N / (Rmin + Z), Xmax)         (the asymptotic bounds; Denning and Buzen 1978)

which meet at the knee N* = (Rmin + Z)·Xmax. Below, clients wait for the app; above, they wait for each other.

The Universal Scalability Law (Gunther 2007) describes how throughput bends and falls:

    X(N) = λN / (1 + α(N - 1) + βN(N - 1))

α is what is done one after another (contention), β what each must learn of each other (coherency). Only β > 0 makes a
peak, at N = √((1 - α)/β); if its interval includes 0, no peak is claimed. N/X is linear in 1/λ, α/λ and β/λ, so that
the fit is a linear least squares in three unknowns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import mul
from random import Random
from typing import Any, Final, NamedTuple

from allcomers.commands.lab.analysis.statistics import LEVEL, Interval, bounds

RESAMPLES: Final = 100
FITS: Final = 0.1
"""Typical error, relative to the figure, above which the law does not fit."""

_FEWEST: Final = 4
"""Numbers of clients below which three parameters cannot be fitted."""


def knee(alone: float, most: float, think: float = 0.0) -> float:
    """Return N* = (Rmin + Z)·Xmax: seconds, requests/s, seconds."""
    return (alone + think) * most


@dataclass(frozen=True, slots=True)
class Law:
    """A fit of the law.

    rate        λ: requests/s of one client
    contention  α
    coherency   β
    error       typical (root mean square) error of the fit, relative to the figure
    """

    rate: Interval
    contention: Interval
    coherency: Interval
    error: float

    @property
    def holds(self) -> bool:
        """Whether the law fits the figures."""
        return self.error <= FITS

    @property
    def peak(self) -> float | None:
        """Clients at which throughput is highest; None if the interval of β includes 0, or the law does not hold."""
        if not self.holds or self.coherency.low <= 0 or self.contention.value >= 1:
            return None
        return math.sqrt((1 - self.contention.value) / self.coherency.value)

    def at(self, clients: float) -> float:
        """Return requests/s by the law."""
        return _law(clients, self.rate.value, self.contention.value, self.coherency.value)

    def as_dict(self) -> dict[str, Any]:
        return {
            "lambda": self.rate.as_dict(),
            "alpha": self.contention.as_dict(),
            "beta": self.coherency.as_dict(),
            "error": self.error,
            "holds": self.holds,
            "peak": self.peak,
        }


def _law(clients: float, rate: float, contention: float, coherency: float) -> float:
    """Return requests/s; infinity beyond the law's range, where its denominator is not positive."""
    below = 1 + contention * (clients - 1) + coherency * clients * (clients - 1)
    return rate * clients / below if below > 0 else math.inf


Points = tuple[tuple[float, float], ...]
"""(clients, requests/s) of each step of a trial."""


@lru_cache(maxsize=1024)
def fit(trials: tuple[Points, ...]) -> Law | None:
    """Fit the law to trials; return None if there are too few steps. The same trials, judged by another goal, have the
    same law.

    Errors are relative: a figure ten times as large may be wrong by ten times as much. An interval is the fit's own
    (Student's t), and as wide as the bootstrap over trials has it if there are three or more: the one knows nothing of
    trials, the other is too narrow for few.
    """
    given = [[(clients, rate) for clients, rate in trial if clients > 0 and rate > 0] for trial in trials]
    points = [point for trial in given for point in trial]
    if len({clients for clients, _ in points}) < _FEWEST:
        return None
    found = _fit(points)
    if found is None:
        return None
    error = math.sqrt(math.fsum((_law(clients, *found.best) / rate - 1) ** 2 for clients, rate in points) / len(points))
    wide = student(len(points) - 3)
    low = [value - wide * deviation for value, deviation in zip(found.best, found.deviations, strict=True)]
    high = [value + wide * deviation for value, deviation in zip(found.best, found.deviations, strict=True)]
    if len(given) >= 3:
        resampled = [bounds(values) for values in zip(*_resampled(given, found.best), strict=True)]
        low = [min(a, b) for a, (b, _) in zip(low, resampled, strict=True)]
        high = [max(a, b) for a, (_, b) in zip(high, resampled, strict=True)]
    rate, contention, coherency = (
        Interval(value, a, b, len(given)) for value, a, b in zip(found.best, low, high, strict=True)
    )
    return Law(rate, contention, coherency, error)


class _Fit(NamedTuple):
    """λ, α, β, and the standard deviation of each. β may be below 0, else no interval could include 0."""

    best: tuple[float, float, float]
    deviations: tuple[float, float, float]


def _fit(points: Sequence[tuple[float, float]]) -> _Fit | None:
    """Fit the law to (clients, requests/s); return None if no positive λ fits, or the points are too alike.

    Each point is a row N/X = 1/λ + α/λ (N - 1) + β/λ N(N - 1) times X/N, which makes its error relative.
    """
    rows = [
        [weight, weight * (clients - 1), weight * clients * (clients - 1)]
        for clients, weight in ((clients, rate / clients) for clients, rate in points)
    ]
    solved = _least_squares(rows)
    if solved is None:
        return None
    (inverse, *bends), covariance = solved
    if inverse <= 0:
        return None
    contention, coherency = (bend / inverse for bend in bends)
    # The gradient of λ, α and β in the three unknowns (the delta method).
    gradients = (
        (-1 / inverse**2, 0.0, 0.0),
        (-contention / inverse, 1 / inverse, 0.0),
        (-coherency / inverse, 0.0, 1 / inverse),
    )
    variances = [
        math.fsum(gradient[i] * covariance[i][j] * gradient[j] for i in range(3) for j in range(3))
        for gradient in gradients
    ]
    rate, alpha, beta = (math.sqrt(max(variance, 0.0)) for variance in variances)
    return _Fit((1 / inverse, contention, coherency), (rate, alpha, beta))


def _least_squares(rows: Sequence[Sequence[float]]) -> tuple[list[float], list[list[float]]] | None:
    """Return (the unknowns that bring each row nearest to 1, their covariance); None if the columns depend on each
    other.

    By orthogonal columns (modified Gram-Schmidt), as those of N² and of 1 differ by many powers of ten.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    size = len(columns)
    upper = [[0.0] * size for _ in range(size)]
    left = [1.0] * len(rows)  # of the right side, what the columns before leave over
    projected = [0.0] * size
    for i, column in enumerate(columns):
        norm = upper[i][i] = math.sqrt(_dot(column, column))
        if norm <= 1e-12 * math.sqrt(math.fsum(row[i] ** 2 for row in rows)):
            return None
        unit = [value / norm for value in column]
        for j in range(i + 1, size):
            upper[i][j] = _dot(unit, columns[j])
            columns[j] = [value - upper[i][j] * one for value, one in zip(columns[j], unit, strict=True)]
        projected[i] = _dot(unit, left)
        left = [value - projected[i] * one for value, one in zip(left, unit, strict=True)]
    inverse = _inverse(upper)
    unknowns = [_dot(row, projected) for row in inverse]
    variance = _dot(left, left) / max(1, len(rows) - size)
    return unknowns, [[variance * _dot(a, b) for b in inverse] for a in inverse]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(map(mul, a, b))


def _inverse(upper: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the inverse of an upper triangular matrix, by substitution from below."""
    size = len(upper)
    found = [[0.0] * size for _ in range(size)]
    for i in reversed(range(size)):
        for j in range(i, size):
            rest = float(i == j) - math.fsum(upper[i][k] * found[k][j] for k in range(i + 1, j + 1))
            found[i][j] = rest / upper[i][i]
    return found


def _resampled(trials: Sequence[Sequence[tuple[float, float]]], best: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return the fits of the bootstrap over trials, drawn anew with replacement, the best one among them."""
    draw = Random(len(trials))
    fits = [best]
    for _ in range(RESAMPLES):
        found = _fit([point for trial in draw.choices(trials, k=len(trials)) for point in trial])
        if found is not None:
            fits.append(found.best)
    return fits


@cache
def student(freedom: int) -> float:
    """Return how many standard deviations 95 % of Student's t are within: by halving, of its distribution function."""
    freedom = max(1, freedom)
    low, high = 0.0, 16.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < LEVEL else (low, middle)
    return high


def _within(deviations: float, freedom: int) -> float:
    """Return the share of Student's t within so many deviations (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(deviations / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= square * step / (step + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
