"""When a result is not to be trusted: what the load generator knows against itself. Pure rules, a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from allcomers.commands.load.data.result import Result

BUSY: Final = 0.9
"""The share of a core from which on a process of the load may be what is measured."""

LATE: Final = 0.001
"""Seconds: a request that goes out later than this was sent late."""

MANY_LATE: Final = 0.05

REACHED: Final = 0.98
"""The share of the rate asked that counts as reached."""


def with_warnings(result: Result, shared: float = 0.0, missing: tuple[str, ...] = ()) -> Result:
    """With its warnings.

    shared   the share of looks at which server and load ran on one core, 0 to 1
    missing  what is known already to lack
    """
    found = [line for rule in RULES for line in rule(result)]
    if shared > 0.1:
        found.append(
            f"the server and the load ran on the same core in {shared:.0%} of the looks at them: each takes the other's"
            " time; pin them apart (taskset -c 0 for one, taskset -c 1 for the other)"
        )
    return replace(result, warnings=(*missing, *found))


def _busy(result: Result) -> Iterator[str]:
    if result.cpu >= BUSY:
        yield (
            f"a process of the load took {result.cpu:.0%} of a core: it may be what was measured, not the server;"
            " more of them (-t) can ask for more"
        )


def _late(result: Result) -> Iterator[str]:
    late = result.lateness.share_above(LATE)
    if late > MANY_LATE:
        yield f"{late:.1%} of requests were sent more than 1 ms late: this machine is too busy for such a load"


def _rate(result: Result) -> Iterator[str]:
    plan = result.plan
    if not plan["rate"] or not result.seconds or result.interrupted:
        return
    asked = plan["rate"] * (1 - min(plan["ramp"] / result.seconds, 1) / 2)
    if result.qps < REACHED * asked and not plan["requests"]:
        yield (
            f"{asked:,.0f} requests per second were asked, {result.qps:,.0f} were sent: with more clients (-c) more can"
            " be under way"
        )


def _unsent(result: Result) -> Iterator[str]:
    if result.unsent and not result.interrupted:
        yield (
            f"{result.unsent:,} requests were due and never sent, for no client was free: the response times are those"
            " of the others; theirs would be longer"
        )


def _connections(result: Result) -> Iterator[str]:
    if result.connections_held < result.connections_asked and result.plan["keep_alive"] and not result.plan["hostile"]:
        yield f"{result.connections_asked:,} connections were asked, {result.connections_held:,} were open at most"


def _counts(result: Result) -> Iterator[str]:
    told = result.answered + result.failed + result.in_flight
    if result.sent != told:
        yield (
            f"the counts do not add up: {result.sent:,} sent, but {result.answered:,} answered"
            f" + {result.failed:,} failed + {result.in_flight:,} in flight"
        )


def _few(result: Result) -> Iterator[str]:
    count = result.response.count
    if 0 < count < 1000 and not result.plan["hostile"]:
        yield f"{count} answers are few: p99 rests on {max(1, round(count / 100))} of them"


RULES: Final[tuple[Callable[[Result], Iterator[str]], ...]] = (
    _busy,
    _late,
    _rate,
    _unsent,
    _connections,
    _counts,
    _few,
)
