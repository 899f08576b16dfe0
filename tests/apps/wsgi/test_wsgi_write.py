"""WSGI's write(): data is sent while the app runs on (PEP 3333); of slow clients, test_wsgi_write_slow.py."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.apps.served import pattern
from support.certificates import Certificate
from support.clients import Client, request
from support.harness import Server, chosen, serving, wait_for
from support.staged import listens_no_more
from support.wires import Lost, wire

APP = "tests/support/apps/wsgi_apps.py:writing"
WAITING = chosen(
    [("iterative", "inline"), ("process", "pool"), ("thread", "inline"), ("thread-pool", "pool"), ("epoll", "pool"),
     ("asyncio", "pool"), ("epoll-et", "auto")],
    [(model, "inline") for model in ("iterative", "process", "thread", "thread-pool")]
    + [(model, "pool") for model in ("iterative", "process", "thread", "thread-pool", "select", "poll", "epoll",
                                     "epoll-et", "asyncio")]
    + [(model, "auto") for model in ("select", "poll", "epoll", "epoll-et")],
)  # fmt: skip
"""Models, and calls, where the thread of a call may wait."""


@pytest.fixture(scope="module", params=WAITING, ids="-".join)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    model, calls = request.param
    with serving("run", APP, "-m", model, "--calls", calls, quiet=False) as server:
        yield server
        assert server.stderr.count("Traceback") == len(
            re.findall(r"^ *support.apps.served.Deliberate", server.stderr, re.M)
        )


class Noted:
    """The file of a call's progress, and the one that lets it continue."""

    def __init__(self, folder: Path) -> None:
        self.gate = folder / "gate"
        self._path = folder / "noted"
        self.query = f"gate={self.gate}&note={self._path}"

    @property
    def lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []

    def wait_for(self, line: str) -> None:
        wait_for(lambda: line in self.lines, f"the app to note {line!r}")


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    return Noted(tmp_path)


def test_what_is_written_goes_out_while_the_app_runs(server: Server, noted: Noted) -> None:
    with wire(server.address, None) as peer:
        client = Client(peer)
        for _ in range(2):  # on one connection
            noted.gate.unlink(missing_ok=True)
            client.send(request("GET", f"/?blocks=5,0,5&wait=2&rest=3&{noted.query}"))
            head = client.head()
            assert head["Transfer-Encoding"] == "chunked"
            assert client.take(10) == b"5\r\n" + pattern(5) + b"\r\n"
            noted.gate.touch()
            assert client.body(head) == pattern(5) + pattern(3)


def test_over_tls(certificate: Certificate, noted: Noted) -> None:
    with (
        serving("run", APP, "-m", "thread", "--certfile", str(certificate.pem)) as server,
        wire(server.address, certificate.trusted) as peer,
    ):
        client = Client(peer)
        client.send(request("GET", f"/?blocks=5,5&wait=1&length=10&{noted.query}"))
        client.head()
        assert client.take(5) == pattern(5)
        noted.gate.touch()
        assert client.take(5) == pattern(5)
        assert client.ask(request("GET", "/?blocks=100000")).body == pattern(100_000)


@pytest.mark.parametrize(
    ("blocks", "rest", "length"),
    [  # each pair of two of them
        ("3", 0, True), ("3", 7, False), ("3,4,5", 7, True), ("3,4,5", 0, False),
        ("1000000", 0, False), ("1000000", 7, True), ("300000,300000,1", 7, False), ("300000,300000,1", 0, True),
    ],
)  # fmt: skip
def test_all_of_it_comes(server: Server, blocks: str, rest: int, length: bool) -> None:
    expected = b"".join(pattern(int(size)) for size in [*blocks.split(","), rest])
    target = f"/?blocks={blocks}&rest={rest}" + (f"&length={len(expected)}" if length else "")
    with wire(server.address, None) as peer:
        client = Client(peer)
        for _ in range(2):
            answer = client.ask(request("GET", target))
            assert (answer.status, answer.body, answer.persists) == (200, expected, True)
            assert answer["Content-Length"] == (str(len(expected)) if length else None)
        assert client.ask(request("HEAD", target)).status == 200
        old = client.ask(request("GET", target, version="1.0"))
        assert old.body == expected


@pytest.mark.parametrize("wrong", ["raises", "again"])
def test_an_app_that_fails_after_it_has_written(server: Server, wrong: str) -> None:
    """A second response is impossible: the first is cut, so that its client knows."""
    with wire(server.address, None) as peer, pytest.raises(Lost):
        Client(peer).ask(request("GET", f"/?blocks=5&wrong={wrong}"))
    with wire(server.address, None) as peer:
        assert Client(peer).ask(request("GET", "/?blocks=5")).body == pattern(5)


def test_an_app_that_writes_more_than_its_length(server: Server, noted: Noted) -> None:
    with wire(server.address, None) as peer:
        client = Client(peer)
        assert client.ask(request("GET", f"/?blocks=5,6,7&length=5&{noted.query}")).body == pattern(5)
        assert client.ask(request("GET", "/?blocks=5")).body == pattern(5)
    noted.wait_for("AnswerError: Content-Length is 5, and write() was given more")


@pytest.mark.parametrize("resets", [False, True])
def test_an_app_is_told_that_its_client_has_gone(server: Server, noted: Noted, resets: bool) -> None:
    with wire(server.address, None) as peer:
        client = Client(peer)
        client.send(request("GET", f"/?blocks=5,100000&wait=1&endless&{noted.query}"))
        client.head()
        if resets:
            peer.reset()
    noted.gate.touch()
    noted.wait_for("ClientGone: the client has gone")
    with wire(server.address, None) as peer:
        assert Client(peer).ask(request("GET", "/?blocks=5")).body == pattern(5)


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_a_server_that_leaves_lets_it_finish(model: str, noted: Noted) -> None:
    with serving("run", APP, "-m", model, "--calls", "pool") as server, wire(server.address, None) as peer:
        client = Client(peer)
        client.send(request("GET", f"/?blocks=5,6&wait=1&{noted.query}"))
        head = client.head()
        noted.wait_for("0")
        server.send(signal.SIGTERM)
        wait_for(lambda: listens_no_more(server), "the order to arrive")
        noted.gate.touch()
        assert client.body(head) == pattern(5) + pattern(6)


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_one_that_takes_too_long_is_cut(model: str, noted: Noted) -> None:
    arguments = ["-m", model, "--calls", "pool", "--call-timeout", "2"]
    with serving("run", APP, *arguments) as server, wire(server.address, None) as peer:
        with pytest.raises(Lost):
            Client(peer).ask(request("GET", f"/?blocks=5,6&wait=1&endless&{noted.query}"))
        noted.gate.touch()
        noted.wait_for("ClientGone: the client has gone")
        assert "after 2 s the call has not ended" in server.stderr


@pytest.mark.parametrize("model", ["epoll", "asyncio"])
def test_where_the_loop_runs_the_call_itself_all_waits_for_its_end(model: str, noted: Noted) -> None:
    with serving("run", APP, "-m", model, "--calls", "inline") as server, wire(server.address, None) as peer:
        client = Client(peer)
        client.send(request("GET", f"/?blocks=5,6&wait=1&{noted.query}"))
        noted.wait_for("0")
        peer.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.socket.recv(1, socket.MSG_PEEK)
        peer.socket.settimeout(30)
        noted.gate.touch()
        answer = client.answer()
        assert (answer.body, answer["Content-Length"]) == (pattern(5) + pattern(6), "11")
