"""Real processes, real signals: workers start, die and are replaced, and no request is lost."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from allcomers.server.control_pipe import APP_SHUTDOWN, KILL_MARGIN
from support.crowd import Crowd, crowd, exchange, receive, request
from support.harness import PATIENCE, ROOT, Server, serving, wait_for
from support.staged import (
    APP,
    App,
    children,
    comes_to_rest,
    cpu_seconds,
    fresh_answer,
    is_alive,
    listens_no_more,
    one_peer_of_each_worker,
    open_files,
    worker_of,
)

MODELS = ["epoll", "epoll-et", "asyncio", "thread", "process", "thread-pool", "select", "iterative"]
CALLS = ["inline", "pool"]
PAIRS = [(model, calls) for model in MODELS for calls in CALLS]
FEW = [
    ("epoll", "inline"),
    ("epoll-et", "pool"),
    ("asyncio", "inline"),
    ("select", "pool"),
    ("thread", "inline"),
    ("thread-pool", "pool"),
    ("process", "inline"),
]
each_pair = pytest.mark.parametrize(("model", "calls"), [*FEW, ("iterative", "inline")])
ROOM = ["--threads", "64"]
"""Each worker of thread-pool has a place for all 64: else who pauses for a tenth of a second may have to leave."""

some_pairs = pytest.mark.parametrize(("model", "calls"), FEW)


# ------------------------------------------------------------ start


@pytest.mark.parametrize("model", ["epoll", "process", "asyncio"])
def test_starts_as_many_workers_as_asked(app: App, model: str) -> None:
    with serving("run", app.target, "-m", model, "-w", "3") as server:
        assert len(server.workers()) == 3
        assert worker_of(fresh_answer(server), model) in server.workers()


def test_listening_is_said_once_all_serve(app: App) -> None:
    with serving("run", app.target, "-w", "3") as server:
        wait_for(lambda: " calls " in server.stderr, "the line that tells what is served")
        lines = server.stderr.splitlines()
        assert len(lines) == 2
        assert re.fullmatch(rf"Listening at: http://127\.0\.0\.1:\d+ \(pid {server.pid}\)", lines[0])


# ------------------------------------------------------------ a worker dies


@each_pair
def test_a_killed_worker_is_replaced_at_once(app: App, model: str, calls: str) -> None:
    with serving("run", app.target, "-m", model, "--calls", calls) as server:
        (victim,) = server.workers()
        os.kill(victim, signal.SIGKILL)
        assert worker_of(fresh_answer(server), model) != victim  # it waited in the backlog for the new one
        assert f"worker {victim} was killed by SIGKILL; another starts now" in server.stderr


@some_pairs
def test_a_killed_worker_takes_only_its_own_requests_along(app: App, model: str, calls: str) -> None:
    with serving("run", app.target, "-m", model, "--calls", calls, "-w", "2") as server, ExitStack() as open_sockets:
        peers = one_peer_of_each_worker(server, model, open_sockets)
        (victim, mourner), (survivor, witness) = peers.items()
        for pid, sock in peers.items():
            sock.sendall(request(f"/wait?{pid}"))
            app.await_begun(str(pid))
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: "was killed by SIGKILL" in server.stderr, "the supervisor to see it")
        app.open_gate()
        answer = receive(witness)
        assert (answer.status, worker_of(answer.body, model)) == (200, survivor)
        if model == "process":  # the conversation has a process of its own, and ends well
            assert receive(mourner).status == 200
        else:
            with pytest.raises(ConnectionError):
                receive(mourner)
        wait_for(lambda: len(server.workers()) == 2, "another worker")
        assert survivor in server.workers()


def test_a_crash_loop_is_slowed_down_and_told(app: App) -> None:
    with serving("run", app.target) as server:
        before = cpu_seconds(server.pid)
        (app.folder / "die").touch()
        os.kill(server.workers()[0], signal.SIGKILL)
        started = time.monotonic()
        wait_for(lambda: "in 0.8 s" in server.stderr, "the fifth death")
        delays = re.findall(r"; another starts (.+)", server.stderr)
        assert delays == ["now", "in 0.1 s", "in 0.2 s", "in 0.4 s", "in 0.8 s"]
        assert server.stderr.count("ended with status 7; another starts") == 4
        (app.folder / "die").unlink()
        assert fresh_answer(server)
        elapsed = time.monotonic() - started
        assert elapsed > 1.5  # the sum of the delays
        assert cpu_seconds(server.pid) - before < elapsed / 4, "the supervisor spins"


def test_a_signal_without_a_name_kills_a_worker_and_not_the_supervisor(app: App) -> None:
    with serving("run", app.target) as server:
        os.kill(server.workers()[0], signal.SIGRTMIN + 6)
        assert fresh_answer(server)


def test_fewer_workers_wanted_during_a_crash_loop_does_not_spin(app: App) -> None:
    with serving("run", app.target, "-w", "2") as server:
        (app.folder / "die").touch()
        os.kill(server.workers()[0], signal.SIGKILL)
        wait_for(lambda: "in 0.2 s" in server.stderr, "a third death")
        server.send(signal.SIGTTOU)
        wait_for(lambda: "workers wanted: 1" in server.stderr, "the order to be read")
        comes_to_rest(server.pid)
        calls, started = context_switches(server.pid), time.monotonic()
        wait_for(lambda: time.monotonic() - started > 0.5, "half a second")
        seconds = time.monotonic() - started  # more, if this machine stalls
        assert context_switches(server.pid) - calls < 40 * seconds, "the supervisor wakes for nothing"


def context_switches(pid: int) -> int:
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found
    return int(found[1])


# ------------------------------------------------------------ TERM and INT


@each_pair
def test_term_finishes_what_is_begun_and_serves_who_waits(app: App, model: str, calls: str) -> None:
    arguments = ["-m", model, "--calls", calls, "--max-connections", "1", "--graceful-timeout", "15"]
    with serving("run", app.target, *arguments) as server:
        inside, outside = server.connect(), server.connect()
        with inside, outside:
            inside.sendall(request("/wait?inside"))
            app.await_begun("inside")
            outside.sendall(request())  # waits in the backlog
            server.send(signal.SIGTERM)
            wait_for(lambda: listens_no_more(server), "the order to arrive")
            app.open_gate()
            for sock in (inside, outside):
                answer = receive(sock)
                assert answer.status == 200
                # A loop that is in a call itself hears of the order when it has answered.
                assert answer.close or (sock is inside and calls == "inline")
        assert server.process.wait(PATIENCE) == 0


@some_pairs
def test_term_under_load_loses_no_request(app: App, model: str, calls: str) -> None:
    with serving("run", app.target, "-m", model, "--calls", calls, "-w", "2", *ROOM) as server:
        clients = Crowd(server, 64)
        clients.more(1500)
        clients.may_be_refused = True
        server.send(signal.SIGTERM)
        clients.join()
        assert clients.failures == []
        assert server.process.wait(PATIENCE) == 0


@each_pair
def test_term_cuts_what_never_ends(app: App, model: str, calls: str) -> None:
    arguments = ["-m", model, "--calls", calls, "--graceful-timeout", "0.5"]
    with serving("run", app.target, *arguments) as server, server.connect() as calling, server.connect() as streaming:
        streaming.sendall(request("/endless"))
        streaming.recv(1)
        if model != "iterative":  # whose only place is taken
            calling.sendall(request("/wait?call"))
            app.await_begun("call")
        started = time.monotonic()
        server.send(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - started > 0.4


@each_pair
def test_int_stops_quickly(app: App, model: str, calls: str) -> None:
    with serving("run", app.target, "-m", model, "--calls", calls, "-w", "2") as server, server.connect() as calling:
        calling.sendall(request("/wait?call"))
        app.await_begun("call")
        processes = [*server.workers(), *(child for worker in server.workers() for child in children(worker))]
        server.send(signal.SIGINT)
        assert server.process.wait(20) == 0  # of the 30 s that what is begun may take
        wait_for(lambda: not any(is_alive(pid) for pid in processes), "everybody to be gone")


def test_a_worker_is_killed_only_after_the_time_that_an_app_has_to_shut_down(app: App) -> None:
    with serving("run", app.target, "-m", "iterative") as server, server.connect() as calling:
        calling.sendall(request("/wait?call"))  # the worker's only thread: it reads no signal
        app.await_begun("call")
        sent = time.monotonic()
        server.send(signal.SIGINT)
        assert server.process.wait(20) == 0
        assert time.monotonic() - sent > 2 * APP_SHUTDOWN + KILL_MARGIN
        assert "did not stop in time and is killed" in server.stderr


def test_a_second_signal_makes_haste(app: App) -> None:
    with serving("run", app.target, "-m", "thread") as server, server.connect() as calling:
        calling.sendall(request("/wait?call"))
        app.await_begun("call")
        server.send(signal.SIGTERM)
        wait_for(lambda: listens_no_more(server), "the order to arrive")
        server.send(signal.SIGINT)
        assert server.process.wait(20) == 0  # of the 30 s that what is begun may take


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stops_while_it_starts(app: App, signum: int) -> None:
    (app.folder / "slow-start").touch()
    process = start(app)
    wait_for(lambda: children(process.pid), "a worker")
    process.send_signal(signum)
    assert process.wait(PATIENCE) == 0
    process.communicate()


def start(app: App, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a server, without waiting until it listens."""
    command = [sys.executable, "-m", "allcomers", "run", app.target, *arguments, "--bind", "127.0.0.1:0"]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


@pytest.mark.parametrize("model", ["process", "thread", "epoll"])
def test_a_signal_to_the_whole_group_loses_nothing(app: App, model: str) -> None:
    """Send TERM to every process of the group, as systemd does (KillMode=control-group)."""
    with serving("run", app.target, "-m", model, "--calls", "pool") as server, server.connect() as calling:
        calling.sendall(request("/wait?call"))
        app.await_begun("call")
        (worker,) = server.workers()
        for pid in (server.pid, worker, *children(worker)):
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda: listens_no_more(server), "the order to arrive")
        app.open_gate()
        assert receive(calling).status == 200
        assert server.process.wait(PATIENCE) == 0


# ------------------------------------------------------------ HUP


@some_pairs
def test_hup_under_load_brings_new_code_and_loses_no_request(app: App, model: str, calls: str) -> None:
    arguments = ["-m", model, "--calls", calls, "-w", "2", *ROOM]
    with serving("run", app.target, *arguments) as server, crowd(server) as clients:
        clients.more(500)
        before = set(server.workers())
        app.write("second")
        server.send(signal.SIGHUP)
        wait_for(lambda: not before & set(server.workers()), "new workers")
        clients.more(500)
        assert len(server.workers()) == 2
        assert fresh_answer(server).startswith(b"second")


def test_hup_does_not_wait_for_the_last_answer_of_the_old_workers(app: App) -> None:
    arguments = ["-m", "thread", "-w", "2"]
    with serving("run", app.target, *arguments) as server, ExitStack() as open_sockets:
        peers = one_peer_of_each_worker(server, "thread", open_sockets)
        for pid, sock in peers.items():
            sock.sendall(request(f"/wait?{pid}"))
            app.await_begun(str(pid))
        app.write("second")
        server.send(signal.SIGHUP)
        wait_for(lambda: len(set(server.workers()) - set(peers)) == 2, "new workers")
        wait_for(lambda: fresh_answer(server).startswith(b"second"), "new code")
        app.open_gate()
        for sock in peers.values():
            assert receive(sock).body.startswith(b"one")


def test_hup_again_and_again(app: App) -> None:
    with serving("run", app.target, "-w", "2") as server, crowd(server, 16) as clients:
        for number in range(20):
            app.write("again" * (number + 1))
            server.send(signal.SIGHUP)
            clients.more(5)
        wait_for(lambda: {worker_of(fresh_answer(server), "epoll")} <= set(server.workers()), "peace")
        wait_for(lambda: fresh_answer(server).startswith(b"again" * 20), "the last version")
        wait_for(lambda: len(server.workers()) == 2, "two workers")


@pytest.mark.parametrize(
    "broken", ["raise ValueError('broken')\n", "import os; os._exit(9)\n", "App = 3\n", "nothing = 1\n", "def ("]
)
def test_hup_with_a_broken_app_keeps_the_old_workers(app: App, broken: str) -> None:
    with serving("run", app.target, "-w", "2", quiet=False) as server:
        before = set(server.workers())
        app.replace(broken)
        server.send(signal.SIGHUP)
        wait_for(lambda: "the reload is given up, the old ones stay" in server.stderr, "the reload to fail")
        assert fresh_answer(server).startswith(b"one")
        assert set(server.workers()) == before
        app.write("mended")
        server.send(signal.SIGHUP)
        wait_for(lambda: not before & set(server.workers()), "new workers")
        assert fresh_answer(server).startswith(b"mended")


@pytest.mark.parametrize("workers", [1, 2])
def test_hup_while_broken_code_starts_is_not_given_up(app: App, workers: int) -> None:
    """Kill the worker of one HUP after the next HUP: its death shows nothing about the new code."""
    with serving("run", app.target, "-w", str(workers)) as server:
        before = set(server.workers())
        (app.folder / "slow-start").touch()
        fails = "(HERE / 'begun-to-fail').touch()\n"
        app.replace(APP.replace("while", fails + "while", 1) + "os._exit(9)\n")
        server.send(signal.SIGHUP)
        app.await_begun("to-fail")
        app.write("mended")
        server.send(signal.SIGHUP)
        wait_for(lambda: server.stderr.count("reloading") == 2, "the order to be read")
        (app.folder / "slow-start").unlink()
        wait_for(lambda: not before & set(server.workers()), "new workers")
        wait_for(lambda: len(server.workers()) == workers, "as many as were asked for")
        assert fresh_answer(server).startswith(b"mended")


def test_hup_with_a_folder_that_is_gone_keeps_serving(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("here")
    with serving("serve", str(folder)) as server:
        folder.rename(tmp_path / "moved")
        server.send(signal.SIGHUP)
        wait_for(lambda: "the options stay as they were" in server.stderr, "the complaint")
        (tmp_path / "moved").rename(folder)
        assert fresh_answer(server) == b"here"


@pytest.mark.parametrize("workers", [1, 3])
def test_hup_while_it_starts(app: App, workers: int) -> None:
    (app.folder / "slow-start").touch()
    process = start(app, "-w", str(workers))
    try:
        wait_for(lambda: children(process.pid), "a worker")
        first = set(children(process.pid))
        app.write("second")
        process.send_signal(signal.SIGHUP)
        assert process.stderr
        assert b"reloading" in process.stderr.readline()
        (app.folder / "slow-start").unlink()
        found = re.search(rb"Listening at: http://127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert found
        address = ("127.0.0.1", int(found[1]))

        def version() -> bytes:
            with socket.create_connection(address, timeout=PATIENCE) as sock:
                return exchange(sock).body

        wait_for(lambda: version().startswith(b"second") and not first & set(children(process.pid)), "new code")
        wait_for(lambda: len(children(process.pid)) == workers, "as many workers as asked")
    finally:
        process.terminate()
        _, rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert b"Traceback" not in rest


# ------------------------------------------------------------ scaling and logs


def test_ttin_and_ttou_scale(app: App) -> None:
    with serving("run", app.target) as server, crowd(server, 16) as clients:
        for signum, count in (
            (signal.SIGTTIN, 2),
            (signal.SIGTTIN, 3),
            (signal.SIGTTOU, 2),
            (signal.SIGTTOU, 1),
            (signal.SIGTTOU, 1),  # never none
        ):
            server.send(signum)
            wait_for(lambda count=count: len(server.workers()) == count, f"{count} workers")
            clients.more(50)


def test_a_worker_just_forked_obeys_for_itself(app: App) -> None:
    """Signal a process that still has its parent's handlers: the signal must not reach its parent."""
    with serving("run", app.target, "--access-log", str(app.folder / "log")) as server:
        for number in range(1, 11):
            server.send(signal.SIGTTIN)
            wait_for(lambda number=number: server.stderr.count("workers wanted: 2") == number, "the order to be read")
            server.send(signal.SIGUSR1)
            server.send(signal.SIGTTOU)
            wait_for(lambda number=number: server.stderr.count("workers wanted: 1") == number, "the order to be read")
        assert fresh_answer(server)
        wait_for(lambda: len(server.workers()) == 1, "one worker")
        assert "was killed by" not in server.stderr


@pytest.mark.parametrize("model", ["epoll", "thread", "process"])
def test_usr1_reopens_the_access_log(app: App, model: str) -> None:
    log, old = app.folder / "access.log", app.folder / "access.log.1"
    with serving("run", app.target, "-m", model, "-w", "2", "--access-log", str(log)) as server:
        fresh_answer(server)
        wait_for(lambda: log.exists() and log.read_text().count("\n") == 1, "a line in the log")
        log.rename(old)
        server.send(signal.SIGUSR1)
        for worker in server.workers():
            wait_for(lambda worker=worker: has_open(worker, log), "each worker to open the new file")
        fresh_answer(server)
        wait_for(lambda: log.read_text().count("\n") == 1, "a line in the new log")
        assert old.read_text().count("\n") == 1


def has_open(pid: int, path: Path) -> bool:
    return any(name == str(path) for name in open_files(pid))


def test_usr1_while_a_worker_starts(app: App) -> None:
    with serving("run", app.target, "--access-log", str(app.folder / "log")) as server:
        (app.folder / "slow-start").touch()
        server.send(signal.SIGTTIN)
        wait_for(lambda: len(server.workers()) == 2, "a second worker")
        server.send(signal.SIGUSR1)
        (app.folder / "slow-start").unlink()
        server.send(signal.SIGTTOU)
        wait_for(lambda: len(server.workers()) == 1, "one worker")
        assert "was killed by" not in server.stderr


# ------------------------------------------------------------ the supervisor is gone


@each_pair
def test_workers_leave_when_the_supervisor_is_killed(app: App, model: str, calls: str) -> None:
    server = Server("run", app.target, "-m", model, "--calls", calls, "-w", "3")
    with server.connect() as idle:
        assert exchange(idle).status == 200
        workers = server.workers()
        assert len(workers) == 3
        server.process.kill()
        server.process.wait()
        processes = [*workers, *(child for worker in workers if is_alive(worker) for child in children(worker))]
        wait_for(lambda: not any(is_alive(pid) for pid in processes), "the workers to leave")
        assert idle.recv(1) == b""
    server.stop()


def test_a_terminal_that_closes_leaves_nobody_spinning(app: App) -> None:
    """Close the terminal: the kernel sends HUP to its processes, and their output fails from then on."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "allcomers", "run", app.target, "-b", "127.0.0.1:0"])
    output = b""
    while b"Listening" not in output or not output.endswith(b"\n"):
        output += os.read(terminal, 4096)
    found = re.search(rb"Listening at: http://127\.0\.0\.1:(\d+)", output)
    assert found
    try:
        first = set(children(pid))
        os.close(terminal)
        wait_for(lambda: children(pid) and not first & set(children(pid)), "the reload that HUP asks for")
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=PATIENCE) as sock:
            assert exchange(sock).status == 200
        comes_to_rest(pid)
    finally:
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_whoever_asks_twice_to_end_is_told_of_a_good_end() -> None:
    """Send a signal while Python ends and restores default actions: it must not change the exit status."""
    with serving("run", "tests/support/apps/served.py:Hello") as server:
        until = time.monotonic() + PATIENCE
        while server.process.poll() is None and time.monotonic() < until:
            with suppress(ProcessLookupError):
                server.process.send_signal(signal.SIGTERM)
            time.sleep(0.0005)  # as often as it takes to meet its last moments
        assert server.process.returncode == 0
