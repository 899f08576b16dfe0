"""A result as comma-separated values: a row for each interval (RFC 4180)."""

from __future__ import annotations

import csv
from typing import Final, TextIO

from allcomers.commands.load.data.histogram import Histogram
from allcomers.commands.load.data.record import Interval
from allcomers.commands.load.data.result import Result

_PERCENTS: Final = (50.0, 90.0, 99.0, 99.9, 100.0)

HEAD: Final = (
    "second", "seconds", "sent", "answered", "qps", "tps", "failed", "bytes_out", "bytes_in", "connections",
    "p50", "p90", "p99", "p99.9", "max",
)  # fmt: skip
"""qps and tps are rates per second, times are seconds (to 3 %), the rest are counts of the interval.

The last row has the responses that came after the measured duration, if any did: no rate counts them.
"""


def write(result: Result, out: TextIO) -> None:
    rows = csv.writer(out)
    rows.writerow(HEAD)
    at = 0.0
    for interval in result.intervals:
        at += interval.seconds
        seconds = interval.seconds or 1.0
        rows.writerow(_row(at, interval, (f"{interval.sent / seconds:.1f}", f"{interval.answered / seconds:.1f}")))
    if result.late.answered or result.late.failed:
        rows.writerow(_row(at + result.late.seconds, result.late, ("", "")))


def _row(at: float, interval: Interval, rates: tuple[str, str]) -> list[object]:
    times = Histogram(interval.times).percentiles(*_PERCENTS) if interval.times else [""] * len(_PERCENTS)
    return [
        f"{at:.3f}",
        f"{interval.seconds:.3f}",
        interval.sent,
        interval.answered,
        *rates,
        interval.failed,
        interval.bytes_out,
        interval.bytes_in,
        interval.open,
        *times,
    ]
