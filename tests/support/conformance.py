"""What the conformance tests share: combinations of model, TLS, calls and workers, and a server for each app.

Servers are shared by the tests of a combination; after each test they must be as they were before it: as many
descriptors, as many processes, no CPU time used.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from allcomers.models import TABLE
from support.apps.served import pattern
from support.certificates import Certificate
from support.clients import TIMEOUT, Answer, Client, Regular, chunked, request
from support.harness import Server, wait_for
from support.staged import open_files
from support.wires import TlsWire, Wire, wire

LARGE = 20_000_000
"""Bytes of a large body: more than any buffer between the two ends holds."""


@dataclass(frozen=True)
class Combination:
    """A point of the product."""

    model: str
    tls: bool
    calls: str
    workers: int

    def __str__(self) -> str:
        return f"{self.model}-{'tls' if self.tls else 'plain'}-{self.calls}-{self.workers}"

    @property
    def alone(self) -> bool:
        """One client at a time?"""
        return self.model == "iterative"

    @property
    def roomy(self) -> bool:
        """Is there a place for each of 200 clients?"""
        return self.model not in ("iterative", "thread-pool")

    @property
    def patient(self) -> bool:
        """Are others served while an app's call waits?"""
        if self.calls == "auto":  # asyncio's loop cannot move: the first call that waits keeps all waiting
            return self.model != "asyncio"
        return self.model in ("process", "thread", "thread-pool", "gevent") or (self.calls == "pool" and not self.alone)


COMBINATIONS = [
    Combination(model.name, tls, calls, workers)
    for model in TABLE.values()
    if not model.obstacle
    for tls in (False, True)
    for calls in (("inline",) if model.is_patched else ("inline", "pool", "auto")[: 2 + (model.events is not None)])
    for workers in (1, 2)
]

Test = TypeVar("Test", bound=Callable[..., None])


def only(which: Callable[[Combination], bool]) -> Callable[[Test], Test]:
    """A test for some combinations."""

    def mark(test: Test) -> Test:
        test.__dict__["only"] = which
        return test

    return mark


# ---------------------------------------------------------------- servers


def family(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [pid, *(one for child in children.split() for one in family(int(child)))]


def waits_for_peers(pid: int) -> bool:
    """Does one of its threads?"""
    # Where it waits in the kernel: "do_epoll_wait", "poll_schedule_timeout"; "0" where that is a secret.
    places = [(thread / "wchan").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    return any("poll" in place or place == "0" for place in places)


class Watched(Server):
    """A Server and what it uses."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        super().__init__(*arguments, env=env)
        assert self.address[1], self.stderr
        self.home = (0, 0)  # what it holds when nobody is there
        self.held = (0, 0)  # what it held at the last look

    def holds(self) -> tuple[int, int]:
        """(processes, descriptors of them all)."""
        pids = family(self.pid)
        return len(pids), sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)

    def cpu(self) -> int | None:
        """Nanoseconds on a CPU so far, of all who live; None while one runs, or would if it were let."""
        used = 0
        for thread in (path for pid in family(self.pid) for path in Path(f"/proc/{pid}/task").iterdir()):
            used += int((thread / "schedstat").read_text().split()[0])
            if (thread / "stat").read_text().rpartition(") ")[2].startswith("R"):
                return None
        return used

    def is_idle(self) -> bool:
        """Does it sleep, and use no CPU for a moment?"""
        with suppress(FileNotFoundError, ProcessLookupError):  # a process ended meanwhile
            before = self.cpu()
            time.sleep(0.02)
            after = self.cpu()
            return before is not None and after is not None and after - before < 2_000_000
        return False

    def described(self) -> str:
        """Each process, its threads and descriptors, and what the server has said."""
        lines = []
        for pid in family(self.pid):
            with suppress(OSError):
                threads = [(thread / "comm").read_text().strip() for thread in Path(f"/proc/{pid}/task").iterdir()]
                lines.append(f"{pid}: {threads}, {sorted(open_files(pid))}")
        return "\n".join([*lines, self.stderr])

    def is_home(self) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            self.held = self.holds()
            return all(now <= then for now, then in zip(self.held, self.home, strict=True))
        return False

    def settles(self, workers: int) -> None:
        """Take what it holds now, with so many workers that wait for peers and no peer, as its home."""

        def settled() -> bool:
            with suppress(FileNotFoundError, ProcessLookupError):
                pids = family(self.pid)
                return len(pids) == 1 + workers and all(map(waits_for_peers, pids))
            return False

        wait_for(settled, "all workers to wait for peers")
        self.idles()
        self.home = self.holds()

    def idles(self) -> None:
        wait_for(self.is_idle, "the server to use no CPU")

    def comes_home(self) -> None:
        try:
            wait_for(self.is_home, "processes and descriptors to be given back")
        except AssertionError as error:
            error.add_note(f"(processes, descriptors) are {self.held}, at first {self.home}:\n{self.described()}")
            raise
        self.idles()


class Stage:
    """The servers of one combination, each started when it is first wanted."""

    def __init__(self, combination: Combination, certificate: Certificate, files: Path) -> None:
        self.combination = combination
        self.tls = certificate.trusted if combination.tls else None
        self.servers: dict[tuple[str, ...], Watched] = {}
        self._env = {"CONFORMANCE_FILES": str(files)}
        self._options = [
            *("--model", combination.model, "--calls", combination.calls, "--workers", str(combination.workers)),
            *(("--certfile", str(certificate.pem)) if combination.tls else ()),
            *("--min-rate", "0"),  # peers are slow here, and this machine may be
        ]

    def server(self, *arguments: str) -> Watched:
        """That serves `arguments`: the name of an app, and options."""
        arguments = arguments or ("app",)
        if arguments not in self.servers:
            name, *options = arguments
            server = Watched("run", f"tests/support/apps/served.py:{name}", *self._options, *options, env=self._env)
            self.servers[arguments] = server
            first = wire(server.address, self.tls)
            if isinstance(first, TlsWire):
                first.greet()
            first.close()
            server.settles(self.combination.workers)
        return self.servers[arguments]

    def wire(self, *arguments: str, receive_buffer: int = 0) -> Wire:
        return wire(self.server(*arguments).address, self.tls, receive_buffer=receive_buffer)

    def client(self, *arguments: str, receive_buffer: int = 0) -> Client:
        return Client(self.wire(*arguments, receive_buffer=receive_buffer))

    def regular(self, *arguments: str) -> Regular:
        return Regular(self.server(*arguments).address, self.tls)

    def stop(self) -> None:
        """All end well, and nothing has failed in them but what was to fail."""
        servers, self.servers = self.servers, {}
        said = [server.stderr for server in servers.values()]
        statuses = [server.stop() for server in servers.values()]
        for text in said:
            assert text.count("Traceback (") == text.count("Deliberate: "), text
        assert set(statuses) <= {0}, (statuses, said)


def together(count: int, job: Callable[[int], Any]) -> list[Any]:
    """job(0), job(1) ... at once, each in a thread of its own; what they return."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(job, range(count)))


@contextmanager
def sending(wire: Wire, data: bytes, *, half_close: bool = False) -> Iterator[threading.Thread]:
    """Send in a thread while the block receives: what is large both ways would else wait for itself."""
    failed: list[Exception] = []

    def send() -> None:
        try:
            wire.send(data)
            if half_close:
                wire.half_close()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(TIMEOUT)
    assert not failed, failed


def dribble(wire: Wire, data: bytes, sizes: Callable[[], int], pause: float = 0.0005) -> None:
    """Send `data` in small writes, and wait a little after each, so that it is read on its own."""
    at = 0
    while at < len(data):
        size = sizes()
        wire.send(data[at : at + size])
        at += size
        time.sleep(pause)


HELLO = b"Hello, all comers"


def is_hello(answer: Answer) -> bool:
    return (answer.status, answer.body) == (200, HELLO)


def same(one: bytes, other: bytes) -> None:
    """Equal, said in a line where they are not."""
    assert (len(one), hashlib.sha256(one).hexdigest()) == (len(other), hashlib.sha256(other).hexdigest())


def pipeline(seed: int, count: int, large: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    """`count` requests in one piece of bytes, and the (method, body) of the answers: small, streamed, up to `large`."""
    dice = random.Random(seed)
    asked, expected = [], []
    for index in range(count):
        size = dice.choice((0, 1, 100, 5000, large))
        method, path, body, answer = dice.choice(
            (
                ("GET", f"/bytes?n={size}&{index}", None, pattern(size)),
                ("GET", f"/stream?n={size}&piece=1500", None, pattern(size)),
                ("GET", f"/stream?n={size}&piece=40000&length=0", None, pattern(size)),
                ("HEAD", f"/bytes?n={size}", None, b""),
                ("POST", "/echo", pattern(size // 10 + index), pattern(size // 10 + index)),
                ("PUT", "/echo", None, pattern(index * 31)),
            )
        )
        if method == "PUT":
            asked.append(request(method, path, "Transfer-Encoding: chunked") + chunked(answer, 17, "X-Last: yes"))
        else:
            asked.append(request(method, path, body=body))
        expected.append((method, answer))
    return b"".join(asked), expected


def hear(client: Client, expected: list[tuple[str, bytes]]) -> None:
    for method, body in expected:
        answer = client.answer(method)
        assert answer.status == 200
        assert answer.body == body


def crowd(stage: Stage, server: Watched, job: Callable[[Callable[[], object], int], int]) -> list[int]:
    """200 clients at once: job(meet, number) in a thread for each; what they return.

    Whoever has connected calls `meet`, which waits until all have: where there is a place for each. Where not, who
    waits inside for those outside has to leave; there they meet before they connect.
    """
    barrier = threading.Barrier(200, timeout=TIMEOUT)

    def visit(number: int) -> int:
        if stage.combination.roomy:
            return job(barrier.wait, number)
        barrier.wait()
        return job(lambda: None, number)

    return together(200, visit)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def leave_in_the_handshake(wire: Wire) -> None:
    if isinstance(wire, TlsWire):
        wire.hello()
