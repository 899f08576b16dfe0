"""A service level objective, 'p99<50ms,errors<0.1%,tps>1000': parsed and judged.

A term is a name, a comparison and a limit. p50 to p99.999, mean and max are response times, with us, ms or s after the
limit; errors is a share, with %, or a count; qps and tps are per second.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from allcomers.commands.load.data.result import Result
from allcomers.errors import ConfigError

_TERM: Final = re.compile(r"\s*(p[0-9.]+|[a-z]+)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?)\s*(us|µs|ms|s|%)?\s*", re.ASCII)
_UNITS: Final = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "%": 0.01, None: 1.0}
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Term:
    """One term. `limit` is in seconds, a share (0 to 1), a count or a rate; `unit` is as it was written."""

    text: str
    name: str
    comparison: str
    limit: float
    unit: str | None

    def measured(self, result: Result) -> float | None:
        """Return the result's value for this term; None for a response time if nothing was answered."""
        if self.name in ("qps", "tps"):
            return result.qps if self.name == "qps" else result.tps
        if self.name == "errors":
            return result.error_share if self.unit == "%" else float(sum(result.errors.values()))
        if not result.response.count:
            return None
        if self.name == "mean":
            return result.response.mean
        return result.response.percentile(100.0 if self.name == "max" else float(self.name[1:]))

    def met(self, result: Result) -> bool:
        value = self.measured(result)
        return value is not None and _COMPARE[self.comparison](value, self.limit)


def parse(text: str) -> tuple[Term, ...]:
    """Parse terms, separated by commas. Raises ConfigError."""
    return tuple(_term(part) for part in text.split(",")) if text else ()


def _term(text: str) -> Term:
    found = _TERM.fullmatch(text)
    if found is None:
        raise ConfigError(f"--slo: {text.strip()!r} is no term; one is p99<50ms, errors<0.1% or tps>1000")
    name, comparison, number, unit = found.groups()
    is_time = name in ("mean", "max") or _is_percentile(name)
    if not is_time and name not in ("errors", "qps", "tps"):
        raise ConfigError(f"--slo: {name!r} is not known; there are p50 to p99.999, mean, max, errors, qps and tps")
    if is_time and unit not in ("us", "µs", "ms", "s"):
        raise ConfigError(f"--slo: {text.strip()!r} needs us, ms or s behind its number")
    if not is_time and unit and (name, unit) != ("errors", "%"):
        raise ConfigError(f"--slo: {text.strip()!r}: {unit} is no unit of {name}")
    return Term(text.strip(), name, comparison, float(number) * _UNITS[unit], unit)


def _is_percentile(name: str) -> bool:
    return re.fullmatch(r"p[0-9]{1,2}(\.[0-9]{1,4})?|p100", name, re.ASCII) is not None
