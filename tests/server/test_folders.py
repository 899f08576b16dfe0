"""Folders that move or go while the server runs, and an app that enters another one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.certificates import Certificate
from support.harness import Server, ask, receive_all, serving, wait_for
from support.staged import fresh_answer

APP = """
import os
import allcomers

FIRST

class App(allcomers.Web):
    def get(self, request):
        return "VERSION"
"""

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def write(folder: Path, version: str, first: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(APP.replace("VERSION", version).replace("FIRST", first))
    return folder


def point(link: Path, target: Path) -> None:
    """Change a link at once, as deployments do."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


@pytest.mark.parametrize("pwd", ["", "/", "link"])
def test_hup_follows_a_link_that_was_moved(tmp_path: Path, pwd: str) -> None:
    """Start without PWD, as by systemd's WorkingDirectory; with that of another folder; and with the right one."""
    current = tmp_path / "current"
    one, two = write(tmp_path / "releases" / "1", "one"), write(tmp_path / "releases" / "2", "two")
    point(current, one)
    env = {"PWD": str(current) if pwd == "link" else pwd}
    with serving("run", "main:App", "--bind", "unix:sock", cwd=current, env=env) as server:
        assert fresh_answer(server) == b"one"
        point(current, two)
        server.send(signal.SIGHUP)
        wait_for(lambda: fresh_answer(server) == b"two", "the new release")
        assert f"the current folder is now {two}" in server.stderr
    assert not (one / "sock").exists()


def test_hup_stays_where_two_links_lead_to_the_folder(tmp_path: Path) -> None:
    one, two = write(tmp_path / "releases" / "1", "one"), write(tmp_path / "releases" / "2", "two")
    for name in ("current", "previous"):
        point(tmp_path / name, one)
    with serving("run", "main:App", cwd=one, env={"PWD": ""}) as server:
        before = server.workers()
        point(tmp_path / "current", two)
        server.send(signal.SIGHUP)
        wait_for(lambda: server.workers() and not set(before) & set(server.workers()), "another worker")
        assert fresh_answer(server) == b"one"


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    """Remove the folder: HUP tells so and changes nothing; a worker that dies cannot be replaced, and that is told."""
    folder = write(tmp_path / "app", "one")
    server = Server("run", "main:App", cwd=folder)
    try:
        assert fresh_answer(server) == b"one"
        shutil.rmtree(folder)
        server.send(signal.SIGHUP)
        wait_for(lambda: "the options stay as they were" in server.stderr, "the line")
        (line,) = [line for line in server.stderr.splitlines() if "is gone" in line]
        assert line.endswith(
            f"the folder in which the server was started is gone: {str(folder)!r}: No such file or directory"
        )
        assert fresh_answer(server) == b"one"
        os.kill(server.workers()[0], signal.SIGKILL)
        wait_for(lambda: "the current folder is gone, so main cannot be imported" in server.stderr, "the line")
        write(folder, "two")
        server.send(signal.SIGHUP)
        wait_for(lambda: fresh_answer(server) == b"two", "the new folder")
        assert "Traceback" not in server.stderr
    finally:
        assert server.stop() == 0


def test_the_watched_folder_is_gone(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    folder = write(tmp_path / "app", "one")
    server = Server("run", "main:App", "--reload", cwd=folder)
    try:
        wait_for(lambda: "--reload: watching" in server.stderr, "the watcher")
        shutil.rmtree(folder)
        wait_for(lambda: f"{folder} is gone" in server.stderr, "the line")
        assert fresh_answer(server) == b"one"
        write(folder, "two")
        wait_for(lambda: fresh_answer(server) == b"two", "the new folder")
        assert "Traceback" not in server.stderr
    finally:
        assert server.stop() == 0


def test_a_start_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = 'rmdir "$PWD" && exec "$@"'
    for target in ("main:App", "main.py:App"):
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["sh", "-c", script, "sh", sys.executable, "-P", "-m", "allcomers", "run", target, "--bind", "127.0.0.1:0"],
            cwd=folder, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 3
        assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("model", ["epoll", "process", "asyncio"])
def test_a_relative_log_stays_where_the_server_was_started(tmp_path: Path, model: str) -> None:
    write(tmp_path, "one", "os.chdir('/')")
    log = tmp_path / "access.log"
    with serving("run", "main:App", "-m", model, "--access-log", "access.log", "--pid", "pid", cwd=tmp_path) as server:
        ask(server, GET)
        wait_for(lambda: log.read_text().count("GET /") == 1, "the line")
        log.rename(tmp_path / "old.log")
        server.send(signal.SIGUSR1)
        wait_for(log.exists, "the new log")
        wait_for(lambda: ask(server, GET) and "GET /" in log.read_text(), "a line in it")
        before = set(server.workers())
        server.send(signal.SIGHUP)
        wait_for(lambda: server.workers() and not before & set(server.workers()), "another worker")
        count = log.read_text().count("GET /")
        ask(server, GET)
        wait_for(lambda: log.read_text().count("GET /") == count + 1, "a line of the new worker")
        assert (tmp_path / "pid").read_text() == f"{server.pid}\n"
    assert not (tmp_path / "pid").exists()


def test_so_do_certificates(tmp_path: Path, certificate: Certificate) -> None:
    write(tmp_path, "one", "os.chdir('/')")
    shutil.copy(certificate.pem, tmp_path / "site.pem")
    with (
        serving("run", "main:App", "--certfile", "site.pem", cwd=tmp_path) as server,
        server.connect(certificate.trusted) as sock,
    ):
        sock.sendall(GET)
        assert receive_all(sock).endswith(b"one")
