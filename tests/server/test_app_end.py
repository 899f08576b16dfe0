"""What an app leaves at the end of its worker: it is finished as at Python's own end, in time, however that comes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.harness import PATIENCE, Server, serving, wait_for
from support.staged import App, fresh_answer, is_alive, listens_no_more

APP = '''
import asyncio, atexit, concurrent.futures, json, multiprocessing, os, subprocess, sys, threading, time
from pathlib import Path

HERE = Path(__file__).parent
executor = concurrent.futures.ThreadPoolExecutor(2)
processes = None

def note(what):
    with open(HERE / "done", "a") as file:
        file.write(f"{what}\\n")

def job(what):
    while not (HERE / "gate").exists():
        time.sleep(0.005)
    note(what)

def endless_job():
    while True:
        time.sleep(0.01)

def leave_work():
    threading.Thread(target=job, args=("thread",)).start()
    executor.submit(job, "executor")
    atexit.register(note, "atexit")
    return "left"

def leave_endless():
    threading.Thread(target=endless_job, name="endless").start()
    return "left"

def leave_exit_function():
    atexit.register(endless_job)
    return "left"

def leave_programs():
    """A program that ends at TERM, one that does not, with a child of its own; one that is a daemon on purpose."""
    deaf = "trap '' TERM; sleep 1000 & echo $! && while :; do sleep 1000; done"
    deaf = subprocess.Popen(["sh", "-c", deaf], stdout=subprocess.PIPE)
    child = int(deaf.stdout.readline())
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # the test reads those to their ends
    others = [subprocess.Popen(["sleep", "1000"], start_new_session=new, **quiet) for new in (False, True)]
    return json.dumps([deaf.pid, child, *(other.pid for other in others)])

def square(number):
    return number * number

def pids_of_pool(how):
    global processes
    if processes is None:
        processes = concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(how))
    assert list(processes.map(square, range(4))) == [0, 1, 4, 9]
    return json.dumps([os.getpid(), *processes._processes])

def leave_memory():
    from multiprocessing.shared_memory import SharedMemory
    global memory
    memory = SharedMemory(create=True, size=4096)
    return memory.name

def hang():
    child = subprocess.Popen(["sleep", "1000"])
    note(child.pid)
    time.sleep(1000)

def answer(path):
    if path.startswith("/pool/"):
        return pids_of_pool(path[6:])
    return {
        "/work": leave_work, "/endless": leave_endless, "/exit": leave_exit_function, "/programs": leave_programs,
        "/memory": leave_memory, "/hang": hang,
    }.get(path, lambda: str(os.getpid()))()

def wsgi(environ, start_response):
    body = answer(environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError(scope["type"])
    body = answer(scope["path"]).encode()
    if scope["path"] == "/work":
        asyncio.get_running_loop().run_in_executor(None, job, "loop's executor")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
'''


@pytest.fixture
def leaving(app: App) -> App:
    app.replace(APP)
    return app


def start(app: App, model: str, interface: str = "wsgi", *options: str) -> list[str]:
    return ["run", f"{app.folder / 'app.py'}:{interface}", "-m", model, *options]


def ask(server: Server, path: str) -> str:
    with server.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
        return data.partition(b"\r\n\r\n")[2].decode()


def done(app: App) -> list[str]:
    path = app.folder / "done"
    return sorted(path.read_text().splitlines()) if path.exists() else []


# ------------------------------------------------------------ the ends of a worker


def at_term(server: Server) -> None:
    server.send(signal.SIGTERM)
    wait_for(lambda: listens_no_more(server), "the order to leave")


def at_int(server: Server) -> None:
    server.send(signal.SIGINT)
    wait_for(lambda: listens_no_more(server), "the order to leave")


def at_hup(server: Server) -> None:
    before = server.workers()
    server.send(signal.SIGHUP)
    wait_for(lambda: set(server.workers()) - set(before), "another worker")
    wait_for(lambda: int(fresh_answer(server)) not in before, "its response")


def at_max_requests(server: Server) -> None:
    before = server.workers()
    wait_for(lambda: int(fresh_answer(server)) not in before, "another worker's response")


def at_the_supervisors_end(server: Server) -> None:
    server.send(signal.SIGKILL)
    server.process.wait(PATIENCE)


ENDS = [
    *((at_term, model, "wsgi") for model in ("epoll", "thread", "process", "asyncio", "iterative")),
    *((at_term, model, "asgi") for model in ("asyncio", "epoll", "thread")),
    *((end, "epoll", "wsgi") for end in (at_int, at_hup, at_max_requests, at_the_supervisors_end)),
    (at_hup, "asyncio", "asgi"),
    (at_hup, "thread-pool", "wsgi"),
]


@pytest.mark.parametrize(("end", "model", "interface"), ENDS)
def test_what_is_begun_is_finished(leaving: App, end: Callable[[Server], None], model: str, interface: str) -> None:
    options = ("--max-requests", "1") if end is at_max_requests else ()
    server = Server(*start(leaving, model, interface, *options))
    try:
        assert ask(server, "/work") == "left"
        worker = server.workers()[0]
        end(server)
        assert end is at_int or is_alive(worker)  # it waits
        leaving.open_gate()
        expected = ["atexit", "executor", "thread", *(["loop's executor"] if interface == "asgi" else [])]
        wait_for(lambda: done(leaving) == sorted(expected), "all to be finished")
        wait_for(lambda: not is_alive(worker), "the worker's end")
    finally:
        server.stop()
    assert "cuts off" not in server.stderr


@pytest.mark.parametrize(
    ("path", "told"),
    [("/endless", ("the thread 'endless'", "in endless_job")), ("/exit", ("'MainThread'", "in endless_job"))],
)
@pytest.mark.parametrize(("model", "signum"), [("epoll", signal.SIGTERM), ("thread", signal.SIGINT)])
def test_what_does_not_end_is_told(leaving: App, model: str, signum: int, path: str, told: tuple[str, ...]) -> None:
    with serving(*start(leaving, model, "wsgi", "--graceful-timeout", "1")) as server:
        ask(server, path)
        began = time.monotonic()
        assert server.stop(signum) == 0
        took = time.monotonic() - began
        assert (1.0 if signum == signal.SIGTERM else 0.5) <= took < 20
        assert "cuts off what the app still runs" in server.stderr
        assert all(text in server.stderr for text in told)
        assert "did not stop in time" not in server.stderr


# ------------------------------------------------------------ processes


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("model", ["epoll", "process"])
def test_programs_are_told_to_end_then_killed(leaving: App, model: str, signum: int) -> None:
    with serving(*start(leaving, model, "wsgi", "--graceful-timeout", "1")) as server:
        *ours, daemon = json.loads(ask(server, "/programs"))
        try:
            assert server.stop(signum) == 0
            wait_for(lambda: not any(is_alive(pid) for pid in ours), "their end")
            assert is_alive(daemon)
        finally:
            os.kill(daemon, signal.SIGKILL)
        # Of the process model, a client's process may be killed before it tells.
        assert model == "process" or f"processes that did not end in time were killed: {ours[0]}" in server.stderr


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("end", [at_term, at_max_requests, at_the_supervisors_end])
def test_a_pool_of_processes_ends_with_its_worker(leaving: App, end: Callable[[Server], None], how: str) -> None:
    options = ("--max-requests", "1") if end is at_max_requests else ()
    server = Server(*start(leaving, "epoll", "wsgi", *options))
    try:
        family = json.loads(ask(server, f"/pool/{how}"))
        assert len(family) > 1
        end(server)
        wait_for(lambda: not any(is_alive(pid) for pid in family), "the end of all")
    finally:
        server.stop()
    assert "Traceback" not in server.stderr


def test_shared_memory_of_a_worker_is_removed(leaving: App) -> None:
    with serving(*start(leaving, "epoll")) as server:
        path = Path("/dev/shm") / ask(server, "/memory")
        assert path.exists()
    wait_for(lambda: not path.exists(), "its end")


def test_the_programs_of_a_worker_that_hangs_end_with_it(leaving: App) -> None:
    with serving(*start(leaving, "iterative", "wsgi", "--hang-timeout", "1"), quiet=False) as server:
        with server.connect() as sock:
            sock.sendall(b"GET /hang HTTP/1.1\r\nHost: test\r\n\r\n")
            program = int(wait_for(lambda: done(leaving), "the program")[0])
            wait_for(lambda: not is_alive(program), "its end")
        assert fresh_answer(server)
