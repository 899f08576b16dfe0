"""Bodies of requests, for `bench instructions`: with their heads, behind them, after 100 Continue, in chunks."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from bench.request.instructions import BODY, RECEIVE, WRK, answering, answers_of, hello, step


def post_head(fields: str) -> bytes:
    return f"POST / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n{fields}\r\n\r\n".encode()


MEASURED = post_head("Content-Length: 4096")
UPLOADS = {
    "4 KB in one packet with its head": [MEASURED + BODY],
    "4 KB in a second packet": [MEASURED, BODY],
    "4 KB after 100 Continue": [post_head("Content-Length: 4096\r\nExpect: 100-continue"), BODY],
    "4 KB in a chunk, in one packet": [post_head("Transfer-Encoding: chunked") + b"1000\r\n%b\r\n0\r\n\r\n" % BODY],
    "64 KB in 16 packets, a chunk each": [
        post_head("Transfer-Encoding: chunked"),
        *[b"1000\r\n%b\r\n" % BODY] * 15,
        b"1000\r\n%b\r\n0\r\n\r\n" % BODY,
    ],
}
"""What a client sends, packet by packet."""


def upload(spun: Callable[[Callable[[], object]], object], **answers: Any) -> None:
    """Count each of the UPLOADS; `spun` has a turn of the loop taken."""
    ours, theirs = socket.socketpair()

    def nothing() -> None:
        ours.send(WRK)
        theirs.recv(RECEIVE)

    step("nothing", nothing)
    for name, packets in UPLOADS.items():
        loop, poller, address = answering(False, **answers)
        peer = socket.create_connection(address)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each packet is there when it is sent

        def turn() -> None:
            for fd, event in poller.wait(0.0):  # noqa: B023
                loop.handle(fd, event, time.monotonic())  # noqa: B023
            loop.turn(time.monotonic())  # noqa: B023

        def one() -> bytes:
            for packet in packets:  # noqa: B023
                peer.send(packet)  # noqa: B023
                spun(turn)
            said = peer.recv(RECEIVE)  # noqa: B023
            return said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")

        spun(turn)
        said = one()
        assert said.startswith(b"HTTP/1.1 200 OK\r\n"), said
        step(name, one)


def upload_wsgi() -> None:
    from allcomers.apps.wsgi import app as wsgi

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    upload(lambda turn: turn(), handler=wsgi.handler(app, report=print, inline=True))


def upload_asgi() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        head = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"Hello, World!"})

    events = asyncio.new_event_loop()

    def spun(turn: Callable[[], object]) -> None:
        """Take a turn, and then one for the app, which has what it waited for."""
        for action in (turn, int):
            events.call_soon(action)
            events.call_soon(events.stop)
            events.run_forever()

    upload(spun, **answers_of(app, events))
