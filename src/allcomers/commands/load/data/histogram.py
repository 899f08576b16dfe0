"""A histogram of times, as HdrHistogram has it: 1 ns to 73 minutes, each to three digits, in 33,792 counts.

A value below 2,048 has a count of its own; above, each doubling is cut into 1,024 equal buckets. So the error of a
value is at most 1 in 1,024, adding costs a shift, and two histograms are merged by adding their counts: nothing is
lost. (Gil Tene, "How NOT to Measure Latency"; http://hdrhistogram.org, whose percentiles and text form these are.)

This file knows nanoseconds and counts; `record` knows which times are measured.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, TextIO

DIGITS: Final = 11
"""Bits of a value that are kept: 2**11 buckets hold three significant digits at any magnitude."""

_LINEAR: Final = 1 << DIGITS
_HALF: Final = _LINEAR >> 1

LARGEST: Final = (1 << 42) - 1
"""ns: a longer time (73 minutes) counts as this."""

SIZE: Final = (42 - DIGITS) * _HALF + _LINEAR
"""Number of counts."""


def index(value: int) -> int:
    """Return the bucket of a value in ns."""
    if value < _LINEAR:
        return value if value > 0 else 0
    if value > LARGEST:
        value = LARGEST
    shift = value.bit_length() - DIGITS
    return (shift << (DIGITS - 1)) + (value >> shift)


def lowest(bucket: int) -> int:
    """Return the smallest value in ns that `bucket` counts."""
    shift = max((bucket >> (DIGITS - 1)) - 1, 0)
    return (bucket - (shift << (DIGITS - 1))) << shift


def highest(bucket: int) -> int:
    """Return the largest value in ns that `bucket` counts; HdrHistogram reports it for all of them."""
    return lowest(bucket + 1) - 1


class Histogram:
    """Counts of times. Percentiles, mean and extremes are seconds; 0.0 if nothing was counted.

    counts  array of SIZE numbers, which another object may write to (`record`)
    """

    __slots__ = ("counts",)

    def __init__(self, counts: Iterable[tuple[int, int]] | array[int] = ()) -> None:
        """Make a histogram of pairs (bucket, count), or of the array of counts itself."""
        if isinstance(counts, array):
            self.counts = counts
            return
        self.counts = array("Q", bytes(8 * SIZE))
        for bucket, count in counts:
            self.counts[bucket] += count

    def add(self, value: int, count: int = 1) -> None:
        """Count a time of `value` ns, `count` times."""
        self.counts[index(value)] += count

    def merge(self, other: Histogram) -> None:
        """Add the counts of `other`."""
        for bucket, count in other.pairs():
            self.counts[bucket] += count

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Return (bucket, count) of all counts that are not 0, from the shortest time on."""
        return ((bucket, count) for bucket, count in enumerate(self.counts) if count)

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        total = self.count
        return sum(middle(bucket) * count for bucket, count in self.pairs()) / total / 1e9 if total else 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation in seconds."""
        total, mean = self.count, self.mean * 1e9
        if not total:
            return 0.0
        return math.sqrt(sum((middle(bucket) - mean) ** 2 * count for bucket, count in self.pairs()) / total) / 1e9

    @property
    def min(self) -> float:
        return next((lowest(bucket) / 1e9 for bucket, _ in self.pairs()), 0.0)

    @property
    def max(self) -> float:
        return self.percentile(100.0)

    def percentile(self, percent: float) -> float:
        """Return the time in seconds that `percent` of all times (99.9, say) did not exceed."""
        return self.percentiles(percent)[0]

    def percentiles(self, *percents: float) -> list[float]:
        """Return the times of several percentiles, in ascending order, in one pass."""
        total = self.count
        found: list[float] = []
        seen, pairs, here = 0, self.pairs(), 0
        for percent in percents:
            wanted = max(1, int(min(percent, 100.0) / 100.0 * total + 0.5))  # HdrHistogram's rank
            while seen < wanted and total:
                here, count = next(pairs)
                seen += count
            found.append(highest(here) / 1e9 if total else 0.0)
        return found

    def share_above(self, seconds: float) -> float:
        """Return the share of times that were longer, 0 to 1."""
        limit, total = index(int(seconds * 1e9)), self.count
        return sum(count for bucket, count in self.pairs() if bucket > limit) / total if total else 0.0


def middle(bucket: int) -> int:
    """Return HdrHistogram's median equivalent value."""
    low = lowest(bucket)
    return low + ((lowest(bucket + 1) - low) >> 1)


# ---------------------------------------------------------------- the text form, .hgrm


def write_hgrm(histogram: Histogram, out: TextIO, ticks: int = 5) -> None:
    """Write the percentile distribution in ms, as HdrHistogram's outputPercentileDistribution does.

    ticks  lines for each halving of the distance to 100 %
    """
    total = histogram.count
    out.write(f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}\n\n")
    for bucket, percent, seen in _steps(histogram, total, ticks):
        line = f"{highest(bucket) / 1e6:12.3f} {percent / 100:2.12f} {seen:10d}"
        out.write(f"{line} {1 / (1 - percent / 100):14.2f}\n" if percent < 100 else f"{line}\n")
    longest = highest(index(int(histogram.max * 1e9))) / 1e6 if total else 0.0
    out.write(f"#[Mean    = {histogram.mean * 1e3:12.3f}, StdDeviation   = {histogram.deviation * 1e3:12.3f}]\n")
    out.write(f"#[Max     = {longest:12.3f}, TotalCount     = {total:12d}]\n")
    out.write(f"#[Buckets = {42 - DIGITS + 1:12d}, SubBuckets     = {_LINEAR:12d}]\n")


def _steps(histogram: Histogram, total: int, ticks: int) -> Iterator[tuple[int, float, int]]:
    """Yield (bucket, percentile, count so far) for each bucket that reaches the next percentile, and for 100 at the
    end."""
    percent, seen = 0.0, 0
    for bucket, count in histogram.pairs():
        seen += count
        while 100.0 * seen / total >= percent:
            yield bucket, percent, seen
            if seen == total and percent >= 100.0 * (total - 1) / total:
                yield bucket, 100.0, seen
                return
            halvings = int(math.log2(100.0 / (100.0 - percent))) + 1
            percent += 100.0 / (ticks * 2**halvings)
