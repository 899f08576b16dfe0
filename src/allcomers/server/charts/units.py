"""Figures for people, by the unit of an axis: "12,300", "1.2 ms", "38 KB". charts.js writes the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor, isfinite, log10
from typing import Final, Literal

Unit = Literal["number", "rate", "seconds", "bytes", "bytes/s", "share", "times", "percentile"]
"""How an axis writes its values. A percentile is 1 / (1 - share): 100 is p99."""

_NOTHING: Final = "–"


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
    return f"{number(value / 1e-6)} µs" if value else "0"


def size(value: float) -> str:
    """Return a size in powers of 1,000."""
    if not isfinite(value):
        return _NOTHING
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if value >= bytes_:
            return f"{number(value / bytes_)} {unit}"
    return f"{value:,.0f} B"


def percent(value: float) -> str:
    return f"{number(value * 100)} %" if isfinite(value) else _NOTHING


def _speed(value: float) -> str:
    return f"{size(value)}/s" if isfinite(value) else _NOTHING


def _times(value: float) -> str:
    return f"{number(value)}×" if isfinite(value) else _NOTHING


def _percentile(value: float) -> str:
    return f"{100 - 100 / value:.6g} %" if isfinite(value) else _NOTHING


WRITTEN: Final[Mapping[Unit, Callable[[float], str]]] = {
    "number": number,
    "rate": rate,
    "seconds": seconds,
    "bytes": size,
    "bytes/s": _speed,
    "share": percent,
    "times": _times,
    "percentile": _percentile,
}
