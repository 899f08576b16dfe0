"""The epoll model: the kernel keeps the list of sockets and reports which are ready (epoll(7)). Linux.

    epoll_wait → those that are ready → a step for each → epoll_wait → …

The set of sockets lives in the kernel, which adds each one that becomes ready to a list of its own: a wait costs as
much as there are busy clients, and 10,000 idle ones cost nothing. Level-triggered: a socket is reported for as
long as it is ready.

Use it for most servers. Calls that wait belong in `--calls pool`, since on this thread they keep all clients waiting.
"""

from __future__ import annotations

from contextlib import suppress
from select import EPOLLEXCLUSIVE, EPOLLIN
from typing import TYPE_CHECKING

from allcomers.models.driver import event_loop
from allcomers.models.driver.descriptors import Descriptors
from allcomers.models.driver.serving import Serving
from allcomers.system.native.primitives import epoll
from allcomers.system.processes import forks

if TYPE_CHECKING:
    import asyncio


class EpollPoller:
    """An epoll object; its descriptors are kept here, since the kernel adds by another call than it changes."""

    most = 1 << 30
    errs_once = False

    def __init__(self) -> None:
        self._epoll = epoll()
        self._known = Descriptors()
        forks.keep(self)

    def filenos(self) -> tuple[int]:
        return (self.fileno(),)

    def watch(self, fd: int, wants: int) -> None:
        if fd in self._known:
            self._epoll.modify(fd, wants)  # READ and WRITE are EPOLLIN and EPOLLOUT
        else:
            self._epoll.register(fd, wants)
            self._known.add(fd)

    def watch_listener(self, fd: int) -> None:
        # Of several workers that wait for the same listener, the kernel wakes one (epoll_ctl(2)).
        self._epoll.register(fd, EPOLLIN | EPOLLEXCLUSIVE)
        self._known.add(fd)

    def forget(self, fd: int) -> None:
        if fd in self._known:
            self._known.remove(fd)
            # Closing would do, unless a child process has the socket too: then it would be reported for ever.
            with suppress(OSError):
                self._epoll.unregister(fd)

    def close(self) -> None:
        self._epoll.close()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        return self._epoll.poll(timeout)


def serve_on(serving: Serving, events: asyncio.AbstractEventLoop) -> None:
    """Serve async apps: `events` watches the one descriptor that reports all peers."""
    from allcomers.models.driver.asyncio_adapter import drive  # late: a server without async apps does without asyncio

    drive(serving, events, EpollPoller())


def serve(serving: Serving) -> None:
    """Serve until the server stops and the last peer has gone."""
    event_loop.serve(serving, EpollPoller())
