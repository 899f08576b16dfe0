"""Many peers at once, and more than there are places."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.apps.served import pattern
from support.clients import Regular, request
from support.conformance import (
    Stage,
    crowd,
    is_hello,
    only,
    together,
)
from support.harness import wait_for


@pytest.mark.parametrize("path", ["/bytes?n=100", "/stream?n=100000&piece=9000"], ids=["small", "stream"])
def test_two_hundred_at_once(stage: Stage, path: str) -> None:
    server = stage.server()
    size = int(path.partition("n=")[2].partition("&")[0])

    def visit(meet: Callable[[], object], _: int) -> int:
        with Regular(server.address, stage.tls) as client:
            client.connect()
            meet()
            for _ in range(3):
                assert client.ask(request("GET", path)).body == pattern(size)
            meet()
            assert client.ask(request("GET", path)).body == pattern(size)
            return client.connections

    connections = crowd(stage, server, visit)
    if stage.combination.roomy:
        assert set(connections) == {1}


def test_more_than_there_are_places(stage: Stage) -> None:
    """Each has its turn: who is idle leaves, who is busy leaves with the answer."""
    server = stage.server("app", "--max-connections", "4", "--threads", "4")

    def visit(number: int) -> None:
        with Regular(server.address, stage.tls) as client:
            for size in range(number, number + 5):
                assert client.ask(request("GET", f"/bytes?n={size}")).body == pattern(size)

    together(24, visit)


def test_idle_peers_leave_for_newcomers(stage: Stage) -> None:
    with ExitStack() as stack:
        server = stage.server("app", "--max-connections", "4", "--threads", "4")
        clients = [stack.enter_context(Regular(server.address, stage.tls)) for _ in range(12)]
        for _ in range(2):
            for client in clients:  # none closes, each was served: there are 4 or 8 places for 12
                assert is_hello(client.ask())


def test_silent_peers_beside_others(stage: Stage) -> None:
    with ExitStack() as stack:
        for _ in range(1 if stage.combination.alone else 10):
            stack.enter_context(stage.wire())
        with stage.client() as client:
            for _ in range(10):
                assert is_hello(client.ask())


@only(lambda combination: combination.patient)
def test_others_are_served_while_calls_wait(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ExitStack() as stack:
        waiting = [stack.enter_context(stage.client()) for _ in range(8)]
        stack.callback(gate.touch)
        for index, client in enumerate(waiting):
            client.send(request("GET", f"/wait?begun={tmp_path / str(index)}&file={gate}") + request())
        for index in range(8):
            wait_for((tmp_path / str(index)).exists, "the call")
        with stage.client() as client:
            assert is_hello(client.ask())
            assert client.ask(request("POST", f"/touch?file={gate}")).status == 204
        for client in waiting:
            assert client.answer().body == pattern(10)
            assert is_hello(client.answer())
