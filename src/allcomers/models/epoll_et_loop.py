"""The edge-triggered epoll model: each change of a socket is told once (epoll(7), EPOLLET). Linux.

    epoll_wait → those that have changed → read and write until there is no more → epoll_wait → …

Each socket is registered once, for everything, and never again: where the level-triggered model changes what it
watches for (a slow reader, back-pressure), this one makes no call. The price is care: what is not read now is not told
again, so a socket is read until it is empty, and what the kernel said is remembered until then. `readiness` does so.

Use it where many clients read slowly or stream; else it is as fast as the level-triggered model.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from allcomers.models.driver import event_loop
from allcomers.models.driver.serving import Serving
from allcomers.models.epoll_loop import EpollPoller

if TYPE_CHECKING:
    import asyncio

_EVERYTHING = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class EdgePoller(EpollPoller):
    """An epoll object that is told of each socket once, for everything; of listeners it hears as epoll does.

    Those stay level-triggered: peers are let in a few at a time, and the rest must be told of again.
    """

    def watch(self, fd: int, wants: int) -> None:
        if fd not in self._known:
            self._known.add(fd)
            self._epoll.register(fd, _EVERYTHING)


def serve_on(serving: Serving, events: asyncio.AbstractEventLoop) -> None:
    """The same for async apps: `events` watches the one descriptor that tells of all peers' edges."""
    from allcomers.models.driver.asyncio_adapter import drive  # late: a server without async apps does without asyncio

    drive(serving, events, EdgePoller())


def serve(serving: Serving) -> None:
    """Serve until the orders say stop and the last peer has gone."""
    event_loop.serve(serving, EdgePoller())
