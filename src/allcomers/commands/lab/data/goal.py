"""The goal that responses must meet to count: the terms of `allcomers load --slo`, with defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from allcomers.commands.lab.data.plan import Probe
from allcomers.commands.load.data import slo
from allcomers.commands.load.data.slo import Term

_SLOWEST: Final = 0.1
"""Seconds: the limit of what people perceive as instantaneous (Nielsen 1993, after Miller 1968)."""

_TIMES_ALONE: Final = 10

_ERRORS: Final = "errors<0.1%"


def goal(text: str, probe: Probe) -> tuple[Term, ...]:
    """Return the terms of --slo; else p99 below 0.1 s, or ten times a lone request's time. Errors always have a limit.

    Raises ConfigError.
    """
    given = text or f"p99<{1000 * max(_SLOWEST, _TIMES_ALONE * probe.response):.0f}ms"
    terms = slo.parse(given)
    return terms if any(term.name == "errors" for term in terms) else (*terms, *slo.parse(_ERRORS))


def patience(terms: Sequence[Term]) -> float:
    """Return the seconds that the strictest term allows for a response."""
    return min((term.limit for term in terms if term.unit and term.unit != "%"), default=_SLOWEST)


def describe(terms: Sequence[Term]) -> str:
    return ", ".join(term.text for term in terms)
