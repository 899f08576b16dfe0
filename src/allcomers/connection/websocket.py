"""A WebSocket's peer: the successor of an HTTP connection whose response was 101 (RFC 6455).

One call runs from the handshake to the end, the app's: messages go to it as they come, and what it sends goes out. So
this connection is in the phase CALLED until it closes. It is DUE where more was received at once than one turn reads.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from allcomers.config.limits import Limits, WebSocketLimits
from allcomers.connection.base import CALLED, CLOSED, CLOSING, DUE, FAREWELL, HIGH_WATER, Connection
from allcomers.connection.call import Call
from allcomers.protocol.websocket.session import Closed, Event, WebSocket

CLOSE_TIMEOUT: Final = 10.0
"""Seconds that a peer has to answer our Close frame with its own. Precedent: the package websockets."""

RESTART: Final = 1012
"""The close code of a server that stops: the client may come again (IANA: Service Restart)."""

NO_PONG: Final = 1011


class WebSocketApp(Protocol):
    """The app's side.

    ahead  int: bytes of messages that it was given and has not consumed
    """

    ahead: int

    def message(self, message: str | bytes) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...
    def sent(self) -> None:
        """Note that all that was queued has gone out."""
        ...


class WebSocketConnection(Connection):
    """One peer, and the WebSocketApp that its messages go to.

    socket  what the WebSocketApp writes to; it reports that to the driver
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
        super().__init__(limits, before.address, None, now, before.counters)
        self.socket = socket
        self._talk = talk
        self._own = own
        self._closing = False  # we have sent, or queued, a Close frame
        self._due = self._next_ping(now)
        before.replace_with(self, now)
        self.phase = CALLED
        if early:
            self._receive_plain(early, now)
        else:
            self._continue(now)  # the app may have sent something, or ended, already
        if self._ended:
            self._receive_end(now)
        if self._leaving:
            self._leaving = False
            self.drain(now)
        self._settle(now)

    # ------------------------------------------------------------ what the peer sends

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
        """Queue what the socket has to send; be DUE if it holds more to read."""
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

    def _take_call(self) -> Call:
        self.phase = CALLED
        return self.socket.go_on

    def _may_call(self) -> bool:
        return self.codec.unsent < HIGH_WATER

    def _answered(self, call: Call | None, reply: list[Event], now: float) -> None:
        self._act(reply, now)

    # ------------------------------------------------------------ what the app sends

    def _consumed(self, now: float) -> None:
        self._continue(now)

    def _end_writing(self, now: float) -> None:
        super()._end_writing(now)
        self._talk.sent()

    # ------------------------------------------------------------ time, and the end

    def _call_deadline(self) -> float:
        return self._due

    def _next_ping(self, now: float) -> float:
        return now + self._own.ping_interval if self._own.ping_interval else math.inf

    def _expire(self, now: float) -> None:
        if self.codec.pending or self.phase is CLOSING or self._closing:
            self.lost(now)  # it does not read, or does not answer our Close frame
        elif self.socket.awaits_pong:
            self.socket.fail(NO_PONG, "no pong in time")
            self._talk.closed(NO_PONG, "no pong in time")
            self._continue(now)
        else:
            self.socket.ping()
            self._due = now + self._own.ping_timeout
            self._continue(now)

    def drain(self, now: float, patience: float = FAREWELL) -> None:
        if patience == FAREWELL and self.socket.open:  # it is not idle: another that waits does not get this place
            self.socket.close(RESTART)
            self._continue(now)
        super().drain(now, patience)

    def lost(self, now: float) -> None:
        self._talk.closed(1006, "")
        super().lost(now)
