"""The control pipes between a supervisor and a worker: three pipes, and no signal that interrupts a call of the app.

signals     the supervisor writes a byte to ping the worker. The worker finds its signals in the same pipe
            (system/signals.py), so every loop watches it already.
messages    the worker writes lines. A line is one write(2) of less than PIPE_BUF bytes: it stays whole whichever
            thread writes it (pipe(7)).
death_pipe  nobody writes. When the supervisor's end is closed, the supervisor is gone, and the kernel sends SIGIO
            to the worker (fcntl(2), O_ASYNC): no thread has to wait for that.
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


class WorkerEnd:
    """The worker's end.

    signals  the descriptors (to read, to write) of its Orders
    """

    def __init__(self, signals: tuple[int, int], messages: int, death_pipe: int) -> None:
        self.signals = signals
        self._messages = messages
        self._death_pipe = death_pipe

    def report(self, word: str, what: str = "") -> None:
        """Tell the supervisor; from any thread, never waiting."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._messages, f"{word} {what}"[:500].encode("ascii", "replace") + b"\n")

    def request_replacement(self, why: str) -> None:
        """Have another worker take the place of this one, once it is ready."""
        self.report(REPLACE, why)

    def has_ended(self) -> bool:
        """Is the supervisor gone?"""
        poll = select.poll()
        poll.register(self._death_pipe, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))

    def watch(self, action: Callable[[], object]) -> None:
        """Have `action` run, in a signal's handler, when the supervisor is gone.

        The owner of SIGIO belongs to the pipe, not to the process: so each worker has a pipe of its own.
        """
        signal.signal(signal.SIGIO, lambda signum, frame: self.has_ended() and action())
        fcntl.fcntl(self._death_pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._death_pipe, fcntl.F_SETFL, fcntl.fcntl(self._death_pipe, fcntl.F_GETFL) | os.O_ASYNC)

    def close(self) -> None:
        """In the supervisor."""
        for fd in (*self.signals, self._messages, self._death_pipe):
            os.close(fd)


class SupervisorEnd:
    """The supervisor's end."""

    def __init__(self, signals: int, messages: int, death_pipe: int) -> None:
        self._signals = signals
        self._messages = messages
        self._death_pipe = death_pipe
        self._partial_line = b""

    def fileno(self) -> int:
        """Readable when there is a word; -1 once no more will come."""
        return self._messages

    def ping(self) -> None:
        """Have it say that it is alive."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._signals, _ASK)

    def messages(self) -> list[tuple[str, str]]:
        """(word, what) of each that it has said. Only when fileno() is readable."""
        data = os.read(self._messages, 4096)
        if not data:  # it has died: SIGCHLD tells how
            os.close(self._messages)
            self._messages = -1
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        return [(word, what) for word, _, what in (line.decode("ascii", "replace").partition(" ") for line in lines)]

    def close(self) -> None:
        """The worker has ended; or this is another worker, to whom it does not belong."""
        for fd in (self._signals, self._messages, self._death_pipe):
            if fd >= 0:
                os.close(fd)
        self._signals = self._messages = self._death_pipe = -1


def new() -> tuple[SupervisorEnd, WorkerEnd]:
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
    read_end, write_end, listens, says, holds, death_pipe, pings = fds
    for fd in (read_end, write_end, says):  # of `pings`, this is the same
        os.set_blocking(fd, False)
    return SupervisorEnd(pings, listens, holds), WorkerEnd((read_end, write_end), says, death_pipe)
