"""WebSockets of WSGI apps: Flask-SocketIO, flask-sock and their clients. Where no connection has a thread, 501."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import pytest
import requests
import socketio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from allcomers.models import TABLE
from support.certificates import Certificate
from support.crowd import exchange
from support.harness import ROOT, Server, chosen, receive_all, serving, wait_for

APP = f"{ROOT}/tests/support/real/flask_sockets.py:app"
UPGRADE = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
"""What a client adds to a request whose connection is to become a WebSocket (RFC 6455, 1.3)."""


class Where(NamedTuple):
    model: str
    calls: str = "inline"
    tls: bool = False
    limited: bool = False
    pure: bool = False


SOME = [
    Where("thread"),
    Where("thread", tls=True),
    Where("thread", "pool", pure=True),
    Where("thread-pool", limited=True),
    Where("process", pure=True),
    Where("process", "pool", tls=True),
    *(Where("gevent", tls=tls, limited=tls) for tls in (False, True) if not TABLE["gevent"].obstacle),
]
EVERY = [
    Where(model, calls, tls, limited, pure)
    for model in ("thread", "thread-pool", "process", "gevent")
    if not TABLE[model].obstacle
    for calls in ("inline", "pool")
    if model != "gevent" or calls == "inline"
    for tls in (False, True)
    for limited in (False, True)
    for pure in (False, True)
]


class Site(NamedTuple):
    """A server of the app, and the file of its calls' notes.

    trusted  a client's context; None for plain HTTP
    """

    server: Server
    noted: Path
    log: Path
    where: Where
    trusted: ssl.SSLContext | None

    def address(self, scheme: str) -> str:
        return f"{scheme}{'s' if self.trusted else ''}://localhost:{self.server.address[1]}"

    def socket(self, path: str = "/echo", **options: Any) -> ClientConnection:
        return connect(self.address("ws") + path, ssl=self.trusted, proxy=None, **options)

    def hello(self) -> bytes:
        """Return the body of another client's response."""
        with self.server.connect(self.trusted) as sock:
            return exchange(sock).body

    def count(self, word: str) -> int:
        return self.noted.read_text().split().count(word) if self.noted.exists() else 0

    def wait_for(self, word: str, count: int = 1) -> None:
        wait_for(lambda: self.count(word) >= count, f"{word!r} to be noted {count} times")


@pytest.fixture(scope="module", params=chosen(SOME, EVERY), ids=lambda where: "-".join(map(str, where)))
def site(
    request: pytest.FixtureRequest, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    where: Where = request.param
    folder = tmp_path_factory.mktemp("sockets")
    options = ["-m", where.model, "--calls", where.calls, "--access-log", str(folder / "log")]
    options += ["--certfile", str(certificate.pem)] if where.tls else []
    options += ["--call-timeout", "3"] if where.limited else []
    env = {"REAL_NOTED": str(folder / "noted"), **({"ALLCOMERS_PURE": "1"} if where.pure else {})}
    with serving("run", APP, *options, env=env, quiet=False) as server:
        yield Site(server, folder / "noted", folder / "log", where, certificate.for_threads if where.tls else None)
        expected = re.findall("^ *ValueError: on purpose|^ *wsproto.*: Missing header", server.stderr, re.MULTILINE)
        # python-engineio's writer may close a WebSocket that its reader has closed just now: "Bad file descriptor".
        closed_twice = re.findall(r"the thread \S+ \(writer\) has ended", server.stderr)
        assert server.stderr.count("Traceback") == len(expected) + len(closed_twice)


# ------------------------------------------------------------ flask-sock


def test_messages_come_back(site: Site) -> None:
    messages: list[str | bytes] = ["hello", "€" * 100, b"\xff" * 70_000, "x" * 1_000_000]
    with site.socket(subprotocols=["chat"], max_size=None) as websocket:
        assert websocket.subprotocol == "chat"
        for message in messages:
            websocket.send(message)
            assert websocket.recv(30) == message
        for number in range(200):
            websocket.send(str(number))
        assert [websocket.recv(30) for _ in range(200)] == [str(number) for number in range(200)]


def test_the_app_closes(site: Site) -> None:
    before = site.count("closed")
    with site.socket() as websocket:
        websocket.send("close")
        with pytest.raises(ConnectionClosed):
            websocket.recv(30)
        assert websocket.close_code == 1000
    site.wait_for("closed", before + 1)
    wait_for(lambda: '"GET /echo HTTP/1.1" 101 ' in site.log.read_text(), "the log to tell of the WebSocket")


def leave(websocket: ClientConnection) -> None:
    """Close the connection without a Close frame."""
    with suppress(OSError):
        websocket.socket.shutdown(socket.SHUT_RDWR)
    websocket.socket.close()


@pytest.mark.parametrize("how", ["closes", "ends", "resets"])
def test_an_app_is_told_that_its_client_leaves(site: Site, how: str) -> None:
    left, closed = site.count("left"), site.count("closed")
    with site.socket() as websocket:
        websocket.send("a")
        assert websocket.recv(30) == "a"
        if how == "resets":
            websocket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how != "closes":
            leave(websocket)
    site.wait_for("left", left + 1)
    site.wait_for("closed", closed + 1)
    assert site.hello() == b"hello"


def test_one_that_sends_learns_it_too(site: Site) -> None:
    def notes() -> str:
        return site.noted.read_text() if site.noted.exists() else ""

    before = notes()
    with site.socket("/pushes") as websocket:
        websocket.recv(30)
        leave(websocket)
    wait_for(lambda: notes() != before, "the app to note that its client is gone")


def test_an_app_that_fails_in_the_middle(site: Site) -> None:
    """A response is impossible by then: the client sees the end."""
    with site.socket() as websocket:
        websocket.send("fail")
        with pytest.raises(ConnectionClosed):
            websocket.recv(30)
    assert site.hello() == b"hello"


def test_many_at_once(site: Site) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(site.socket()) for _ in range(8)]
        for number, websocket in enumerate(sockets):
            websocket.send(f"to {number}")
        assert [websocket.recv(30) for websocket in sockets] == [f"to {number}" for number in range(8)]


def talk(site: Site, data: bytes) -> socket.socket:
    sock = site.server.connect(site.trusted)
    sock.sendall(data)
    return sock


def test_frames_that_come_with_the_handshake_are_heard(site: Site) -> None:
    text, close = b"\x81\x85\x00\x00\x00\x00early", b"\x88\x80\x00\x00\x00\x00"  # masked with zeros
    with talk(site, b"GET /echo HTTP/1.1\r\nHost: a\r\n" + UPGRADE + KEY + b"\r\n" + text) as sock:
        data = b""
        while not data.endswith(b"\r\n\r\n\x81\x05early"):
            data += sock.recv(1000)
        assert data.startswith(b"HTTP/1.1 101 ")
        sock.sendall(close)
        assert receive_all(sock) == b"\x88\x00"


def test_who_knows_gunicorn_alone(site: Site) -> None:
    with talk(site, b"GET /gunicorn HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst") as sock:
        data = b""
        while not data.endswith(b"\r\n\r\nFIRST"):
            data += sock.recv(1000)
        assert data.startswith(b"HTTP/1.1 101 ")
        sock.sendall(b"x" * 100_000)
        while len(data) < 100_000:
            data += sock.recv(65536)
        if site.trusted is None:
            sock.shutdown(socket.SHUT_WR)
            data += receive_all(sock)
            assert data.partition(b"\r\n\r\n")[2] == b"FIRST" + b"X" * 100_000


def test_an_app_may_answer_as_ever(site: Site) -> None:
    """RFC 9110, 7.8: a server may ignore Upgrade. The connection goes on."""
    ask = b"GET /plain HTTP/1.1\r\nHost: a\r\n%b\r\n"
    upgrade = b"Connection: Upgrade\r\nUpgrade: something\r\n"
    with talk(site, ask % upgrade + ask % b"" + ask % b"Upgrade: x\r\nConnection: close\r\n") as sock:
        answers = receive_all(sock)
    found = re.findall(rb"HTTP/1.1 (\d+) .*?\r\n\r\n(\[.*?\])", answers, re.DOTALL)
    assert found == [(b"200", b"[True, True]"), (b"200", b"[False, False]"), (b"200", b"[False, False]")]


def test_http_1_0_has_no_upgrade(site: Site) -> None:
    with talk(site, b"GET /plain HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: something\r\n\r\n") as sock:
        assert receive_all(sock).endswith(b"[False, False]")


def test_a_bad_handshake_is_for_the_app_to_refuse(site: Site) -> None:
    head = b"GET /echo HTTP/1.1\r\nHost: a\r\n" + UPGRADE + KEY.replace(b"Version", b"Edition")
    with talk(site, head + b"\r\nGET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as sock:
        assert re.findall(rb"HTTP/1.1 (\d+)", receive_all(sock)) == [b"500", b"200"]


def test_a_websocket_lasts_longer_than_a_call_may(site: Site) -> None:
    if not site.where.limited:
        pytest.skip("where calls have a limit")
    with site.socket() as websocket:
        with pytest.raises(TimeoutError):
            websocket.recv(4)
        websocket.send("still here")
        assert websocket.recv(30) == "still here"
    assert "has not ended" not in site.server.stderr


# ------------------------------------------------------------ Flask-SocketIO


class SocketIoClient:
    """A Socket.IO client, and the events it has received."""

    def __init__(self, site: Site, transports: list[str]) -> None:
        session = requests.Session()
        session.trust_env = False
        session.verify = False
        self.events: SimpleQueue[Any] = SimpleQueue()
        self.client = socketio.Client(http_session=session, ssl_verify=False, reconnection=False)
        self.client.on("heard", self.events.put)
        self.client.on("told", self.events.put)
        self.client.connect(site.address("http"), transports=transports, wait_timeout=30)

    def close(self) -> None:
        self.client.disconnect()
        self.client.wait()


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"], ["polling"]], ids="+".join)
@pytest.mark.filterwarnings("ignore")  # the clients' own: of certificates that they do not check
def test_socket_io(site: Site, transports: list[str]) -> None:
    if site.where.model == "process" and "polling" in transports:
        pytest.skip("each connection has a process of its own, and a session is in one")
    one, other = SocketIoClient(site, transports), SocketIoClient(site, transports)
    try:
        assert one.client.transport() == transports[-1]
        assert one.client.call("shout", "hello", timeout=30) == "5 letters"
        assert one.events.get(timeout=30) == "HELLO"
        if site.where.model != "process":
            one.client.emit("all", "x" * 50_000)
            assert one.events.get(timeout=30) == other.events.get(timeout=30) == "x" * 50_000
    finally:
        one.close()
        other.close()


# ------------------------------------------------------------ when the server leaves


@pytest.mark.parametrize("model", ["thread", "thread-pool", "process"])
def test_a_server_that_leaves_waits_and_then_ends_it(model: str, tmp_path: Path) -> None:
    env = {"REAL_NOTED": str(tmp_path / "noted")}
    with serving("run", APP, "-m", model, "--graceful-timeout", "2", env=env) as server:
        with connect(f"ws://localhost:{server.address[1]}/echo", proxy=None) as websocket:
            websocket.send("a")
            assert websocket.recv(30) == "a"
            server.send(signal.SIGTERM)
            websocket.send("b")  # it is served until the time is up
            assert websocket.recv(30) == "b"
            with pytest.raises(ConnectionClosed):
                websocket.recv(30)
        assert server.stop() == 0


@pytest.mark.parametrize("model", ["thread", "process"])
def test_one_that_ends_in_time_is_waited_for(model: str, tmp_path: Path) -> None:
    env = {"REAL_NOTED": str(tmp_path / "noted")}
    with serving("run", APP, "-m", model, env=env) as server:
        with connect(f"ws://localhost:{server.address[1]}/echo", proxy=None) as websocket:
            websocket.send("a")
            assert websocket.recv(30) == "a"
            server.send(signal.SIGTERM)
            websocket.send("close")
            with pytest.raises(ConnectionClosed):
                websocket.recv(30)
            assert websocket.close_code == 1000
        assert server.stop() == 0
        assert (tmp_path / "noted").read_text().split() == ["opened", "closed"]


def test_threads_and_descriptors_are_given_back(certificate: Certificate, tmp_path: Path) -> None:
    options = ["-m", "thread", "--certfile", str(certificate.pem)]
    with serving("run", APP, *options, env={"REAL_NOTED": str(tmp_path / "noted")}) as server:
        (worker,) = server.workers()

        def held() -> tuple[int, int]:
            return tuple(len(list(Path(f"/proc/{worker}/{kind}").iterdir())) for kind in ("task", "fd"))  # type: ignore[return-value]

        def one() -> None:
            address = f"wss://localhost:{server.address[1]}/echo"
            with connect(address, ssl=certificate.for_threads, proxy=None) as websocket:
                websocket.send("x" * 20_000)
                assert len(websocket.recv(30)) == 20_000

        one()
        home = wait_for(lambda: held()[0] == 1 and held(), "the threads of the first to end")
        threads = [threading.Thread(target=one) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: held() <= home, f"threads and descriptors to be given back: {home}")


# ------------------------------------------------------------ where there is none


WITHOUT = chosen(
    [("epoll", "auto", True), ("epoll", "inline", False), ("asyncio", "pool", False), ("iterative", "inline", True)],
    [
        (model, calls, pure)
        for model, every in {
            "iterative": ("inline", "pool"),
            **dict.fromkeys(("select", "poll", "epoll", "epoll-et"), ("inline", "pool", "auto")),
            "asyncio": ("inline", "pool"),
        }.items()
        for calls in every
        for pure in (False, True)
    ],
)


@pytest.mark.parametrize(("model", "calls", "pure"), WITHOUT)
def test_elsewhere_the_answer_says_what_to_use(model: str, calls: str, pure: bool) -> None:
    env = {"ALLCOMERS_PURE": "1"} if pure else {}
    with serving("run", APP, "-m", model, "--calls", calls, env=env, quiet=False) as server:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://localhost:{server.address[1]}/echo", proxy=None)
        answer = refused.value.response
        assert answer.status_code == 501
        assert answer.body == b"WebSockets of WSGI apps need --model thread, thread-pool, process or gevent.\n"
        with server.connect() as sock:
            ask = b"GET /plain HTTP/1.1\r\nHost: a\r\n%b\r\n"
            sock.sendall(ask % UPGRADE.replace(b"websocket", b"x") + ask % b"Connection: close\r\n")
            assert re.findall(rb"(\d+) OK|(\[.*?\])", receive_all(sock)) == [
                (b"200", b""), (b"", b"[True, True]"), (b"200", b""), (b"", b"[False, False]"),
            ]  # fmt: skip
        found = Site(server, Path(), Path(), Where(model, calls), None)
        if calls != "inline" and model != "iterative":  # else its own polling would keep it out
            client = SocketIoClient(found, ["polling", "websocket"])
            assert client.client.transport() == "polling"
            assert client.client.call("shout", "hello", timeout=30) == "5 letters"
            client.close()
