"""Connections of one request each, for `bench instructions`."""

from __future__ import annotations

import socket
import time
from typing import Any

from bench.request.instructions import COUNT, RECEIVE, WARM, WRK, answering, step

LAST = WRK[:-2] + b"Connection: close\r\n\r\n"


def arrive(**answers: Any) -> None:
    """Count a connection from accept to close, with its one request, which is there when it is accepted."""
    loop, poller, address = answering(False, **answers)
    silent = socket.create_server(("127.0.0.1", 0), backlog=WARM + COUNT)

    def nothing() -> None:
        with socket.create_connection(silent.getsockname()) as peer:
            peer.send(LAST)

    def one() -> bytes:
        with socket.create_connection(address) as peer:
            peer.send(LAST)
            peer.setblocking(False)
            while True:
                now = time.monotonic()
                for fd, event in poller.wait(0.0):
                    loop.handle(fd, event, now)
                loop.turn(now)
                try:
                    return peer.recv(RECEIVE)
                except BlockingIOError:
                    pass

    step("nothing", nothing)  # except what the peer does
    said = one()
    assert said.startswith(b"HTTP/1.1 200 OK\r\n"), said
    step("a connection and its one request", one)
