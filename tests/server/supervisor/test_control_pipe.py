"""The supervisor believes nothing that a worker says, waits for none, and gives it nothing of another's."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from allcomers.server import control_pipe
from allcomers.server.control_pipe import BROKEN, LONGEST, SupervisorEnd, WorkerEnd
from support.crowd import exchange, request
from support.harness import serving, wait_for
from support.staged import cpu_seconds, fresh_answer


@pytest.fixture
def ends() -> Iterator[tuple[SupervisorEnd, WorkerEnd]]:
    supervisor, worker = control_pipe.new()
    yield supervisor, worker
    supervisor.close()
    worker.close()


def said(ends: tuple[SupervisorEnd, WorkerEnd], data: bytes) -> list[tuple[str, str]]:
    """What the supervisor takes these bytes for."""
    supervisor, worker = ends
    os.write(worker._messages, data)
    found: list[tuple[str, str]] = []
    while supervisor.fileno() >= 0 and (more := supervisor.messages()):
        found += more
    return found


def test_what_a_worker_of_ours_says(ends: tuple[SupervisorEnd, WorkerEnd]) -> None:
    supervisor, worker = ends
    worker.report("ready", "https")
    worker.report("alive")
    worker.request_replacement("it has grown\nready http" + "x" * 1000)
    worker.report("told", "SIGTERM")
    ready, alive, (kind, text), told = supervisor.messages()
    assert (ready, alive, told) == (("ready", "https"), ("alive", ""), ("told", "SIGTERM"))
    assert kind == "replace"
    assert text.startswith("it has grown ready httpxxx")
    assert len(text) <= LONGEST


@pytest.mark.parametrize(
    "line",
    [b"ready evil", b"ready", b"ready HTTP", b"", b" ", b"die", b"READY http", b"\0\xff", b"alive" + b"x" * LONGEST],
)
def test_any_other_word_is_the_last(ends: tuple[SupervisorEnd, WorkerEnd], line: bytes) -> None:
    found = said(ends, b"alive \n" + line + b"\nreplace me\n")
    assert [kind for kind, _ in found] == ["alive", BROKEN]
    assert ends[0].fileno() == -1
    with pytest.raises(BrokenPipeError):
        os.write(ends[1]._messages, b"alive \n")


def test_a_line_without_an_end_is_not_kept(ends: tuple[SupervisorEnd, WorkerEnd]) -> None:
    assert said(ends, b"replace " + b"x" * (LONGEST - 9)) == []
    assert [kind for kind, _ in said(ends, b"x")] == [BROKEN]


@pytest.mark.parametrize("text", [b"a\rb", b"\x1b[2J", b"\xe2\x80\xae", b"a\0b"])
def test_no_text_forges_a_line_of_the_log(ends: tuple[SupervisorEnd, WorkerEnd], text: bytes) -> None:
    ((kind, shown),) = said(ends, b"replace " + text + b"\n")
    assert kind == "replace"
    assert shown.isascii()
    assert shown.isprintable()


def test_an_order_does_not_wait_for_who_reads_none(ends: tuple[SupervisorEnd, WorkerEnd]) -> None:
    """Even if the worker has made the socket blocking, whose one end both have."""
    supervisor, worker = ends
    _, to_orders = worker.orders
    with suppress(BlockingIOError):
        while True:
            os.write(to_orders, b"x" * 4096)
    os.set_blocking(to_orders, True)
    done = threading.Event()

    def order() -> None:
        for _ in range(10_000):
            supervisor.order(control_pipe.PING)
            supervisor.pass_log(0)
        done.set()

    threading.Thread(target=order, daemon=True).start()
    wait_for(done.is_set, "the orders to be given, or lost", 10)


def test_a_log_is_passed_with_no_other_right(ends: tuple[SupervisorEnd, WorkerEnd], tmp_path: Path) -> None:
    supervisor, worker = ends
    assert worker.passed() == -1
    for name in ("one", "two"):
        fd = os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT)
        supervisor.pass_log(fd)
        os.close(fd)
    fd = worker.passed()
    assert Path(f"/proc/self/fd/{fd}").readlink() == tmp_path / "two"
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert worker.passed() == -1


# ------------------------------------------------------------ a worker that is taken over

EVIL = """
import contextlib, gc, os, random, signal, threading
from allcomers.server.control_pipe import WorkerEnd
from allcomers.system.accept_balance import WorkerSlot

def of(kind):
    return next(found for found in gc.get_objects() if issubclass(type(found), kind))

gc.freeze, freeze = (lambda: None), gc.freeze  # so that they are found here

def app(environ, start_response):
    control, slot = of(WorkerEnd), of(WorkerSlot)
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/say":
        os.write(control._messages, query.encode().replace(b"+", b" ") + b"\\n")
    if path == "/flood":
        os.set_blocking(control._messages, True)
        def flood():
            with contextlib.suppress(BrokenPipeError):  # the supervisor closes its end as soon as it has seen enough
                while True:
                    os.write(control._messages, b"x" * 65536)
        threading.Thread(target=flood, daemon=True).start()
    if path == "/deaf":
        _, writer = control.orders
        try:
            while True:
                os.write(writer, bytes([control_byte]) * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(writer, True)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSTOP)).start()
    if path == "/board":
        cells = slot._board.cells
        for at in range(len(cells)):
            if at % 512 < 64 and not 40 <= at % 512 < 48:  # by these others refuse requests: see docs/security.md
                cells[at] = 2 ** 64 - 1 if query == "most" else random.getrandbits(64)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]

control_byte = 0
"""


@pytest.fixture
def evil(tmp_path: Path) -> str:
    (tmp_path / "evil.py").write_text(EVIL)
    return f"{tmp_path / 'evil.py'}:app"


@pytest.mark.parametrize("path", ["/say?ready+evil", "/say?shutdown", "/flood"])
def test_a_worker_that_talks_nonsense_is_killed_and_replaced(evil: str, path: str) -> None:
    with serving("run", evil, "-w", "2", "--calls", "pool") as server:
        before = set(server.workers())
        with server.connect() as sock:
            sock.sendall(request(path))
            wait_for(lambda: "as no worker does, and is killed" in server.stderr, "the supervisor to see it")
        wait_for(lambda: len(server.workers()) == 2 and set(server.workers()) != before, "another worker")
        assert len(before & set(server.workers())) == 1
        assert fresh_answer(server)
        assert server.stderr.count("as no worker does") == 1
        assert int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") < 100 << 20


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_reads_no_orders_delays_nobody(evil: str, signum: int) -> None:
    with serving("run", evil, "--calls", "pool", "--graceful-timeout", "0.5") as server, server.connect() as sock:
        exchange(sock, "/deaf")
        wait_for(
            lambda: Path(f"/proc/{server.workers()[0]}/stat").read_text().rpartition(")")[2].split()[0] == "T",
            "it to stop",
        )
        server.send(signum)
        assert server.process.wait(10) == 0


@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("figures", ["most", "random"])
def test_no_figure_of_the_shared_page_harms_anybody(evil: str, figures: str, pure: str) -> None:
    options = ["-w", "2", "--calls", "pool", "--admin", "127.0.0.1:0", "--admin-hosts", "*"]
    with serving("run", evil, *options, env={"ALLCOMERS_PURE": pure}) as server:
        admin = ("127.0.0.1", int(server.stderr.rpartition("Admin at: http://127.0.0.1:")[2].split()[0]))
        workers = set(server.workers())
        for _ in range(3):
            with server.connect() as sock:
                exchange(sock, f"/board?{figures}")
            for path in ("/stats.json", "/metrics", "/health/live"):
                with socket.create_connection(admin, timeout=20) as sock:
                    assert exchange(sock, path).status == 200
            for _ in range(20):  # of both workers
                assert fresh_answer(server)
        assert set(server.workers()) == workers
        with server.connect() as sock:
            victim = int(exchange(sock, f"/board?{figures}").body)
        before = cpu_seconds(server.pid)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: "was killed by SIGKILL; another starts" in server.stderr, "its death")
        wait_for(lambda: len(server.workers()) == len(workers), "another")
        assert fresh_answer(server)
        assert cpu_seconds(server.pid) - before < 2
        server.send(signal.SIGTTIN)
        wait_for(lambda: len(server.workers()) == len(workers) + 1, "one more")


def test_a_worker_has_no_pipe_of_another(evil: str) -> None:
    with serving("run", evil, "-w", "3", "--admin", "127.0.0.1:0", "--access-log", "-") as server:
        kinds = (stat.S_ISSOCK, stat.S_ISFIFO)
        own: dict[int, set[int]] = {}
        for pid in server.workers():
            inodes = set()
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):  # closed meanwhile
                    if int(fd.name) > 2 and any(kind(fd.stat().st_mode) for kind in kinds):
                        inodes.add(fd.stat().st_ino)
            own[pid] = inodes
        assert len(own) == 4
        shared = [one & other for pid, one in own.items() for other_pid, other in own.items() if pid != other_pid]
        listeners = {
            int(line.split()[9])
            for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        }
        assert set().union(*shared) <= listeners
