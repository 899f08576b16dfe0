"""A WebSocket's peer: what follows on an HTTP connection whose answer was 101 (RFC 6455).

One call runs from the handshake to the end, the app's: messages go to it as they come, and what it says goes out. So
this connection is in the phase CALLED until it closes. It is DUE where more was heard at once than one turn looks at.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from allcomers.config.limits import Limits, WebSocketLimits
from allcomers.connection.base import CALLED, CLOSED, CLOSING, DUE, FAREWELL, HIGH_WATER, Connection, Work
from allcomers.protocol.websocket.session import Closed, Event, WebSocket

CLOSE_TIMEOUT: Final = 10.0
"""Seconds that a peer has to answer our Close frame with its own. Precedent: the package websockets."""

RESTART: Final = 1012
"""The code with which a server that stops says good-bye: the client may come again (IANA: Service Restart)."""

NO_PONG: Final = 1011


class WebSocketApp(Protocol):
    """The app's side.

    ahead  int: bytes of messages that it was given and has not taken
    """

    ahead: int

    def message(self, message: str | bytes) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...
    def sent(self) -> None:
        """All that was said has gone out."""
        ...


class WebSocketConnection(Connection):
    """One peer, and the WebSocketApp that its messages go to.

    socket  what the WebSocketApp speaks through; it tells the driver that it has
    """

    __slots__ = ("_closing", "_due", "_own", "_talk", "socket")

    def __init__(
        self,
        before: Connection,
        socket: WebSocket,
        talk: WebSocketApp,
        limits: Limits,
        own: WebSocketLimits,
        early: bytes,
        now: float,
    ) -> None:
        super().__init__(limits, (before.peer, before.port, before.server), None, now, before.counters)
        self.socket = socket
        self._talk = talk
        self._own = own
        self._closing = False  # have we said that we close?
        self._due = self._next_ping(now)
        self._queued = True  # _flush_done is to be called, always
        self._called = True
        self.codec = before.codec
        self.phase = CALLED
        if early:
            self._receive_plain(early, now)
        else:
            self._continue(now)  # the app may have spoken, or ended, already
        if before._ended:
            self._ended = True
            self._receive_end(now)
        if before._leaving:
            self.drain(now)
        self._settle(now)

    # ------------------------------------------------------------ what the peer says

    def _receive_plain(self, data: bytes, now: float) -> None:
        if not self._closing:
            self._due = self._next_ping(now)
        self._act(self.socket.feed(data), now)

    def _receive_end(self, now: float) -> None:
        self._act(self.socket.feed(b""), now)

    def _act(self, events: list[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Closed):
                self._talk.closed(event.code, event.reason)
            else:
                self._talk.message(event)
        self._continue(now)

    def _continue(self, now: float) -> None:
        """Queue what there is to say; is there more to look at?"""
        for data in self.socket.data_to_send():
            self.codec.push(data)
        if self.phase is CLOSING or self.phase is CLOSED:
            return
        if self.socket.over:
            self.close(now, linger=True)
            return
        if not self.socket.open and not self._closing:
            self._closing = True
            self._due = now + CLOSE_TIMEOUT
        self.phase = DUE if self.socket.held and self._talk.ahead < HIGH_WATER else CALLED

    def _buffered(self) -> int:
        return self._talk.ahead + self.socket.held

    def _take_work(self) -> Work:
        self.phase = CALLED
        return self.socket.go_on

    def _answered(self, reply: list[Event], now: float) -> None:
        self._act(reply, now)

    # ------------------------------------------------------------ what the app says

    def _consumed(self, now: float) -> None:
        self._continue(now)

    def _flush_done(self, now: float) -> None:
        self._talk.sent()

    # ------------------------------------------------------------ time, and the end

    def _call_deadline(self) -> float:
        return self._due

    def _next_ping(self, now: float) -> float:
        return now + self._own.ping_interval if self._own.ping_interval else math.inf

    def _expire(self, now: float) -> None:
        if self._writing or self.phase is CLOSING or self._closing:
            self.lost(now)  # it does not read, or does not answer our Close
        elif self.socket.awaits_pong:
            self.socket.fail(NO_PONG, "no pong in time")
            self._talk.closed(NO_PONG, "no pong in time")
            self._continue(now)
        else:
            self.socket.ping()
            self._due = now + self._own.ping_timeout
            self._continue(now)

    def drain(self, now: float, patience: float = FAREWELL) -> None:
        if patience == FAREWELL and self.socket.open:  # it is not idle: who waits for a place does not get this one
            self.socket.close(RESTART)
            self._continue(now)
        super().drain(now, patience)

    def lost(self, now: float) -> None:
        self._talk.closed(1006, "")
        super().lost(now)
