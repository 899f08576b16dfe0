"""Watch: one thread that knows which calls run and since when, and wakes when one has run for too long.

All have the same limit, so who began first is due first, and a dict in the order of beginnings is all the book there
is. A call costs it one entry made and one taken out; who takes the entry out has the last word on that call, the thread
that runs it or the watcher, never both.

The watcher sleeps until the oldest call is due. If none runs, what begins next is due a limit later, so it sleeps for
that long; if then again none runs, until one begins. So short calls, of which it never sees one, do not wake it each.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from traceback import StackSummary
from typing import Generic, Protocol, TypeVar

from allcomers.calls import stacks

_logger = logging.getLogger("allcomers.calls")


class WatchedCall(Protocol):
    """A call, or whatever has a time limit of its own.

    began   float: when, on the monotonic clock; set by the Watchdog
    thread  int: the ident of the thread that runs it; 0 while it waits for one
    """

    began: float
    thread: int


W = TypeVar("W", bound=WatchedCall)


class Watchdog(Generic[W]):
    """begin() and end() from any thread.

    overdue  called once for each call that has run for `limit` seconds, with it and where its thread was; in the
             watcher's thread, which it must not keep
    """

    def __init__(self, limit: float, overdue: Callable[[W, StackSummary], object]) -> None:
        self.limit = limit
        self._overdue = overdue
        self._calls: dict[W, None] = {}
        self._idle = True  # the watcher sleeps until somebody rings
        self._bell = threading.Event()
        self._start = threading.Lock()
        self._started = False

    def begin(self, call: W) -> None:
        """It runs from now on."""
        call.began = monotonic()
        self._calls[call] = None
        if self._idle:
            self._ring()

    def end(self, call: W) -> bool:
        """It has ended; False if that was too late, and is known to `overdue`."""
        return self._calls.pop(call, self) is None

    def running(self, thread: int) -> list[W]:
        """What runs in this thread."""
        return [call for call in list(self._calls) if call.thread == thread]

    def _ring(self) -> None:
        if not self._started:  # late: a thread lives only in the process that started it, not in those it forks
            with self._start:
                if not self._started:
                    threading.Thread(target=self._run, name=f"call-watch {self.limit:g}", daemon=True).start()
                    self._started = True
        self._idle = False
        self._bell.set()

    def _run(self) -> None:
        while True:
            pause = self._look()
            if pause is None:
                self._sleep(self.limit)
                pause = self._look()
            if pause is None:
                self._idle = True  # from here on who begins rings; who began just before is seen by one more look
                pause = self._look()
            self._sleep(pause)
            self._idle = False

    def _sleep(self, seconds: float | None) -> None:
        self._bell.wait(seconds)
        self._bell.clear()

    def _look(self) -> float | None:
        """Deal with those that are due; seconds until the next may be, None while nothing runs."""
        now = monotonic()
        for call in list(self._calls):
            left = call.began + self.limit - now
            if left > 0:
                return left
            stack = stacks.of_thread(call.thread)  # before the claim: what it shows is surely this call
            if self.end(call):
                self._deal_with(call, stack)
        return 0.0 if self._calls else None

    def _deal_with(self, call: W, stack: StackSummary) -> None:
        try:
            self._overdue(call, stack)
        except Exception:
            _logger.exception("the watcher of calls failed")
