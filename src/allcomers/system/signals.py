"""Signals, read by a process in its own time.

A handler of signals interrupts the code that runs, and the data that it touches may be half changed. So here it does
nothing; the interpreter writes the signal's number into a pipe (signal.set_wakeup_fd), the loop that serves reads it
like any other input, and acts on it there.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def _nothing(signum: int, frame: object) -> None:
    """Handle any signal that is read here: its number is in the pipe already."""


def ignore(*signums: int) -> None:
    """Ignore these signals, here and in processes that are forked; SIG_IGN would be passed on to programs, too.

    A program that an app starts has them as it expects them: execve(2) keeps SIG_IGN, and resets handlers.
    """
    for signum in signums:
        signal.signal(signum, _nothing)


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Block all signals around a fork: before the child calls forget(), its signals would be read as its parent's.

    The child calls release() when it can act on them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release() -> None:
    """Unblock all signals."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


class Signals:
    """The signals of this process. One a process, made in its main thread.

    draining  bool: finish the work that is begun, start no more
    quitting  bool: stop now
    deadline  float: when draining becomes quitting, on the monotonic clock

    pipe      the descriptors of a pipe (to read, to write), into which another process may write a 0; by default a new
              one
    """

    def __init__(self, graceful_timeout: float, pipe: tuple[int, int] | None = None) -> None:
        self.draining = False
        self.quitting = False
        self.deadline = float("inf")
        self._graceful_timeout = graceful_timeout
        self._actions: dict[int, Callable[[], object]] = {}
        self._counted: set[int] = set()
        self._reader, self._writer = pipe or os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self.listen()

    def listen(self) -> None:
        """Direct the numbers of signals into the pipe; call again where other code has set another descriptor."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return a descriptor that is readable when a signal has come."""
        return self._reader

    def on(self, signum: int, action: Callable[[], object], *, each: bool = False) -> None:
        """Run `action` in read() after `signum` has come: once however often it came, or for `each` time.

        The kernel too merges those that come before this process has received the first (signal(7)).
        """
        self._actions[signum] = action
        if each:
            self._counted.add(signum)
        signal.signal(signum, _nothing)

    def on_ping(self, action: Callable[[], object]) -> None:
        """Run `action` in read() after another process has written a 0 into the pipe."""
        self._actions[0] = action

    def read(self) -> None:
        """Run the actions of the signals that have come, in the order in which each came first."""
        try:
            numbers = os.read(self._reader, 4096)
        except BlockingIOError:
            return
        for signum, count in Counter(numbers).items():
            action = self._actions.get(signum)
            if action is not None:
                for _ in range(count if signum in self._counted else 1):
                    action()

    def drain(self) -> None:
        """Finish the work that is begun, until the graceful time-out."""
        if not self.draining:
            self.draining = True
            self.deadline = time.monotonic() + self._graceful_timeout

    def quit(self) -> None:
        """Stop now."""
        self.draining = self.quitting = True
        self.deadline = 0.0

    def end(self) -> None:
        """Ignore all signals: this process is about to end well, and none is to change that.

        As Python ends, it gives each signal that is handled its default action back; not one that is ignored.
        """
        for signum in self._actions.keys() - {0, signal.SIGCHLD}:
            signal.signal(signum, signal.SIG_IGN)

    def forget(self) -> None:
        """Restore the default actions and close the pipe, which is the parent's. Call in a process that was forked."""
        signal.set_wakeup_fd(-1)
        for signum in self._actions.keys() - {0}:
            signal.signal(signum, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)
