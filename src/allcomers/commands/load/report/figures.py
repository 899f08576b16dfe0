"""A result in words and figures, in sections of rows, for the terminal and the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from allcomers.commands.load.data.histogram import Histogram, middle
from allcomers.commands.load.data.result import COURSE_PERCENTS, PERCENTS, Result
from allcomers.commands.load.data.slo import Term
from allcomers.commands.terminal import sparkline

BANDS: Final = 12
"""Bars of the histogram, at most."""

SERVICE_LEVEL: Final = "Service level"
UNTRUSTED: Final = "Not to be trusted"

_COURSE: Final = 24
"""Steps of a percentile's course over time, at most."""


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: `bar` is 0 to 1, below 0 for none; `good` is None if it is not judged."""

    name: str
    value: str
    note: str = ""
    bar: float = -1.0
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    rows: Sequence[Row]


def span(seconds: float) -> str:
    """Return a time with three digits: "635 µs", "1.47 ms", "12.3 s"."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{_three(seconds * factor)} {unit}"
    return f"{_three(seconds)} s"


def size(count: float) -> str:
    """Return a size, "1.50 KB", in powers of 1,000, as network rates are given."""
    for factor, unit in ((1e0, "B"), (1e3, "KB"), (1e6, "MB")):
        if count / factor < 999.5:
            return f"{_three(count / factor)} {unit}"
    return f"{_three(count / 1e9)} GB"


def _three(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.{max(0, min(2, 2 - math.floor(math.log10(value))))}f}"


def headline(result: Result) -> str:
    """Return the load in a line."""
    plan = result.plan
    clients = f"{plan['clients']:,} clients" + (f" in {plan['processes']} processes" if plan["processes"] > 1 else "")
    if plan.get("http2"):
        clients += f" over HTTP/2, {plan['streams']:,} streams each"
    if plan["hostile"]:
        how = f"{clients} that attack: {plan['hostile']}"
    elif plan["rate"]:
        how = f"open loop, {plan['rate']:,g} requests per second ({plan['arrivals']}), at most {clients}"
    else:
        how = f"closed loop, {clients}" + (f", think time {span(plan['think'])}" if plan["think"] else "")
    return f"{plan['url']}: {how}, {result.seconds:.1f} s" + (" (interrupted)" if result.interrupted else "")


def sections(result: Result, slo: Sequence[Term] = ()) -> list[Section]:
    """Return all sections, in the order in which they are shown."""
    found = [Section(SERVICE_LEVEL, [_verdict(term, result) for term in slo])] if slo else []
    found += [Section("Rates", list(_rates(result))), Section("Requests", list(_requests(result)))]
    if result.response.count:
        found += [Section("Response time", list(_times(result))), Section("Histogram", list(_bands(result.response)))]
    if course := list(_course(result)):
        found.append(Section("Over time", course))
    if result.errors:
        found.append(Section("Errors", list(_errors(result))))
    if result.warnings:
        found.append(Section(UNTRUSTED, [Row("!", line, good=False) for line in result.warnings]))
    return found


def _rates(result: Result) -> Iterator[Row]:
    yield Row("TPS", f"{result.tps:,.0f}", "answered in full per second")
    yield Row("QPS", f"{result.qps:,.0f}", "sent per second")
    yield Row("in", f"{size(result.bytes_in_per_second)}/s", "from the server")
    yield Row("out", f"{size(result.bytes_out_per_second)}/s", "to the server")


def _requests(result: Result) -> Iterator[Row]:
    statuses = ", ".join(f"{count:,} × {status}" for status, count in result.statuses.items() if status)
    yield Row("sent", f"{result.sent:,}")
    yield Row("answered", f"{result.answered:,}", statuses)
    yield Row("failed", f"{result.failed:,}", good=False if result.failed else None)
    yield Row("in flight", f"{result.in_flight:,}", "at the end")
    if result.unsent:
        yield Row("unsent", f"{result.unsent:,}", "due, and never sent", good=False)
    yield Row("connections", f"{result.connections_held:,}", _connections(result))


def _connections(result: Result) -> str:
    return f"held of {result.connections_asked:,} planned; {result.connections_opened:,} opened in total"


def _times(result: Result) -> Iterator[Row]:
    """Yield the percentiles of response times, with those of service times where these differ."""
    response = result.response.percentiles(*PERCENTS)
    service = result.service.percentiles(*PERCENTS)
    differs = list(result.service.pairs()) != list(result.response.pairs())
    longest = result.response.max
    yield Row("mean", span(result.response.mean), f"service {span(result.service.mean)}" if differs else "")
    for percent, time, served in zip(PERCENTS, response, service, strict=True):
        yield Row(f"p{percent:g}", span(time), f"service {span(served)}" if differs else "", _log(time, longest))
    yield Row("max", span(longest), f"service {span(result.service.max)}" if differs else "", 1.0)


def _log(value: float, most: float) -> float:
    """Return the position of a time between 10 µs and the longest, on a logarithmic scale, 0 to 1."""
    least = 1e-5
    if value <= least or most <= least:
        return 0.0
    return math.log(value / least) / math.log(most / least)


def _bands(histogram: Histogram) -> Iterator[Row]:
    """Yield shares of all responses, in at most BANDS steps of equal ratio from the shortest time to the longest."""
    total, low, high = histogram.count, max(histogram.min, 1e-6), histogram.max
    ratio = max((high / low) ** (1 / BANDS), 1.05)
    counts: dict[int, int] = {}
    for bucket, count in histogram.pairs():
        band = min(BANDS - 1, max(0, int(math.log(max(middle(bucket) / 1e9, low) / low) / math.log(ratio))))
        counts[band] = counts.get(band, 0) + count
    most = max(counts.values())
    for band in range(max(counts) + 1):
        count = counts.get(band, 0)
        yield Row(f"≤ {span(low * ratio ** (band + 1))}", f"{count / total:.1%}", f"{count:,}", count / most)


def _course(result: Result) -> Iterator[Row]:
    """Yield a row for p50, p90 and p99: the lowest and the highest, and bars from 0 to that, in equal parts of the run;
    none for a run of one part."""
    intervals = [interval for interval in result.intervals if interval.times]
    parts = min(_COURSE, len(intervals))
    if parts < 2:
        return
    edges = [len(intervals) * part // parts for part in range(parts + 1)]
    times = [
        Histogram([pair for interval in intervals[begin:end] for pair in interval.times]).percentiles(*COURSE_PERCENTS)
        for begin, end in pairwise(edges)
    ]
    for percent, values in zip(COURSE_PERCENTS, zip(*times, strict=True), strict=True):
        yield Row(f"p{percent:g}", f"{span(min(values))} to {span(max(values))}", sparkline(values))


def _errors(result: Result) -> Iterator[Row]:
    for kind, count in sorted(result.errors.items(), key=lambda item: -item[1]):
        name, _, reason = kind.partition(": ")
        yield Row(name, f"{count:,}", reason or _MEANS.get(kind, ""), good=False)


_MEANS: Final = {
    "refused": "nobody listened",
    "reset": "the connection was reset",
    "closed": "the connection was closed before the response was complete",
    "time-out": "no connection, or no complete response, in time (--timeout)",
    "status": "responses of 400 and above, or not of --expect-status",
    "body": "responses with another body than --expect, or another size",
    "tls": "the handshake, or a record, was broken",
    "no HTTP/2": "the server speaks HTTP/1.1 only",
    "no port left": "this machine has no local port left: fewer connections, or keep-alive",
    "no descriptor left": "this process has no descriptor left: ulimit -n, or more processes (-t)",
}


def _verdict(term: Term, result: Result) -> Row:
    value = term.measured(result)
    if value is None:
        measured = "nothing was answered"
    elif term.name == "errors":
        measured = f"{value:.3%}" if term.unit == "%" else f"{value:,.0f}"
    else:
        measured = f"{value:,.0f}" if term.name in ("qps", "tps") else span(value)
    met = term.met(result)
    return Row(term.text, measured, "met" if met else "missed", good=met)
