"""The blocking models' conversation with one peer in one thread.

`converse` is the blocking model whole: do what the connection wants, wait in the kernel for nothing else. The sockets
are non-blocking all the same and the waiting is poll(2)'s, since a thread must wait for three things at once: its peer,
its peer's deadline, and the request to leave because others wait or the server stops. A `LeavePolicy` has the third.

A model of threads or processes has so many places. When all are taken and another peer waits, an idle one is asked to
leave, and a busy one gets `Connection: close` with its response: idle peers never starve newcomers.
"""

from __future__ import annotations

import errno
import select
import socket
from contextlib import suppress
from functools import partial
from threading import Lock, get_ident
from time import monotonic
from typing import Any

from allcomers.calls.protocols import Calls
from allcomers.connection import call as calls_of_apps
from allcomers.connection.base import CALL, IDLE, READ, WRITE, Connection, Work
from allcomers.connection.call import PartialResponse
from allcomers.connection.codec import Clear
from allcomers.connection.detached import DetachedConnection
from allcomers.connection.http.async_call import Upgrade
from allcomers.errors import PeerError
from allcomers.models.driver.app_socket import AppSocket
from allcomers.models.driver.conversations import LeavePolicy
from allcomers.system import sockets


def converse(sock: socket.socket, conn: Connection, calls: Calls, policy: LeavePolicy) -> None:
    """Serve one peer to its end, and close its socket."""
    conn.driver = driver = _Driver(sock, conn, policy)
    driver.turn.acquire()
    try:
        while conn.wants and not policy.over:
            if conn.wants & CALL:
                call = conn.take_call()
                reply = driver.run(calls, call)
                conn = driver.conn  # another, if the call speaks with its client itself
                if patience := policy.wanted():
                    conn.drain(monotonic(), patience)
                conn.answered(call, reply, monotonic())
            else:
                driver.send_or_receive()
    except (OSError, PeerError):
        pass
    finally:
        conn.lost(monotonic())
        is_streaming = conn.is_streaming
        if close_call := conn.close_call():
            _ = close_call() if is_streaming else calls.run(close_call)
        driver.close()
        conn.driver = None
        driver.turn.release()


def _send(sock: socket.socket, conn: Connection) -> bool:
    """Send the next segment. Return False if the kernel takes nothing now."""
    try:
        count = sockets.send(sock, conn.output())
    except BlockingIOError:
        return False
    conn.sent(count, monotonic())
    return True


def _receive(sock: socket.socket, conn: Connection) -> None:
    with suppress(BlockingIOError):  # poll(2), BUGS: it may report what is no longer there
        conn.received(sock.recv(sockets.RECEIVE), monotonic())


class _Driver:
    """A peer's socket, and all that its connection wants but the calls.

    conn  the connection that is driven
    turn  held by the thread that uses the connection: the peer's own, but the call's while the first waits for a call
    """

    def __init__(self, sock: socket.socket, conn: Connection, policy: LeavePolicy) -> None:
        self.turn = Lock()
        self.conn = conn
        self._sock = sock
        self._calls: Calls  # where its call runs
        self._lent: AppSocket | None = None
        self._policy = policy
        self._poll = select.poll()
        self._leaving = False
        self._polled: list[int] = []  # the policy's descriptors that are polled

    def send_or_receive(self) -> None:
        """Send what there is to send; or wait until something happens, and receive what the peer sends."""
        conn = self.conn
        if conn.wants & WRITE and _send(self._sock, conn):
            return
        if self._readable(conn):
            _receive(self._sock, conn)

    def run(self, calls: Calls, work: Work) -> Any:
        """Run a call and return its result. While it runs, it may push(), or have its client's socket."""
        started = monotonic()
        self._calls = calls
        is_streaming = self.conn.is_streaming  # else the rest of its response is in the thread of its call
        self.turn.release()
        reply = work() if is_streaming else calls.run(work)
        if self._lent is not None:
            self._lent.end()
        self.turn.acquire()
        if is_streaming or not calls.counts:
            self.conn.counters.called(0.0, monotonic() - started)
        return reply

    def send(self, part: PartialResponse) -> bool:
        """Send a part of the response (call.Driver): in the thread of the call, be that the peer's own or another."""
        conn = self.conn
        with self.turn:
            try:
                conn.answered(None, part, monotonic())
                while not part.over and not self._policy.over:
                    self.send_or_receive()
            except (OSError, PeerError):
                pass
            if not part.over:
                conn.lost(monotonic())
        return True

    def push(self, said: Any) -> bool:
        return calls_of_apps.push(self, said)

    def post(self, call: Any, reply: Any) -> None:
        raise AssertionError("no call here answers later")

    def said(self, reply: Any) -> None:
        raise AssertionError("no call here answers later")

    def fileno(self) -> int:
        return self._sock.fileno()

    def app_socket(self) -> AppSocket | None:
        """Lend the client's socket to the call that runs in this thread (call.Driver)."""
        if not self._policy.lends_sockets:
            return None
        self._lent = AppSocket(self._sock, self.conn.counters, partial(self._detach, get_ident()))
        return self._lent

    def _detach(self, caller: int) -> tuple[Clear, bytes]:
        """Give the socket to the app, whose call runs in thread `caller`. Return the codec, and what was received."""
        early: list[bytes] = []

        def connect(before: Connection, received: bytes, now: float) -> Connection:
            early.append(received)
            return DetachedConnection(before, now)

        with self.turn:
            conn = self.conn
            if not conn.is_streaming:
                conn.answered(None, Upgrade(b"", connect), monotonic())
            if conn.successor is None:
                raise BrokenPipeError(errno.EPIPE, "a response has begun, or the client has gone")
            self.conn, conn.driver = conn.successor, None
            self.conn.driver = self
        self._calls.lift_limit(caller)
        return self.conn.codec, early[0]

    def close(self) -> None:
        """Close the socket, and wake threads of the app's own that wait for it."""
        if self._lent is not None and self._lent.taken:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _readable(self, conn: Connection) -> bool:
        """Wait until something happens. Return whether the peer has sent something."""
        fd = self._sock.fileno()
        self._poll.register(fd, conn.wants & (READ | WRITE))
        self._poll_also([] if self._leaving else self._policy.filenos(conn.phase is IDLE))
        events = dict(self._poll.poll(max(0.0, (conn.deadline - monotonic()) * 1000) if conn.deadline < 1e9 else None))
        if not events:
            conn.expired(monotonic(), sockets.held(self._sock))
        event = events.pop(fd, 0)
        if events and (patience := self._policy.wanted()):
            self._leaving = True
            conn.drain(monotonic(), patience)
        return bool(event & ~select.POLLOUT) and bool(conn.wants & READ)

    def _poll_also(self, filenos: list[int]) -> None:
        if filenos != self._polled:
            for fd in self._polled:
                self._poll.unregister(fd)
            for fd in filenos:
                self._poll.register(fd, select.POLLIN)
            self._polled = filenos
