"""A server has its address from the start, and listens once a worker is ready."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.harness import PATIENCE, chosen, free_port, wait_for

APP = """
import os, time
from pathlib import Path

def load():
    Path(f"loading-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    if Path("go").read_text() == "fail":
        raise RuntimeError("no database")

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"Hello"]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        load()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"Hello"})
"""
WSGI = APP + "\nload()\n"
SECOND_WAITS = APP + "\nif list(Path().glob('loaded-*')):\n    load()\nPath(f'loaded-{os.getpid()}').touch()\n"
MODELS = ("iterative", "process", "thread", "thread-pool", "select", "poll", "epoll", "epoll-et", "asyncio")
CASES = [(name, model) for name in ("wsgi", "asgi") for model in MODELS]
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Loading:
    """A server whose app is loaded when go() says so.

    address  of the server: host and port, or a path
    """

    def __init__(self, folder: Path, address: Any, name: str, *arguments: str, **keywords: Any) -> None:
        self.address = address
        self._folder = folder
        self._errors = folder / f"stderr-{os.urandom(4).hex()}"
        command = [sys.executable, "-m", "allcomers", "run", f"app.py:{name}", *arguments]
        if "pass_fds" not in keywords:
            command += ["--bind", f"unix:{address}" if isinstance(address, str) else "{}:{}".format(*address)]
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(command, cwd=folder, stderr=errors, **keywords)

    @property
    def stderr(self) -> str:
        return self._errors.read_text()

    def wait_until_loading(self, workers: int = 1) -> None:
        wait_for(lambda: len(list(self._folder.glob("loading-*"))) >= workers, "the app to be loaded")

    def go(self, word: str = "well") -> None:
        (self._folder / "go.tmp").write_text(word)
        (self._folder / "go.tmp").rename(self._folder / "go")

    def connect(self) -> int:
        """Return the error of connect(2): 0 where the server listens."""
        with _socket(self.address) as sock:
            return sock.connect_ex(self.address)

    def ask(self) -> bytes:
        with _socket(self.address) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(self.address)
            sock.sendall(GET)
            return sock.makefile("rb").read()

    def wait_until_listening(self) -> None:
        wait_for(lambda: "Listening at" in self.stderr, "the server to listen")

    def end(self) -> int:
        """Return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()


def _socket(address: Any) -> socket.socket:
    return socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)


@contextmanager
def loading(folder: Path, address: Any, name: str, *arguments: str, **keywords: Any) -> Iterator[Loading]:
    (folder / "app.py").exists() or (folder / "app.py").write_text(WSGI if name == "wsgi" else APP)
    server = Loading(folder, address, name, *arguments, **keywords)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def address() -> tuple[str, int]:
    """An address that is free."""
    return "127.0.0.1", free_port()


@pytest.mark.parametrize(
    ("name", "model"),
    chosen(
        [("wsgi", "epoll"), ("wsgi", "thread"), ("wsgi", "iterative"), ("asgi", "asyncio"), ("asgi", "poll")], CASES
    ),
)
def test_until_a_worker_is_ready_connections_are_refused(
    tmp_path: Path, address: tuple[str, int], name: str, model: str
) -> None:
    with loading(tmp_path, address, name, "-m", model) as server:
        server.wait_until_loading()
        assert server.connect() == errno.ECONNREFUSED
        assert server.stderr == ""
        server.go()
        server.wait_until_listening()
        assert server.ask().endswith(b"Hello")
        assert server.end() == 0


def test_at_the_start_if_that_is_asked_for(tmp_path: Path, address: tuple[str, int]) -> None:
    with loading(tmp_path, address, "wsgi", "--listen-when", "start") as server:
        server.wait_until_loading()
        with socket.create_connection(address, timeout=PATIENCE) as early:
            early.sendall(GET)
            assert "Listening at" not in server.stderr
            server.go()
            assert early.makefile("rb").read().endswith(b"Hello")


def test_the_first_worker_that_is_ready_listens(tmp_path: Path, address: tuple[str, int]) -> None:
    (tmp_path / "app.py").write_text(SECOND_WAITS)
    with loading(tmp_path, address, "wsgi", "-w", "2") as server:
        server.wait_until_loading()
        assert server.ask().endswith(b"Hello")
        assert "Listening at" not in server.stderr  # it is said when all are ready
        server.go()
        server.wait_until_listening()


def test_one_that_cannot_load_its_app_never_listens(tmp_path: Path, address: tuple[str, int]) -> None:
    with loading(tmp_path, address, "asgi", "--lifespan", "on") as server:
        server.wait_until_loading()
        assert server.connect() == errno.ECONNREFUSED
        server.go("fail")
        assert server.process.wait(PATIENCE) != 0
        assert "Listening at" not in server.stderr


@pytest.mark.parametrize("model", ["epoll", "thread", "asyncio"])
def test_term_while_the_app_is_loaded(tmp_path: Path, address: tuple[str, int], model: str) -> None:
    with loading(tmp_path, address, "wsgi", "-m", model) as server:
        server.wait_until_loading()
        server.process.send_signal(signal.SIGTERM)
        server.go()
        assert server.end() == 0
        assert "Traceback" not in server.stderr


# ------------------------------------------------------------ an address that is taken


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("used_before", [False, True])
def test_an_address_is_taken_before_its_server_listens(
    tmp_path: Path, address: tuple[str, int], host: str, used_before: bool
) -> None:
    if used_before:
        leave_in_time_wait(address)
    with loading(tmp_path, address, "wsgi") as first:
        first.wait_until_loading()
        with loading(tmp_path, (host, address[1]), "wsgi") as second:
            assert second.process.wait(PATIENCE) == 1
            assert f"cannot listen on {host}:{address[1]}: Address already in use; another program" in second.stderr
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(address)
        first.go()
        first.wait_until_listening()
        assert first.ask().endswith(b"Hello")


def leave_in_time_wait(address: tuple[str, int]) -> None:
    """Listen there as servers do, serve a peer, and close first."""
    with socket.create_server(address) as listener, socket.create_connection(address) as peer:
        listener.accept()[0].close()
        assert peer.recv(1) == b""


def test_a_restart_listens_where_connections_of_the_last_server_remain(
    tmp_path: Path, address: tuple[str, int]
) -> None:
    for _ in range(2):
        with loading(tmp_path, address, "wsgi") as server:
            server.go()
            server.wait_until_listening()
            assert server.ask().endswith(b"Hello")
            assert server.end() == 0


def test_a_unix_socket_is_taken_before_its_server_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with loading(tmp_path, path, "wsgi") as first:
        first.wait_until_loading()
        assert first.connect() == errno.ECONNREFUSED
        with loading(tmp_path, path, "wsgi") as second:
            assert second.process.wait(PATIENCE) == 1
            assert f"cannot listen on unix:{path}: Address already in use" in second.stderr
        first.go()
        first.wait_until_listening()
        assert first.ask().endswith(b"Hello")


@pytest.mark.parametrize("is_unix", [False, True])
def test_of_servers_that_start_at_once_one_has_the_address(
    tmp_path: Path, address: tuple[str, int], is_unix: bool
) -> None:
    if is_unix:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(tmp_path / "socket"))
    else:
        leave_in_time_wait(address)
    with ExitStack() as stack:
        where = str(tmp_path / "socket") if is_unix else address
        servers = [stack.enter_context(loading(tmp_path, where, "wsgi")) for _ in range(4)]
        wait_for(lambda: sum(server.process.poll() == 1 for server in servers) == 3, "three to be refused")
        (first,) = [server for server in servers if server.process.poll() is None]
        first.go()
        first.wait_until_listening()
        assert first.ask().endswith(b"Hello")


def test_a_socket_that_is_passed_in_listens_when_a_worker_is_ready_too(tmp_path: Path) -> None:
    with socket.socket() as passed:
        passed.bind(("127.0.0.1", 0))
        fd = passed.fileno()
        with loading(tmp_path, passed.getsockname(), "wsgi", "--bind", f"fd://{fd}", pass_fds=[fd]) as server:
            server.wait_until_loading()
            assert server.connect() == errno.ECONNREFUSED
            server.go()
            server.wait_until_listening()
            assert server.ask().endswith(b"Hello")


def test_an_address_that_another_took_meanwhile_ends_the_server(tmp_path: Path) -> None:
    with socket.socket() as passed, socket.socket() as other:
        for sock in (passed, other):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        passed.bind(("127.0.0.1", 0))
        other.bind(passed.getsockname())
        other.listen()
        fd = passed.fileno()
        with loading(tmp_path, passed.getsockname(), "wsgi", "--bind", f"fd://{fd}", pass_fds=[fd]) as server:
            server.wait_until_loading()
            server.go()
            assert server.process.wait(PATIENCE) == 1
            assert server.stderr.startswith("allcomers: cannot listen on tcp://127.0.0.1:")
            assert "Address already in use; another program listens there" in server.stderr
            assert server.stderr.count("\n") == 1
