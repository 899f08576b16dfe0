"""Two results of the same load, before and after a change: what changed, by how much, and whether it may be chance.

An interval comes from the bootstrap over blocks of seconds (Künsch 1989): neighbouring seconds are alike, so a second's
requests are no independent samples. It knows what differs within a run, not what differs from one start of a server to
the next; `allcomers lab` has that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import accumulate, pairwise
from random import Random
from statistics import quantiles
from typing import Any, Final, TypeAlias

from allcomers.commands.load.data.histogram import highest, lowest
from allcomers.commands.load.data.record import COARSE_SHIFT, Interval
from allcomers.commands.load.data.result import Result
from allcomers.errors import ConfigError

SHORTEST: Final = 5
"""Seconds that either result needs: of fewer no interval can be had."""

ERRORS: Final = 0.001
"""More of all requests than this must fail beside those that failed before, for errors to be worse."""

_BLOCKS: Final = 30
_RESAMPLES: Final = 500
_Z: Final = 1.96
"""Of the normal distribution: 95 % lie within so many deviations."""

_PERCENTS: Final = (50, 90, 99)


class Judgement(Enum):
    BETTER = "better"
    ALIKE = "no difference"
    WORSE = "worse"
    UNCLEAR = "too short to tell"


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one figure, from `base` to `new`.

    change     relative to the base, 0.05 is 5 % more; of errors the difference of shares
    low, high  its 95 % interval; nan if the results are too short
    """

    name: str
    base: float
    new: float
    change: float
    low: float
    high: float
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed since `base`, a file's name; `differences` of the plans, a line each."""

    base: str
    tolerance: float
    changes: tuple[Change, ...]
    differences: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether nothing got worse by more than the tolerance; False if the results are too short to tell."""
        return all(change.judgement in (Judgement.BETTER, Judgement.ALIKE) for change in self.changes)

    def as_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        names = ("name", "base", "new", "change", "low", "high")
        changes = [
            {name: getattr(change, name) for name in names} | {"judgement": change.judgement.value}
            for change in self.changes
        ]
        return {"base": self.base, "tolerance": self.tolerance, "met": self.met, "changes": changes}


def check_base(name: str, base: Result) -> None:
    """Raise ConfigError if no result can be compared with this one."""
    if len(base.intervals) < SHORTEST or not base.response.count:
        raise ConfigError(f"--compare {name!r}: it has {base.seconds:.1f} s of responses; {SHORTEST} s are needed")


def compare(name: str, base: Result, new: Result, tolerance: float) -> Comparison:
    """Return what changed from `base`, the result in file `name`; `tolerance` is a share, 0.05 for 5 %."""
    before, after = _blocks(base), _blocks(new)
    rates = _samples(before, after, _rate)
    changes = [_change("tps", base.tps, new.tps, rates, tolerance)]
    times = zip(base.response.percentiles(*_PERCENTS), new.response.percentiles(*_PERCENTS), strict=True)
    for percent, (was, now) in zip(_PERCENTS, times, strict=True):
        samples = _samples(before, after, partial(_percentile, percent=percent))
        changes.append(_change(f"p{percent}", was, now, samples, tolerance))
    return Comparison(name, tolerance, (*changes, _errors(base, new)), tuple(_differences(base, new)))


def _change(name: str, base: float, new: float, samples: Sequence[float], tolerance: float) -> Change:
    """Return a change. It is worse, or better, if it is beyond the tolerance and its interval on one side of 0."""
    change = new / base - 1 if base else math.nan
    if not samples or math.isnan(change):
        return Change(name, base, new, change, math.nan, math.nan, Judgement.UNCLEAR)
    parts = quantiles(samples, n=40, method="inclusive")
    low, high = min(parts[0], change), max(parts[-1], change)
    return Change(name, base, new, change, low, high, _judged(change, low, high, tolerance, 1 if name == "tps" else -1))


def _judged(change: float, low: float, high: float, tolerance: float, good: int) -> Judgement:
    """Return the judgement; `good` is 1 where more is better, else -1."""
    if abs(change) <= tolerance or low <= 0 <= high:
        return Judgement.ALIKE
    return Judgement.BETTER if change * good > 0 else Judgement.WORSE


def _errors(base: Result, new: Result) -> Change:
    was, now = base.error_share, new.error_share
    change, around = now - was, _Z * math.sqrt(_variance(base) + _variance(new))
    low, high = change - around, change + around
    return Change("errors", was, now, change, low, high, _judged(change, low, high, ERRORS, -1))


def _variance(result: Result) -> float:
    """Return the variance of the share of errors, as if one more had failed and one more not: it is never 0 (Agresti
    and Caffo 2000)."""
    ended = max(result.answered + result.failed, 1)
    share = (result.error_share * ended + 1) / (ended + 2)
    return share * (1 - share) / (ended + 2)


def _differences(base: Result, new: Result) -> list[str]:
    """Return the values of the plans that differ, but for the time and the seed."""
    names = [name for name in new.plan if name not in ("seconds", "requests", "seed", "own_host")]
    pairs = [(name, _plain(base.plan.get(name)), _plain(new.plan[name])) for name in names]
    return [f"{name}: {was} before, {now} now" for name, was, now in pairs if name in base.plan and was != now]


def _plain(value: Any) -> Any:
    """Return a plan's value as JSON gives it back."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


# ------------------------------------------------------------ the bootstrap

Block: TypeAlias = tuple[float, int, list[int]]
"""Seconds, responses, and how many of these in each bucket of the result."""


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Parts of a result; `buckets`: the histogram's, in ascending order."""

    buckets: Sequence[int]
    parts: Sequence[Block]


def _blocks(result: Result) -> _Blocks:
    """Return the blocks of a result, none if it is too short."""
    intervals = result.intervals
    if len(intervals) < SHORTEST:
        return _Blocks((), ())
    buckets = sorted({bucket for interval in intervals for bucket, _ in interval.times})
    count = min(len(intervals), _BLOCKS)
    edges = [len(intervals) * part // count for part in range(count + 1)]
    groups = [intervals[begin:end] for begin, end in pairwise(edges)]
    return _Blocks(buckets, [_block(group, buckets) for group in groups])


def _block(group: Sequence[Interval], buckets: Sequence[int]) -> Block:
    counts = dict.fromkeys(buckets, 0)
    for interval in group:
        for bucket, count in interval.times:
            counts[bucket] += count
    return sum(interval.seconds for interval in group), sum(interval.answered for interval in group), [*counts.values()]


def _samples(before: _Blocks, after: _Blocks, figure: Callable[[_Blocks], float]) -> list[float]:
    """Return changes of a figure, each from blocks drawn anew with replacement; none if either is too short.

    Of n blocks n - 1 are drawn: of n the variance would be too small by that share (Efron 1982).
    """
    if not before.parts or not after.parts:
        return []
    draw = Random(0).choices  # the same results, the same interval
    found = []
    for _ in range(_RESAMPLES):
        was, now = (
            figure(_Blocks(blocks.buckets, draw(blocks.parts, k=len(blocks.parts) - 1))) for blocks in (before, after)
        )
        if was:
            found.append(now / was - 1)
    return found if len(found) > 1 else []


def _rate(blocks: _Blocks) -> float:
    return sum(answered for _, answered, _ in blocks.parts) / sum(seconds for seconds, _, _ in blocks.parts)


def _percentile(blocks: _Blocks, percent: float) -> float:
    """Return a percentile in seconds, between the bounds of its bucket by a straight line."""
    counts = list(map(sum, zip(*(part[2] for part in blocks.parts), strict=True)))
    wanted, seen = percent / 100 * sum(counts), 0
    for bucket, count, total in zip(blocks.buckets, counts, accumulate(counts), strict=True):
        if count and total >= wanted:
            low, high = lowest(bucket - (1 << COARSE_SHIFT) + 1), highest(bucket)
            return (low + (high - low) * (wanted - seen) / count) / 1e9
        seen = total
    return 0.0
