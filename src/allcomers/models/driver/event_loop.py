"""The loop that all pollers share: one thread, many peers, a system call only where the kernel says it will not wait.

What a poller tells (`channel.Poller`) is remembered in the channel: `readable` until a read came short, `writable`
until a send would have blocked. So the same code serves pollers that tell a state again and again (level-triggered) and
those that tell each change once (edge-triggered); the first are watched for what is wanted, the second for all, always.

READ normally stays watched, and a send is tried before it is watched for: a small request and its answer are one recv
and one send, with no call to the poller but wait().

A loop may move on while a call of the app keeps its thread (calls/auto.py). That thread is then Displaced: it does not
come back. So what is still to be done after a call is kept in the loop: events, answers and peers that wait.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from select import POLLERR, POLLHUP, POLLIN, POLLOUT
from time import monotonic
from typing import Any, Final

from allcomers.calls.protocols import LoopHost
from allcomers.connection.base import CALL, IDLE, PATIENCE, READ, RUNNING, WRITE, Address, Connection
from allcomers.connection.call import CONSUMED, PENDING, PartialResponse
from allcomers.connection.http.http1 import HttpConnection
from allcomers.errors import PeerError
from allcomers.models.driver.channel import Channel, Poller
from allcomers.models.driver.loop_acceptor import LoopAcceptor
from allcomers.models.driver.serving import Serving
from allcomers.models.fastpath import setup
from allcomers.protocol.message import Request
from allcomers.system import nonblocking, sockets
from allcomers.system.counters import ACCEPTED
from allcomers.system.deadlines import NEVER, Deadlines
from allcomers.system.inbox import Inbox

TURN: Final = 256 * 1024
"""Bytes moved for one peer before it is another's turn."""

STEP: Final = 4096
"""Bytes that each step counts for beside those it moves: 64 small requests are a turn, too."""

ANSWER: Final = 0.005
"""Seconds for which an answer whose pieces go out at once may go on where no other call may come between them: a thread
of its own would gain nothing sooner, for the interpreter runs one for so long (sys.getswitchinterval())."""

_GONE: Final = POLLERR | POLLHUP
_ENDED: Final = getattr(select, "POLLRDHUP", 0)
_RARE: Final = _GONE | _ENDED
_READ_OR_WRITE: Final = READ | WRITE


class EventLoop:
    """Everything between a poller and the connections.

    handle(fd, events, now)  the poller tells `events` of `fd`
    loop_turn  called when something happened outside handle() and turn(), which an event loop is to look at
    """

    def __init__(
        self, serving: Serving, poller: Poller, loop_turn: Callable[[float], object] = lambda now: None
    ) -> None:
        self._turned = loop_turn
        self._serving = serving
        self._calls = serving.calls
        self._here = serving.calls.here
        self._poller = poller
        self._channels: dict[int, Channel] = {}
        self._deadlines = Deadlines()
        self._again: deque[Channel] = deque()  # had their turn and could go on
        self._at: Channel  # whose turn it is
        self._events: Iterator[tuple[int, int]] = iter(())  # told and not handled
        self._answers: Iterator[tuple[Channel, Any]] = iter(())  # taken and not reported
        self._inbox: Inbox[tuple[Channel, Any]] = Inbox()
        self._crowded = False  # all places are taken and somebody waits outside
        self._draining = False
        self._leaving_soon = serving.slot.leaving_soon  # each peer, with its next answer
        self._others: dict[int, Callable[[float], None]] = {
            serving.signals.fileno(): self._take_signals,
            self._inbox.fileno(): self._take_answers,
        }
        self._fast_path = setup.fast_path(
            serving.http,
            serving.service,
            serving.calls,
            self._channels,
            self._handle,
            self._fall_back,
            self._close,
            self._post,
        )
        self.handle = self._handle if self._fast_path is None else self._fast_path.handle
        for fd in self._others:
            poller.watch(fd, READ)
        self._acceptor = LoopAcceptor(self, serving, poller, self._others, self._deadlines)
        self._acceptor.watch()

    # ------------------------------------------------------------ for who waits

    @property
    def over(self) -> bool:
        """Is there nothing left to serve, or no time left to serve it?"""
        if not self._draining:
            return False
        return not self._channels or monotonic() >= self._serving.signals.deadline

    def run(self) -> None:
        """Serve until it is over. Raises Displaced once another thread does so, or will."""
        counters = self._serving.slot.counters
        now = monotonic()
        while True:
            for fd, event in self._events:
                self.handle(fd, event, now)
            timeout = self.turn(now)
            counters.loop_turn(monotonic() - now)
            if self.over:
                return
            self._events = iter(self._poller.wait(timeout))
            now = monotonic()

    def leave(self) -> Callable[[Any], object]:
        """The thread that runs this is in a call, and stays there: what is to be told its answer. Then run() again."""
        if self._fast_path is not None and (left := self._fast_path.leave()):
            channel, unsent, request, heard = left
            channel.adopt(unsent, request, None, heard, monotonic())
        else:
            channel = self._at
            channel.conn.consumed(monotonic())  # it is not over, as it was to be
        self._again.append(channel)
        return partial(self._post, channel)

    def _handle(self, fd: int, events: int, now: float) -> None:
        channel = self._channels.get(fd)
        if channel is None:
            if fd in self._others:
                self._others[fd](now)
            return
        if events & POLLIN:
            channel.readable = True
        if events & POLLOUT:
            channel.writable = True
        if events & _RARE:
            channel.ended = channel.readable = True
            if events & _GONE:
                channel.writable = True
                if not channel.conn.wants & _READ_OR_WRITE:  # a call runs for a peer that is gone: stop being told so
                    channel.conn.lost(now)
        self._drive(channel, now)

    def turn(self, now: float) -> float | None:
        """What is due by the clock; the seconds until there may be more, None for never."""
        for channel, reply in self._answers:
            now = monotonic()  # before, it may not have been there
            if channel.handed_off is not None and self._fast_path is not None:
                self._fast_path.answered(channel, reply, now)
                continue
            channel.conn.answered(reply, now)
            if not isinstance(reply, PartialResponse):
                self._go_on(channel, now)
            elif not self._again or self._again[-1] is not channel:  # others may follow: they go out together
                self._again.append(channel)
        for _ in range(len(self._again)):
            channel = self._again.popleft()
            if self._channels.get(channel.fd) is channel:
                self._drive(channel, now)
        deadlines = self._deadlines
        when = deadlines.next()
        if when <= now:
            for fd in deadlines.due(now):
                self._expire(fd, now)
            when = deadlines.next()
        if self._again:
            return 0.0
        if self._draining:
            when = min(when, self._serving.signals.deadline)
        return None if when == NEVER else max(0.0, when - now)

    # ------------------------------------------------------------ peers

    def _drive(self, channel: Channel, now: float) -> None:
        """Do what the connection wants, for as long as that needs no waiting."""
        self._at = channel
        conn = channel.conn
        if channel.is_idle:
            channel.sync()
        if self._crowded or self._leaving_soon:
            conn.drain(now, PATIENCE)
        try:
            left, end = TURN, now + ANSWER
            while left > 0 or (conn.is_streaming and now < end and self._calls.keeps_threads):
                left -= STEP
                wants = conn.wants
                if wants & CALL:
                    now = self._call(channel, conn, now)
                elif wants & WRITE and channel.writable:
                    left -= self._send(channel, conn, now)
                elif wants & READ and channel.readable:
                    try:
                        data = nonblocking.recv(channel.fd, sockets.RECEIVE)
                    except BlockingIOError:
                        channel.readable = False
                        continue
                    left -= len(data)
                    # A read that comes short has emptied the socket (epoll(7)) of all but its end.
                    channel.readable = len(data) == sockets.RECEIVE or channel.ended
                    now = self._hear(conn, data, now)
                    if conn.wants & ~RUNNING == READ and self._poller.errs_once:  # no send will tell of an error
                        channel.readable = True
                else:
                    break
            else:
                self._again.append(channel)
        except (OSError, PeerError):
            conn.lost(now)
        self._settle(channel, channel.conn, now)

    def _send(self, channel: Channel, conn: Connection, now: float) -> int:
        """Send what is next; the bytes that the socket took, 0 also where it takes none now."""
        segment = conn.output()
        try:
            # What is no file and no end is spared a call.
            if type(segment) is bytes and segment:
                count = nonblocking.send(channel.fd, segment)
            else:
                count = sockets.send(channel.sock, segment)
        except BlockingIOError:
            channel.writable = False
            return 0
        conn.sent(count, now)
        return count

    def _hear(self, conn: Connection, data: bytes, now: float) -> float:
        """Report what was read; the time after it, and after the calls that ran here."""
        if self._calls.inline:
            return conn.received_and_called(data, now, self._here, monotonic)
        conn.received(data, now)
        return now

    def _fall_back(
        self,
        channel: Channel,
        unsent: bytes,
        call: tuple[Request, Any] | None,
        heard: bytes | PeerError | None,
        now: float,
    ) -> None:
        """The express lane has come to what is not common (express.lane)."""
        self._at = channel
        if call is not None:
            assert isinstance(heard, bytes)
            request, reply = call
            async_call, reply = reply if type(reply) is tuple else (None, reply)
            channel.adopt(unsent, request, async_call, heard, now)
            self._report(channel.conn, reply, now)
        else:
            channel.adopt(unsent, None, None, b"", now)
            if heard is not None:
                channel.readable = channel.readable or self._poller.errs_once
                channel.conn.opened(heard, now)
        self._drive(channel, now)

    def _call(self, channel: Channel, conn: Connection, now: float) -> float:
        """Have the call run that is due; the time after it, if it ran here."""
        work = conn.take_call()
        if not (self._calls.inline or conn.is_streaming):
            self._calls.submit(work, partial(self._post, channel))
            return now
        began, due = monotonic(), now
        reply = self._here(work)
        now = monotonic()
        conn.counters.called(began - due, now - began)
        self._report(conn, reply, now)
        return now

    def _report(self, conn: Connection, reply: Any, now: float) -> None:
        if reply is PENDING:
            conn.consumed(now)
        else:
            conn.answered(reply, now)

    def receive_reply(self, channel: Channel, reply: Any) -> None:
        """A call that answers later: its answer, a part of it, or CONSUMED. In the loop's own thread."""
        now = monotonic()
        if reply is CONSUMED:
            channel.conn.consumed(now)
        else:
            channel.conn.answered(reply, now)
        self._go_on(channel, now)
        self._turned(now)

    def send(self, channel: Channel, part: PartialResponse) -> bool:
        """In the thread of the call: the loop's own sends this part of its answer."""
        if not self._calls.release_loop():
            return False
        self._post(channel, part)
        return True

    def _post(self, channel: Channel, reply: Any) -> None:
        """In the thread of the call: its answer goes to the loop's own."""
        self._inbox.put((channel, reply))

    def _take_answers(self, now: float) -> None:
        """They are reported in turn()."""
        self._answers = iter(self._inbox.take())

    def _go_on(self, channel: Channel, now: float) -> None:
        """After the answer of a call that took its time: the peer may have gone."""
        if self._channels.get(channel.fd) is channel:
            self._drive(channel, now)
        else:
            self._farewell(channel)

    def _settle(self, channel: Channel, conn: Connection, now: float) -> None:
        """Watch for what is wanted now, until the time that is set for it."""
        if conn.is_streaming and self._calls.keeps_threads:
            self._keep_thread(channel, conn)
        wants = conn.wants
        if not wants:
            if conn.successor is None:
                self._close(channel)
            else:
                self._succeed(channel, conn.successor, now)
            return
        watch = wants & READ if channel.writable else wants & _READ_OR_WRITE
        if watch != channel.watched:
            channel.watched = watch
            self._poller.watch(channel.fd, watch)
        if conn.deadline < channel.due:
            channel.due = conn.deadline
            self._deadlines.set(channel.fd, conn.deadline)
        if self._fast_path is not None and conn.is_idle and not (self._crowded or self._leaving_soon):
            channel.idle()

    def _keep_thread(self, channel: Channel, conn: Connection) -> None:
        """An answer waits whose iterable is in this thread: that stays with it, and the loop goes on in another."""
        assert isinstance(conn, HttpConnection)
        stream = conn.release_stream()
        if stream is not None:
            self._at = channel
            self._calls.stay(stream)
            conn.answered(b"", monotonic())  # the loop cannot move: the next piece is pulled as this one was

    def _succeed(self, channel: Channel, conn: Connection, now: float) -> None:
        """The peer speaks another protocol from here on."""
        channel.conn.driver = None
        channel.conn = conn
        conn.driver = channel
        self._drive(channel, now)

    def _close(self, channel: Channel) -> None:
        del self._channels[channel.fd]
        self._serving.slot.count(len(self._channels))
        self._poller.forget(channel.fd)
        channel.sock.close()
        channel.conn.driver = None  # the two hold each other
        if self._crowded and not self._draining:
            self._crowded = False
            self._acceptor.watch()
        self._farewell(channel)

    def _farewell(self, channel: Channel) -> None:
        is_streaming = channel.conn.is_streaming
        close_call = channel.conn.close_call()
        if close_call is not None and is_streaming:
            self._at = channel
            self._here(close_call)
        elif close_call is not None:
            self._calls.submit(close_call, lambda _: None)

    def _expire(self, fd: int, now: float) -> None:
        channel = self._channels.get(fd)
        if channel is None:
            if fd in self._acceptor:
                self._acceptor.watch()
            return
        channel.due = NEVER
        channel.sync()
        if channel.conn.deadline <= now:
            channel.conn.expired(now, sockets.held(channel.sock))
        self._drive(channel, now)

    # ------------------------------------------------------------ newcomers

    def is_full(self) -> bool:
        most = self._serving.max_connections
        return most is not None and len(self._channels) >= most

    def make_room(self, now: float) -> None:
        """All places are taken and somebody waits: who has been idle longest leaves, or who is answered next."""
        self._acceptor.unwatch()
        self._crowded = True
        for channel in self._channels.values():
            channel.sync()
        idle = (channel for channel in self._channels.values() if channel.conn.phase is IDLE and channel.conn.served)
        longest = min(idle, key=lambda channel: channel.conn.deadline, default=None)
        if longest is not None:
            self._drive(longest, now)

    def add(self, sock: socket.socket, address: Address, now: float) -> None:
        if sock.fileno() >= self._poller.most:
            sockets.refuse(sock, self._serving.busy)
            return
        channel = Channel(self, sock, self._serving.connect(address, now))
        channel.conn.driver = channel
        self._channels[channel.fd] = channel
        self._serving.slot.count(len(self._channels))
        self._serving.slot.counters.add(ACCEPTED)
        if self._draining:
            channel.conn.drain(now)
        self._again.append(channel)

    # ------------------------------------------------------------ orders

    def _take_signals(self, now: float) -> None:
        signals = self._serving.signals
        signals.read()
        self._leaving_soon = self._serving.slot.leaving_soon
        if self._leaving_soon or signals.draining:
            for channel in self._channels.values():
                channel.sync()
        if signals.draining and not self._draining:
            self._drain(now)

    def _drain(self, now: float) -> None:
        """Let in who waits already, close the door, answer what is asked."""
        self._draining = True
        self._serving.slot.leave()
        for found in self._acceptor.last():
            self.add(*found, now)
        for channel in self._channels.values():
            channel.conn.drain(now)
        self._again.extend(self._channels.values())


def serve(serving: Serving, poller: Poller) -> None:
    """Run an EventLoop on `poller` until the orders say stop."""
    loop = EventLoop(serving, poller)
    if isinstance(serving.calls, LoopHost):
        serving.calls.host(loop)
    else:
        loop.run()
