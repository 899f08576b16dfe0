"""Peers that leave in the middle of anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.apps.served import pattern
from support.clients import Client, request
from support.conformance import (
    LARGE,
    Stage,
    is_hello,
    leave_in_the_handshake,
)
from support.harness import wait_for
from support.wires import Wire


def leave_at_once(wire: Wire) -> None:
    pass


def leave_in_the_head(wire: Wire) -> None:
    wire.send(b"GET /hello HTTP/1.1\r\nHos")


def leave_in_the_body(wire: Wire) -> None:
    wire.send(request("POST", "/echo", "Content-Length: 5000000") + pattern(700_000))


def leave_with_answers_due(wire: Wire) -> None:
    wire.send(request("GET", "/bytes?n=10000") * 50)


def leave_in_the_answer(wire: Wire) -> None:
    wire.send(request("GET", f"/bytes?n={LARGE}"))
    assert wire.receive()


def leave_in_the_file(wire: Wire) -> None:
    wire.send(request("GET", "/files/large.bin"))
    assert wire.receive()


def leave_in_the_stream(wire: Wire) -> None:
    wire.send(request("GET", f"/stream?n={LARGE}"))
    assert wire.receive()


def leave_after_the_answer(wire: Wire) -> None:
    assert is_hello(Client(wire).ask())


LEAVING = [
    leave_at_once, leave_in_the_handshake, leave_in_the_head, leave_in_the_body, leave_with_answers_due,
    leave_in_the_answer, leave_in_the_file, leave_in_the_stream, leave_after_the_answer,
]  # fmt: skip


@pytest.mark.parametrize("ending", ["reset", "close"])
@pytest.mark.parametrize("leave", LEAVING)
def test_a_peer_leaves(stage: Stage, leave: Callable[[Wire], None], ending: str) -> None:
    for _ in range(3):
        with stage.wire() as wire:
            leave(wire)
            if ending == "reset":
                wire.reset()
        with stage.client() as client:
            assert is_hello(client.ask())


@pytest.mark.parametrize("ending", ["reset", "close"])
def test_a_peer_leaves_while_its_call_runs(stage: Stage, tmp_path: Path, ending: str) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    with stage.wire() as wire:
        wire.send(request("GET", f"/wait?begun={begun}&file={gate}&n=300000"))
        wait_for(begun.exists, "the call")
        if ending == "reset":
            wire.reset()
    if stage.combination.patient:
        with stage.client() as client:
            assert is_hello(client.ask())
    gate.touch()
    with stage.client() as client:
        assert is_hello(client.ask())
