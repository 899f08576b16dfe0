"""The claim: who has a loop while a call runs on its thread, that thread or another (auto.py).

Who begins a call puts its number there, and takes it back when the call is over; a watcher takes it away to have the
loop go on elsewhere. Each of the three is one step of the interpreter, which no other thread comes between, so one of
the two gets it, and the other is told that it does not. The compiled twin does the same in C, where other compiled code
finds it; on a Python without a GIL, this one is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from allcomers.protocol import compiled

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.calls._ownership import Ownership as Ownership
else:

    class Ownership:
        """Made with what wakes the watcher.

        begun   int: calls begun so far, which is the number of the last
        dozing  bool: the watcher sleeps: who begins a call rings
        inline  bool: the next call is to run in the loop's own thread
        """

        __slots__ = ("_ring", "_running", "begun", "dozing", "inline")

        def __init__(self, ring: Callable[[], object]) -> None:
            self.begun = 0
            self.dozing = True
            self.inline = True
            self._ring = ring
            self._running: dict[int, None] = {}

        @property
        def runs(self) -> bool:
            """Is a call on the loop's thread, as far as is known?"""
            return bool(self._running)

        def begin(self) -> int:
            """The number of a call that begins. Only in the thread that has the loop."""
            self.begun += 1
            self._running[self.begun] = None
            if self.dozing:
                self._ring()
            return self.begun

        def end(self, number: int) -> bool:
            """That call is over; has its thread still the loop?"""
            return self._running.pop(number, self) is None

        def take(self) -> bool:
            """Take the loop away from the thread whose call runs; False if none does any more."""
            try:
                self._running.popitem()
            except KeyError:
                return False
            return True
