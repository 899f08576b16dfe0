"""The hooks of the options: when each is called, in which process, and what becomes of one that raises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import allcomers
from support.crowd import exchange
from support.harness import ROOT, serving, wait_for

HOOKS = """
import os
from pathlib import Path

NOTES = Path(__file__).with_name("notes")
FAILING = Path(__file__).with_name("failing")


def note(name, process):
    assert process.pid == os.getpid()
    with NOTES.open("a") as file:
        print(name, process.pid, getattr(process, "index", 0), process.config.model, file=file)
    if FAILING.exists() and FAILING.read_text() == name:
        raise RuntimeError(f"{name} on purpose")


def start(server):
    note("start", server)


def worker_start(worker):
    note("worker_start", worker)


def worker_stop(worker):
    note("worker_stop", worker)


def reload(server):
    note("reload", server)


def stop(server):
    note("stop", server)
"""

APP = """
from pathlib import Path

with Path(__file__).with_name("notes").open("a") as file:
    print("app", file=file)


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""

NAMES = ("start", "worker_start", "worker_stop", "reload", "stop")
OPTIONS = [word for name in NAMES for word in (f"--on-{name.replace('_', '-')}", f"hooks:{name}")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def notes(folder: Path) -> list[list[str]]:
    path = folder / "notes"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def names(folder: Path) -> list[str]:
    return [note[0] for note in notes(folder)]


@pytest.mark.parametrize("model", ["epoll", "process", "thread", "asyncio"])
def test_each_is_called_at_its_time(folder: Path, model: str) -> None:
    with serving("run", "app:app", "-m", model, "--workers", "2", *OPTIONS, cwd=folder) as server:
        workers = wait_for(lambda: len(now := server.workers()) == 2 and names(folder).count("app") == 2 and now, "two")
        with server.connect() as sock:
            assert exchange(sock).body == b"ok"
        assert names(folder) == ["start", *["worker_start", "app"] * 2]
        assert notes(folder)[0] == ["start", str(server.pid), "0", model]
        started = [note[1:] for note in notes(folder) if note[0] == "worker_start"]
        assert started == [[str(pid), str(index), model] for index, pid in enumerate(sorted(workers), 1)]
        server.send(signal.SIGHUP)
        wait_for(lambda: names(folder).count("worker_stop") == 2, "both replaced")
        assert names(folder).index("reload") < names(folder).index("worker_stop")
    counts = {name: names(folder).count(name) for name in NAMES}
    assert counts == {"start": 1, "worker_start": 4, "worker_stop": 4, "reload": 1, "stop": 1}
    assert names(folder)[-1] == "stop"


def start_failing(folder: Path, name: str) -> str:
    """Start a server with a hook that raises; return what it writes."""
    (folder / "failing").write_text(name)
    command = [sys.executable, "-m", "allcomers", "run", "app:app", "-b", "127.0.0.1:0", *OPTIONS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    return done.stderr


@pytest.mark.parametrize("name", ["start", "worker_start"])
def test_one_without_which_nothing_can_be_served_ends_the_start(folder: Path, name: str) -> None:
    said = start_failing(folder, name)
    assert said.count("Traceback") == 1
    assert said.splitlines()[-1].endswith(f"on_{name} failed: RuntimeError: {name} on purpose")
    assert "app" not in names(folder)
    assert "worker_stop" not in names(folder)
    assert ("stop" in names(folder)) == (name == "worker_start")


@pytest.mark.parametrize("name", ["reload", "worker_stop", "stop"])
def test_any_other_is_reported(folder: Path, name: str) -> None:
    (folder / "failing").write_text(name)
    with serving("run", "app:app", *OPTIONS, cwd=folder, quiet=False) as server:
        (worker,) = server.workers()
        server.send(signal.SIGHUP)
        wait_for(lambda: server.workers() and worker not in server.workers(), "another worker")
    assert f"on_{name} failed; the server goes on" in server.stderr
    assert f"RuntimeError: {name} on purpose" in server.stderr
    assert names(folder)[-2:] == ["worker_stop", "stop"]


def test_a_worker_s_that_fails_at_a_reload_leaves_the_old_one(folder: Path) -> None:
    with serving("run", "app:app", *OPTIONS, cwd=folder, quiet=False) as server:
        (worker,) = server.workers()
        (folder / "failing").write_text("worker_start")
        server.send(signal.SIGHUP)
        wait_for(lambda: "the reload is given up" in server.stderr, "the reload to be given up")
        assert server.workers() == [worker]


def test_a_hook_that_there_is_not_is_told_at_the_start(folder: Path) -> None:
    command = [sys.executable, "-m", "allcomers", "run", "app:app", "-b", "127.0.0.1:0", "--on-stop"]
    for name, status, expected in (("hooks:halt", 3, "hooks has no 'halt'"), ("hooks", 2, "is not MODULE:FUNCTION")):
        done = subprocess.run([*command, name], cwd=folder, capture_output=True, text=True, timeout=60)
        assert (done.returncode, expected in done.stderr) == (status, True), done.stderr


def test_functions_of_a_program() -> None:
    seen: list[tuple[str, int]] = []

    def app(request: allcomers.Request) -> str:
        return "ok"

    options = {f"on_{name}": lambda process, name=name: seen.append((name, process.pid)) for name in NAMES}
    with allcomers.Server(app, port=0, model="epoll", **options):  # type: ignore[arg-type]
        assert [name for name, _ in seen] == ["start", "worker_start"]
    assert [name for name, _ in seen] == ["start", "worker_start", "worker_stop", "stop"]
    assert {pid for _, pid in seen} == {os.getpid()}


def test_functions_of_a_program_with_workers(folder: Path) -> None:
    given = ", ".join(f"on_{name}=hooks.{name}" for name in NAMES)
    text = f"import allcomers, hooks; allcomers.run('app:app', port=0, workers=2, {given})"
    with subprocess.Popen(
        [sys.executable, "-c", text], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ) as program:
        wait_for(lambda: names(folder).count("app") == 2, "two workers")
        wait_for(lambda: names(folder).count("worker_start") == 2, "two workers")
        program.terminate()
        assert program.wait(40) == 0
    assert names(folder)[-1] == "stop"
    assert len({note[1] for note in notes(folder) if note[0] == "worker_start"}) == 2
