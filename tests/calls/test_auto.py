"""--calls auto: a call that lasts keeps nobody waiting; where that is the rule, calls have threads of their own."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.calls.auto import WARY, Auto, wake_on_time
from allcomers.calls.leaky_bucket import HALF, WEIGHT, LeakyBucket
from allcomers.errors import LoopMoved
from allcomers.system.counters import DEQUEUED, HAND_OVERS, POOLED, CounterRow
from support.crowd import crowd, exchange, receive, request
from support.harness import Server, receive_all, serving, wait_for

MOVING = ("select", "poll", "epoll", "epoll-et")

APP = """
import os, sys, threading, time
from pathlib import Path
import allcomers

HERE = Path(__file__).parent

def note(word):
    fd = os.open(HERE / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, word.encode() + b"\\n")
    os.close(fd)

def hold(name):
    note(f"begun {name}")
    while not (HERE / name).exists():
        time.sleep(0.005)

class App(allcomers.Web):
    def get(self, request):
        match request.path.split("/")[1:]:
            case ["hold", name]:
                hold(name)
                return allcomers.Response(f"held {name}".encode(), close=lambda: note(f"closed {name}"))
            case ["spin"]:
                note("begun spin")
                while not (HERE / "spin").exists():
                    pass
                return "spun"
            case ["stream"]:
                return allcomers.Response(self.pieces())
            case ["thread"]:
                return f"{threading.current_thread() is threading.main_thread()} {threading.active_count()}"
            case ["about", milliseconds, word]:
                time.sleep(float(milliseconds) / 1000)
                return word
        return "hello"

    def pieces(self):
        yield b"one"
        hold("stream")
        yield b"two"

class Frantic(App):
    sys.setswitchinterval(1e-6)

class Lines(allcomers.Service):
    framing = allcomers.Delimited(b"\\n")
    def connected(self):
        if (HERE / "slow greeting").exists():
            hold("greeting")
        return b"hello"
    def request(self, data):
        hold(data.decode())
        return data

def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [("Content-Length", "6")])
        return App.pieces(None)
    hold(environ["PATH_INFO"][1:])
    start_response("200 OK", [("Content-Length", "5")])
    return [str(environ["wsgi.multithread"]).ljust(5).encode()]
"""


class Bench:
    """The app in a folder of its own, what it notes, and the gates that let its calls go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "app.py").write_text(APP)

    def serve(self, *options: str, name: str = "App") -> Any:
        return serving("run", f"{self.folder}/app.py:{name}", "--graceful-timeout", "5", *options)

    def open(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def noted(self, word: str) -> None:
        wait_for(lambda: word in self.notes(), word)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.open("a", "b", "c", "d", "spin", "stream", "greeting")


def asked(server: Server, path: str) -> socket.socket:
    sock = server.connect()
    sock.sendall(request(path))
    return sock


def some(server: Server, count: int) -> None:
    """So many requests on two connections, each answered."""
    for _ in range(2):
        with server.connect() as sock:
            for _ in range(count // 2):
                assert exchange(sock).body == b"hello"


# ------------------------------------------------------------ on real servers


@pytest.mark.parametrize("model", MOVING)
def test_a_call_that_lasts_keeps_nobody_waiting(bench: Bench, model: str) -> None:
    with bench.serve("-m", model) as server, asked(server, "/hold/a") as a, asked(server, "/hold/b") as b:
        bench.noted("begun a")
        bench.noted("begun b")
        some(server, 200)
        b.sendall(request("/hold/c"))  # heard while the call before runs, and answered after it
        bench.open("b")
        assert receive(b).body == b"held b"
        bench.open("c")
        assert receive(b).body == b"held c"
        bench.open("a")
        assert receive(a).body == b"held a"
        assert exchange(a).body == b"hello"
        for name in "abc":
            bench.noted(f"closed {name}")


@pytest.mark.parametrize("model", MOVING)
def test_nor_does_one_that_computes(bench: Bench, model: str) -> None:
    with bench.serve("-m", model) as server, asked(server, "/spin") as spinning:
        bench.noted("begun spin")
        some(server, 6)  # each of which waits for the interpreter
        bench.open("spin")
        assert receive(spinning).body == b"spun"


def test_an_asyncio_loop_cannot_move_and_takes_the_pool_from_then_on(bench: Bench) -> None:
    with bench.serve("-m", "asyncio", "--calls", "auto") as server, server.connect() as sock:
        assert exchange(sock, "/thread").body.startswith(b"True ")
        wait_for(lambda: exchange(sock, "/about/50/x") and b"False" in exchange(sock, "/thread").body, "the pool")
        with asked(server, "/hold/a") as a:
            bench.noted("begun a")
            some(server, 200)
            bench.open("a")
            assert receive(a).body == b"held a"


@pytest.mark.parametrize("model", ["thread", "thread-pool", "process", "iterative"])
def test_blocking_models_call_inline(bench: Bench, model: str) -> None:
    with bench.serve("-m", model, "--calls", "auto") as server, server.connect() as sock:
        main, threads = exchange(sock, "/thread").body.split()
        assert main == (b"True" if model in ("process", "iterative") else b"False")
        assert model == "thread-pool" or int(threads) <= 2


@pytest.mark.parametrize("model", ["epoll", "select"])
def test_as_many_calls_as_threads_and_the_loop_lives_on(bench: Bench, model: str) -> None:
    with (
        bench.serve("-m", model, "--threads", "2") as server,
        asked(server, "/hold/a") as a,
        asked(server, "/hold/b"),
    ):
        bench.noted("begun a")
        bench.noted("begun b")
        with asked(server, "/hold/c") as c, server.connect() as bad:
            bad.sendall(b"no request\r\n\r\n")  # refused by the loop itself
            assert b" 400 " in receive_all(bad)
            assert "begun c" not in bench.notes()
            bench.open("a")
            assert receive(a).body == b"held a"
            bench.noted("begun c")
            bench.open("c")
            assert receive(c).body == b"held c"
            bench.open("b")


@pytest.mark.parametrize(("threads", "told"), [("1", b"False"), ("2", b"True ")])
def test_wsgi_apps_are_told_whether_calls_overlap(bench: Bench, threads: str, told: bytes) -> None:
    with bench.serve("--threads", threads, name="wsgi") as server, asked(server, "/a") as a:
        bench.noted("begun a")
        with asked(server, "/b") as b, server.connect() as bad:
            if told == b"True ":
                bench.noted("begun b")
            bad.sendall(b"no request\r\n\r\n")
            assert b" 400 " in receive_all(bad)
            assert ("begun b" in bench.notes()) == (told == b"True ")
            bench.open("a", "b")
            assert (receive(a).body, receive(b).body) == (told, told)


@pytest.mark.parametrize(("name", "head"), [("App", b"3\r\none\r\n"), ("wsgi", b"one")])
def test_a_piece_that_is_late(bench: Bench, name: str, head: bytes) -> None:
    with bench.serve(name=name) as server, asked(server, "/stream") as sock:
        bench.noted("begun stream")
        data = b""
        while not data.endswith(head):  # what there is, is sent
            data += sock.recv(65536)
        with asked(server, "/a" if name == "wsgi" else "/hold/a") as other:
            bench.open("a")
            assert other.recv(12) == b"HTTP/1.1 200"
        bench.open("stream")
        sock.shutdown(socket.SHUT_WR)
        assert b"two" in receive_all(sock)


def test_a_service_that_greets_and_answers_slowly(bench: Bench) -> None:
    bench.open("slow greeting")
    with bench.serve("--calls", "auto", name="Lines") as server, server.connect() as one, server.connect() as two:
        wait_for(lambda: bench.notes().count("begun greeting") == 2, "both to be greeted at once")
        bench.open("greeting")
        for sock, name in ((one, "a"), (two, "b")):
            assert sock.recv(100) == b"hello\n"
            sock.sendall(name.encode() + b"\n")
            bench.noted(f"begun {name}")
        bench.open("b")
        assert two.recv(100) == b"b\n"
        bench.open("a")
        assert one.recv(100) == b"a\n"


def test_who_leaves_meanwhile_is_noticed_and_what_is_open_is_closed(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with bench.serve("--access-log", str(log)) as server:
        with asked(server, "/hold/a") as sock:
            bench.noted("begun a")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it leaves with a reset
        wait_for(lambda: '"GET /hold/a HTTP/1.1" 499' in log.read_text(), "a client that left")
        bench.open("a")
        bench.noted("closed a")
        some(server, 2)


@pytest.mark.parametrize("model", MOVING)
def test_draining_waits_for_a_call_that_the_loop_has_left(bench: Bench, model: str) -> None:
    with bench.serve("-m", model) as server, asked(server, "/hold/a") as a, server.connect() as idle:
        bench.noted("begun a")
        assert exchange(idle).body == b"hello"
        server.send(signal.SIGTERM)
        assert receive_all(idle) == b""  # the server drains
        bench.open("a")
        answer = receive(a)
        assert (answer.body, answer.close) == (b"held a", True)
        assert server.stop() == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_call_that_never_ends_does_not_keep_the_process(bench: Bench, signum: int) -> None:
    with (
        bench.serve("--graceful-timeout", "0.5") as server,
        asked(server, "/hold/never") as a,
        asked(server, "/spin") as b,
    ):
        bench.noted("begun never")
        bench.noted("begun spin")
        assert server.stop(signum) == 0
        assert receive_all(a) == receive_all(b) == b""


def test_a_worker_whose_calls_last_gives_signs_of_life(bench: Bench) -> None:
    with bench.serve("--hang-timeout", "2", "--threads", "1") as server, asked(server, "/hold/a") as a:
        bench.noted("begun a")
        (worker,) = server.workers()
        with asked(server, "/hold/b") as b:
            b.settimeout(4.5)
            with pytest.raises(TimeoutError):
                b.recv(1)
            assert server.workers() == [worker]
            bench.open("a", "b")
            assert receive(a).body == b"held a"


@pytest.mark.parametrize("model", MOVING)
def test_every_answer_is_its_own(bench: Bench, model: str) -> None:
    """Calls about as long as the watcher waits, threads that switch at every turn, requests that are pipelined."""
    failures: list[str] = []

    def talk(server: Server, number: int) -> None:
        with server.connect() as sock:
            for turn in range(12):
                words = [f"{number}-{turn}-{part}" for part in range(4)]
                lasts = [(number + turn + part) % 5 * 0.5 for part in range(4)]
                paths = [f"/about/{last}/{word}" for last, word in zip(lasts, words, strict=True)]
                sock.sendall(b"".join(map(request, paths)))
                data = b""
                while data.count(b"HTTP/1.1 200") < 4 or not data.endswith(words[-1].encode()):
                    if not (piece := sock.recv(65536)):
                        break
                    data += piece
                places = [data.find(b"\r\n\r\n" + word.encode()) for word in words]
                if min(places) < 0 or any(one >= other for one, other in pairwise(places)):
                    failures.append(f"{words}: {data!r}")

    with bench.serve("-m", model, "--threads", "4", name="Frantic") as server:
        threads = [threading.Thread(target=talk, args=(server, number)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures


def test_a_crowd_beside_slow_calls(bench: Bench) -> None:
    with bench.serve("--threads", "8") as server, asked(server, "/hold/a") as a, crowd(server, 16) as clients:
        for name in "bcd":
            clients.more(200)
            with asked(server, f"/hold/{name}") as sock:
                bench.noted(f"begun {name}")
                clients.more(200)
                bench.open(name)
                assert receive(sock).body == f"held {name}".encode()
        bench.open("a")
        assert receive(a).body == b"held a"


# ------------------------------------------------------------ by itself


class Line:
    """A loop of the smallest kind: what it is given runs, one after another, and what is answered late is told.

    Whoever puts None ends it.
    """

    def __init__(self, calls: Auto) -> None:
        self.work: deque[Callable[[], Any] | None] = deque()
        self.answers: list[Any] = []
        self.threads: list[int] = []
        self.over = threading.Event()
        self._calls = calls
        self._there = threading.Semaphore(0)

    def put(self, work: Callable[[], Any] | None) -> None:
        self.work.append(work)
        self._there.release()

    def run(self) -> None:
        self.threads.append(threading.get_ident())
        while True:
            self._there.acquire()
            work = self.work.popleft()
            if work is None:
                return
            if self._calls.inline:
                self.answers.append(self._calls.here(work))
            else:
                self._calls.submit(work, self.answers.append)

    def leave(self) -> Callable[[Any], object]:
        return self.answers.append


@pytest.fixture
def line() -> Iterator[Line]:
    calls = Auto(3, CounterRow())
    found = Line(calls)
    thread = threading.Thread(target=lambda: (calls.host(found), found.over.set()))
    thread.start()
    yield found
    found.put(None)
    thread.join(20)
    assert found.over.is_set()


def calls_of(line: Line) -> Auto:
    return line._calls


def test_short_calls_stay_where_they_are(line: Line) -> None:
    for number in range(1000):
        line.put(lambda number=number: number)  # type: ignore[misc]
    wait_for(lambda: len(line.answers) == 1000, "all to be answered")
    assert (
        line.answers == list(range(1000)) or calls_of(line)._counters.cells[HAND_OVERS]
    )  # a machine may stall for a millisecond
    assert calls_of(line).ownership.started_count + calls_of(line)._counters.cells[DEQUEUED] == 1000


def test_the_loop_moves_on_and_the_call_answers_late(line: Line) -> None:
    calls = calls_of(line)
    gate, ident = threading.Event(), []
    line.put(lambda: (ident.append(threading.get_ident()), gate.wait(20), "late")[-1])
    wait_for(lambda: calls._counters.cells[HAND_OVERS], "the loop to move")
    line.put(lambda: threading.get_ident())
    wait_for(lambda: line.answers, "the next call")
    assert line.answers[0] != ident[0]
    assert calls.inline
    gate.set()
    wait_for(lambda: "late" in line.answers, "the late answer")
    assert len(line.threads) >= 2


@pytest.mark.skipif(not os.access("/proc/self/timerslack_ns", os.W_OK), reason="the kernel lets none choose")
def test_the_sleeps_of_a_keen_watcher_end_on_time() -> None:
    told: SimpleQueue[str] = SimpleQueue()

    def run() -> None:
        wake_on_time()
        told.put(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text())

    threading.Thread(target=run).start()
    assert told.get(timeout=20) == "1\n"


def test_the_watcher_is_keen_for_a_while_once_a_call_has_waited(line: Line) -> None:
    calls = calls_of(line)
    wait_for(lambda: line.put(int) or calls.ownership.started_count > 100, "some calls that do not wait")
    assert not calls._watchdog._keen or calls._counters.cells[HAND_OVERS]  # a machine may stall for a millisecond
    line.put(partial(threading.Event().wait, 0.1))
    wait_for(lambda: calls._watchdog._keen, "the watcher to see one that does")
    wait_for(lambda: line.put(int) or not calls._watchdog._keen, "it to be calm again")


def test_there_are_never_more_calls_than_threads(line: Line) -> None:
    calls = calls_of(line)
    gate, running, most = threading.Event(), deque[int](), []

    def work() -> None:
        running.append(1)
        most.append(len(running))
        gate.wait(20)
        running.pop()

    for _ in range(20):
        line.put(work)
    wait_for(lambda: len(running) == 3, "three calls")
    wait_for(lambda: not calls.inline, "the loop to see it")
    line.put(None)
    wait_for(line.over.is_set, "the loop, which waits for nobody")
    gate.set()
    wait_for(lambda: len(line.answers) == 20, "the others")
    assert max(most) == 3
    line.put(None)


def test_when_slow_calls_are_the_rule_they_go_to_the_pool_until_they_are_quick_again(line: Line) -> None:
    calls = calls_of(line)
    slow = partial(threading.Event().wait, 0.01)
    wait_for(lambda: line.put(slow) or calls._counters.cells[POOLED], "slow calls")
    before = calls._counters.cells[HAND_OVERS]
    for _ in range(20):
        line.put(slow)
    wait_for(lambda: calls._counters.cells[DEQUEUED] >= 20, "these to be taken at once")
    assert calls._counters.cells[HAND_OVERS] == before
    wait_for(lambda: [line.put(int) for _ in range(100)] and calls.inline, "quick calls")
    assert not calls._counters.cells[POOLED]


def test_a_loop_that_fails_is_told_where_it_was_begun() -> None:
    class Broken(Line):
        def run(self) -> None:
            raise OSError("broken")

    calls = Auto(1, CounterRow())
    with pytest.raises(OSError, match="broken"):
        calls.host(Broken(calls))


def test_a_thread_that_lost_the_loop_hears_of_it_by_an_error_that_nobody_catches() -> None:
    assert not issubclass(LoopMoved, Exception)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 100))))
def test_the_pace_turns_over_at_one_in_so_many(calls: list[tuple[bool, int]]) -> None:
    pace, level = LeakyBucket(), 0
    for slow, count in calls:
        if slow:
            pace.slow()
            level = min(level + WEIGHT, 2 * HALF)
        else:
            pace.quick(count)
            level = max(level - count, 0)
        if level in (0, 2 * HALF):
            assert pace.are_slow == bool(level)


def test_who_cannot_have_a_slow_call_waits_for_as_many_quick_ones() -> None:
    pace = LeakyBucket(weight=WARY, half=1)
    pace.slow()
    pace.slow()
    pace.quick(WARY - 1)
    assert pace.are_slow
    pace.quick()
    assert not pace.are_slow


def test_the_pace_of_one_in_a_hundred_and_of_one_in_eight() -> None:
    rare, often = LeakyBucket(), LeakyBucket()
    for _ in range(1000):
        rare.slow()
        rare.quick(99)
        often.slow()
        often.quick(7)
    assert not rare.are_slow
    assert often.are_slow
