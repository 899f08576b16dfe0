"""USR2: a new server takes the sockets over, and no client notices."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.crowd import crowd, exchange, receive, request
from support.harness import PATIENCE, Server, serving, wait_for
from support.staged import APP, App, children, connect_time, fresh_answer, is_alive, listens_no_more

MODELS = ["epoll", "epoll-et", "asyncio", "thread", "thread-pool", "process", "select", "iterative"]


@contextmanager
def upgrading(*arguments: str, **keywords: Any) -> Iterator[Server]:
    """Serve as serving() does, and end the servers that followed, too."""
    with serving(*arguments, **keywords) as server:
        try:
            yield server
        finally:
            for pid in servers(server)[1:]:
                end(pid)


def servers(server: Server) -> list[int]:
    """Return the process ids of all supervisors that have listened, in order."""
    found = re.findall(r"Listening at: .* \(pid (\d+)\)", server.stderr)
    return list(dict.fromkeys(int(pid) for pid in found))


def end(pid: int) -> None:
    if is_alive(pid):
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_alive(pid), f"process {pid} to end")


def upgrade(server: Server, pid: int) -> int:
    """Upgrade the server `pid`, wait until it has ended, and return the new server's process id."""
    before = servers(server)
    os.kill(pid, signal.SIGUSR2)
    wait_for(lambda: len(servers(server)) > len(before), "the new server")
    wait_for(lambda: not is_alive(pid), "the old server to end")
    return servers(server)[-1]


@pytest.mark.parametrize("model", [model for model in MODELS if model != "iterative"])
def test_under_load_no_request_is_lost(app: App, model: str) -> None:
    arguments = ["-m", model, "-w", "2", "-t", "80"]
    with upgrading("run", app.target, *arguments) as server, crowd(server, 16, uploads=4) as clients:
        clients.more(100)
        app.write("second")
        new = upgrade(server, server.pid)
        clients.more(100)
        assert server.process.wait(PATIENCE) == 0
        assert fresh_answer(server).startswith(b"second")
        assert len(children(new)) == 2
        assert "has taken over; this one finishes its requests" in server.stderr
    assert clients.uploaded


def test_the_iterative_model_too(app: App) -> None:
    with upgrading("run", app.target, "-m", "iterative") as server, server.connect() as held:
        assert exchange(held).status == 200
        held.sendall(request("/wait?held"))
        app.await_begun("held")
        os.kill(server.pid, signal.SIGUSR2)
        wait_for(lambda: len(servers(server)) == 2, "the new server")
        assert fresh_answer(server)
        app.open_gate()
        assert receive(held).status == 200


def test_again_and_again(app: App) -> None:
    with upgrading("run", app.target) as server, crowd(server, 8) as clients:
        pid = server.pid
        for number in range(3):
            app.write("again" * (number + 1))
            pid = upgrade(server, pid)
            clients.more(20)
            assert fresh_answer(server).startswith(b"again" * (number + 1))


def test_what_is_begun_is_finished_by_the_old_one(app: App) -> None:
    with upgrading("run", app.target, "-m", "thread") as server, server.connect() as calling:
        calling.sendall(request("/wait?call"))
        app.await_begun("call")
        app.write("second")
        server.send(signal.SIGUSR2)
        wait_for(lambda: len(servers(server)) == 2, "the new server")
        wait_for(lambda: listens_no_more(server), "the old one to leave")
        wait_for(lambda: fresh_answer(server).startswith(b"second"), "its worker to leave")
        app.open_gate()
        assert receive(calling).body.startswith(b"one")
        assert server.process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("broken", "status"), [("raise ValueError('broken')\n", 3), ("import os; os._exit(9)\n", 9), ("def (", 3)]
)
def test_one_that_cannot_begin_leaves_the_old_one_serving(app: App, broken: str, status: int) -> None:
    with upgrading("run", app.target, quiet=False) as server, crowd(server, 8) as clients:
        before = server.workers()
        app.replace(broken)
        server.send(signal.SIGUSR2)
        wait_for(lambda: "before it served: this one serves on" in server.stderr, "the new one to fail")
        assert f"ended with status {status} before it served" in server.stderr
        clients.more(50)  # on new connections too: the sockets are as open as before
        assert fresh_answer(server).startswith(b"one")
        assert server.workers() == before
        app.write("mended")
        upgrade(server, server.pid)
        assert fresh_answer(server).startswith(b"mended")


def test_one_that_fails_leaves_the_sockets_open_to_newcomers(app: App) -> None:
    """Check that a server that gives up does not deafen sockets that belong to another."""
    with upgrading("run", app.target, quiet=False) as server:
        for _ in range(2):
            app.replace("raise ValueError('broken')\n")
            count = server.stderr.count("this one serves on")
            server.send(signal.SIGUSR2)
            wait_for(lambda count=count: server.stderr.count("this one serves on") > count, "the new one to fail")
            assert min(connect_time(server.address) for _ in range(3)) < 0.9
            assert fresh_answer(server)


def test_term_while_the_new_one_starts_ends_both(app: App) -> None:
    with upgrading("run", app.target) as server:
        (app.folder / "slow-start").touch()
        server.send(signal.SIGUSR2)
        wait_for(lambda: "a new server starts" in server.stderr, "the order to be read")
        found = re.search(r"a new server starts, to take over: process (\d+)", server.stderr)
        assert found
        new = int(found[1])
        wait_for(lambda: is_alive(new) and children(new), "its worker")
        server.send(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        wait_for(lambda: not is_alive(new), "the new server to end")


def test_a_second_usr2_while_the_new_one_starts_is_told(app: App) -> None:
    with upgrading("run", app.target) as server:
        (app.folder / "slow-start").touch()
        server.send(signal.SIGUSR2)
        wait_for(lambda: "a new server starts" in server.stderr, "the order to be read")
        server.send(signal.SIGUSR2)
        wait_for(lambda: "a new server is starting already" in server.stderr, "the second order to be read")
        (app.folder / "slow-start").unlink()
        wait_for(lambda: len(servers(server)) == 2, "the new server")
        assert server.process.wait(PATIENCE) == 0


def test_a_unix_socket_stays_where_it_is(app: App, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with upgrading("run", app.target, bind=f"unix:{path}") as server:
        inode = path.stat().st_ino
        upgrade(server, server.pid)
        assert path.stat().st_ino == inode
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            assert exchange(sock).status == 200
    assert not path.exists()


def test_a_bind_that_has_changed_is_taken(app: App, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    config = tmp_path / "allcomers.toml"
    config.write_text('bind = ["127.0.0.1:0"]\n')
    with upgrading("run", app.target, "--config", str(config), bind="") as server:
        config.write_text(f'bind = ["127.0.0.1:0", "unix:{path}"]\n')
        server.send(signal.SIGHUP)
        wait_for(lambda: "--bind cannot change by HUP" in server.stderr, "the reload")
        upgrade(server, server.pid)
        assert fresh_answer(server)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            assert exchange(sock).status == 200
        config.write_text(f'bind = ["unix:{path}"]\n')
        upgrade(server, servers(server)[-1])
        with pytest.raises(ConnectionRefusedError):
            server.connect(timeout=5)


def test_the_pid_file_is_handed_over(app: App, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with upgrading("run", app.target, "--pid", str(path)) as server:
        assert path.read_text() == f"{server.pid}\n"
        new = upgrade(server, server.pid)
        assert path.read_text() == f"{new}\n"
    assert not path.exists()


def test_code_is_taken_from_where_a_link_leads_now(app: App, tmp_path: Path) -> None:
    """Change a link as deployments do: /srv/app/current becomes another release at once."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(APP.replace("VERSION", f"release-{name}"))
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "one")
    with upgrading("run", "main:App", cwd=current, env={"PWD": str(current)}) as server:
        assert fresh_answer(server).startswith(b"release-one")
        current.unlink()
        current.symlink_to(tmp_path / "two")
        upgrade(server, server.pid)
        assert fresh_answer(server).startswith(b"release-two")
