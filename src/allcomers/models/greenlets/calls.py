"""Calls with a time limit in greenlets: one that waits beyond it is ended where it waits.

Unlike a thread a greenlet can be ended: it gets CallAbandoned where it waits. One that computes keeps the loop, and the
clock with it: the supervisor alone finds that (--hang-timeout).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent import Greenlet

from allcomers.calls.inline import Inline
from allcomers.calls.time_limit import log_overdue
from allcomers.connection.call import FAILED, TIMED_OUT
from allcomers.errors import CallAbandoned
from allcomers.system.native import stacks

if TYPE_CHECKING:
    from allcomers.calls.protocols import Parts
    from allcomers.connection.base import Work


class TimedGreenlets(Inline):
    """Calls in greenlets of their own, for `limit` seconds at most."""

    is_limited = True

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._limit = limit
        self._limited: set[int] = set()  # the greenlets whose calls have a limit, by id()

    def run(self, work: Work, parts: Parts | None = None) -> Any:
        return self.run_until(work, parts, lambda: math.inf)

    def run_until(self, work: Work, parts: Parts | None, until: Callable[[], float]) -> Any:
        """Run as run() does; return TIMED_OUT at the time `until`, too, which may move while this waits."""
        greenlet = Greenlet(work)
        due = monotonic() + self._limit
        self._limited.add(id(greenlet))
        greenlet.start()
        try:
            while not greenlet.ready():
                left = min(due if id(greenlet) in self._limited else math.inf, until()) - monotonic()
                if left <= 0:
                    return self._end(greenlet, work)
                greenlet.join(left if left < math.inf else None)
        finally:
            self._limited.discard(id(greenlet))
        return greenlet.value if greenlet.successful() else FAILED

    def lift_limit(self, thread: int) -> None:
        self._limited.discard(thread)

    def _end(self, greenlet: Any, work: Work) -> Any:
        name = str(getattr(work, "name", "a call"))
        log_overdue(name, self._limit, stacks.of_frame(greenlet.gr_frame))
        forget = getattr(work, "forget", None)
        if forget is not None:
            greenlet.link(lambda ended: forget(ended.value))
        greenlet.kill(CallAbandoned, block=False)
        return TIMED_OUT
