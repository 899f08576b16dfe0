"""A client that has closed its sending side: it may be gone, or it may still read.

TCP tells both in the same way. Only bytes that are sent to a client that is gone come back as a reset. So as long as
pieces of a response go out, the client is taken to read; once nothing has gone out for a moment, the app is notified
that it has left, and after the grace its call is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from allcomers.apps.asgi.call.response_writer import DONE, ResponseWriter

QUIET: Final = 0.5
"""Seconds without a piece to it after which a client that has closed its sending side is taken to have left."""


class HalfClosed:
    """One such client.

    response  the response to it: none that is whole, or on its way, is given up
    grace     seconds without a piece to it after which the call is cancelled; 0 for never
    notify    called once the client is taken to have left
    cancel    called when the grace is over
    has_left  whether it is taken to have left
    """

    __slots__ = ("_cancel", "_events", "_grace", "_notify", "_quiet", "_response", "_since", "_timer", "has_left")

    def __init__(
        self,
        events: asyncio.AbstractEventLoop,
        response: ResponseWriter,
        grace: float,
        *,
        notify: Callable[[], object],
        cancel: Callable[[], object],
    ) -> None:
        self.has_left = False
        self._events = events
        self._response = response
        self._grace = grace
        self._notify = notify
        self._cancel = cancel
        self._since = monotonic()
        self._quiet = min(QUIET, grace / 2) if grace else QUIET  # the app has time to notice, too
        self._timer = events.call_later(self._quiet, self._check)

    def sent(self) -> None:
        """Note that a piece has gone out to it."""
        self._since = monotonic()

    def stop(self) -> None:
        """Stop the timer: the client is known to be gone."""
        self._timer.cancel()

    def _check(self) -> None:
        if self._response.state is DONE:
            return
        now = monotonic()
        if self._response.is_sending:
            self._since = now
        if not self.has_left and now - self._since >= self._quiet:
            self.has_left = True
            self._since = now - self._quiet  # this may run late: the app has what is left of the grace from now on
            self._notify()
        limit = self._grace if self.has_left else self._quiet
        if now - self._since < limit:
            self._timer = self._events.call_later(limit - (now - self._since), self._check)
        elif self._grace:
            self._cancel()
