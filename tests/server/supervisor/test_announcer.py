"""The log of a server's life: what is served, how long a reload took, what was done; and the names of its processes."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from allcomers.protocol.compiled import KIND
from support.harness import PATIENCE, Server, ask, serving, wait_for

APPS = """
import allcomers

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("there is none")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

class Page(allcomers.Web):
    def get(self, request):
        return b"ok"

joined = allcomers.routes({"/wsgi/": wsgi, "/": asgi})

class Echo(allcomers.Service):
    def request(self, line):
        return line
"""

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def apps(tmp_path: Path) -> str:
    path = tmp_path / "apps.py"
    path.write_text(APPS)
    return str(path)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("wsgi", [], "a WSGI app; epoll, 1 worker, calls auto"),
        ("wsgi", ["-m", "process", "-w", "2"], "a WSGI app; process, 2 workers, calls inline"),
        ("asgi", [], "an ASGI app; asyncio, 1 worker, calls inline"),
        ("joined", [], "a table of apps; asyncio, 1 worker, calls pool"),
        ("Page", ["-m", "thread", "--calls", "pool"], "a web handler; thread, 1 worker, calls pool"),
        ("Echo", ["-m", "poll"], "a TCP service; poll, 1 worker, calls inline"),
    ],
)
def test_it_tells_what_the_target_was_taken_for(apps: str, name: str, arguments: list[str], words: str) -> None:
    with serving("run", f"{apps}:{name}", *arguments) as server:
        wait_for(lambda: " calls " in server.stderr, "the line")
        _, line = server.stderr.splitlines()
    time, pid, text = line.split(" ", 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", time)
    assert pid == f"[{server.pid}]"
    assert re.fullmatch(
        rf"INFO allcomers \S+ \({KIND}, Python 3\.\d+\.\d+\): {re.escape(apps)}:{name} is {re.escape(words)}", text
    )


def test_a_folder_is_a_site() -> None:
    with serving("serve", "examples/site") as server:
        wait_for(lambda: " calls " in server.stderr, "the line")
    assert "): examples/site is a site; " in server.stderr


@pytest.mark.parametrize("model", ["epoll", "process", "asyncio", "thread"])
def test_the_counts_are_of_all_workers_and_all_that_were_replaced(apps: str, model: str) -> None:
    with serving("run", f"{apps}:wsgi", "-m", model, "-w", "2") as server:
        for _ in range(3):
            ask(server, GET)
        server.send(signal.SIGHUP)
        wait_for(lambda: re.search(r" INFO reloaded in \d+\.\d s\n", server.stderr), "the reload")
        for _ in range(2):
            ask(server, GET)
        assert server.stop() == 0
        *_, stopping, stopped = server.stderr.splitlines()
    assert stopping.endswith(" INFO stopping: finishing the requests")
    assert re.search(r" INFO stopped after \d+\.\d s: 5 requests, 5 connections$", stopped)


def test_int_is_told_apart(apps: str) -> None:
    with serving("run", f"{apps}:wsgi") as server:
        assert server.stop(signal.SIGINT) == 0
        assert " INFO stopping: all connections are closed\n" in server.stderr
        assert server.stderr.endswith("s: 0 requests, 0 connections\n")


def test_a_server_that_never_served_tells_neither(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    server = Server("run", f"{tmp_path}/broken.py:app")
    assert server.process.wait(PATIENCE) == 3
    assert "stop" not in server.stderr
    server.stop()


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="this system has no /proc")
def test_processes_have_names(apps: str) -> None:
    with serving("run", f"{apps}:wsgi", "-w", "2", "--admin", "127.0.0.1:0") as server:
        assert name_of(server.pid) == "allcomers"
        assert sorted(map(name_of, server.workers())) == ["allcomers-admin", "allcomers-work", "allcomers-work"]
        words = Path(f"/proc/{server.workers()[0]}/cmdline").read_bytes().split(b"\0")
        assert b"run" in words  # pgrep -f finds it as before
