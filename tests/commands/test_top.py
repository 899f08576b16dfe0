"""`allcomers top`: in a real terminal, and without a server, or with another program at its address."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from server.admin.test_admin import Admin, watched
from support.crowd import exchange
from support.harness import PATIENCE, ROOT, Server, free_port, wait_for
from support.staged import App

ENTERS, LEAVES = b"\x1b[?1049h", b"\x1b[?1049l"


def top(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "allcomers", "top", *arguments]
    environ = {**os.environ, "COLUMNS": "120", **(env or {})}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Server, Admin]]:
    with watched("--workers", "2") as (server, admin):
        with server.connect() as sock:
            exchange(sock)
            admin.stats_when(lambda stats: stats["totals"]["answered"] == 1, "an answer")
        yield server, admin


def address(admin: Admin) -> str:
    return f"{admin.address[0]}:{admin.address[1]}"


class Terminal:
    """`allcomers top` in a terminal of its own."""

    def __init__(self, admin: Admin) -> None:
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        command = [sys.executable, "-m", "allcomers", "top", address(admin)]
        environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs
        )
        self.output = b""

    def read(self) -> bool:
        while select.select([self.ours], [], [], 0)[0]:
            self.output += os.read(self.ours, 65536)
        return True

    def until(self, text: bytes) -> None:
        wait_for(lambda: self.read() and text in self.output, f"{text!r} on the screen")

    def end(self) -> int:
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            self.read()  # else it may wait for us to read
            time.sleep(0.01)
        self.read()
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(server: tuple[Server, Admin]) -> Iterator[Terminal]:
    made = Terminal(server[1])
    yield made
    made.close()


@pytest.mark.parametrize("way", ["q", "Ctrl-C"])
def test_it_leaves_the_terminal_as_it_was(terminal: Terminal, way: str) -> None:
    terminal.until(b"2 of 2 workers")
    assert ENTERS in terminal.output
    os.write(terminal.ours, b"x")  # a key that means nothing, and is not seen
    if way == "q":
        os.write(terminal.ours, b"q")
    else:
        terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    assert terminal.output.rindex(LEAVES) > terminal.output.rindex(ENTERS)
    assert b"Traceback" not in terminal.output
    assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_without_a_terminal_the_figures_are_printed_once(server: tuple[Server, Admin]) -> None:
    result = top(address(server[1]))
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    for words in ("serving", "epoll", "2 of 2 workers", "TPS", "p99", "memory"):
        assert words in result.stdout
    for worker in server[1].stats()["workers"]:
        assert re.search(rf"\b{worker['pid']}\b +ready", result.stdout)


def test_a_pipe_has_all_columns(server: tuple[Server, Admin]) -> None:
    lines = top(address(server[1]), "--once", env={"COLUMNS": "20"}).stdout.splitlines()
    head = next(line for line in lines if "process" in line)
    assert head.split() == [
        "process",
        "state",
        "age",
        "users",
        "in",
        "progress",
        "TPS",
        "p50",
        "p99",
        "lag",
        "CPU",
        "memory",
    ]
    assert any(line.split()[0] == "TPS" and "loops busy" not in line and "CPU" in line for line in lines[1:])


@pytest.mark.parametrize(("width", "columns"), [(120, "memory"), (60, "CPU"), (40, "p99")])
def test_a_narrow_terminal_has_fewer_columns_and_whole_figures(
    server: tuple[Server, Admin], width: int, columns: str
) -> None:
    stats = server[1].stats()
    stats["users"] = 1_234_567_890
    stats["workers"][0]["tps"] = 123_456_789.0
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with impostor(answer(stats)) as place:
        command = [sys.executable, "-m", "allcomers", "top", place, "--once"]
        environ = {**{name: value for name, value in os.environ.items() if name != "COLUMNS"}, "NO_COLOR": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environ, stdin=theirs, stdout=theirs, timeout=60)
    os.close(theirs)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 65536).decode())
    os.close(ours)
    assert done.returncode == 0
    assert max(len(line) for line in shown.splitlines()) <= width
    assert "…" not in shown
    for words in ("1,234,567,890", "123,456,789", str(stats["workers"][0]["pid"]), columns):
        assert words in shown


def test_the_address_may_be_that_of_the_options_here(server: tuple[Server, Admin]) -> None:
    result = top("--json", env={"ALLCOMERS_ADMIN": address(server[1])})
    assert json.loads(result.stdout)["pid"] == server[0].pid


def test_it_reports_that_the_server_is_gone() -> None:
    with watched() as (server, admin):
        terminal = Terminal(admin)
        try:
            terminal.until(b"1 of 1 workers")
            server.send(signal.SIGTERM)
            terminal.until(b"no server responds at")
            os.write(terminal.ours, b"q")
            assert terminal.end() == 0
        finally:
            terminal.close()


def test_it_has_the_range_of_workers_by_demand(server: tuple[Server, Admin]) -> None:
    with watched("--workers", "1-3") as (_, admin):
        assert "1 of 1 workers (1 to 3 by demand)" in top(address(admin), "--once").stdout
    assert "2 of 2 workers\n" in top(address(server[1]), "--once").stdout.replace(" \n", "\n")


def test_it_tells_how_a_reload_goes(app: App) -> None:
    with watched(target=app.target, quiet=False) as (server, admin):
        terminal = Terminal(admin)
        try:
            terminal.until(b"1 of 1 workers")
            (app.folder / "slow-start").touch()
            server.send(signal.SIGHUP)
            terminal.until(b"1 of 1 still to be replaced; a new worker starts")
            (app.folder / "slow-start").unlink()
            wait_for(lambda: admin.stats()["reload"]["state"] == "done", "the reload")
            (app.folder / "die").touch()
            server.send(signal.SIGHUP)
            terminal.until(b"was given up: the new worker ended before it served")
            assert b"no server responds" not in terminal.output
            os.write(terminal.ours, b"q")
            assert terminal.end() == 0
        finally:
            terminal.close()


@contextmanager
def impostor(answer: bytes) -> Iterator[str]:
    """Send this response to every client; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    sock.recv(65536)
                    sock.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def answer(body: Any, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(data), data)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not the --admin"),
        (b"", "not the --admin"),
        (answer(b"<html>"), "not the --admin"),
        (answer([1, 2]), "not the --admin"),
        (answer({"stage": "serving", "windows": {}, "workers": 5}), "not the --admin"),
        (answer(b"[" * 200_000), "not the --admin"),
        (answer({}, "404 Not Found"), "status 404"),
    ],
    ids=["ssh", "nothing", "html", "list", "shape", "deep", "404"],
)
def test_another_program_is_not_a_server(output: bytes, words: str) -> None:
    with impostor(output) as place:
        result = top(place)
    assert result.returncode == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_response_reaches_the_terminal_unescaped(server: tuple[Server, Admin]) -> None:
    stats = server[1].stats()
    stats["bind"] = ["\x1b]0;owned\x07", "\r\n[red]"]
    stats["workers"][0]["model"] = "\x1b[2J"
    with impostor(answer(stats)) as place:
        result = top(place)
    assert result.returncode == 0
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the address is missing"),
        (["here"], "is not HOST:PORT"),
        (["--often"], "allcomers top --help"),
        (["127.0.0.1:1", "127.0.0.1:2"], "one address"),
    ],
)
def test_bad_arguments_get_one_line(arguments: list[str], words: str) -> None:
    result = top(*arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_server_is_reported_with_a_remedy() -> None:
    place = f"127.0.0.1:{free_port()}"
    result = top(place)
    assert result.returncode == 1
    assert f"start a server with --admin {place}" in result.stderr
