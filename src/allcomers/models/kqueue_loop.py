"""The kqueue model: the kernel queues events of sockets (kqueue(2)). macOS and the BSDs.

    kevent → those that are ready → a step for each → kevent → …

What epoll is on Linux: the set lives in the kernel, a wait costs as much as there are busy clients. Reading and writing
are filters of their own, added and deleted apart.

Use it for most servers on these systems.
"""

from __future__ import annotations

import select
import sys
from contextlib import suppress
from select import POLLHUP, POLLIN, POLLOUT

from allcomers.connection.base import READ, WRITE
from allcomers.models.driver import event_loop
from allcomers.models.driver.serving import Serving
from allcomers.system.native.primitives import kevent, kqueue
from allcomers.system.processes import forks

if sys.platform != "linux":

    class KqueuePoller:
        """A kqueue object; the masks are kept here, since a filter is added or deleted, never set."""

        most = 1 << 30
        errs_once = False

        def __init__(self) -> None:
            self._kqueue = kqueue()
            self._watched: dict[int, int] = {}
            forks.keep(self)

        def filenos(self) -> tuple[int]:
            return (self._kqueue.fileno(),)

        def watch(self, fd: int, wants: int) -> None:
            changes = []
            before = self._watched.get(fd, 0)
            for want, kind in ((READ, select.KQ_FILTER_READ), (WRITE, select.KQ_FILTER_WRITE)):
                if (wants ^ before) & want:
                    action = select.KQ_EV_ADD if wants & want else select.KQ_EV_DELETE
                    changes.append(kevent(fd, kind, action))
            if changes:
                self._kqueue.control(changes, 0)
            self._watched[fd] = wants

        def watch_listener(self, fd: int) -> None:
            self.watch(fd, READ)

        def forget(self, fd: int) -> None:
            with suppress(OSError):
                self.watch(fd, 0)
            self._watched.pop(fd, None)

        def close(self) -> None:
            self._kqueue.close()

        def wait(self, timeout: float | None) -> list[tuple[int, int]]:
            events = self._kqueue.control(None, 512, timeout)
            return [(event.ident, _as_poll(event)) for event in events]

    def _as_poll(event: select.kevent) -> int:
        if event.filter == select.KQ_FILTER_READ:
            return POLLIN
        return POLLOUT | POLLHUP if event.flags & select.KQ_EV_EOF else POLLOUT

    def serve(serving: Serving) -> None:
        """Serve until the server stops and the last peer has gone."""
        event_loop.serve(serving, KqueuePoller())
