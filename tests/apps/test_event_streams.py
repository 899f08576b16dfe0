"""Streams of server-sent events, which never end by themselves: when the server leaves, and beside other clients."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from support.clients import request
from support.event_servers import EVERY, LOOPS, client_of, run
from support.harness import Server, chosen, has_noted, wait_for
from support.staged import listens_no_more

SOME = [
    ("iterative", "inline", ""),
    ("process", "inline", "1"),
    ("thread", "inline", ""),
    ("thread", "pool", ""),
    ("thread-pool", "pool", "1"),
    ("select", "inline", "1"),
    ("poll", "auto", ""),
    ("epoll", "inline", ""),
    ("epoll", "pool", ""),
    ("epoll", "auto", "1"),
    ("epoll-et", "inline", ""),
    ("asyncio", "inline", ""),
    ("asyncio", "pool", "1"),
    ("asyncio", "auto", ""),
]
STAGES = chosen(SOME, EVERY)


def leave(server: Server, how: int) -> None:
    server.send(how)
    if how == signal.SIGTERM:
        wait_for(lambda: listens_no_more(server), "the order to arrive")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
@pytest.mark.parametrize(("model", "calls", "pure"), STAGES)
def test_a_stream_of_events_ends_when_the_server_leaves(
    model: str, calls: str, pure: str, how: int, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    with run("app", model, calls, pure) as server, client_of(server) as client:
        client.send(request("GET", f"/events?note={notes}"))
        head = client.head()
        began = time.monotonic()
        leave(server, how)
        assert client.body(head).count(b"data: now\n\n") > 0  # to the last chunk
        client.ends()
        has_noted(notes, "open", "exit", "closed")
        assert time.monotonic() - began < 20  # --graceful-timeout is 30


@pytest.mark.parametrize(
    ("model", "calls", "pure"), [("epoll", "pool", ""), ("thread", "inline", ""), ("thread", "pool", "")]
)
def test_what_write_sends_ends_too(model: str, calls: str, pure: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with run("app", model, calls, pure) as server, client_of(server) as client:
        client.send(request("GET", f"/written?note={notes}"))
        head = client.head()
        leave(server, signal.SIGTERM)
        assert client.body(head).count(b"data: now\n\n") > 0
        client.ends()
        has_noted(notes, "open", "closed")


@pytest.mark.parametrize(
    ("app", "model", "calls"),
    [("Web", "epoll", "auto"), ("Web", "thread", "inline"), ("Web", "asyncio", "inline"), ("asgi", "thread", "inline")],
)
def test_other_kinds_of_apps(app: str, model: str, calls: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with run(app, model, calls, "") as server, client_of(server) as client:
        client.send(request("GET", f"/events?note={notes}"))
        head = client.head()
        leave(server, signal.SIGTERM)
        client.body(head)
        client.ends()
        wait_for(lambda: notes.read_text().split()[-1] == "closed", "the stream to be closed")


@pytest.mark.parametrize(("model", "calls", "pure"), SOME[2:])
def test_one_that_begins_when_the_server_leaves(model: str, calls: str, pure: str, tmp_path: Path) -> None:
    notes, gate = tmp_path / "notes", tmp_path / "gate"
    with run("app", model, calls, pure) as server, client_of(server) as client:
        client.send(request("GET", f"/late?note={notes}&gate={gate}"))
        has_noted(notes, "called")
        if model in LOOPS and calls == "inline":
            server.send(signal.SIGTERM)  # which is not read before the call is over
        else:
            leave(server, signal.SIGTERM)
        gate.touch()
        client.body(client.head())
        client.ends()
        has_noted(notes, "called", "open", "exit", "closed")


@pytest.mark.parametrize("path", ["/events", "/written"])
def test_one_over_http_1_0_ends_with_its_connection(path: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with run("app", "epoll", "pool", "") as server, client_of(server) as client:
        client.send(request("GET", f"{path}?note={notes}", version="1.0"))
        client.head()
        leave(server, signal.SIGTERM)
        assert client.rest().endswith(b"data: now\n\n")


@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("model", ["epoll", "epoll-et", "asyncio", "select"])
def test_others_have_their_turn_between_two_pieces(model: str, pure: str, tmp_path: Path) -> None:
    """A loop whose own thread makes the pieces serves others between two, also where each lasts."""
    gate = tmp_path / "gate"
    with run("app", model, "inline", pure) as server, client_of(server) as slow, client_of(server) as other:
        slow.send(request("GET", f"/ticks?pause=0.05&gate={gate}"))
        head = slow.head()
        for _ in range(5):
            assert other.ask(request("GET", "/small")).status == 200
        gate.touch()
        assert set(slow.body(head).splitlines()) == {b"tick"}


def test_a_worker_that_streams_inline_gives_signs_of_life(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with run("app", "epoll", "inline", "", "--hang-timeout", "2") as server, client_of(server) as client:
        client.send(request("GET", f"/ticks?pause=0.1&gate={gate}"))
        head = client.head()
        until = time.monotonic() + 4
        wait_for(lambda: time.monotonic() > until, "twice the time in which one that hangs is found")
        gate.touch()
        assert set(client.body(head).splitlines()) == {b"tick"}
        assert "hang" not in server.stderr


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
def test_an_async_stream_whose_client_has_left_holds_nothing_up(model: str, tmp_path: Path) -> None:
    """It is told, and ends: nobody waits for a further piece of it when the server leaves."""
    notes = tmp_path / "notes"
    with run("asgi", model, "inline", "") as server:
        with client_of(server) as client:
            client.send(request("GET", f"/events?note={notes}"))
            client.head()
        wait_for(lambda: notes.read_text().split()[-1] == "closed", "the stream to be closed")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 20  # --graceful-timeout is 30
