"""The blocking models' conversation with one peer in one thread.

`converse` is the blocking model whole: do what the connection wants, wait in the kernel for nothing else. The sockets
are non-blocking all the same and the waiting is poll(2)'s, since a thread must wait for three things at once: its peer,
its peer's deadline, and the request to leave because others wait or the server stops. A `LeavePolicy` has the third.
`Primitives` are what it waits by: a thread, or a greenlet that looks like one.

A model of threads or processes has so many places. When all are taken and another peer waits, an idle one is asked to
leave, and a busy one gets `Connection: close` with its response: idle peers never starve newcomers.
"""

from __future__ import annotations

import errno
import math
import select
import socket
from contextlib import suppress
from functools import partial
from queue import Empty
from time import monotonic
from typing import Any, Final, cast

from allcomers.calls.outflow import Outflow
from allcomers.calls.protocols import Calls, TimedCalls
from allcomers.connection.base import CALL, CLOSING, READ, WRITE, Connection, Work, awaits_body
from allcomers.connection.call import FAILED, PENDING, Address, Call, PartialResponse
from allcomers.connection.codec import Clear
from allcomers.connection.detached import DetachedConnection
from allcomers.connection.http.async_call import Upgrade
from allcomers.connection.http.exchange import StepCall
from allcomers.errors import ClientGone, PeerError
from allcomers.models.driver.app_socket import AppSocket
from allcomers.models.driver.conversations import LeavePolicy
from allcomers.models.driver.serving import Serving
from allcomers.system import faults, sockets
from allcomers.system.inbox import Inbox
from allcomers.system.native.primitives import Primitives, SimpleQueue
from allcomers.system.processes import forks


class _Open:
    """The sockets of all peers that are served by this process."""

    def __init__(self) -> None:
        self.peers: set[socket.socket] = set()
        forks.keep(self)

    def filenos(self) -> list[int]:
        return [sock.fileno() for sock in self.peers]


_open: Final = _Open()


def serve_peer(serving: Serving, policy: LeavePolicy, sock: socket.socket, address: Address) -> None:
    """Serve one peer to its end, and close its socket. Raise nothing: what a step raises is reported, and ends it."""
    conn = None
    _open.peers.add(sock)
    try:
        conn = serving.connect(address, monotonic())
        converse(sock, conn, serving.calls, policy, serving.primitives)
    except BaseException as error:
        faults.report_peer(error, address[0])
    finally:
        if forks.is_copy:
            forks.leave()
        _open.peers.discard(sock)
        sockets.close_peer(sock)
        if conn is None:
            serving.dismiss(address)
        else:
            serving.forget(conn)


def converse(sock: socket.socket, conn: Connection, calls: Calls, policy: LeavePolicy, primitives: Primitives) -> None:
    """Serve one peer to its end, and close its socket. Raise what no step of it should raise."""
    conn.driver = driver = _Driver(sock, conn, policy, primitives)
    driver.turn.acquire()
    call: Call | None = None
    try:
        while (conn.wants or driver.succeed()) and not policy.over:
            conn = driver.conn
            if conn.wants & CALL:
                if is_streaming := conn.stream is not None or conn.multiplexes:
                    driver.leave()  # before its next piece: that of a response which never ends is its end now
                call = conn.take_call()
                if driver.start(calls, call):
                    continue
                reply = driver.run(calls, call)
                conn = driver.conn  # another, if the call speaks with its client itself
                if not is_streaming:
                    driver.leave()
                conn.answered(call, reply, monotonic())
            else:
                driver.send_or_receive()
    except (OSError, PeerError):
        pass
    except BaseException:
        with suppress(Exception):  # what its call has open is closed now: the call has ended, reported or not
            conn.lost(monotonic())
            conn.answered(call, FAILED, monotonic())
        raise
    finally:
        try:
            conn.lost(monotonic())
            driver.await_calls()
            is_streaming = conn.stream is not None
            close_call = conn.close_call()
            if close_call is not None and close_call is not PENDING:
                _ = close_call() if is_streaming else calls.run(close_call)
        finally:
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
    if awaits_body(conn):
        sockets.acknowledge(sock)


class _Driver:
    """A peer's socket, and all that its connection wants but the calls.

    conn  the connection that is driven
    turn  held by the thread that uses the connection: the peer's own, or that of a call which takes the socket
    replies  the result of a call that runs in another thread, alone, and the parts of its response
    """

    def __init__(self, sock: socket.socket, conn: Connection, policy: LeavePolicy, primitives: Primitives) -> None:
        self.turn = primitives.lock()
        self.conn = conn
        self.replies: SimpleQueue[Any] = SimpleQueue()
        self._sock = sock
        self._calls: Calls  # where its call runs
        self._lent: AppSocket | None = None
        self._policy = policy
        self._primitives = primitives
        self._poll = primitives.poll()
        self._leaving = self._is_closed = False
        self._polled: list[tuple[int, int]] = []  # the policy's descriptors that are polled, each with its events
        self._inbox: Inbox[tuple[Any, Any]] | None = None  # the results of calls that run beside each other
        self._started = 0  # of those, how many run

    def succeed(self) -> bool:
        """Drive the connection of another protocol from here on. Return False where there is none."""
        before, successor = self.conn, self.conn.successor
        if successor is None:
            return False
        before.driver = before.successor = None
        self.conn, successor.driver = successor, self
        return True

    def leave(self) -> None:
        """Let the connection end with this response, if its place is wanted."""
        if patience := self._policy.wanted():
            self.conn.drain(monotonic(), patience)

    def send_or_receive(self) -> None:
        """Send what there is to send; or wait until something happens, and receive what the peer sends."""
        conn = self.conn
        if conn.wants & WRITE and _send(self._sock, conn):
            return
        if self._readable(conn):
            _receive(self._sock, conn)
        if self._inbox is not None:
            self._report(self._inbox)

    def start(self, calls: Calls, call: Call) -> bool:
        """Have `call` run in another thread, beside others of this peer. Return False where it is to run alone."""
        if not self.conn.multiplexes or calls.inline or type(call) is StepCall:
            return False
        inbox = self._inbox = self._inbox or Inbox()
        self._calls = calls
        self._started += 1
        calls.submit(call, lambda reply: inbox.put((call, reply)))
        return True

    def _report(self, inbox: Inbox[tuple[Any, Any]]) -> None:
        """Report what calls that run beside each other have brought."""
        for call, reply in inbox.take():
            self._started -= not isinstance(reply, PartialResponse)
            self.conn.answered(call, reply, monotonic())

    def await_calls(self) -> None:
        """Wait for the calls that run on, whose peer is gone, unless the server stops at once."""
        if (inbox := self._inbox) is None:
            return
        waiting = self._primitives.poll()
        waiting.register(inbox.fileno(), select.POLLIN)
        while self._started and not self._policy.over:
            waiting.poll(1000)
            self._report(inbox)

    def run(self, calls: Calls, work: Work) -> Any:
        """Run a call and return its result. While it runs, it may send its response, or have its client's socket."""
        started = monotonic()
        self._calls = calls
        # Else the rest of its response is in the thread of its call.
        is_streaming = self.conn.stream is not None or type(work) is StepCall
        self.turn.release()
        try:
            if is_streaming:
                reply = work()
            elif self.conn.request_deadline == math.inf:
                reply = calls.run(work, self)
            else:  # the call may take the connection away (_detach), and its deadline with it
                reply = cast(TimedCalls, calls).run_until(work, self, lambda: self.conn.request_deadline)
        finally:
            if self._lent is not None:
                self._lent.end()
            self.turn.acquire()
        if is_streaming or not calls.counts:
            self.conn.counters.called(0.0, monotonic() - started)
        return reply

    def outflow(self, call: Any = None) -> Outflow:
        # Where the call has a thread of its own, the peer's sends: the call need not wait for a slow client.
        take = self._put if self._calls.counts else self.take

        def send(part: PartialResponse) -> None:
            part.call = call
            take(part)

        return Outflow(send, self._calls.away)

    def _put(self, part: PartialResponse) -> None:
        """Have a part of the response sent by the peer's own thread. Called in any thread."""
        if self._inbox is None:
            self.replies.put(part)
        else:
            self._inbox.put((part.call, part))
        if self._is_closed:
            self._end_parts()

    def _end_parts(self) -> None:
        """End the parts that nobody sends any more: of a call that was given up, and runs on."""
        left: list[Any] = []
        with suppress(Empty, IndexError):  # another thread may do the same
            left += [] if self._inbox is None else [reply for _, reply in self._inbox.take()]
            while True:
                left.append(self.replies.get_nowait())
        for part in left:
            if isinstance(part, PartialResponse):
                part.end(ClientGone("the client has gone"))

    def take(self, part: PartialResponse) -> None:
        """Send a part of the response in this thread, the peer's own (protocols.Parts)."""
        conn = self.conn
        with self.turn:
            try:
                conn.answered(part.call, part, monotonic())
                while not part.over and not self._policy.over:
                    self.send_or_receive()
                self.leave()
                while conn.phase is CLOSING and conn.wants & WRITE and not self._policy.over:
                    self.send_or_receive()
            except (OSError, PeerError):
                pass
            except Exception as error:  # of the peer's step, not of the app's call, which goes on
                faults.report_peer(error, conn.peer)
            if not part.over:
                conn.lost(monotonic())
            if not part.over:  # it was never queued
                part.end(ClientGone("the client has gone"))

    def post(self, call: Any, reply: Any) -> bool:
        raise AssertionError("no call here answers later")

    def said(self, reply: Any) -> bool:
        raise AssertionError("no call here answers later")

    def send_now(self, data: bytes) -> int:
        raise AssertionError("what is sent here waits for the socket")

    def cut(self) -> None:
        with suppress(OSError):  # it is closed already
            self._sock.shutdown(socket.SHUT_RDWR)  # so the peer's own thread ends it

    def fileno(self) -> int:
        return self._sock.fileno()

    def disconnected(self, *, both: bool = False) -> bool:
        return sockets.ended(self._sock, both=both)

    def app_socket(self) -> AppSocket | None:
        """Lend the client's socket to the call that runs in this thread (call.Driver)."""
        if not self._policy.lends_sockets:
            return None
        self._lent = AppSocket(
            self._sock, self.conn.counters, self._primitives, partial(self._detach, self._primitives.get_ident())
        )
        return self._lent

    def _detach(self, caller: int) -> tuple[Clear, bytes]:
        """Give the socket to the app, whose call runs in thread `caller`. Return the codec, and what was received."""
        early: list[bytes] = []

        def connect(before: Connection, received: bytes, now: float) -> Connection:
            early.append(received)
            return DetachedConnection(before, now)

        with self.turn:
            conn = self.conn
            if conn.stream is None:
                conn.answered(None, Upgrade(b"", connect), monotonic())
            if conn.successor is None:
                raise BrokenPipeError(errno.EPIPE, "a response has begun, or the client has gone")
            self.conn, conn.driver, conn.successor = conn.successor, None, None
            self.conn.driver = self
        self._calls.lift_limit(caller)
        return self.conn.codec, early[0]

    def close(self) -> None:
        """Close the socket, and wake threads of the app's own that wait for it."""
        if self._lent is not None and self._lent.taken:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self._primitives.sleep(0.001)  # they see it before the descriptor is another's
        with suppress(KeyError, ValueError):  # it has never waited; or it is closed already
            self._poll.unregister(self._sock.fileno())
        sockets.close_peer(self._sock)
        self._is_closed = True
        self._end_parts()
        self._inbox = None  # its descriptors are closed now, though something may refer to this still

    def _readable(self, conn: Connection) -> bool:
        """Wait until something happens. Return whether the peer has sent something."""
        fd = self._sock.fileno()
        self._poll.register(fd, conn.wants & (READ | WRITE))
        results = [] if self._inbox is None else [(self._inbox.fileno(), select.POLLIN)]
        self._poll_also(self._policy.watched(conn, self._leaving) + results)
        events = dict(self._poll.poll(max(0.0, (conn.deadline - monotonic()) * 1000) if conn.deadline < 1e9 else None))
        if not events:
            conn.expired(monotonic(), sockets.held(self._sock))
        event = events.pop(fd, 0)
        for one, _ in results:
            events.pop(one, 0)
        if events and (patience := self._policy.wanted()):
            self._leaving = True
            conn.drain(monotonic(), patience)
        return bool(event & ~select.POLLOUT) and bool(conn.wants & READ)

    def _poll_also(self, watched: list[tuple[int, int]]) -> None:
        if watched != self._polled:
            for fd, _ in self._polled:
                self._poll.unregister(fd)
            for fd, events in watched:
                self._poll.register(fd, events)
            self._polled = watched
