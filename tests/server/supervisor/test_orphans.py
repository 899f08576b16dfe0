"""The supervisor as process 1, and as the parent of what its workers have left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.harness import serving, wait_for
from support.staged import App, fresh_answer, is_alive

APP = """
import os, subprocess
import allcomers

def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # it was collected since the folder was listed
        return False

class App(allcomers.Web):
    def get(self, request):
        if request.path == "/orphans":  # each ends with a status that would be a worker's failure
            for _ in range(12):
                subprocess.run(["sh", "-c", "(sleep 0.05; exit 3) & exit 0"])
        if request.path == "/left":
            return subprocess.run(["sh", "-c", "sleep 1000 > /dev/null 2>&1 & echo $!"], capture_output=True).stdout
        return str(sum(is_zombie(pid) for pid in os.listdir("/proc") if pid.isdigit()))
"""


def may_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.fixture
def orphaning(app: App) -> App:
    app.replace(APP)
    return app


@pytest.mark.skipif(not may_unshare(), reason="no namespace of processes may be made here")
def test_process_1_collects_orphans_and_takes_none_for_a_worker(orphaning: App) -> None:
    before = ("unshare", "--pid", "--fork", "--mount-proc", sys.executable)
    with serving("run", orphaning.target, "-m", "epoll", "--log-level", "debug", before=before) as server:
        server.pid = server.workers()[0]  # unshare's child is the server
        assert "(pid 1)" in server.stderr
        worker = server.workers()
        with server.connect() as sock:
            sock.sendall(b"GET /orphans HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            while sock.recv(65536):
                pass
        wait_for(lambda: fresh_answer(server) == b"0", "no zombie")
        wait_for(lambda: server.workers() == worker, "no other child")
        assert "another starts" not in server.stderr


def test_what_is_left_ends_with_the_server(orphaning: App) -> None:
    """A program whose parent, of the app's, has ended: it runs for as long as the server does."""
    with serving("run", orphaning.target, "-m", "epoll") as server:
        with server.connect() as sock:
            sock.sendall(b"GET /left HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            data = b""
            while piece := sock.recv(65536):
                data += piece
        left = int(data.split()[-1])
        wait_for(lambda: left in server.workers(), "the supervisor to be its parent")
        server.send(1)
        wait_for(lambda: server.stderr.count("reloading") == 1, "the reload")
        assert is_alive(left)
    assert not is_alive(left)


def test_a_child_from_before_the_server_is_spared(orphaning: App, tmp_path: Path) -> None:
    """A script starts a program, then becomes the server by exec: the program is not the server's."""
    script = f'sleep 1000 > /dev/null 2>&1 & echo $! > {tmp_path}/pid; exec "$@"'
    before = ("sh", "-c", script, "sh", sys.executable)
    with serving("run", orphaning.target, "-m", "epoll", before=before):
        pid = int((tmp_path / "pid").read_text())
    try:
        assert is_alive(pid)
    finally:
        os.kill(pid, 9)
