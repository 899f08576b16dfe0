"""Calls of async apps with a time limit: tasks of the event loop that watches the sockets.

A task that waits can be cancelled: the client is answered 503 and the task gets CancelledError where it waits. One that
does not wait, but keeps the loop, cannot; then nobody is served, and another worker is asked for.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from traceback import StackSummary
from typing import Any, Final, Protocol

from allcomers.calls import stacks
from allcomers.calls.time_limit import tell
from allcomers.calls.watchdog import Watchdog

SIGN_OF_LIFE: Final = 1.0
"""Seconds at most that a loop has to show that it still turns."""


class LimitedCall(Protocol):
    """What is limited.

    began, thread  as Watched has them
    name           of its request
    coroutine      what the app runs in; None before
    """

    began: float
    thread: int

    @property
    def name(self) -> str: ...

    @property
    def coroutine(self) -> Coroutine[Any, Any, Any] | None: ...

    def time_out(self) -> None:
        """Give it up, in the thread of the loop; it may have answered meanwhile."""
        ...


class TaskLimit:
    """begin() and end() as a Watchdog has them.

    replace  called once, and told why: a task keeps the loop
    """

    def __init__(self, limit: float, replace: Callable[[str], object], events: asyncio.AbstractEventLoop) -> None:
        self._replace = replace
        self._events = events
        self._asked = False
        watch: Watchdog[LimitedCall] = Watchdog(limit, self._overdue)
        self._limit = limit
        self.begin = watch.begin
        self.end = watch.end

    def _overdue(self, talk: LimitedCall, stack: StackSummary) -> None:
        coroutine = talk.coroutine
        waits = coroutine is not None and inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
        if waits and coroutine is not None:
            stack = stacks.of_coroutine(coroutine)
        tell(talk.name, self._limit, stack)
        with suppress(RuntimeError):  # the loop is closed: the worker is about to end
            self._events.call_soon_threadsafe(talk.time_out)
            if not waits and not self._asked and not self._turns():
                self._asked = True
                self._replace("it serves nobody while it is in a call")

    def _turns(self) -> bool:
        """Does the loop come to its next turn soon?"""
        turned = threading.Event()
        self._events.call_soon_threadsafe(turned.set)
        return turned.wait(min(SIGN_OF_LIFE, self._limit))
