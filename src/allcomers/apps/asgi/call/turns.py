"""Pieces that an app sends without waiting in between: they are gathered into one send.

The first piece after a wait goes out at once: an event is never late. Those that follow in the same turn of the event
loop go out together, at its end or as soon as there are 64 KiB. Those of the call's first step go out with its
head, when that step is over. An app that waits goes on in a later turn: so no piece is held while its app waits.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Gatherer(Protocol):
    """A call that holds pieces.

    response  its ResponseWriter, which keeps them
    """

    response: Any

    def pass_on(self, output: Any) -> None:
        """Send a piece that more follows."""
        ...


def flush(call: Gatherer) -> None:
    """Send the pieces that `call` holds, if any."""
    if call.response.is_holding:
        call.pass_on(call.response.take())


class Turns:
    """The turns of one event loop.

    gathers  bool: pieces are gathered in them

    PERF: one callback a turn for all calls.
    """

    __slots__ = ("_calls", "_events", "_is_open", "_number", "gathers")

    def __init__(self, events: asyncio.AbstractEventLoop, gathers: bool) -> None:
        self.gathers = gathers
        self._events = events
        self._calls: list[Gatherer] = []
        self._is_open = False
        self._number = 0

    def hold(self, call: Gatherer, output: Any, is_starting: bool) -> bool:
        """Have `call` keep a piece until the end of this turn. Return False for one that is to go out at once: its app
        has waited since the last one. Where the call `is_starting`, it flushes by itself when it has.

        A call that waits goes on in a later turn: it is scheduled behind the end of this (loop.call_soon is first in,
        first out).
        """
        response = call.response
        was_holding = response.is_holding
        if not (self.gathers and (is_starting or self.holds(response)) and response.hold(output)):
            self.begin(response)
            return False
        if response.is_full:
            flush(call)
        elif not (was_holding or is_starting):
            self._calls.append(call)
        return True

    def holds(self, response: Any) -> bool:
        """Return whether a piece of `response` is to be held: one has gone out in this turn."""
        is_held: bool = self.gathers and response.turn == self._number
        return is_held

    def begin(self, response: Any) -> None:
        """Note that a piece of `response` goes out at once in this turn."""
        response.turn = self._number
        if not self._is_open:
            self._is_open = True
            self._events.call_soon(self._end)

    def _end(self) -> None:
        self._number += 1
        self._is_open = False
        calls, self._calls = self._calls, []
        for call in calls:
            flush(call)
