"""Clients that leave an ASGI app, and servers that do: the app is told, and its call ends (asgi/disconnect.py)."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.sync.client import connect

from allcomers.apps.asgi.call import disconnect
from allcomers.apps.asgi.call.disconnect import QUIET, HalfClosed
from allcomers.apps.asgi.call.response_writer import DONE, ResponseWriter
from support.apps import streams_app
from support.clients import Client, request
from support.harness import PATIENCE, Server, chosen, has_noted, serving, wait_for
from support.wires import Wire

LOOPS = ("asyncio", "epoll", "select", "poll", "epoll-et")
BLOCKING = ("iterative", "process", "thread", "thread-pool")
SERVERS = chosen(
    [("asyncio", ""), ("epoll", "1"), ("thread", "")],
    [(model, pure) for model in LOOPS + BLOCKING for pure in ("", "1")],
)
"""Models, and whether they run in plain Python (ALLCOMERS_PURE)."""

WITH_LOOP = [one for one in SERVERS if one[0] in LOOPS]
GRACE = 0.3

START = {"type": "http.response.start", "status": 200}
PIECE = {"type": "http.response.body", "body": b"piece", "more_body": True}
END = {"type": "http.response.body", "body": b"end"}
ACCEPT = {"type": "websocket.accept"}


def ids(servers: Any) -> Any:
    return ["-".join(filter(None, one)) for one in servers]


def run(which: tuple[str, str], *options: str, app: str = "scripted_app.py:app") -> Any:
    model, pure = which
    return serving("run", f"tests/support/apps/{app}", "--model", model, *options, env={"ALLCOMERS_PURE": pure})


@pytest.fixture(scope="module", params=SERVERS, ids=ids(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with run(request.param, "--disconnect-grace", str(GRACE), "--log-level", "debug") as server:
        yield server


@pytest.fixture(scope="module", params=WITH_LOOP, ids=ids(WITH_LOOP))
def loop(request: pytest.FixtureRequest) -> Iterator[Server]:
    with run(request.param, "--disconnect-grace", str(GRACE), "--log-level", "debug") as server:
        yield server


def target(steps: list[Any], notes: Path) -> str:
    return "/?" + urlencode({"do": repr(steps), "file": str(notes)})


def client_of(server: Server) -> Client:
    return Client(Wire(server.address))


def close(client: Client) -> None:
    client.wire.close()


def reset(client: Client) -> None:
    client.wire.reset()


def half_close(client: Client) -> None:
    client.wire.half_close()


def cancellations(server: Server, path: str) -> int:
    return len(re.findall(rf"DEBUG GET {re.escape(repr(path))} of [0-9.]+: cancelled", server.stderr))


leaving = pytest.mark.parametrize("leave", [close, reset, half_close])


# ---------------------------------------------------------------- calls that wait for something else


@leaving
@pytest.mark.parametrize("steps", [["for ever"], [START, PIECE, "for ever"]], ids=["unanswered", "streaming"])
def test_a_call_that_does_not_listen_is_cancelled(
    server: Server, tmp_path: Path, steps: list[Any], leave: Callable[[Client], None]
) -> None:
    path = target(steps, tmp_path / "notes")
    expected = ["sent"] * (len(steps) - 1)
    with client_of(server) as client:
        client.send(request("GET", path))
        if expected:
            assert client.head().status == 200
            assert client.take(10) == b"5\r\npiece\r\n"
        has_noted(tmp_path / "notes", *expected, "waits")
        leave(client)
        has_noted(tmp_path / "notes", *expected, "waits", "cancelled")
        assert cancellations(server, path) == 1
        if leave is half_close:
            assert client.rest() == b""


@pytest.mark.parametrize("which", SERVERS, ids=ids(SERVERS))
def test_a_call_may_end_by_itself_within_the_grace(which: tuple[str, str], tmp_path: Path) -> None:
    path = target([START, PIECE, "told", "turn", END], tmp_path / "notes")
    with run(which, "--disconnect-grace", "30", "--log-level", "debug") as server:
        with client_of(server) as client:
            client.send(request("GET", path))
            client.head()
            client.take(10)
        has_noted(tmp_path / "notes", "sent", "sent", "{'type': 'http.disconnect'}", "sent")
        assert cancellations(server, path) == 0


@pytest.mark.parametrize("steps", [[ACCEPT, "for ever"], ["for ever"]], ids=["open", "unanswered"])
def test_a_websocket_that_does_not_listen_is_cancelled(loop: Server, tmp_path: Path, steps: list[Any]) -> None:
    path = target(steps, tmp_path / "notes")
    expected = ["sent"] * (len(steps) - 1)
    with client_of(loop) as client:
        client.send(handshake(path))
        has_noted(tmp_path / "notes", *expected, "waits")
    has_noted(tmp_path / "notes", *expected, "waits", "cancelled")
    assert cancellations(loop, path) == 1


def handshake(path: str) -> bytes:
    fields = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    return request("GET", path, *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


@pytest.mark.parametrize("size", [65_536, 100_000])
def test_a_client_that_leaves_is_noticed_though_nobody_takes_its_body(loop: Server, tmp_path: Path, size: int) -> None:
    path = target(["for ever"], tmp_path / "notes")
    with client_of(loop) as client:
        client.send(request("POST", path, body=b"x" * size))
        wait_for(lambda: unread(client.wire) == 0, "the server to have read it all")
    has_noted(tmp_path / "notes", "waits", "cancelled")


@pytest.mark.parametrize("size", [65_536, 100_000])
def test_the_disconnect_comes_behind_a_large_body(server: Server, tmp_path: Path, size: int) -> None:
    """Where the body is here whole before the app receives it, nothing is read until it has."""
    path = target(["go", "receive", "told"], tmp_path / "notes")
    with client_of(server) as client:
        client.send(request("POST", path, body=b"x" * size))
        if size == 65_536:
            wait_for(lambda: unread(client.wire) == 0, "the server to have read it all")
        (tmp_path / "notes.go").touch()
        wait_for((tmp_path / "notes").exists, "the app to have received")
    wait_for(lambda: (tmp_path / "notes").read_text().endswith("{'type': 'http.disconnect'}\n"), "the disconnect")


def unread(wire: Wire) -> int:
    """Return the bytes of this connection that the server has not read yet from its kernel (proc_net_tcp(5))."""
    ours, theirs = (f":{name[1]:04X}" for name in (wire.socket.getsockname(), wire.socket.getpeername()))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(theirs) and fields[2].endswith(ours):
            return int(fields[4].partition(":")[2], 16)
    raise AssertionError("there is no such connection")


# ---------------------------------------------------------------- frameworks' streams


@pytest.fixture(scope="module", params=SERVERS, ids=ids(SERVERS))
def starlette(request: pytest.FixtureRequest) -> Iterator[Server]:
    with run(request.param, "--disconnect-grace", "0", app="streams_app.py:app") as server:
        yield server


@pytest.mark.parametrize("leave", [close, reset])
@pytest.mark.parametrize("path", ["/quiet", "/middleware/quiet"])
def test_a_quiet_stream_ends_when_its_client_leaves(
    starlette: Server, tmp_path: Path, path: str, leave: Callable[[Client], None]
) -> None:
    clients = [client_of(starlette) for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(request("GET", f"{path}?file={tmp_path / str(number)}"))
        assert client.head().status == 200
        has_noted(tmp_path / str(number), "open")
        leave(client)
    for number in range(5):
        has_noted(tmp_path / str(number), "open", "closed")


@pytest.mark.parametrize("path", ["/slow", "/file"])
def test_a_client_that_half_closes_gets_a_stream_to_its_end(starlette: Server, path: str) -> None:
    """A framework ends a stream when it is told of a disconnect: so it is told only once nothing goes out any more."""
    with client_of(starlette) as client:
        client.send(request("GET", path))
        client.wire.half_close()
        answer = client.answer()
    if path == "/file":
        assert answer.body == Path(streams_app.__file__).read_bytes()
    else:
        assert answer.body == b"piece" * 20


class Call:
    """A response, and what a HalfClosed does to its call."""

    def __init__(self) -> None:
        self.response = ResponseWriter()
        self.events: list[str] = []

    def half_close(self, events: asyncio.AbstractEventLoop, grace: float) -> HalfClosed:
        return HalfClosed(
            events,
            self.response,
            grace,
            notify=partial(self.events.append, "notify"),
            cancel=partial(self.events.append, "cancel"),
        )


async def half_closed(call: Call, grace: float, count: int) -> bool:
    """Wait for `count` events of the call, and a while longer. Return whether its client is taken to have left."""
    half = call.half_close(asyncio.get_running_loop(), grace)
    until = time.monotonic() + PATIENCE
    while len(call.events) < count and time.monotonic() < until:
        await asyncio.sleep(0.01)
    until = time.monotonic() + QUIET * 1.5
    while time.monotonic() < until:
        await asyncio.sleep(0.01)
    return half.has_left


@pytest.mark.parametrize(
    ("grace", "events"),
    [(QUIET * 2, ["notify", "cancel"]), (0.05, ["notify", "cancel"]), (0.0, ["notify"])],  # 0 is never
)
def test_a_half_closed_client(grace: float, events: list[str]) -> None:
    call = Call()
    assert asyncio.run(half_closed(call, grace, len(events)))
    assert call.events == events


class Timer:
    """A callback that a Clock calls, unless it is cancelled."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """Time that a test moves, and the one method of an event loop that a HalfClosed calls."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.now + seconds, callback))
        return self._timers[-1]

    def move(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self._timers if timer.when <= self.now]
        self._timers = [timer for timer in self._timers if timer.when > self.now]
        for timer in due:
            if timer.callback is not None:
                timer.callback()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = Clock()
    monkeypatch.setattr(disconnect, "monotonic", lambda: clock.now)
    return clock


def test_a_half_closed_client_that_reads(clock: Any) -> None:
    call = Call()
    half = call.half_close(clock, 2.0)
    for _ in range(100):
        clock.move(QUIET * 0.9)
        half.sent()
    assert (half.has_left, call.events) == (False, [])
    clock.move(QUIET)
    clock.move(QUIET)
    assert (half.has_left, call.events) == (True, ["notify"])
    clock.move(0.9)
    assert call.events == ["notify"]
    clock.move(0.7)
    clock.move(0.7)
    assert call.events == ["notify", "cancel"]


@pytest.mark.parametrize(("name", "value"), [("state", DONE), ("is_sending", True)])
def test_a_half_closed_client_whose_response_is_whole_or_on_its_way(clock: Any, name: str, value: Any) -> None:
    call = Call()
    setattr(call.response, name, value)
    call.half_close(clock, 0.05)
    for _ in range(100):
        clock.move(QUIET)
    assert call.events == []


def test_a_half_closed_client_that_is_gone(clock: Any) -> None:
    call = Call()
    call.half_close(clock, 0.05).stop()
    clock.move(QUIET)
    assert call.events == []


# ---------------------------------------------------------------- the server leaves


@pytest.mark.parametrize("steps", [["receive", "told"], ["for ever"]], ids=["listening", "waiting"])
@pytest.mark.parametrize("which", WITH_LOOP, ids=ids(WITH_LOOP))
def test_a_handshake_without_an_answer_ends_with_the_server(
    which: tuple[str, str], steps: list[Any], tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    with run(which) as server, client_of(server) as client:
        client.send(handshake(target(steps, notes)))
        wait_for(notes.exists, "the app to be called")
        server.send(signal.SIGTERM)
        answer = client.answer()
        assert (answer.status, answer.persists) == (503, False)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10  # a third of the graceful time-out
    if steps == ["for ever"]:
        has_noted(notes, "waits", "cancelled")
    else:
        gone = {"type": "websocket.disconnect", "code": 1012, "reason": ""}
        has_noted(notes, "{'type': 'websocket.connect'}", repr(gone))


@pytest.mark.parametrize("steps", [[START, PIECE, "for ever"], ["for ever"]], ids=["streaming", "unanswered"])
@pytest.mark.parametrize("which", WITH_LOOP, ids=ids(WITH_LOOP))
def test_a_call_that_is_cancelled_at_the_end_of_the_time_is_one_line(
    which: tuple[str, str], steps: list[Any], tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    expected = [*["sent"] * (len(steps) - 1), "waits"]
    with run(which, "--graceful-timeout", "0.3") as server, client_of(server) as client:
        client.send(request("GET", target(steps, notes)))
        has_noted(notes, *expected)
        assert server.stop() == 0
        has_noted(notes, *expected, "cancelled")
        lines = [line for line in server.stderr.splitlines() if " INFO " not in line and "Listening" not in line]
        assert [line.partition(" WARNING ")[2] for line in lines if "did not stop in time" not in line] == [
            "calls that go on for too long, and are cancelled: 1"
        ]


def test_an_accepted_websocket_is_told_that_the_server_leaves(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with run(("asyncio", "")) as server:
        host, port = server.address
        with connect(f"ws://{host}:{port}{target([ACCEPT, 'told'], notes)}", proxy=None) as socket:
            server.send(signal.SIGTERM)
            wait_for(lambda: socket.close_code is not None or not socket.recv_events_thread.is_alive(), "the close")
            assert socket.close_code == 1012
    has_noted(notes, "sent", repr({"type": "websocket.disconnect", "code": 1012, "reason": ""}))
