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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allcomers.commands.top.screen import screen
from allcomers.commands.top.view import Tab, View
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

    def __init__(self, place: str, width: int = 120, height: int = 40, **env: str) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        command = [sys.executable, "-m", "allcomers", "top", place]
        environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environ |= {"TERM": "xterm-256color", **env}
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

    def press(self, keys: bytes, text: str) -> str:
        """Press keys; return the first whole screen after that which has `text`."""
        self.read()
        self.output = b""
        os.write(self.ours, keys)
        wait_for(lambda: self.read() and self._drawn(text), f"{text!r} on the screen")
        return self._drawn(text)

    def _drawn(self, text: str) -> str:
        """Return a screen that is drawn to its end (ED, ECMA-48, 8.3.39) and has `text`; "" if there is none."""
        *screens, _ = self.output.decode(errors="replace").split("\x1b[J")
        return next((screen.replace("\x1b[K", "") for screen in screens if text in screen), "")

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
    made = Terminal(address(server[1]))
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
        terminal = Terminal(address(admin))
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
        terminal = Terminal(address(admin))
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


ERROR = {
    "time": 1_700_000_000.5,
    "worker": 0,
    "pid": 4321,
    "count": 3,
    "message": "GET /shop: ValueError: no such thing",
    "stack": 'Traceback (most recent call last):\n  File "shop.py", line 7, in buy\n    raise ValueError\x1b[2J',
}


def crowded(stats: dict[str, Any], workers: int = 60) -> dict[str, Any]:
    """Return figures with so many workers, the last of which does the most, and with an error."""
    one = stats["workers"][0]
    many = [{**one, "pid": 10_000 + number, "tps": float(number), "cpu": 1 / (number + 1)} for number in range(workers)]
    windows = {name: {**stats["windows"]["10"], "tps": 1000.0 * int(name)} for name in ("1", "10", "60")}
    return {**stats, "workers": many, "windows": windows, "errors": [ERROR]}


def test_keys_choose_window_order_place_and_page(server: tuple[Server, Admin]) -> None:
    with impostor(answer(crowded(server[1].stats()))) as place:
        terminal = Terminal(place, height=30, NO_COLOR="1")
        try:
            terminal.until(b"1 to 20 of 60")
            terminal.press(b"1", "TPS 1,000")
            terminal.press(b"3", "TPS 60,000")
            assert "10059" in terminal.press(b"t", "TPS▼")
            assert "10000" in terminal.press(b"c", "CPU▼")
            assert "10059" in terminal.press(b"c", "CPU▲")
            assert "10059" in terminal.press(b"nG", "41 to 60 of 60")
            assert "10001" in terminal.press(b"g\x1b[B", "2 to 21 of 60")
            assert "10000" in terminal.press(b"\x1b[5~", "1 to 20 of 60")
            assert "TPS, p99, CPU, memory" in terminal.press(b"?", " keys")
            drawn = terminal.press(b"e", "raise ValueError")
            assert re.search(r"2023-11-1[45] \d\d:\d\d:\d\d process 4321, 3 times", drawn)
            assert "no such thing" in drawn
            assert "\x1b[2J" not in drawn
            terminal.press(b"e", "1 error: e")
            os.write(terminal.ours, b"q")
            assert terminal.end() == 0
        finally:
            terminal.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(40, 200), st.integers(10, 60), st.text("123nautpcme?jkGgb\x00", max_size=8))
def test_any_size_and_keys_give_whole_lines_that_fit(
    server: tuple[Server, Admin], width: int, height: int, keys: str
) -> None:
    stats, view = crowded(STATS.setdefault("stats", server[1].stats())), View()
    for key in keys:
        view.press(key)
    lines = ["".join(text for text, _ in spans) for spans in screen([stats] * 3, view, width, height, "")]
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "q leaves" in lines[-1]
    if view.tab is Tab.WORKERS:
        assert sum(bool(re.match(r" 100\d\d +ready", line)) for line in lines) >= 1
    assert not any("Traceback" in line for line in lines) or view.tab is Tab.ERRORS


STATS: dict[str, Any] = {}


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
