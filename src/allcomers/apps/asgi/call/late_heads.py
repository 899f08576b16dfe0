"""Heads of responses whose bodies are late: they go out by themselves.

An app may send http.response.start long before its first body message: a stream of events has no event yet, and its
client waits for the head (EventSource: onopen). A head whose body follows at once goes out with it, as one segment and
framed by its length; until then an app that fails is still answered with 500.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

DELAY: Final = 0.005
"""Seconds that a head waits for its body, at least; at most it waits twice as long."""


class UnsentHead(Protocol):
    """A call that has a head to send."""

    def send_head(self) -> None:
        """Send the head by itself, unless it is sent already, or never will be."""
        ...


class LateHeads:
    """The calls of one event loop whose heads wait for their bodies.

    PERF: one timer for all, which runs only while there are any: a timer for each call costs 2,000 instructions
    (asyncio.loop.call_later) also where the body follows in the same step.
    """

    __slots__ = ("_events", "_new", "_old")

    def __init__(self, events: asyncio.AbstractEventLoop) -> None:
        self._events = events
        self._old: list[UnsentHead] = []  # here since before the timer was set
        self._new: list[UnsentHead] = []

    def add(self, call: UnsentHead) -> None:
        """Send the head of `call` soon, unless its body comes before."""
        if not self._old and not self._new:
            self._events.call_later(DELAY, self._turn)
        self._new.append(call)

    def _turn(self) -> None:
        late, self._old, self._new = self._old, self._new, []
        if self._old:
            self._events.call_later(DELAY, self._turn)
        for call in late:
            call.send_head()
