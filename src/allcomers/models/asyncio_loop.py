"""The asyncio model: an asyncio event loop watches the same connections by add_reader and add_writer.

    loop: select → callback for each that is ready → select → …

The same connections and the same steps as under the pollers; only the waiting is asyncio's, or uvloop's where that is
installed (the extra `allcomers[uvloop]`). Each event passes asyncio's queue of callbacks: a few microseconds more than
epoll alone. asyncio's transports and streams are not used; they would cost three times that.

Use it where the app has coroutines of its own to run beside the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from select import POLLIN, POLLOUT
from time import monotonic

from allcomers.connection import READ, WRITE
from allcomers.models import Serving
from allcomers.models.readiness import Loop


class AsyncioPoller:
    """The poller's verbs, spoken to an event loop; what it would return from wait() it gives to `handle`."""

    most = 1 << 30
    errs_once = True  # uvloop closes its watch after it has called once (libuv: UV_EBADF)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[int, int] = {}
        self.handle: Callable[[int, int], None]

    def watch(self, fd: int, wants: int) -> None:
        changed = wants ^ self._watched.get(fd, 0)
        self._watched[fd] = wants
        if changed & READ:
            if wants & READ:
                self._loop.add_reader(fd, self.handle, fd, POLLIN)
            else:
                self._loop.remove_reader(fd)
        if changed & WRITE:
            if wants & WRITE:
                self._loop.add_writer(fd, self.handle, fd, POLLOUT)
            else:
                self._loop.remove_writer(fd)

    def watch_listener(self, fd: int) -> None:
        self.watch(fd, READ)

    def forget(self, fd: int) -> None:
        self.watch(fd, 0)
        del self._watched[fd]

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        raise AssertionError("the event loop waits")


class Pump:
    """Turns an event loop's callbacks and timer into the Loop's handle() and turn()."""

    def __init__(self, serving: Serving, events: asyncio.AbstractEventLoop) -> None:
        self._events = events
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        poller = AsyncioPoller(events)
        poller.handle = self._handle
        self.over = events.create_future()
        self._loop = Loop(serving, poller)

    def _handle(self, fd: int, event: int) -> None:
        now = monotonic()
        self._loop.handle(fd, event, now)
        self._turn(now)

    def _turn(self, now: float) -> None:
        timeout = self._loop.turn(now)
        if timeout is not None and now + timeout < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = now + timeout
            self._timer = self._events.call_later(timeout, self._tick)
        if self._loop.over and not self.over.done():
            self.over.set_result(None)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        self._turn(monotonic())


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def serve(serving: Serving) -> None:
    """Serve until the orders say stop and the last peer has gone."""
    events = new_event_loop()
    events.call_soon(serving.orders.listen)  # uvloop takes the signals for itself when it starts
    try:
        events.run_until_complete(Pump(serving, events).over)
    finally:
        events.close()
