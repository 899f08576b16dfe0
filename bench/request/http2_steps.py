"""Requests over HTTP/2, for `bench instructions`: one stream at a time, and 16 at once (RFC 9113)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from bench.request.instructions import RECEIVE, answering, step

STREAMS = 16
NO_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


def requests(peer: socket.socket, streams: int, turn: Callable[[], object]) -> Callable[[], bytes]:
    """Return a function that sends so many requests at once, and returns the responses."""
    from allcomers.protocol.http2 import blocks, frames

    block = blocks.request_block("GET", "http", "127.0.0.1:8000", "/", [("user-agent", "h2load")])
    peer.send(frames.PREFACE + NO_SETTINGS + frames.window_update(0, 1 << 30))
    ids = count(1, 2)

    def one() -> bytes:
        heads = [struct.pack(">IBI", len(block) << 8 | 1, 5, next(ids)) for _ in range(streams)]
        peer.send(b"".join([head + block for head in heads]))
        turn()
        return peer.recv(RECEIVE)

    return one


def count_streams(**answers: Any) -> None:
    from allcomers.connection.http.http2.connection import Http2Connection

    ours, theirs = socket.socketpair()
    step("nothing", requests(ours, 1, lambda: theirs.send(theirs.recv(RECEIVE))))
    for streams in (1, STREAMS):
        loop, poller, address = answering(False, http2=Http2Connection, **answers)
        peer = socket.create_connection(address)

        def turn() -> None:
            for fd, event in poller.wait(1.0):  # noqa: B023
                loop.handle(fd, event, time.monotonic())  # noqa: B023
            loop.turn(time.monotonic())  # noqa: B023

        turn()
        one = requests(peer, streams, turn)
        one()  # the preface is answered, too
        said = one()
        assert b"Hello, World!" in said, said
        step(f"{streams} at once", one, streams)
