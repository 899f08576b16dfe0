"""The memory of an idle client of HTTP/2: tables are made when they are needed, and small."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any, Final

import pytest

from allcomers.connection.http.endpoint import HttpEndpoint
from allcomers.connection.http.http1 import Http1Connection
from allcomers.connection.http.http2.connection import Http2Connection
from allcomers.protocol import compiled
from allcomers.protocol.http2 import blocks, frames
from support import offline
from support.offline import Far

PEERS: Final = 500
MOST: Final = 3700 if compiled.COMPILED else 4600
"""Bytes of an idle connection, with what drives it here. They were 3,120 and 4,040; `python -m bench idle --http2` has
those of a server."""

FIELDS: Final = [("user-agent", "curl/8.14.1"), ("accept", "*/*")]


def get(stream: int) -> bytes:
    block = blocks.request_block("GET", "http", "127.0.0.1:8000", "/", FIELDS)
    return b"".join(frames.headers(stream, block, True, frames.FRAME_SIZE))


def answered(far: Far, data: bytes) -> int:
    """Return the bytes that `data` is answered with."""
    far.said = b""
    far.hear(data)
    if far.conn.successor is not None:
        far.conn = far.conn.successor
        far.run()
    return len(far.said)


def connected(endpoint: HttpEndpoint) -> Far:
    """Return a client that was answered a request."""
    far = Far(lambda peer, now: Http1Connection(endpoint, peer, now))
    assert answered(far, frames.PREFACE + frames.settings([]) + frames.SETTINGS_ACK + get(1))
    far.said = b""
    return far


@pytest.mark.skipif(tracemalloc.is_tracing(), reason="somebody else counts memory")
def test_an_idle_client_of_http2_costs_four_kib_and_is_answered_again() -> None:
    any_conn: Any = offline.http(shared={"http2": Http2Connection}).conn
    endpoint = any_conn.endpoint
    first = connected(endpoint)
    size = answered(first, get(3))
    tracemalloc.start(1)
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        peers = [connected(endpoint) for _ in range(PEERS)]
        gc.collect()
        idle, _ = tracemalloc.get_traced_memory()
        assert [answered(peer, get(3)) for peer in peers] == [size] * PEERS
        for peer in peers:
            peer.said = b""
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (idle - before) / PEERS < MOST
    assert (after - before) / PEERS < MOST
