"""The conversations of a blocking model: how many there may be, and how idle ones leave when others wait.

Each conversation runs elsewhere, in a thread or a process, and has a LeavePolicy that reports when it should end. The
thread that calls run() accepts the peers.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys
import termios
from collections.abc import Callable, Sized
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol

from allcomers.connection.base import FAREWELL, IDLE, PATIENCE, Connection
from allcomers.connection.call import Address
from allcomers.models.driver.acceptor import Acceptor, Action, is_kept_alive
from allcomers.models.driver.serving import Serving
from allcomers.system import faults, sockets
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.counters import ACCEPTED
from allcomers.system.deadlines import NEVER, Deadlines
from allcomers.system.descriptors import DescriptorRoom
from allcomers.system.inbox import Inbox
from allcomers.system.native.primitives import close
from allcomers.system.processes import forks

STANDS: Final = 1.0
"""Seconds for which conversations are asked to end after the last that has: else one that goes on instead, with a
request or a response that lasts, would keep those from being asked that are idle by then."""


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

    def watched(self, conn: Connection, leaving: bool) -> list[tuple[int, int]]:
        """Return descriptors, with the events of each (poll(2)) at which it may be time for this conversation to end.

        An idle one has nothing to do, so it is the one to leave for a peer that waits; unless it is `leaving` already.
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
        forks.keep(self)

    def filenos(self) -> tuple[int, int]:
        return self._reader, self._writer

    def watched(self, conn: Connection, leaving: bool) -> list[tuple[int, int]]:
        if leaving or conn.phase is not IDLE:
            return []
        # A byte read in mid-request, or before the first, would keep the idle ones in their places. The pipe's end is
        # reported whatever is asked for (POLLHUP).
        return [(self._reader, select.POLLIN if is_kept_alive(conn) else 0)]

    def wanted(self) -> float:
        try:
            return PATIENCE if os.read(self._reader, 1) else FAREWELL
        except BlockingIOError:
            return PATIENCE if self._slot.leaving_soon else 0.0

    def evict(self, count: int) -> None:
        """Ask `count` conversations to end, for as many peers that wait."""
        os.write(self._writer, b"!" * count)

    def evict_at_most(self, count: int) -> None:
        """Take back what no conversation has read, but for `count`."""
        (unread,) = struct.unpack("i", fcntl.ioctl(self._reader, termios.FIONREAD, bytes(4)))
        if unread > count:
            with suppress(BlockingIOError):  # it was read meanwhile
                os.read(self._reader, unread - count)

    def close(self) -> None:
        """Evict all, and close the pipe."""
        self.evict_all()
        if self._reader >= 0:
            with suppress(OSError):
                close(self._reader)
            self._reader = -1

    def __del__(self) -> None:
        self.close()

    def evict_all(self) -> None:
        """Ask all conversations to end: the server leaves."""
        if self._writer >= 0:
            with suppress(OSError):
                close(self._writer)
            self._writer = -1


def give_back(ended: Inbox[None]) -> None:
    """Report that a conversation has ended, also where memory is short: a place that is not given back is lost."""
    try:
        ended.put(None)
    except MemoryError:  # there is more now
        ended.put(None)


class SocketBacklog(sockets.Backlog):
    """A Backlog that has a socket for each peer: its conversation waits by that."""

    def taken(self, fd: int) -> socket.socket:
        return sockets.socket_of(fd, self.listener.family)


class AcceptLoop:
    """A thread that accepts peers, and begins a conversation with each.

    start  called with (sock, address): serves that peer, here or elsewhere
    """

    def __init__(self, serving: Serving, start: Callable[[socket.socket, Address], None]) -> None:
        self._serving = serving
        self._start = start
        self._poll = serving.primitives.poll()
        self._actions: dict[int, Action] = {}
        self._retries = Deadlines()  # when listeners are to be watched again, by descriptor
        self.watch(serving.signals.fileno(), lambda now: serving.signals.read())
        self._acceptor = Acceptor(self, serving, batch=1, backlog=SocketBacklog)
        self._acceptor.watch()

    def watch(self, fd: int, action: Action) -> None:
        """Call `action` whenever `fd` is readable."""
        self._actions[fd] = action
        self._poll.register(fd, select.POLLIN)

    def accept(self) -> None:
        """Accept peers until the server is to leave."""
        while not self._serving.signals.draining:
            try:
                self._turn(None)
            except MemoryError as error:  # what is watched is reported again
                faults.report(error, "the thread that accepts lacks memory")
                self._serving.primitives.sleep(faults.PAUSE)

    def accept_backlog(self) -> None:
        """Accept the peers that wait already; no others."""
        for found in self._acceptor.close():
            self._acceptor.admit(*found, monotonic())

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

    def make_room(self, now: float, count: int) -> None:
        """Ignore: there is no other peer."""

    def add(self, peer: socket.socket, address: Address, now: float) -> None:
        if not self._refuses(peer, address, now):
            self._start(peer, address)

    def _refuses(self, sock: socket.socket, address: Address, now: float) -> bool:
        """Refuse a peer that has waited too long in the backlog. Return whether that is done."""
        admission = self._serving.admission
        if admission.backlog.target == NEVER:
            return False
        wait = sockets.waited(sock)
        admission.accepted(wait, now)
        if not admission.refuses_peer(wait):
            return False
        self._serving.dismiss(address)
        sockets.refuse(sock, self._serving.endpoint.busy)
        return True

    def watch_listener(self, fd: int, action: Action) -> None:
        self.watch(fd, action)

    def forget_listener(self, fd: int) -> None:
        self._actions.pop(fd, None)
        with suppress(KeyError):
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
        self._asked = 0  # conversations that were asked to end, and have not
        self._until = NEVER  # when those are asked no more
        self._descriptors = DescriptorRoom(sys.maxsize)

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

    def left(self, take: Callable[[], Sized]) -> None:
        """Count the conversations that have ended: `take` gives each once."""
        count = len(take())  # called here: what follows at once cannot lack memory, and lose them
        self._present = max(0, self._present - count)  # a thread may run though its start has raised MemoryError
        try:
            self._serving.slot.count(self._present)
        finally:
            if count and self._asked:
                self._ask(max(0, self._asked - count))
                self._acceptor.watch()

    def _ask(self, count: int) -> None:
        """Have so many conversations asked to end, and no more, for a time."""
        if count > self._asked:
            self._policy.evict(count - self._asked)
        else:
            self._policy.evict_at_most(count)
        self._asked, self._until = count, monotonic() + STANDS if count else NEVER

    def _turn(self, timeout: float | None) -> None:
        super()._turn(min(self._until - monotonic(), NEVER if timeout is None else timeout))
        if monotonic() >= self._until:
            self._ask(0)

    def full(self) -> bool:
        return self._present >= self._places or (self._present > 0 and not self._descriptors.is_left())

    def make_room(self, now: float, count: int) -> None:
        count = min(count, self._present)
        if count > self._asked and not self._serving.signals.draining:
            self._ask(count)

    def add(self, peer: socket.socket, address: Address, now: float) -> None:
        # Only a peer of the backlog is added when all is full.
        while self._present >= self._places and self._wait_for_leavers():
            pass
        if self._refuses(peer, address, now):
            return
        self._descriptors.took(peer.fileno())
        self._present += 1  # before it starts: it may have ended by then
        try:
            self._start(peer, address)
        except (OSError, RuntimeError, MemoryError):  # the system has no more processes, threads or memory
            self._present -= 1
            self._serving.dismiss(address)
            sockets.refuse(peer, self._serving.endpoint.busy)
            return
        self._serving.slot.counters.add(ACCEPTED)
        self._serving.slot.count(self._present)
