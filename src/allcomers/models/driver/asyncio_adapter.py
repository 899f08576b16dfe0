"""How an EventLoop runs on an asyncio event loop, which waits for the sockets, or for the poller that does.

This file has the callbacks and timers; asyncio_loop.py chooses the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from select import POLLIN, POLLOUT
from time import monotonic
from typing import Protocol

from allcomers.connection.base import READ, WRITE
from allcomers.models.driver.event_loop import EventLoop
from allcomers.models.driver.poller import Poller
from allcomers.models.driver.serving import Serving

_logger = logging.getLogger("allcomers.app")


class Nested(Poller, Protocol):
    """A poller that the kernel keeps, and that can be waited for itself (epoll(7)).

    fileno()  readable when wait() has something to report
    """

    def fileno(self) -> int: ...


class AsyncioPoller:
    """The poller's verbs, applied to an event loop; what wait() would return goes to `handle`."""

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


class AsyncioAdapter:
    """Runs an EventLoop's handle() and turn() by the callbacks and the timer of an asyncio event loop."""

    def __init__(self, serving: Serving, events: asyncio.AbstractEventLoop, nested: Nested | None) -> None:
        self._events = events
        self._counters = serving.slot.counters
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self.over = events.create_future()
        if nested is not None:
            self._loop = EventLoop(serving, nested, self._turn)
            events.add_reader(nested.fileno(), self._handle_all, nested)
        else:
            poller = AsyncioPoller(events)
            poller.handle = self._handle
            self._loop = EventLoop(serving, poller, self._turn)

    def _handle_all(self, nested: Nested) -> None:
        events = nested.wait(0)
        now = monotonic()
        for fd, event in events:
            self._loop.handle(fd, event, now)
        self._turn(now)
        self._counters.loop_turn(monotonic() - now)

    def _handle(self, fd: int, event: int) -> None:
        now = monotonic()
        self._loop.handle(fd, event, now)
        self._turn(now)
        self._counters.loop_turn(monotonic() - now)

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


def drive(serving: Serving, events: asyncio.AbstractEventLoop, nested: Nested | None) -> None:
    """Serve on this event loop until the server stops: it watches the peers itself, or `nested`, which does."""
    adapter = AsyncioAdapter(serving, events, nested)
    while not adapter.over.done():
        events.call_soon(serving.signals.listen)  # uvloop takes the signals for itself when it starts
        try:
            events.run_until_complete(adapter.over)
        # Raised by a task that an app has started, or that is its call: one request does not stop a server.
        except (SystemExit, KeyboardInterrupt) as error:
            _logger.error("a task of the app raised %s", type(error).__name__, exc_info=error)
