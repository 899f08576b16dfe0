"""Peers that wait cost no CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from support.clients import Client, request
from support.conformance import (
    LARGE,
    Stage,
    is_hello,
    leave_in_the_handshake,
)


def wait_silent(client: Client) -> None:
    pass


def wait_in_the_handshake(client: Client) -> None:
    leave_in_the_handshake(client.wire)


def wait_in_the_head(client: Client) -> None:
    client.send(b"GET /hello HTTP/1.1\r\nHos")


def wait_in_the_body(client: Client) -> None:
    client.send(request("POST", "/echo", "Content-Length: 50") + b"1234")


def wait_after_an_answer(client: Client) -> None:
    assert is_hello(client.ask())


def wait_after_a_refusal(client: Client) -> None:
    client.send(b"nonsense\r\n\r\n")
    assert client.answer().status == 400
    client.send(b"more of it" * 100)


def wait_with_an_answer(client: Client) -> None:
    client.send(request("GET", f"/bytes?n={LARGE}") * 2)


def wait_with_a_file(client: Client) -> None:
    client.send(request("GET", "/files/large.bin") * 2)


def wait_with_a_stream_half_closed(client: Client) -> None:
    client.send(request("GET", f"/stream?n={LARGE}"))
    client.wire.half_close()


WAITING = [
    wait_silent, wait_in_the_handshake, wait_in_the_head, wait_in_the_body, wait_after_an_answer, wait_after_a_refusal,
    wait_with_an_answer, wait_with_a_file, wait_with_a_stream_half_closed,
]  # fmt: skip


@pytest.mark.parametrize("wait", WAITING)
def test_a_peer_who_waits(stage: Stage, wait: Callable[[Client], None]) -> None:
    server = stage.server()
    with ExitStack() as stack:
        for _ in range(1 if stage.combination.alone else 5):
            wait(stack.enter_context(stage.client()))
        server.idles()
        if not stage.combination.alone:
            with stage.client() as other:
                assert is_hello(other.ask())
            server.idles()
