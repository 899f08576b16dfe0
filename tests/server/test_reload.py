"""--reload: saved code is served, and broken code waits for the next save."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.crowd import crowd, exchange
from support.harness import PATIENCE, ROOT, Server, free_port, wait_for
from support.staged import APP, App, children, fresh_answer, is_alive

pytest.importorskip("watchfiles")


def watching(pid: int) -> list[int]:
    """Return the child processes of `pid` that watch files already."""
    found = []
    for child in children(pid):
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"allcomers.server.supervisor.file_watcher" in command and has_watches(child):
            found.append(child)
    return found


def has_watches(pid: int) -> bool:
    """Return whether the process watches a folder by inotify(7)."""
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            if "inotify wd:" in info.read_text():
                return True
        except OSError:
            pass
    return False


def begin(app: App, *arguments: str) -> Server:
    server = Server("run", app.target, "--reload", "--reload-dir", str(app.folder), *arguments)
    wait_for(lambda: watching(server.pid), "the watcher")
    return server


def is_live(server: Server, version: bytes) -> bool:
    return fresh_answer(server).startswith(version)


@pytest.mark.parametrize("model", ["epoll", "asyncio", "thread"])
def test_what_is_saved_goes_live_and_no_request_is_lost(app: App, model: str) -> None:
    server = begin(app, "-m", model)
    try:
        with crowd(server, 8):
            app.write("two")
            wait_for(lambda: is_live(server, b"two"), "the new code")
            # Of the same length, and perhaps in the same second: what was compiled before must not be taken for it.
            app.write("TWO")
            wait_for(lambda: is_live(server, b"TWO"), "the newer code")
        assert "app.py has changed" in server.stderr
    finally:
        assert server.stop() == 0


def test_a_syntax_error_keeps_the_old_code_until_it_is_mended(app: App) -> None:
    server = begin(app, "-w", "2")
    try:
        before = server.workers()
        app.replace("def (\n")
        wait_for(lambda: "the reload is given up, the old ones stay" in server.stderr, "the reload to fail")
        assert "SyntaxError" in server.stderr
        assert is_live(server, b"one")
        assert server.workers() == before
        app.write("mended")
        wait_for(lambda: is_live(server, b"mended"), "the mended code")
    finally:
        assert server.stop() == 0


def test_a_first_start_that_fails_waits_for_a_change(app: App) -> None:
    address = ("127.0.0.1", free_port())
    app.replace("raise ValueError('broken')\n")
    command = [sys.executable, "-m", "allcomers", "run", app.target, "--reload", "--reload-dir", str(app.folder)]
    with (app.folder / "stderr").open("wb") as errors:
        process = subprocess.Popen([*command, "-b", f"127.0.0.1:{address[1]}"], cwd=ROOT, stderr=errors)

    def stderr() -> str:
        return (app.folder / "stderr").read_text()

    try:
        wait_for(lambda: "another try when a file changes" in stderr(), "the complaint")
        assert "ValueError: broken" in stderr()
        wait_for(lambda: watching(process.pid), "the watcher")
        with socket.socket() as early:
            assert early.connect_ex(address) == errno.ECONNREFUSED
        app.replace("def (\n")
        wait_for(lambda: stderr().count("another try when a file changes") == 2, "the second complaint")
        app.write("mended")
        wait_for(lambda: "Listening at" in stderr(), "the line")
        with socket.create_connection(address, timeout=PATIENCE) as sock:
            assert exchange(sock).body.startswith(b"mended")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_term_while_it_waits_for_a_change(app: App) -> None:
    app.replace("raise ValueError('broken')\n")
    command = [sys.executable, "-m", "allcomers", "run", app.target, "--reload", "--reload-dir", str(app.folder)]
    process = subprocess.Popen([*command, "-b", "127.0.0.1:0"], cwd=ROOT, stderr=subprocess.PIPE)
    assert process.stderr
    while b"another try" not in process.stderr.readline():
        pass
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_other_files_do_not_count_and_the_options_do(app: App, tmp_path: Path) -> None:
    config = tmp_path / "options.toml"
    config.write_text("workers = 1\n")
    server = Server(
        "run", app.target, "--config", str(config), "--reload", "--reload-dir", str(app.folder), cwd=app.folder
    )
    try:
        wait_for(lambda: watching(server.pid), "the watcher")
        before = set(server.workers())
        (app.folder / "notes.txt").write_text("no code")
        (app.folder / "__pycache__").mkdir(exist_ok=True)
        (app.folder / "__pycache__" / "x.py").write_text("")
        fresh = tmp_path / "fresh.toml"
        fresh.write_text("workers = 2\n")
        fresh.replace(config)
        wait_for(lambda: len(set(server.workers()) - before) == 2, "two new workers")
        assert server.stderr.count("has changed") == 1
        config.write_text("workers = 3\n")
        wait_for(lambda: "options.toml has changed" in server.stderr.partition("reloading")[2], "the second change")
    finally:
        assert server.stop() == 0


def test_a_module_that_the_app_imports_counts(app: App) -> None:
    (app.folder / "part.py").write_text("WORD = 'first'\n")
    app.replace("import part\n" + APP.replace("VERSION", "{part.WORD}"))
    server = begin(app)
    try:
        assert is_live(server, b"first")
        (app.folder / "part.py").write_text("WORD = 'second'\n")
        wait_for(lambda: is_live(server, b"second"), "the new module")
    finally:
        assert server.stop() == 0


def test_the_watcher_ends_with_the_supervisor(app: App) -> None:
    server = begin(app)
    (watcher,) = watching(server.pid)
    server.process.kill()
    wait_for(lambda: not is_alive(watcher), "the watcher to end")
    server.stop()


def test_a_watcher_that_dies_is_told_and_costs_nothing(app: App) -> None:
    server = begin(app)
    try:
        os.kill(watching(server.pid)[0], signal.SIGKILL)
        wait_for(lambda: "files are not watched any more" in server.stderr, "the complaint")
        assert fresh_answer(server)
    finally:
        assert server.stop() == 0


def test_a_folder_that_is_not_there(app: App) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "allcomers", "run", app.target, "--reload", "--reload-dir", "/nowhere"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (2, "allcomers: --reload-dir /nowhere: there is no such folder\n")


def test_without_watchfiles_it_says_how_to_get_it(app: App) -> None:
    code = "import sys; sys.modules['watchfiles'] = None; from allcomers.commands import main; sys.exit(main.main())"
    result = subprocess.run(
        [sys.executable, "-c", code, "run", app.target, "--reload"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert result.stderr == "allcomers: --reload needs watchfiles: pip install 'allcomers[reload]'\n"


def told(server: Server) -> str:
    """Wait for the line that tells what is watched, and return what it tells last."""
    wait_for(lambda: "--reload: watching" in server.stderr, "the line")
    return server.stderr.rpartition("--reload: watching ")[2].partition("\n")[0]


@pytest.mark.parametrize("polling", [False, True])
def test_it_tells_what_it_watches(app: App, polling: bool) -> None:
    (app.folder / "part.py").touch()
    (app.folder / "node_modules").mkdir()
    (app.folder / "node_modules" / "x.py").touch()
    env = {"WATCHFILES_FORCE_POLLING": "1"} if polling else {}
    server = Server("run", app.target, "--reload", "--reload-dir", str(app.folder), env=env)
    try:
        how = "polling" if polling else "inotify"
        assert told(server) == f"2 files in {app.folder}, pyproject.toml, by {how}"
        app.write("two")
        wait_for(lambda: is_live(server, b"two"), "the new code")
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("polling", [False, True])
def test_two_saves_in_one_second(app: App, polling: bool) -> None:
    env = {"WATCHFILES_FORCE_POLLING": "1"} if polling else {}
    server = Server("run", app.target, "--reload", "--reload-dir", str(app.folder), env=env)
    try:
        told(server)
        wait_for(lambda: time.time() % 1 < 0.1, "a new second")
        for number, version in enumerate(("second", "third, of another length"), 1):
            app.write(version)
            wait_for(lambda number=number: server.stderr.count("has changed") == number, "the change")
        wait_for(lambda: is_live(server, b"third, of another length"), "the last code")
    finally:
        assert server.stop() == 0


def test_what_is_included_and_what_is_not(app: App, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "app.env"
    elsewhere.touch()
    folder = app.folder
    for name in ("generated", "templates", "build/inner"):
        (folder / name).mkdir(parents=True)
    options = ["*.html", "templates", str(elsewhere)]
    left_out = ["generated", "build/*", "*_pb2.py", "hidden.html"]
    words = [f"--reload-include={glob}" for glob in options] + [f"--reload-exclude={glob}" for glob in left_out]
    server = begin(app, *words)
    try:
        assert told(server) == f"1 file in {folder}, pyproject.toml, {elsewhere}, by inotify"
        for name in ("generated/x.py", "build/inner/x.py", "x_pb2.py", "hidden.html", "x.txt"):
            (folder / name).touch()
        for number, name in enumerate(("page.html", "templates/mail.txt", "build.py", str(elsewhere)), 1):
            fresh = elsewhere.with_name("fresh")
            fresh.write_text("changed")
            fresh.replace(folder / name)  # one change: to open and to write it may be two, on a busy machine
            wait_for(lambda number=number: server.stderr.count("has changed") == number, f"a reload for {name}")
            assert server.stderr.count(f"{Path(name).name} has changed") == 1
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("polling", [False, True])
def test_a_save_at_once_after_the_start_is_seen(app: App, polling: bool) -> None:
    """Save while the watcher has not begun: the worker has loaded the code by then."""
    env = {"WATCHFILES_FORCE_POLLING": "1"} if polling else {}
    server = Server("run", app.target, "--reload", "--reload-dir", str(app.folder), env=env)
    try:
        app.write("two")
        wait_for(lambda: is_live(server, b"two"), "the new code")
    finally:
        assert server.stop() == 0


def test_a_save_while_a_reload_is_under_way_is_seen(app: App) -> None:
    server = begin(app)
    try:
        (app.folder / "slow-start").touch()
        app.write("two")
        wait_for(lambda: len(server.workers()) == 3, "a new worker, beside the old one and the watcher")
        app.write("three")
        wait_for(lambda: server.stderr.count("has changed") == 2, "the second change")
        (app.folder / "slow-start").unlink()
        wait_for(lambda: is_live(server, b"three"), "the newest code")
    finally:
        assert server.stop() == 0


def test_an_app_that_writes_code_when_it_is_loaded(app: App) -> None:
    code = (
        "from pathlib import Path\n"
        "fresh = Path(__file__).with_name('fresh')\n"
        "fresh.write_text('x = 1')\n"
        "fresh.replace(fresh.with_name('written.py'))\n"  # one change: to open and to write it may be two
    )
    app.replace(code + APP.replace("VERSION", "one"))
    server = begin(app)
    try:
        wait_for(lambda: "reloads wait" in server.stderr, "the line")
        count = server.stderr.count("written.py has changed")
        assert count == 3
        assert not wait_until(lambda: server.stderr.count("written.py has changed") >= count + 3, 4.0)
        assert server.stderr.count("reloads wait") == 1
        app.replace(code + APP.replace("VERSION", "two"))
        wait_for(lambda: is_live(server, b"two"), "another file's change to be served at once")
    finally:
        assert server.stop() == 0


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether it becomes true within so many seconds."""
    try:
        return bool(wait_for(condition, "", seconds))
    except AssertionError:
        return False


def test_a_folder_that_is_gone_and_comes_back(app: App, tmp_path: Path) -> None:
    inner = tmp_path / "code"
    inner.mkdir()
    server = begin(app, "--reload-dir", str(inner))
    try:
        told(server)
        inner.rename(tmp_path / "away")
        wait_for(lambda: f"{inner} is gone" in server.stderr, "the line")
        (tmp_path / "away").rename(inner)
        wait_for(lambda: server.stderr.count("--reload: watching") == 2, "the watch")
        (inner / "part.py").write_text("new")
        wait_for(lambda: "code/part.py has changed" in server.stderr, "the change")
        assert "Traceback" not in server.stderr
    finally:
        assert server.stop() == 0
