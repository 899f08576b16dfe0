"""The control pipes between the supervisor and a worker, and no signal that interrupts a call of the app.

orders      a pair of sockets. The supervisor writes a byte: a ping, or an order. The worker finds its signals in the
            same place (system/signals.py), so every loop watches it already.
messages    a pipe. The worker writes lines. A line is one write(2) of less than PIPE_BUF bytes: it stays whole, from
            any thread (pipe(7)).
descriptors a pair of sockets. The supervisor passes descriptors that the worker has no right to open. Its end closes
            when the supervisor ends, and the kernel sends SIGIO to the worker (fcntl(2), O_ASYNC): no thread has to
            wait for that.

A worker runs the app's code, and may be taken over. So the supervisor never waits for it: it writes orders by calls
that say so themselves (MSG_DONTWAIT), because the worker has that end, too, and could change its flags. And it accepts
known words only, in lines of at most LONGEST bytes; a worker that sends anything else is killed.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from allcomers.system.counters import SCHEMES
from allcomers.system.native.primitives import close, poll

READY: Final = "ready"
"""The worker serves; the text is the scheme of its addresses."""
ALIVE: Final = "alive"
REPLACE: Final = "replace"
"""The worker requests its replacement; the text is the reason."""
TOLD: Final = "told"
"""A signal to stop reached the worker, and no order: the text is its name."""
BROKEN: Final = "broken"
"""No worker of ours sends this, and nothing that follows is read; the text is a part of it."""

LONGEST: Final = 512
"""The longest line, in bytes, with its end."""

PING, REOPEN = 0, 255
"""Orders beside DRAIN and QUIT (system.signals): bytes that are no signal's number. REOPEN: use the passed log."""

APP_SHUTDOWN: Final = 0.5
"""Seconds that an app has for calls that still run, and as long again for its shut-down, however soon the worker must
stop."""

END_MARGIN: Final = 4 * APP_SHUTDOWN
"""Seconds at most beyond the graceful time-out in which a worker ends: for calls and the app's shut-down, for threads
and functions of atexit, and for processes that the app has left."""

KILL_MARGIN: Final = 1.0
"""Seconds beyond all other deadlines after which a process is killed."""


class WorkerEnd:
    """The worker's end.

    orders  the descriptors (to read, to write) of its Signals
    """

    def __init__(self, orders: tuple[int, int], messages: int, descriptors: socket.socket) -> None:
        self.orders = orders
        self._messages = messages
        self._descriptors = descriptors

    def filenos(self) -> tuple[int, int]:
        """Return its descriptors but `orders`."""
        return self._messages, self._descriptors.fileno()

    def report(self, kind: str, text: str = "") -> None:
        """Send a message to the supervisor, from any thread, without blocking."""
        line = f"{kind} {text}".replace("\n", " ").encode("ascii", "replace")[: LONGEST - 1] + b"\n"
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._messages, line)

    def request_replacement(self, reason: str) -> None:
        """Request another worker, which replaces this one once it is ready."""
        self.report(REPLACE, reason)

    def passed(self) -> int:
        """Return the last descriptor that was passed since the call before; -1 if there is none."""
        last = -1
        with suppress(OSError):
            while True:
                data, fds, _, _ = socket.recv_fds(self._descriptors, 1, 1)
                for fd in fds:
                    os.set_inheritable(fd, False)
                    if last >= 0:
                        close(last)
                    last = fd
                if not data:
                    break
        return last

    def has_ended(self) -> bool:
        """Return whether the supervisor has ended."""
        watch = poll()
        watch.register(self._descriptors, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in watch.poll(0))

    def watch(self) -> None:
        """Have the kernel send SIGIO to this process when a descriptor is passed, and when the supervisor has ended.

        A socket has one owner, the process that gets SIGIO: so each worker has a pair of its own.
        """
        fd = self._descriptors.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)

    def close(self) -> None:
        """Close it in the supervisor, which does not use it."""
        for fd in (*self.orders, self._messages):
            os.close(fd)
        self._descriptors.close()


class SupervisorEnd:
    """The supervisor's end."""

    def __init__(self, orders: socket.socket, messages: int, descriptors: socket.socket) -> None:
        self._orders = orders
        self._messages = messages
        self._descriptors = descriptors
        self._partial_line = b""

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is a message; -1 once no more can come."""
        return self._messages

    def order(self, order: int) -> None:
        """Send an order. It is lost if the worker has left too many unread, or has ended."""
        with suppress(OSError):
            self._orders.send(bytes([order]), socket.MSG_DONTWAIT)

    def pass_log(self, fd: int) -> None:
        """Order the worker to reopen its log: as `fd`, of which it gets a copy, or by itself if `fd` is -1."""
        if fd >= 0:
            with suppress(OSError):
                socket.send_fds(self._descriptors, [b"\0"], [fd])
        self.order(REOPEN)

    def messages(self) -> list[tuple[str, str]]:
        """Return the (kind, text) of each message that has come. The text is printable ASCII.

        Call only when fileno() is readable. After BROKEN no more can come.
        """
        try:
            data = os.read(self._messages, 4096)
        except BlockingIOError:
            return []
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        found = [_message(line) for line in lines]
        if len(self._partial_line) >= LONGEST:
            found.append(_broken(self._partial_line))
        kinds = [kind for kind, _ in found]
        if BROKEN in kinds:
            del found[kinds.index(BROKEN) + 1 :]
        if not data or BROKEN in kinds:  # at its end, the worker has ended: SIGCHLD comes, too
            os.close(self._messages)
            self._messages = -1
        return found

    def close(self) -> None:
        """Close it: the worker has ended, or this is the process of another one."""
        self._orders.close()
        self._descriptors.close()
        if self._messages >= 0:
            os.close(self._messages)
        self._messages = -1


def _message(line: bytes) -> tuple[str, str]:
    kind, _, text = line.decode("ascii", "backslashreplace").partition(" ")
    known = text in SCHEMES[1:] if kind == READY else kind in (ALIVE, REPLACE, TOLD)
    if not known or len(line) >= LONGEST:
        return _broken(line)
    return kind, text if text.isprintable() else ascii(text)


def _broken(line: bytes) -> tuple[str, str]:
    return BROKEN, ascii(line[:40])[1:]


def new() -> tuple[SupervisorEnd, WorkerEnd]:
    """Return both ends, before the fork. Raises OSError if there are too few descriptors."""
    made: Sequence[socket.socket] = ()
    try:
        made = socket.socketpair()
        made = (*made, made[1].dup())
        made = (*made, *socket.socketpair())
        messages, to_messages = os.pipe()
    except OSError:
        for sock in made:
            sock.close()
        raise
    orders, to_orders, own_orders, descriptors, to_descriptors = made
    for sock in (orders, to_orders, descriptors, to_descriptors):
        sock.setblocking(False)
    for fd in (messages, to_messages):
        os.set_blocking(fd, False)
    worker = WorkerEnd((orders.detach(), to_orders.detach()), to_messages, descriptors)
    return SupervisorEnd(own_orders, messages, to_descriptors), worker
