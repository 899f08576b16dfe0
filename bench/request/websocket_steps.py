"""WebSockets of an ASGI app, for `bench instructions`: a text that is echoed, and one that is sent to many clients."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from bench.request.instructions import RECEIVE, Spun, nothing_spun, step
from bench.request.websocket import ITEMS, TEXT, frame

CLIENTS: Final = 100
HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MESSAGE: Final = frame(TEXT, ITEMS[:70], False)
ANSWER: Final = bytes([0x80 | TEXT, 70]) + ITEMS[:70]


def upgraded(spun: Spun, peer: socket.socket) -> None:
    """Carry out the handshake of this peer."""
    peer.send(HANDSHAKE)
    spun.spin(spun.turn)
    spun.spin()
    said = peer.recv(RECEIVE)
    assert said.startswith(b"HTTP/1.1 101 "), said


def echo() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    spun = Spun(lambda events: app)
    upgraded(spun, spun.peer)

    def one() -> None:
        spun.peer.send(MESSAGE)
        spun.spin(spun.turn)
        assert spun.peer.recv(RECEIVE) == ANSWER

    nothing_spun(spun)
    step("a text echoed", one)


def handshake() -> None:
    """Count a WebSocket from accept to its end, with its handshake and no message."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    spun = Spun(lambda events: app)

    def one() -> None:
        with spun.connect() as peer:
            upgraded(spun, peer)
        spun.spin(spun.turn)
        spun.spin()

    def nothing() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.send(HANDSHAKE)
            theirs.recv(RECEIVE)
        for _ in range(5):
            spun.spin(int)

    step("nothing", nothing)
    step("a handshake", one)


def to_all() -> None:
    """Count a message for each client: the app sends it to all as the frameworks' examples do."""
    clients: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        clients.append(send)
        await receive()

    async def send_to_all(text: str) -> None:
        for send in clients:
            await send({"type": "websocket.send", "text": text})

    spun = Spun(lambda events: app)
    peers = [spun.peer, *(spun.connect() for _ in range(CLIENTS - 1))]
    for peer in peers:
        upgraded(spun, peer)
    text = ITEMS[:70].decode()

    def one() -> None:
        spun.events.run_until_complete(send_to_all(text))
        for peer in peers:
            assert peer.recv(RECEIVE) == ANSWER

    def nothing() -> None:
        spun.events.run_until_complete(asyncio.sleep(0))

    step("nothing", nothing, CLIENTS)
    step("a text to a client", one, CLIENTS)
