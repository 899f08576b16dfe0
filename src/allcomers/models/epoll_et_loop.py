"""The edge-triggered epoll model: each change of a socket is reported once (epoll(7), EPOLLET). Linux.

    epoll_wait → those that have changed → read and write until there is no more → epoll_wait → …

Each socket is registered once, for everything, and never again: where the level-triggered model changes what it
watches for (a slow reader, back-pressure), this one makes no call. The price is care: what is left unread is not
reported again, so a socket is read until it is empty, and the report is kept until then. driver/channel.py does so.

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
    """An epoll object that has each socket once, for everything; listeners as epoll has them.

    Those stay level-triggered: peers are accepted a few at a time, and the rest must be reported again.
    """

    def watch(self, fd: int, wants: int) -> None:
        if fd not in self._known:
            self._epoll.register(fd, _EVERYTHING)
            self._known.add(fd)


def serve_on(serving: Serving, events: asyncio.AbstractEventLoop) -> None:
    """Serve async apps: `events` watches the one descriptor that reports all peers' edges."""
    from allcomers.models.driver.asyncio_adapter import drive  # late: a server without async apps does without asyncio

    drive(serving, events, EdgePoller())


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last peer has gone."""
    event_loop.serve(serving, EdgePoller())
