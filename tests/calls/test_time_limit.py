"""--call-timeout: a call that hangs is told in the log, its client waits no longer, and others are served."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from allcomers.calls.pool import ThreadPool
from allcomers.calls.time_limit import TimedInline, TimeLimit
from allcomers.connection.call import TIMED_OUT
from allcomers.system.counters import CounterRow
from support.certificates import Certificate
from support.crowd import Answer, crowd, exchange, receive, request
from support.harness import Server, ask, receive_all, serving, wait_for

LIMIT = 1.0
"""Seconds that calls have here: what is in time takes a hundredth of it, and a machine may stall for a while."""

APP = """
import os, time
from pathlib import Path
import allcomers

HERE = Path(__file__).parent

def note(word):
    fd = os.open(HERE / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, word.encode() + b"\\n")
    os.close(fd)

def hang_here():
    note("begun")
    while not (HERE / "gate").exists():
        time.sleep(0.005)

class App(allcomers.Web):
    def get(self, request):
        match request.path:
            case "/hang":
                hang_here()
                return allcomers.Response(b"late", close=lambda: note("closed"))
            case "/hang-in-stream":
                return allcomers.Response(self.pieces())
            case "/stream-late":
                hang_here()
                return allcomers.Response(self.pieces(hangs=False))
        return str(os.getpid())

    def post(self, request):
        hang_here()
        note(f"read {len(request.stream.read())}")
        return "late"

    def pieces(self, hangs=True):
        try:
            yield b"one"
            if hangs:
                hang_here()
            yield b"two"
        finally:
            note("closed")

class Lines(allcomers.Service):
    framing = allcomers.Delimited(b"\\n")

    def request(self, data):
        if data == b"hang":
            hang_here()
        return data

    def lost(self):
        note("lost")
"""


class Bench:
    """The app in a folder of its own, what it notes, and the gate that lets it go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APP)

    def serve(self, *options: str, name: str = "App", limit: float = LIMIT) -> Any:
        return serving("run", f"{self.folder}/app.py:{name}", "--call-timeout", str(limit), *options)

    def open(self) -> None:
        (self.folder / "gate").touch()

    def count(self, word: str) -> int:
        notes = self.folder / "notes"
        return notes.read_text().splitlines().count(word) if notes.exists() else 0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.open()


def has_told(server: Server, name: str) -> bool:
    """Does the log tell which call hangs, since when, and where in the app?"""
    lines = [
        rf"ERROR {re.escape(name)}: after {LIMIT:g} s the call has not ended; it is at:",
        r'\s+File ".*app\.py", line \d+, in \w+',  # not a line of the server's own
        r"(?s:.*)\s+hang_here\(\)",
        r'\s+File ".*app\.py", line \d+, in hang_here',  # and perhaps further, in what that calls
    ]
    return re.search("\n".join(lines), server.stderr) is not None


def one_answer(server: Server, path: str = "/") -> Answer:
    with server.connect() as sock:
        return exchange(sock, path)


WHERE_ANOTHER_THREAD_CALLS = [
    ("epoll", "pool"),
    ("select", "pool"),
    ("asyncio", "pool"),
    ("epoll", "auto"),
    ("asyncio", "auto"),
    ("thread", "inline"),
    ("thread", "pool"),
    ("thread-pool", "inline"),
    ("thread-pool", "pool"),
    ("process", "inline"),
    ("process", "pool"),
    ("iterative", "inline"),
]


@pytest.mark.parametrize(("model", "calls"), WHERE_ANOTHER_THREAD_CALLS)
def test_who_calls_what_hangs_is_answered_503(bench: Bench, model: str, calls: str) -> None:
    with bench.serve("-m", model, "--calls", calls) as server:
        began = time.monotonic()
        with server.connect() as sock:
            answer = exchange(sock, "/hang?a=%0Ab")
            assert (answer.status, answer.close) == (503, True)
            assert time.monotonic() - began >= LIMIT
            assert receive_all(sock) == b""
        assert has_told(server, "GET '/hang?a=%0Ab' of 127.0.0.1")
        assert one_answer(server).status == 200
        bench.open()
        if model != "process":  # where the call ends with the process of its client
            wait_for(lambda: "its answer is thrown away" in server.stderr, "the call to end")
            wait_for(lambda: bench.count("closed") == 1, "its answer to be closed")  # which follows the line in the log
        assert one_answer(server).status == 200
        assert server.stderr.count("has not ended") == 1


@pytest.mark.parametrize("calls", ["pool", "auto"])
@pytest.mark.parametrize("model", ["epoll", "asyncio", "thread", "process"])
def test_others_are_served_meanwhile(bench: Bench, model: str, calls: str) -> None:
    if (model, calls) == ("process", "auto"):
        pytest.skip("inline calls, each in a process of its own")
    with bench.serve("-m", model, "--calls", calls, "-t", "4") as server, ExitStack() as stack:
        hanging = [stack.enter_context(server.connect()) for _ in range(3)]
        with crowd(server, 4) as others:
            for sock in hanging:
                sock.sendall(request("/hang"))
            assert {receive(sock).status for sock in hanging} == {503}
            others.more(50)
        assert server.stderr.count("has not ended") == 3


def test_over_tls_too(bench: Bench, certificate: Certificate) -> None:
    options = ["--calls", "pool", "--certfile", str(certificate.pem)]
    with bench.serve(*options) as server, server.connect(certificate.trusted) as sock:
        assert exchange(sock, "/hang").status == 503


@pytest.mark.parametrize(("model", "workers"), [("epoll", "1"), ("epoll-et", "2"), ("asyncio", "2")])
def test_a_loop_that_is_stuck_in_a_call_gets_a_successor_and_its_call_is_answered(
    bench: Bench, model: str, workers: str
) -> None:
    with bench.serve("-m", model, "--calls", "inline", "-w", workers) as server, server.connect() as sock:
        pid = exchange(sock).body
        sock.sendall(request("/hang"))
        wait_for(lambda: has_told(server, "GET '/hang' of 127.0.0.1"), "the log to tell")
        wait_for(lambda: len(server.workers()) == int(workers) + 1, "a successor")
        served_by = {one_answer(server).body for _ in range(10)}
        assert pid not in served_by
        bench.open()
        answer = receive(sock)
        assert (answer.status, answer.body) == (200, b"late")
        wait_for(lambda: int(pid) not in server.workers(), "the worker that was stuck to leave")
        assert len(server.workers()) == int(workers)
        assert bench.count("closed") == 1
        assert server.stderr.count("is to be replaced: it serves nobody while it is in a call") == 1


@pytest.mark.parametrize("calls", ["pool", "auto"])
def test_a_pool_replaces_threads_up_to_a_bound_then_the_worker(bench: Bench, calls: str) -> None:
    with bench.serve("--calls", calls, "-t", "2") as server:
        (first,) = server.workers()
        assert one_answer(server, "/hang").status == 503
        assert [int(one_answer(server).body) for _ in range(4)] == [first] * 4
        assert "replaced" not in server.stderr
        assert one_answer(server, "/hang").status == 503
        wait_for(lambda: first not in server.workers() or len(server.workers()) == 2, "a successor")
        wait_for(lambda: int(one_answer(server).body) != first, "the successor to serve")
        assert server.stderr.count("is to be replaced: 2 threads hang in calls") == 1
        bench.open()
        wait_for(lambda: len(server.workers()) == 1, "the worker whose threads hung to leave")


def test_who_waits_for_a_thread_in_vain_is_answered_503(bench: Bench) -> None:
    with bench.serve("--calls", "pool", "-t", "1") as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(server.connect()) for _ in range(3))
        assert {exchange(sock).status for sock in (first, second, third)} == {200}
        assert exchange(first, "/hang").status == 503
        second.sendall(request("/hang"))  # in the thread that took the place of the first
        wait_for(lambda: bench.count("begun") == 2, "the call to begin")
        assert exchange(third, "/waits").status == 503
        told = rf"GET '/waits' of 127\.0\.0\.1: it has waited {LIMIT:g} s for a thread; all 2 are taken, [12] by"
        assert re.search(told, server.stderr)
        assert receive(second).status == 503
        bench.open()
        wait_for(lambda: server.stderr.count("is thrown away") == 2, "the calls to end")


@pytest.mark.parametrize(
    ("model", "calls"), [("epoll", "pool"), ("thread", "inline"), ("asyncio", "pool"), ("epoll", "auto")]
)
def test_an_answer_whose_next_piece_hangs_is_cut(bench: Bench, model: str, calls: str) -> None:
    with bench.serve("-m", model, "--calls", calls) as server:
        answer = ask(server, request("/hang-in-stream"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n3\r\none\r\n")
        assert has_told(server, "GET '/hang-in-stream' of 127.0.0.1, a further piece")
        assert bench.count("closed") == 0
        bench.open()
        wait_for(lambda: "is thrown away" in server.stderr, "the call to end")
        assert bench.count("closed") == 1


@pytest.mark.parametrize("calls", ["pool", "auto"])
def test_a_stream_that_begins_too_late_is_closed(bench: Bench, calls: str) -> None:
    with bench.serve("--calls", calls) as server:
        assert one_answer(server, "/stream-late").status == 503
        bench.open()
        wait_for(lambda: bench.count("closed"), "the late stream to be closed")
        assert one_answer(server).status == 200


@pytest.mark.parametrize("calls", ["pool", "auto"])
def test_who_leaves_while_its_call_hangs_harms_nobody(bench: Bench, calls: str) -> None:
    with bench.serve("--calls", calls) as server:
        for path in ("/hang", "/hang-in-stream"):
            with server.connect() as sock:
                sock.sendall(request(path))
                wait_for(lambda: bench.count("begun"), "the call to begin")
        wait_for(lambda: server.stderr.count("has not ended") == 2, "the log to tell")
        bench.open()
        wait_for(lambda: server.stderr.count("is thrown away") == 2, "the calls to end")
        assert bench.count("closed") == 2
        assert one_answer(server).status == 200


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_late_call_can_read_its_request_to_the_end(bench: Bench, size: int) -> None:
    with bench.serve("--calls", "pool") as server:
        head = b"POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size
        assert ask(server, head + bytes(size)).startswith(b"HTTP/1.1 503 ")
        bench.open()
        wait_for(lambda: bench.count(f"read {size}"), "the call to read its request")


@pytest.mark.parametrize(("model", "calls"), [("epoll", "pool"), ("epoll", "auto"), ("thread", "inline")])
def test_a_service_closes_the_connection_of_a_call_that_hangs(bench: Bench, model: str, calls: str) -> None:
    with bench.serve("-m", model, "--calls", calls, name="Lines") as server:
        with server.connect() as sock, server.connect() as other:
            other.sendall(b"a\n")
            assert other.recv(10) == b"a\n"
            sock.sendall(b"hang\nmore\n")
            assert receive_all(sock) == b""
            assert has_told(server, "a call of Lines for 127.0.0.1")
            assert bench.count("lost") == 0  # not while it is in request()
            bench.open()
            wait_for(lambda: bench.count("lost"), "it to learn that its client is gone")
            other.sendall(b"b\n")
            assert other.recv(10) == b"b\n"
        wait_for(lambda: bench.count("lost") == 2, "the other to be lost")


@pytest.mark.parametrize(
    ("model", "calls"),
    [
        ("epoll", "inline"),
        ("epoll", "pool"),
        ("epoll", "auto"),
        ("asyncio", "pool"),
        ("thread", "inline"),
        ("process", "inline"),
    ],
)
def test_calls_in_time_are_not_touched(bench: Bench, model: str, calls: str) -> None:
    bench.open()
    with bench.serve("-m", model, "--calls", calls, "-w", "2") as server:
        with crowd(server, 4) as others:
            others.more(100)
            began = time.monotonic()
            wait_for(
                lambda: time.monotonic() > began + 1.2 * LIMIT, "calls to begin and end while others are looked at"
            )
            others.more(100)
        assert ask(server, request("/hang-in-stream")[:-2] + b"Connection: close\r\n\r\n").endswith(b"two\r\n0\r\n\r\n")
        assert not re.search(" (WARNING|ERROR) ", server.stderr)


def test_the_call_and_the_watcher_never_both_win() -> None:
    """Calls that last about as long as they may: each is answered once, and what it returned is forgotten if too
    late."""
    answers: Counter[int] = Counter()
    forgotten: Counter[int] = Counter()
    lock = threading.Lock()

    class Work:
        def __init__(self, number: int) -> None:
            self.number = number

        def __call__(self) -> int:
            # Half of them are about at the limit; others are surely before it, and behind it, on any machine.
            time.sleep((0.0, 0.02, 0.02, 0.06)[self.number % 4])
            return self.number

        def forget(self, reply: Any) -> None:
            with lock:
                forgotten[self.number] += 1

        def done(self, reply: Any) -> None:
            with lock:
                answers[self.number] += 1
                overdue.update([self.number] if reply is TIMED_OUT else [])

    overdue: Counter[int] = Counter()
    pool = ThreadPool(8, CounterRow(), TimeLimit(0.0201, 8, lambda why: None))
    works = [Work(number) for number in range(400)]
    for work in works:
        pool.submit(work, work.done)
        time.sleep(0.003)
    wait_for(lambda: len(answers) == len(works) and len(forgotten) == len(overdue), "all calls to end")
    assert set(answers.values()) == {1}
    assert forgotten == overdue
    assert 0 < len(overdue) < len(works)


def test_short_calls_do_not_wake_the_watcher_each() -> None:
    others = set(threading.enumerate())  # a watcher of another test may not have ended yet
    inline = TimedInline(8, 30.0, lambda why: None, CounterRow())
    for _ in range(20_000):
        inline.here(lambda: None)
    (watcher,) = (thread for thread in threading.enumerate() if thread.name == "call-watch 30" and thread not in others)
    status = Path(f"/proc/self/task/{watcher.native_id}/status").read_text()
    switches = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)
    assert switches
    assert int(switches[1]) < 1000  # it waits for the interpreter a few times until it sleeps; woken, for each call


ASYNC = """
import asyncio, os, time
from pathlib import Path

HERE = Path(__file__).parent

async def hang_here():
    await asyncio.sleep(60)

def keep_the_loop():
    while not (HERE / "gate").exists():
        time.sleep(0.005)

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    body = b""
    match scope["path"]:
        case "/hang":
            try:
                await hang_here()
            finally:
                (HERE / "cancelled").touch()
        case "/keep":
            keep_the_loop()
        case "/echo":
            more = True
            while more:
                message = await receive()
                body += message["body"]
                more = message["more_body"]
        case "/slow-stream":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            await asyncio.sleep(1.5)
            await send({"type": "http.response.body", "body": b"b"})
            return
    body = body or str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def async_bench(bench: Bench) -> Bench:
    (bench.folder / "app.py").write_text(ASYNC)
    return bench


@pytest.mark.parametrize("model", ["asyncio", "epoll", "thread"])
def test_an_async_app_that_waits_is_given_up(async_bench: Bench, model: str) -> None:
    with async_bench.serve("-m", model, "-w", "2", name="app") as server:
        answer = one_answer(server, "/hang?a=%0Ab")
        assert (answer.status, answer.close) == (503, True)
        where = [
            f"ERROR GET '/hang?a=%0Ab' of 127.0.0.1: after {LIMIT:g} s the call has not ended; it is at:",
            r'\s+File ".*app\.py", line \d+, in app',
            r"\s+await hang_here\(\)",
            r'\s+File ".*app\.py", line \d+, in hang_here',
        ]
        assert re.search("\n".join([re.escape(where[0]), *where[1:]]), server.stderr)
        if model != "thread":
            wait_for((async_bench.folder / "cancelled").exists, "it to be cancelled")
        assert one_answer(server).status == 200
        assert "replaced" not in server.stderr


@pytest.mark.parametrize("model", ["asyncio", "epoll"])
def test_an_async_app_that_keeps_the_loop_gets_a_successor(async_bench: Bench, model: str) -> None:
    with async_bench.serve("-m", model, name="app") as server, server.connect() as sock:
        pid = exchange(sock).body
        sock.sendall(request("/keep"))
        wait_for(lambda: "in keep_the_loop" in server.stderr, "the log to tell where it is")
        wait_for(lambda: one_answer(server).body != pid, "the successor to serve")
        async_bench.open()
        assert receive(sock).status in (200, 503)  # what comes first in the loop's next turn
        assert server.stderr.count("is to be replaced: it serves nobody while it is in a call") == 1


def test_an_async_app_may_wait_for_its_client_and_take_its_time_once_it_answers(async_bench: Bench) -> None:
    with async_bench.serve(name="app") as server, server.connect() as sock:
        assert exchange(sock, "/slow-stream").body == b"ab"
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
        time.sleep(1.5 * LIMIT)
        sock.sendall(b"b")
        assert receive(sock).body == b"ab"
        assert not re.search(" (WARNING|ERROR) ", server.stderr)
