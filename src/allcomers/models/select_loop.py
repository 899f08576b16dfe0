"""The select model: one thread watches all sockets by select(2).

    select(all) → those that are ready → a step for each → select(all) → …

The oldest way to serve many clients with one thread, and the one that every system has. Before each wait the whole set
is copied to the kernel, which looks at every member: the cost of a wait grows with all clients, not with the busy ones.
And the set is a bitmap of FD_SETSIZE (1,024) bits: a client whose descriptor is beyond it cannot be watched. So when
the set is nearly full, idle clients leave for those that wait.

Use it where there is nothing better, below some hundred clients.
"""

from __future__ import annotations

from select import POLLIN, POLLOUT

from allcomers.connection.base import READ, WRITE
from allcomers.models.driver import event_loop
from allcomers.models.driver.serving import Serving
from allcomers.system.native.primitives import select
from allcomers.system.sockets import FD_SETSIZE


class SelectPoller:
    """Two sets, and a copy of both for each wait."""

    most = FD_SETSIZE
    errs_once = False

    def __init__(self) -> None:
        self._reading: set[int] = set()
        self._writing: set[int] = set()

    def watch(self, fd: int, wants: int) -> None:
        (self._reading.add if wants & READ else self._reading.discard)(fd)
        (self._writing.add if wants & WRITE else self._writing.discard)(fd)

    def watch_listener(self, fd: int) -> None:
        self._reading.add(fd)

    def forget(self, fd: int) -> None:
        self.watch(fd, 0)

    def close(self) -> None:
        """Return: the kernel keeps nothing."""

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        readable, writable, _ = select(self._reading, self._writing, (), timeout)
        return [(fd, POLLIN) for fd in readable] + [(fd, POLLOUT) for fd in writable]


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last peer has gone."""
    event_loop.serve(serving, SelectPoller())
