"""A peer of a loop: its socket, its connection, and the poller's reports; and the steps that the connection wants.

The poller's reports are kept here: `readable` until a read came short, `writable` until a send would have blocked.
So the same code serves pollers that report a state again and again (level-triggered) and those that report each change
once (edge-triggered); the first are watched for what is wanted, the second for all, always.

READ normally stays watched, and a send is tried before it is watched for: a small request and its response are one recv
and one send, with no call to the poller but wait().
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol

from allcomers.calls.protocols import Calls
from allcomers.connection import call as calls_of_apps
from allcomers.connection.base import CALL, PATIENCE, READ, RUNNING, WRITE, Connection
from allcomers.connection.call import CONSUMED, PENDING, Driver, PartialResponse
from allcomers.errors import PeerError
from allcomers.models.driver.poller import Poller
from allcomers.models.fastpath.setup import FastState
from allcomers.system import nonblocking, sockets
from allcomers.system.deadlines import NEVER, Deadlines

TURN: Final = 256 * 1024
"""Bytes moved for one peer before it is another's turn."""

STEP: Final = 4096
"""Bytes that each step counts for beside those it moves: 64 small requests are a turn, too."""

PROMPT: Final = 0.005
"""Seconds for which a response whose pieces go out at once may go on where no other call may come between them: a
thread of its own would gain nothing sooner, for the interpreter runs one for so long (sys.getswitchinterval())."""

HINTS: Final = 16
"""Times that a call may hint before it has waited for anything; more are not sent."""

_READ_OR_WRITE: Final = READ | WRITE


class Home(Protocol):
    """The peers of a loop, and what they share (peers.Peers).

    at        the peer whose turn it is
    again     peers that had their turn and could go on
    evicting  bool: each peer is to leave with its next response
    has_fast_path  bool: idle peers have it
    """

    channels: dict[int, Channel]
    calls: Calls
    here: Any  # calls.here
    poller: Poller
    deadlines: Deadlines
    at: Channel
    again: deque[Channel]
    evicting: bool
    has_fast_path: bool
    turned: Callable[[float], object]

    def post(self, channel: Channel, call: Any, reply: Any) -> None:
        """Bring the result of `call` to the loop's own thread. Called in any thread."""
        ...

    def close(self, channel: Channel) -> None: ...


class Channel(FastState):
    """A peer's socket and its connection, and the poller's reports of the one for the other.

    ended     bool: no more will come than is there already, so it is read to its end: an edge is reported once
    writable  int: WRITE; 0 once a send would have blocked
    """

    __slots__ = ("due", "ended", "hinted", "home", "sock", "watched", "writable")

    def __init__(self, home: Home, sock: socket.socket, conn: Connection) -> None:
        self.home = home
        self.sock = sock
        self.fd = sock.fileno()
        self.conn = conn
        self.is_idle = False
        self.count = 0
        self.since = self.ready_at = 0.0
        self.noted = None
        self.handed_off = None
        self.hinted: tuple[list[bytes], ...] = ()  # by a call of which the connection does not know yet
        self.readable = False
        self.ended = False
        self.writable = WRITE
        self.watched = 0
        self.due = NEVER  # when its deadline is looked at next

    # ------------------------------------------------------------ steps

    def drive(self, now: float) -> None:
        """Satisfy what the connection wants, for as long as that needs no waiting."""
        home, conn = self.home, self.conn
        home.at = self
        if self.is_idle:
            self.sync()
        if home.evicting:
            conn.drain(now, PATIENCE)
        try:
            left, end = TURN, now + PROMPT
            while left > 0 or (conn.is_streaming and now < end and home.calls.keeps_threads):
                left -= STEP
                wants = conn.wants
                if wants & CALL:
                    now = self._call(conn, now)
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
        if home.calls.inline:
            return conn.received_and_called(data, now, home.here, monotonic)
        conn.received(data, now)
        return now

    def _call(self, conn: Connection, now: float) -> float:
        """Run the call that is due, or submit it. Return the time after it, if it ran here."""
        home = self.home
        call = conn.take_call()
        if not (home.calls.inline or conn.is_streaming):
            home.calls.submit(call, partial(home.post, self, call))
            return now
        started, due = monotonic(), now
        reply = home.here(call)
        now = monotonic()
        conn.counters.called(started - due, now - started)
        self._report(conn, call, reply, now)
        return now

    def _report(self, conn: Connection, call: Any, reply: Any, now: float) -> None:
        if reply is PENDING:
            conn.consumed(call, now)
        else:
            conn.answered(call, reply, now)

    def resume(self, now: float) -> None:
        """Go on after the result of a call that took its time: the peer may have gone."""
        if self.home.channels.get(self.fd) is self:
            self.drive(now)
        else:
            self.run_close_call()

    def expire(self, now: float) -> None:
        """Go on at a time that was set: the deadline has come, or has moved."""
        self.due = NEVER
        self.sync()
        if self.conn.deadline <= now:
            self.conn.expired(now, sockets.held(self.sock))
        self.drive(now)

    def _settle(self, conn: Connection, now: float) -> None:
        """Watch for what is wanted now, until the time that is set for it."""
        home = self.home
        if conn.is_streaming and home.calls.keeps_threads:
            self._keep_thread(conn)
        wants = conn.wants
        if not wants:
            if conn.successor is None:
                home.close(self)
            else:
                self._succeed(conn.successor, now)
            return
        watch = wants & READ if self.writable else wants & _READ_OR_WRITE
        if watch != self.watched:
            self.watched = watch
            home.poller.watch(self.fd, watch)
        if conn.deadline < self.due:
            self.due = conn.deadline
            home.deadlines.set(self.fd, conn.deadline)
        if home.has_fast_path and conn.is_idle and not home.evicting:
            self.idle()

    def _keep_thread(self, conn: Connection) -> None:
        """Give a response that waits, and whose iterable is bound to this thread, from here: the loop goes on in
        another."""
        stream = conn.release_body()
        if stream is not None:
            self.home.at = self
            self.home.calls.stay(stream)
            conn.answered(None, b"", monotonic())  # the loop cannot move: the next piece is pulled as this one was

    def _succeed(self, conn: Connection, now: float) -> None:
        """Drive the connection of another protocol from here on."""
        self.conn.driver = None
        self.conn = conn
        conn.driver = self
        self.drive(now)

    def run_close_call(self) -> None:
        """Run the app's last call for this peer, if there is one."""
        home, conn = self.home, self.conn
        is_streaming = conn.is_streaming
        close_call = conn.close_call()
        if close_call is not None and is_streaming:
            home.at = self
            home.here(close_call)
        elif close_call is not None:
            home.calls.submit(close_call, lambda _: None)

    # ------------------------------------------------------------ the fast path

    def idle(self) -> None:
        """Let the fast path serve this peer. It needs the address, which a PROXY header may have changed."""
        self.is_idle = True
        self.peer, self.port, self.server = self.conn.address

    def sync(self) -> None:
        """Report to the connection what the fast path has done; the loop itself drives it from here on."""
        self.is_idle = False
        if self.count:
            self.conn.count_served(self.count, self.since)
            self.count = 0
        if self.handed_off is not None:
            (request, line, _), self.handed_off = self.handed_off, None
            self.conn.adopt(b"", None, (request, line), None, b"", self.ready_at, self.ready_at)

    @property
    def driver(self) -> Driver | None:
        return self.conn.driver

    def hint(self, links: Iterable[bytes]) -> None:
        """Send these links ahead of the response (async_call.Asker). Raises AnswerError."""
        if self.is_idle:  # its first step is not over: they go out when it is
            links = list(links)
            self.conn.check_hint(links)
            self.hinted = (*self.hinted, links)[:HINTS]
        else:
            self.conn.hint(links)

    def adopt(self, unsent: bytes, request: Any, async_call: Any, received: bytes, now: float) -> None:
        """Have the connection go on with what the fast path has served so far: see its adopt()."""
        self.sync()
        records, self.noted = self.noted, None
        self.conn.adopt(unsent, records, request, async_call, received, self.ready_at, now)
        hinted, self.hinted = self.hinted, ()
        for links in hinted:
            self.hint(links)

    def fall_back(
        self, unsent: bytes, call: tuple[Any, Any] | None, received: bytes | PeerError | None, now: float
    ) -> None:
        """Go on where the fast path has met what is not common (fastpath.setup.FallBack)."""
        self.home.at = self
        if call is not None:
            assert isinstance(received, bytes)
            request, reply = call
            async_call, reply = reply if type(reply) is tuple else (None, reply)
            self.adopt(unsent, request, async_call, received, now)
            self._report(self.conn, None, reply, now)
        else:
            self.adopt(unsent, None, None, b"", now)
            if received is not None:
                self.readable = self.readable or self.home.poller.errs_once
                self.conn.opened(received, now)
        self.drive(now)

    # ------------------------------------------------------------ Driver, of a call that runs

    def post(self, call: Any, reply: Any) -> None:
        """Report the result of a call that runs on the event loop, a part of it, or CONSUMED. In the loop's thread."""
        conn, now = self.conn, monotonic()
        if reply is CONSUMED:
            conn.consumed(call, now)
        else:
            conn.answered(call, reply, now)
        self.resume(now)
        self.home.turned(now)

    def said(self, reply: Any) -> None:
        """Report a result of the one call that runs, which began without the connection."""
        self.post(None, reply)

    def send(self, part: PartialResponse) -> bool:
        """Post a part of the response, for the loop's own thread to send. Called in the thread of the call."""
        if not self.home.calls.release_loop():
            return False
        self.home.post(self, None, part)
        return True

    def push(self, said: Any) -> bool:
        return calls_of_apps.push(self, said)

    def fileno(self) -> int:
        return self.fd

    def app_socket(self) -> None:
        """Return None: a call with a socket would keep a thread that is to serve others, too."""
