"""Apps that take the signals for themselves: the server hears its own, no request is lost, and theirs still run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from textwrap import dedent, indent

import pytest

from allcomers.models import TABLE
from support.crowd import Crowd, crowd
from support.harness import PATIENCE, Server, chosen, serving, wait_for
from support.staged import fresh_answer, is_alive

TAKEN = "the app took the signals for itself"

APP = """
import asyncio, os, signal, threading
from pathlib import Path

NOTES = Path(__file__).parent / "notes"
calls = []

def note(*args):
    with NOTES.open("a") as file:
        file.write(f"{os.getpid()} {args}\\n")

IMPORT

def once():
    if threading.current_thread() is threading.main_thread() and not calls:
        calls.append(1)
        CALL
"""

WSGI = """
def app(environ, start_response):
    once()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

ASGI = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    once()
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""

IN_THREAD = """
events = LOOP()
events.add_signal_handler(signal.SIGTERM, note, "TERM")
threading.Thread(target=events.run_forever, daemon=True).start()
"""

AND_CLOSED = """
events = LOOP()
events.add_signal_handler(signal.SIGTERM, note, "TERM")
events.add_signal_handler(signal.SIGINT, note, "INT")
events.close()
"""

RUN = """
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, note, "TERM")
    await asyncio.sleep(0.01)
RUNNER(main())
"""

DESCRIPTOR = """
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
threading.Thread(target=lambda: [note(n) for n in iter(lambda: os.read(reader, 1)[0], None)], daemon=True).start()
"""

OWN = "signal.signal(signal.SIGTERM, note)"
DEFAULT = "signal.signal(signal.SIGTERM, signal.SIG_DFL)"

ASYNCIO, UVLOOP = "asyncio.SelectorEventLoop", "__import__('uvloop').new_event_loop"

SET_UPS = {
    "a loop at import": (IN_THREAD.replace("LOOP", ASYNCIO), ""),
    "uvloop at import": (AND_CLOSED.replace("LOOP", UVLOOP), ""),
    "a closed loop at import": (AND_CLOSED.replace("LOOP", ASYNCIO), ""),
    "a loop in a call": ("", IN_THREAD.replace("LOOP", ASYNCIO)),
    "a closed loop in a call": ("", AND_CLOSED.replace("LOOP", ASYNCIO)),
    "uvloop in a call": ("", AND_CLOSED.replace("LOOP", UVLOOP)),
    "asyncio.run in a call": ("", RUN.replace("RUNNER", "asyncio.run")),
    "uvloop.run in a call": ("", RUN.replace("RUNNER", "__import__('uvloop').run")),
    "a descriptor at import": (DESCRIPTOR, ""),
    "a descriptor in a call": ("", DESCRIPTOR),
    "a handler": (OWN, ""),
    "no handler": (DEFAULT, ""),
    "no handler after a call": ("", DEFAULT),
    "no handler of USR1": ("", DEFAULT.replace("TERM", "USR1")),
}


def write(folder: Path, set_up: str, app: str = WSGI) -> str:
    """Write app.py, which takes the signals as `set_up` describes; return the target."""
    first, call = (dedent(code).strip() for code in SET_UPS[set_up])
    text = APP.replace("IMPORT", first).replace("CALL", indent(call or "pass", " " * 8).strip())
    (folder / "app.py").write_text(text + app)
    return f"{folder / 'app.py'}:app"


def notes(folder: Path) -> str:
    path = folder / "notes"
    return path.read_text() if path.exists() else ""


def changed(server: Server, before: set[int]) -> bool:
    now = set(server.workers())
    return bool(now) and not now & before


PAIRS = chosen(
    [
        ("a loop at import", "thread"), ("uvloop at import", "asyncio"), ("a closed loop at import", "thread-pool"),
        ("a loop in a call", "epoll"), ("a closed loop in a call", "asyncio"), ("uvloop in a call", "select"),
        ("asyncio.run in a call", "poll"), ("uvloop.run in a call", "epoll-et"), ("a descriptor at import", "asyncio"),
        ("a descriptor in a call", "epoll"), ("no handler", "process"), ("no handler after a call", "epoll"),
    ],
    [(set_up, model.name) for set_up in SET_UPS for model in TABLE.values() if not model.obstacle],
)  # fmt: skip


@pytest.mark.parametrize(("set_up", "model"), PAIRS)
def test_no_request_is_lost_at_hup_and_term(tmp_path: Path, set_up: str, model: str) -> None:
    if set_up.endswith(".run in a call") and model == "asyncio":
        pytest.skip("asyncio.run() cannot be called from a running event loop")
    calls = ["--max-connections", "64"] if model == "process" else ["--calls", "inline"]
    clients = 1 if model == "iterative" else 16
    with serving("run", write(tmp_path, set_up), "-m", model, *calls, "--graceful-timeout", "20") as server:
        with crowd(server, clients) as talkers:
            talkers.more(200)
            before = set(server.workers())
            server.send(signal.SIGHUP)
            wait_for(lambda: changed(server, before), "another worker")
            talkers.more(200)
        leaving = Crowd(server, clients)
        leaving.more(192)
        leaving.may_be_refused = True
        began = time.monotonic()
        server.send(signal.SIGTERM)
        leaving.join()
        assert leaving.failures == []
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 15, server.stderr
        assert "did not stop in time" not in server.stderr


@pytest.mark.parametrize("model", chosen(["asyncio", "epoll", "iterative"], [*TABLE]))
def test_a_loop_that_an_async_app_makes(tmp_path: Path, model: str) -> None:
    if TABLE[model].obstacle:
        pytest.skip(TABLE[model].obstacle)
    with serving("run", write(tmp_path, "a loop at import", ASGI), "-m", model) as server:
        with crowd(server, 1 if model == "iterative" else 8) as talkers:
            talkers.more(50)
        assert server.stderr.count(TAKEN) == 1
        os.kill(server.workers()[0], signal.SIGTERM)
        wait_for(lambda: "TERM" in notes(tmp_path), "the app's handler")


@pytest.mark.parametrize("set_up", ["a loop at import", "a descriptor at import", "a handler"])
@pytest.mark.parametrize("model", ["epoll", "thread"])
def test_the_handler_of_the_app_still_runs(tmp_path: Path, set_up: str, model: str) -> None:
    with serving("run", write(tmp_path, set_up), "-m", model) as server:
        assert server.stderr.count(TAKEN) == (set_up != "a handler")
        os.kill(server.workers()[0], signal.SIGTERM)
        wait_for(lambda: notes(tmp_path), "the app's handler")


@pytest.mark.parametrize(
    ("set_up", "model"),
    [
        ("a loop at import", "asyncio"), ("a closed loop at import", "thread"), ("a descriptor at import", "epoll"),
        ("a loop at import", "epoll"), ("a descriptor at import", "asyncio"),
    ],
)  # fmt: skip
def test_a_worker_hears_a_signal_of_its_own(tmp_path: Path, set_up: str, model: str) -> None:
    """Send TERM to the worker alone: it is replaced in order, and does not die."""
    with serving("run", write(tmp_path, set_up), "-m", model) as server:
        before = set(server.workers())
        os.kill(min(before), signal.SIGTERM)
        wait_for(lambda: changed(server, before), "another worker")
        assert "is to be replaced: a signal told it to stop" in server.stderr
        assert server.stderr.count(TAKEN) == 2  # a line of each


@pytest.mark.parametrize("set_up", ["a closed loop in a call", "a descriptor in a call"])
def test_what_a_call_took_is_found_and_told_once(tmp_path: Path, set_up: str) -> None:
    with serving("run", write(tmp_path, set_up), "-m", "epoll", "--calls", "inline", "--hang-timeout", "1") as server:
        fresh_answer(server)
        wait_for(lambda: TAKEN in server.stderr, "the line, after a ping")
        before = set(server.workers())
        os.kill(min(before), signal.SIGINT)
        wait_for(lambda: changed(server, before), "another worker")
        assert "is to be replaced" in server.stderr
        assert server.stderr.count(TAKEN) == 1


@pytest.mark.parametrize("set_up", ["a loop at import", "a closed loop in a call", "no handler after a call"])
def test_a_worker_without_its_supervisor_ends_in_order(tmp_path: Path, set_up: str) -> None:
    server = Server("run", write(tmp_path, set_up), "-m", "epoll", "--calls", "inline", "--graceful-timeout", "20")
    (worker,) = server.workers()
    fresh_answer(server)
    began = time.monotonic()
    server.process.kill()
    wait_for(lambda: not is_alive(worker), "the worker to end")
    server.stop()
    assert time.monotonic() - began < 15


def test_usr1_spares_a_worker_that_would_end_by_it(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serving(
        "run", write(tmp_path, "no handler of USR1"), "-m", "epoll", "--calls", "inline", "--access-log", str(log)
    ) as server:
        fresh_answer(server)
        before = server.workers()
        log.rename(tmp_path / "old.log")
        server.send(signal.SIGUSR1)
        wait_for(log.exists, "the new log")
        fresh_answer(server)
        assert server.workers() == before
