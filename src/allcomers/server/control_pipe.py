"""The lifeline: what ties a worker to its supervisor. Three pipes, and no signal that interrupts a call of the app.

    orders  a byte of the supervisor's asks for a word. It is the pipe in which the worker finds its signals too
            (orders.py), so every loop watches it already.
    words   the worker's, a line each. A line is one write(2) of less than PIPE_BUF bytes: it stays whole whichever
            thread writes it (pipe(7)).
    leash   nobody ever writes there. When its other end is closed, the supervisor is gone, and the kernel sends SIGIO
            to the worker (fcntl(2), O_ASYNC): no thread has to wait for that.

The words:

    ready SCHEME   it serves, at addresses of this scheme
    alive          it has read that it was asked
    replace WHY    another should take its place
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

READY: Final = "ready"
ALIVE: Final = "alive"
REPLACE: Final = "replace"

_ASK: Final = b"\0"  # no signal has this number


class Lifeline:
    """The worker's end.

    orders  the descriptors (to read, to write) of its Orders
    """

    def __init__(self, orders: tuple[int, int], words: int, leash: int) -> None:
        self.orders = orders
        self._words = words
        self._leash = leash

    def say(self, word: str, what: str = "") -> None:
        """Tell the supervisor; from any thread, never waiting."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._words, f"{word} {what}"[:500].encode("ascii", "replace") + b"\n")

    def ask_replacement(self, why: str) -> None:
        """Have another worker take the place of this one, once it is ready."""
        self.say(REPLACE, why)

    def has_ended(self) -> bool:
        """Is the supervisor gone?"""
        poll = select.poll()
        poll.register(self._leash, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))

    def watch(self, action: Callable[[], object]) -> None:
        """Have `action` run, in a signal's handler, when the supervisor is gone.

        The owner of SIGIO belongs to the pipe, not to the process: so each worker has a pipe of its own.
        """
        signal.signal(signal.SIGIO, lambda signum, frame: self.has_ended() and action())
        fcntl.fcntl(self._leash, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._leash, fcntl.F_SETFL, fcntl.fcntl(self._leash, fcntl.F_GETFL) | os.O_ASYNC)

    def close(self) -> None:
        """In the supervisor."""
        for fd in (*self.orders, self._words, self._leash):
            os.close(fd)


class Line:
    """The supervisor's end."""

    def __init__(self, orders: int, words: int, leash: int) -> None:
        self._orders = orders
        self._words = words
        self._leash = leash
        self._begun = b""

    def fileno(self) -> int:
        """Readable when there is a word; -1 once no more will come."""
        return self._words

    def ask(self) -> None:
        """Have it say that it is alive."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._orders, _ASK)

    def words(self) -> list[tuple[str, str]]:
        """(word, what) of each that it has said. Only when fileno() is readable."""
        data = os.read(self._words, 4096)
        if not data:  # it has died: SIGCHLD tells how
            os.close(self._words)
            self._words = -1
        *lines, self._begun = (self._begun + data).split(b"\n")
        return [(word, what) for word, _, what in (line.decode("ascii", "replace").partition(" ") for line in lines)]

    def close(self) -> None:
        """The worker has ended; or this is another worker, to whom it does not belong."""
        for fd in (self._orders, self._words, self._leash):
            if fd >= 0:
                os.close(fd)
        self._orders = self._words = self._leash = -1


def new() -> tuple[Line, Lifeline]:
    """Both ends, before the fork. Raises OSError for want of descriptors."""
    fds: list[int] = []
    try:
        for _ in range(3):
            fds += os.pipe()
        fds.append(os.dup(fds[1]))
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    orders, signals, listens, says, holds, leash, asks = fds
    for fd in (orders, signals, says):  # of `asks`, this is the same
        os.set_blocking(fd, False)
    return Line(asks, listens, holds), Lifeline((orders, signals), says, leash)
