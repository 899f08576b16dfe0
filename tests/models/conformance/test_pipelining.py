"""Pipelined requests, in one write and in pieces."""

from __future__ import annotations

import pytest

from support.apps.served import pattern
from support.clients import request
from support.conformance import (
    Stage,
    hear,
    is_hello,
    pipeline,
    sending,
)


def test_fifty_requests_in_one_write(stage: Stage) -> None:
    with stage.client() as client:
        client.send(b"".join(request("GET", f"/bytes?n={size}") for size in range(50)))
        for size in range(50):
            assert client.answer().body == pattern(size)
        assert is_hello(client.ask())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pipelined_requests_of_all_kinds(stage: Stage, seed: int) -> None:
    data, expected = pipeline(seed, 50, 300_000)
    with stage.client() as client, sending(client.wire, data):
        hear(client, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 61, 1459])
def test_pipelined_requests_in_pieces(stage: Stage, size: int) -> None:
    data, expected = pipeline(size, 12 if size < 7 else 50, 2000)
    with stage.client() as client:
        for begin in range(0, len(data), size):
            client.send(data[begin : begin + size])
        hear(client, expected)


def test_a_pipeline_ends_with_the_request_to_close(stage: Stage) -> None:
    with stage.client() as client:
        client.send(request() * 3 + request("GET", "/hello", "Connection: close") + request() * 3)
        assert [client.answer().persists for _ in range(4)] == [True, True, True, False]
        client.ends()
