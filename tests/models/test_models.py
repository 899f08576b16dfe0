"""What sets the models apart at their limits: select's FD_SETSIZE, places that are all taken, peers that stay idle."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.crowd import Answer, exchange, receive, request
from support.harness import PATIENCE, Server, receive_all, serving, wait_for

APP = """
import os, time
from pathlib import Path
import allcomers

HERE = Path(__file__).parent

class App(allcomers.Web):
    def get(self, request):
        if request.path == "/wait":
            (HERE / f"begun-{request.query}").touch()
            while not (HERE / "gate").exists():
                time.sleep(0.005)
        return "hello"
"""
LOOPS = ["select", "poll", "epoll", "epoll-et", "asyncio"]
BOUNDED = ["thread", "process", "thread-pool", *LOOPS]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 3000:
        pytest.skip(f"this system allows {before[1]} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def served(sock: socket.socket) -> Answer | None:
    """The answer, if one comes before a moment is over."""
    sock.settimeout(0.3)
    try:
        return receive(sock)
    except TimeoutError:
        return None
    finally:
        sock.settimeout(PATIENCE)


@pytest.mark.usefixtures("many_descriptors")
def test_select_serves_more_than_it_can_watch(app: Path) -> None:
    with serving("run", f"{app}:App", "-m", "select") as server, ExitStack() as stack:
        peers = []
        for _ in range(1100):
            sock = stack.enter_context(server.connect())
            sock.sendall(request())
            peers.append(sock)
        assert [receive(sock).status for sock in peers] == [200] * 1100
        assert exchange(peers[-1]).status == 200


def one_answer(server: Server) -> Answer:
    with server.connect() as sock:
        return exchange(sock)


@pytest.mark.parametrize("model", BOUNDED)
@pytest.mark.parametrize("calls", ["inline", "pool"])
def test_who_finds_no_place_waits_and_is_served_when_one_is_free(app: Path, model: str, calls: str) -> None:
    calls = "pool" if model in LOOPS else calls  # else the one call keeps the loop, and everybody waits for that
    arguments = ["-m", model, "--calls", calls, "--max-connections", "2"]
    with serving("run", f"{app}:App", *arguments) as server, ExitStack() as stack:
        inside = [stack.enter_context(server.connect()) for _ in range(2)]
        for number, sock in enumerate(inside):
            sock.sendall(request(f"/wait?{number}"))
            wait_for((app.parent / f"begun-{number}").exists, "the call to begin")
        outside = [stack.enter_context(server.connect()) for _ in range(3)]
        for sock in outside:
            sock.sendall(request())
        assert served(outside[0]) is None
        (app.parent / "gate").touch()
        for sock in inside:
            assert receive(sock).status == 200
            sock.close()
        for sock in outside:
            assert receive(sock).status == 200
            sock.close()


@pytest.mark.parametrize("model", BOUNDED)
def test_idle_peers_make_room(app: Path, model: str) -> None:
    with serving("run", f"{app}:App", "-m", model, "--max-connections", "4") as server, ExitStack() as stack:
        for _ in range(12):
            sock = stack.enter_context(server.connect())
            assert exchange(sock).status == 200  # though those before keep their connections


@pytest.mark.parametrize("model", BOUNDED)
def test_a_peer_who_stays_busy_keeps_its_place(app: Path, model: str) -> None:
    with serving("run", f"{app}:App", "-m", model, "--max-connections", "2") as server, ExitStack() as stack:
        idle = stack.enter_context(server.connect())
        assert exchange(idle).status == 200
        waiting = stack.enter_context(server.connect())
        waiting.sendall(b"GET / HTTP/1.1\r\n")  # a request that is not yet whole
        wait_for(lambda: has_read_all(server, waiting), "it to be heard")
        newcomer = stack.enter_context(server.connect())
        assert exchange(newcomer).status == 200
        assert receive_all(idle) == b""
        waiting.sendall(b"Host: test\r\n\r\n")
        assert receive(waiting).status == 200


def has_read_all(server: Server, sock: socket.socket) -> bool:
    """Has the server read what this client sent? (proc(5): /proc/net/tcp, rx_queue)"""
    port, peer = (f":{number:04X}" for number in (server.address[1], sock.getsockname()[1]))
    for line in Path("/proc/net/tcp").read_text().splitlines():
        _, local, remote, _, queues, *_ = line.split()
        if local.endswith(port) and remote.endswith(peer):
            return queues.endswith(":00000000")
    return False


@pytest.mark.parametrize("model", LOOPS)
def test_a_peer_that_asks_and_says_that_it_says_no_more_is_answered_and_left(app: Path, model: str) -> None:
    """Both come at once, for the loop is busy: a poller that tells each change once tells of both at once."""
    with serving("run", f"{app}:App", "-m", model) as server, server.connect() as first, server.connect() as second:
        assert exchange(second).status == 200
        first.sendall(request("/wait?first"))
        wait_for((app.parent / "begun-first").exists, "the call to begin")
        second.sendall(request())
        second.shutdown(socket.SHUT_WR)
        (app.parent / "gate").touch()
        assert receive(second).status == 200
        second.settimeout(20)  # and not the 75 s of a connection that is kept alive
        assert second.recv(1) == b""
        assert receive(first).status == 200


@pytest.mark.parametrize(("model", "pure"), [*((model, "") for model in LOOPS), ("epoll", "1")])
def test_what_has_come_in_time_is_answered_though_the_loop_was_kept_from_reading_it(
    app: Path, model: str, pure: str
) -> None:
    arguments = ["-m", model, "--calls", "inline", "--keep-alive", "2", "--head-timeout", "2"]
    with serving("run", f"{app}:App", *arguments, env={"ALLCOMERS_PURE": pure}) as server, ExitStack() as stack:
        busy, idle, begun = [stack.enter_context(server.connect()) for _ in range(3)]
        for sock in (busy, idle, begun):
            assert exchange(sock).status == 200
        begun.sendall(request()[:-2])
        wait_for(lambda: has_read_all(server, begun), "the begun head to be read")
        busy.sendall(request("/wait?busy"))
        wait_for((app.parent / "begun-busy").exists, "the call to begin")
        idle.sendall(request())
        begun.sendall(b"\r\n")
        until = time.monotonic() + 2.5
        wait_for(lambda: time.monotonic() > until, "both deadlines to pass")
        (app.parent / "gate").touch()
        assert [receive(sock).status for sock in (busy, idle, begun)] == [200] * 3


@pytest.mark.parametrize("model", LOOPS)
@pytest.mark.parametrize("words", [b"", b"GET / HTT", request("/a") + b"GET"])
@pytest.mark.parametrize("resets", [False, True])
def test_a_peer_that_is_gone_in_mid_request_is_left(app: Path, model: str, words: bytes, resets: bool) -> None:
    with serving("run", f"{app}:App", "-m", model) as server, server.connect() as first, server.connect() as second:
        assert exchange(second).status == 200
        (worker,) = server.workers()
        before = count_sockets(worker)
        first.sendall(request("/wait?first"))
        wait_for((app.parent / "begun-first").exists, "the call to begin")
        second.sendall(words)
        if resets:
            second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        second.close()
        (app.parent / "gate").touch()
        wait_for(lambda: count_sockets(worker) == before - 1, "its socket to be closed", 9)  # no time-out is as short
        assert receive(first).status == 200


def count_sockets(pid: int) -> int:
    count = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            count += str(fd.readlink()).startswith("socket:")
    return count


@pytest.mark.parametrize("model", [*BOUNDED, "iterative"])
def test_places_are_given_back_however_a_peer_leaves(app: Path, model: str) -> None:
    with serving("run", f"{app}:App", "-m", model, "--max-connections", "2") as server:
        for _ in range(4):
            for words in (b"", b"GET / HT", b"nonsense\r\n\r\n", request(), request() * 3):
                with server.connect() as sock:
                    sock.sendall(words)
                with server.connect() as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    sock.sendall(words)
        assert one_answer(server).status == 200


def test_the_iterative_model_keeps_its_times_while_others_wait(app: Path) -> None:
    """A slow head is refused neither later, nor earlier with its worker, which would seem to hang (--hang-timeout)."""
    options = ["--head-timeout", "3", "--hang-timeout", "1"]
    with serving("run", f"{app}:App", "-m", "iterative", *options) as server, ExitStack() as stack:
        workers = server.workers()
        slow = stack.enter_context(server.connect())
        begun = time.monotonic()
        slow.sendall(b"GET / HTTP/1.1\r\nHo")
        others = [stack.enter_context(server.connect()) for _ in range(5)]
        for sock in others:
            sock.sendall(request())
        slow.settimeout(0.1)
        said = b""
        while not said and time.monotonic() - begun < 30:
            try:
                said = slow.recv(65536)
            except TimeoutError:
                slow.sendall(b"s")
        assert said.startswith(b"HTTP/1.1 408 ")
        assert 2.9 < time.monotonic() - begun < 6
        slow.close()
        for sock in others:
            assert receive(sock).status == 200
        assert server.workers() == workers


@pytest.mark.parametrize("model", [*BOUNDED, "iterative"])
def test_without_descriptors_it_waits_and_goes_on(app: Path, model: str) -> None:
    """accept(2) then fails again and again (EMFILE): the server must neither die nor spin."""
    with serving("run", f"{app}:App", "-m", model, "--calls", "pool", "-t", "4") as server, ExitStack() as stack:
        (worker,) = server.workers()
        assert one_answer(server).status == 200
        wait_for(lambda: not has_peers(server), "the descriptor of that peer to be free")
        used = {int(fd.name) for fd in Path(f"/proc/{worker}/fd").iterdir()}
        lowest = next(fd for fd in range(max(used) + 2) if fd not in used)
        limit = (lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        before = resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)
        peers = [stack.enter_context(server.connect()) for _ in range(40)]
        for sock in peers:
            sock.sendall(request())
        assert served(peers[-1]) is None
        assert served(peers[0]) is None
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
        for sock in peers:
            assert receive(sock).status == 200
            sock.close()


def has_peers(server: Server) -> bool:
    """Has any process of the server a connection open? (proc(5): /proc/net/tcp; 01 is ESTABLISHED, 08 CLOSE_WAIT)"""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(row[1].endswith(f":{server.address[1]:04X}") and row[3] in ("01", "08") for row in rows)
