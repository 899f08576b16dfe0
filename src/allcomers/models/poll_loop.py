"""The poll model: one thread watches all sockets by poll(2).

    poll(all) → those that are ready → a step for each → poll(all) → …

select without its bitmap: a list of descriptors, as many as there are. The whole list still goes to the kernel and back
for each wait, so that a wait costs as much as there are clients, busy or not.

Use it on POSIX systems that have neither epoll nor kqueue.
"""

from __future__ import annotations

import math
from contextlib import suppress
from select import POLLIN

from allcomers.models.driver import event_loop
from allcomers.models.driver.serving import Serving
from allcomers.system.native.primitives import poll


class PollPoller:
    """A select.poll object, which keeps the list."""

    most = 1 << 30
    errs_once = False

    def __init__(self) -> None:
        self._poll = poll()
        # READ and WRITE are POLLIN and POLLOUT; registering again replaces the mask.
        self.watch = self._poll.register

    def watch_listener(self, fd: int) -> None:
        self._poll.register(fd, POLLIN)

    def forget(self, fd: int) -> None:
        with suppress(KeyError):  # closed before it was ever watched
            self._poll.unregister(fd)

    def close(self) -> None:
        """Return: the kernel keeps nothing."""

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        return self._poll.poll(None if timeout is None else math.ceil(timeout * 1000))


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last peer has gone."""
    event_loop.serve(serving, PollPoller())
