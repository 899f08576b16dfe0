"""Figures for people: "12,300/s", "1.2 ms", "38 KB"."""

from __future__ import annotations

from math import floor, isfinite, log10

from allcomers.commands.lab.analysis.statistics import Interval

_NOTHING = "–"


def number(value: float) -> str:
    """Return three significant digits, and all of those before the point."""
    if not isfinite(value):
        return _NOTHING
    if value == 0:
        return "0"
    digits = max(0, 2 - floor(log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(value: float) -> str:
    return f"{number(value)}/s" if isfinite(value) else _NOTHING


def seconds(value: float) -> str:
    if not isfinite(value):
        return _NOTHING
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{number(value / size)} {unit}"
    return f"{number(value / 1e-6)} µs"


def size(value: float) -> str:
    if not isfinite(value):
        return _NOTHING
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if value >= bytes_:
            return f"{number(value / bytes_)} {unit}"
    return f"{value:,.0f} B"


def percent(value: float) -> str:
    return f"{number(value * 100)} %" if isfinite(value) else _NOTHING


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


def many(count: float, noun: str) -> str:
    return f"{count:,.0f} {noun}" if count == 1 else f"{count:,.0f} {noun}s"
