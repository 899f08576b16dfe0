"""Delay: whether requests wait too long. CoDel's measure (RFC 8289): the shortest wait within an interval.

A queue that empties again and again is good: it takes up bursts. One in which even the shortest wait of an interval
is above a target is a standing queue: all that it does is to make each request late. How long the queue is, or how fast
requests come, says neither.

CoDel for packets then drops one after ever shorter pauses, for a sender of TCP slows down when it misses one. Clients
of HTTP do not: at five times the load, four of five requests must go, and at once. So while requests are late, each
that would wait for more than two targets is refused (the rule of folly's Codel, in use at Facebook: Maurer, "Fail at
Scale", ACM Queue 13, 8, 2015).

It ends as it began: after an interval without a wait above the target. To end it with the first short wait would begin
it anew, an interval of growing waits later, whenever a client pauses.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

INTERVAL: Final = 10
"""An interval in targets: RFC 8289, 4.3, has a target of 5 to 10 % of the interval."""

ROOM: Final = 2
"""The longest wait in targets while requests are late. With one, waits would be at the target, and end that state."""


class DelayState(enum.Enum):
    """How long waits have been above or below the target."""

    CALM = "below it"
    RISING = "above it, for less than an interval"
    LATE = "above it for an interval"
    EASING = "below it, after LATE, for less than an interval"


CALM, RISING, LATE, EASING = DelayState

_CROSSED: Final = {CALM: RISING, RISING: CALM, LATE: EASING, EASING: LATE}
_LASTED: Final = {RISING: LATE, EASING: CALM}


class Delay:
    """The waits at one place. It has no clock; while it is CALM, waits up to the target need not be reported.

    target   seconds that a request may wait; math.inf for any time
    state    DelayState
    changed  called when `late` has changed
    """

    __slots__ = ("_changed", "_interval", "_seen", "_since", "state", "target")

    def __init__(self, target: float, changed: Callable[[], object] = lambda: None) -> None:
        self.target = target
        self.state = CALM
        self._interval = INTERVAL * target
        self._changed = changed
        self._since = self._seen = 0.0  # when the state began, and when a wait was last reported

    @property
    def late(self) -> bool:
        """Whether requests are to be refused where they would wait too long."""
        return self.state is LATE or self.state is EASING

    @property
    def room(self) -> float:
        """The seconds that a request may wait while requests are late."""
        return ROOM * self.target

    def observe(self, wait: float, now: float) -> None:
        """Note that a request has waited for so many seconds, until `now`."""
        before, above = self.state, wait > self.target
        was_above = before is RISING or before is LATE
        if now - wait - self._seen > self._interval:  # nothing has come for so long: what was is over
            self._enter(RISING if above else CALM, now)
        elif above != was_above:
            self._enter(_CROSSED[before], now)
        elif before in _LASTED and now - self._since >= self._interval:
            self._enter(_LASTED[before], now)
        self._seen = now

    def _enter(self, state: DelayState, now: float) -> None:
        was_late = self.late
        self.state, self._since = state, now
        if self.late != was_late:
            self._changed()
