"""What a load has shown: one frozen Result, as an object of JSON and back, with nothing lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from allcomers.commands.load.data.histogram import Histogram
from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.record import (
    ANSWERED,
    FAILED,
    LATENESS,
    OPENED,
    PEAK,
    RESPONSE,
    SENT,
    SERVICE,
    Interval,
    Record,
)

PERCENTS: Final = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99)
"""Percentiles that are told without being asked for."""

_HISTOGRAMS: Final = ("response", "service", "lateness")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Times are seconds, rates per second, sizes bytes.

    plan              what was asked, as in Plan (bodies as text)
    seconds           how long it was measured; all rates are of this time
    interrupted       it was ended before its time
    sent              requests, of which so many were
    answered          … answered in full, whatever their status,
    failed            … given up: their connection broke, their time was over, their answer was none,
    in_flight         … neither, at the end
    unsent            requests of an open loop that were due and never sent
    qps, tps          requests sent, and answered, per second while it was measured
    bytes_out_per_second, bytes_in_per_second   what sockets took and gave, TLS not counted
    errors            by kind: refused, reset, closed, time-out, malformed, tls, ...: failed requests, and connections
                      that could not be opened; and status: answers of 400 and above
    statuses          answers by status; 0 where there is none (tcp)
    connections_asked, connections_held   how many were to be open at once, and were
    connections_opened   in all
    cpu               of the busiest process of the load: the share of a core that it took, 0 to 1
    response          Histogram of response times: from when a request was due (open loop) or sent (closed loop)
    service           … from when it was sent
    lateness          … of sends: how long after the moment that they could have gone out (open loop)
    intervals         one for each second (of long runs: for each few): see Interval
    warnings          why this result is not to be trusted, a line each
    """

    plan: Mapping[str, Any]
    seconds: float
    interrupted: bool
    sent: int
    answered: int
    failed: int
    in_flight: int
    unsent: int
    qps: float
    tps: float
    bytes_out_per_second: float
    bytes_in_per_second: float
    errors: Mapping[str, int]
    statuses: Mapping[int, int]
    connections_asked: int
    connections_held: int
    connections_opened: int
    cpu: float
    response: Histogram
    service: Histogram
    lateness: Histogram
    intervals: tuple[Interval, ...]
    warnings: tuple[str, ...] = ()

    @property
    def error_share(self) -> float:
        """Errors of all kinds over the requests that ended and the connections that did not open: 0 to 1."""
        wrong = sum(self.errors.values())
        ended = self.answered + wrong - self.errors.get("status", 0)
        return wrong / ended if ended else 0.0

    def to_json(self) -> str:
        """An object with a name for each field. A histogram is its count, mean, min, max and percentiles, and `counts`:
        pairs (place, count), from which Histogram makes it again."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in _HISTOGRAMS:
            values[name] = _histogram_values(values[name])
        values["intervals"] = [interval._asdict() for interval in self.intervals]
        return json.dumps(values, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What to_json has written. Raises ValueError, KeyError, TypeError where it is something else."""
        values = json.loads(text)
        for name in _HISTOGRAMS:
            values[name] = Histogram((bucket, count) for bucket, count in values[name]["counts"])
        values["statuses"] = {int(status): count for status, count in values["statuses"].items()}
        values["intervals"] = tuple(
            Interval(**{**interval, "times": tuple(map(tuple, interval["times"]))}) for interval in values["intervals"]
        )
        values["warnings"] = tuple(values["warnings"])
        return cls(**values)


def _histogram_values(histogram: Histogram) -> dict[str, Any]:
    percentiles = zip(PERCENTS, histogram.percentiles(*PERCENTS), strict=True)
    return {
        "count": histogram.count,
        "mean": histogram.mean,
        "min": histogram.min,
        "max": histogram.max,
        **{f"p{percent:g}": value for percent, value in percentiles},
        "counts": list(histogram.pairs()),
    }


def summarize(plan: Plan, record: Record, interrupted: bool) -> Result:
    """Of the numbers of all processes; what is wrong with them, `trust` says."""
    counters, intervals = record.counters, record.intervals
    seconds = sum(interval.seconds for interval in intervals)
    bad = sum(count for status, count in record.statuses.items() if status >= 400)
    return Result(
        plan=_plain(plan),
        seconds=seconds,
        interrupted=interrupted,
        sent=counters[SENT],
        answered=counters[ANSWERED],
        failed=counters[FAILED],
        in_flight=record.in_flight,
        unsent=record.unsent,
        qps=_rate(intervals, "sent", seconds),
        tps=_rate(intervals, "answered", seconds),
        bytes_out_per_second=_rate(intervals, "bytes_out", seconds),
        bytes_in_per_second=_rate(intervals, "bytes_in", seconds),
        errors=dict(record.errors) | ({"status": bad} if bad else {}),
        statuses=record.statuses,
        connections_asked=plan.clients,
        connections_held=counters[PEAK],
        connections_opened=counters[OPENED],
        cpu=record.cpu,
        response=record.histogram(RESPONSE),
        service=record.histogram(SERVICE),
        lateness=record.histogram(LATENESS),
        intervals=tuple(intervals),
    )


def _rate(intervals: list[Interval], name: str, seconds: float) -> float:
    return sum(getattr(interval, name) for interval in intervals) / seconds if seconds else 0.0


def _plain(plan: Plan) -> dict[str, Any]:
    """What JSON can carry."""
    return {
        name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
        for name, value in asdict(plan).items()
    }
