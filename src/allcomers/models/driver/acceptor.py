"""Accept peers for the blocking models, and ask idle ones to leave when all places are taken."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Protocol

from allcomers.connection.base import FAREWELL, PATIENCE, Address
from allcomers.models.driver.serving import Serving
from allcomers.system import sockets
from allcomers.system.accept_balance import WorkerSlot
from allcomers.system.counters import ACCEPTED


class LeavePolicy(Protocol):
    """Whether there is room for this conversation to go on."""

    @property
    def over(self) -> bool:
        """Does the server stop at once?"""
        ...

    @property
    def lends_sockets(self) -> bool:
        """May a call have its client's socket, for as long as it likes?"""
        ...

    def filenos(self, idle: bool) -> list[int]:
        """Descriptors that become readable when it may be wanted that this conversation ends.

        `idle`: it has nothing to do, so it is the one that should heed somebody who waits.
        """
        ...

    def wanted(self) -> float:
        """Is this conversation to end with its next answer, which the asker then counts on? 0.0 for no.

        Else the seconds that an idle peer has for a request that is on its way.
        """
        ...


class EvictionPipe:
    """The LeavePolicy of many conversations: a pipe. A byte in it asks one of them to leave, its end asks all.

    A pipe, because the conversations may be processes; because they wait in poll(2); and because the kernel gives
    each byte to one reader only. If the acceptor dies, the pipe ends, and so do they.

    slot  tells, in processes too, that all are to leave with their next answer
    """

    over = False
    lends_sockets = True

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot = slot
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)

    def filenos(self, idle: bool) -> list[int]:
        return [self._reader] if idle else []  # a byte taken in mid-request would keep the idle ones in their places

    def wanted(self) -> float:
        try:
            return PATIENCE if os.read(self._reader, 1) else FAREWELL
        except BlockingIOError:
            return PATIENCE if self._slot.leaving_soon else 0.0

    def ask_one(self) -> None:
        """Somebody waits: one is to leave."""
        os.write(self._writer, b"!")

    def ask_none(self) -> None:
        """Nobody waits any more: take back what nobody heeded."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def ask_all(self) -> None:
        """The server leaves."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1


class Acceptor:
    """Where peers are let in, one after another, while there are places; and at the end, seen out.

    start(sock, address) begins a conversation elsewhere; that it has ended is told by left().
    """

    def __init__(
        self, serving: Serving, room: EvictionPipe, places: int, start: Callable[[socket.socket, Address], None]
    ) -> None:
        self._serving = serving
        self._room = room
        self._places = places
        self._start = start
        self._present = 0
        self._asked = False  # somebody inside to leave, for somebody outside
        self._closing = False  # the server leaves: who waits outside is let in by run()
        self._resume = 0.0  # when to accept again, after the system had no descriptors left
        self._poll = select.poll()
        self._actions: dict[int, Callable[[], object]] = {}
        self.watch(serving.signals.fileno(), serving.signals.read)
        self._watch_listeners()

    def watch(self, fd: int, action: Callable[[], object]) -> None:
        """Run `action` whenever `fd` is readable."""
        self._actions[fd] = action
        self._poll.register(fd, select.POLLIN)

    def left(self, count: int) -> None:
        """So many conversations have ended."""
        self._present -= count
        self._serving.slot.count(self._present)
        if self._asked and count:
            self._asked = False
            self._room.ask_none()
            self._watch_listeners()

    def run(self) -> None:
        """Until the orders are to leave; then until all have left, or the orders' deadline."""
        signals = self._serving.signals
        while not signals.draining:
            self._turn(None)
        self._closing = True
        self._unwatch_listeners()
        self._room.ask_all()
        for listener in self._serving.listeners:
            for _ in range(sockets.waiting(listener)):
                if signals.quitting or not (found := self._accept(listener)):
                    break
                while self._present >= self._places and self._wait_for_leavers():
                    pass
                self._add(*found)
            listener.close()
        while self._present and self._wait_for_leavers():
            pass

    def _wait_for_leavers(self) -> bool:
        left = self._serving.signals.deadline - monotonic()
        if left > 0:
            self._turn(left)
        return left > 0

    def _turn(self, timeout: float | None) -> None:
        if self._resume:
            timeout = min(sockets.PAUSE, timeout or sockets.PAUSE)
            if monotonic() >= self._resume:
                self._resume = 0.0
                self._watch_listeners()
        for fd, _ in self._poll.poll(None if timeout is None else timeout * 1000):
            self._actions[fd]()

    def _watch_listeners(self) -> None:
        for listener in self._serving.listeners if not self._closing else ():
            self.watch(listener.fileno(), partial(self._on_readable, listener))

    def _unwatch_listeners(self) -> None:
        for listener in self._serving.listeners:
            if self._actions.pop(listener.fileno(), None):
                self._poll.unregister(listener.fileno())

    def _on_readable(self, listener: socket.socket) -> None:
        if self._present >= self._places:
            self._unwatch_listeners()
            self._asked = True
            self._room.ask_one()
        elif found := self._accept(listener):
            self._add(*found)

    def _accept(self, listener: socket.socket) -> tuple[socket.socket, Address] | None:
        try:
            return sockets.accept(listener)
        except OSError:
            self._unwatch_listeners()
            self._resume = monotonic() + sockets.PAUSE
            return None

    def _add(self, sock: socket.socket, address: Address) -> None:
        try:
            self._start(sock, address)
            self._present += 1
            self._serving.slot.counters.add(ACCEPTED)
            self._serving.slot.count(self._present)
        except (OSError, RuntimeError):  # no more processes or threads to be had
            sockets.refuse(sock, self._serving.endpoint.busy)
