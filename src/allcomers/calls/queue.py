"""WorkQueue: a queue that threads wait at, which wakes one of them for each item, and no sooner than it can run.

A lock or a queue of the standard library wakes a thread while the one that puts has the interpreter: it wakes only to
wait again; each such wait costs switches between threads. Here a thread waits in read(2) on a pipe. write(2) is
called without the interpreter, and on Linux the writer to a pipe runs on until it waits itself (a synchronous wake-up,
in fs/pipe.c); readers are woken one at a time, in turn. A call that sleeps was seven futex(2) calls with a queue; it is
one or two with this. An AwaitedReply is the other end of a call: for a thread that may give up waiting.
"""

from __future__ import annotations

import os
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from allcomers.connection.call import TIMED_OUT
from allcomers.system.inbox import ring_again
from allcomers.system.native.primitives import Lock, SimpleQueue, close
from allcomers.system.processes import forks

if TYPE_CHECKING:
    from allcomers.connection.base import Work

T = TypeVar("T")


class WorkQueue(Generic[T]):
    """put() and get() from any thread, once it is open; of the threads that wait, the first is woken first."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._short = False  # more items than a pipe holds rings
        self._pid = 0
        self._reader = self._writer = -1
        self.open()

    def open(self) -> None:
        """Give a process that was forked a pipe of its own. Call before the first job."""
        if self._pid != os.getpid():
            for fd in self.filenos():  # the parent's
                if fd >= 0:
                    os.close(fd)
            self._pid = os.getpid()
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            forks.keep(self)

    def filenos(self) -> tuple[int, int]:
        return self._reader, self._writer

    def __del__(self) -> None:
        close(self._reader)
        close(self._writer)

    def __len__(self) -> int:
        """Return the number of items that no thread has taken."""
        return len(self._items)

    def put(self, item: T) -> None:
        """Add `item`, for one thread."""
        self._items.append(item)
        self._ring()

    def first(self) -> T | None:
        """Return the item that is taken next, which stays; None if there is none."""
        try:
            return self._items[0] if self._items else None
        except IndexError:  # a thread has taken it just now
            return None

    def get(self) -> T:
        """Wait for the next item and return it."""
        while True:
            try:
                os.read(self._reader, 1)
                item = self._items.popleft()
            except (IndexError, OSError):  # a ring too many; or the byte is there still
                if forks.is_copy:
                    forks.leave()
                continue
            if self._short:
                self._short = bool(self._items)
                self._ring()
            return item

    def _ring(self) -> None:
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:  # from here on, each ring that is read is made up for by another
            self._short = True
        except OSError:
            ring_again(self._writer)


class Threads(Protocol):
    """The threads of a pool."""

    def reserve(self) -> bool:
        """Count one of them as taken. Return False if all are."""
        ...

    def cancel(self) -> None:
        """Count it as free again."""
        ...


class AwaitedReply:
    """The reply of `work`, for a thread that may give up waiting for it: then it is closed when it comes.

    replies  where it is put, behind the parts of its response
    threads  those that run `work`: the one that closes its reply counts as free by then
    """

    def __init__(self, work: Work, replies: SimpleQueue[Any], threads: Threads) -> None:
        self._work, self._replies, self._threads = work, replies, threads
        self._lock = Lock()
        self._is_given_up = False

    def done(self, reply: Any) -> None:
        """Receive the reply, in any thread."""
        with self._lock:
            if not self._is_given_up:
                self._replies.put(reply)
                return
        forget = getattr(self._work, "forget", None)
        if reply is not TIMED_OUT and forget is not None:
            is_taken = self._threads.reserve()
            try:
                forget(reply)
            finally:
                if is_taken:
                    self._threads.cancel()

    def give_up(self) -> Any:
        """Wait no longer: return what has come all the same, or TIMED_OUT."""
        with self._lock:
            self._is_given_up = True
        try:
            return self._replies.get_nowait()
        except Empty:
            return TIMED_OUT
