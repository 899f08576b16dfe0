"""Sockets from systemd, and notifications to it: with real sockets, and with systemd's own tool if it is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from server.test_upgrade import upgrade, upgrading
from support.crowd import exchange, request
from support.harness import PATIENCE, ROOT, Server, free_port, serving, wait_for
from support.staged import App, fresh_answer, is_alive


class Manager:
    """The receiver of notifications, as systemd has it."""

    def __init__(self, address: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._sock.settimeout(PATIENCE)
        self.env = {"NOTIFY_SOCKET": address}

    def receive(self) -> dict[str, str]:
        """Return the next message: {"READY": "1"}."""
        return dict(line.split("=", 1) for line in self._sock.recv(4096).decode().split("\n"))

    def receive_to(self, last: dict[str, str]) -> list[dict[str, str]]:
        """Return all messages up to this one."""
        until, found = time.monotonic() + PATIENCE, [self.receive()]
        while found[-1] != last:
            assert time.monotonic() < until, found
            found.append(self.receive())
        return found

    def receive_for(self, seconds: float) -> list[dict[str, str]]:
        """Return all messages within so many seconds."""
        until, found = time.monotonic() + seconds, []
        while (left := until - time.monotonic()) > 0:
            self._sock.settimeout(left)
            try:
                found.append(self.receive())
            except TimeoutError:
                break
        self._sock.settimeout(PATIENCE)
        return found

    def close(self) -> None:
        self._sock.close()


@pytest.fixture(params=["path", "abstract"])
def any_manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@allcomers-test-{os.getpid()}")
    yield manager
    manager.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


# ------------------------------------------------------------ sd_notify(3)


def test_it_tells_how_it_goes(app: App, any_manager: Manager) -> None:
    with serving("run", app.target, "-w", "2", env=any_manager.env) as server:
        ready = any_manager.receive()
        assert (ready["READY"], ready["MAINPID"]) == ("1", str(server.pid))
        assert ready["STATUS"] == f"2 workers: http://127.0.0.1:{server.address[1]}"
        before = time.monotonic_ns() // 1000
        server.send(signal.SIGHUP)
        reloading = any_manager.receive()
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert any_manager.receive()["READY"] == "1"
        server.send(signal.SIGTERM)
        assert any_manager.receive()["STOPPING"] == "1"


def test_a_reload_that_is_given_up_ends_as_well(app: App, manager: Manager) -> None:
    with serving("run", app.target, env=manager.env, quiet=False) as server:
        manager.receive()
        app.replace("raise ValueError('broken')\n")
        server.send(signal.SIGHUP)
        assert manager.receive()["RELOADING"] == "1"
        assert manager.receive()["READY"] == "1"


def test_options_that_are_refused_end_a_reload_as_well(tmp_path: Path, manager: Manager) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    with serving("serve", str(folder), env=manager.env) as server:
        manager.receive()
        folder.rename(tmp_path / "moved")
        server.send(signal.SIGHUP)
        assert manager.receive()["RELOADING"] == "1"
        assert manager.receive()["READY"] == "1"


def test_the_delay_counts_as_stopping(app: App, manager: Manager) -> None:
    with serving("run", app.target, "--drain-delay", "100", env=manager.env) as server:
        manager.receive()
        server.send(signal.SIGTERM)
        assert manager.receive()["STOPPING"] == "1"
        assert fresh_answer(server)
        server.send(signal.SIGTERM)


def test_nobody_who_listens_is_no_trouble(app: App, tmp_path: Path) -> None:
    with serving("run", app.target, env={"NOTIFY_SOCKET": str(tmp_path / "nowhere")}) as server:
        assert fresh_answer(server)


ENVIRON_APP = """
import os
import allcomers

class App(allcomers.Web):
    def get(self, request):
        return " ".join(name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG", "LISTEN_"))) or "none"
"""


def test_the_app_does_not_see_the_variables(app: App, manager: Manager) -> None:
    app.replace(ENVIRON_APP)
    with serving("run", app.target, env={**manager.env, "WATCHDOG_USEC": "60000000"}) as server:
        assert fresh_answer(server) == b"none"


# ------------------------------------------------------------ the watchdog


def test_the_watchdog_hears_of_it_in_half_of_its_time(app: App, manager: Manager) -> None:
    with serving("run", app.target, env={**manager.env, "WATCHDOG_USEC": "2000000"}):
        assert "READY" in manager.receive()
        times = []
        for _ in range(4):
            manager.receive_to({"WATCHDOG": "1"})
            times.append(time.monotonic())
        assert max(later - before for before, later in pairwise(times)) < 2
        assert times[-1] - times[0] > 2  # three times half of it, but for the first that is heard late


def test_the_watchdog_hears_nothing_while_no_worker_answers(app: App, manager: Manager) -> None:
    env = {**manager.env, "WATCHDOG_USEC": "600000"}
    with serving("run", app.target, "--hang-timeout", "0", env=env) as server:
        manager.receive()
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        manager.receive_for(1.5)  # what was under way
        assert manager.receive_for(1.0) == []
        os.kill(worker, signal.SIGCONT)
        assert manager.receive() == {"WATCHDOG": "1"}


def test_a_watchdog_of_another_process_is_not_ours(app: App, manager: Manager) -> None:
    env = {**manager.env, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with serving("run", app.target, env=env):
        manager.receive()
        assert manager.receive_for(0.5) == []


# ------------------------------------------------------------ sd_listen_fds(3)


class Given:
    """Listening sockets, as systemd has them, and a command that passes them to another."""

    def __init__(self, *socks: socket.socket) -> None:
        self.socks = socks
        self.address = socks[0].getsockname()
        fds = [sock.fileno() for sock in socks]
        code = (
            "import os, sys\n"
            f"high = [os.dup2(fd, 100 + number) for number, fd in enumerate({fds})]\n"
            "for number, fd in enumerate(high): os.dup2(fd, 3 + number)\n"
            "os.closerange(3 + len(high), 200)\n"
            f"os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='{len(fds)}', LISTEN_FDNAMES='x:y')\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        )
        self.before = [sys.executable, "-c", code]
        for fd in fds:
            os.set_inheritable(fd, True)


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        second = stack.enter_context(socket.socket(socket.AF_UNIX))
        second.bind(str(tmp_path / "given"))
        second.listen()
        yield Given(first, second)


def start(given: Given, *arguments: str, **keywords: Any) -> Server:
    """Start a server with the sockets of `given`."""
    return Server(*arguments, before=given.before, close_fds=False, bind="", **keywords)


def ask_unix(path: Path, target: str = "/") -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        sock.sendall(request(target))
        return sock.recv(65536)


def test_sockets_that_are_handed_over_are_the_listeners(app: App, given: Given, tmp_path: Path) -> None:
    app.replace(ENVIRON_APP)
    server = start(given, "run", app.target)
    try:
        assert server.address == given.address
        assert f"Listening at: unix:{tmp_path / 'given'} " in server.stderr
        assert fresh_answer(server) == b"none"
        assert ask_unix(tmp_path / "given").endswith(b"none")
    finally:
        assert server.stop() == 0
    assert (tmp_path / "given").exists()  # it is systemd's


def test_a_bind_in_a_file_is_weaker_and_one_on_the_command_line_stronger(
    app: App, given: Given, tmp_path: Path
) -> None:
    (tmp_path / "allcomers.toml").write_text('bind = ["127.0.0.1:1"]\n')
    server = start(given, "run", app.target, cwd=tmp_path)
    assert server.address == given.address
    assert server.stop() == 0
    server = start(given, "run", app.target, "--bind", "127.0.0.1:0")
    assert server.address != given.address
    assert server.stop() == 0


def test_hup_keeps_them_and_usr2_hands_them_on(app: App, given: Given) -> None:
    with upgrading("run", app.target, before=given.before, close_fds=False, bind="") as server:
        first = server.workers()
        server.send(signal.SIGHUP)
        wait_for(lambda: server.workers() and not set(first) & set(server.workers()), "the reload")
        assert "cannot change" not in server.stderr
        new = upgrade(server, server.pid)
        assert fresh_answer(server)
        os.kill(new, signal.SIGHUP)
        wait_for(lambda: server.stderr.count("reloading") == 2, "the reload of the new server")
        assert "cannot change" not in server.stderr


def test_who_comes_while_the_server_is_restarted_waits_for_the_next(app: App, given: Given) -> None:
    server = start(given, "run", app.target)
    assert server.stop() == 0
    with socket.create_connection(given.address, timeout=PATIENCE) as sock:
        sock.sendall(request())
        server = start(given, "run", app.target)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0


def test_what_is_no_listening_stream_socket_is_refused(app: App) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        given = Given(datagrams)
        result = subprocess.run(
            [*given.before, "-m", "allcomers", "run", app.target], cwd=ROOT, close_fds=False, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr == "allcomers: cannot listen on fd://3: it is no TCP and no Unix stream socket\n"


def test_variables_for_another_process_are_not_ours(app: App) -> None:
    with serving("run", app.target, env={"LISTEN_PID": "1", "LISTEN_FDS": "1"}) as server:
        assert fresh_answer(server)


def test_a_new_server_is_told_of_by_the_old_one(app: App, manager: Manager) -> None:
    """Notify from the old server, because systemd believes only the main process (NotifyAccess=main)."""
    with upgrading("run", app.target, env={**manager.env, "WATCHDOG_USEC": "60000000"}) as server:
        manager.receive()
        new = upgrade(server, server.pid)
        taken = {"READY": "1", "MAINPID": str(new), "STATUS": "a new server has taken over"}
        messages = [*manager.receive_to(taken), *manager.receive_for(0.5)]
        assert not [message for message in messages if "STOPPING" in message]
        os.kill(new, signal.SIGTERM)
        wait_for(lambda: not is_alive(new), "its end")
        manager.receive_to({"STOPPING": "1", "STATUS": "finishing the requests"})


# ------------------------------------------------------------ systemd's own


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not installed")
def test_started_by_systemd_socket_activate(app: App) -> None:
    port = free_port()
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=web"]
    process = subprocess.Popen(
        [*command, sys.executable, "-m", "allcomers", "run", app.target], cwd=ROOT, stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: process.poll() is not None or is_open(port), "the socket")
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            assert exchange(sock).status == 200
    finally:
        process.terminate()
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert f"Listening at: http://127.0.0.1:{port} (pid {process.pid})".encode() in stderr


def is_open(port: int) -> bool:
    return f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()
