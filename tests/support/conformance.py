"""One suite for every model, plain and TLS, inline and pool, 1 and 2 workers: real servers, real sockets, every byte.

    make conformance                                  the whole product
    pytest tests/support/conformance.py -k epoll-tls-pool-2   one of it

`test_conformance.py` runs the same tests on a few of these. Servers are shared by the tests of a combination; after
each test they must be as they were before it: as many descriptors, as many processes, no CPU time used.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from allcomers.models import TABLE
from conftest import Certificate
from support.apps.served import pattern
from support.clients import TIMEOUT, Answer, Client, Cut, Ended, Lost, Regular, TlsWire, Wire, chunked, request, wire
from support.harness import Server, wait_for

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
        return self.model in ("process", "thread", "thread-pool") or (self.calls == "pool" and not self.alone)


COMBINATIONS = [
    Combination(model.name, tls, calls, workers)
    for model in TABLE.values()
    if not model.obstacle
    for tls in (False, True)
    for calls in (("inline", "pool") if model.events is None else ("inline", "pool", "auto"))
    for workers in (1, 2)
]

Test = TypeVar("Test", bound=Callable[..., None])


def only(which: Callable[[Combination], bool]) -> Callable[[Test], Test]:
    """A test for some combinations."""

    def mark(test: Test) -> Test:
        test.__dict__["only"] = which
        return test

    return mark


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    which = getattr(metafunc.function, "only", lambda _: True)
    found = [combination for combination in metafunc.module.COMBINATIONS if which(combination)]
    metafunc.parametrize("stage", found, ids=map(str, found), indirect=True, scope="module")


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
        wait_for(self.is_idle, "the server to use no CPU", 5.0)

    def comes_home(self) -> None:
        try:
            wait_for(self.is_home, "processes and descriptors to be given back")
        except AssertionError as error:
            error.add_note(f"(processes, descriptors) are {self.held}, at first {self.home}")
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


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "large.bin").write_bytes(pattern(LARGE))
    return folder


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, certificate: Certificate, files: Path) -> Iterator[Stage]:
    stage = Stage(request.param, certificate, files)
    yield stage
    stage.stop()


@pytest.fixture(autouse=True)
def _calm(stage: Stage) -> Iterator[None]:
    """After each test, its servers are as before; one that is not is no server for the next test."""
    yield
    try:
        for server in stage.servers.values():
            server.comes_home()
    except BaseException:
        stage.stop()
        raise


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


# ---------------------------------------------------------------- one request after another


def test_get(stage: Stage) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", "/hello"))
        assert is_hello(answer)
        assert answer["Content-Length"] == str(len(HELLO))
        assert answer.persists
        assert answer.chunks is None


def test_keep_alive(stage: Stage) -> None:
    with stage.client() as client:
        for size in range(0, 2000, 20):
            assert client.ask(request("GET", f"/bytes?n={size}")).body == pattern(size)


def test_connection_close(stage: Stage) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", "/bytes?n=300000", "Connection: close"))
        assert answer.body == pattern(300000)
        assert not answer.persists
        client.ends()


@pytest.mark.parametrize("path", ["/bytes?n=100000", "/stream?n=100000&piece=30000", "/stream?n=100000&length=0"])
def test_http_1_0(stage: Stage, path: str) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", path, version="1.0"))
        assert answer.body == pattern(100000)
        assert answer.chunks is None
        assert not answer.persists
        client.ends()


def test_http_1_0_without_a_host(stage: Stage) -> None:
    with stage.client() as client:
        assert is_hello(client.ask(request("GET", "/hello", version="1.0", host=None)))
        client.ends()


def test_http_1_0_keep_alive(stage: Stage) -> None:
    with stage.client() as client:
        for _ in range(10):
            answer = client.ask(request("GET", "/bytes?n=1000", "Connection: keep-alive", version="1.0"))
            assert answer.body == pattern(1000)
            assert (answer["Connection"] or "").lower() == "keep-alive"
        # What has no length ends with the connection.
        answer = client.ask(request("GET", "/stream?n=1000", "Connection: keep-alive", version="1.0"))
        assert answer.body == pattern(1000)
        client.ends()


def test_head(stage: Stage) -> None:
    with stage.client() as client:
        for path in ("/bytes?n=1000", "/stream?n=1000", "/stream?n=1000&length=0", "/files/large.bin"):
            answer, full = client.ask(request("HEAD", path)), client.ask(request("GET", path))
            assert answer.status == full.status == 200
            assert answer["Content-Length"] == full["Content-Length"]
            assert answer["Content-Type"] == full["Content-Type"]
        assert is_hello(client.ask())


def test_forms_of_the_target(stage: Stage) -> None:
    with stage.client() as client:
        seen = json.loads(client.ask(request("GET", "/seen?a=%20b", host="example.org:8000")).body)
        scheme = "https" if stage.tls else "http"
        expected = {
            "method": "GET", "target": "/seen?a=%20b", "path": "/seen", "query": "a=%20b", "host": "example.org:8000",
            "version": "1.1", "scheme": scheme, "peer": "127.0.0.1",
        }  # fmt: skip
        assert seen == expected
        seen = json.loads(client.ask(request("GET", f"{scheme}://example.org:8000/seen?a=%20b", host="other")).body)
        assert seen == expected
        assert client.ask(request("OPTIONS", "*")).status == 204
        answer = client.ask(request("OPTIONS", "/hello"))
        assert "GET" in (answer["Allow"] or "")
        assert is_hello(client.ask())


def test_what_is_not_there(stage: Stage) -> None:
    with stage.client() as client:
        assert client.ask(request("GET", "/nowhere")).status == 404
        answer = client.ask(request("POST", "/hello", body=b"a body that nobody reads"))
        assert answer.status == 405
        assert "GET" in (answer["Allow"] or "")
        assert client.ask(request("BREW", "/hello")).status == 501
        assert is_hello(client.ask())


def test_what_makes_no_sense(stage: Stage) -> None:
    for data in (b"GET /hello\r\n\r\n", b"\x16\x03\x01 this is TLS", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
        with stage.client() as client:
            client.send(request() + data)
            assert is_hello(client.answer())
            answer = client.answer()
            assert answer.status == 400
            assert not answer.persists
            client.ends()


def test_who_is_refused_in_mid_upload_reads_why(stage: Stage) -> None:
    with stage.client() as client:
        client.send(request("POST", "/echo", "Content-Length: 999999999"))
        assert client.answer().status == 413
        for _ in range(5):  # what is on its way is heard for a while: a closed socket would reset us
            client.send(pattern(100_000))
        client.ends()


# ---------------------------------------------------------------- pipelining


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


def test_fifty_requests_in_one_write(stage: Stage) -> None:
    with stage.client() as client:
        client.send(b"".join(request("GET", f"/bytes?n={size}") for size in range(50)))
        for size in range(50):
            assert client.answer().body == pattern(size)
        assert is_hello(client.ask())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pipelined_requests_of_all_kinds(stage: Stage, seed: int) -> None:
    data, expected = pipeline(seed, 50, 300_000)
    with stage.client() as client, sending(client.wire, data):
        hear(client, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 61, 1459])
def test_pipelined_requests_in_pieces(stage: Stage, size: int) -> None:
    data, expected = pipeline(size, 12 if size < 7 else 50, 2000)
    with stage.client() as client:
        for begin in range(0, len(data), size):
            client.send(data[begin : begin + size])
        hear(client, expected)


def test_a_pipeline_ends_with_the_request_to_close(stage: Stage) -> None:
    with stage.client() as client:
        client.send(request() * 3 + request("GET", "/hello", "Connection: close") + request() * 3)
        assert [client.answer().persists for _ in range(4)] == [True, True, True, False]
        client.ends()


# ---------------------------------------------------------------- large bodies


def same(one: bytes, other: bytes) -> None:
    """Equal, said in a line where they are not."""
    assert (len(one), hashlib.sha256(one).hexdigest()) == (len(other), hashlib.sha256(other).hexdigest())


def test_a_large_upload(stage: Stage) -> None:
    body = pattern(LARGE)
    with stage.client() as client, sending(client.wire, request("POST", "/digest", body=body) + request()):
        result = json.loads(client.answer().body)
        assert result == {"size": LARGE, "sha256": hashlib.sha256(body).hexdigest(), "trailers": {}}
        assert is_hello(client.answer())


def test_a_large_upload_in_chunks_with_trailers(stage: Stage) -> None:
    body = pattern(LARGE)
    head = request("POST", "/digest", "Transfer-Encoding: chunked", "Trailer: X-Sum")
    data = head + chunked(body, 77_777, "X-Sum: 42", "X-Other: word") + request()
    with stage.client() as client, sending(client.wire, data):
        result = json.loads(client.answer().body)
        assert (result["size"], result["sha256"]) == (LARGE, hashlib.sha256(body).hexdigest())
        assert result["trailers"] == {"x-sum": "42", "x-other": "word"}
        assert is_hello(client.answer())


@pytest.mark.parametrize(
    "path",
    [f"/bytes?n={LARGE}", "/files/large.bin", f"/stream?n={LARGE}", f"/stream?n={LARGE}&piece=300001&length=0"],
    ids=["bytes", "file", "chunks", "pieces"],
)
def test_a_large_download(stage: Stage, path: str) -> None:
    with stage.client() as client:
        answer = client.ask(request("GET", path))
        same(answer.body, pattern(LARGE))
        assert (answer.chunks is not None) == (path == f"/stream?n={LARGE}")
        assert is_hello(client.ask())


def test_large_both_ways(stage: Stage) -> None:
    body = pattern(3_000_000)
    with stage.client() as client, sending(client.wire, request("POST", "/echo", body=body) * 3):
        for _ in range(3):
            same(client.answer().body, body)


def test_trailers_of_an_answer(stage: Stage) -> None:
    digest = hashlib.sha256(pattern(100_000)).hexdigest()
    with stage.client() as client:
        answer = client.ask(request("GET", "/trailers?n=100000", "TE: trailers", "Connection: TE"))
        assert answer.body == pattern(100_000)
        assert answer.trailers == [("X-Digest", digest)]
        answer = client.ask(request("GET", "/trailers?n=100000"))
        assert answer.body == pattern(100_000)
        assert answer.trailers == []


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_expect_100_continue(stage: Stage, size: int) -> None:
    body = pattern(size)
    data = request("POST", "/echo", "Expect: 100-continue", body=body)
    with stage.client() as client:
        for _ in range(2):
            client.send(data[:-size])
            interim = client.answer()
            assert (interim.status, interim.fields) == (100, [])
            with sending(client.wire, body):
                same(client.answer().body, body)
        # A client need not wait for it, and then nobody need say it.
        with sending(client.wire, data):
            answer = client.answer()
            if answer.status == 100:
                answer = client.answer()
            same(answer.body, body)
        assert is_hello(client.ask())


# ---------------------------------------------------------------- slow peers


@pytest.mark.parametrize("path", ["/bytes?n={}", "/files/large.bin", "/stream?n={}"], ids=["bytes", "file", "stream"])
def test_a_slow_reader(stage: Stage, path: str) -> None:
    with stage.client(receive_buffer=4096) as client:
        client.send(request("GET", path.format(LARGE)) + request())
        stage.server().idles()  # it waits for us, and asks the kernel nothing meanwhile
        parts = []
        for step in range(60):
            parts.append(client.wire.receive(1000 + 100 * step))
            time.sleep(0.002)
        client.wire.widen()
        client.unread(b"".join(parts))
        same(client.answer().body, pattern(LARGE))
        assert is_hello(client.answer())


def test_who_asks_and_does_not_read(stage: Stage) -> None:
    data = request("POST", "/echo", body=pattern(1_000_000))
    with stage.client(receive_buffer=4096) as client, sending(client.wire, data * 60) as sender:
        stage.server().idles()
        assert sender.is_alive()
        client.wire.widen()
        for _ in range(60):
            same(client.answer().body, pattern(1_000_000))


def test_a_slow_writer(stage: Stage) -> None:
    dice = random.Random(4)
    with stage.client() as client:
        dribble(client.wire, request("GET", "/bytes?n=1000"), lambda: 1)
        assert client.answer().body == pattern(1000)
        dribble(client.wire, request("POST", "/echo", body=pattern(5000)), lambda: dice.randrange(1, 100))
        assert client.answer().body == pattern(5000)
        head = request("POST", "/digest", "Transfer-Encoding: chunked")
        dribble(client.wire, head + chunked(pattern(300), 40, "X-Sum: 1"), lambda: dice.randrange(1, 4))
        result = json.loads(client.answer().body)
        assert result == {
            "size": 300, "sha256": hashlib.sha256(pattern(300)).hexdigest(), "trailers": {"x-sum": "1"}
        }  # fmt: skip


# ---------------------------------------------------------------- half a connection


@pytest.mark.parametrize(
    "path", ["/hello", "/bytes?n={}", "/files/large.bin", "/stream?n={}"], ids=["small", "bytes", "file", "stream"]
)
def test_half_close_after_a_request(stage: Stage, path: str) -> None:
    with stage.client() as client:
        client.send(request("GET", path.format(LARGE)))
        client.wire.half_close()
        same(client.answer().body, HELLO if path == "/hello" else pattern(LARGE))
        client.ends()


def test_half_close_after_a_body(stage: Stage) -> None:
    body = pattern(2_000_000)
    with stage.client() as client, sending(client.wire, request("POST", "/echo", body=body), half_close=True):
        same(client.answer().body, body)
        client.ends()


@pytest.mark.parametrize("large", [100, 300_000])
def test_half_close_after_pipelined_requests(stage: Stage, large: int) -> None:
    data, expected = pipeline(7, 30, large)
    with stage.client() as client, sending(client.wire, data, half_close=True):
        hear(client, expected)
        client.ends()


def test_half_close_after_an_answer(stage: Stage) -> None:
    with stage.client() as client:
        assert is_hello(client.ask())
        client.wire.half_close()
        client.ends()


def test_half_close_before_a_request(stage: Stage) -> None:
    with stage.client() as client:
        client.wire.half_close()
        client.ends()


@pytest.mark.parametrize("data", [b"GET /hel", request("POST", "/echo", body=b"0123456789")[:-5]], ids=["head", "body"])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_half_close_in_the_middle_of_a_request(stage: Stage, data: bytes, before: int) -> None:
    with stage.client() as client:
        client.send(request("GET", "/stream?n=300000") * before + data)
        client.wire.half_close()
        for _ in range(before):
            assert client.answer().body == pattern(300_000)
        assert client.answer().status == 400
        client.ends()


def test_half_close_while_a_call_runs(stage: Stage, tmp_path: Path) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    with stage.client() as client:
        client.send(request("GET", f"/wait?begun={begun}&file={gate}&n=300000"))
        wait_for(begun.exists, "the call")
        client.wire.half_close()
        # The app polls for its file at no more than 200 Hz; what spins takes all it can get.
        gate.touch()
        assert client.answer().body == pattern(300_000)
        client.ends()


# ---------------------------------------------------------------- peers that are gone


def leave_at_once(wire: Wire) -> None:
    pass


def leave_in_the_handshake(wire: Wire) -> None:
    if isinstance(wire, TlsWire):
        wire.hello()


def leave_in_the_head(wire: Wire) -> None:
    wire.send(b"GET /hello HTTP/1.1\r\nHos")


def leave_in_the_body(wire: Wire) -> None:
    wire.send(request("POST", "/echo", "Content-Length: 5000000") + pattern(700_000))


def leave_with_answers_due(wire: Wire) -> None:
    wire.send(request("GET", "/bytes?n=10000") * 50)


def leave_in_the_answer(wire: Wire) -> None:
    wire.send(request("GET", f"/bytes?n={LARGE}"))
    assert wire.receive()


def leave_in_the_file(wire: Wire) -> None:
    wire.send(request("GET", "/files/large.bin"))
    assert wire.receive()


def leave_in_the_stream(wire: Wire) -> None:
    wire.send(request("GET", f"/stream?n={LARGE}"))
    assert wire.receive()


def leave_after_the_answer(wire: Wire) -> None:
    assert is_hello(Client(wire).ask())


LEAVING = [
    leave_at_once, leave_in_the_handshake, leave_in_the_head, leave_in_the_body, leave_with_answers_due,
    leave_in_the_answer, leave_in_the_file, leave_in_the_stream, leave_after_the_answer,
]  # fmt: skip


@pytest.mark.parametrize("ending", ["reset", "close"])
@pytest.mark.parametrize("leave", LEAVING)
def test_a_peer_leaves(stage: Stage, leave: Callable[[Wire], None], ending: str) -> None:
    for _ in range(3):
        with stage.wire() as wire:
            leave(wire)
            if ending == "reset":
                wire.reset()
        with stage.client() as client:
            assert is_hello(client.ask())


@pytest.mark.parametrize("ending", ["reset", "close"])
def test_a_peer_leaves_while_its_call_runs(stage: Stage, tmp_path: Path, ending: str) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    with stage.wire() as wire:
        wire.send(request("GET", f"/wait?begun={begun}&file={gate}&n=300000"))
        wait_for(begun.exists, "the call")
        if ending == "reset":
            wire.reset()
    if stage.combination.patient:
        with stage.client() as client:
            assert is_hello(client.ask())
    gate.touch()
    with stage.client() as client:
        assert is_hello(client.ask())


# ---------------------------------------------------------------- peers who wait cost nothing


def wait_silent(client: Client) -> None:
    pass


def wait_in_the_handshake(client: Client) -> None:
    leave_in_the_handshake(client.wire)


def wait_in_the_head(client: Client) -> None:
    client.send(b"GET /hello HTTP/1.1\r\nHos")


def wait_in_the_body(client: Client) -> None:
    client.send(request("POST", "/echo", "Content-Length: 50") + b"1234")


def wait_after_an_answer(client: Client) -> None:
    assert is_hello(client.ask())


def wait_after_a_refusal(client: Client) -> None:
    client.send(b"nonsense\r\n\r\n")
    assert client.answer().status == 400
    client.send(b"more of it" * 100)


def wait_with_an_answer(client: Client) -> None:
    client.send(request("GET", f"/bytes?n={LARGE}") * 2)


def wait_with_a_file(client: Client) -> None:
    client.send(request("GET", "/files/large.bin") * 2)


def wait_with_a_stream_half_closed(client: Client) -> None:
    client.send(request("GET", f"/stream?n={LARGE}"))
    client.wire.half_close()


WAITING = [
    wait_silent, wait_in_the_handshake, wait_in_the_head, wait_in_the_body, wait_after_an_answer, wait_after_a_refusal,
    wait_with_an_answer, wait_with_a_file, wait_with_a_stream_half_closed,
]  # fmt: skip


@pytest.mark.parametrize("wait", WAITING)
def test_a_peer_who_waits(stage: Stage, wait: Callable[[Client], None]) -> None:
    server = stage.server()
    with ExitStack() as stack:
        for _ in range(1 if stage.combination.alone else 5):
            wait(stack.enter_context(stage.client()))
        server.idles()
        if not stage.combination.alone:
            with stage.client() as other:
                assert is_hello(other.ask())
            server.idles()


# ---------------------------------------------------------------- many peers


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


@pytest.mark.parametrize("path", ["/bytes?n=100", "/stream?n=100000&piece=9000"], ids=["small", "stream"])
def test_two_hundred_at_once(stage: Stage, path: str) -> None:
    server = stage.server()
    size = int(path.partition("n=")[2].partition("&")[0])

    def visit(meet: Callable[[], object], _: int) -> int:
        with Regular(server.address, stage.tls) as client:
            client.connect()
            meet()
            for _ in range(3):
                assert client.ask(request("GET", path)).body == pattern(size)
            meet()
            assert client.ask(request("GET", path)).body == pattern(size)
            return client.connections

    connections = crowd(stage, server, visit)
    if stage.combination.roomy:
        assert set(connections) == {1}


def test_more_than_there_are_places(stage: Stage) -> None:
    """Each has its turn: who is idle leaves, who is busy leaves with the answer."""
    server = stage.server("app", "--max-connections", "4", "--threads", "4")

    def visit(number: int) -> None:
        with Regular(server.address, stage.tls) as client:
            for size in range(number, number + 5):
                assert client.ask(request("GET", f"/bytes?n={size}")).body == pattern(size)

    together(24, visit)


def test_idle_peers_leave_for_newcomers(stage: Stage) -> None:
    with ExitStack() as stack:
        server = stage.server("app", "--max-connections", "4", "--threads", "4")
        clients = [stack.enter_context(Regular(server.address, stage.tls)) for _ in range(12)]
        for _ in range(2):
            for client in clients:  # none closes, each was served: there are 4 or 8 places for 12
                assert is_hello(client.ask())


def test_silent_peers_beside_others(stage: Stage) -> None:
    with ExitStack() as stack:
        for _ in range(1 if stage.combination.alone else 10):
            stack.enter_context(stage.wire())
        with stage.client() as client:
            for _ in range(10):
                assert is_hello(client.ask())


@only(lambda combination: combination.patient)
def test_others_are_served_while_calls_wait(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ExitStack() as stack:
        waiting = [stack.enter_context(stage.client()) for _ in range(8)]
        stack.callback(gate.touch)
        for index, client in enumerate(waiting):
            client.send(request("GET", f"/wait?begun={tmp_path / str(index)}&file={gate}") + request())
        for index in range(8):
            wait_for((tmp_path / str(index)).exists, "the call")
        with stage.client() as client:
            assert is_hello(client.ask())
            assert client.ask(request("POST", f"/touch?file={gate}")).status == 204
        for client in waiting:
            assert client.answer().body == pattern(10)
            assert is_hello(client.answer())


# ---------------------------------------------------------------- streams, and apps that fail


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_piece_goes_out_before_the_next_is_made(stage: Stage, tmp_path: Path, version: str) -> None:
    gate = tmp_path / "gate"
    with stage.client() as client:
        client.send(request("GET", f"/gate?file={gate}", version=version))
        client.head()
        first = b"6\r\nfirst,\r\n" if version == "1.1" else b"first,"
        assert client.take(len(first)) == first
        gate.touch()
        second = b"6\r\nsecond\r\n0\r\n\r\n" if version == "1.1" else b"second"
        assert client.take(len(second)) == second
        assert is_hello(client.ask()) if version == "1.1" else client.rest() == b""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("ending", ["reset", "close", "stall"])
def test_a_stream_is_closed_when_its_client_leaves(stage: Stage, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "noted"
    with stage.client() as client:
        client.send(request("GET", f"/endless?file={path}"))
        client.head()
        client.take(200_000)
        if ending == "stall":  # first it does not read: the app is not asked for more
            stage.server().idles()
        assert not path.exists()
        if ending == "reset":
            client.wire.reset()
    wait_for(path.exists, "the generator to be closed")
    stage.server().comes_home()
    assert lines(path) == ["closed"]


@pytest.mark.parametrize("query", ["n=10", f"n={LARGE}", f"n={LARGE}&stream=1"], ids=["small", "large", "stream"])
@pytest.mark.parametrize("ending", ["whole", "reset", "head"])
def test_close_is_called_once(stage: Stage, tmp_path: Path, query: str, ending: str) -> None:
    path = tmp_path / "noted"
    with stage.client() as client:
        if ending == "head":
            assert client.ask(request("HEAD", f"/closes?file={path}&{query}")).status == 200
        else:
            client.send(request("GET", f"/closes?file={path}&{query}"))
            if ending == "reset":
                client.take(10)
                client.wire.reset()
            else:
                assert client.answer().status == 200
                assert is_hello(client.ask())
    wait_for(path.exists, "close to be called")
    stage.server().comes_home()
    assert lines(path) == ["closed"]


def test_an_app_that_fails(stage: Stage) -> None:
    with stage.client() as client:
        for _ in range(3):
            answer = client.ask(request("GET", "/fail"))
            assert answer.status == 500
            assert b"Deliberate" not in answer.body
            assert is_hello(client.ask())
        client.send(request("GET", "/fail") * 3 + request())
        assert [client.answer().status for _ in range(4)] == [500, 500, 500, 200]


def test_a_stream_that_fails_at_once(stage: Stage) -> None:
    with stage.client() as client:
        assert client.ask(request("GET", "/break?n=0")).status == 500
        assert is_hello(client.ask())


@pytest.mark.parametrize("query", ["n=5000", "n=5000&length=1", "n=500000"])
def test_a_stream_that_fails_in_the_middle(stage: Stage, query: str) -> None:
    """What has come so far must not look whole, and nothing may follow it."""
    for behind in (b"", request()):
        with stage.client() as client:
            client.send(request("GET", f"/break?{query}") + behind)
            with pytest.raises(Lost) as caught:
                client.answer()
            assert caught.value.after > 4000
    with stage.client() as client:
        assert is_hello(client.ask())


def test_a_stream_that_is_too_short(stage: Stage) -> None:
    with stage.client() as client:
        client.send(request("GET", "/stream?n=5000&length=1") + request())
        with pytest.raises(Lost):
            client.answer()


def test_a_stream_that_is_too_long(stage: Stage) -> None:
    with stage.client() as client:
        assert client.ask(request("GET", "/stream?n=5000&length=-10")).body == pattern(4990)


# ---------------------------------------------------------------- services


def receive(wire: Wire, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = wire.receive()
        if not piece:
            raise Ended(f"after {len(data)} of {size} bytes")
        data += piece
    return bytes(data)


def receive_all(wire: Wire) -> bytes:
    data = bytearray()
    while piece := wire.receive():
        data += piece
    return bytes(data)


def say(wire: Wire, word: bytes, answer: bytes) -> None:
    wire.send(word)
    assert receive(wire, len(answer)) == answer


def test_echo(stage: Stage) -> None:
    with stage.wire("EchoService") as wire:
        for size in (1, 10, 1000, 100_000):
            say(wire, pattern(size), pattern(size))


def test_echo_of_much_at_once(stage: Stage) -> None:
    data = pattern(8_000_000)
    with stage.wire("EchoService") as wire, sending(wire, data, half_close=True):
        same(receive_all(wire), data)


def test_echo_to_a_slow_reader(stage: Stage) -> None:
    data = pattern(3 * LARGE)  # more than all the kernel's buffers on the way can hold
    with stage.wire("EchoService", receive_buffer=4096) as wire, sending(wire, data, half_close=True) as sender:
        stage.server("EchoService").idles()
        assert sender.is_alive()  # who does not read is not heard for ever
        wire.widen()
        same(receive_all(wire), data)


def test_echo_to_two_hundred(stage: Stage) -> None:
    server = stage.server("EchoService")

    def visit(meet: Callable[[], object], number: int) -> int:
        with wire(server.address, stage.tls) as peer:
            meet()
            say(peer, pattern(1000, number), pattern(1000, number))
            return 0

    crowd(stage, server, visit)


GREETING = b"hello 127.0.0.1\r\n"


def test_lines(stage: Stage) -> None:
    with stage.wire("LineService") as wire:
        assert receive(wire, len(GREETING)) == GREETING
        say(wire, b"one\r\n", b"eno\r\n")
        numbers = [b"%d" % number for number in range(500)]
        say(wire, b"".join(n + b"\r\n" for n in numbers), b"".join(n[::-1] + b"\r\n" for n in numbers))
        say(wire, b"silence\r\ntwo\r\n", b"owt\r\n")
        wire.send(b"a\r\nquit\r\nb\r\n")
        assert receive_all(wire) == b"a\r\nbye\r\n"


def test_a_greeting_needs_no_request(stage: Stage) -> None:
    with ExitStack() as stack:
        for _ in range(1 if stage.combination.alone else 20):
            assert receive(stack.enter_context(stage.wire("LineService")), len(GREETING)) == GREETING


def test_a_message_split_at_every_byte(stage: Stage) -> None:
    message = pattern(20)
    data = len(message).to_bytes(4, "big") + message
    answer = data[:4] + message[::-1]
    with stage.wire("LengthService") as wire:
        for at in range(1, len(data)):
            wire.send(data[:at])
            time.sleep(0.001)  # so that the two are read apart
            say(wire, data[at:], answer)
        dribble(wire, data * 3, lambda: 1)
        assert receive(wire, 3 * len(data)) == answer * 3
        with sending(wire, b"".join(n.to_bytes(4, "big") + pattern(n) for n in range(1000)), half_close=True):
            assert receive_all(wire) == b"".join(n.to_bytes(4, "big") + pattern(n)[::-1] for n in range(1000))


ENDINGS: dict[str, tuple[bytes, str]] = {
    "close": (b"", "close"),
    "reset": (b"", "reset"),
    "half close": (b"", "half_close"),
    "in the middle of a message": (b"half", "close"),
    "quit": (b"quit\r\n", ""),
    "fail": (b"fail\r\n", ""),
    "too long": (b"x" * 100_000, ""),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_lost_is_called_once(stage: Stage, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "noted"
    with stage.wire("LineService") as wire:
        assert receive(wire, len(GREETING)) == GREETING
        mark = b"mark " + str(path).encode()
        say(wire, mark + b"\r\n", mark[::-1] + b"\r\n")
        assert not path.exists()
        words, verb = ENDINGS[ending]
        if words:
            wire.send(words)
        if verb:
            getattr(wire, verb)()
        if verb not in ("close", "reset"):
            with suppress(Cut):
                receive_all(wire)
    wait_for(path.exists, "lost to be called")
    stage.server("LineService").comes_home()
    assert lines(path) == ["lost"]


def test_half_close_of_a_service(stage: Stage) -> None:
    with stage.wire("LineService") as wire:
        wire.send(b"one\r\ntwo\r\n")
        wire.half_close()
        assert receive_all(wire) == GREETING + b"eno\r\nowt\r\n"


def test_a_service_that_fails(stage: Stage) -> None:
    with stage.wire("LineService") as wire:
        wire.send(b"one\r\nfail\r\n")
        assert receive_all(wire) == GREETING + b"eno\r\n"
