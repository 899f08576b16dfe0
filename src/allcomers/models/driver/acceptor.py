"""Accept peers, for every model: while there is room, while there are descriptors, while other workers have as many.

To be out of descriptors is to be full: idle peers are asked to leave for those that wait, as when all places are taken.

The owner of an Acceptor waits for the listeners: a loop does so beside its peers, a blocking model in a thread of its
own. An Acceptor decides when they are watched and how many peers each report admits.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias

from allcomers.connection.base import IDLE, Connection
from allcomers.connection.call import Address
from allcomers.models.driver.serving import Serving
from allcomers.system import faults, sockets
from allcomers.system.accept_balance import ACCEPT_BACKOFF
from allcomers.system.sockets import Backlog

BATCH: Final = 64
"""Peers that a loop accepts before those that it has get their turn."""

EVICT: Final = 32
"""Idle peers at most that leave at once, for others that wait or when descriptors run out: as many as nginx drains."""

Action: TypeAlias = Callable[[float], object]
"""Called with the time when a descriptor is reported as readable."""


def is_kept_alive(conn: Connection) -> bool:
    """Return whether this peer has had a response, all of it, and has requested nothing since: it may have to leave."""
    return conn.phase is IDLE and conn.served > 0 and not conn.codec.pending


class AcceptorOwner(Protocol):
    """The owner of an Acceptor: it has the peers, and waits for the listeners."""

    def full(self) -> bool:
        """Return whether all places are taken."""
        ...

    def make_room(self, now: float, count: int) -> None:
        """Ask `count` idle peers to leave, for as many that wait; those that were asked already, and are about to,
        count. Call watch() when one has left."""
        ...

    def add(self, peer: Any, address: Address, now: float) -> None:
        """Serve a peer that was accepted: its descriptor or its socket, as the Acceptor's backlogs give it. Where this
        raises, the Acceptor closes it."""
        ...

    def watch_listener(self, fd: int, action: Action) -> None:
        """Call `action` whenever the listener `fd` is readable."""
        ...

    def forget_listener(self, fd: int) -> None:
        """Watch this listener no more."""
        ...

    def retry(self, fd: int, when: float) -> None:
        """Call watch() at this time, or soon after."""
        ...


class Acceptor:
    """The listeners of a worker.

    batch    peers at most that one report of a listener admits
    backlog  makes the Backlog of a listener
    """

    def __init__(
        self,
        owner: AcceptorOwner,
        serving: Serving,
        batch: int = BATCH,
        backlog: Callable[[socket.socket], Backlog] = Backlog,
    ) -> None:
        self._owner = owner
        self._serving = serving
        self._slot = serving.slot
        self._signals = serving.signals
        self._batch = batch
        self._backlogs = [backlog(listener) for listener in serving.listeners]
        self._actions = {one.listener.fileno(): partial(self._accept, one) for one in self._backlogs}
        self._watched: set[int] = set()
        self._signals.on_shortage(lambda: owner.make_room(monotonic(), EVICT))

    def __contains__(self, fd: int) -> bool:
        return fd in self._actions

    def watch(self) -> None:
        """Watch the listeners that are not watched."""
        for fd in self._actions.keys() - self._watched:
            self._watch(fd)

    def unwatch(self) -> None:
        """Watch none of the listeners."""
        for fd in list(self._watched):
            self._forget(fd)

    def _watch(self, fd: int) -> None:
        try:
            self._owner.watch_listener(fd, self._actions[fd])
        except (OSError, MemoryError) as error:
            faults.report(error, "a listener cannot be watched for the moment")
            self._owner.retry(fd, monotonic() + sockets.PAUSE)
        else:
            self._watched.add(fd)

    def _forget(self, fd: int) -> None:
        self._watched.remove(fd)
        self._owner.forget_listener(fd)

    def _accept(self, backlog: Backlog, now: float) -> None:
        """Accept peers that wait in `backlog`, at least one; pause where that fails."""
        try:
            self._accept_turn(backlog, now)
        except Exception as error:
            faults.report(error, "no peer can be accepted for the moment")
            self.unwatch()
            self._owner.retry(backlog.listener.fileno(), now + sockets.PAUSE)

    def _accept_turn(self, backlog: Backlog, now: float) -> None:
        slot = self._slot
        if slot.is_alone():
            self._accept_some(backlog, self._batch, now)
            return
        most = min(self._batch, slot.accept_quota(sockets.queued(backlog.listener) or 0))
        self._accept_some(backlog, most, now)
        fd = backlog.listener.fileno()
        if fd in self._watched:
            # To the end of the kernel's queue of those that it wakes; or, if we are ahead, out of it for a moment.
            self._forget(fd)
            if slot.is_over_share(most):
                self._owner.retry(fd, now + ACCEPT_BACKOFF)
            else:
                self._watch(fd)

    def _accept_some(self, backlog: Backlog, most: int, now: float) -> None:
        owner = self._owner
        if owner.full():
            self._wait_for_room(backlog.listener, now)
            return
        for _ in range(most):
            try:
                found = backlog.accept()
            except OSError:
                self._wait_for_room(backlog.listener, now)
                return
            if found is None:
                return
            self.admit(*found, now)
            if owner.full():  # the next report shows whether another waits
                return

    def admit(self, peer: Any, address: Address, now: float) -> None:
        """Give the owner a peer that was accepted, unless its client has too many; close it where that fails."""
        try:
            if self._serving.admit(address):
                self._owner.add(peer, address, now)
            else:
                sockets.refuse(peer, self._serving.endpoint.busy)
        except Exception as error:
            faults.report_peer(error, address[0])
            self._serving.dismiss(address)
            sockets.close_peer(peer)

    def _wait_for_room(self, listener: socket.socket, now: float) -> None:
        """Leave those that wait in the backlog until a peer has left; or for a moment: descriptors become free
        elsewhere, too."""
        self.unwatch()
        self._owner.make_room(now, min(EVICT, max(1, sockets.queued(listener) or 1)))
        self._owner.retry(listener.fileno(), now + sockets.PAUSE)

    def close(self) -> Iterator[tuple[Any, Address]]:
        """Yield the peers that wait now, until the signals' deadline, and close the listeners."""
        self.unwatch()
        self._actions.clear()
        for backlog in self._backlogs:
            try:
                for _ in range(sockets.waiting(backlog.listener)):
                    if monotonic() >= self._signals.deadline or not (found := backlog.accept()):
                        break
                    yield found
            except OSError:
                pass
            sockets.close(backlog.listener)
