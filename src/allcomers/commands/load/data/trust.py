"""Reasons to distrust a result: what the load generator knows against itself. Pure rules, a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from allcomers.commands.load.data.result import Result

BUSY: Final = 0.9
"""Share of a core from which on a process of the load may be the bottleneck."""

LATE: Final = 0.001
"""Seconds: a request that goes out later than this was sent late."""

MANY_LATE: Final = 0.05

REACHED: Final = 0.98
"""Share of the planned rate that counts as reached."""


def with_warnings(result: Result, shared: float = 0.0, missing: tuple[str, ...] = ()) -> Result:
    """Return the result with its warnings.

    shared   share of samples in which server and load ran on one core, 0 to 1
    missing  warnings known already
    """
    found = [line for rule in RULES for line in rule(result)]
    if shared > 0.1:
        found.append(
            f"the server and the load ran on the same core in {shared:.0%} of all samples: each takes the other's"
            " time; pin them apart (taskset -c 0 for one, taskset -c 1 for the other)"
        )
    return replace(result, warnings=(*missing, *found))


def _busy(result: Result) -> Iterator[str]:
    if result.cpu >= BUSY:
        yield (
            f"a process of the load used {result.cpu:.0%} of a core: it may be the bottleneck, not the server;"
            " more processes (-t) can send more"
        )


def _late(result: Result) -> Iterator[str]:
    late = result.lateness.share_above(LATE)
    if late > MANY_LATE:
        yield f"{late:.1%} of requests were sent more than 1 ms late: this machine is too busy for such a load"


def _rate(result: Result) -> Iterator[str]:
    plan = result.plan
    if not plan["rate"] or not result.seconds or result.interrupted:
        return
    planned = plan["rate"] * (1 - min(plan["ramp"] / result.seconds, 1) / 2)
    if result.qps < REACHED * planned and not plan["requests"]:
        yield (
            f"{planned:,.0f} requests per second were planned, {result.qps:,.0f} were sent: with more clients (-c) more"
            " can be in flight"
        )


def _unsent(result: Result) -> Iterator[str]:
    if result.unsent and not result.interrupted:
        yield (
            f"{result.unsent:,} requests were due and never sent, as no client was free: the response times are those"
            " of the others; theirs would be longer"
        )


def _connections(result: Result) -> Iterator[str]:
    if result.connections_held < result.connections_asked and result.plan["keep_alive"] and not result.plan["hostile"]:
        yield f"{result.connections_asked:,} connections were planned, {result.connections_held:,} were open at most"


def _counts(result: Result) -> Iterator[str]:
    total = result.answered + result.failed + result.in_flight
    if result.sent != total:
        yield (
            f"the counts do not add up: {result.sent:,} sent, but {result.answered:,} answered"
            f" + {result.failed:,} failed + {result.in_flight:,} in flight"
        )


def _redirects(result: Result) -> Iterator[str]:
    if result.redirects:
        statuses = ", ".join(map(str, sorted(result.redirects)))
        yield f"every response is a redirect ({statuses}), which is not followed: load the URL to which it leads"


def _few(result: Result) -> Iterator[str]:
    count = result.response.count
    if 0 < count < 1000 and not result.plan["hostile"]:
        yield f"{count} responses are few: p99 rests on {max(1, round(count / 100))} of them"


RULES: Final[tuple[Callable[[Result], Iterator[str]], ...]] = (
    _busy,
    _late,
    _rate,
    _unsent,
    _connections,
    _counts,
    _redirects,
    _few,
)
