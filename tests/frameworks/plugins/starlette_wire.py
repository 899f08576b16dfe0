"""Starlette's TestClient over sockets: each request and each WebSocket goes to a server."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import ssl
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import anyio
import h11
import pytest
import starlette.testclient as testclient
import wire
import wsproto
import wsproto.events
from starlette.websockets import WebSocketDisconnect

httpx = testclient.httpx
_serial = itertools.count(1)
WAIT = 3.0
"""Seconds that a WebSocket's client waits for the server: a test that needs them has failed."""


@cache
def _certificate() -> tuple[str, ssl.SSLContext]:
    return wire.certificate(tempfile.mkdtemp(prefix="wire-"))


class Stage:
    """The servers of one client, a plain one and one with TLS. Each is started by the first request to it."""

    def __init__(self, app: Any, root_path: str) -> None:
        self.recorder = wire.Recorder(app)
        self.root_path = root_path
        self._servers: dict[bool, wire.ThreadServer] = {}

    def server(self, secure: bool, lifespan: str = "off") -> wire.ThreadServer:
        if secure not in self._servers:
            options = {"certfile": (_certificate()[0],)} if secure else {}
            server = wire.ThreadServer(
                self.recorder, interface="asgi", lifespan=lifespan, root_path=self.root_path, **options
            )
            server.start()
            self._servers[secure] = server
        return self._servers[secure]

    def stop(self) -> None:
        servers, self._servers = list(self._servers.values()), {}
        for server in servers:
            server.stop()


class WireTransport(httpx.BaseTransport):
    """Sends requests to the servers of a stage."""

    def __init__(self, stage: Stage, raise_server_exceptions: bool) -> None:
        self.stage = stage
        self.raises = raise_server_exceptions
        self._inner = httpx.HTTPTransport(verify=_certificate()[1])

    def close(self) -> None:
        self._inner.close()

    def handle_request(self, request: Any) -> Any:
        if request.url.scheme in ("ws", "wss"):
            raise testclient._Upgrade(WireSession(self.stage, request))
        name = str(next(_serial))
        server = self.stage.server(request.url.scheme == "https")
        asked = httpx.Request(
            request.method,
            request.url.copy_with(host=server.address[0], port=server.address[1], raw_path=self._target(request)),
            headers=[*request.headers.raw, (wire.MARK.encode(), name.encode())],
            stream=request.stream,
            extensions=request.extensions,
        )
        try:
            response = self._inner.handle_request(asked)
        except httpx.TransportError:
            self.settle(name)
            raise
        return httpx.Response(
            response.status_code,
            headers=[pair for pair in response.headers.raw if pair[0].lower() not in _SERVERS_OWN],
            stream=WireStream(self, name, response.stream),
            extensions=response.extensions,
            request=request,
        )

    def _target(self, request: Any) -> bytes:
        """Return the target as a proxy sends it that has mounted the app at root_path."""
        raw: bytes = request.url.raw_path
        root = self.stage.root_path.encode()
        return raw.removeprefix(root) if root and raw.startswith(root + b"/") else raw

    def settle(self, name: str) -> None:
        """Wait for the end of the app's call. Raises its exception."""
        error = wire.finished(self.stage.recorder.call(name))
        if error is not None and self.raises:
            raise error


_SERVERS_OWN = (b"date", b"server", b"connection", b"transfer-encoding")
"""Fields that a server adds, and a TestClient's response has not."""


class WireStream(httpx.SyncByteStream):
    def __init__(self, transport: WireTransport, name: str, inner: Any) -> None:
        self._transport = transport
        self._name = name
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except httpx.TransportError:
            self._transport.settle(self._name)
            raise

    def close(self) -> None:
        self._inner.close()
        self._transport.settle(self._name)


class WireSession:
    """A WebSocket, with the methods of Starlette's WebSocketTestSession."""

    def __init__(self, stage: Stage, request: Any) -> None:
        self._stage = stage
        self._request = request
        self._name = str(next(_serial))
        self._events: Iterator[Any] = iter(())
        self.accepted_subprotocol: str | None = None
        self.extra_headers: list[tuple[bytes, bytes]] | None = None

    # -------------------------------------------------------- opening

    def __enter__(self) -> WireSession:
        secure = self._request.url.scheme == "wss"
        server = self._stage.server(secure)
        self._sock = socket.create_connection(server.address[:2], timeout=WAIT)
        if secure:
            self._sock = _certificate()[1].wrap_socket(self._sock, server_hostname="localhost")
        try:
            self._shake_hands()
        except BaseException:
            self._sock.close()
            error = wire.finished(self._call())
            if error is not None:
                raise error from None
            raise
        return self

    def _call(self) -> wire.Call | None:
        return self._stage.recorder.call(self._name)

    def _shake_hands(self) -> None:
        hand = h11.Connection(h11.CLIENT)
        own = (b"connection", b"upgrade", b"sec-websocket-key")
        headers = [pair for pair in self._request.headers.raw if pair[0].lower() not in own]
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (wire.MARK.encode(), self._name.encode())]
        headers += [(b"Sec-WebSocket-Key", b64encode(os.urandom(16)))]  # TestClient's is none, by RFC 6455
        target = self._request.url.raw_path
        self._sock.sendall(hand.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
        self._sock.sendall(hand.send(h11.EndOfMessage()) or b"")
        answer = self._next(hand)
        if answer.status_code != 101:
            raise self._denied(hand, answer)
        heard = [(bytes(name), bytes(value)) for name, value in answer.headers.raw_items()]
        lowered = {name.lower(): value for name, value in heard}
        self.accepted_subprotocol = lowered.get(b"sec-websocket-protocol", b"").decode() or None
        known = (b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-protocol", b"date", b"server")
        self.extra_headers = [pair for pair in heard if pair[0].lower() not in known]
        self._frames = wsproto.Connection(wsproto.ConnectionType.CLIENT, trailing_data=hand.trailing_data[0])
        self._events = self._frames.events()  # frames may have come with the head

    def _next(self, hand: h11.Connection) -> Any:
        while (event := hand.next_event()) is h11.NEED_DATA:
            hand.receive_data(self._sock.recv(65536))
        return event

    def _denied(self, hand: h11.Connection, answer: Any) -> Exception:
        body = b""
        while isinstance(event := self._next(hand), h11.Data):
            body += event.data
        headers = [pair for pair in answer.headers if pair[0].lower() not in _SERVERS_OWN]
        if answer.status_code == 403 and not body.strip().removeprefix(b"Forbidden"):
            return WebSocketDisconnect(code=1000)
        return testclient.WebSocketDenialResponse(answer.status_code, headers=headers, content=body)

    # -------------------------------------------------------- messages

    def send(self, message: Any) -> None:
        kind = message["type"]
        if kind == "websocket.disconnect":
            event: Any = wsproto.events.CloseConnection(message.get("code", 1000), message.get("reason"))
        elif message.get("text") is not None:
            event = wsproto.events.TextMessage(message["text"])
        else:
            event = wsproto.events.BytesMessage(message["bytes"])
        self._sock.sendall(self._frames.send(event))

    send_text = testclient.WebSocketTestSession.send_text
    send_bytes = testclient.WebSocketTestSession.send_bytes
    send_json = testclient.WebSocketTestSession.send_json
    close = testclient.WebSocketTestSession.close
    receive_text = testclient.WebSocketTestSession.receive_text
    receive_bytes = testclient.WebSocketTestSession.receive_bytes
    receive_json = testclient.WebSocketTestSession.receive_json
    _raise_on_close = testclient.WebSocketTestSession._raise_on_close

    def receive(self) -> Any:
        whole: Any = None
        while True:
            for event in self._events:
                if isinstance(event, wsproto.events.CloseConnection):
                    if self._frames.state is wsproto.connection.ConnectionState.REMOTE_CLOSING:
                        self._sock.sendall(self._frames.send(event.response()))
                    error = wire.finished(self._call(), 1.0)
                    if error is not None:
                        raise error
                    return {"type": "websocket.close", "code": event.code, "reason": event.reason or ""}
                if isinstance(event, wsproto.events.Ping):
                    self._sock.sendall(self._frames.send(event.response()))
                elif isinstance(event, wsproto.events.TextMessage | wsproto.events.BytesMessage):
                    whole = event.data if whole is None else whole + event.data
                    if event.message_finished:
                        kind = "text" if isinstance(event, wsproto.events.TextMessage) else "bytes"
                        return {"type": "websocket.send", kind: whole}
            data = self._sock.recv(65536)
            if not data:
                error = wire.finished(self._call())
                raise error or anyio.EndOfStream
            self._frames.receive_data(data)
            self._events = self._frames.events()

    # -------------------------------------------------------- end

    def __exit__(self, *raised: Any) -> None:
        try:
            if self._frames.state is wsproto.connection.ConnectionState.OPEN:
                self.close()
        except OSError:
            pass  # it was closed from there
        error = wire.finished(self._call(), 1.0)
        self._sock.close()
        if error is None:
            error = wire.finished(self._call(), 1.0)
        if error is not None and not isinstance(error, WebSocketDisconnect | OSError):
            raise error


class WireClient(testclient.TestClient):
    """A TestClient that uses a server."""

    __test__ = False

    def __init__(
        self,
        app: Any,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        backend: Literal["asyncio", "trio"] = "asyncio",
        backend_options: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(app, base_url, raise_server_exceptions, root_path, backend, backend_options, **others)
        self.stage = Stage(self.app, root_path)
        self._transport = WireTransport(self.stage, raise_server_exceptions)
        _clients.append(self)

    def __enter__(self) -> WireClient:
        try:
            server = self.stage.server(self.base_url.scheme == "https", "auto")
        except Exception:
            error = wire.finished(self.stage.recorder.lifespan, 1.0)
            if error is not None:
                raise error from None
            raise
        if self.stage.recorder.lifespan.error is not None:
            self.stage.stop()
            raise self.stage.recorder.lifespan.error
        self.app_state.update(server.state)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._transport.close()
        self.stage.stop()
        error = wire.finished(self.stage.recorder.lifespan, 1.0)
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise error

    def end(self) -> None:
        self._transport.close()
        self.stage.stop()


_clients: list[WireClient] = []

testclient.TestClient = WireClient  # type: ignore[misc]


@pytest.fixture(autouse=True)
def _clients_end() -> Iterator[None]:
    yield
    clients, _clients[:] = list(_clients), []
    for client in clients:
        client.end()
