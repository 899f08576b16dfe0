"""What the blocking models share: a conversation with one peer in one thread, and the door where peers are let in.

`converse` is the blocking model whole: do what the connection wants, wait in the kernel for nothing else. The sockets
are non-blocking all the same and the waiting is poll(2)'s, for a thread must wait for three things at once: its peer,
its peer's deadline, and the word that it should leave because others wait or the server stops. That word is a `Room`.

A model of threads or processes has so many places. When all are taken and somebody waits outside, one that has nothing
to do is asked to leave, and who is busy says `Connection: close` with the answer: idle peers never starve newcomers.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock, get_ident
from time import monotonic
from typing import Any, Protocol

from allcomers.calls import Calls
from allcomers.connection import call
from allcomers.connection.base import CALL, FAREWELL, IDLE, PATIENCE, READ, WRITE, Address, Connection, Work
from allcomers.connection.call import Part
from allcomers.connection.codec import Clear
from allcomers.connection.detached import DetachedConnection
from allcomers.connection.http.endpoint import Upgrade
from allcomers.errors import PeerError
from allcomers.models import Serving
from allcomers.models.driver.app_socket import AppSocket
from allcomers.system import sockets
from allcomers.system.accept_balance import Share
from allcomers.system.counters import ACCEPTED


class Room(Protocol):
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


class Exit:
    """The Room of many conversations: a pipe. A byte in it asks one of them to leave, its end asks all.

    A pipe, because the conversations may be processes; because they wait in poll(2); and because the kernel gives
    each byte to one reader only. If the acceptor dies, the pipe ends, and so do they.

    share  tells, in processes too, that all are to leave with their next answer
    """

    over = False
    lends_sockets = True

    def __init__(self, share: Share) -> None:
        self._share = share
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)

    def filenos(self, idle: bool) -> list[int]:
        return [self._reader] if idle else []  # a byte taken in mid-request would keep the idle ones in their places

    def wanted(self) -> float:
        try:
            return PATIENCE if os.read(self._reader, 1) else FAREWELL
        except BlockingIOError:
            return PATIENCE if self._share.leaving_soon else 0.0

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


def converse(sock: socket.socket, conn: Connection, calls: Calls, room: Room) -> None:
    """Serve one peer to its end, and close its socket."""
    conn.driver = driver = _Driver(sock, conn, room)
    driver.turn.acquire()
    try:
        while conn.wants and not room.over:
            if conn.wants & CALL:
                reply = driver.run(calls, conn.take_call())
                conn = driver.conn  # another, where the call speaks with its client itself
                if patience := room.wanted():
                    conn.drain(monotonic(), patience)
                conn.answered(reply, monotonic())
            else:
                driver.speak_or_hear()
    except (OSError, PeerError):
        pass
    finally:
        conn.lost(monotonic())
        is_streaming = conn.is_streaming
        if farewell := conn.farewell():
            _ = farewell() if is_streaming else calls.run(farewell)
        driver.close()
        conn.driver = None
        driver.turn.release()


def _send(sock: socket.socket, conn: Connection) -> bool:
    """Send the next segment; False if the kernel takes nothing now."""
    try:
        count = sockets.send(sock, conn.output())
    except BlockingIOError:
        return False
    conn.sent(count, monotonic())
    return True


def _receive(sock: socket.socket, conn: Connection) -> None:
    with suppress(BlockingIOError):  # poll(2), BUGS: it may tell of what is no longer there
        conn.received(sock.recv(sockets.RECEIVE), monotonic())


class _Driver:
    """A peer's socket, and all that its connection wants but the calls.

    conn  that which is driven
    turn  held by who uses the connection: the peer's own thread, but while it waits for a call; then the call's
    """

    def __init__(self, sock: socket.socket, conn: Connection, room: Room) -> None:
        self.turn = Lock()
        self.conn = conn
        self._sock = sock
        self._calls: Calls  # where its call runs
        self._lent: AppSocket | None = None
        self._room = room
        self._poll = select.poll()
        self._leaving = False
        self._heeded: list[int] = []

    def speak_or_hear(self) -> None:
        """Send what there is to send; or wait until something happens, and hear what the peer says."""
        conn = self.conn
        if conn.wants & WRITE and _send(self._sock, conn):
            return
        if self._readable(conn):
            _receive(self._sock, conn)

    def run(self, calls: Calls, work: Work) -> Any:
        """What the call returns. While it runs, it may push(), or have its client's socket."""
        began = monotonic()
        self._calls = calls
        is_streaming = self.conn.is_streaming  # else what is left of its answer is in the thread of its call
        self.turn.release()
        reply = work() if is_streaming else calls.run(work)
        if self._lent is not None:
            self._lent.end()
        self.turn.acquire()
        if is_streaming or not calls.counts:
            self.conn.page.called(0.0, monotonic() - began)
        return reply

    def send(self, part: Part) -> bool:
        """signs.Driver: in the thread of the call, be that the peer's own or another."""
        conn = self.conn
        with self.turn:
            try:
                conn.answered(part, monotonic())
                while not part.over and not self._room.over:
                    self.speak_or_hear()
            except (OSError, PeerError):
                pass
            if not part.over:
                conn.lost(monotonic())
        return True

    def push(self, said: Any) -> bool:
        return call.push(self, said)

    def said(self, reply: Any) -> None:
        raise AssertionError("no call here answers later")

    def fileno(self) -> int:
        return self._sock.fileno()

    def app_socket(self) -> AppSocket | None:
        """signs.Driver: in the thread of the call."""
        if not self._room.lends_sockets:
            return None
        self._lent = AppSocket(self._sock, self.conn.page, partial(self._detach, get_ident()))
        return self._lent

    def _detach(self, caller: int) -> tuple[Clear, bytes]:
        """The app has taken the socket, whose call runs in the thread `caller`: the codec, and what has been heard."""
        early: list[bytes] = []

        def connect(before: Connection, heard: bytes, now: float) -> Connection:
            early.append(heard)
            return DetachedConnection(before, now)

        with self.turn:
            conn = self.conn
            if not conn.is_streaming:
                conn.answered(Upgrade(b"", connect), monotonic())
            if conn.successor is None:
                raise BrokenPipeError(errno.EPIPE, "an answer has begun, or the client has gone")
            self.conn, conn.driver = conn.successor, None
            self.conn.driver = self
        self._calls.lift_limit(caller)
        return self.conn.codec, early[0]

    def close(self) -> None:
        """Close the socket; who still waits for it in a thread of the app's own is woken."""
        if self._lent is not None and self._lent.taken:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _readable(self, conn: Connection) -> bool:
        """Wait until something happens; True if it is that the peer has said something."""
        fd = self._sock.fileno()
        self._poll.register(fd, conn.wants & (READ | WRITE))
        self._heed([] if self._leaving else self._room.filenos(conn.phase is IDLE))
        events = dict(self._poll.poll(max(0.0, (conn.deadline - monotonic()) * 1000) if conn.deadline < 1e9 else None))
        if not events:
            conn.expired(monotonic(), sockets.held(self._sock))
        event = events.pop(fd, 0)
        if events and (patience := self._room.wanted()):
            self._leaving = True
            conn.drain(monotonic(), patience)
        return bool(event & ~select.POLLOUT) and bool(conn.wants & READ)

    def _heed(self, filenos: list[int]) -> None:
        if filenos != self._heeded:
            for fd in self._heeded:
                self._poll.unregister(fd)
            for fd in filenos:
                self._poll.register(fd, select.POLLIN)
            self._heeded = filenos


class Door:
    """Where peers are let in, one after another, while there are places; and at the end, seen out.

    start(sock, address) begins a conversation elsewhere; that it has ended is told by left().
    """

    def __init__(
        self, serving: Serving, room: Exit, places: int, start: Callable[[socket.socket, Address], None]
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
        self.watch(serving.orders.fileno(), serving.orders.read)
        self._watch_listeners()

    def watch(self, fd: int, action: Callable[[], object]) -> None:
        """Run `action` whenever `fd` is readable."""
        self._actions[fd] = action
        self._poll.register(fd, select.POLLIN)

    def left(self, count: int) -> None:
        """So many conversations have ended."""
        self._present -= count
        self._serving.share.count(self._present)
        if self._asked and count:
            self._asked = False
            self._room.ask_none()
            self._watch_listeners()

    def run(self) -> None:
        """Until the orders are to leave; then until all have left, or the orders' deadline."""
        orders = self._serving.orders
        while not orders.draining:
            self._turn(None)
        self._closing = True
        self._unwatch_listeners()
        self._room.ask_all()
        for listener in self._serving.listeners:
            for _ in range(sockets.waiting(listener)):
                if orders.quitting or not (found := self._accept(listener)):
                    break
                while self._present >= self._places and self._wait_for_leavers():
                    pass
                self._let_in(*found)
            listener.close()
        while self._present and self._wait_for_leavers():
            pass

    def _wait_for_leavers(self) -> bool:
        left = self._serving.orders.deadline - monotonic()
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
            self.watch(listener.fileno(), partial(self._knocked, listener))

    def _unwatch_listeners(self) -> None:
        for listener in self._serving.listeners:
            if self._actions.pop(listener.fileno(), None):
                self._poll.unregister(listener.fileno())

    def _knocked(self, listener: socket.socket) -> None:
        if self._present >= self._places:
            self._unwatch_listeners()
            self._asked = True
            self._room.ask_one()
        elif found := self._accept(listener):
            self._let_in(*found)

    def _accept(self, listener: socket.socket) -> tuple[socket.socket, Address] | None:
        try:
            return sockets.accept(listener)
        except OSError:
            self._unwatch_listeners()
            self._resume = monotonic() + sockets.PAUSE
            return None

    def _let_in(self, sock: socket.socket, address: Address) -> None:
        try:
            self._start(sock, address)
            self._present += 1
            self._serving.share.page.add(ACCEPTED)
            self._serving.share.count(self._present)
        except (OSError, RuntimeError):  # no more processes or threads to be had
            sockets.refuse(sock, self._serving.busy)
