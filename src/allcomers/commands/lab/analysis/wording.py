"""Figures for people: "12,300/s", "1.2 ms", "38 KB"."""

from __future__ import annotations

from allcomers.commands.lab.analysis.statistics import Interval
from allcomers.commands.load.data.slo import Term
from allcomers.server.charts.units import number as number
from allcomers.server.charts.units import percent as percent
from allcomers.server.charts.units import rate as rate
from allcomers.server.charts.units import seconds as seconds
from allcomers.server.charts.units import size as size

_NOTHING = "–"


def ratio(found: Interval) -> str:
    """Return "0.81 (0.78–0.84)"; no interval for a single value."""
    if not found.count:
        return _NOTHING
    return f"{found.value:.2f} ({found.low:.2f}–{found.high:.2f})" if found.count > 1 else f"{found.value:.2f}"


def to_best(found: Interval, *, is_best: bool, tied: bool, missed: str) -> str:
    """Return the ratio to the best candidate, marked where it is a tie; "best" for the best itself, and "missed" for
    one that missed the goal."""
    return "missed" if missed else "best" if is_best else ratio(found) + (" tie" if tied else "")


def spread(found: Interval) -> str:
    """Return "12,300 (11,900–12,700)"."""
    if not found.count:
        return _NOTHING
    return f"{number(found.value)} ({between(found)})" if found.count > 1 else number(found.value)


def between(found: Interval) -> str:
    """Return "11,900–12,700"; "" for a single value."""
    return f"{number(found.low)}–{number(found.high)}" if found.count > 1 else ""


def shortfall(term: Term, value: float | None) -> str:
    """Return how a term was missed: "p99 120 ms > 100 ms"."""
    if value is None:
        return f"{term.name} unknown: nothing was answered"
    words = percent if term.unit == "%" else seconds if term.unit else number
    sign = ">" if value > term.limit else "<" if value < term.limit else "="
    return f"{term.name} {words(value)} {sign} {words(term.limit)}"


def many(count: float, noun: str) -> str:
    return f"{count:,.0f} {noun}" if count == 1 else f"{count:,.0f} {noun}s"
