"""How an EventLoop runs on an asyncio event loop, which waits for the sockets, or for the poller that does.

This file has the callbacks and timers; asyncio_loop.py chooses the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from select import POLLIN, POLLOUT
from time import monotonic
from typing import Final, Protocol

from allcomers.calls.overload.admission import Admission
from allcomers.calls.overload.delay import CALM
from allcomers.connection.base import READ, WRITE
from allcomers.models.driver.event_loop import EventLoop
from allcomers.models.driver.poller import Poller
from allcomers.models.driver.serving import Serving
from allcomers.system import faults
from allcomers.system.deadlines import NEVER
from allcomers.system.processes import forks

_logger = logging.getLogger("allcomers.app")

REST: Final = 0.01
"""Targets of overload: an event loop that runs for less between two looks is as good as idle."""


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
        with suppress(OSError):
            self.watch(fd, 0)
        self._watched.pop(fd, None)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        raise AssertionError("the event loop waits")

    def close(self) -> None:
        """Watch nothing any more, on a loop that goes on."""
        for fd in list(self._watched):
            self.forget(fd)


class TurnLength:
    """How long a turn of the event loop takes: from when peers are handled to when they are handled again, or the loop
    has come to rest.

    That is what a request may wait. Between the two the event loop runs all that is ready: the further steps of calls,
    and the app's own tasks and callbacks; what was made ready by one stands ahead of the peers that come meanwhile. The
    event loop tells none of this, but a callback runs behind all that was ready when it was scheduled.
    """

    def __init__(self, admission: Admission, events: asyncio.AbstractEventLoop) -> None:
        self._admission = admission
        self._events = events
        self._next_at = NEVER if admission.turn.target == NEVER else 0.0  # when to measure the next
        self._since = NEVER  # when the turn that is measured began
        self._callback: asyncio.Handle | None = None  # behind all that is ready now
        self._passed_at = 0.0  # when that last ran: peers that are handled after it are so in another turn

    def note(self, now: float) -> None:
        """Note that peers are handled: in a turn that begins now, or is under way."""
        if self._passed_at:
            self._end(now)
        if now >= self._next_at:
            self._next_at, self._since = NEVER, now
            self._callback = self._events.call_soon(self._pass)
        elif now - self._since > self._admission.turn.room:
            self._admission.lasts(now - self._since, now)

    def close(self) -> None:
        """Measure nothing any more."""
        self._next_at = NEVER
        if self._callback is not None:
            self._callback.cancel()

    def _pass(self) -> None:
        """Look again behind what is ready by now; end the turn where there was next to nothing since the last look."""
        now = monotonic()
        if self._passed_at and now - self._passed_at < REST * self._admission.turn.target:
            self._end(now)
        else:
            self._passed_at = now
            self._callback = self._events.call_soon(self._pass)

    def _end(self, now: float) -> None:
        assert self._callback is not None
        self._callback.cancel()
        turns, took = self._admission.turn, now - self._since
        self._since, self._passed_at = NEVER, 0.0
        if took > turns.target or turns.state is not CALM:
            self._admission.turned(took, now)
        # While turns are long each is measured: what has begun in one is set against its own length.
        self._next_at = now + turns.target if turns.state is CALM else now


class AsyncioAdapter:
    """Runs an EventLoop's handle() and turn() by the callbacks and the timer of an asyncio event loop."""

    def __init__(self, serving: Serving, events: asyncio.AbstractEventLoop, nested: Nested | None) -> None:
        self._events = events
        self._counters = serving.slot.counters
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._turn_length = TurnLength(serving.admission, events)
        self.over = events.create_future()
        self._nested_fd = -1
        if nested is not None:
            self._loop = EventLoop(serving, nested, self._turn)
            self._nested_fd = nested.fileno()
            events.add_reader(self._nested_fd, self._handle_all, partial(nested.wait, 0))
        else:
            poller = AsyncioPoller(events)
            poller.handle = self._handle
            self._loop = EventLoop(serving, poller, self._turn)

    def close(self) -> None:
        """Close the peers that are left, and have the event loop watch and call nothing of this any more."""
        self._turn_length.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._nested_fd >= 0:
            self._events.remove_reader(self._nested_fd)
        self._loop.close()

    def _handle_all(self, wait: Callable[[], list[tuple[int, int]]]) -> None:
        """Handle the events that `wait` returns at once, then what is due by the clock."""
        loop, now = self._loop, 0.0
        try:
            events = wait()
            now = monotonic()
            self._turn_length.note(now)
            for fd, event in events:  # as in EventLoop.run()
                try:
                    loop.handle(fd, event, now)
                except BaseException as error:
                    loop.peers.failed(fd, error)
        except MemoryError as error:  # of the loop itself, between two peers: what is left is reported again
            faults.report(error, "the event loop lacks memory")
        except Exception as error:
            self._fail(error)
        now = now or monotonic()
        self._turn(now)
        self._counters.loop_turn(monotonic() - now)

    def _handle(self, fd: int, event: int) -> None:
        self._handle_all(lambda: [(fd, event)])

    def _fail(self, error: Exception) -> None:
        """End the loop with `error`, which is no peer's fault: asyncio would report it, and call again, for ever."""
        if not self.over.done():
            self.over.set_exception(error)

    def _turn(self, now: float) -> None:
        if forks.is_copy:  # uvloop would wait for ever
            forks.leave()
        try:
            timeout = self._loop.turn(now)
        except MemoryError as error:
            faults.report(error, "the event loop lacks memory")
            timeout = faults.PAUSE
        except Exception as error:
            self._fail(error)
            return
        if timeout is not None and now + timeout < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = now + timeout
            self._timer = self._events.call_later(timeout, self._tick)
        if self._loop.peers.draining and self._loop.over and not self.over.done():
            self.over.set_result(None)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = NEVER
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


async def drive_here(serving: Serving, nested: Nested | None) -> None:
    """Serve on the event loop that runs this coroutine, beside its other tasks, until the server stops."""
    adapter = AsyncioAdapter(serving, asyncio.get_running_loop(), nested)
    try:
        await adapter.over
    finally:
        adapter.close()
