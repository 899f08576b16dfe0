"""ASGI apps on real servers: what their calls see and say, under every model (asgi_apps.py)."""

from __future__ import annotations

import hashlib
import json
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from apps import pattern
from clients import Client, Lost, Wire, chunked, request
from harness import Server, serving, wait_for

LOOPS = ("asyncio", "epoll", "select", "poll", "epoll-et")
"""The models where a call and its client both go on. asyncio has uvloop, the others asyncio's own loop."""

BLOCKING = ("iterative", "process", "thread", "thread-pool")
"""Those where a call runs step by step in a thread of its own."""

TWO = ("asyncio", "epoll-et")
"""The two whose watches differ most."""

LARGE = 20_000_000

Test = TypeVar("Test", bound=Callable[..., None])


def on(*models: str) -> Callable[[Test], Test]:
    """A test for some models; without this it is for all."""

    def mark(test: Test) -> Test:
        test.__dict__["models"] = models
        return test

    return mark


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        models = getattr(metafunc.function, "models", LOOPS + BLOCKING)
        metafunc.parametrize("server", models, indirect=True, scope="module")


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """What serves `app` under a model, shared by all tests of that."""
    with serving("run", "tests/asgi_apps.py:app", "--model", request.param, quiet=False) as server:
        yield server


@pytest.fixture(autouse=True)
def log(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """What the server has logged since the test began: no traceback, but in a test that asks for this."""
    if "server" not in request.fixturenames:
        yield lambda: ""
        return
    server: Server = request.getfixturevalue("server")
    before = len(server.stderr)
    yield lambda: server.stderr[before:]
    if "log" not in request.function.__code__.co_varnames:
        assert "Traceback" not in server.stderr[before:], server.stderr[before:]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "large.bin"
    path.write_bytes(pattern(3_000_000))
    return path


def model_of(request: pytest.FixtureRequest) -> str:
    model: str = request.node.callspec.params["server"]
    return model


def client_of(server: Server, *, receive_buffer: int = 0) -> Client:
    return Client(Wire(server.address, receive_buffer=receive_buffer))


def get(path: str, *fields: str, version: str = "1.1") -> bytes:
    return request("GET", path, *fields, version=version)


def post(path: str, body: bytes, *fields: str) -> bytes:
    return request("POST", path, *fields, body=body)


def lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1] if path.exists() else []


def await_lines(path: Path, *expected: str) -> None:
    wait_for(lambda: len(lines(path)) >= len(expected), f"{len(expected)} lines of {path.name}")
    assert lines(path) == list(expected)


def is_silent(wire: Wire, seconds: float = 0.1) -> bool:
    """Does nothing come from there for so long?"""
    return not select.select([wire.socket], [], [], seconds)[0]


class Upload(threading.Thread):
    """Sends while the test does something else.

    sent  bytes that the kernel has taken so far
    lost  why it could send no more
    """

    def __init__(self, wire: Wire, data: bytes) -> None:
        super().__init__()
        self.sent = 0
        self.lost: Lost | None = None
        self._wire = wire
        self._data = data
        self.start()

    def run(self) -> None:
        try:
            while self.sent < len(self._data):
                piece = self._data[self.sent : self.sent + 50_000]
                self._wire.send(piece)
                self.sent += len(piece)
        except Lost as lost:
            self.lost = lost

    def stalls(self) -> int:
        """Wait until no more goes out; what has."""
        return stalls(lambda: self.sent)


def stalls(count: Callable[[], int]) -> int:
    """Wait until `count` stays as it is for a while; that."""
    seen, since = -1, time.monotonic()

    def is_still() -> bool:
        nonlocal seen, since
        if (now := count()) != seen:
            seen, since = now, time.monotonic()
        return seen > 0 and time.monotonic() - since > 0.4

    wait_for(is_still, "it to stand still")
    return seen


# ---------------------------------------------------------------- answers


def test_an_answer_that_is_whole(server: Server) -> None:
    with client_of(server) as client:
        for _ in range(3):
            answer = client.ask(get("/hello"))
            assert (answer.status, answer.body, answer.persists) == (200, b"Hello, all comers", True)
            assert (answer["Content-Length"], answer["content-type"]) == ("17", "text/plain")
        head = client.ask(request("HEAD", "/hello"))
        assert (head.status, head.body, head["Content-Length"]) == (200, b"", "17")
        assert client.ask(get("/bare?status=204"))["Content-Length"] is None
        assert client.ask(get("/bare?status=304"))["Content-Length"] is None
        assert client.ask(get("/bare?status=204&n=10")).status == 204  # a body that there cannot be
        assert client.ask(get("/bare?status=404&n=3")).body == pattern(3)
        assert client.ask(get("/bare?status=200")).body == b""
        assert client.ask(get("/bare?status=200&n=1000000")).body == pattern(1_000_000)
        assert client.ask(get("/hello")).status == 200


def test_a_streamed_answer(server: Server) -> None:
    with client_of(server) as client:
        answer = client.ask(get("/stream?n=1000000"))
        assert answer.body == pattern(1_000_000)
        assert answer.chunks == [50_000] * 20
        answer = client.ask(get("/stream?n=100&piece=30&length=0"))
        assert (answer.body, answer.chunks, answer["Content-Length"]) == (pattern(100), None, "100")
        assert client.ask(get("/stream?n=0")).body == b""
        assert client.ask(request("HEAD", "/stream?n=100000"))["Transfer-Encoding"] == "chunked"
        assert client.ask(request("HEAD", "/stream?n=1000&length=0"))["Content-Length"] == "1000"
        answer = client.ask(get("/stream?n=300000&piece=100&length=-100000"))  # cut at what was declared
        assert (answer.body, answer.persists) == (pattern(200_000), True)
        assert client.ask(get("/hello")).status == 200


def test_a_streamed_answer_to_an_old_client(server: Server) -> None:
    with client_of(server) as client:
        answer = client.ask(get("/stream?n=200000", version="1.0"))
        assert (answer.body, answer.chunks, answer.persists) == (pattern(200_000), None, False)
        client.ends()
    with client_of(server) as client:
        answer = client.ask(get("/stream?n=2000&length=0", "Connection: keep-alive", version="1.0"))
        assert (answer.body, answer.persists) == (pattern(2000), True)
        assert client.ask(get("/hello", version="1.0")).body == b"Hello, all comers"
        client.ends()


def test_an_answer_that_is_shorter_than_declared(server: Server) -> None:
    with client_of(server) as client:
        client.send(get("/stream?n=1000&piece=400&length=5"))
        assert client.head()["Content-Length"] == "1005"
        assert client.rest() == pattern(1000)


def test_a_piece_goes_out_before_the_next_is_made(server: Server, tmp_path: Path) -> None:
    with client_of(server) as client:
        client.send(get(f"/tick?file={tmp_path / 'go'}"))
        client.head()
        assert client.take(11) == b"6\r\nfirst,\r\n"
        (tmp_path / "go").touch()
        assert client.take(14) == b"6\r\nsecond\r\n0\r\n"
        assert client.take(2) == b"\r\n"
        assert client.ask(get("/hello")).status == 200


# ---------------------------------------------------------------- requests


def test_bodies(server: Server) -> None:
    with client_of(server) as client:
        for size in (0, 1, 65_536, 131_072, 300_000):
            data = pattern(size)
            said = json.loads(client.ask(post("/digest", data)).body)
            assert (said["size"], said["sha256"]) == (size, hashlib.sha256(data).hexdigest())
            coded = request("POST", "/digest", "Transfer-Encoding: chunked") + chunked(data, 9_973)
            said = json.loads(client.ask(coded).body)
            assert (said["size"], said["sha256"]) == (size, hashlib.sha256(data).hexdigest())
        assert json.loads(client.ask(get("/digest")).body)["size"] == 0
        assert client.ask(post("/echo", b"to and fro")).body == b"to and fro"


def test_a_large_body(server: Server) -> None:
    data = pattern(LARGE)
    with client_of(server) as client:
        upload = Upload(client.wire, post("/digest", data))
        said = json.loads(client.answer().body)
        upload.join()
        assert (said["size"], said["sha256"]) == (LARGE, hashlib.sha256(data).hexdigest())
        assert said["largest"] < 1_000_000


def test_large_both_ways(server: Server) -> None:
    data = pattern(LARGE // 4)
    with client_of(server) as client:
        upload = Upload(client.wire, post("/echo", data))
        assert client.answer().body == data
        upload.join()


def test_pipelined_requests_each_in_a_context_of_its_own(server: Server) -> None:
    with client_of(server) as client:
        asked = [f"/context?word={number}" for number in range(60)]
        asked.insert(7, "/stream?n=200000")
        asked.insert(30, "/context?word=posted")
        data = [post(path, b"xyz") if path.endswith("posted") else get(path) for path in asked]
        client.send(b"".join(data))
        for path in asked:
            answer = client.answer()
            word = path.partition("=")[2]
            assert answer.body == (f"none {word}".encode() if "word" in path else pattern(200_000))


def test_the_scope(server: Server, request: pytest.FixtureRequest) -> None:
    target = "/seen/a%20b%C3%A9%2fc%ff?q=1%20&b=%3d?"
    with client_of(server) as client:
        host, port = client.wire.socket.getsockname()
        fields = ("X-Twice: one", "Cookie: a=b", "x-TWICE:  two ", "X-Empty:")
        scope = json.loads(client.ask(get(target, *fields)).body)
    assert scope.pop("extensions") == {
        f"http.response.{name}": {} for name in ("pathsend", "zerocopysend", "early_hint", "trailers")
    }
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/seen/a bé/c\ufffd",
        "raw_path": "/seen/a%20b%C3%A9%2fc%ff",
        "query_string": "q=1%20&b=%3d?",
        "root_path": "",
        "headers": [["host", "localhost"], ["x-twice", "one"], ["cookie", "a=b"], ["x-twice", "two"], ["x-empty", ""]],
        "client": [host, port],
        "server": list(server.address),
    }


def test_the_scope_of_an_old_client(server: Server) -> None:
    with client_of(server) as client:
        scope = json.loads(client.ask(request("POST", "/seen", version="1.0", host=None, body=b"x")).body)
    assert (scope["http_version"], scope["method"], scope["query_string"]) == ("1.0", "POST", "")
    assert scope["headers"] == [["content-length", "1"]]


# ---------------------------------------------------------------- extensions


def test_trailers_go_to_who_takes_them(server: Server) -> None:
    with client_of(server) as client:
        answer = client.ask(get("/trailers", "TE: trailers"))
        assert answer.body == b"one,two"
        assert answer.trailers == [("x-digest", "12"), ("x-more", "34")]
        answer = client.ask(get("/trailers"))
        assert (answer.body, answer.trailers) == (b"one,two", [])
        assert client.ask(request("HEAD", "/trailers", "TE: trailers")).status == 200
        assert client.ask(get("/hello")).status == 200
        assert client.ask(get("/trailers", "TE: trailers", version="1.0")).body == b"one,two"


def test_a_file_by_its_path(server: Server, large: Path) -> None:
    with client_of(server) as client:
        for fields in ("", "&length=3000000"):
            answer = client.ask(get(f"/sendpath?path={large}{fields}"))
            assert (answer.body, answer["Content-Length"]) == (pattern(3_000_000), "3000000")
            head = client.ask(request("HEAD", f"/sendpath?path={large}{fields}"))
            assert head["Content-Length"] == "3000000"
        assert client.ask(get("/hello")).status == 200


def test_parts_of_files(server: Server, large: Path) -> None:
    parts = [b"<", pattern(1_000_000, 10), b"|", pattern(20, 1000), pattern(5, 2_999_995), b">"]
    with client_of(server) as client:
        answer = client.ask(get(f"/sendfile?path={large}"))
        assert answer.body == b"".join(parts)
        assert client.ask(request("HEAD", f"/sendfile?path={large}")).status == 200
        answer = client.ask(get(f"/sendfile?path={large}&whole"))
        assert (answer.body, answer["Content-Length"]) == (pattern(3_000_000), "3000000")
        assert client.ask(request("HEAD", f"/sendfile?path={large}&whole"))["Content-Length"] == "3000000"
        assert client.ask(get("/hello")).status == 200
