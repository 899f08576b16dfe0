"""The control pipes between the supervisor and a worker: three pipes, and no signal that interrupts a call of the app.

signals     the supervisor writes a byte to ping the worker. The worker finds its signals in the same pipe
            (system/signals.py), so every loop watches it already.
messages    the worker writes lines. A line is one write(2) of less than PIPE_BUF bytes: it stays whole, from any
            thread (pipe(7)).
death_pipe  nobody writes. The supervisor's end closes when the supervisor ends, and the kernel sends SIGIO to the
            worker (fcntl(2), O_ASYNC): no thread has to wait for that.
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

_PING: Final = b"\0"  # no signal has this number


APP_SHUTDOWN: Final = 0.5
"""Seconds that an app has for calls that still run, and as long again for its shut-down, however soon the worker must
stop."""

KILL_MARGIN: Final = 1.0
"""Seconds beyond all other deadlines after which a process is killed."""


class WorkerEnd:
    """The worker's end.

    signals  the descriptors (to read, to write) of its Signals
    """

    def __init__(self, signals: tuple[int, int], messages: int, death_pipe: int) -> None:
        self.signals = signals
        self._messages = messages
        self._death_pipe = death_pipe

    def report(self, kind: str, text: str = "") -> None:
        """Send a message to the supervisor, from any thread, without blocking."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._messages, f"{kind} {text}"[:500].encode("ascii", "replace") + b"\n")

    def request_replacement(self, reason: str) -> None:
        """Request another worker, which replaces this one once it is ready."""
        self.report(REPLACE, reason)

    def has_ended(self) -> bool:
        """Return whether the supervisor has ended."""
        poll = select.poll()
        poll.register(self._death_pipe, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))

    def watch(self, action: Callable[[], object]) -> None:
        """Call `action`, in a signal's handler, when the supervisor has ended.

        A pipe has one owner, the process that gets SIGIO: so each worker has a pipe of its own.
        """
        signal.signal(signal.SIGIO, lambda signum, frame: self.has_ended() and action())
        fcntl.fcntl(self._death_pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._death_pipe, fcntl.F_SETFL, fcntl.fcntl(self._death_pipe, fcntl.F_GETFL) | os.O_ASYNC)

    def close(self) -> None:
        """Close it in the supervisor, which does not use it."""
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
        """Return the descriptor that is readable when there is a message; -1 once no more can come."""
        return self._messages

    def ping(self) -> None:
        """Request a sign of life from the worker."""
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._signals, _PING)

    def messages(self) -> list[tuple[str, str]]:
        """Return the (kind, text) of each message that has come. Call only when fileno() is readable."""
        data = os.read(self._messages, 4096)
        if not data:  # the worker has ended: SIGCHLD comes, too
            os.close(self._messages)
            self._messages = -1
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        return [(kind, text) for kind, _, text in (line.decode("ascii", "replace").partition(" ") for line in lines)]

    def close(self) -> None:
        """Close it: the worker has ended, or this is the process of another one."""
        for fd in (self._signals, self._messages, self._death_pipe):
            if fd >= 0:
                os.close(fd)
        self._signals = self._messages = self._death_pipe = -1


def new() -> tuple[SupervisorEnd, WorkerEnd]:
    """Return both ends, before the fork. Raises OSError if there are too few descriptors."""
    fds: list[int] = []
    try:
        for _ in range(3):
            fds += os.pipe()
        fds.append(os.dup(fds[1]))
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    signals, to_signals, messages, to_messages, death_pipe, to_death_pipe, pings = fds
    for fd in (signals, to_signals, to_messages):  # `pings` is a duplicate of `to_signals`
        os.set_blocking(fd, False)
    return SupervisorEnd(pings, messages, death_pipe), WorkerEnd((signals, to_signals), to_messages, to_death_pipe)
