"""A real server that gets five times the load that it can take."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import crowd
from support.harness import ROOT, Server, chosen, serving, wait_for

APPS = f"{ROOT}/tests/support/apps/overload_apps.py"
TARGET = ("--overload-target", "0.1")
"""Requests are late when each that comes in a second has waited for longer: no stall of a busy machine is as long."""


KINDS = {
    "pool": ("waits", "--calls", "pool", "--threads", "4"),
    "pool, plain": ("waits", "--calls", "pool", "--threads", "4"),
    "thread, pool": ("waits", "--model", "thread", "--calls", "pool", "--threads", "4"),
    "auto": ("computes", "--calls", "auto"),
    "auto, plain": ("computes", "--calls", "auto"),
    "inline": ("computes", "--model", "poll", "--calls", "inline"),
    "asyncio": ("tasks",),
    "asyncio, plain": ("tasks",),
    "asyncio on poll": ("tasks", "--model", "poll"),
}


def env(kind: str) -> dict[str, str]:
    return {"ALLCOMERS_PURE": "1"} if "plain" in kind else {}


COMPILED = {name: value for name, value in os.environ.items() if name != "ALLCOMERS_PURE"}
"""The environment of the load: in plain Python it could not send five times what a server answers."""


def load(server: Server, *arguments: str) -> dict[str, Any]:
    """Run `allcomers load`; return its figures."""
    url = "http://{}:{}/".format(*server.address)
    command = [sys.executable, "-m", "allcomers", "load", url, "-q", "--json", "-", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=COMPILED, capture_output=True, text=True, timeout=60, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def load_five_times(server: Server, peak: float) -> dict[str, Any]:
    """Load the server with five times its peak; again with more if it turns out that the machine was busy when that was
    measured."""
    for _ in range(6):
        over = load(server, "-r", f"{5 * peak:.0f}", "-c150", "-d4")
        answered = over["statuses"]["200"] / over["seconds"]
        if answered < 1.5 * peak:
            return over
        peak = answered
    raise AssertionError(f"the peak is not found: {peak:.0f} a second")


def answers(server: Server) -> bytes:
    """Return a whole response, with its head."""
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := sock.recv(65536):
            data += piece
        return data


@pytest.mark.parametrize("kind", chosen(("pool", "thread, pool", "auto, plain", "inline", "asyncio"), [*KINDS]))
def test_at_five_times_the_load_as_many_are_answered_and_the_rest_is_refused_at_once(kind: str) -> None:
    app, *options = KINDS[kind]
    with serving("run", f"{APPS}:{app}", *options, *TARGET, env=env(kind)) as server:
        alone = "-c4" if app == "waits" else "-c2", "-d1"
        figures = load(server, *alone)
        assert figures["statuses"].keys() == {"200"}
        peak, over = figures["tps"], load_five_times(server, figures["tps"])
        assert over["statuses"].keys() == {"200", "503"}
        assert over["failed"] == 0
        assert over["statuses"]["503"] > over["statuses"]["200"]
        wait_for(lambda: "overload: requests wait" in server.stderr, "a line in the log")
        wait_for(lambda: load(server, "-c2", "-n40")["statuses"] == {"200": 40}, "two clients to be served again")
        slower = min(peak, load(server, *alone)["tps"])  # the machine may have become busy meanwhile
        assert over["statuses"]["200"] / over["seconds"] > slower / 2


@contextmanager
def overloaded(server: Server) -> Iterator[None]:
    """Load the server with more than it can take, for the length of a block."""
    url = "http://{}:{}/".format(*server.address)
    command = [sys.executable, "-m", "allcomers", "load", url, "-q", "-r", "1000", "-c150", "-d60", "--timeout", "5"]
    process = subprocess.Popen(command, cwd=ROOT, env=COMPILED, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def refusal(server: Server) -> bytes:
    """Load the server until it refuses a request; return that refusal."""
    with overloaded(server):
        found: bytes = wait_for(lambda: (data := answers(server)).startswith(b"HTTP/1.1 503") and data, "a refusal")
        return found


@pytest.mark.parametrize("kind", ["pool, plain", "auto", "asyncio, plain"])
def test_a_refusal_names_a_time_to_try_again(kind: str) -> None:
    app, *options = KINDS[kind]
    with serving("run", f"{APPS}:{app}", *options, *TARGET, env=env(kind)) as server:
        head, _, body = refusal(server).partition(b"\r\n\r\n")
        assert b"\r\nRetry-After: 1\r\n" in head
        assert b"\r\nContent-Length: %d\r\n" % len(body) in head
        assert body == b"The server is overloaded; try again in a moment.\n"


@pytest.mark.parametrize("kind", ["pool", "auto", "asyncio"])
def test_a_refused_client_keeps_its_connection(kind: str) -> None:
    """Also behind a body that it has sent, which is received and dropped."""
    app, *options = KINDS[kind]
    request = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello"
    with serving("run", f"{APPS}:{app}", *options, *TARGET) as server, ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(20)]

        def at_once() -> Counter[int]:
            for sock in socks:
                sock.sendall(request)
            return Counter(crowd.receive(sock).status for sock in socks)

        def in_turn() -> Counter[int]:  # so that none waits
            found: Counter[int] = Counter()
            for sock in socks:
                sock.sendall(request)
                found[crowd.receive(sock).status] += 1
            return found

        with overloaded(server):
            wait_for(lambda: at_once()[503], "a refusal")
        wait_for(lambda: in_turn() == at_once() == {200: 20}, "answers once the load is gone")


def test_off_lets_all_wait() -> None:
    with serving("run", f"{APPS}:waits", "--calls", "pool", "--threads", "4", "--overload", "off") as server:
        over = load(server, "-r", "400", "-c150", "-d2")
        assert over["statuses"].keys() == {"200"}
        assert "overload:" not in server.stderr


def test_below_its_capacity_a_server_refuses_nothing() -> None:
    with serving("run", f"{APPS}:waits", "--calls", "pool", "--threads", "4", *TARGET) as server:
        assert load(server, "-r", "30", "-c50", "-d3")["statuses"].keys() == {"200"}


def test_calls_that_hang_refuse_what_comes_behind_them(tmp_path: Path) -> None:
    """No thread takes anything from the queue; what is in it is served when they are free again."""
    (tmp_path / "hanging.py").write_text(
        "import time\n"
        "def app(environ, start_response):\n"
        "    time.sleep(float(environ['QUERY_STRING'] or 0))\n"
        "    start_response('200 OK', [('Content-Length', '0')])\n"
        "    return []\n"
    )
    arguments = ("run", f"{tmp_path}/hanging.py:app", "--calls", "pool", "--threads", "2", *TARGET)
    with serving(*arguments) as server:
        hanging = [ask(server, "/?5"), ask(server, "/?5")]
        time_out = time.monotonic() + 5

        def refused() -> bool:
            with ask(server, "/") as sock:
                sock.settimeout(0.1)
                try:
                    return sock.recv(65536).startswith(b"HTTP/1.1 503")
                except TimeoutError:
                    return False

        wait_for(refused, "a refusal")
        assert time.monotonic() < time_out
        for sock in hanging:
            with sock:
                assert crowd.receive(sock).status == 200


def ask(server: Server, path: str) -> socket.socket:
    sock = server.connect()
    sock.sendall(crowd.request(path))
    return sock


@pytest.mark.parametrize("model", ["thread-pool", "process"])
def test_a_peer_that_has_waited_too_long_in_the_backlog_is_refused(model: str) -> None:
    """A blocking model has a place for each peer; the others wait to be accepted."""
    options = ("--model", model, "--threads", "2", "--max-connections", "2", *TARGET)
    with serving("run", f"{APPS}:waits", *options) as server:
        over = load(server, "-r", "400", "-c200", "-d4", "--no-keep-alive", "--timeout", "5")
        assert over["statuses"].keys() == {"200", "503"}
        wait_for(lambda: "overload: requests wait" in server.stderr, "a line in the log")
        assert answers(server).startswith(b"HTTP/1.1 200")


def test_refusals_are_counted_and_logged(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    arguments = ("--calls", "pool", "--threads", "4", "--admin", "127.0.0.1:0", "--access-log", str(log))
    with serving("run", f"{APPS}:waits", *arguments, *TARGET) as server:
        over = load(server, "-r", "500", "-c150", "-d3")
        statuses = {int(status): count for status, count in over["statuses"].items()}
        found = re.search(r"Admin at: (http://\S+)", server.stderr)
        assert found
        command = [
            sys.executable,
            "-c",
            "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())",
        ]

        def page(path: str) -> str:
            return subprocess.run([*command, found[1].rstrip("/") + path], capture_output=True, text=True).stdout

        wait_for(lambda: json.loads(page("/stats.json"))["totals"]["shed"] == statuses[503], "all to be counted")
        assert f'allcomers_shed_requests_total{{worker="1"}} {float(statuses[503])}' in page("/metrics")
    lines = Counter(int(line.split('" ')[1].split()[0]) for line in log.read_text().splitlines())
    assert lines == statuses
    assert server.stderr.count("WARNING overload") <= 2
