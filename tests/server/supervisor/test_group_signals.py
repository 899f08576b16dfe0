"""A signal to all processes of the server: no worker leaves before it is ordered to, and none is missed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from allcomers.models import TABLE
from support.crowd import receive, request
from support.harness import PATIENCE, ROOT, reports, serving, wait_for
from support.staged import App, children, fresh_answer, is_alive

MODELS = [model for model in TABLE.values() if not model.obstacle]
CASES = [(model.name, kind) for kind in ("web", "asgi") for model in MODELS if kind == "web" or not model.is_patched]

ASGI = """
import asyncio
from pathlib import Path

HERE = Path(__file__).parent

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        (HERE / "shut-down").touch()
        return await send({"type": "lifespan.shutdown.complete"})
    if scope["path"] == "/wait":
        (HERE / "begun-call").touch()
        await asyncio.sleep(60)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""


def everybody(pid: int) -> list[int]:
    """The process and all below it, the lowest first: so those that are told first know least."""
    return [one for child in children(pid) for one in everybody(child)] + [pid]


def tell(pids: list[int], signum: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # the process of a connection, under that model, has ended by itself
            os.kill(pid, signum)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Have a process do nothing meanwhile: however busy the machine is, signals to others come first."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(("model", "kind"), CASES)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_no_worker_leaves_unasked_and_none_is_started(app: App, model: str, signum: int, kind: str) -> None:
    """The workers hear it long before the supervisor, as where systemd signals one process after another."""
    if kind == "asgi":
        app.replace(ASGI)
    target = app.target if kind == "web" else app.target.replace(":App", ":app")
    with serving("run", target, "-m", model, "-w", "2", "--graceful-timeout", "5") as server:
        assert fresh_answer(server)
        workers = server.workers()
        with frozen(server.pid):
            tell(everybody(server.pid)[:-1], signum)
            assert fresh_answer(server)  # they go on until the supervisor says so
            assert server.workers() == workers
            os.kill(server.pid, signum)
        assert server.process.wait(PATIENCE) == 0
        assert server.reports == []
    if kind == "asgi":
        assert (app.folder / "shut-down").exists()


@pytest.mark.parametrize("model", ["epoll", "thread", "process"])
def test_nor_during_the_delay_before_it_drains(app: App, model: str) -> None:
    with serving("run", app.target, "-m", model, "--drain-delay", "1.5", "--graceful-timeout", "5") as server:
        workers = server.workers()
        with frozen(server.pid):
            tell(everybody(server.pid), signal.SIGTERM)
        wait_for(lambda: "leaving in 1.5 s" in server.stderr, "the delay to begin")
        assert fresh_answer(server)
        assert server.workers() == workers
        assert server.process.wait(PATIENCE) == 0
        assert "ERROR" not in server.stderr
        assert "replaced" not in server.stderr


def test_one_worker_that_is_told_to_stop_is_replaced_and_loses_nothing(app: App) -> None:
    with serving("run", app.target, "--calls", "pool") as server, server.connect() as calling:
        calling.sendall(request("/wait?call"))
        app.await_begun("call")
        (worker,) = server.workers()
        os.kill(worker, signal.SIGTERM)
        wait_for(lambda: f"worker {worker} is to be replaced: a signal told it to stop" in server.stderr, "the order")
        wait_for(lambda: int(fresh_answer(server).split()[1]) != worker, "an answer of another worker")
        app.open_gate()
        assert receive(calling).status == 200
        wait_for(lambda: not is_alive(worker), "it to leave")
        assert "ERROR" not in server.stderr


def test_a_worker_without_a_supervisor_obeys_signals(app: App) -> None:
    with serving("run", app.target, "--calls", "pool", "--graceful-timeout", "30") as server:
        (worker,) = server.workers()
        with server.connect() as calling:
            calling.sendall(request("/wait?call"))
            app.await_begun("call")
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
            os.kill(worker, signal.SIGINT)
            wait_for(lambda: not is_alive(worker), "it to end, long before its graceful time-out", 10)
        server.process.returncode = 0


@pytest.mark.parametrize("model", ["asyncio", "epoll", "thread", "process"])
def test_ctrl_c_during_an_async_call_is_one_line_at_most(app: App, model: str) -> None:
    app.replace(ASGI)
    target = app.target.replace(":App", ":app")
    with serving("run", target, "-m", model) as server, server.connect() as calling:
        calling.sendall(request("/wait"))
        wait_for((app.folder / "begun-call").exists, "the call to begin")
        with frozen(server.pid):
            tell(everybody(server.pid), signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0
        lines = server.reports
        assert len(lines) <= 1
        assert all("calls that go on for too long, and are cancelled: 1" in line for line in lines)


def test_the_watcher_outlives_it_and_is_not_missed(app: App) -> None:
    pytest.importorskip("watchfiles")
    with serving("run", app.target, "--reload", "--reload-dir", str(app.folder)) as server:
        below = everybody(server.pid)[:-1]
        assert len(below) == 2
        with frozen(server.pid):
            tell(below, signal.SIGTERM)
            tell(below, signal.SIGINT)
            assert fresh_answer(server)
            os.kill(server.pid, signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        assert "ERROR" not in server.stderr
        assert not any(is_alive(pid) for pid in below)


def test_timeout_1_ends_all_well(app: App, tmp_path: Path) -> None:
    """timeout(1) signals its child, then the whole group."""
    out = tmp_path / "said"
    command = ["timeout", "60", sys.executable, "-m", "allcomers", "run", app.target, "-w", "3", "-b", "127.0.0.1:0"]
    with out.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stderr=file, start_new_session=True)
    wait_for(lambda: "Listening at" in out.read_text(), "the server to listen")
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    assert reports(out.read_text()) == []


def test_ctrl_c_before_it_listens_shows_no_traceback(app: App) -> None:
    app.replace("import time\nfrom pathlib import Path\nPath(__file__).with_name('begun').touch()\ntime.sleep(1)\n")
    command = [sys.executable, "-m", "allcomers", "run", app.target, "-b", "127.0.0.1:0", "--check-config"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for((app.folder / "begun").exists, "the app to be loaded")
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_a_standard_error_that_nobody_reads_any_more_does_not_end_it(app: App, tmp_path: Path) -> None:
    """HUP with bad options is reported there, and then there is nobody."""
    options = tmp_path / "options.toml"
    options.write_text("workers = 1\n")
    command = [sys.executable, "-m", "allcomers", "run", app.target, "-b", "127.0.0.1:0", "--config", str(options)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    assert "Listening at" in process.stderr.readline()
    process.stderr.close()
    (worker,) = children(process.pid)
    options.write_text("workers = many\n")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTTIN)
    wait_for(lambda: process.poll() is not None or len(children(process.pid)) == 2, "one worker more")
    assert worker in children(process.pid)
    process.terminate()
    process.wait(PATIENCE)
