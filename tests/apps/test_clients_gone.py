"""Calls of clients that are gone: they may ask for that, and one that waits for a thread is not made."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from support.certificates import Certificate
from support.clients import request
from support.event_servers import EVERY, client_of, run
from support.harness import Server, chosen, has_noted, wait_for
from support.wires import Wire

SOME = [
    ("iterative", "inline", "1"),
    ("process", "pool", ""),
    ("thread", "inline", ""),
    ("thread-pool", "pool", "1"),
    ("select", "auto", ""),
    ("poll", "inline", "1"),
    ("epoll", "inline", ""),
    ("epoll", "pool", ""),
    ("epoll", "pool", "1"),
    ("epoll-et", "auto", ""),
    ("asyncio", "pool", ""),
]


# ---------------------------------------------------------------- a call that asks


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset, Wire.half_close], ids=["close", "reset", "half-close"])
@pytest.mark.parametrize(("model", "calls", "pure"), chosen(SOME, EVERY))
def test_a_call_may_ask_for_its_client(
    model: str, calls: str, pure: str, leave: Callable[[Wire], None], tmp_path: Path
) -> None:
    with run("app", model, calls, pure) as server:
        for number in range(2):  # the first request of a connection, and a later one
            notes = tmp_path / str(number)
            with client_of(server) as client:
                if number:
                    assert client.ask(request("GET", "/small")).status == 200
                client.send(request("GET", f"/asked?note={notes}"))
                has_noted(notes, "False")
                leave(client.wire)
                has_noted(notes, "False", "gone")


@pytest.mark.parametrize(
    ("model", "calls", "pure"),
    [
        ("thread", "inline", ""),
        ("thread", "pool", ""),
        ("epoll", "inline", ""),
        ("epoll", "auto", ""),
        ("asyncio", "pool", "1"),
    ],
)
def test_so_may_an_iterable(model: str, calls: str, pure: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with run("app", model, calls, pure) as server, client_of(server) as client:
        client.send(request("GET", f"/asked-later?note={notes}"))
        client.head()
        has_noted(notes, "False")
        client.wire.close()
        has_noted(notes, "False", "gone")


@pytest.mark.parametrize(("model", "calls"), [("thread", "inline"), ("epoll", "inline"), ("epoll", "pool")])
def test_over_tls(model: str, calls: str, certificate: Certificate, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    options = ("--certfile", str(certificate.pem))
    with run("app", model, calls, "", *options) as server, client_of(server, certificate.trusted) as client:
        client.send(request("GET", f"/asked?note={notes}"))
        has_noted(notes, "False")
        client.wire.close()
        has_noted(notes, "False", "gone")


@pytest.mark.parametrize(("model", "calls"), [("thread", "inline"), ("epoll", "auto")])
def test_so_may_a_handler_and_unread_bytes_hide_nothing(model: str, calls: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with run("Web", model, calls, "") as server, client_of(server) as client:
        client.send(request("GET", f"/asked?note={notes}"))
        has_noted(notes, "False")
        client.send(request("GET", "/small") * 1000)  # which nobody reads meanwhile
        client.wire.half_close()
        has_noted(notes, "False", "gone")


# ---------------------------------------------------------------- calls that wait for a thread


def stats(server: Server) -> dict[str, Any]:
    address = re.search(r"Admin at: (http://\S+)", server.stderr)
    assert address
    with urlopen(address[1].rstrip("/") + "/stats.json") as page:
        found: dict[str, Any] = json.loads(page.read())
    return found


@pytest.mark.parametrize(
    ("model", "calls", "options"),
    [
        ("epoll", "pool", []),
        ("epoll", "auto", []),
        ("asyncio", "pool", []),
        ("thread", "pool", []),
        ("epoll", "pool", ["--call-timeout", "30"]),
        ("thread", "pool", ["--call-timeout", "30"]),
    ],
)
@pytest.mark.parametrize("pure", ["", "1"])
def test_one_whose_client_has_left_is_not_made(
    model: str, calls: str, options: list[str], pure: str, tmp_path: Path
) -> None:
    gate, waiting = tmp_path / "gate", tmp_path / "waiting"
    lost, kept = tmp_path / "lost", tmp_path / "kept"
    options = [*options, "--threads", "1", "--admin", "127.0.0.1:0"]
    with run("app", model, calls, pure, *options) as server, client_of(server) as first, client_of(server) as third:
        first.send(request("GET", f"/wait?note={waiting}&gate={gate}"))
        has_noted(waiting, "called")
        second = client_of(server)
        second.send(request("GET", f"/noted?note={lost}"))
        wait_for(lambda: stats(server)["queue"] == 1, "its call to be queued")
        second.wire.reset()
        third.send(request("GET", f"/noted?note={kept}"))
        wait_for(lambda: stats(server)["queue"] == 2, "another to be queued")
        gate.touch()
        assert first.answer().body == b"waited\n"
        assert third.answer().body == b"noted\n"
        has_noted(kept, "called")
        assert not lost.exists()
        assert server.stderr.count("dropped, for nobody waits for it any more") == 1
        wait_for(lambda: stats(server)["totals"]["dropped"] == 1, "it to be counted")


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_one_whose_client_may_still_read_is_made(model: str, tmp_path: Path) -> None:
    gate, waiting = tmp_path / "gate", tmp_path / "waiting"
    with (
        run("app", model, "pool", "", "--threads", "1", "--admin", "127.0.0.1:0") as server,
        client_of(server) as first,
    ):
        first.send(request("GET", f"/wait?note={waiting}&gate={gate}"))
        has_noted(waiting, "called")
        with client_of(server) as second:
            second.send(request("GET", f"/noted?note={tmp_path}/kept"))
            second.wire.half_close()
            wait_for(lambda: stats(server)["queue"] == 1, "its call to be queued")
            gate.touch()
            assert second.answer().body == b"noted\n"
        first.answer()


@pytest.mark.parametrize("calls", ["pool", "auto"])
def test_those_that_wait_when_the_worker_ends_are_counted(calls: str, tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    options = ("--threads", "1", "--admin", "127.0.0.1:0", "--graceful-timeout", "0.5")
    with run("app", "epoll", calls, "", *options) as server, client_of(server) as first, client_of(server) as second:
        first.send(request("GET", f"/wait?note={waiting}&gate={tmp_path}/gate"))
        has_noted(waiting, "called")
        second.send(request("GET", f"/noted?note={tmp_path}/late"))
        wait_for(lambda: stats(server)["queue"] == 1, "its call to be queued")
        assert server.stop(signal.SIGTERM) == 0
        assert "calls that waited for a thread, and are dropped: 1" in server.stderr
