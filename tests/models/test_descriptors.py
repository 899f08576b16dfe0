"""To be out of descriptors is to be full: who has been idle longest leaves for one that waits; nobody else does."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import struct
import termios
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.crowd import exchange, receive, request
from support.harness import PATIENCE, Server, receive_all, serving, wait_for
from support.staged import App, comes_to_rest, worker_of
from support.wires import Wire

APP = """
import os, sys, threading, time
from pathlib import Path
import allcomers

HERE = Path(__file__).parent
KEPT = []

def compute():
    while True:
        sum(range(1000))

class App(allcomers.Web):
    def get(self, request):
        if request.path == "/compute":
            sys.setswitchinterval(0.001)
            for _ in range(3):
                threading.Thread(target=compute, daemon=True).start()
        if request.path == "/wait":
            while not (HERE / "gate").exists():
                time.sleep(0.5)
        if request.path == "/open":  # until there is no descriptor
            try:
                while True:
                    KEPT.append(os.open("/", os.O_RDONLY))
            finally:
                for fd in KEPT[-8:]:  # else the log could not read this line
                    os.close(fd)
                del KEPT[-8:]
        if request.path == "/close":
            while KEPT:
                os.close(KEPT.pop())
        return "hello"

    def post(self, request):
        return str(len(request.body))
"""
LIMIT = 128
LOOPS = ["select", "poll", "epoll", "epoll-et", "asyncio"]
PLAIN = {"ALLCOMERS_PURE": "1"}
LONG = ["--head-timeout", "300", "--keep-alive", "300"]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


def idle_peers(server: Server, stack: ExitStack, count: int) -> list[socket.socket]:
    """So many who have had an answer and say no more, each served though those before stay."""
    peers = []
    for _ in range(count):
        sock = stack.enter_context(server.connect())
        assert exchange(sock).status == 200
        peers.append(sock)
    return peers


def has_left(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(PATIENCE)


@pytest.mark.parametrize(
    ("model", "env"),
    [*((model, {}) for model in [*LOOPS, "thread"]), ("epoll", PLAIN), ("asyncio", PLAIN)],
)
def test_idle_peers_leave_for_others_when_descriptors_run_out(app: Path, model: str, env: dict[str, str]) -> None:
    arguments = ["-m", model, "--descriptors", str(LIMIT)]
    with serving("run", f"{app}:App", *arguments, env=env) as server, ExitStack() as stack:
        peers = idle_peers(server, stack, LIMIT + 20)
        gone = [has_left(sock) for sock in peers]
        assert 20 <= sum(gone) < LIMIT
        if model != "thread":  # whose peers leave in any order
            assert all(gone[:20]), "not those who were idle longest"
        assert exchange(peers[-1]).status == 200


def test_idle_peers_leave_for_others_when_select_can_watch_no_more(app: Path) -> None:
    limit = min(3000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        with serving("run", f"{app}:App", "-m", "select") as server, ExitStack() as stack:
            peers = idle_peers(server, stack, 1100)
            wait_for(lambda: sum(map(has_left, peers[:76])) > 70, "those who were idle longest to leave")
            assert sum(map(has_left, peers)) < 550  # those that leave for others or are answered meanwhile: most stay
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("model", ["thread", "process", "thread-pool", *LOOPS])
def test_a_crowd_finds_places_that_idle_peers_hold(app: Path, model: str) -> None:
    """As many leave at once as wait: one by one, the last of these would wait for seconds."""
    count = 64
    places = ["--max-connections", str(count), "-t", str(count)]
    with serving("run", f"{app}:App", "-m", model, *places) as server, ExitStack() as stack:
        idle_peers(server, stack, count)
        started = time.monotonic()
        crowd = [stack.enter_context(server.connect()) for _ in range(count)]
        for sock in crowd:
            sock.sendall(request())
        assert [receive(sock).status for sock in crowd] == [200] * count
        assert time.monotonic() - started < 0.09 * count, "0.1 s for each"


@pytest.mark.parametrize(("model", "env"), [*((model, {}) for model in LOOPS), ("epoll", PLAIN)])
def test_as_many_leave_as_wait_though_all_are_looked_at_meanwhile(app: Path, model: str, env: dict[str, str]) -> None:
    """Idle peers are looked at --head-timeout after they have come, also while others wait."""
    options = ["-m", model, "--max-connections", "60", "--head-timeout", "2"]
    with serving("run", f"{app}:App", *options, env=env) as server, ExitStack() as stack:
        until = time.monotonic() + 3
        peers = idle_peers(server, stack, 60)
        while time.monotonic() < until and len(peers) < 100:  # others wait, 0.1 s each, until all have been looked at
            peers += idle_peers(server, stack, 1)
        newcomers = len(peers) - 60
        gone = [number for number, sock in enumerate(peers) if has_left(sock)]
        assert gone == list(range(newcomers)), "others than those that were idle longest, or more"


@pytest.mark.parametrize("model", ["epoll", "asyncio", "thread", "process"])
def test_who_has_said_nothing_yet_keeps_its_place_and_idle_ones_leave(app: Path, model: str) -> None:
    with serving("run", f"{app}:App", "-m", model, "--max-connections", "4") as server, ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(3)]
        (idle,) = idle_peers(server, stack, 1)
        for _ in range(6):
            (newcomer,) = idle_peers(server, stack, 1)
            assert receive_all(idle) == b""
            idle = newcomer
        for sock in silent:
            assert exchange(sock).status == 200


@pytest.mark.parametrize("model", ["epoll", "asyncio"])
def test_with_nobody_idle_those_leave_who_have_been_silent_longest(app: Path, model: str) -> None:
    with serving("run", f"{app}:App", "-m", model, "--max-connections", "4") as server, ExitStack() as stack:
        started = time.monotonic()
        silent = [stack.enter_context(server.connect()) for _ in range(4)]
        with server.connect() as sock:
            assert exchange(sock).status == 200
            assert 0.9 < time.monotonic() - started < 8, "their requests might be on the way for a second, not for ten"
            assert receive_all(silent[0]) == b""
        assert exchange(silent[3]).status == 200


@pytest.mark.parametrize("model", ["epoll", "epoll-et", "asyncio", "thread"])
def test_with_nobody_idle_a_newcomer_waits_without_a_spin(app: Path, model: str) -> None:
    arguments = ["-m", model, "--calls", "pool", "-t", "200", "--descriptors", str(LIMIT)]
    with serving("run", f"{app}:App", *arguments) as server, ExitStack() as stack:
        (worker,) = server.workers()
        peers = [stack.enter_context(server.connect()) for _ in range(LIMIT + 10)]
        for sock in peers:
            sock.sendall(request("/wait"))
        wait_for(lambda: max(descriptors_of(worker)) >= LIMIT - 17, "the descriptors to be used up")
        time.sleep(0.3)  # not to wait for something: to see that nothing happens
        assert max(descriptors_of(worker)) < LIMIT - 8, "peers took what is for files"
        comes_to_rest(worker)
        (app.parent / "gate").touch()
        for sock in peers:
            assert receive(sock).status == 200


def descriptors_of(pid: int) -> set[int]:
    return {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def peers_leave_for_files(server: Server, stack: ExitStack, count: int) -> None:
    """Have the app find no descriptor: so many idle peers leave, each of them."""
    peers = idle_peers(server, stack, count)
    with server.connect() as sock:
        assert exchange(sock, "/open").status == 500
    for peer in peers:
        assert receive_all(peer) == b""
    with server.connect() as sock:
        assert exchange(sock, "/close").status == 200


@pytest.mark.parametrize("model", ["epoll", "asyncio", "thread"])
def test_idle_peers_leave_when_an_app_finds_no_descriptor(app: Path, model: str) -> None:
    """No peer waits, and none is accepted: the app's own error is the sign."""
    arguments = ["-m", model, "--descriptors", str(LIMIT)]
    with serving("run", f"{app}:App", *arguments, quiet=False) as server, ExitStack() as stack:
        peers_leave_for_files(server, stack, 10)
        assert "Too many open files" in server.stderr


def test_all_idle_peers_leave_though_their_threads_wait_for_the_interpreter(app: Path) -> None:
    """The one whose call has found no descriptor leaves first, and at once; that is no reason for others to stay."""
    arguments = ["-m", "thread", "--descriptors", str(LIMIT)]
    with serving("run", f"{app}:App", *arguments, quiet=False) as server:
        with server.connect() as sock:
            assert exchange(sock, "/compute").status == 200
        for _ in range(5):
            with ExitStack() as stack:
                peers_leave_for_files(server, stack, 20)


@pytest.mark.parametrize("model", ["epoll", "asyncio"])
def test_another_peer_leaves_for_one_that_was_asked_to_and_sends_a_request(tmp_path: Path, model: str) -> None:
    """Its request lasts, and who waits would else wait for its end, while others are idle."""
    app = App(tmp_path)
    arguments = ["-m", model, "--calls", "pool", "--max-connections", "3", *LONG]
    with serving("run", app.target, *arguments) as server, ExitStack() as stack:
        (worker,) = server.workers()
        asked, *others = idle_peers(server, stack, 3)
        stop(worker)
        newcomer = stack.enter_context(server.connect())
        newcomer.sendall(request())
        asked.sendall(request("/wait?asked"))  # the worker learns of it in the same turn, after the newcomer
        os.kill(worker, signal.SIGCONT)
        app.await_begun("asked")
        assert receive(newcomer).status == 200
        assert receive_all(others[0]) == b""
        app.open_gate()
        assert receive(asked).status == 200


def test_another_process_ends_for_one_that_was_asked_to_and_gets_a_request(tmp_path: Path) -> None:
    app = App(tmp_path)
    arguments = ["-m", "process", "--max-connections", "3", *LONG]
    with serving("run", app.target, *arguments) as server, ExitStack() as stack:
        (worker,) = server.workers()
        socks = [stack.enter_context(server.connect()) for _ in range(3)]
        peers = {worker_of(exchange(sock).body, "thread"): sock for sock in socks}
        for child in peers:
            stop(child)
        newcomer = stack.enter_context(server.connect())
        newcomer.sendall(request())
        wait_for(lambda: unread_of_pipes(worker), "one of them to be asked to leave")
        *busy, idle = peers
        for child in busy:  # one of these reads that
            peers[child].sendall(request(f"/wait?{child}"))
            os.kill(child, signal.SIGCONT)
        for child in busy:
            app.await_begun(str(child))
        os.kill(idle, signal.SIGCONT)
        assert receive(newcomer).status == 200
        app.open_gate()
        assert [receive(peers[child]).status for child in busy] == [200, 200]


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    state = Path(f"/proc/{pid}/stat")
    wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "a process to stop")


def unread_of_pipes(pid: int) -> int:
    """Bytes in the pipes of a process that nobody has read."""
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if str(path.readlink()).startswith("pipe:"):
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                count += struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]
                os.close(fd)
    return count


def upload(server: Server, size: int) -> int:
    with server.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        return receive(sock).status


@pytest.mark.parametrize("kind", ["file", "body"])
def test_idle_peers_leave_when_a_file_or_a_body_finds_no_descriptor(tmp_path: Path, app: Path, kind: str) -> None:
    (tmp_path / "large.txt").write_bytes(b"x" * 100_000)
    (tmp_path / "small.txt").write_bytes(b"x")
    arguments = ["serve", str(tmp_path)] if kind == "file" else ["run", f"{app}:App", "--calls", "inline"]
    with serving(*arguments, "-m", "epoll", quiet=False) as server, ExitStack() as stack:
        (worker,) = server.workers()
        asking, *peers = idle_peers_of(server, stack, "/small.txt" if kind == "file" else "/", 6)
        used = descriptors_of(worker)
        lowest = next(fd for fd in range(max(used) + 2) if fd not in used)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        before = resource.prlimit(worker, resource.RLIMIT_NOFILE, (lowest, hard))
        if kind == "file":
            assert exchange(asking, "/large.txt").status == 503
        else:
            asking.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n" + bytes(600_000))
            assert receive(asking).status == 503
        for peer in peers:
            assert receive_all(peer) == b""
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
        if kind == "body":
            assert upload(server, 600_000) == 200


def idle_peers_of(server: Server, stack: ExitStack, path: str, count: int) -> Sequence[socket.socket]:
    socks = [stack.enter_context(server.connect()) for _ in range(count)]
    for sock in socks:
        assert exchange(sock, path).status == 200
    return socks


def test_a_slow_reader_of_the_last_answer_is_not_idle(tmp_path: Path) -> None:
    """Its answer is queued whole, and it asks for nothing more: to ask it to leave gives no place."""
    (tmp_path / "large.bin").write_bytes(bytes(30_000_000))
    (tmp_path / "small.txt").write_text("hello")
    with serving("serve", str(tmp_path), "-m", "epoll", "--max-connections", "2") as server:
        slow = Wire(server.address, receive_buffer=4096)
        slow.send(request("/small.txt"))
        wait_for(lambda: slow.receive().endswith(b"hello"), "the first answer")
        slow.send(request("/large.bin"))
        wait_for(lambda: slow.socket.recv(1, socket.MSG_PEEK), "the answer to begin")
        started = time.monotonic()
        with ExitStack() as stack:
            for _ in range(4):
                sock = stack.enter_context(server.connect())
                assert exchange(sock, "/small.txt").status == 200
        assert time.monotonic() - started < 4, "it was the slow one that had to leave"
        slow.socket.close()


@pytest.mark.parametrize("model", ["epoll", "asyncio"])
def test_a_download_is_not_cut_for_one_that_waits(tmp_path: Path, model: str) -> None:
    size = 30_000_000
    (tmp_path / "large.bin").write_bytes(bytes(size))
    (tmp_path / "small.txt").write_text("hello")
    with serving("serve", str(tmp_path), "-m", model, "--max-connections", "1") as server:
        slow = Wire(server.address, receive_buffer=4096)
        slow.send(request("/large.bin"))
        with server.connect() as sock:
            sock.sendall(request("/small.txt"))
            received, started = 0, time.monotonic()
            while time.monotonic() - started < 2:  # it reads, and is not done
                received += len(slow.receive(10_000))
                time.sleep(0.01)
            while received < size:
                piece = slow.receive(1 << 20)
                assert piece, "it was cut"
                received += len(piece)
            slow.socket.close()
            assert receive(sock).status == 200
