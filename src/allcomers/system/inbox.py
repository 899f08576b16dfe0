"""An inbox: other threads hand items to a loop that waits in the kernel.

A deque, which threads may share, and a descriptor that becomes readable when there is something in it. The descriptor
is written once for as many items as gather before the loop looks.

PERF: `contextlib.suppress`, three times here and once in calls/queue.py, and an IndexError for each look, took 21,000
of the 77,600 instructions of a request whose call runs in another thread (`bench instructions --kinds pool`).
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final, Generic, TypeVar

from allcomers.system.native.primitives import close, sleep
from allcomers.system.processes import forks

T = TypeVar("T")

_AGAIN: Final = 0.001
"""Seconds until a write into a pipe is tried again."""


def ring_again(fd: int) -> None:
    """Write a byte into a pipe that a thread waits at, once the kernel has memory for it (ENOMEM). A full pipe will
    do."""
    while True:
        sleep(_AGAIN)
        try:
            os.write(fd, b"!")
        except BlockingIOError:
            return
        except OSError:
            continue
        return


class Inbox(Generic[T]):
    """put() from any thread; take() from the one that watches fileno()."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._reader, self._writer = os.pipe()  # pipe(7): eventfd(2) would be one descriptor, on Linux alone
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._rung = False
        forks.keep(self)

    def filenos(self) -> tuple[int, int]:
        return self._reader, self._writer

    def __del__(self) -> None:
        close(self._reader)
        close(self._writer)

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to take."""
        return self._reader

    def put(self, item: T) -> None:
        """Add `item`; wake the loop unless that was done since it last looked. Raise nothing but MemoryError."""
        self._items.append(item)
        if not self._rung:
            self._rung = True
            try:
                os.write(self._writer, b"!")
            except BlockingIOError:  # a full pipe wakes as well
                pass
            except OSError:
                ring_again(self._writer)

    def take(self) -> list[T]:
        """Remove and return all items, in order; [] if there is none."""
        try:  # noqa: SIM105 - PERF: see above
            os.read(self._reader, 4096)
        except OSError:  # nothing is there; or it is reported again
            pass
        self._rung = False  # before the items are removed: one that is put from here on rings again
        items = []
        while self._items:  # no other thread removes any
            items.append(self._items.popleft())
        return items
