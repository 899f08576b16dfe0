"""The time of one request: its wait for a call, in the app, and the rest.

It is noted where the calls run, which may be another thread, with a clock that was passed in; and only where a format
of the access log, or --server-timing, needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from allcomers.protocol import compiled

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.protocol._timing import Times as Times
else:

    class Times:
        """Seconds of one request, made when its call is due; a context manager for each of its calls.

        wait  from then until its first call started, or until now
        app   in its calls, with the one that runs
        """

        __slots__ = ("_app", "_clock", "_due", "_since", "_started")

        def __init__(self, clock: Callable[[], float]) -> None:
            self._clock = clock
            self._due = clock()
            self._started = 0.0  # when the first call started
            self._since = 0.0  # when the running call started
            self._app = 0.0  # in those that have ended

        def __enter__(self) -> None:
            self._since = self._clock()
            self._started = self._started or self._since

        def __exit__(self, *_: object) -> None:
            self.end(self._clock())

        def end(self, now: float) -> None:
            """Note that the running call, if there is one, ended at `now`."""
            since, self._since = self._since, 0.0
            if since:
                self._app += max(0.0, now - since)

        @property
        def due(self) -> float:
            return self._due

        @property
        def wait(self) -> float:
            return (self._started or self._clock()) - self._due

        @property
        def app(self) -> float:
            since = self._since
            return self._app + (self._clock() - since if since else 0.0)

        def field(self) -> bytes:
            """Return the line of a Server-Timing field, in milliseconds (https://www.w3.org/TR/server-timing/)."""
            return b"Server-Timing: wait;dur=%.3f, app;dur=%.3f\r\n" % (self.wait * 1e3, self.app * 1e3)
