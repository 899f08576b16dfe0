"""ASGI apps on real servers: what their calls see and say, under every model (asgi_apps.py)."""

from __future__ import annotations

import hashlib
import json
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from support.apps.served import pattern
from support.certificates import Certificate
from support.clients import Client, Regular, chunked, request
from support.harness import Server, receive_all, serving, wait_for
from support.wires import Lost, TlsWire, Wire

LOOPS = ("asyncio", "epoll", "select", "poll", "epoll-et")
"""The models where a call and its client both go on. asyncio has uvloop, the others asyncio's own loop."""

BLOCKING = ("iterative", "process", "thread", "thread-pool")
"""Those where a call runs step by step in a thread of its own."""

TWO = ("asyncio", "epoll-et")
"""The two whose watches differ most."""

LARGE = 20_000_000

Test = TypeVar("Test", bound=Callable[..., None])


def on(*models: str) -> Callable[[Test], Test]:
    """Limit a test to some models; without this it runs under all."""

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
    """Serve `app` under a model, for all tests of that."""
    with serving("run", "tests/support/apps/asgi_apps.py:app", "--model", request.param, quiet=False) as server:
        yield server


@pytest.fixture(autouse=True)
def log(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Give a function for the log since the test started; it has no traceback, but in a test that uses this."""
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
    """Return True if nothing comes from there for so long."""
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
        """Wait until no more goes out. Return how much has."""
        return stalls(lambda: self.sent)


def stalls(count: Callable[[], int]) -> int:
    """Wait until `count` stays as it is for a while. Return it."""
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
    assert scope.pop("extensions") == {"http.response.early_hint": {}, "http.response.trailers": {}}
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
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


@pytest.mark.parametrize("model", ["asyncio", "thread"])
def test_files_are_sent_by_the_server_where_that_is_asked_for(model: str) -> None:
    options = ["--model", model, "--asgi-pathsend"]
    with serving("run", "tests/support/apps/asgi_apps.py:app", *options) as server, client_of(server) as client:
        for _ in range(2):
            extensions = json.loads(client.ask(get("/seen")).body)["extensions"]
            offered = ("early_hint", "trailers", "pathsend", "zerocopysend")
            assert extensions == {f"http.response.{name}": {} for name in offered}


def test_the_scope_of_a_peer_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with serving("run", "tests/support/apps/asgi_apps.py", bind=f"unix:{path}"), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b"GET /seen HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        scope = json.loads(receive_all(sock).partition(b"\r\n\r\n")[2])
    assert (scope["server"], scope["client"]) == ([path, None], None)


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


@on("asyncio")
def test_a_part_of_a_file_whose_descriptor_is_another_files_now(server: Server, large: Path, tmp_path: Path) -> None:
    size = LARGE  # more than buffers hold
    one, other, noted = tmp_path / "one", tmp_path / "other", tmp_path / "noted"
    one.write_bytes(pattern(size))
    other.write_bytes(b"?" * size)
    with client_of(server, receive_buffer=4096) as client:
        client.send(get(f"/hasty?path={one}&other={other}&file={noted}"))
        await_lines(noted, "same")
        client.wire.widen()
        assert client.answer().body == pattern(size)


@on(*LOOPS)
def test_early_hints(server: Server, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with client_of(server) as client:
        client.send(get(f"/hints?file={go}"))
        for link in ("</a.css>; rel=preload", "</b.js>; rel=preload"):
            hint = client.answer()
            assert (hint.status, hint.fields) == (103, [("Link", link)])
        go.touch()
        hint = client.answer()
        assert (hint.status, [value for _, value in hint.fields]) == (
            103, ["</c.css>; rel=preload", "</d.css>; rel=preload"],
        )  # fmt: skip
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"hinted")
        assert client.ask(get("/hints", "Connection: keep-alive", version="1.0")).body == b"hinted"


@on(*BLOCKING)
def test_early_hints_are_left_out_where_they_could_only_be_late(server: Server) -> None:
    with client_of(server) as client:
        assert client.ask(get("/hints")).body == b"hinted"


# ---------------------------------------------------------------- a client that leaves


def leave_by_closing(client: Client) -> None:
    client.wire.close()


def leave_by_reset(client: Client) -> None:
    client.wire.reset()


leaving = pytest.mark.parametrize("leave", [leave_by_closing, leave_by_reset])


@leaving
def test_a_call_is_told_that_its_client_has_left(
    server: Server, tmp_path: Path, leave: Callable[[Client], None]
) -> None:
    noted = tmp_path / "noted"
    with client_of(server) as client:
        client.send(post(f"/disconnect?file={noted}&twice", b"x" * 100_000))
        await_lines(noted, "waits")
        time.sleep(0.05)
        assert lines(noted) == ["waits"]
        leave(client)
        await_lines(noted, "waits", "http.disconnect", "http.disconnect")


@on(*LOOPS)
@leaving
def test_nothing_is_left_of_clients_that_leave(server: Server, large: Path, leave: Callable[[Client], None]) -> None:
    def held() -> int:
        return len(list(Path(f"/proc/{server.workers()[0]}/fd").iterdir()))

    asked = {
        get("/disconnect?file=/dev/null"): 0,
        post("/told?file=/dev/null", b"x" * 100)[:-10]: 0,
        get("/endless?file=/dev/null"): 100_000,
        get(f"/sendfile?path={large}"): 1000,
        get(f"/sendpath?path={large}"): 1000,
    }
    with client_of(server) as client:
        client.ask(get("/hello"))
        before = held()
        for data, size in asked.items():
            for _ in range(10):
                with client_of(server) as other:
                    other.send(data)
                    if size:
                        other.head()
                        other.take(size)
                    leave(other)
        assert client.ask(get("/hello")).status == 200
        wait_for(lambda: held() <= before, "descriptors to be given back")


def test_a_call_is_told_that_its_answer_is_complete(server: Server, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    with client_of(server) as client:
        assert client.ask(get(f"/disconnect?file={noted}&answer=before")).body == b"answered"
        await_lines(noted, "waits", "http.disconnect")
        assert client.ask(get("/hello")).status == 200


@leaving
@pytest.mark.parametrize("wrap", ["none", "own", "group"])
def test_a_stream_without_an_end_ends_when_its_client_leaves(
    server: Server, tmp_path: Path, wrap: str, leave: Callable[[Client], None]
) -> None:
    noted = tmp_path / "noted"
    with client_of(server) as client:
        client.send(get(f"/endless?file={noted}&wrap={wrap}"))
        client.head()
        client.take(100_000)
        leave(client)
    await_lines(noted, "ClientGone")
    with client_of(server) as client:
        assert client.ask(get("/hello")).status == 200


def test_a_stream_without_an_end_that_nobody_hears(server: Server, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    with client_of(server) as client:
        assert client.ask(request("HEAD", f"/endless?file={noted}&pause=0.0001")).status == 200
        assert client.ask(get("/hello")).body == b"Hello, all comers"
        await_lines(noted, "ClientGone")


@on(*LOOPS)
@leaving
def test_a_client_that_leaves_in_its_upload(server: Server, tmp_path: Path, leave: Callable[[Client], None]) -> None:
    noted = tmp_path / "noted"
    with client_of(server) as client:
        client.send(post(f"/told?file={noted}", b"x" * 100)[:-60])
        await_lines(noted, "http.request 40")
        leave(client)
    await_lines(noted, "http.request 40", "http.disconnect 0")


@on(*LOOPS)
def test_an_upload_that_makes_no_sense(server: Server, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    with client_of(server) as client:
        client.send(request("POST", f"/told?file={noted}", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
        await_lines(noted, "http.request 5")
        client.send(b"five\r\nhello\r\n")
        assert client.answer().status == 400
        client.ends()
    await_lines(noted, "http.request 5", "http.disconnect 0")


def test_a_client_that_half_closes_gets_its_answer(server: Server) -> None:
    with client_of(server) as client:
        client.send(post("/digest", b"x" * 1000))
        client.wire.half_close()
        assert json.loads(client.answer().body)["size"] == 1000
        client.ends()
    with client_of(server) as client:
        client.send(get("/stream?n=500000") + get("/hello"))
        client.wire.half_close()
        assert client.answer().body == pattern(500_000)
        assert client.answer().body == b"Hello, all comers"
        client.ends()


def test_a_client_that_half_closes_gets_what_is_said_after_that(server: Server, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    with client_of(server) as client:
        client.send(get(f"/disconnect?file={noted}&answer=after"))
        await_lines(noted, "waits")
        client.wire.half_close()
        assert client.answer().body == b"still there"
        client.ends()


# ---------------------------------------------------------------- who is slow


@on(*TWO)
def test_a_call_waits_for_a_client_that_does_not_read(server: Server, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    with client_of(server, receive_buffer=65536) as client, client_of(server) as other:
        client.send(get(f"/counted?n=2500&file={noted}"))
        assert stalls(lambda: len(lines(noted))) < 1000  # of 10,000 bytes: what the kernels hold, and a little more
        assert other.ask(get("/hello")).status == 200
        client.wire.widen()
        assert client.answer().body == pattern(10_000) * 2500
        assert len(lines(noted)) == 2500


@on(*TWO)
def test_a_client_waits_for_a_call_that_does_not_take_its_body(server: Server, tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    data = pattern(LARGE)
    with client_of(server) as client, client_of(server) as other:
        upload = Upload(client.wire, post(f"/slowly?first&begun={begun}&file={go}", data))
        await_lines(begun, "begun")
        assert upload.stalls() < LARGE // 2  # what the kernels hold, and a little more
        assert other.ask(get("/hello")).status == 200
        go.touch()
        said = json.loads(client.answer().body)
        upload.join()
        assert 0 < LARGE - said["size"] < 200_000  # the first piece was taken apart
        assert upload.lost is None


@on("asyncio")
def test_a_slow_client_is_told_so_and_a_slow_call_is_waited_for(server: Server, tmp_path: Path) -> None:
    begun, go, noted = tmp_path / "begun", tmp_path / "go", tmp_path / "noted"
    with client_of(server) as client, client_of(server) as other:
        began = time.monotonic()
        client.send(post(f"/told?file={noted}", b"x" * 100)[:-50])
        other.send(post(f"/slowly?first&begun={begun}&file={go}", b"x" * 100)[:-50])
        await_lines(begun, "begun")
        assert client.answer().status == 408
        client.ends()
        assert time.monotonic() - began > 4.5
        await_lines(noted, "http.request 50", "http.disconnect 0")
        go.touch()
        assert is_silent(other.wire)  # the time of its client begins only now
        other.send(b"x" * 50)
        assert json.loads(other.answer().body)["size"] == 50


@on(*LOOPS)
def test_a_client_that_asks_first_is_told_to_go_on_when_its_body_is_wanted(server: Server, tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    with client_of(server) as client:
        data = post(f"/slowly?begun={begun}&file={go}", b"hello", "Expect: 100-continue")
        client.send(data[:-5])
        await_lines(begun, "begun")
        assert is_silent(client.wire)
        go.touch()
        assert client.answer().status == 100
        client.send(data[-5:])
        assert json.loads(client.answer().body)["size"] == 5
        assert client.ask(get("/hello")).status == 200
        assert client.ask(post("/digest", b"hello", "Expect: 100-continue")).status == 200  # it does not wait


@on(*LOOPS)
@pytest.mark.parametrize("how", ["whole", "stream"])
def test_a_client_that_asks_first_is_not_told_to_go_on_for_nothing(server: Server, how: str) -> None:
    with client_of(server) as client:
        client.send(post(f"/unread?{how}", b"hello", "Expect: 100-continue")[:-5])
        answer = client.answer()
        assert (answer.status, answer.body, answer.persists) == (200, b"not read", False)
        client.ends()


@pytest.mark.parametrize("query", ["", "peek", "stream", "peek&stream"])
def test_a_small_body_that_nobody_reads(server: Server, query: str) -> None:
    with client_of(server) as client:
        for _ in range(3):
            data = post(f"/unread?{query}", b"x" * 100_000)
            client.send(data[:30_000])
            time.sleep(0.01)
            client.send(data[30_000:] + get("/hello"))
            assert client.answer().body == b"not read"
            assert client.answer().body == b"Hello, all comers"


@on(*LOOPS)
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_large_body_that_nobody_reads(server: Server, coding: str) -> None:
    with client_of(server) as client:
        if coding == "length":
            data = post("/unread", b"x" * LARGE)
        else:
            data = request("POST", "/unread", "Transfer-Encoding: chunked") + chunked(b"x" * LARGE, 100_000)
        client.send(data[:600_000])
        time.sleep(0.1)
        assert client.answer().body == b"not read"
        client.ends()


# ---------------------------------------------------------------- apps that fail


@pytest.mark.parametrize("how", ["raise", "exit", "task", "cancel", "return"])
def test_an_app_that_fails_before_its_answer(server: Server, log: Callable[[], str], how: str) -> None:
    with client_of(server) as client:
        for when in ("first", "waited", "started"):
            answer = client.ask(get(f"/fails?when={when}&how={how}"))
            assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
            assert answer.persists
            said = "the app returned before its response was whole" if how == "return" else f"Deliberate: {when}"
            wait_for(lambda said=said: said in log(), "the traceback")
        assert client.ask(get("/hello")).status == 200


@pytest.mark.parametrize("how", ["raise", "exit", "task", "cancel", "return"])
def test_an_app_that_fails_in_its_answer(server: Server, log: Callable[[], str], how: str) -> None:
    with client_of(server) as client:
        client.send(get(f"/fails?when=middle&how={how}"))
        assert client.head().status == 200
        assert client.rest() == b"5\r\nbegun\r\n"  # never passed off as whole
        assert "/fails?when=middle" in log()
        assert "Traceback" in log()


NONSENSE = (
    "status-text", "status-100", "status-none", "name", "value", "text", "length", "body-first", "unknown", "typeless",
    "body-text&started", "body-number&started", "body-none&started", "second-start&started", "trailers&started",
    "pathsend&started", "unknown&started", "name&stream", "value&stream", "length&stream", "text&stream",
)  # fmt: skip


def test_an_app_that_says_what_makes_no_sense(server: Server, log: Callable[[], str]) -> None:
    with client_of(server) as client:
        for what in NONSENSE:
            before = log().count(" failed\n")
            answer = client.ask(get(f"/misspeaks?what={what}"))
            said = (what, answer.status, answer.body, answer["evil"], log().count(" failed\n") - before)
            assert said == (what, 500, b"Internal Server Error\n", None, 1)
        assert client.ask(get("/hello")).status == 200


@on(*LOOPS)
@pytest.mark.parametrize("started", ["", "&started"])
def test_hints_that_make_no_sense(server: Server, log: Callable[[], str], started: str) -> None:
    with client_of(server) as client:
        answer = client.ask(get(f"/misspeaks?what=hint{started}"))
        assert (answer.status, answer["evil"]) == (500, None)
        assert "AnswerError" in log()


def test_what_is_said_after_the_end_is_ignored(server: Server) -> None:
    with client_of(server) as client:
        for _ in range(3):
            assert client.ask(get("/persistent")).body == b"once"
        assert client.ask(get("/hello")).status == 200


def test_two_tasks_that_send_at_once(server: Server) -> None:
    with client_of(server) as client:
        answer = client.ask(get("/chorus"))
        assert sorted(answer.body) == [97] * 250_000 + [98] * 250_000
        assert sum(answer.chunks) == 500_000
        assert all(size % 5000 == 0 for size in answer.chunks)  # none is torn, some are gathered


# ---------------------------------------------------------------- what goes on behind


@pytest.mark.parametrize("how", ["whole", "stream"])
def test_what_goes_on_behind_an_answer_delays_nobody(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path, how: str
) -> None:
    noted, go = tmp_path / "noted", tmp_path / "go"
    with client_of(server) as client:
        assert client.ask(get(f"/background?file={noted}&go={go}&{how}")).body == b"answered"
        await_lines(noted, "begun")
        if request.node.callspec.params["server"] in LOOPS:
            assert client.ask(get("/hello")).status == 200
            assert lines(noted) == ["begun"]
        go.touch()
        await_lines(noted, "begun", "ended")
        assert client.ask(get("/hello")).status == 200


def test_libraries_know_where_they_are(server: Server) -> None:
    with client_of(server) as client:
        expected = ["asyncio", "True", "True", "timeout", "child", "True", "thread"] * 2
        assert client.ask(get("/libraries")).body.decode().split() == expected


def ended(server: Server) -> bool:
    return server.process.poll() is not None


@pytest.mark.parametrize("model", ["asyncio", "thread"])
def test_what_goes_on_behind_ends_before_the_server_does(model: str, tmp_path: Path) -> None:
    noted, go = tmp_path / "noted", tmp_path / "go"
    with serving("run", "tests/support/apps/asgi_apps.py:app", "--model", model) as server:
        with client_of(server) as client:
            client.ask(get(f"/background?file={noted}&go={go}"))
        await_lines(noted, "begun")
        server.send(signal.SIGTERM)
        time.sleep(0.5)
        assert not ended(server)
        go.touch()
        assert server.stop() == 0
        assert lines(noted) == ["begun", "ended"]


@pytest.mark.parametrize(("model", "signum"), [("asyncio", signal.SIGTERM), ("epoll", signal.SIGINT)])
def test_what_goes_on_behind_for_too_long_is_cancelled(model: str, signum: signal.Signals, tmp_path: Path) -> None:
    noted, forgotten, go = tmp_path / "noted", tmp_path / "forgotten", tmp_path / "go"
    options = ["--graceful-timeout", "0.3"] if signum == signal.SIGTERM else []
    with serving("run", "tests/support/apps/asgi_apps.py:app", "--model", model, *options) as server:
        with client_of(server) as client:
            client.ask(get(f"/background?file={noted}&go={go}"))
            client.ask(get(f"/forgotten?file={forgotten}"))
        await_lines(noted, "begun")
        await_lines(forgotten, "begun")
        assert server.stop(signum) == 0
        assert lines(noted) == ["begun", "cancelled"]
        assert lines(forgotten) == ["begun", "cancelled"]
        assert "destroyed" not in server.stderr


# ---------------------------------------------------------------- one server's life


@pytest.mark.parametrize("model", ["asyncio", "thread"])
def test_no_answer_is_lost_when_workers_are_replaced(model: str) -> None:
    over = threading.Event()
    wrong: list[object] = []
    answers = 0

    def ask(server: Server) -> None:
        nonlocal answers
        with Regular(server.address, None) as client:
            while not over.is_set():
                try:
                    answer = client.ask(get("/stream?n=300000"))
                    if answer.body != pattern(300_000):
                        wrong.append(answer.status)
                    answers += 1
                except (Lost, OSError, AssertionError) as error:
                    wrong.append(error)
                    client.close()

    with serving("run", "tests/support/apps/asgi_apps.py:app", "--model", model) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            old = set(server.workers())
            server.send(signal.SIGHUP)
            wait_for(lambda old=old: set(server.workers()) and not old & set(server.workers()), "new workers")
        over.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert answers > 20


def test_where_the_app_is_mounted_and_tls(certificate: Certificate) -> None:
    options = ["--certfile", str(certificate.pem), "--root-path", "/mounted", "--calls", "pool"]
    with (
        serving("run", "tests/support/apps/asgi_apps.py:app", *options) as server,
        Client(TlsWire(server.address, certificate.trusted)) as client,
    ):
        scope = json.loads(client.ask(get("/seen/a%20b")).body)
        assert (scope["scheme"], scope["root_path"]) == ("https", "/mounted")
        assert (scope["path"], scope["raw_path"]) == ("/mounted/seen/a b", "/seen/a%20b")
        assert client.ask(get("/stream?n=300000")).body == pattern(300_000)
        assert client.ask(post("/echo", pattern(100_000))).body == pattern(100_000)
        assert client.ask(get(f"/sendfile?path={__file__}")).body.startswith(b"<")


# ---------------------------------------------------------------- lifespans


class Life:
    """Servers of apps with a lifespan, and the file of these apps' notes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "life"

    def serving(self, target: str, *options: str, wrong: str = "") -> Any:
        env = {"ASGI_LIFE": str(self.path), "ASGI_WRONG": wrong}
        return serving("run", f"tests/support/apps/lifespan_apps.py:{target}", *options, env=env)

    def failing(self, target: str, *options: str, wrong: str) -> tuple[int, str]:
        """Start a server that cannot start. Return its exit status and its log."""
        env = {"ASGI_LIFE": str(self.path), "ASGI_WRONG": wrong}
        server = Server("run", f"tests/support/apps/lifespan_apps.py:{target}", *options, env=env)
        status = server.stop()
        assert server.address == ("", 0)
        return status, server.stderr

    def begins(self, *expected: str) -> None:
        assert lines(self.path) == list(expected)


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


def state(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.ask(get("/state")).body)
    return found


@pytest.mark.parametrize("model", ["asyncio", "thread"])
def test_a_lifespan(life: Life, model: str) -> None:
    with life.serving("living", "--model", model) as server:
        life.begins("lifespan.startup")
        with client_of(server) as client:
            assert state(client) == {"own": 1, "word": "kept", "requests": 1}
            assert state(client) == {"own": 1, "word": "kept", "requests": 2}
    life.begins("lifespan.startup", "lifespan.shutdown", "shut down")


def test_each_worker_has_a_lifespan(life: Life) -> None:
    with life.serving("living", "--workers", "2", "--lifespan", "on") as server:
        assert server.stop(signal.SIGINT) == 0
    assert sorted(lines(life.path)) == sorted(["lifespan.startup", "lifespan.shutdown", "shut down"] * 2)


@pytest.mark.parametrize("model", ["asyncio", "process"])
def test_an_app_that_cannot_start(life: Life, model: str) -> None:
    status, said = life.failing("living", "--model", model, wrong="says-and-raises")
    assert status == 3
    assert said.splitlines()[-1] == "allcomers: the app's start-up failed: Deliberate: at the start"
    assert "Traceback" in said
    assert "tests/support/apps/lifespan_apps.py" in said
    assert "src/allcomers" not in said


def test_a_starlette_app(life: Life, tmp_path: Path) -> None:
    status, said = life.failing("starlette", "--factory", wrong="yes")
    assert status == 3
    assert "Deliberate: in the lifespan" in said
    assert "Listening" not in said
    with life.serving("starlette", "--factory", "--model", "asyncio") as server:
        for path in ("/forever", "/middle/forever"):
            noted = tmp_path / path.replace("/", "-")
            with client_of(server) as client:
                client.send(get(f"{path}?file={noted}"))
                assert client.head()["x-word"] == "kept"
                client.take(100_000)
            await_lines(noted, "closed")
    life.begins("started", "stopped")


def test_a_shut_down_that_hangs_is_given_up(life: Life) -> None:
    with life.serving("living", "--graceful-timeout", "0.5", wrong="hangs") as server:
        assert server.stop() == 0
    assert "given up" in server.stderr
    life.begins("lifespan.startup", "lifespan.shutdown")
