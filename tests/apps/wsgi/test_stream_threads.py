"""A streamed response stays in one thread: the call of the app, each piece and close(), under every model and calls."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from allcomers.models import TABLE
from support.certificates import Certificate
from support.clients import Client, request
from support.harness import Server, chosen, serving, wait_for
from support.staged import listens_no_more
from support.wires import Lost, Wire, wire

APP = "tests/support/apps/stream_apps.py:app"
WEB = "tests/support/apps/stream_apps.py:Web"
LIMIT = "30"
"""Seconds of a --call-timeout that no call here reaches."""


class Where(NamedTuple):
    """A model, where its calls run, and how.

    limited  with --call-timeout, which has threads of its own
    pure     in plain Python
    """

    model: str
    calls: str
    limited: bool = False
    pure: bool = False

    def __str__(self) -> str:
        return "-".join([self.model, self.calls, *(["limited"] * self.limited), *(["pure"] * self.pure)])

    def serve(self, target: str, *options: str, **env: str) -> object:
        limit = ["--call-timeout", LIMIT] if self.limited else []
        builds = {"ALLCOMERS_PURE": "1"} if self.pure else {}
        arguments = ["-m", self.model, "--calls", self.calls, *limit, *options]
        return serving("run", target, *arguments, env={**builds, **env})

    @property
    def is_loop(self) -> bool:
        return TABLE[self.model].events is not None

    @property
    def mixes(self) -> bool:
        """Whether other calls come between two pieces, in the thread of both: the loop's."""
        return self.is_loop and self.calls == "inline"


EVERY = [
    Where(model.name, calls, limited, pure)
    for model in TABLE.values()
    if not model.obstacle and not model.is_patched
    for calls in (("inline", "pool") if model.events is None else ("inline", "pool", "auto"))
    for limited in (False, True)
    for pure in (False, True)
    if not (calls == "auto" and limited)  # that is the pool
]
SOME = [
    Where("iterative", "pool"),
    Where("process", "inline", limited=True),
    Where("thread", "inline"),
    Where("thread-pool", "pool", pure=True),
    Where("select", "auto"),
    Where("poll", "inline", pure=True),
    Where("epoll", "auto"),
    Where("epoll", "auto", pure=True),
    Where("epoll", "pool", limited=True),
    Where("epoll-et", "auto"),
    Where("asyncio", "auto"),
    Where("asyncio", "pool"),
]


@pytest.fixture(scope="module", params=chosen(SOME, EVERY), ids=str)
def where(request: pytest.FixtureRequest) -> Where:
    found: Where = request.param
    return found


@pytest.fixture(scope="module")
def server(where: Where, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    large = tmp_path_factory.mktemp("file") / "large"
    large.write_bytes(LARGE)
    with where.serve(APP, LARGE_FILE=str(large)) as server:  # type: ignore[attr-defined]
        yield server


LARGE = bytes(range(256)) * 80_000
"""More than all buffers between two ends hold."""


class Noted:
    """An app's notes: the steps of each thread, and their number."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "noted"
        self.gate = folder / "gate"
        self.query = f"note={self.path}"

    @property
    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def count(self, word: str) -> int:
        return [line[0] for line in self.lines].count(word)

    def wait_for(self, word: str, count: int = 1) -> None:
        wait_for(lambda: self.count(word) >= count, f"{word!r} to be noted {count} times, not {self.lines}")

    @property
    def threads(self) -> set[str]:
        return {thread for _, thread in self.lines}


@pytest.fixture
def noted(tmp_path: Path) -> Noted:
    return Noted(tmp_path)


def ask(server: Server, target: str, times: int = 1) -> list[bytes]:
    """Return the bodies of so many responses, on one connection as far as the server keeps it open."""
    bodies: list[bytes] = []
    while len(bodies) < times:
        with wire(server.address, None) as peer:
            client, persists = Client(peer), True
            while persists and len(bodies) < times:
                answer = client.ask(request("GET", target))
                assert answer.status == 200
                bodies.append(answer.body)
                persists = answer.persists
    return bodies


# ------------------------------------------------------------ who runs what


@pytest.mark.parametrize("query", ["", "slow"])
def test_all_of_an_answer_is_in_one_thread(server: Server, tmp_path: Path, query: str) -> None:
    def one(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        noted = Noted(folder)
        (body,) = ask(server, f"/threads?{query}&{noted.query}")
        noted.wait_for("close")
        assert set(body.split()) == {thread.encode() for thread in noted.threads}
        assert [word for word, _ in noted.lines] == ["call", *["piece"] * 5, "close"]
        assert len(noted.threads) == 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(18)))


def test_rows_of_a_cursor_are_whole(server: Server) -> None:
    with ThreadPoolExecutor(6) as pool:
        bodies = pool.map(lambda _: ask(server, "/rows", times=2), range(6))
        assert {body for both in bodies for body in both} == {b"0\n1\n2\n3\n4\n"}


@pytest.mark.parametrize("query", ["", "?slow=1"])
def test_bottles_request_is_that_of_the_answer(server: Server, where: Where, query: str) -> None:
    if where.mixes or (where.model, where.calls) == ("asyncio", "auto"):  # whose first may wait in the loop's thread
        pytest.skip("other calls come between two pieces")

    def one(number: int) -> None:
        path = f"/bottle/{number}"
        for body in ask(server, path + query, times=2):
            assert body == f"{path}\n".encode() * 5

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(12)))


@pytest.mark.parametrize("resets", [False, True])
def test_a_client_that_leaves_has_its_answer_closed_in_that_thread(server: Server, noted: Noted, resets: bool) -> None:
    with wire(server.address, None, receive_buffer=4096) as peer:
        client = Client(peer)
        client.send(request("GET", f"/threads?pieces=1000000&size=60000&{noted.query}"))
        client.head()
        noted.wait_for("piece", 2)
        if resets:
            peer.reset()
    noted.wait_for("close")
    assert noted.count("close") == 1
    assert len(noted.threads) == 1
    assert ask(server, "/rows") == [b"0\n1\n2\n3\n4\n"]


def test_what_follows_on_write_is_in_its_thread(server: Server, where: Where, noted: Noted) -> None:
    (body,) = ask(server, f"/writing?slow&{noted.query}")
    noted.wait_for("close")
    assert body.count(b"\n") == 6
    assert set(body.split()) == {thread.encode() for thread in noted.threads}
    assert len(noted.threads) == 1


def test_a_file_whose_close_is_the_apps_is_closed_in_its_thread(server: Server, noted: Noted) -> None:
    assert ask(server, f"/own?{noted.query}", times=2) == [LARGE, LARGE]
    noted.wait_for("close", 2)
    threads = [thread for _, thread in noted.lines]
    assert [word for word, _ in noted.lines] == ["call", "close"] * 2
    assert threads[0] == threads[1]
    assert threads[2] == threads[3]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_app_is_asked_for_no_more_than_is_sent(server: Server, noted: Noted, method: str) -> None:
    """PEP 3333, "Handling the Content-Length Header"; and a HEAD has none of it."""
    with wire(server.address, None) as peer:
        client = Client(peer)
        client.send(request(method, f"/threads?pieces=1000000&size=10&length=25&{noted.query}"))
        answer = client.answer(method)
        assert (answer.status, answer["Content-Length"]) == (200, "25")
        assert len(answer.body) == (25 if method == "GET" else 0)
        noted.wait_for("close")
        assert noted.count("piece") <= (3 if method == "GET" else 2)
        assert len(noted.threads) == 1
        assert client.ask(request("GET", "/small")).body == b"small"


@pytest.mark.parametrize("shape", ["pieces=20000&size=100", "pieces=300&size=70000", "pieces=3&size=1", "pieces=1"])
def test_every_byte_comes_in_order(server: Server, shape: str) -> None:
    bodies = ask(server, f"/threads?{shape}", times=2)
    pieces, size = int(shape.split("&")[0][7:]), int(shape.partition("size=")[2] or 0)
    for body in bodies:
        (thread, *_) = body.split(b"\n")
        assert body == (thread + b"\n").ljust(size, b".") * pieces


def test_over_tls(certificate: Certificate) -> None:
    with (
        serving("run", APP, "--calls", "pool", "--certfile", str(certificate.pem)) as server,
        wire(server.address, certificate.trusted) as peer,
    ):
        body = Client(peer).ask(request("GET", "/threads?pieces=2000&size=1000")).body
        assert len(body) == 2_000_000
        assert len(set(re.findall(rb"\d+", body))) == 1


# ------------------------------------------------------------ Web handlers


@pytest.fixture(scope="module")
def web(where: Where) -> Iterator[Server]:
    with where.serve(WEB) as server:  # type: ignore[attr-defined]
        yield server


@pytest.mark.parametrize("path", ["/", "/whole"])
def test_an_answer_of_a_web_handler_is_in_one_thread(web: Server, noted: Noted, path: str) -> None:
    for body in ask(web, f"{path}?slow&{noted.query}", times=2):
        assert len(set(body.split())) == 1
    noted.wait_for("close", 2)
    threads = {word: [thread for other, thread in noted.lines if other == word] for word in ("call", "close")}
    assert threads["call"] == threads["close"]


def test_one_that_fails_is_closed_in_its_thread(where: Where, noted: Noted, tmp_path: Path) -> None:
    limit = ["--call-timeout", LIMIT] if where.limited else []
    with serving("run", WEB, "-m", where.model, "--calls", where.calls, *limit, quiet=False) as server:
        with wire(server.address, None) as peer:
            client = Client(peer)
            answer = client.ask(request("GET", f"/fails?{noted.query}"))
            assert (answer.status, answer.persists) == (500, True)
            noted.wait_for("close")
            client.send(request("GET", f"/raises?{noted.query}"))
            with pytest.raises(Lost):
                client.answer()
        noted.wait_for("close", 2)
        calls = [thread for word, thread in noted.lines if word == "call"]
        assert calls == [thread for word, thread in noted.lines if word == "close"]
        assert server.stderr.count("Traceback") == 2


# ------------------------------------------------------------ clients that are slow


def threads_of(server: Server) -> int:
    (worker,) = server.workers()
    return len(list(Path(f"/proc/{worker}/task").iterdir()))


HOLDING = chosen(
    [("epoll", "pool"), ("epoll", "auto")], [(m, c) for m in ("select", "epoll", "epoll-et") for c in ("pool", "auto")]
)


def slow_client(server: Server, target: str) -> Wire:
    """Return a client that has received the start of its response, and reads no further."""
    peer = wire(server.address, None, receive_buffer=4096)
    client = Client(peer)
    client.send(request("GET", target))
    client.head()
    return peer


@pytest.mark.parametrize(("model", "calls"), HOLDING)
@pytest.mark.parametrize("shape", ["/threads?pieces=1000000&size=60000&", "/own?"])
def test_clients_that_read_slowly_hold_no_place(model: str, calls: str, shape: str, tmp_path: Path) -> None:
    """Each has a thread of its own, which waits; others have its place among --threads."""
    noted = [Noted(folder) for number in range(6) if (folder := tmp_path / str(number)).mkdir() is None]
    (tmp_path / "large").write_bytes(LARGE)
    env = {"LARGE_FILE": str(tmp_path / "large")}
    with serving("run", APP, "-m", model, "--calls", calls, "-t", "2", env=env) as server:
        slow = [slow_client(server, shape + each.query) for each in noted]
        for each in noted:
            each.wait_for("call")
        assert ask(server, "/rows", times=3) == [b"0\n1\n2\n3\n4\n"] * 3
        for peer in slow:
            peer.close()
        for each in noted:
            each.wait_for("close")
            assert len(each.threads) == 1
        wait_for(lambda: threads_of(server) <= 7, f"threads to end, of {threads_of(server)}")
        assert ask(server, "/rows", times=3) == [b"0\n1\n2\n3\n4\n"] * 3


@pytest.mark.parametrize(("model", "calls"), HOLDING)
def test_the_threads_that_wait_for_clients_run_one_at_a_time(model: str, calls: str, tmp_path: Path) -> None:
    """With one place, no piece of one response is made while another is, or while a call runs."""
    with (
        serving("run", APP, "-m", model, "--calls", calls, "-t", "1", "--overload", "off") as server,
        ThreadPoolExecutor(6) as pool,
    ):

        def read_slowly(number: int) -> bytes:
            with wire(server.address, None, receive_buffer=4096) as peer:
                client = Client(peer)
                client.send(request("GET", "/alone?pieces=40&size=60000"))
                head = client.head()
                noted_by_others = ask(server, "/alone?pieces=1", times=3)
                assert set(noted_by_others) == {b"alone"}
                peer.widen()
                return client.body(head)

        for body in pool.map(read_slowly, range(6)):
            assert len(body) == 40 * 60000
            assert set(body.split()) == {b"alone"}


@pytest.mark.parametrize(("model", "calls"), HOLDING)
def test_a_plain_file_holds_no_thread(model: str, calls: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE * 3)
    with serving(
        "run", APP, "-m", model, "--calls", calls, "-t", "1", env={"LARGE_FILE": str(tmp_path / "large")}
    ) as server:
        peers = [slow_client(server, "/plain") for _ in range(3)]
        assert ask(server, "/small", times=2) == [b"small"] * 2
        for peer in peers:
            peer.close()


def test_a_slow_client_is_cut_in_time_and_its_thread_is_free(noted: Noted) -> None:
    with serving("run", APP, "--calls", "pool", "-t", "1", "--min-rate", "1000000") as server:
        with slow_client(server, f"/threads?pieces=1000000&size=60000&{noted.query}"):
            noted.wait_for("close")
        assert len(noted.threads) == 1
        assert ask(server, "/small") == [b"small"]


def test_the_clients_time_is_not_the_calls(noted: Noted) -> None:
    """Each piece has the whole time of --call-timeout, and the client's time to read does not count."""
    with serving("run", APP, "--calls", "pool", "--call-timeout", "2") as server:
        with wire(server.address, None, receive_buffer=4096) as peer:
            client = Client(peer)
            client.send(request("GET", f"/threads?pieces=200&size=60000&{noted.query}"))
            head = client.head()
            with pytest.raises(AssertionError):
                wait_for(lambda: noted.count("close"), "the limit to pass", patience=2.5)
            peer.widen()
            assert len(client.body(head)) == 200 * 60000
        assert "has not ended" not in server.stderr


def test_the_time_of_the_app_is_told_without_the_clients(tmp_path: Path, noted: Noted) -> None:
    log = tmp_path / "log"
    form = "%(s)s %(app)s %(write)s"
    with serving("run", APP, "--calls", "pool", "--access-log", str(log), "--access-log-format", form) as server:
        with wire(server.address, None, receive_buffer=4096) as peer:
            client = Client(peer)
            client.send(request("GET", f"/threads?pieces=200&size=60000&{noted.query}"))
            head = client.head()
            with pytest.raises(AssertionError):
                wait_for(lambda: noted.count("close"), "a slow client", patience=3)
            peer.widen()
            client.body(head)
        line = wait_for(lambda: log.read_text(), "the line")
        status, app, write = line.split()
        assert (status, float(app) < 2, float(write) > 2.9) == ("200", True, True)


@pytest.mark.parametrize(("model", "calls"), HOLDING)
def test_a_server_that_leaves_lets_it_finish(model: str, calls: str, noted: Noted) -> None:
    with serving("run", APP, "-m", model, "--calls", calls) as server, wire(server.address, None) as peer:
        client = Client(peer)
        client.send(request("GET", f"/threads?gate={noted.gate}&{noted.query}"))
        head = client.head()
        noted.wait_for("piece", 2)
        server.send(signal.SIGTERM)
        wait_for(lambda: listens_no_more(server), "the order to arrive")
        noted.gate.touch()
        assert client.body(head).count(b"\n") == 5
        client.ends()
        noted.wait_for("close")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_one_that_never_ends_does_not_keep_the_process(signum: int, noted: Noted) -> None:
    with serving("run", APP, "--graceful-timeout", "0.5") as server:
        held = slow_client(server, "/threads?pieces=1000000&size=60000")
        waits = slow_client(server, f"/threads?gate={noted.gate}&{noted.query}")
        noted.wait_for("piece", 2)
        assert server.stop(signum) == 0
        held.close()
        waits.close()


def test_an_asyncio_loop_keeps_the_first_that_waits_and_gives_the_others_threads(noted: Noted) -> None:
    """The loop cannot move: from then on no other call runs between two pieces, for all have threads of the pool."""
    with serving("run", "tests/support/apps/stream_apps.py:Web", "-m", "asyncio", "--calls", "auto") as server:
        with slow_client(server, f"/?pieces=1000000&size=60000&{noted.query}"):
            noted.wait_for("piece", 2)
            loop = noted.threads
            others = {body for _ in range(5) for body in ask(server, "/whole")}
            assert not others & {thread.encode() for thread in loop}
        noted.wait_for("close")
        assert len(noted.threads) == 1
