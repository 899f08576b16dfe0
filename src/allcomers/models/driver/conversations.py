"""The conversations of a blocking model: how many there may be, and how idle ones leave when others wait.

Each conversation runs elsewhere, in a thread or a process, and has a LeavePolicy that reports when it should end. The
thread that calls run() accepts the peers.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Protocol

from allcomers.connection.base import FAREWELL, PATIENCE, Address
from allcomers.models.driver.acceptor import Acceptor, Action
from allcomers.models.driver.serving import Serving
from allcomers.system import sockets
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.counters import ACCEPTED
from allcomers.system.deadlines import NEVER, Deadlines


class LeavePolicy(Protocol):
    """Whether there is room for a conversation to go on."""

    @property
    def over(self) -> bool:
        """Whether the server stops at once."""
        ...

    @property
    def lends_sockets(self) -> bool:
        """Whether a call may have its client's socket, for as long as it likes."""
        ...

    def filenos(self, idle: bool) -> list[int]:
        """Return descriptors that become readable when it may be time for this conversation to end.

        `idle`: the conversation has nothing to do, so it is the one to leave for a peer that waits.
        """
        ...

    def wanted(self) -> float:
        """Return 0.0 if this conversation may go on, else the seconds that an idle peer has for a request under way.

        If not 0.0, it must end with its next response: the policy counts on that.
        """
        ...


class EvictionPipe:
    """The LeavePolicy of many conversations: a pipe. A byte in it evicts one of them, its end evicts all.

    A pipe, because the conversations may be processes; because they wait in poll(2); and because the kernel gives
    each byte to one reader only. If the process that accepts dies, the pipe ends, and so do they.

    slot  has, for processes too, that all are to leave with their next response
    """

    over = False
    lends_sockets = True

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot = slot
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)

    def filenos(self, idle: bool) -> list[int]:
        return [self._reader] if idle else []  # a byte read in mid-request would keep the idle ones in their places

    def wanted(self) -> float:
        try:
            return PATIENCE if os.read(self._reader, 1) else FAREWELL
        except BlockingIOError:
            return PATIENCE if self._slot.leaving_soon else 0.0

    def evict_one(self) -> None:
        """Ask one conversation to end, for a peer that waits."""
        os.write(self._writer, b"!")

    def evict_none(self) -> None:
        """Take back the request that no conversation has read: no peer waits any more."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def evict_all(self) -> None:
        """Ask all conversations to end: the server leaves."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1


class AcceptLoop:
    """A thread that accepts peers, and begins a conversation with each.

    start  called with (sock, address): serves that peer, here or elsewhere
    """

    def __init__(self, serving: Serving, start: Callable[[socket.socket, Address], None]) -> None:
        self._serving = serving
        self._start = start
        self._poll = select.poll()
        self._actions: dict[int, Action] = {}
        self._retries = Deadlines()  # when listeners are to be watched again, by descriptor
        self.watch(serving.signals.fileno(), lambda now: serving.signals.read())
        self._acceptor = Acceptor(self, serving, batch=1)
        self._acceptor.watch()

    def watch(self, fd: int, action: Action) -> None:
        """Call `action` whenever `fd` is readable."""
        self._actions[fd] = action
        self._poll.register(fd, select.POLLIN)

    def accept(self) -> None:
        """Accept peers until the server is to leave."""
        while not self._serving.signals.draining:
            self._turn(None)

    def accept_backlog(self) -> None:
        """Accept the peers that wait already; no others."""
        for found in self._acceptor.close():
            self.add(*found, monotonic())

    def _turn(self, timeout: float | None) -> None:
        now = monotonic()
        for _ in self._retries.due(now):
            self._acceptor.watch()
        left = min(self._retries.next() - now, NEVER if timeout is None else timeout)
        for fd, _ in self._poll.poll(None if left == NEVER else max(0.0, left) * 1000):
            if fd in self._actions:  # an action before this may have ended the watch
                self._actions[fd](monotonic())

    # ------------------------------------------------------------ AcceptorOwner

    def full(self) -> bool:
        return False

    def make_room(self, now: float) -> None:
        """Ignore: there is always room."""

    def add(self, sock: socket.socket, address: Address, now: float) -> None:
        self._start(sock, address)

    def watch_listener(self, fd: int, action: Action) -> None:
        self.watch(fd, action)

    def forget_listener(self, fd: int) -> None:
        del self._actions[fd]
        self._poll.unregister(fd)

    def retry(self, fd: int, when: float) -> None:
        self._retries.set(fd, when)


class Conversations(AcceptLoop):
    """At most `places` conversations at once, in threads or processes; left() reports the end of some.

    policy  theirs
    """

    def __init__(
        self, serving: Serving, policy: EvictionPipe, places: int, start: Callable[[socket.socket, Address], None]
    ) -> None:
        super().__init__(serving, start)
        self._policy = policy
        self._places = places
        self._present = 0
        self._crowded = False  # a conversation was asked to end, for a peer that waits

    def run(self) -> None:
        """Accept peers until the server is to leave; then wait until all have left, or for the signals' deadline."""
        self.accept()
        self._policy.evict_all()
        self.accept_backlog()
        while self._present and self._wait_for_leavers():
            pass

    def _wait_for_leavers(self) -> bool:
        left = self._serving.signals.deadline - monotonic()
        if left > 0:
            self._turn(left)
        return left > 0

    def left(self, count: int) -> None:
        """Report that so many conversations have ended."""
        self._present -= count
        self._serving.slot.count(self._present)
        if self._crowded and count:
            self._crowded = False
            self._policy.evict_none()
            self._acceptor.watch()

    def full(self) -> bool:
        return self._present >= self._places

    def make_room(self, now: float) -> None:
        self._crowded = True
        self._policy.evict_one()

    def add(self, sock: socket.socket, address: Address, now: float) -> None:
        while self.full() and self._wait_for_leavers():  # only a peer of the backlog is added when all is full
            pass
        try:
            self._start(sock, address)
        except (OSError, RuntimeError):  # the system has no more processes or threads
            sockets.refuse(sock, self._serving.endpoint.busy)
            return
        self._present += 1
        self._serving.slot.counters.add(ACCEPTED)
        self._serving.slot.count(self._present)
