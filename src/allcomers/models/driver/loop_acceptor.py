"""The listeners of a loop: who waits there is let in, but not while it is full, or out of descriptors, or ahead."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from allcomers.connection.base import Address
from allcomers.models.driver.channel import Poller
from allcomers.models.driver.serving import Serving
from allcomers.system import sockets
from allcomers.system.accept_balance import ACCEPT_BACKOFF
from allcomers.system.deadlines import Deadlines

BATCH: Final = 64
"""Peers accepted before those who are here have their turn."""

Action = Callable[[float], None]
"""What is done at this time, when a descriptor is told as readable."""


class LoopPeers(Protocol):
    """What newcomers know of their loop."""

    def is_full(self) -> bool: ...

    def make_room(self, now: float) -> None:
        """It is full, and somebody waits outside."""
        ...

    def add(self, sock: socket.socket, address: Address, now: float) -> None: ...


class LoopAcceptor:
    """Those that wait in a listener's queue.

    others     the descriptors that are watched and are no peer's, each with its action: here a listener has it while it
               is watched
    deadlines  those of the loop: a listener has one when it is to be watched again
    """

    def __init__(
        self, house: LoopPeers, serving: Serving, poller: Poller, others: dict[int, Action], deadlines: Deadlines
    ) -> None:
        self._house = house
        self._listeners = serving.listeners
        self._slot = serving.slot
        self._poller = poller
        self._others = others
        self._deadlines = deadlines
        self._actions = {listener.fileno(): partial(self._accept, listener) for listener in self._listeners}

    def __contains__(self, fd: int) -> bool:
        """Is this the descriptor of a listener?"""
        return fd in self._actions

    def watch(self) -> None:
        for fd, action in self._actions.items():
            if fd not in self._others:
                self._others[fd] = action
                self._poller.watch_listener(fd)

    def unwatch(self) -> None:
        for fd in self._actions:
            if self._others.pop(fd, None):
                self._poller.forget(fd)

    def _accept(self, listener: socket.socket, now: float) -> None:
        """Somebody waits there."""
        slot = self._slot
        if slot.is_alone():
            self._accept_some(listener, BATCH, now)
            return
        most = min(BATCH, slot.accept_quota(sockets.queued(listener) or 0))
        self._accept_some(listener, most, now)
        fd = listener.fileno()
        if fd in self._others:
            # To the end of the kernel's queue of who is woken next; or, if we are ahead, out of it for a moment.
            self._poller.forget(fd)
            if slot.is_over_share(most):
                del self._others[fd]
                self._deadlines.set(fd, now + ACCEPT_BACKOFF)
            else:
                self._poller.watch_listener(fd)

    def _accept_some(self, listener: socket.socket, most: int, now: float) -> None:
        house = self._house
        if house.is_full():
            house.make_room(now)
            return
        for _ in range(most):
            try:
                found = sockets.accept(listener)
            except OSError:
                self.unwatch()
                self._deadlines.set(listener.fileno(), now + sockets.PAUSE)
                return
            if found is None:
                return
            house.add(*found, now)
            if house.is_full():  # whether anybody else waits is told by the next look
                return

    def last(self) -> Iterator[tuple[socket.socket, Address]]:
        """Those that wait now; then the listeners are closed."""
        self.unwatch()
        self._actions.clear()
        for listener in self._listeners:
            try:
                for _ in range(sockets.waiting(listener)):
                    if not (found := sockets.accept(listener)):
                        break
                    yield found
            except OSError:
                pass
            listener.close()
