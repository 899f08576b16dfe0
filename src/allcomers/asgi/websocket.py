"""A WebSocket, as an ASGI app sees it (ASGI, HTTP & WebSocket Message Format, "WebSocket").

A `Talk` stands between the app's task and two connections, one after the other: until the app accepts, it is the Live
of the HTTP connection that the handshake came on; then the WebSocketConnection gives it messages and has its word sent.
send() returns when what was said has gone out as far as the connection's limit allows.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from typing import Any

from allcomers.asgi.host import Host, Message
from allcomers.asgi.messages import decoded, internal_error, is_of_leaving
from allcomers.asgi.scope import websocket_scope
from allcomers.connection import HIGH_WATER, Connection
from allcomers.errors import AnswerError, ClientGone
from allcomers.http_calls import Asker, Upgrade
from allcomers.protocol import websocket
from allcomers.protocol.handshake import Offer
from allcomers.protocol.message import Request, Response
from allcomers.signs import LATER, TAKEN
from allcomers.websocket_connection import WebSocketConnection

MESSAGE: int = 64
"""Bytes that a message counts for beside its own: a flood of empty ones has a limit too."""


class State(enum.Enum):
    """How far a talk has come."""

    NEW = "the app has not heard of it"
    ASKED = "the app is to accept or to refuse"
    REFUSING = "the app sends an HTTP answer"
    OPEN = "messages go both ways"
    CLOSED = "the app has closed it, or was told that it is closed"


class Talk:
    """One WebSocket: a Live, then the Talk of a WebSocketConnection; receive() and send() for the app."""

    hungry = False

    def __init__(self, host: Host, request: Request, asker: Asker, offer: Offer) -> None:
        self.ahead = 0
        self._host = host
        self._request = request
        self._asker = asker
        self._offer = offer
        self._state = State.NEW
        self._messages: deque[str | bytes] = deque()
        self._end: tuple[int, str] | None = None  # code and reason, once it is closed
        self._conn: WebSocketConnection | None = None
        self._response: Response | None = None  # of a refusal
        self._pieces: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._starting = False
        self._reply: Any = LATER
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ for the HTTP connection

    def start(self) -> Any:
        self._starting = True
        self._task = self._host.spawn(self._run(), timed=False)
        self._starting = False
        reply, self._reply = self._reply, LATER
        return reply

    def hear(self, piece: bytes, more: bool) -> None:
        raise AssertionError("a handshake has no body")

    def end(self) -> None:
        self.leave()

    def drain(self) -> None:
        """The app may still accept, and is then told; so nothing is to be done."""

    def leave(self) -> None:
        self.closed(1006, "")

    # ------------------------------------------------------------ for the WebSocketConnection

    def message(self, message: str | bytes) -> None:
        self._messages.append(message)
        self.ahead += len(message) + MESSAGE
        self._wake()

    def closed(self, code: int, reason: str) -> None:
        if self._end is None:
            self._end = (code, reason)
            self._host.desert(self._task)
        self._wake()

    def sent(self) -> None:
        self._wake()

    def _wake(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    async def _wait(self) -> None:
        future = self._host.events.create_future()
        self._waiting.append(future)
        await future

    # ------------------------------------------------------------ the app

    async def _run(self) -> None:
        request, offer = self._request, self._offer
        host = self._host
        scope = websocket_scope(request, host.root_path, host.state, offer.subprotocols)
        code = 1000
        try:
            await host.app(scope, self.receive, self.send)
            if self._state in (State.NEW, State.ASKED, State.REFUSING) and self._end is None:
                raise AnswerError("the app returned without accepting or refusing the WebSocket")
        except GeneratorExit:
            raise
        except BaseException as error:  # SystemExit too: one request does not stop a server
            if self._end is None or not is_of_leaving(error):
                host.report(error, request)
            code = 1011
        self._leave(code)

    def _leave(self, code: int) -> None:
        """The app is done with it."""
        if self._state is State.OPEN and self._end is None and self._conn is not None:
            self._conn.socket.close(code)
            self._tell()
        elif self._state in (State.NEW, State.ASKED, State.REFUSING):
            self._say(internal_error())
        self._state = State.CLOSED

    async def receive(self) -> Message:
        """websocket.connect, then each message, then websocket.disconnect."""
        if self._state is State.NEW:
            self._state = State.ASKED
            return {"type": "websocket.connect"}
        while not self._messages:
            if self._end is not None:
                self._state = State.CLOSED
                return {"type": "websocket.disconnect", "code": self._end[0], "reason": self._end[1]}
            await self._wait()
        message = self._messages.popleft()
        full = self.ahead >= HIGH_WATER
        self.ahead -= len(message) + MESSAGE
        if full or (self._conn is not None and self._conn.socket.held):
            self._tell()
        key = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", key: message}

    async def send(self, message: Message) -> None:
        """Raises ClientGone; AnswerError for a message that has no place here."""
        kind = message["type"]
        if self._end is not None:
            raise ClientGone("the WebSocket is closed")
        if self._state is State.OPEN:
            await self._speak(kind, message)
        elif self._state is State.ASKED and kind == "websocket.accept":
            self._accept(message)
        elif self._state is State.ASKED and kind == "websocket.close":
            self._refuse(Response(b"Forbidden\n", status=403, headers=[("Content-Type", "text/plain; charset=utf-8")]))
        elif self._state in (State.ASKED, State.REFUSING) and kind.startswith("websocket.http.response."):
            self._answer(kind, message)
        else:
            raise AnswerError(f"{kind!r} has no place here: {self._state.value}")

    def _accept(self, message: Message) -> None:
        host, limits = self._host, self._host.websocket
        assert limits is not None
        head, socket = websocket.accept(
            self._offer,
            max_size=limits.max_size,
            deflate=limits.deflate,
            subprotocol=message.get("subprotocol"),
            headers=decoded(message.get("headers", ())),
            own=host.server,
        )
        self._state = State.OPEN

        def connect(before: Connection, early: bytes, now: float) -> Connection:
            self._conn = WebSocketConnection(before, socket, self, host.limits, limits, early, now)
            return self._conn

        self._say(Upgrade(head, connect))

    def _refuse(self, response: Response) -> None:
        self._state = State.CLOSED
        self._end = (1006, "")
        self._say(response)

    def _answer(self, kind: str, message: Message) -> None:
        """The app's own refusal (extension websocket.http.response): sent when it is whole."""
        if kind == "websocket.http.response.start":
            self._response = Response(status=message["status"], headers=decoded(message.get("headers", ())))
            self._state = State.REFUSING
        elif kind == "websocket.http.response.body" and self._response is not None:
            self._pieces.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self._response.body = b"".join(self._pieces)
                self._refuse(self._response)
        else:
            raise AnswerError(f"{kind!r} has no place here: {self._state.value}")

    async def _speak(self, kind: str, message: Message) -> None:
        conn = self._conn
        if conn is None:  # accepted within start(): the connection follows when that returns
            await asyncio.sleep(0)
            conn = self._conn
            if conn is None:
                raise ClientGone("the WebSocket is closed")
        text, data = message.get("text"), message.get("bytes")
        if kind == "websocket.send" and text is not None:
            conn.socket.text(text)
        elif kind == "websocket.send" and data is not None:
            conn.socket.binary(bytes(data))
        elif kind == "websocket.close":
            self._state = State.CLOSED
            conn.socket.close(message.get("code", 1000), message.get("reason") or "")
        else:
            raise AnswerError(f"{kind!r} has no place here, or nothing in it: {self._state.value}")
        self._tell()
        while self._end is None and conn.codec.unsent > HIGH_WATER:
            await self._wait()

    def _say(self, reply: Any) -> None:
        if self._starting:
            self._reply = reply
        elif self._asker.driver is not None:
            self._asker.driver.said(reply)

    def _tell(self) -> None:
        """Something is to be sent, or there is room for more messages."""
        if self._conn is not None and self._conn.driver is not None:
            self._conn.driver.said(TAKEN)
