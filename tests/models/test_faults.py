"""The n-th recv, send, accept, sendfile, open, fork or start of a thread fails, for every n of a small scenario.

As SQLite does with its own calls (https://sqlite.org/testing.html#i_o_error_testing). After each: the same worker is
there and serves, at most one peer has suffered, no descriptor is left open; and at the end nothing spins.
tests/support/faults/ makes the calls fail in a real server.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from allcomers.protocol import compiled
from support.faults.sitecustomize import KINDS, LAYOUT
from support.harness import PATIENCE, ROOT, Server, receive_all, serving, wait_for
from support.offline import answers, statuses

LOOPS = ["select", "poll", "epoll", "epoll-et", "asyncio"]
BLOCKING = ["thread", "thread-pool", "process", "iterative"]
MODELS = LOOPS + BLOCKING

LARGE = b"0123456789abcdef" * 65536
SMALL = b"small\n"
BODY = b"x" * 600_000
"""More than is held in memory: it goes to a temporary file."""


class Faults:
    """What the server's processes look at before each call."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(LAYOUT.pack(0, 0, 0, 0))
        self.environment = {"FAULTS": str(path), "PYTHONPATH": f"{ROOT / 'tests/support/faults'}:{ROOT / 'tests'}"}
        if compiled.COMPILED:
            self.environment["LD_PRELOAD"] = _preloaded(path.with_name("faults.so"))
        with path.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), LAYOUT.size)

    def arm(self, kind: str, number: int, error: int) -> None:
        """Let the `number`-th call of `kind` from now on fail with `error`."""
        self._control[:] = LAYOUT.pack(KINDS.index(kind), number, error, 0)

    @property
    def fired(self) -> int:
        fired: int = LAYOUT.unpack(self._control)[3]
        return fired

    def disarm(self) -> None:
        self._control[:] = LAYOUT.pack(0, 0, 0, 0)


def _preloaded(library: Path) -> str:
    """Compiled code makes its calls without Python: these fail in the C library."""
    source = ROOT / "tests/support/faults" / "faults.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"], check=True)
    return str(library)


class Faulty:
    """A server whose calls fail when told to."""

    def __init__(self, server: Server, faults: Faults) -> None:
        self.server = server
        self.faults = faults
        self.workers = server.workers()
        (self.worker,) = self.workers
        self.descriptors = 0

    def open_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.worker}/fd").iterdir()))

    def children(self) -> str:
        return Path(f"/proc/{self.worker}/task/{self.worker}/children").read_text()

    def seconds_of_work(self) -> float:
        fields = Path(f"/proc/{self.worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def assert_at_rest(self) -> None:
        before = self.seconds_of_work()
        time.sleep(0.2)  # not to wait for something: to see that nothing happens
        assert self.seconds_of_work() - before < 0.1, "the worker spins"

    def settle(self) -> None:
        """All that was open for peers is closed again."""
        wait_for(lambda: self.open_descriptors() <= self.descriptors, "descriptors to be closed")
        wait_for(lambda: not self.children(), "children to be reaped")

    def run(self, scenario: Callable[[Server], list[str]]) -> list[str]:
        """How each peer of the scenario fared; the worker is the same afterwards, and has closed all it opened."""
        outcomes = scenario(self.server)
        assert self.server.workers() == self.workers, f"the worker has died: {self.server.stderr}"
        self.settle()
        return outcomes

    def fail_each(
        self, scenario: Callable[[Server], list[str]], kind: str, error: int, most: int
    ) -> Iterator[list[str]]:
        """Run the scenario with its first call of `kind` failing, then with its second ...: until there is none more.

        At most `most` times, for what is the same again and again.
        """
        for number in range(1, most + 1):
            self.faults.arm(kind, number, error)
            outcomes = self.run(scenario)
            fired = self.faults.fired
            self.faults.disarm()
            if not fired:
                assert set(outcomes) == {"good"}
                return
            yield outcomes


@contextmanager
def faulty(tmp_path: Path, model: str, *arguments: str, target: str = "app", quiet: bool = True) -> Iterator[Faulty]:
    files = tmp_path / "files"
    files.mkdir(exist_ok=True)
    (files / "large").write_bytes(LARGE)
    (files / "small").write_bytes(SMALL)
    faults = Faults(tmp_path / "faults")
    environment = {**faults.environment, "FAULTY_FILES": str(files)}
    command = ("run", f"tests/support/apps/faulty.py:{target}", "--model", model, *arguments)
    with serving(*command, env=environment, quiet=quiet) as server:
        place = Faulty(server, faults)
        # What all that follows is compared with: the model has begun, modules are loaded, pools are there.
        if target == "app":
            assert set(conversation(server)) == {"good"}
        wait_for(lambda: not place.children() and _is_steady(place), "the worker to come to rest")
        place.descriptors = place.open_descriptors()
        yield place
        if server.process.poll() is None:
            place.assert_at_rest()


def _is_steady(place: Faulty) -> bool:
    """Has it as many descriptors after a peer as before? The kernel tells when it has closed that peer's."""
    before = place.open_descriptors()
    with place.server.connect() as sock:
        sock.sendall(request(b"/", CLOSE))
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock)
    time.sleep(0.02)  # a thread may need a moment more
    return place.open_descriptors() == before


# ---------------------------------------------------------------- the scenario


def request(target: bytes, *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (method, target, lines, body)


CLOSE = b"Connection: close"
CHUNKS = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:100_000], BODY[100_000:])) + b"0\r\n\r\n"


def peer(server: Server, said: bytes, expected: list[tuple[int, bytes]]) -> str:
    """One peer says its words and listens: "good" if it hears all that it should, else "cut", or the status of a 5xx.

    Whatever befalls it, it never hears anything but the beginning of what it should, or a plain refusal.
    """
    try:
        with server.connect(timeout=PATIENCE) as sock:
            with suppress(OSError):  # the server may have closed already, with words
                sock.sendall(said)
            heard = receive_all(sock)
    except ConnectionResetError:
        return "cut"
    for status, body in expected:
        head, _, rest = heard.partition(b"\r\n\r\n")
        if not rest and not heard.startswith(b"HTTP/1.1 "):
            assert heard == b"" or b"HTTP/1.1 ".startswith(heard[:9])
            return "cut"
        if heard.startswith((b"HTTP/1.1 500 ", b"HTTP/1.1 503 ")):
            return heard[9:12].decode()
        if len(rest) < len(body):
            assert body.startswith(rest)
            return "cut"
        assert head.startswith(b"HTTP/1.1 %d " % status), head
        assert rest.startswith(body)
        heard = rest[len(body) :]
    assert heard == b""
    return "good"


def conversation(server: Server) -> list[str]:
    """Peers one after another: small and large answers, a file, a body that is kept in a file, two requests at once."""
    ran = (200, b"%d" % 0)
    return [
        peer(server, request(b"/ran") + request(b"/ran", CLOSE), [ran, ran]),
        peer(server, request(b"/big?n=300000", CLOSE), [(200, b"x" * 300_000)]),
        peer(server, request(b"/files/large", CLOSE), [(200, LARGE)]),
        # With a condition, for an answer is kept only to the like of one before.
        peer(server, request(b"/files/small", b'If-None-Match: "another"', CLOSE), [(200, SMALL)]),
        peer(
            server,
            request(b"/ran", b"Transfer-Encoding: chunked", CLOSE, method=b"POST", body=CHUNKS),
            [ran],
        ),
        peer(server, b"BAD\r\n\r\n", [(400, b"the target is empty or has a byte that must be percent-encoded.\n")]),
        peer(server, request(b"/ran", CLOSE), [ran]),
    ]


def assert_one_suffers(outcomes: list[str], *how: str) -> None:
    worse = [outcome for outcome in outcomes if outcome != "good"]
    assert len(worse) <= 1, outcomes
    assert set(worse) <= set(how), outcomes


# ---------------------------------------------------------------- one call after another


@pytest.mark.parametrize("model", MODELS)
def test_each_recv_and_each_send_may_fail(tmp_path: Path, model: str) -> None:
    with faulty(tmp_path, model) as place:
        count = 0
        for kind, error, most in (
            ("recv", errno.ECONNRESET, 1000),
            ("recv", errno.ETIMEDOUT, 3),
            ("send", errno.EPIPE, 1000),
            ("send", errno.ECONNRESET, 3),
            ("send", errno.ENOBUFS, 3),
            ("sendfile", errno.EIO, 1000),
            ("sendfile", errno.ECONNRESET, 2),
        ):
            for outcomes in place.fail_each(conversation, kind, error, most):
                assert_one_suffers(outcomes, "cut")
                count += 1
        assert count > 20


@pytest.mark.parametrize("model", [model for model in MODELS if model != "epoll-et"])
def test_a_call_that_would_block_after_all_hurts_nobody(tmp_path: Path, model: str) -> None:
    """poll(2), BUGS: readiness may be told where there is none. Edge-triggered epoll tells of changes: not there."""
    with faulty(tmp_path, model) as place:
        for kind in ("recv", "send", "accept"):
            for outcomes in place.fail_each(conversation, kind, errno.EAGAIN, 12):
                assert set(outcomes) == {"good"}


@pytest.mark.parametrize("model", MODELS)
def test_each_accept_may_fail(tmp_path: Path, model: str) -> None:
    """For want of descriptors or memory, or since its peer is gone again: who waits is let in a moment later."""
    with faulty(tmp_path, model) as place:
        for error, most in (
            (errno.ECONNABORTED, 1000),
            (errno.EPROTO, 1),
            (errno.EPERM, 1),
            (errno.EMFILE, 2),
            (errno.ENFILE, 1),
            (errno.ENOBUFS, 1),
            (errno.ENOMEM, 1),
        ):
            for outcomes in place.fail_each(conversation, "accept", error, most):
                assert set(outcomes) == {"good"}


@pytest.mark.parametrize("model", ["epoll", "thread", "process"])
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOSPC])
def test_each_open_may_fail(tmp_path: Path, model: str, error: int) -> None:
    """A site's file, a body's temporary file: 503 or 500, which the operator hears of."""
    with faulty(tmp_path, model, quiet=False) as place:
        count = 0
        for outcomes in place.fail_each(conversation, "open", error, 1000):
            assert_one_suffers(outcomes, "500", "503", "cut")
            count += 1
        assert count >= 3
        for text in place.server.stderr.split("Traceback")[1:]:
            assert f"[Errno {error}]" in text
        assert conversation(place.server) == ["good"] * 7


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOMEM])
def test_each_fork_may_fail(tmp_path: Path, error: int) -> None:
    with faulty(tmp_path, "process") as place:
        count = 0
        for outcomes in place.fail_each(conversation, "fork", error, 1000):
            assert_one_suffers(outcomes, "503", "cut")
            count += 1
        assert count == 7


def test_each_start_of_a_thread_may_fail(tmp_path: Path) -> None:
    with faulty(tmp_path, "thread") as place:
        count = 0
        for outcomes in place.fail_each(conversation, "thread", errno.EAGAIN, 1000):
            assert_one_suffers(outcomes, "503", "cut")
            count += 1
        assert count == 7


def test_the_supervisor_tries_a_fork_again(tmp_path: Path) -> None:
    with faulty(tmp_path, "epoll") as place:
        place.faults.arm("fork", 1, errno.EAGAIN)
        os.kill(place.worker, signal.SIGKILL)
        wait_for(lambda: place.faults.fired, "the fork to fail")
        (place.worker,) = place.workers = wait_for(place.server.workers, "a new worker")
        assert set(conversation(place.server)) == {"good"}
        assert "no worker can be started" in place.server.stderr


# ---------------------------------------------------------------- no faults but real ones


@pytest.mark.parametrize("model", ["select", "poll", "epoll", "epoll-et", "asyncio", "thread", "iterative"])
def test_no_descriptors_left(tmp_path: Path, model: str) -> None:
    """Who finds none waits outside, without a spin, and is let in when others leave."""
    with faulty(tmp_path, model) as place, ExitStack() as stack:
        spare = 5
        _, hard = resource.prlimit(place.worker, resource.RLIMIT_NOFILE)
        resource.prlimit(place.worker, resource.RLIMIT_NOFILE, (place.descriptors + spare, hard))
        socks = [stack.enter_context(place.server.connect(timeout=PATIENCE)) for _ in range(4 * spare)]
        if model != "iterative":
            wait_for(lambda: place.open_descriptors() >= place.descriptors + spare, "the descriptors to be used up")
            place.assert_at_rest()
        for sock in socks:
            sock.sendall(request(b"/ran", CLOSE))
            assert statuses(receive_all(sock)) == [200]
            sock.close()
        assert place.server.workers() == place.workers
        place.settle()


@pytest.mark.parametrize("model", MODELS)
def test_a_service_greets_who_is_gone_already(tmp_path: Path, model: str) -> None:
    """Its very first send fails, before its socket was ever watched."""
    with faulty(tmp_path, model, target="Greeter") as place:
        os.kill(place.worker, signal.SIGSTOP)
        for _ in range(5):
            sock = place.server.connect()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        os.kill(place.worker, signal.SIGCONT)
        with place.server.connect() as sock:
            assert sock.recv(100).startswith(b"hello")
            sock.shutdown(socket.SHUT_WR)
            receive_all(sock)
        assert place.server.workers() == place.workers
        place.settle()


@pytest.mark.parametrize("model", ["thread", "thread-pool", "process"])
def test_told_to_stop_while_all_places_are_taken(tmp_path: Path, model: str) -> None:
    """Who waits outside is served when those inside have left."""
    with faulty(tmp_path, model, "--max-connections", "2", "--threads", "2") as place:
        files = tmp_path / "files"
        socks = [place.server.connect() for _ in range(4)]
        for number, sock in enumerate(socks):
            sock.sendall(request(b"/wait?%d" % number))
        wait_for(lambda: len(list(files.glob("begun-*"))) == 2, "two calls to begin")
        place.assert_at_rest()
        place.server.send(signal.SIGTERM)
        (files / "gate").touch()
        for sock in socks:
            ((status, _, body),) = answers(receive_all(sock))
            assert (status, body) == (200, b"waited")
            sock.close()
        assert place.server.process.wait(PATIENCE) == 0
