"""Coroutines that wait until something changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Waiters(list[asyncio.Future[None]]):
    """The receive() and send() of one call that wait for its state to change."""

    __slots__ = ()

    async def wait(self, events: asyncio.AbstractEventLoop) -> None:
        """Wait for the next wake()."""
        future = events.create_future()
        self.append(future)
        try:
            await future
        finally:
            if future in self:
                self.remove(future)

    def wake(self) -> None:
        """Wake all that wait, to look at the state again."""
        for future in self:
            if not future.done():
                future.set_result(None)
        self.clear()


class Step:
    """What one task at a time waits for, again and again, and whose step may follow at once.

    wake_now() runs it within a callback of the event loop, as an eager task runs its first; a Future has the loop take
    a turn for it. To a task this is a future: it has what asyncio.Task looks for.

    PERF: a turn of the event loop less for each message of a WebSocket (python -m bench instructions --kinds
    websocket).
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_events")

    def __init__(self, events: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._events = events
        self._callback: Callable[[Any], object] | None = None  # the task's, which waits
        self._context: Context | None = None

    @property
    def is_awaited(self) -> bool:
        return self._callback is not None

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def wake_now(self) -> None:
        """Let the task that waits go on: within this call, unless a task runs already."""
        callback, context = self._callback, self._context
        if callback is None or context is None:
            return
        self._callback = self._context = None
        try:
            if asyncio.current_task(self._events) is None:
                context.run(callback, self)
                return
        except RuntimeError:  # something else runs in that context
            pass
        self._events.call_soon(callback, self, context=context)

    def wake(self) -> None:
        """Let the task that waits go on, in a turn of the event loop."""
        self._wake_with(self)

    def _wake_with(self, future: Any) -> None:
        callback, context = self._callback, self._context
        if callback is not None:
            self._callback = self._context = None
            self._events.call_soon(callback, future, context=context)

    # ------------------------------------------------------------ for the task

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._events

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        self._callback, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        """Wake the task with a CancelledError. Return False where it wakes already."""
        is_awaited = self.is_awaited
        self._wake_with(_CANCELLED)
        return is_awaited

    def result(self) -> None:
        """Return: there is nothing to return."""


class _Cancelled:
    def result(self) -> None:
        raise asyncio.CancelledError


_CANCELLED = _Cancelled()
