"""A WebSocket, as an ASGI app sees it (ASGI, HTTP & WebSocket Message Format, "WebSocket").

A `WebSocketCall` stands between the app's task and two connections, one after the other: until the app accepts, it is
the AsyncCall of the HTTP connection that the handshake came on; then the WebSocketConnection gives it messages and
sends its own. send() returns when no more is unsent than the connection's limit allows.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable
from typing import Any, Final

from allcomers.apps.asgi.call.messages import Message, decoded
from allcomers.apps.asgi.call.response_writer import DONE
from allcomers.apps.asgi.call.waiters import Step, Waiters
from allcomers.apps.asgi.http import HttpCall
from allcomers.apps.asgi.runtime import AsgiRuntime
from allcomers.apps.asgi.scope import Scope, websocket_scope
from allcomers.connection.base import HIGH_WATER, Connection
from allcomers.connection.call import CONSUMED, PENDING
from allcomers.connection.http.async_call import Asker, Upgrade
from allcomers.connection.http.response_head import internal_error, plain_response
from allcomers.connection.websocket import RESTART, WebSocketConnection
from allcomers.errors import AnswerError, ClientGone
from allcomers.protocol.message import Request, title
from allcomers.protocol.websocket import session
from allcomers.protocol.websocket.handshake import Offer
from allcomers.protocol.websocket.session import WebSocket

MESSAGE: int = 64
"""Bytes that a message counts for beside its own: a flood of empty ones has a limit too."""

_ABNORMAL: Final = 1006
_NORMAL: Final = 1000
_FAILED: Final = 1011


class State(enum.Enum):
    """The state of a WebSocket, by the messages that its app may send.

    websocket.connect is no state: receive() returns it first, and an app may send before it calls receive().
    """

    CONNECTING = "the app is to accept or to refuse"
    REFUSING = "the app sends an HTTP response"
    OPEN = "messages go both ways"
    CLOSED = "the app has closed it, or knows that it is closed"


DENIALS: Final = (
    (State.CONNECTING, "websocket.http.response.start"),
    (State.REFUSING, "websocket.http.response.body"),
)
"""The states in which messages of an app's own refusal have their place (extension websocket.http.response)."""


class WebSocketCall:
    """One WebSocket: an AsyncCall, then the WebSocketApp of a WebSocketConnection; receive() and send() for the app."""

    __slots__ = (
        "_asker", "_conn", "_connect_sent", "_denial", "_end", "_first", "_messages", "_next", "_offer", "_request",
        "_runtime", "_socket", "_state", "_task", "_waiters", "ahead",
    )  # fmt: skip
    hungry = False

    def __init__(self, runtime: AsgiRuntime, request: Request, asker: Asker, offer: Offer) -> None:
        self.ahead = 0
        self._runtime = runtime
        self._request = request
        self._asker: Asker | None = asker  # until the WebSocket is open: it has all of the HTTP connection
        self._offer: Offer | None = offer  # until the app has accepted
        self._state = State.CONNECTING
        self._connect_sent = False
        self._messages: list[str | bytes] = []  # few, by MESSAGE; an empty deque has 760 bytes
        self._end: tuple[int, str] | None = None  # code and reason, once it is closed
        self._socket: WebSocket | None = None  # once the app has accepted
        self._conn: WebSocketConnection | None = None  # once start() has returned, too
        self._denial: HttpCall | None = None  # the app's own refusal (extension websocket.http.response)
        self._waiters = Waiters()
        self._next = Step(runtime.events)  # which a receive() waits for
        self._first: Any = PENDING  # what start() is to return; None once it has
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ for the HTTP connection

    def start(self) -> Any:
        self._task = self._runtime.spawn(self._run(), timed=False)
        first, self._first = self._first, None
        return first

    def hear(self, piece: bytes, more: bool) -> None:
        raise AssertionError("a handshake has no body")

    def end(self) -> None:
        self.leave()

    def drain(self) -> None:
        """Turn away a client that has no response yet: it may come again, as one that is connected may."""
        self._runtime.events.call_soon(self._turn_away)

    def _turn_away(self) -> None:
        if self._state is State.CONNECTING and self._end is None:
            self.closed(RESTART, "")
            self._post(plain_response(503, "The server is about to stop."))

    def leave(self) -> None:
        if self._denial is not None:
            self._denial.leave()
        self.closed(_ABNORMAL, "")

    # ------------------------------------------------------------ for the WebSocketConnection

    def message(self, message: str | bytes) -> None:
        self._messages.append(message)
        self.ahead += len(message) + MESSAGE

    def look(self, at_once: bool) -> None:
        if at_once:
            self._next.wake_now()
        else:
            self._next.wake()
        self._waiters.wake()

    def closed(self, code: int, reason: str) -> None:
        if self._end is None:
            self._end = (code, reason)
            self._conn = None  # which has this call: a circle is garbage for the collector alone
            self._runtime.orphan(self._task, title(self._request))
        self.look(False)

    def sent(self) -> None:
        self._waiters.wake()

    # ------------------------------------------------------------ the app

    @property
    def _is_closed(self) -> bool:
        """Whether either side has closed it."""
        return self._end is not None or self._state is State.CLOSED

    async def _run(self) -> None:
        runtime = self._runtime
        code = _NORMAL
        try:
            await runtime.app(self._scope(), self.receive, self.send)  # no name keeps what it drops
            if self._state in (State.CONNECTING, State.REFUSING) and self._end is None:
                raise AnswerError("the app returned without accepting or refusing the WebSocket")
        except GeneratorExit:
            raise
        except BaseException as error:  # SystemExit too: one request does not stop a server
            runtime.report_failure(error, self._request, self._is_closed)
            code = _FAILED
        await self._leave(code)

    def _scope(self) -> Scope:
        assert self._offer is not None
        return websocket_scope(self._request, self._runtime.root_path, self._runtime.state, self._offer.subprotocols)

    async def _leave(self, code: int) -> None:
        """Close it behind the app, perhaps within start(): then the connection that follows finds it closed."""
        if self._state is State.OPEN and self._end is None and self._socket is not None:
            self._socket.close(code)
            self._report_progress()
        elif self._state is State.CONNECTING:
            self._post(internal_error())
        elif self._denial is not None and self._denial.response.state is not DONE:
            await self._denial.fail(internal_error())
        self._state = State.CLOSED

    async def receive(self) -> Message:
        """Return websocket.connect, then each message, then websocket.disconnect."""
        if not self._connect_sent:
            self._connect_sent = True
            return {"type": "websocket.connect"}
        while not self._messages:
            if self._end is not None:
                self._state = State.CLOSED
                return {"type": "websocket.disconnect", "code": self._end[0], "reason": self._end[1]}
            if self._next.is_awaited:  # by another task of the app
                await self._waiters.wait(self._runtime.events)
            else:
                await self._next
        message = self._messages.pop(0)
        full = self.ahead >= HIGH_WATER
        self.ahead -= len(message) + MESSAGE
        if full or (self._conn is not None and self._conn.socket.held):
            self._report_progress()
        key = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", key: message}

    async def send(self, message: Message) -> None:
        """Send a message. Raises ClientGone; AnswerError for one that has no place here."""
        kind = message["type"]
        if self._is_closed:
            raise ClientGone("the WebSocket is closed")
        if self._state is State.OPEN:
            self._send_open(kind, message)
            conn = self._conn
            if conn is None or conn.codec.unsent > HIGH_WATER:
                await self._wait_for_room()
        elif self._state is State.CONNECTING and kind == "websocket.accept":
            self._accept(message)
        elif self._state is State.CONNECTING and kind == "websocket.close":
            self._state = State.CLOSED
            self._end = (_ABNORMAL, "")
            self._post(plain_response(403, "Forbidden"))
            self.look(False)
        elif (self._state, kind) in DENIALS:
            await self._deny(kind, message)
        else:
            raise AnswerError(f"{kind!r} has no place here: {self._state.value}")

    def _accept(self, message: Message) -> None:
        runtime, limits = self._runtime, self._runtime.websocket
        assert limits is not None
        assert self._offer is not None
        head, socket = session.accept(
            self._offer,
            max_size=limits.max_size,
            deflate=limits.deflate,
            subprotocol=message.get("subprotocol") or None,
            headers=decoded(message.get("headers") or ()),
            server=runtime.server,
        )
        self._state = State.OPEN
        self._socket = socket

        def connect(before: Connection, early: bytes, now: float) -> Connection:
            self._conn = WebSocketConnection(before, socket, self, runtime.limits, limits, early, now)
            self._asker = self._offer = None
            _drop_fields(self._request)
            return self._conn

        self._post(Upgrade(head, connect))

    async def _deny(self, kind: str, message: Message) -> None:
        """Send a part of the app's own refusal (extension websocket.http.response), as any response of HTTP."""
        if self._denial is None:
            assert self._asker is not None
            self._denial = HttpCall(self._runtime, self._request, Denier(self._asker, self._post), {})
            self._denial.adopt(None, None)
        await self._denial.send({**message, "type": kind.removeprefix("websocket.")})
        self._state = State.REFUSING
        if self._denial.response.state is DONE:
            self._state = State.CLOSED
            self._end = (_ABNORMAL, "")
            self.look(False)

    def _send_open(self, kind: str, message: Message) -> None:
        socket, conn = self._socket, self._conn
        assert socket is not None
        text, data = message.get("text"), message.get("bytes")
        if kind == "websocket.send" and text is not None:
            socket.text(text)
        elif kind == "websocket.send" and data is not None:
            socket.binary(bytes(data))
        elif kind == "websocket.close":
            self._state = State.CLOSED
            code = message.get("code")
            socket.close(_NORMAL if code is None else code, message.get("reason") or "")
        else:
            raise AnswerError(f"{kind!r} has no place here, or nothing in it: {self._state.value}")
        if conn is None or not conn.flush():
            self._report_progress()

    async def _wait_for_room(self) -> None:
        """Wait until no more than HIGH_WATER is unsent."""
        if self._conn is None:  # accepted within start(): the connection follows when that returns
            await asyncio.sleep(0)
        while self._end is None and self._conn is not None and self._conn.codec.unsent > HIGH_WATER:
            await self._waiters.wait(self._runtime.events)

    def _post(self, output: Any) -> bool:
        if self._first is not None:
            self._first = output
        elif self._asker is not None and self._asker.driver is not None:
            return self._asker.driver.said(output)
        return False

    def _report_progress(self) -> None:
        """Report that something is queued to be sent, or that there is room for more messages."""
        if self._conn is not None and self._conn.driver is not None:
            self._conn.driver.said(CONSUMED)


def _drop_fields(request: Request) -> None:
    """Drop the header fields of a handshake: its scope has them, and they are a quarter of a WebSocket's memory."""
    request.lines = None
    made = ("fields", "named", "headers")
    request.__dict__ = {name: value for name, value in vars(request).items() if name not in made}  # a smaller one


class Denier:
    """The Asker of a refusal: its outputs go through the WebSocketCall, whose start() may have to return them."""

    def __init__(self, asker: Asker, post: Callable[[Any], bool]) -> None:
        self._asker = asker
        self.said = post

    @property
    def driver(self) -> Any:
        return self if self._asker.driver is not None else None

    def hint(self, links: Iterable[bytes]) -> None:
        self._asker.hint(links)
