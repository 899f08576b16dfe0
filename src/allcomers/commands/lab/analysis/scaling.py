"""How a server behaves as clients grow: the knee by Little's law, and the Universal Scalability Law. Pure.

With N clients that each ask again after a think time Z, a server that needs Rmin for a lone request and can give Xmax
requests/s at most gives

    X(N) ≤ min(N / (Rmin + Z), Xmax)         (the asymptotic bounds; Denning and Buzen 1978)

which meet at the knee N* = (Rmin + Z)·Xmax. Below, clients wait for the app; above, they wait for each other.

The Universal Scalability Law (Gunther 2007) says how throughput bends and falls:

    X(N) = λN / (1 + α(N - 1) + βN(N - 1))

α is what is done one after another (contention), β what each must learn of each other (coherency). Only β > 0 makes a
peak, at N = √((1 - α)/β); where its interval includes 0, no peak is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from allcomers.commands.lab.analysis.statistics import Interval

RESAMPLES: Final = 100
FITS: Final = 0.1
"""The typical error, as a part of the figure, above which the law does not describe what was seen."""

_FEWEST: Final = 4
"""Sizes of crowd below which three parameters say nothing."""


def knee(alone: float, most: float, think: float = 0.0) -> float:
    """N* = (Rmin + Z)·Xmax: seconds, requests/s, seconds."""
    return (alone + think) * most


@dataclass(frozen=True, slots=True)
class Law:
    """A fit.

    rate        λ: requests/s of one client
    contention  α
    coherency   β
    error       the typical (root mean square) error of the fit, as a part of the figure
    """

    rate: Interval
    contention: Interval
    coherency: Interval
    error: float

    @property
    def holds(self) -> bool:
        """Does it describe what was seen?"""
        return self.error <= FITS

    @property
    def peak(self) -> float | None:
        """Clients at which throughput is highest; None where the interval of β includes 0, or the law does not hold."""
        if not self.holds or self.coherency.low <= 0 or self.contention.value >= 1:
            return None
        return math.sqrt((1 - self.contention.value) / self.coherency.value)

    def at(self, clients: float) -> float:
        """Requests/s."""
        return float(_law(clients, self.rate.value, self.contention.value, self.coherency.value))

    def as_dict(self) -> dict[str, Any]:
        return {
            "lambda": self.rate.as_dict(),
            "alpha": self.contention.as_dict(),
            "beta": self.coherency.as_dict(),
            "error": self.error,
            "holds": self.holds,
            "peak": self.peak,
        }


def _law(clients: Any, rate: Any, contention: Any, coherency: Any) -> Any:
    return rate * clients / (1 + contention * (clients - 1) + coherency * clients * (clients - 1))


def fit(trials: Sequence[Sequence[tuple[float, float]]]) -> Law | None:
    """The law of trials, each (clients, requests/s) of its steps; None of too few sizes of crowd.

    Errors are relative: a figure ten times as large may be wrong by ten times as much. An interval is the fit's own
    (Student's t), and as wide as the bootstrap over trials says where there are three or more: the one knows nothing of
    trials, the other is too narrow for few.
    """
    given = [[(clients, rate) for clients, rate in trial if clients > 0 and rate > 0] for trial in trials]
    points = [point for trial in given for point in trial]
    if len({clients for clients, _ in points}) < _FEWEST:
        return None
    found = _fit(points)
    if found is None:
        return None
    best, deviation = found
    error = float(np.sqrt(np.mean([(_law(clients, *best) / rate - 1) ** 2 for clients, rate in points])))
    wide = _student(len(points) - 3) * deviation
    low, high = best - wide, best + wide
    if len(given) >= 3:
        least, most = _resampled(given, best)
        low, high = np.minimum(low, least), np.maximum(high, most)
    rate, contention, coherency = (
        Interval(float(value), float(a), float(b), len(given)) for value, a, b in zip(best, low, high, strict=True)
    )
    return Law(rate, contention, coherency, error)


def _fit(points: Sequence[tuple[float, float]]) -> tuple[Any, Any] | None:
    """(λ, α, β) and their standard deviations; β may come out below 0, else nobody could say that it is not 0."""
    import warnings

    from scipy.optimize import OptimizeWarning, curve_fit

    clients, rates = np.array(points, dtype=float).T
    rate, *bends = _straight(clients, rates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        try:
            best, covariance = curve_fit(_bent, clients, np.log(rates), p0=(math.log(rate), *bends), maxfev=400)
        except (RuntimeError, ValueError):
            return None
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
    rate = math.exp(best[0])
    return np.array([rate, *best[1:]]), np.array([rate * deviation[0], *deviation[1:]])


def _straight(clients: Any, rates: Any) -> Any:
    """Where to begin: N/X is a straight line in 1/λ, α/λ and β/λ, so that its least squares need no search."""
    columns = np.stack([np.ones_like(clients), clients - 1, clients * (clients - 1)], axis=1)
    weights = rates / clients
    (inverse, contention, coherency), *_ = np.linalg.lstsq(
        columns * weights[:, None], np.ones_like(clients), rcond=None
    )
    if inverse <= 0:
        return weights.max(), 0.0, 0.0
    return 1 / inverse, contention / inverse, coherency / inverse


def _bent(clients: Any, log_rate: float, contention: float, coherency: float) -> Any:
    """The logarithm of the law; far below where its denominator is not positive, so that no fit stays there."""
    below = 1 + contention * (clients - 1) + coherency * clients * (clients - 1)
    return log_rate + np.log(clients) - np.log(np.maximum(below, 1e-9))


def _resampled(trials: Sequence[Sequence[tuple[float, float]]], best: Any) -> tuple[Any, Any]:
    """Of each parameter the lowest and the highest that 95 % of the bootstrap's samples have."""
    draw = np.random.default_rng(len(trials))
    fits = [best]
    for _ in range(RESAMPLES):
        chosen = draw.integers(0, len(trials), len(trials))
        found = _fit([point for index in chosen for point in trials[index]])
        if found is not None:
            fits.append(found[0])
    low, high = np.quantile(np.array(fits), (0.025, 0.975), axis=0)
    return low, high


def _student(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, max(1, freedom)))
