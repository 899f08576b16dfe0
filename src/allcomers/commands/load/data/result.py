"""The result of a load: one frozen Result, to JSON and back without loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self

from allcomers.commands.load.data.histogram import Histogram
from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.record import (
    ANSWERED,
    DIFFERENT,
    FAILED,
    LATENESS,
    NOTHING,
    OPENED,
    PEAK,
    RESPONSE,
    SENT,
    SERVICE,
    WRONG,
    Interval,
    Record,
)

PERCENTS: Final = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99)
"""Percentiles that are always reported."""

COURSE_PERCENTS: Final = (50.0, 90.0, 99.0)
"""Those that are reported over time."""

ANSWERED_WRONG: Final = ("status", "body")
"""Kinds of errors of requests that were answered in full."""

_COURSE_NAMES: Final = tuple(f"p{percent:g}" for percent in COURSE_PERCENTS)
_HISTOGRAMS: Final = ("response", "service", "lateness", "wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Times are seconds, rates per second, sizes bytes.

    plan              the Plan as a dict (bodies as text)
    seconds           measured duration; all rates are of this time
    interrupted       whether the run ended early
    sent              requests, of which
    answered          … answered in full, whatever their status,
    failed            … given up: the connection broke, the time was over, the response was malformed,
    in_flight         … neither, at the end
    unsent            requests of an open loop that were due and never sent
    qps, tps          requests sent, and answered, per second of the measured duration
    bytes_out_per_second, bytes_in_per_second   of sockets, without TLS
    errors            by kind: refused, reset, closed, time-out, "malformed: WHY", tls, ...: failed requests, and
                      connections that could not be opened; and status, body: responses that were not as expected
    statuses          responses by status; 0 where there is none (tcp)
    connections_asked, connections_held   planned to be open at once, and open at once at most
    connections_opened   in total
    cpu               share of a core that the busiest process of the load used, 0 to 1
    response          Histogram of response times: from when a request was due (open loop) or sent (closed loop)
    service           … from when it was sent
    lateness          … of sends: how much later than possible a request was sent (open loop)
    wrong             the response times of responses that were not as expected, which `response` has, too
    intervals         one for each second (in long runs for several): see Interval
    late              the Interval after the measured duration: responses that were waited for, in no rate
    warnings          reasons to distrust this result, a line each
    place             the circumstances: machine.facts(), the `command`, and the cores in use meanwhile: `busy` in all,
                      `load` of them by the load
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
    late: Interval = NOTHING
    warnings: tuple[str, ...] = ()
    wrong: Histogram = field(default_factory=Histogram)
    place: Mapping[str, Any] = field(default_factory=dict)

    def goodput(self, goal: float) -> float:
        """Return the responses per second that were as expected, and complete within `goal` seconds."""
        late = self.response.share_above(goal) * self.response.count - self.wrong.share_above(goal) * self.wrong.count
        return (self.response.count - self.wrong.count - late) / self.seconds if self.seconds else 0.0

    @property
    def error_share(self) -> float:
        """Errors of all kinds over the requests that ended and the connections that did not open: 0 to 1."""
        wrong = sum(self.errors.values())
        ended = self.answered + wrong - sum(self.errors.get(kind, 0) for kind in ANSWERED_WRONG)
        return wrong / ended if ended else 0.0

    @property
    def redirects(self) -> dict[int, int]:
        """The statuses, if every response is a redirect (RFC 9110, section 15.4); else none."""
        moved = all(300 <= status < 400 and status != 304 for status in self.statuses)
        return dict(self.statuses) if moved else {}

    def to_json(self, verdict: Mapping[str, Any] | None = None) -> str:
        """Return a JSON object with a name for each field. A histogram is its count, mean, min, max and percentiles,
        and `counts`: pairs (bucket, count), from which Histogram restores it. `verdict` comes first."""
        values: dict[str, Any] = {"verdict": verdict} if verdict else {}
        values |= {one.name: getattr(self, one.name) for one in fields(self)}
        for name in _HISTOGRAMS:
            values[name] = _histogram_values(values[name])
        values["intervals"] = list(map(_interval_values, self.intervals))
        values["late"] = _interval_values(self.late)
        return json.dumps(values, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the Result that to_json wrote. Raises ValueError, KeyError, TypeError if the text is something
        else."""
        values = json.loads(text)
        values.pop("verdict", None)
        for name in _HISTOGRAMS:
            values[name] = Histogram((bucket, count) for bucket, count in values[name]["counts"])
        values["statuses"] = {int(status): count for status, count in values["statuses"].items()}
        values["intervals"] = tuple(map(_interval, values["intervals"]))
        values["late"] = _interval(values["late"]) if "late" in values else NOTHING
        values["warnings"] = tuple(values["warnings"])
        return cls(**values)


def _interval_values(interval: Interval) -> dict[str, Any]:
    """Return an interval with its percentiles before its times, from which they come."""
    *values, times = interval._asdict().items()
    found = Histogram(interval.times).percentiles(*COURSE_PERCENTS)
    return dict([*values, *zip(_COURSE_NAMES, found, strict=True), times])


def _interval(values: dict[str, Any]) -> Interval:
    """Return what _interval_values wrote, or an earlier version."""
    known = {name: value for name, value in values.items() if name not in _COURSE_NAMES}
    return Interval(**{**known, "times": tuple(map(tuple, values["times"]))})


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
    """Return the result of all processes' figures; `trust` adds the warnings."""
    counters, intervals = record.counters, record.intervals
    seconds = sum(interval.seconds for interval in intervals)
    bad = sum(count for status, count in record.statuses.items() if plan.status_errors[status])
    wrong = {kind: count for kind, count in zip(ANSWERED_WRONG, (bad, counters[DIFFERENT]), strict=True) if count}
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
        errors=dict(record.errors) | wrong,
        statuses=record.statuses,
        connections_asked=plan.clients,
        connections_held=counters[PEAK],
        connections_opened=counters[OPENED],
        cpu=record.cpu,
        response=record.histogram(RESPONSE),
        service=record.histogram(SERVICE),
        lateness=record.histogram(LATENESS),
        wrong=record.histogram(WRONG),
        intervals=tuple(intervals),
        late=record.late,
    )


def _rate(intervals: list[Interval], name: str, seconds: float) -> float:
    return sum(getattr(interval, name) for interval in intervals) / seconds if seconds else 0.0


def _plain(plan: Plan) -> dict[str, Any]:
    """Return the plan in JSON's types."""
    return {
        name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
        for name, value in asdict(plan).items()
    }
