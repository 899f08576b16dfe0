"""The listeners of a loop, and whether it listens to them: not while it is full, or out of descriptors, or ahead."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial

from allcomers import sockets
from allcomers.connection import Address
from allcomers.models.channel import Poller

Action = Callable[[float], None]
"""What is done at this time, when a descriptor is told as readable."""


class Newcomers:
    """Those that wait in a listener's queue.

    others  the descriptors that are watched and are no peer's, each with its action: here a listener has it while it
            is watched
    accept  (listener, now): somebody waits there
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        poller: Poller,
        others: dict[int, Action],
        accept: Callable[[socket.socket, float], None],
    ) -> None:
        self._actions = {listener.fileno(): partial(accept, listener) for listener in listeners}
        self._listeners = listeners
        self._poller = poller
        self._others = others

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
