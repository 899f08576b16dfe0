"""--max-connections-per-client: over all workers, by address or IPv6 /64, on every model; a worker's end forgets."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.crowd import exchange, receive, request
from support.harness import Server, chosen, receive_all, serving, wait_for

APP = """
import allcomers

class App(allcomers.Web):
    def get(self, request):
        return "hello"
"""
MODELS = ["thread", "process", "thread-pool", "select", "poll", "epoll", "epoll-et", "asyncio"]
PLAIN = {"ALLCOMERS_PURE": "1"}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


def announced(address: str) -> bytes:
    kind = "TCP6" if ":" in address else "TCP4"
    return f"PROXY {kind} {address} {address} 5000 80\r\n".encode() if address else b""


def ask(server: Server, stack: ExitStack, address: str = "") -> tuple[int, socket.socket]:
    """The status of a request on a connection that stays open, and that connection."""
    sock = stack.enter_context(server.connect())
    sock.sendall(announced(address) + request())
    return receive(sock).status, sock


@pytest.mark.parametrize("address", ["", "192.0.2.1"])
@pytest.mark.parametrize(
    ("model", "env"),
    [*((model, {}) for model in chosen(["thread", "process", "epoll", "asyncio"], MODELS)), ("epoll", PLAIN)],
)
def test_a_client_has_so_many_connections_over_all_workers(
    app: Path, model: str, env: dict[str, str], address: str
) -> None:
    arguments = [
        "-m",
        model,
        "-w",
        "2",
        "--max-connections-per-client",
        "3",
        *(["--proxy-protocol"] if address else []),
    ]
    with serving("run", f"{app}:App", *arguments, env=env) as server, ExitStack() as stack:
        found = [ask(server, stack, address) for _ in range(3)]
        assert [status for status, _ in found] == [200] * 3
        status, refused = ask(server, stack, address)
        assert status == 503
        assert receive_all(refused) == b""
        for _, sock in found:
            assert exchange(sock).status == 200  # these stay
        found[0][1].close()

        def has_room() -> bool:
            with ExitStack() as brief:
                return ask(server, brief, address)[0] == 200

        wait_for(has_room, "its place to be given back")
        if address:
            assert ask(server, stack, "192.0.2.2")[0] == 200
    lines = [line for line in server.stderr.splitlines() if "--max-connections-per-client" in line]
    assert 1 <= len(lines) <= 2, "one for each worker"
    assert lines[0].endswith(f"already, the last of {address or '127.0.0.1'}")


@pytest.mark.parametrize("model", chosen(["epoll", "process"], MODELS))
def test_a_worker_that_is_killed_leaves_no_count(app: Path, model: str) -> None:
    with serving("run", f"{app}:App", "-m", model, "--max-connections-per-client", "2", quiet=False) as server:
        for _ in range(3):
            with ExitStack() as stack:
                assert [ask(server, stack)[0] for _ in range(3)] == [200, 200, 503]
                (worker,) = server.workers()
                os.kill(worker, signal.SIGKILL)
                wait_for(lambda gone=worker: gone not in server.workers() and server.workers(), "another worker")


def test_clients_behind_a_network_of_64_bits_are_one(app: Path) -> None:
    arguments = ["--max-connections-per-client", "1", "--proxy-protocol", "-m", "epoll"]
    with serving("run", f"{app}:App", *arguments) as server, ExitStack() as stack:
        assert ask(server, stack, "2001:db8:1:2::1")[0] == 200
        assert ask(server, stack, "2001:db8:1:2:ffff::2")[0] == 503
        assert ask(server, stack, "2001:db8:1:3::1")[0] == 200
        assert ask(server, stack, "192.0.2.7")[0] == 200
        assert ask(server, stack, "::ffff:192.0.2.7")[0] == 503


def test_peers_of_a_unix_socket_are_not_counted(app: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    arguments = ["--max-connections-per-client", "1", "-m", "epoll"]
    with serving("run", f"{app}:App", *arguments, bind=f"unix:{path}"), ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(30)
            sock.connect(str(path))
            assert exchange(sock).status == 200


def test_a_reload_turns_it_on(app: Path, tmp_path: Path) -> None:
    (tmp_path / "allcomers.toml").write_text("")
    with serving("run", "app.py:App", "-m", "epoll", cwd=tmp_path) as server:
        with ExitStack() as stack:
            assert [ask(server, stack)[0] for _ in range(3)] == [200] * 3
        (old,) = server.workers()
        (tmp_path / "allcomers.toml").write_text("max-connections-per-client = 2\n")
        server.send(signal.SIGHUP)
        wait_for(lambda: server.workers() and old not in server.workers(), "the new worker")
        with ExitStack() as stack:
            assert [ask(server, stack)[0] for _ in range(3)] == [200, 200, 503]
