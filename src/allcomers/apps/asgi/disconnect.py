"""A client that has closed its sending side: it may be gone, or it may still read.

TCP tells both in the same way. Only bytes that are sent to a client that is gone come back as a reset. So as long as
pieces of an answer go out, the client is taken to read; once nothing has gone out for a moment, the app is told that
it has left, and after the grace its call is cancelled.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final, Protocol

QUIET: Final = 0.5
"""Seconds without a piece to it after which a client that has closed its sending side is taken to have left."""


class DisconnectedCall(Protocol):
    """An app's call, as a HalfClosed sees it."""

    @property
    def is_over(self) -> bool:
        """Whether its answer is whole, or has nobody to go to."""
        ...

    @property
    def is_sending(self) -> bool:
        """Whether a piece is on its way."""
        ...

    def left(self) -> None:
        """The app is to be told that its client has left."""
        ...

    def give_up(self) -> None:
        """The call is to be cancelled."""
        ...


class HalfClosed:
    """One such client.

    grace     seconds without a piece to it after which the call is cancelled; 0 for never
    has_left  whether it is taken to have left
    """

    __slots__ = ("_call", "_events", "_grace", "_quiet", "_since", "has_left")

    def __init__(self, events: asyncio.AbstractEventLoop, call: DisconnectedCall, grace: float) -> None:
        self.has_left = False
        self._events = events
        self._call = call
        self._grace = grace
        self._since = monotonic()
        self._quiet = min(QUIET, grace / 2) if grace else QUIET  # the app has time to notice, too
        self._wait(self._quiet)

    def sent(self) -> None:
        """A piece has gone out to it."""
        self._since = monotonic()

    def _wait(self, seconds: float) -> None:
        self._events.call_later(seconds, self._check)

    def _check(self) -> None:
        if self._call.is_over:
            return
        now = monotonic()
        if self._call.is_sending:
            self._since = now
        if not self.has_left and now - self._since >= self._quiet:
            self.has_left = True
            self._since = now - self._quiet  # this may run late: the app has what is left of the grace from now on
            self._call.left()
        limit = self._grace if self.has_left else self._quiet
        if now - self._since < limit:
            self._wait(limit - (now - self._since))
        elif self._grace:
            self._call.give_up()
