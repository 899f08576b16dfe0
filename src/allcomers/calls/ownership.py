"""Ownership: which thread has a loop while a call runs on its thread, that thread or another (auto.py).

A thread that begins a call puts its number there, and removes it when the call is over; the watchdog removes it to move
the loop on. Each of the three is one step of the interpreter, which no other thread comes between: so one of the two
gets it, and the other sees that it does not. The compiled twin does the same in C, where other compiled code finds it;
on a Python without a GIL, this one is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from allcomers.protocol import compiled

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.calls._ownership import Ownership as Ownership
else:

    class Ownership:
        """The number of the call that runs on the loop's thread.

        ring           wakes the watchdog
        started_count  int: calls that have begun so far, which is the number of the last
        dozing         bool: the watchdog sleeps: a call that begins rings
        inline         bool: the next call is to run in the loop's own thread
        flush          sends what is held of a response, while a call runs that makes more; or None
        """

        __slots__ = ("_ring", "_running", "dozing", "flush", "inline", "started_count")

        def __init__(self, ring: Callable[[], object]) -> None:
            self.started_count = 0
            self.dozing = True
            self.inline = True
            self.flush: Callable[[], object] | None = None
            self._ring = ring
            self._running: dict[int, None] = {}

        @property
        def runs(self) -> bool:
            """Whether a call runs on the loop's thread, as far as is known."""
            return bool(self._running)

        def flush_held(self) -> None:
            """Call flush() if a call runs. Called by the watchdog."""
            if self._running and self.flush is not None:
                self.flush()

        def begin(self) -> int:
            """Return the number of a call that begins. Call only in the thread that has the loop."""
            self.started_count = number = self.started_count + 1
            self._running[number] = None
            if self.dozing:
                self._ring()  # the loop may have moved on when it returns, and begun other calls
            return number

        def end(self, number: int) -> bool:
            """End that call. Return whether its thread still has the loop."""
            return self._running.pop(number, self) is None

        def take(self) -> bool:
            """Take the loop from the thread whose call runs. Return False if none runs any more."""
            try:
                self._running.popitem()
            except KeyError:
                return False
            return True
