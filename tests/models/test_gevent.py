"""The gevent model: calls that wait overlap in one thread, deadlines hold, and it leaves as the other models do.

And apps that patch the standard library themselves, under every other model.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from allcomers.models import TABLE
from support.certificates import Certificate
from support.clients import Client, request
from support.harness import ROOT, Server, receive_all, serving, wait_for
from support.wires import wire

pytestmark = pytest.mark.skipif(bool(TABLE["gevent"].obstacle), reason="gevent is not installed")

APP = """
import os, pathlib, socket, threading, time, urllib.request

here, there = socket.socketpair()
MET = pathlib.Path(__file__).with_name("met")
waiting = []

def answer(path, environ):
    if path == "/sleep":
        time.sleep(0.05)
    elif path.startswith("/meet/"):  # none of so many calls ends before all have begun
        fd = os.open(MET, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b".")
        os.close(fd)
        while MET.stat().st_size < int(path[6:]):
            time.sleep(0.01)
    elif path.startswith("/wait/"):  # the same, at a socket each, as of a database
        one, other = socket.socketpair()
        waiting.append(other)
        if len(waiting) == int(path[6:]):
            threading.Timer(0.01, lambda: [each.sendall(b"!") for each in waiting]).start()
        one.recv(1)
    elif path == "/fetch":
        with urllib.request.urlopen(f"http://{environ['HTTP_HOST']}/sleep") as found:
            return found.read().decode()
    elif path == "/long":
        try:
            time.sleep(30)
        finally:
            pathlib.Path(__file__).with_name("abandoned").touch()
    elif path == "/second":
        time.sleep(1)
    elif path == "/spin":
        while True:
            pass
    return f"{os.getpid()} {type(socket.socket).__module__} {socket.socket.__module__}"

def app(environ, start_response):
    body = answer(environ["PATH_INFO"], environ).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

ASGI = """
import asyncio
PATCH
async def app(scope, receive, send):
    await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""

PATCH = "from gevent import monkey; monkey.patch_all({})\n"


def written(folder: Path, text: str, name: str = "app.py") -> str:
    (folder / name).write_text(dedent(text))
    return f"{folder / name}:app"


@contextmanager
def served(folder: Path, *options: str, text: str = APP, quiet: bool = True) -> Iterator[Server]:
    with serving("run", written(folder, text), "-m", "gevent", *options, quiet=quiet) as server:
        yield server


def at_once(server: Server, count: int, path: str) -> None:
    """Make so many requests at once, and await all answers."""
    with ExitStack() as stack:
        clients = [Client(stack.enter_context(wire(server.address, None))) for _ in range(count)]
        for client in clients:
            client.send(request("GET", path, f"X-Host: {server.address}"))
        assert [client.answer().status for client in clients] == [200] * count


def get(server: Server, path: str = "/") -> bytes:
    with wire(server.address, None) as peer:
        answer = Client(peer).ask(request("GET", path))
        return answer.body if answer.status == 200 else str(answer.status).encode()


# ------------------------------------------------------------ calls


@pytest.mark.parametrize("path", ["/meet/100", "/wait/100"])
def test_a_hundred_calls_that_wait_overlap_in_one_worker(tmp_path: Path, path: str) -> None:
    with served(tmp_path) as server:
        at_once(server, 100, path)


def test_a_call_that_requests_something_of_its_own_server(tmp_path: Path) -> None:
    with served(tmp_path) as server, socket.create_connection(server.address) as peer:
        peer.sendall(
            f"GET /fetch HTTP/1.1\r\nHost: 127.0.0.1:{server.address[1]}\r\nConnection: close\r\n\r\n".encode()
        )
        assert receive_all(peer).startswith(b"HTTP/1.1 200 ")


def test_the_app_finds_the_patched_library(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        assert get(server).endswith(b"gevent._socket3")


def test_a_call_over_its_limit_is_ended_where_it_waits(tmp_path: Path) -> None:
    with served(tmp_path, "--call-timeout", "1.5", quiet=False) as server:
        pid = get(server)
        assert get(server, "/long") == b"503"
        assert "after 1.5 s the call has not ended" in server.stderr
        assert "time.sleep(30)" in server.stderr
        assert get(server) == pid
        wait_for(lambda: (tmp_path / "abandoned").exists(), "the end of the call")


def test_a_request_has_a_limit(tmp_path: Path) -> None:
    with served(tmp_path, "--request-timeout", "1.5", quiet=False) as server:
        assert get(server, "/long") == b"503"
        assert get(server)


def test_idle_and_slow_peers_have_their_deadlines(tmp_path: Path) -> None:
    with served(tmp_path, "--keep-alive", "0.2", "--head-timeout", "2") as server:
        silent, idle = socket.create_connection(server.address), socket.create_connection(server.address)
        with silent, idle:
            silent.sendall(b"GET / HTT")
            idle.sendall(request("GET", "/"))
            assert receive_all(idle).startswith(b"HTTP/1.1 200 ")
            assert receive_all(silent).startswith(b"HTTP/1.1 408 ")


def test_idle_peers_leave_for_those_that_wait(tmp_path: Path) -> None:
    with served(tmp_path, "--max-connections", "4") as server, ExitStack() as stack:
        for _ in range(12):
            client = Client(stack.enter_context(wire(server.address, None)))
            assert client.ask(request("GET", "/")).status == 200


# ------------------------------------------------------------ ends


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_calls_under_way_are_finished(tmp_path: Path, end: signal.Signals) -> None:
    with served(tmp_path) as server, wire(server.address, None) as peer, wire(server.address, None) as idle:
        assert Client(idle).ask(request("GET", "/")).status == 200
        client = Client(peer)
        (old,) = server.workers()
        assert client.ask(request("GET", "/")).persists
        client.send(request("GET", "/second"))
        wait_for(lambda: get(server), "the call's begin")
        server.send(end)
        answer = client.answer()
        assert answer.status == 200
        assert end == signal.SIGHUP or not answer.persists  # a new worker may take longer than the call
        wait_for(lambda: old not in server.workers(), "the worker's end")


def test_a_call_that_does_not_end_is_given_up_at_the_graceful_timeout(tmp_path: Path) -> None:
    with served(tmp_path, "--graceful-timeout", "0.5") as server, wire(server.address, None) as peer:
        Client(peer).send(request("GET", "/long"))
        assert get(server)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 20  # of the 30 s that it lasts


def test_a_worker_is_replaced_after_its_requests(tmp_path: Path) -> None:
    with served(tmp_path, "--max-requests", "5") as server:
        first = get(server)
        wait_for(lambda: get(server) != first, "another worker")


def test_a_worker_whose_greenlet_keeps_the_thread_is_hung(tmp_path: Path) -> None:
    with served(tmp_path, "--hang-timeout", "2", quiet=False) as server, wire(server.address, None) as peer:
        pid = get(server)
        Client(peer).send(request("GET", "/spin"))
        wait_for(lambda: "in answer" in server.stderr, "the stack of the worker")
        wait_for(lambda: get(server) not in (b"", pid), "another worker")


# ------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        (ASGI.replace("PATCH", ""), (), "--model gevent serves no async app: leave it out, or use --model asyncio"),
        (
            APP,
            ("--calls", "pool"),
            "--calls pool does not go with --model gevent: each call has its connection's greenlet",
        ),
    ],
)
def test_what_cannot_run_is_refused_in_a_line(tmp_path: Path, text: str, options: tuple[str, ...], line: str) -> None:
    command = [sys.executable, "-m", "allcomers", "run", written(tmp_path, text), "-m", "gevent", "--check-config"]
    found = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT)
    assert (found.returncode, found.stderr) == (2, f"allcomers: {line}\n")


def test_without_the_package_a_line_says_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'gevent': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "import importlib.util as util; real = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'gevent' else real(name, *more)\n"
    )
    command = [sys.executable, "-m", "allcomers", "run", written(tmp_path, APP), "-m", "gevent"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert found.returncode == 2
    assert found.stderr.endswith("it needs gevent: pip install 'allcomers[gevent]'\n")


def test_a_process_that_was_patched_before_is_refused(tmp_path: Path) -> None:
    code = PATCH.format("") + "import sys; from allcomers.commands.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "run", written(tmp_path, APP)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "gevent has patched Python before the server was loaded" in found.stderr
    assert found.returncode == 2


# ------------------------------------------------------------ apps that patch the library themselves


OTHERS = [
    ("iterative", "inline", ""),
    ("process", "inline", ""),
    ("thread", "inline", ""),
    ("thread", "pool", "thread=False"),
    ("thread-pool", "pool", ""),
    ("select", "auto", ""),
    ("poll", "pool", ""),
    ("epoll", "auto", ""),
    ("epoll", "inline", ""),
    ("epoll", "auto", "thread=False"),
    ("epoll-et", "pool", ""),
    ("asyncio", "auto", ""),
    ("gevent", "inline", ""),
]


@pytest.mark.parametrize(("model", "calls", "how"), OTHERS, ids=map(" ".join, OTHERS))
def test_an_app_that_patches_itself_is_served(tmp_path: Path, model: str, calls: str, how: str) -> None:
    target = written(tmp_path, PATCH.format(how) + APP)
    with serving("run", target, "-m", model, "--calls", calls) as server:
        assert get(server).endswith(b"gevent._socket3")
        overlap = calls != "inline" or model in ("process", "thread", "gevent")
        at_once(server, 1 if model == "iterative" else 8, "/meet/8" if overlap else "/sleep")
        (worker,) = server.workers()
        server.send(signal.SIGHUP)
        wait_for(lambda: worker not in server.workers(), "another worker")
        assert get(server)
        has_line = "see -m gevent" in server.stderr
        assert has_line == (model != "gevent" and not how)


@pytest.mark.parametrize("model", ["thread", "epoll"])
def test_its_calls_have_a_time_limit(tmp_path: Path, model: str) -> None:
    target = written(tmp_path, PATCH.format("") + APP)
    with serving("run", target, "-m", model, "--call-timeout", "1.5", quiet=False) as server:
        assert get(server, "/long") == b"503"
        assert get(server)


@pytest.mark.parametrize("model", ["epoll", "gevent"])
def test_it_is_served_in_tls(tmp_path: Path, certificate: Certificate, model: str) -> None:
    target = written(tmp_path, PATCH.format("") + APP)
    options = ["-m", model, "--certfile", str(certificate.pem)]
    with serving("run", target, *options) as server, wire(server.address, certificate.trusted) as peer:
        assert Client(peer).ask(request("GET", "/sleep")).status == 200


@pytest.mark.parametrize("model", ["asyncio", "epoll", "thread"])
def test_an_async_app_that_patches_is_served_and_told(tmp_path: Path, model: str) -> None:
    target = written(tmp_path, ASGI.replace("PATCH", PATCH.format("")))
    with serving("run", target, "-m", model) as server:
        assert get(server) == b"hello"
        assert "asyncio.to_thread() and sync endpoints never return" in server.stderr


@pytest.mark.parametrize("how", ["", "thread=False"])
def test_threads_that_have_waited_leave_no_descriptor(tmp_path: Path, how: str) -> None:
    """Each thread that waits in gevent has a loop of its own, which nobody closes but the server."""
    target = written(tmp_path, PATCH.format(how) + APP)
    with serving("run", target, "-m", "thread") as server:
        at_once(server, 20, "/sleep")
        (worker,) = server.workers()
        wait_for(lambda: len(list(Path(f"/proc/{worker}/fd").iterdir())) < 30, "the end of the threads")
