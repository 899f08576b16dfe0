"""What an answer must be for it to count: the goal of an experiment, as `allcomers load --slo` has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Final, Self

from allcomers.errors import ConfigError
from allcomers.lab import words
from allcomers.lab.figures import PERCENTILES, Step
from allcomers.lab.plan import Probe

DEFAULT_ERRORS: Final = 0.001
DEFAULT_SLOWEST: Final = 0.1
"""Seconds: what people take for at once (Nielsen 1993, after Miller 1968)."""

_TIMES_ALONE: Final = 10
_TERM: Final = re.compile(r"\s*(p[0-9.]+|max|errors)\s*<\s*([0-9]+(?:\.[0-9]+)?)\s*(us|µs|ms|s|%)\s*", re.ASCII)
_UNITS: Final = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "%": 0.01}


@dataclass(frozen=True, slots=True)
class Goal:
    """Response times by percentile that must be below so many seconds, and the part of requests that may fail."""

    times: tuple[tuple[str, float], ...]
    errors: float = DEFAULT_ERRORS

    def meets(self, step: Step) -> bool:
        times = [(step.time(percentile), limit) for percentile, limit in self.times]
        return step.failing <= self.errors and all(isfinite(time) and time < limit for time, limit in times)

    def __str__(self) -> str:
        times = [f"{'max' if name == '100' else f'p{name}'} < {words.seconds(limit)}" for name, limit in self.times]
        return ", ".join([*times, f"errors < {words.percent(self.errors)}"])

    @classmethod
    def read(cls, text: str) -> Self:
        """ "p99<50ms,errors<0.1%". Raises ConfigError."""
        times, errors = [], DEFAULT_ERRORS
        for term in text.split(","):
            found = _TERM.fullmatch(term)
            name = found[1].removeprefix("p").replace("max", "100") if found else ""
            if found is None or (found[3] == "%") != (name == "errors") or name not in (*PERCENTILES, "errors"):
                known = ", ".join(f"p{percentile}" for percentile in PERCENTILES[:-1])
                raise ConfigError(f"--slo {term.strip()!r}: give {known} or max < TIME (50ms, 1s), or errors < 0.1%")
            limit = float(found[2]) * _UNITS[found[3]]
            if name == "errors":
                errors = limit
            else:
                times.append((name, limit))
        return cls(tuple(times), errors)

    @classmethod
    def of(cls, probe: Probe) -> Self:
        """Where the user has none: p99 below 0.1 s, or ten times what a lone request takes."""
        return cls((("99", max(DEFAULT_SLOWEST, _TIMES_ALONE * probe.response)),))
