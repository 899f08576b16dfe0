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

    PERF: one timer for all, at most one in DELAY, and no call is kept that has sent its body: 0.2 us for a call that
    sends both after it has waited. A timer each (loop.call_later), or calls that are kept until the timer, cost 1.7 us
    and more. A call that sends both in its first step never comes here.
    """

    __slots__ = ("_events", "_new", "_old", "_timer")

    def __init__(self, events: asyncio.AbstractEventLoop) -> None:
        self._events = events
        self._old: set[UnsentHead] = set()  # here since before the timer was set
        self._new: set[UnsentHead] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: UnsentHead) -> None:
        """Send the head of `call` soon."""
        self._new.add(call)
        if self._timer is None:
            self._timer = self._events.call_later(DELAY, self._turn)

    def note(self, call: UnsentHead, is_due: bool) -> None:
        """Note that the head of `call` is due, or is so no longer."""
        (self.add if is_due else self.discard)(call)

    def discard(self, call: UnsentHead) -> None:
        """Leave the head of `call` alone: its body has come."""
        self._new.discard(call)
        self._old.discard(call)

    def _turn(self) -> None:
        late, self._old, self._new = self._old, self._new, set()
        self._timer = self._events.call_later(DELAY, self._turn) if self._old else None
        for call in late:
            call.send_head()
