"""A peer of a loop: its socket, its connection, and the poller's reports; and the steps that the connection wants.

The poller's reports are kept here: `readable` until a read came short, `writable` until a send would have blocked.
So the same code serves pollers that report a state again and again (level-triggered) and those that report each change
once (edge-triggered); the first are watched for what is wanted, the second for all, always.

READ normally stays watched, and a send is tried before it is watched for: a small request and its response are one recv
and one send, with no call to the poller but wait().
"""

from __future__ import annotations

import math
import socket
from collections.abc import Iterable
from functools import partial
from time import monotonic
from typing import Any, Final

from allcomers.calls.giving import runner
from allcomers.calls.outflow import Outflow
from allcomers.connection.base import CALL, IDLE, READ, RUNNING, WRITE, Connection, awaits_body, run_due
from allcomers.connection.call import CONSUMED, OVERLOADED, Address, Driver
from allcomers.connection.http.exchange import StepCall
from allcomers.connection.http.response_head import hints
from allcomers.errors import LoopMoved, PeerError
from allcomers.models.driver.poller import PROMPT, Home, evict
from allcomers.models.fastpath.pieces import STEP, pull_pieces, report, send_piece, takes_turns
from allcomers.models.fastpath.setup import FastState
from allcomers.system import nonblocking, sockets
from allcomers.system.deadlines import NEVER

TURN: Final = 256 * 1024
"""Bytes moved for one peer before it is another's turn."""

HINTS: Final = 16
"""Times that a call may hint before it has waited for anything; more are not sent."""

_READ_OR_WRITE: Final = READ | WRITE


def _pull(channel: Channel, now: float, left: int, end: float) -> tuple[float, int]:
    """Give pieces of a response, `left` bytes or to the `end`. Return the time after them, and what is left."""
    home, conn, call = channel.home, channel.conn, channel.conn.take_call()
    until = end if home.calls.keeps_threads or takes_turns(conn) else math.inf
    reply, now, moved = pull_pieces(conn, channel.fd, call, home.here, now, left, until)
    report(conn, call, reply, now)
    return now, left - moved


def _call(channel: Channel, conn: Connection, ready_at: float, now: float, left: int, end: float) -> tuple[float, int]:
    """Run the call that is due, or submit or refuse it. Return the time after it, if it ran here, and the bytes that
    are left of its turn, which ends at `end`."""
    home = channel.home
    if conn.stream is not None:
        return _pull(channel, now, left, end)
    if home.admission.late:
        now = monotonic()
        if home.admission.refuses(ready_at, now, home.calls.inline):
            conn.answered(conn.take_call(), OVERLOADED, now)
            return now, left
    elif conn.multiplexes and home.calls.inline:
        return run_due(conn, now, runner(home.calls, True), monotonic), left
    call = conn.take_call()
    if not (home.calls.inline or type(call) is StepCall):
        home.calls.submit(call, partial(home.post, channel, call))
        return now, left
    started, due = monotonic(), now
    reply = runner(home.calls, conn.multiplexes)(call)
    now = monotonic()
    conn.counters.called(started - due, now - started)
    report(conn, call, reply, now)
    return now, left


def _keep_thread(channel: Channel, conn: Connection) -> None:
    """Give a response that waits, and whose iterable is bound to this thread, from here: the loop moves to another."""
    stream = conn.release_body()
    if stream is not None:
        channel.home.at = channel
        channel.home.calls.stay(stream, b"")
        conn.answered(None, b"", monotonic())  # the loop cannot move: the next piece is pulled as this one was


def _succeed(channel: Channel, successor: Connection, now: float) -> None:
    """Drive the connection of another protocol from here on."""
    channel.conn.driver = channel.conn.successor = None  # the call, which `successor` has, knows this connection
    channel.conn = successor
    successor.driver = channel
    channel.drive(now)


def _forget_connection(channel: Channel) -> None:
    """Drop the connection of an idle peer, but for what sync() makes it of: it is most of the peer's memory."""
    conn = channel.conn
    channel.conn, channel.count, channel.since, conn.driver = None, conn.served, conn.since, None


def fall_back(channel: Channel, unsent: bytes, call: tuple[Any, Any] | None, received: Any, now: float) -> None:
    """Go on where the fast path has met what is not common (fastpath.setup.FallBack)."""
    home = channel.home
    home.at = channel
    if call is not None:
        request, reply = call
        begun, reply = reply if type(reply) is tuple else (None, reply)
        channel.adopt(unsent, request, begun, received, now)
        report(channel.conn, channel.conn.taken, reply, now)
    else:
        channel.adopt(unsent, None, None, b"", now)
        if received is not None:
            channel.readable = channel.readable or home.poller.errs_once
            if channel.conn.multiplexes and home.calls.inline and not home.admission.late:
                now = channel.conn.opened_and_called(received, now, runner(home.calls, True), monotonic)
            else:
                channel.conn.opened(received, now)
    channel.drive(now)


class Channel(FastState):
    """A peer's socket and its connection, and the poller's reports of the one for the other.

    conn      None while the peer is idle and nothing needs its connection: sync() makes it
    ended     bool: no more will come than is there already, so it is read to its end: an edge is reported once
    writable  int: WRITE; 0 once a send would have blocked
    """

    __slots__ = ("_sock", "due", "ended", "hinted", "home", "watched", "writable")

    def __init__(self, home: Home, fd: int, address: Address, now: float) -> None:
        self.home = home
        self.fd = fd
        self.peer, self.port, self.server = address
        self._sock: socket.socket | None = None  # made for what a descriptor alone cannot do
        self.conn: Any = None  # a Connection
        self.is_idle = True
        self.count = 0
        self.since = self.ready_at = now
        self.noted = None
        self.handed_off = self.held = self.intake = None
        self.held_at = 0.0
        self.hinted: tuple[list[bytes], ...] = ()  # by a call of which the connection does not know yet
        self.readable = False
        self.ended = False
        self.writable = WRITE
        self.watched = 0
        self.due = NEVER  # when its deadline is looked at next

    @property
    def sock(self) -> socket.socket:
        """The peer's socket. Raises OSError where it cannot be made."""
        self._sock = self._sock or sockets.socket_of(self.fd)
        return self._sock

    def close_socket(self) -> None:
        sockets.close_peer(self.fd if self._sock is None else self._sock)

    # ------------------------------------------------------------ steps

    def drive(self, now: float) -> None:
        """Satisfy what the connection wants, for as long as that needs no waiting."""
        self.home.at = self
        if self.is_idle:
            self.sync()
        home, conn, ready_at = self.home, self.conn, now
        if home.evicting and conn.phase is not IDLE:  # an idle peer that is only looked at may stay
            evict(home, conn, now)
        try:
            left, end = TURN, now + PROMPT
            while left > 0 or (conn.stream is not None and now < end and home.calls.keeps_threads):
                left -= STEP
                wants = conn.wants
                if wants & CALL:
                    if now >= end and takes_turns(conn):
                        home.again.append(self)
                        break
                    now, left = _call(self, conn, ready_at, now, left, end)
                elif wants & self.writable:
                    left -= self._send(conn, now)
                elif wants & READ and self.readable:
                    try:
                        data = nonblocking.recv(self.fd, sockets.RECEIVE)
                    except BlockingIOError:
                        self.readable = False
                        continue
                    left -= len(data)
                    # A read that comes short has emptied the socket (epoll(7)) of all but its end.
                    self.readable = len(data) == sockets.RECEIVE or self.ended
                    now = self._receive(conn, data, now)
                    if conn.wants & ~RUNNING == READ and home.poller.errs_once:  # no send will meet an error
                        self.readable = True
                else:
                    break
            else:
                home.again.append(self)
        except (OSError, PeerError):
            conn.lost(now)
        if now - ready_at > home.admission.turn.room:
            home.admission.lasts(now - ready_at, now)
        self._settle(self.conn, now)

    def _send(self, conn: Connection, now: float) -> int:
        """Send the next segment. Return the bytes that the socket took, 0 also where it takes none now."""
        segment = conn.output()
        try:
            # A segment that is no file and no end is spared a call.
            if type(segment) is bytes and segment:
                count = nonblocking.send(self.fd, segment)
            else:
                count = sockets.send(self.sock, segment)
        except BlockingIOError:
            self.writable = 0
            return 0
        conn.sent(count, now)
        return count

    def _receive(self, conn: Connection, data: bytes, now: float) -> float:
        """Report what was read. Return the time after it, and after the calls that ran here."""
        home = self.home
        if home.evicting:
            evict(home, conn, now)
        if home.calls.inline and not home.admission.late:
            return conn.received_and_called(data, now, runner(home.calls, conn.multiplexes), monotonic)
        conn.received(data, now)
        return now

    def go_on(self, now: float) -> None:
        """Take a turn that the poller has not reported.

        PERF: a newcomer has mostly sent its request by now, perhaps its only one: this spares two calls and a wait."""
        home = self.home
        if not self.is_idle or home.arrive is None:
            self.drive(now)
            return
        home.arrive(self)
        if self.is_idle and home.channels.get(self.fd) is self:
            if self.conn is not None:
                self._settle(self.conn, now)
            elif not self.watched:
                self.watched = READ
                home.poller.watch(self.fd, READ)
                self.look_by(now + home.look_after)

    def resume(self, now: float) -> None:
        """Go on after the result of a call that took its time: the peer may have gone."""
        if self.home.channels.get(self.fd) is self:
            self.drive(now)
        else:
            self.home.detached.discard(self)
            self.home.run_close_call(self)

    def expire(self, now: float) -> None:
        """Go on at a time that was set: the deadline has come, or has moved."""
        home = self.home
        self.due = NEVER
        self.sync()
        if self.conn.deadline <= now and self.conn.wants & READ:
            self.readable = True  # what has come by now is in time, though a call kept this loop from reading it
        self.drive(now)
        if home.channels.get(self.fd) is self and self.conn.deadline <= now:
            self.conn.expired(now, sockets.held(self.sock))
            self.drive(now)
        if self.is_idle and home.makes_late and not self.conn.multiplexes:
            _forget_connection(self)

    def look_by(self, when: float) -> None:
        """Have expire() called at that time, unless it is called before."""
        if when < self.due:
            self.due = when
            self.home.deadlines.set(self.fd, when)

    def _settle(self, conn: Connection, now: float) -> None:
        """Watch for what is wanted now, until the time that is set for it."""
        home = self.home
        if conn.stream is not None and home.calls.keeps_threads:
            _keep_thread(self, conn)
        wants = conn.wants
        if not wants:
            if conn.successor is None:
                home.close(self)
            else:
                _succeed(self, conn.successor, now)
            return
        self.intake = None
        if wants & READ and awaits_body(conn):
            sockets.acknowledge(self.sock)
            if not home.poller.errs_once:  # else each read is followed by another
                self.intake = conn
        watch = wants & READ if self.writable else wants & _READ_OR_WRITE
        if watch != self.watched:
            self.watched = watch
            home.poller.watch(self.fd, watch)
        if conn.deadline < self.due:
            self.look_by(conn.deadline)
        self.try_fast_path()

    # ------------------------------------------------------------ the fast path

    def try_fast_path(self) -> None:
        """Leave an idle peer to the fast path, if there is one, with its address, which a PROXY header may change."""
        conn, home = self.conn, self.home
        if home.arrive is not None and conn.is_idle and not home.evicting:
            self.is_idle, self.intake = True, conn.session
            self.peer, self.port, self.server = conn.address

    def sync(self) -> None:
        """Report to the connection what the fast path has done; the loop itself drives it from here on."""
        self.is_idle = False
        if self.conn is None:
            self.conn = self.home.connect((self.peer, self.port, self.server), self.since)
            self.conn.driver = self
        if self.count:
            self.conn.count_served(self.count, self.since)
            self.count = 0
        if self.handed_off is not None:
            (request, line, _, call), self.handed_off = self.handed_off, None
            begun = None if call is None else call.hand_over()
            self.conn.adopt(b"", None, (request, line), begun, b"", self.ready_at, self.ready_at)
        if self.held is not None:
            held, self.held = self.held, None
            self.conn.adopt_beginning(held, self.held_at)

    @property
    def driver(self) -> Driver | None:
        if self.conn is not None:
            driver: Driver | None = self.conn.driver
            return driver
        return self if self.home.channels.get(self.fd) is self else None

    def hint(self, links: Iterable[bytes]) -> None:
        """Send these links ahead of the response (async_call.Asker). Raises AnswerError."""
        if self.is_idle:  # its first step is not over: they go out when it is
            links = list(links)
            hints(links)  # refuse at once what no field can carry
            self.hinted = (*self.hinted, links)[:HINTS]
        else:
            self.conn.hint(links)

    def adopt(self, unsent: bytes, request: Any, begun: Any, received: bytes, now: float) -> None:
        """Hand over to the connection what the fast path has served so far: see its adopt()."""
        self.sync()
        records, self.noted = self.noted, None
        self.conn.adopt(unsent, records, request, begun, received, self.ready_at, now)
        hinted, self.hinted = self.hinted, ()
        for links in hinted:
            self.hint(links)

    # ------------------------------------------------------------ Driver, of a call that runs

    def post(self, call: Any, reply: Any) -> bool:
        """Report the result of a call that runs on the event loop, a part of it, or CONSUMED. In the loop's thread."""
        home, is_handed_off = self.home, self.handed_off is not None
        if self.conn is None and not is_handed_off:
            self.sync()
        conn = self.conn
        try:
            if is_handed_off:  # its app has waited, and the fast path has its request
                home.answer(self, reply, monotonic())
                if self.is_idle:
                    return False
            else:
                if type(reply) is bytes and (reply := send_piece(conn, self.fd, reply)) is None:
                    return True
                now = monotonic()
                if reply is CONSUMED:
                    conn.consumed(call, now)
                else:
                    conn.answered(call, reply, now)
                self.resume(now)
        except LoopMoved:
            raise
        except BaseException as error:  # this is called within the app's call, which goes on
            home.fail(self, error, reply)
        home.turned(monotonic())
        return False

    def said(self, reply: Any) -> bool:
        """Report a result of the one call that runs, which began without the connection."""
        return self.post(None, reply)

    def send_now(self, data: bytes) -> int:
        return nonblocking.send_some(self.fd, data)

    def outflow(self, call: Any = None) -> Outflow | None:
        calls = self.home.calls
        return Outflow(partial(self.home.post, self, call), calls.away) if calls.release_loop() else None

    def cut(self) -> None:
        now = monotonic()
        self.sync()
        self.conn.cut(now)
        self.look_by(now)  # its turn comes when the steps of others are over

    def fileno(self) -> int:
        return self.fd

    def disconnected(self, *, both: bool = False) -> bool:
        return sockets.ended(self.sock, both=both)

    def app_socket(self) -> None:
        """Return None: a call with a socket would keep a thread that is to serve others, too."""
