"""Responses in pieces, and apps that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.apps.served import pattern
from support.clients import request
from support.conformance import (
    LARGE,
    Stage,
    is_hello,
    lines,
)
from support.harness import wait_for
from support.wires import Lost


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_piece_goes_out_before_the_next_is_made(stage: Stage, tmp_path: Path, version: str) -> None:
    gate = tmp_path / "gate"
    with stage.client() as client:
        client.send(request("GET", f"/gate?file={gate}", version=version))
        client.head()
        first = b"6\r\nfirst,\r\n" if version == "1.1" else b"first,"
        assert client.take(len(first)) == first
        gate.touch()
        second = b"6\r\nsecond\r\n0\r\n\r\n" if version == "1.1" else b"second"
        assert client.take(len(second)) == second
        assert is_hello(client.ask()) if version == "1.1" else client.rest() == b""


@pytest.mark.parametrize("ending", ["reset", "close", "stall"])
def test_a_stream_is_closed_when_its_client_leaves(stage: Stage, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "noted"
    with stage.client() as client:
        client.send(request("GET", f"/endless?file={path}"))
        client.head()
        client.take(200_000)
        if ending == "stall":  # first it does not read: the app is not asked for more
            stage.server().idles()
        assert not path.exists()
        if ending == "reset":
            client.wire.reset()
    wait_for(path.exists, "the generator to be closed")
    stage.server().comes_home()
    assert lines(path) == ["closed"]


@pytest.mark.parametrize("query", ["n=10", f"n={LARGE}", f"n={LARGE}&stream=1"], ids=["small", "large", "stream"])
@pytest.mark.parametrize("ending", ["whole", "reset", "head"])
def test_close_is_called_once(stage: Stage, tmp_path: Path, query: str, ending: str) -> None:
    path = tmp_path / "noted"
    with stage.client() as client:
        if ending == "head":
            assert client.ask(request("HEAD", f"/closes?file={path}&{query}")).status == 200
        else:
            client.send(request("GET", f"/closes?file={path}&{query}"))
            if ending == "reset":
                client.take(10)
                client.wire.reset()
            else:
                assert client.answer().status == 200
                assert is_hello(client.ask())
    wait_for(path.exists, "close to be called")
    stage.server().comes_home()
    assert lines(path) == ["closed"]


def test_an_app_that_fails(stage: Stage) -> None:
    with stage.client() as client:
        for _ in range(3):
            answer = client.ask(request("GET", "/fail"))
            assert answer.status == 500
            assert b"Deliberate" not in answer.body
            assert is_hello(client.ask())
        client.send(request("GET", "/fail") * 3 + request())
        assert [client.answer().status for _ in range(4)] == [500, 500, 500, 200]


def test_a_stream_that_fails_at_once(stage: Stage) -> None:
    with stage.client() as client:
        assert client.ask(request("GET", "/break?n=0")).status == 500
        assert is_hello(client.ask())


@pytest.mark.parametrize("query", ["n=5000", "n=5000&length=1", "n=500000"])
def test_a_stream_that_fails_in_the_middle(stage: Stage, query: str) -> None:
    """What has come so far must not look whole, and nothing may follow it."""
    for behind in (b"", request()):
        with stage.client() as client:
            client.send(request("GET", f"/break?{query}") + behind)
            with pytest.raises(Lost) as caught:
                client.answer()
            assert caught.value.after > 4000
    with stage.client() as client:
        assert is_hello(client.ask())


def test_a_stream_that_is_too_short(stage: Stage) -> None:
    with stage.client() as client:
        client.send(request("GET", "/stream?n=5000&length=1") + request())
        with pytest.raises(Lost):
            client.answer()


def test_a_stream_that_is_too_long(stage: Stage) -> None:
    with stage.client() as client:
        assert client.ask(request("GET", "/stream?n=5000&length=-10")).body == pattern(4990)
