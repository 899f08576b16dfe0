"""select.poll for greenlets: one waits in gevent's loop, and the others run."""

from __future__ import annotations

from math import inf
from select import POLLHUP, POLLIN, POLLOUT
from time import monotonic
from typing import Any, Final

from gevent.hub import get_hub, getcurrent

from allcomers.connection.base import FAREWELL, PATIENCE
from allcomers.models.driver.conversations import EvictionPipe
from allcomers.system.accept_balance import WorkerSlot

BELL: Final = -1
"""The descriptor by which a greenlet's poll has an EvictionBell."""

_READ: Final = 1
_WRITE: Final = 2
"""The events of the loop (libev: EV_READ, EV_WRITE)."""


class EvictionBell(EvictionPipe):
    """The same for greenlets, which need no pipe: the loop would look at each that watches it, whenever one does.

    waiting  the polls that wait, with POLLIN for those whose conversations may be evicted, in the order in which they
             began to
    """

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot = slot
        self._reader = BELL
        self._wanted = 0  # conversations that are to end, and do not know it
        self._is_over = False
        self.waiting: dict[GreenletPoll, int] = {}

    def wanted(self) -> float:
        if self._is_over:
            return FAREWELL
        if self._wanted:
            self._wanted -= 1
            return PATIENCE
        return PATIENCE if self._slot.leaving_soon else 0.0

    def evict(self, count: int) -> None:
        self._wanted += count
        idle = [poll for poll, events in self.waiting.items() if events]
        for poll in idle[:count]:
            poll.ring(POLLIN)

    def evict_at_most(self, count: int) -> None:
        self._wanted = min(self._wanted, count)

    def evict_all(self) -> None:
        self._is_over = True
        for poll in list(self.waiting):
            poll.ring(POLLHUP)

    def rings(self, events: int) -> int:
        """Return the events to report at once to a poll that asks for `events`."""
        if self._is_over:
            return POLLHUP
        return POLLIN if self._wanted and events else 0


class GreenletPoll:
    """As select.poll; poll() returns one event at a time, and rounds no timeout.

    PERF: its timer runs on from one wait to the next, for most deadlines only move later; with one for each wait, and
    gevent's Waiter, a request takes 95 µs of CPU rather than 83 (`python -m bench greenlets`).

    bell  watched as the descriptor BELL
    """

    def __init__(self, bell: EvictionBell) -> None:
        self._hub = get_hub()
        self._bell = bell
        self._bell_events = -1  # -1: the bell is not watched
        self._watchers: dict[int, Any] = {}
        self._waiting: Any = None  # the greenlet that waits
        self._due = inf  # when its wait is over, on the monotonic clock
        self._timer: Any = None
        self._timed = inf  # when that is over

    def register(self, fd: int, eventmask: int, /) -> None:
        if fd == BELL:
            self._bell_events = eventmask
            return
        events = (_READ if eventmask & POLLIN else 0) | (_WRITE if eventmask & POLLOUT else 0)
        watcher = self._watchers.get(fd)
        if watcher is None or watcher.events & (_READ | _WRITE) != events:
            if watcher is not None:
                watcher.close()
            self._watchers[fd] = self._hub.loop.io(fd, events or _READ)

    def unregister(self, fd: int, /) -> None:
        """Watch `fd` no more. Raises KeyError. With the last one all is freed that the loop has of this."""
        if fd == BELL:
            self._bell_events = -1
            return
        self._watchers.pop(fd).close()
        if not self._watchers and self._timer is not None:
            self._end_timer()

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Wait for an event, or for `timeout` milliseconds."""
        if self._bell_events >= 0:
            if events := self._bell.rings(self._bell_events):
                return [(BELL, events)]
            self._bell.waiting[self] = self._bell_events
        self._due = inf if timeout is None else monotonic() + timeout / 1000
        if self._due < self._timed:
            self._start_timer()
        self._waiting = getcurrent()
        try:
            for fd, watcher in self._watchers.items():
                watcher.start(self._report, fd, pass_events=True)
            found: list[tuple[int, int]] = self._hub.switch()
            return found
        finally:
            self._waiting = None
            self._bell.waiting.pop(self, None)
            for watcher in self._watchers.values():
                watcher.stop()

    # ------------------------------------------------------------ called in the hub

    def _report(self, events: int, fd: int) -> None:
        self._waiting.switch([(fd, (POLLIN if events & _READ else 0) | (POLLOUT if events & _WRITE else 0))])

    def ring(self, events: int) -> None:
        """Report `events` of the bell, soon. Called in another greenlet."""
        self._bell.waiting.pop(self)
        self._hub.loop.run_callback(self._ring, events)

    def _ring(self, events: int) -> None:
        if self._waiting is not None:  # else it has found something else meanwhile
            self._waiting.switch([(BELL, events)])

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._end_timer()
        self._timed = self._due
        self._timer = self._hub.loop.timer(max(0.0, self._due - monotonic()))
        self._timer.start(self._expire)

    def _end_timer(self) -> None:
        self._timer.close()
        self._timer, self._timed = None, inf

    def _expire(self) -> None:
        self._end_timer()
        if self._waiting is None or self._due == inf:
            return
        if monotonic() < self._due:  # it has moved
            self._start_timer()
        else:
            self._waiting.switch([])
