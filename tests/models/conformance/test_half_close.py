"""Peers that close their half of the connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.apps.served import pattern
from support.clients import request
from support.conformance import (
    HELLO,
    LARGE,
    Stage,
    hear,
    is_hello,
    pipeline,
    same,
    sending,
)
from support.harness import wait_for


@pytest.mark.parametrize(
    "path", ["/hello", "/bytes?n={}", "/files/large.bin", "/stream?n={}"], ids=["small", "bytes", "file", "stream"]
)
def test_half_close_after_a_request(stage: Stage, path: str) -> None:
    with stage.client() as client:
        client.send(request("GET", path.format(LARGE)))
        client.wire.half_close()
        same(client.answer().body, HELLO if path == "/hello" else pattern(LARGE))
        client.ends()


def test_half_close_after_a_body(stage: Stage) -> None:
    body = pattern(2_000_000)
    with stage.client() as client, sending(client.wire, request("POST", "/echo", body=body), half_close=True):
        same(client.answer().body, body)
        client.ends()


@pytest.mark.parametrize("large", [100, 300_000])
def test_half_close_after_pipelined_requests(stage: Stage, large: int) -> None:
    data, expected = pipeline(7, 30, large)
    with stage.client() as client, sending(client.wire, data, half_close=True):
        hear(client, expected)
        client.ends()


def test_half_close_after_an_answer(stage: Stage) -> None:
    with stage.client() as client:
        assert is_hello(client.ask())
        client.wire.half_close()
        client.ends()


def test_half_close_before_a_request(stage: Stage) -> None:
    with stage.client() as client:
        client.wire.half_close()
        client.ends()


@pytest.mark.parametrize("data", [b"GET /hel", request("POST", "/echo", body=b"0123456789")[:-5]], ids=["head", "body"])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_half_close_in_the_middle_of_a_request(stage: Stage, data: bytes, before: int) -> None:
    with stage.client() as client:
        client.send(request("GET", "/stream?n=300000") * before + data)
        client.wire.half_close()
        for _ in range(before):
            assert client.answer().body == pattern(300_000)
        assert client.answer().status == 400
        client.ends()


def test_half_close_while_a_call_runs(stage: Stage, tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    with stage.client() as client:
        client.send(request("GET", f"/wait?begun={begun}&file={gate}&n=300000"))
        wait_for(begun.exists, "the call")
        client.wire.half_close()
        # The app polls for its file at no more than 200 Hz; what spins takes all it can get.
        gate.touch()
        assert client.answer().body == pattern(300_000)
        client.ends()
