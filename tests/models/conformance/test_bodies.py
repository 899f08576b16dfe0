"""Large bodies both ways, trailers, and Expect: 100-continue."""

from __future__ import annotations

import hashlib
import json
import socket
import time

import pytest

from support.apps.served import pattern
from support.clients import chunked, request
from support.conformance import (
    LARGE,
    Stage,
    is_hello,
    same,
    sending,
)


def test_a_large_upload(stage: Stage) -> None:
    body = pattern(LARGE)
    with stage.client() as client, sending(client.wire, request("POST", "/digest", body=body) + request()):
        result = json.loads(client.answer().body)
        assert result == {"size": LARGE, "sha256": hashlib.sha256(body).hexdigest(), "trailers": {}}
        assert is_hello(client.answer())


def test_a_large_upload_in_chunks_with_trailers(stage: Stage) -> None:
    body = pattern(LARGE)
    head = request("POST", "/digest", "Transfer-Encoding: chunked", "Trailer: X-Sum")
    data = head + chunked(body, 77_777, "X-Sum: 42", "X-Other: word") + request()
    with stage.client() as client, sending(client.wire, data):
        result = json.loads(client.answer().body)
        assert (result["size"], result["sha256"]) == (LARGE, hashlib.sha256(body).hexdigest())
        assert result["trailers"] == {"x-sum": "42", "x-other": "word"}
        assert is_hello(client.answer())


def test_the_end_of_a_body_that_waits_for_an_acknowledgement(stage: Stage) -> None:
    """Nagle's algorithm keeps it back until the beginning is acknowledged, and the kernel delays that by 40 ms.

    It does not at the beginning of a connection, and a busy machine may take its time for some.
    """
    times = []
    with stage.client() as client:
        client.wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        for _ in range(20):
            began = time.monotonic()
            client.wire.send(request("POST", "/digest", "Content-Length: 20000") + bytes(8000))
            client.wire.send(bytes(6000))
            client.wire.send(bytes(6000))
            assert json.loads(client.answer().body)["size"] == 20_000
            times.append(time.monotonic() - began)
    assert sorted(times[10:])[2] < 0.03


@pytest.mark.parametrize(
    "path",
    [f"/bytes?n={LARGE}", "/files/large.bin", f"/stream?n={LARGE}", f"/stream?n={LARGE}&piece=300001&length=0"],
    ids=["bytes", "file", "chunks", "pieces"],
)
def test_a_large_download(stage: Stage, path: str) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", path))
        same(answer.body, pattern(LARGE))
        assert (answer.chunks is not None) == (path == f"/stream?n={LARGE}")
        assert is_hello(client.ask())


def test_large_both_ways(stage: Stage) -> None:
    body = pattern(3_000_000)
    with stage.client() as client, sending(client.wire, request("POST", "/echo", body=body) * 3):
        for _ in range(3):
            same(client.answer().body, body)


def test_trailers_of_an_answer(stage: Stage) -> None:
    digest = hashlib.sha256(pattern(100_000)).hexdigest()
    with stage.client() as client:
        answer = client.ask(request("GET", "/trailers?n=100000", "TE: trailers", "Connection: TE"))
        assert answer.body == pattern(100_000)
        assert answer.trailers == [("X-Digest", digest)]
        answer = client.ask(request("GET", "/trailers?n=100000"))
        assert answer.body == pattern(100_000)
        assert answer.trailers == []


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_expect_100_continue(stage: Stage, size: int) -> None:
    body = pattern(size)
    data = request("POST", "/echo", "Expect: 100-continue", body=body)
    with stage.client() as client:
        for _ in range(2):
            client.send(data[:-size])
            interim = client.answer()
            assert (interim.status, interim.fields) == (100, [])
            with sending(client.wire, body):
                same(client.answer().body, body)
        # A client need not wait for it, and then nobody need say it.
        with sending(client.wire, data):
            answer = client.answer()
            if answer.status == 100:
                answer = client.answer()
            same(answer.body, body)
        assert is_hello(client.ask())
