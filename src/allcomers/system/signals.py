"""Orders: what signals ask of a process, read in its own time.

A handler of signals interrupts whatever runs, and whatever it touches may be half done. So here it does nothing; the
interpreter writes the signal's number into a pipe (signal.set_wakeup_fd), the loop that serves reads it like any
other input, and what is to be done is done there.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def _nothing(signum: int, frame: object) -> None:
    """The handler of every signal that is an order: the number is in the pipe already."""


def ignore(*signums: int) -> None:
    """Have these do nothing, here and in processes that are forked; SIG_IGN would be passed on to programs, too.

    A program that an app starts has them as it expects them: execve(2) keeps what is ignored, not what is handled.
    """
    for signum in signums:
        signal.signal(signum, _nothing)


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Let no signal in around a fork: before the child says forget(), what it is told would be taken for its parent's.

    The child says release() when it can obey.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release() -> None:
    """Let in what was withheld."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


class Signals:
    """The signals of this process. One a process, made in its main thread.

    draining  bool: finish what is begun, take nothing new
    quitting  bool: stop now
    deadline  float: when draining becomes quitting, on the monotonic clock

    pipe      the descriptors of a pipe (to read, to write), where somebody else may write a 0; by default a new one
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
        """Have the numbers of signals written here; again, where something else has taken them."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Readable when a signal has come."""
        return self._reader

    def on(self, signum: int, action: Callable[[], object], *, each: bool = False) -> None:
        """Run `action` in read() after `signum` has come: once however often it came, or for `each` time.

        The kernel too makes one of those that come before this process has had the first (signal(7)).
        """
        self._actions[signum] = action
        if each:
            self._counted.add(signum)
        signal.signal(signum, _nothing)

    def on_ping(self, action: Callable[[], object]) -> None:
        """Run `action` in read() after somebody has written a 0 into the pipe."""
        self._actions[0] = action

    def read(self) -> None:
        """Carry out what has come, in the order in which it came first."""
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
        """Finish what is begun, for as long as the graceful time-out says."""
        if not self.draining:
            self.draining = True
            self.deadline = time.monotonic() + self._graceful_timeout

    def quit(self) -> None:
        """Stop now."""
        self.draining = self.quitting = True
        self.deadline = 0.0

    def end(self) -> None:
        """This process is about to end, and well: no signal is to change that any more.

        As Python ends, it gives each signal that is handled its default action back; not one that is ignored.
        """
        for signum in self._actions.keys() - {0, signal.SIGCHLD}:
            signal.signal(signum, signal.SIG_IGN)

    def forget(self) -> None:
        """In a process that was forked: signals do what they do by default, the pipe is the parent's."""
        signal.set_wakeup_fd(-1)
        for signum in self._actions.keys() - {0}:
            signal.signal(signum, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)
