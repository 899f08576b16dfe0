"""A WebSocket's peer: the successor of an HTTP connection whose response was 101 (RFC 6455).

One call runs from the handshake to the end, the app's: messages go to it as they come, and what it sends goes out. So
this connection is in the phase CALLED until it closes. It is DUE where more was received at once than one turn reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

from allcomers.config.limits import Limits, WebSocketLimits
from allcomers.connection.base import (
    CALLED,
    CLOSED,
    CLOSING,
    DUE,
    FAREWELL,
    HIGH_WATER,
    READ,
    RUNNING,
    Connection,
    count_held,
)
from allcomers.connection.call import FAILED, Call, CallStatus
from allcomers.connection.progress import Progress
from allcomers.protocol.body import UNCOUNTED
from allcomers.protocol.websocket.session import Closed, Event, WebSocket
from allcomers.system.counters import BYTES_IN, BYTES_OUT

CLOSE_TIMEOUT: Final = 10.0
"""Seconds that a peer has to answer our Close frame with its own. Precedent: the package websockets."""

RESTART: Final = 1012
"""The close code of a server that stops: the client may come again (IANA: Service Restart)."""

NO_PONG: Final = 1011

TOO_SLOW: Final = 1008
"""The close code for a message that has begun and comes too slowly: it violates a policy (RFC 6455, 7.4.1)."""

TOO_MUCH_HELD: Final = 1013
"""The close code where all peers hold too much: the client may come again (IANA: Try Again Later). Not 1009, which says
that the message is too big whenever it comes."""


class WebSocketApp(Protocol):
    """The app's side.

    ahead  int: bytes of messages that it was given and has not consumed
    """

    ahead: int

    def message(self, message: str | bytes) -> None:
        """Take a message; look() follows."""
        ...

    def look(self, at_once: bool) -> None:
        """Look at the messages: within this call, where `at_once`, or soon."""
        ...

    def closed(self, code: int, reason: str) -> None: ...
    def sent(self) -> None:
        """Note that all that was queued has gone out."""
        ...


class WebSocketConnection(Connection):
    """One peer, and the WebSocketApp that its messages go to.

    socket  what the WebSocketApp writes to; it reports that to the driver
    """

    __slots__ = ("_begun", "_closing", "_control", "_due", "_own", "_talk", "socket")

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
        super().__init__(limits, before.address, None, now, before.counters, before._ledger)
        self.socket = socket
        self._begun: Progress | None = None  # of the message that has begun
        self._control = 0  # bytes of control frames that were counted
        self._talk = talk
        self._own = own
        self._closing = False  # we have sent, or queued, a Close frame
        self._due = _next_ping(self._own, now)
        before.replace_with(self, now)
        self.phase = CALLED
        if early:
            self._receive_plain(early, now)
        else:
            self._continue(now)  # the app may have sent something, or ended, already
        if self._ended:
            self._receive_end(now)
        if self.leaving:
            self.leaving = False
            self.drain(now)
        self._settle(now)

    # ------------------------------------------------------------ what the peer sends

    def received(self, data: bytes, now: float) -> None:
        if not self._receive_message(data, now):
            super().received(data, now)

    def received_and_called(
        self, data: bytes, now: float, run: Callable[[Call], Any], clock: Callable[[], float]
    ) -> float:
        return now if self._receive_message(data, now) else super().received_and_called(data, now, run, clock)

    def _receive_message(self, data: bytes, now: float) -> bool:
        """Receive `data` that is a message and no more, while this is at rest. Return whether it was.

        PERF: then what is wanted stays as it is, and no step looks at it: a third of the instructions of an echo
        (python -m bench instructions --kinds websocket)."""
        if self.wants != READ | RUNNING or self._held or not self.codec.is_clear or not self.socket.is_at_rest:
            return False
        message = self.socket.message_of(data)
        if message is None:
            return False
        self.counters.add(BYTES_IN, len(data))
        self._due = self.deadline = _next_ping(self._own, now)
        self._talk.message(message)
        if self._talk.ahead > UNCOUNTED or not self.socket.is_at_rest:
            self._continue(now)
            self._settle(now)
        self._talk.look(True)  # last: what the app does may be reported before this returns
        return True

    def _receive_plain(self, data: bytes, now: float) -> None:
        if not self._closing:
            self._due = _next_ping(self._own, now)
        events = self.socket.feed(data)
        self._note_progress(len(data), bool(events), now)
        self._act(events, now)

    def _note_progress(self, size: int, is_another: bool, now: float) -> None:
        """Count `size` bytes of the message that has begun; `is_another`: the one before has ended with these.

        Control frames within it are none of it: answering pings is no progress."""
        control, self._control = self.socket.control - self._control, self.socket.control
        if not self.socket.under_way:
            self._begun = None
        elif self._begun is None or is_another:
            self._begun = Progress(now, False)
        else:
            self._begun.moved += size - control

    def _receive_end(self, now: float) -> None:
        self._act(self.socket.feed(b""), now)

    def _act(self, events: list[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Closed):
                self._talk.closed(event.code, event.reason)
            else:
                self._talk.message(event)
        if events:
            self._talk.look(False)
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

    def _answered(self, call: Call | None, reply: list[Event] | Literal[CallStatus.FAILED], now: float) -> None:
        if reply is FAILED:
            self.lost(now)
            return
        self._note_progress(0, bool(reply), now)
        self._act(reply, now)

    # ------------------------------------------------------------ what the app sends

    def flush(self) -> bool:
        """Send at once what the socket has to send, where nothing waits before it. Return whether all has gone out.

        PERF: then nothing else has changed, neither what is wanted nor the deadline: no step looks at them, which took
        a half of the instructions of a message to many clients (python -m bench instructions --kinds broadcast).
        """
        driver, codec = self.driver, self.codec
        if driver is None or self.phase is not CALLED or codec.pending or not self.socket.open:
            return False
        data = b"".join(self.socket.data_to_send())
        sealed = b""
        try:
            if len(data) <= HIGH_WATER:  # more would be sealed at once, while others wait
                sealed = codec.seal(data)
        except OSError:
            pass  # it is met again
        if not sealed:
            codec.push(data)
            return False
        count = driver.send_now(sealed)
        self.counters.add(BYTES_OUT, count)
        if count == len(sealed):
            return True
        codec.keep(sealed[count:])
        return False

    def _consumed(self, call: object, now: float) -> None:
        self._continue(now)

    def _end_writing(self, now: float) -> None:
        super()._end_writing(now)
        self._talk.sent()

    # ------------------------------------------------------------ time, and the end

    def _settle(self, now: float) -> None:
        begun, has_read = self._begun, self.wants & READ
        super()._settle(now)
        if begun is None or self.phase is not CALLED:
            return
        if self.wants & READ:
            if not has_read:
                begun.pause(now, 0.0)  # its slowness counts while it is read: the rest was the app's
            self.deadline = min(self.deadline, begun.deadline)
        if not self._held:
            count_held(self)

    def _memory(self) -> int:
        return self._buffered() + self.socket.under_way

    def _call_deadline(self) -> float:
        return self._due

    def expired(self, now: float, held: int = 0) -> None:
        begun = self._begun
        if begun is not None and now >= begun.deadline and self.wants & READ and self.socket.open:
            if not begun.keeps(self._limits.min_rate, now, 0):
                self._fail(TOO_SLOW, "a message comes too slowly", now)
            self._settle(now)
        super().expired(now, held)

    def _expire(self, now: float) -> None:
        if self.codec.pending or self.phase is CLOSING or self._closing:
            self.lost(now)  # it does not read, or does not answer our Close frame
        elif self.socket.awaits_pong:
            self._fail(NO_PONG, "no pong in time", now)
        else:
            self.socket.ping()
            self._due = now + self._own.ping_timeout
            self._continue(now)

    def _fail(self, code: int, reason: str, now: float) -> None:
        """Close it, without a wait for the peer's Close frame."""
        self.socket.fail(code, reason)
        self._begun = None
        self._talk.closed(code, reason)
        self._continue(now)

    def cut(self, now: float) -> None:
        if self.codec.pending or not self.socket.open:
            self.lost(now)
        else:
            self._fail(TOO_MUCH_HELD, "too much is held for other clients", now)
            self._settle(now)

    def drain(self, now: float, patience: float = FAREWELL) -> None:
        if patience == FAREWELL and self.socket.open:  # it is not idle: another that waits does not get this place
            self.socket.close(RESTART)
            self._continue(now)
        super().drain(now, patience)

    def lost(self, now: float) -> None:
        self._talk.closed(1006, "")
        super().lost(now)


def _next_ping(limits: WebSocketLimits, now: float) -> float:
    return now + limits.ping_interval if limits.ping_interval else math.inf
