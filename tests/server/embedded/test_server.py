"""Server: any model as an object, in the background, in this thread, on an event loop; nothing of it stays."""

from __future__ import annotations

import asyncio
import gc
import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import allcomers
from allcomers.apps.service import Service
from allcomers.errors import AppError, ConfigError, ListenError
from allcomers.models import TABLE
from support.harness import ROOT, chosen, free_port, wait_for

IN_PROCESS = [name for name, model in TABLE.items() if not model.obstacle and name not in ("process", "gevent")]


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


lives: list[str] = []


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            lives.append(phase)
            await send({"type": f"lifespan.{phase}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


class Upper(allcomers.Server):
    framing = allcomers.Delimited(b"\n")

    def __init__(self, **options: Any) -> None:
        super().__init__(port=0, **options)
        self.seen: list[bytes] = []
        self.own = 0

    def request(self, data: bytes) -> bytes:
        self.own += 1
        self.seen.append(data)
        return data.upper() + b" %d" % self.own


def get(server: allcomers.Server, path: str = "/hello") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("app", [wsgi, asgi], ids=["wsgi", "asgi"])
@pytest.mark.parametrize("model", IN_PROCESS)
def test_each_model_serves_in_the_background(app: Any, model: str) -> None:
    server = allcomers.Server(app, port=0, model=model)
    assert (server.url, server.port) == ("", 0)
    with server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert [get(server, f"/{number}") for number in range(3)] == [b"/0", b"/1", b"/2"]
    assert server.url == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.config.bind[0].rpartition(":")[2]) or 1))
    with server:  # once more
        assert get(server) == b"/hello"


@pytest.mark.parametrize(("app", "model", "calls", "limit"), chosen(
    [(wsgi, "epoll", "auto", 0), (wsgi, "thread-pool", "pool", 9), (asgi, "epoll", "", 9), (asgi, "thread", "", 0)],
    [(app, model, calls, limit) for app in (wsgi, asgi) for model in IN_PROCESS
     for calls in ("inline", "pool", "auto") for limit in (0, 9)],
))  # fmt: skip
def test_nothing_stays_of_many_starts(app: Any, model: str, calls: str, limit: float) -> None:
    options = {name: value for name, value in {"calls": calls, "call_timeout": limit}.items() if value}

    def serve_once() -> None:
        with allcomers.Server(app, port=0, model=model, **options) as server:  # type: ignore[arg-type]
            assert get(server) == b"/hello"

    serve_once()
    threads, fds = {one.ident for one in threading.enumerate()}, descriptors()
    for _ in range(20):
        serve_once()
    wait_for(lambda: {one.ident for one in threading.enumerate()} <= threads, "the threads to end")
    assert wait_for(lambda: descriptors() <= fds, "the descriptors to be closed")


def test_the_lifespan_of_an_async_app_is_that_of_the_server() -> None:
    lives.clear()
    with allcomers.Server(asgi, port=0):
        assert lives == ["startup"]
    assert lives == ["startup", "shutdown"]


@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_a_subclass_is_a_service_of_which_each_connection_has_a_copy(model: str) -> None:
    with Upper(model=model) as server:
        assert server.url == f"tcp://127.0.0.1:{server.port}"
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock, sock.makefile("rb") as lines:
                sock.sendall(b"one\ntwo\n")
                assert [lines.readline(), lines.readline()] == [b"ONE 1\n", b"TWO 2\n"]
        assert server.seen == [b"one", b"two"] * 2
        assert server.own == 0
    assert issubclass(Upper, Service)


def test_stop_finishes_the_requests_or_not() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        begun.set()
        go_on.wait(20)
        return wsgi(environ, start_response)

    server = allcomers.Server(slow, port=0, calls="pool").start()
    answers: list[bytes] = []
    asker = threading.Thread(target=lambda: answers.append(get(server)))
    asker.start()
    assert begun.wait(20)
    server.stop(wait=False)
    go_on.set()
    asker.join(20)
    server.stop()
    assert answers == [b"/hello"]

    begun.clear(), go_on.clear()
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert begun.wait(20)
        server.stop(drain=False)
        assert sock.recv(100) == b""
    go_on.set()


def test_an_app_may_stop_its_server() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        server.stop(wait=False)
        return wsgi(environ, start_response)

    server = allcomers.Server(app, port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    wait_for(lambda: server.url, "it to serve")
    assert get(server) == b"/hello"
    thread.join(20)
    assert not thread.is_alive()


# ------------------------------------------------------------ errors


def test_errors_are_raised_where_it_is_made_or_started() -> None:
    with pytest.raises(ConfigError, match=r"there is no option 'worker'; did you mean 'workers'\?"):
        allcomers.Server(wsgi, worker=2)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"max_body: '9X' is not a size"):
        allcomers.Server(wsgi, max_body="9X")
    with pytest.raises(ConfigError, match=r"needs an app"):
        allcomers.Server()
    with pytest.raises(AppError, match="there is no module"):
        allcomers.Server("no_such_module:app", port=0).start()
    with pytest.raises(AppError):
        allcomers.Server(7, port=0).start()
    with allcomers.Server(wsgi, port=0) as server:
        with pytest.raises(ListenError):
            allcomers.Server(wsgi, port=server.port).start()
        with pytest.raises(RuntimeError, match="runs already"):
            server.start()


@pytest.mark.parametrize(("options", "why"), [
    ({"workers": 2}, "workers needs a supervisor"),
    ({"admin": "127.0.0.1:0"}, "admin needs a supervisor"),
    ({"model": "process"}, "the process model forks"),
    ({"model": "gevent"}, "in a worker, before the app is loaded: it needs a supervisor"),
])  # fmt: skip
def test_what_cannot_be_in_the_background_is_refused(options: dict[str, Any], why: str) -> None:
    before = descriptors()
    with pytest.raises(ConfigError, match=why):
        allcomers.Server(wsgi, port=0, **options).start()
    assert wait_for(lambda: descriptors() <= before, "the descriptors to be closed")


def test_an_app_that_fails_to_start_leaves_nothing() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    def start() -> None:
        with pytest.raises(AppError, match="no database"):
            allcomers.Server(fails, port=0).start()

    start()  # what the process needs once, such as uvloop's own
    before = descriptors()
    start()
    assert wait_for(lambda: descriptors() <= before, "the descriptors to be closed")


# ------------------------------------------------------------ on an event loop


@pytest.mark.parametrize("app", [wsgi, asgi], ids=["wsgi", "asgi"])
def test_serve_runs_beside_other_tasks_and_leaves_none(app: Any) -> None:
    async def main() -> None:
        for _ in range(3):
            server = allcomers.Server(app, port=0)
            task = asyncio.create_task(server.serve())
            while not server.url and not task.done():
                await asyncio.sleep(0.001)
            assert await asyncio.to_thread(get, server) == b"/hello"
            server.stop(wait=False)
            await task
            assert asyncio.all_tasks() == {asyncio.current_task()}

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    asyncio.run(main())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_serve_ends_when_its_task_is_cancelled() -> None:
    async def main() -> None:
        server = allcomers.Server(asgi, port=0)
        task = asyncio.create_task(server.serve())
        while not server.url:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.url == ""

    lives.clear()
    asyncio.run(main())
    assert lives == ["startup", "shutdown"]


# ------------------------------------------------------------ in the main thread


PROGRAM = """
import sys, allcomers

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

server = allcomers.Server(app, port=int(sys.argv[1]), model=sys.argv[2])
server.serve_forever()
print("went on")
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("model", [*IN_PROCESS, "process"])
def test_serve_forever_returns_at_a_signal(model: str, signum: int, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    port = free_port()
    command = [sys.executable, "program.py", str(port), model]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:

        def answer() -> bytes | None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request("GET", "/")
                return connection.getresponse().read()
            except ConnectionRefusedError:
                assert program.poll() is None, program.communicate()
                return None
            finally:
                connection.close()

        assert wait_for(answer, "an answer") == b"ok"
        program.send_signal(signum)
        out, err = program.communicate(timeout=30)
    assert (program.returncode, out, err) == (0, "went on\n", "")


SUPERVISED = """
import os, signal, sys, threading, time, urllib.request
import allcomers

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

def client(server):
    while not server.port:
        time.sleep(0.001)
    answers.append((server.url == f"http://127.0.0.1:{server.port}", urllib.request.urlopen(server.url).read()))
    server.stop()

def descriptors():
    return len(os.listdir("/proc/self/fd"))

answers, counts = [], []
before = [signal.getsignal(signum) for signum in signal.valid_signals()]
for _ in range(4):
    server = allcomers.Server(app, port=0, **OPTIONS)
    thread = threading.Thread(target=client, args=(server,))
    thread.start()
    server.serve_forever()
    thread.join()
    assert (server.url, server.port) == ("", 0)
    counts.append(descriptors())
assert answers == [(True, b"ok")] * 4
assert counts[1:] == counts[:-1], counts
assert before == [signal.getsignal(signum) for signum in signal.valid_signals()]
"""


@pytest.mark.parametrize("options", [{"workers": 2}, {"model": "process"}, {"model": "process", "max_requests": 9}])
def test_serve_forever_with_processes_gives_all_back(options: dict[str, Any]) -> None:
    command = [sys.executable, "-c", SUPERVISED.replace("**OPTIONS", f"**{options}")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr


def test_run_has_workers_as_the_command_has() -> None:
    text = "import allcomers; allcomers.run('examples/wsgi.py:app', port=0, workers=2)"
    with subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        line = program.stderr.readline()
        assert "Listening at: http://127.0.0.1:" in line
        program.terminate()
        assert program.wait(30) == 0


def test_loadtest_returns_the_result(allcomers_server: Callable[..., allcomers.Server]) -> None:
    server = allcomers_server(wsgi)
    result = allcomers.loadtest(server.url, clients=2, duration=0.5, header=["A: b", "C: d"])
    assert result.answered > 0
    assert result.failed == 0
    with pytest.raises(ConfigError, match="no-such"):
        allcomers.loadtest(server.url, no_such=3)
