"""Peers that read or write slowly."""

from __future__ import annotations

import hashlib
import json
import random
import time

import pytest

from support.apps.served import pattern
from support.clients import chunked, request
from support.conformance import (
    LARGE,
    Stage,
    dribble,
    is_hello,
    same,
    sending,
)


@pytest.mark.parametrize("path", ["/bytes?n={}", "/files/large.bin", "/stream?n={}"], ids=["bytes", "file", "stream"])
def test_a_slow_reader(stage: Stage, path: str) -> None:
    with stage.client(receive_buffer=4096) as client:
        client.send(request("GET", path.format(LARGE)) + request())
        stage.server().idles()  # it waits for us, and asks the kernel nothing meanwhile
        parts = []
        for step in range(60):
            parts.append(client.wire.receive(1000 + 100 * step))
            time.sleep(0.002)
        client.wire.widen()
        client.unread(b"".join(parts))
        same(client.answer().body, pattern(LARGE))
        assert is_hello(client.answer())


def test_who_asks_and_does_not_read(stage: Stage) -> None:
    data = request("POST", "/echo", body=pattern(1_000_000))
    with stage.client(receive_buffer=4096) as client, sending(client.wire, data * 60) as sender:
        stage.server().idles()
        assert sender.is_alive()
        client.wire.widen()
        for _ in range(60):
            same(client.answer().body, pattern(1_000_000))


def test_a_slow_writer(stage: Stage) -> None:
    dice = random.Random(4)
    with stage.client() as client:
        dribble(client.wire, request("GET", "/bytes?n=1000"), lambda: 1)
        assert client.answer().body == pattern(1000)
        dribble(client.wire, request("POST", "/echo", body=pattern(5000)), lambda: dice.randrange(1, 100))
        assert client.answer().body == pattern(5000)
        head = request("POST", "/digest", "Transfer-Encoding: chunked")
        dribble(client.wire, head + chunked(pattern(300), 40, "X-Sum: 1"), lambda: dice.randrange(1, 4))
        result = json.loads(client.answer().body)
        assert result == {
            "size": 300, "sha256": hashlib.sha256(pattern(300)).hexdigest(), "trailers": {"x-sum": "1"}
        }  # fmt: skip
