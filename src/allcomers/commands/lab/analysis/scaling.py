"""Throughput against clients: the knee by Little's law, and the Universal Scalability Law. Pure.

With N clients that each send their next request after a think time Z, a server that needs Rmin for a lone request and
gives Xmax requests/s at most gives

    X(N) ≤ min(N / (Rmin + Z), Xmax)         (the asymptotic bounds; Denning and Buzen 1978)

which meet at the knee N* = (Rmin + Z)·Xmax. Below, clients wait for the app; above, they wait for each other.

The Universal Scalability Law (Gunther 2007) describes how throughput bends and falls:

    X(N) = λN / (1 + α(N - 1) + βN(N - 1))

α is what is done one after another (contention), β what each must learn of each other (coherency). Only β > 0 makes a
peak, at N = √((1 - α)/β); if its interval includes 0, no peak is claimed.
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
    """Fit the law to trials, each (clients, requests/s) of its steps; return None if there are too few steps.

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
    """Return (λ, α, β) and their standard deviations. β may be below 0, else no interval could include 0."""
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
    """Return start values: N/X is linear in 1/λ, α/λ and β/λ, so that its least squares need no search."""
    columns = np.stack([np.ones_like(clients), clients - 1, clients * (clients - 1)], axis=1)
    weights = rates / clients
    (inverse, contention, coherency), *_ = np.linalg.lstsq(
        columns * weights[:, None], np.ones_like(clients), rcond=None
    )
    if inverse <= 0:
        return weights.max(), 0.0, 0.0
    return 1 / inverse, contention / inverse, coherency / inverse


def _bent(clients: Any, log_rate: float, contention: float, coherency: float) -> Any:
    """Return the logarithm of the law; far below if its denominator is not positive, so that no fit stays there."""
    below = 1 + contention * (clients - 1) + coherency * clients * (clients - 1)
    return log_rate + np.log(clients) - np.log(np.maximum(below, 1e-9))


def _resampled(trials: Sequence[Sequence[tuple[float, float]]], best: Any) -> tuple[Any, Any]:
    """Return the bounds of each parameter that enclose 95 % of the bootstrap's samples."""
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
