"""A result as comma-separated values: a row for each interval (RFC 4180)."""

from __future__ import annotations

import csv
from typing import Final, TextIO

from allcomers.commands.load.data.histogram import Histogram
from allcomers.commands.load.data.record import Interval
from allcomers.commands.load.data.result import Result

_PERCENTS: Final = (50.0, 90.0, 99.0, 99.9, 100.0)

HEAD: Final = (
    "second", "seconds", "qps", "tps", "failed", "bytes_out", "bytes_in", "connections",
    "p50", "p90", "p99", "p99.9", "max",
)  # fmt: skip
"""Rates are per second, bytes and failed are counts of the interval, times are seconds (to 3 %)."""


def write(result: Result, out: TextIO) -> None:
    rows = csv.writer(out)
    rows.writerow(HEAD)
    at = 0.0
    for interval in result.intervals:
        at += interval.seconds
        rows.writerow(_row(at, interval))


def _row(at: float, interval: Interval) -> list[object]:
    seconds = interval.seconds or 1.0
    times = Histogram(interval.times).percentiles(*_PERCENTS) if interval.times else [""] * len(_PERCENTS)
    return [
        f"{at:.3f}",
        f"{interval.seconds:.3f}",
        f"{interval.sent / seconds:.1f}",
        f"{interval.answered / seconds:.1f}",
        interval.failed,
        interval.bytes_out,
        interval.bytes_in,
        interval.open,
        *times,
    ]
