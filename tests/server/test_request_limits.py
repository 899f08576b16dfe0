"""--request-timeout, --max-requests-per-connection and the sizes of forms and JSON: on every model, in both builds."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.certificates import Certificate
from support.crowd import exchange, receive, request
from support.harness import PATIENCE, Server, chosen, receive_all, serving, wait_for
from support.wires import Wire

APP = """
import asyncio, time
from pathlib import Path
import allcomers

HERE = Path(__file__).parent

def hang():
    while not (HERE / "gate").exists():
        time.sleep(0.01)

class Web(allcomers.Web):
    def get(self, request):
        if request.path == "/slow":
            hang()
        if request.path == "/trickle":
            return self.trickle()
        if request.path == "/late":
            return self.late()
        return "hello"

    def trickle(self):
        while True:
            time.sleep(0.1)
            yield "x" * 500

    def late(self):
        yield "x" * 500
        hang()
        yield "y"

    def post(self, request):
        if request.path == "/form":
            return str(len(request.form))
        if request.path == "/json":
            return str(len(request.json()))
        return str(len(request.body))

def wsgi(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    environ["wsgi.input"].read(length)
    if environ["PATH_INFO"] == "/slow":
        hang()
    body = [b"hello"]
    if environ["PATH_INFO"] in ("/trickle", "/late"):
        body = map(str.encode, getattr(Web(), environ["PATH_INFO"][1:])())
        start_response("200 OK", [("Content-Type", "text/plain")])
    else:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return body

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError
    while (await receive()).get("more_body"):
        pass
    path = scope["path"]
    if path == "/slow":
        message = await receive()
        (HERE / "told").write_text(message["type"])
        return
    headers = [(b"content-type", b"text/plain")]
    if path not in ("/trickle", "/late"):
        headers.append((b"content-length", b"5"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/late":
        await send({"type": "http.response.body", "body": b"x" * 500, "more_body": True})
        while not (HERE / "gate").exists():
            await asyncio.sleep(0.01)
    while path == "/trickle":
        await send({"type": "http.response.body", "body": b"x" * 500, "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"hello"})
"""
PLAIN = {"ALLCOMERS_PURE": "1"}
LIMIT = 3
"""Seconds that a request has here: what is in time takes a hundredth of it, and a machine may stall for a while."""

ARGUMENTS = [
    "--request-timeout",
    str(LIMIT),
    "--keep-alive",
    "30",
    "--disconnect-grace",
    "30",
    "--graceful-timeout",
    "5",
]
BLOCKING = ["iterative", "thread", "process", "thread-pool"]
FORMS = [
    *(("Web", model, "inline", False) for model in BLOCKING),
    ("wsgi", "thread", "pool", False),
    ("wsgi", "process", "inline", False),
    ("asgi", "thread", "", False),
    ("Web", "epoll", "auto", False),
    ("wsgi", "epoll", "pool", False),
    ("wsgi", "epoll", "auto", True),
    ("asgi", "epoll", "", False),
    ("asgi", "asyncio", "", True),
    ("wsgi", "asyncio", "pool", False),
    ("Web", "epoll-et", "pool", True),
    ("Web", "poll", "pool", False),
    ("Web", "select", "pool", False),
]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


def timed(server: Server, data: bytes, slowly: bytes = b"") -> tuple[bytes, float]:
    """All that is received up to the end, and after how long; behind `data`, `slowly` is sent every 0.1 s."""
    with server.connect() as sock:
        started = time.monotonic()
        sock.sendall(data)
        received = b""
        sock.settimeout(0.1)
        while True:
            assert time.monotonic() - started < PATIENCE, f"no end, behind {received!r}"
            try:
                piece = sock.recv(1 << 20)
            except TimeoutError:
                sock.sendall(slowly[:1])
                continue
            except ConnectionResetError:
                piece = b""
            received += piece
            if not piece:
                return received, time.monotonic() - started


SOME = [
    ("Web", "iterative", "inline", False),
    ("Web", "thread-pool", "inline", False),
    ("wsgi", "process", "inline", False),
    ("asgi", "thread", "", False),
    ("wsgi", "epoll", "pool", False),
    ("wsgi", "epoll", "auto", True),
    ("asgi", "epoll", "", False),
    ("asgi", "asyncio", "", True),
    ("Web", "epoll-et", "pool", True),
]


@pytest.mark.parametrize(("target", "model", "calls", "plain"), chosen(SOME, FORMS))
def test_a_request_has_so_long_from_its_first_byte_to_its_answers_last(
    app: Path, target: str, model: str, calls: str, plain: bool
) -> None:
    arguments = [f"{app}:{target}", "-m", model, *(["--calls", calls] if calls else []), *ARGUMENTS]
    head = b"GET / HTTP/1.1\r\nHost: a\r\n"
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"
    with serving("run", *arguments, env=PLAIN if plain else {}, quiet=False) as server, ThreadPoolExecutor(5) as many:
        each = map if model == "iterative" else many.map  # which serves one client at a time
        for received, seconds in each(lambda data: timed(server, data, b"x"), (head, body)):
            assert received[9:12] == b"408", received  # though each byte is in time, and above the least rate
            assert seconds > 0.9 * LIMIT
        (slow, *late) = each(lambda path: timed(server, request(path)), ("/slow", "/trickle", "/late"))
        assert slow[0][9:12] == b"503"  # while the call goes on
        wait_for(lambda: f"GET '/slow' of 127.0.0.1: after {LIMIT} s" in server.stderr, "the line about the call")
        for received, _ in late:
            assert received[9:12] == b"200", received
            assert not received.endswith(b"0\r\n\r\n"), "cut off, and not at its end"
        assert min(seconds for _, seconds in (slow, *late)) > 0.9 * LIMIT
        with server.connect() as sock:
            for _ in range(3):
                assert exchange(sock).status == 200
        if target == "asgi" and model != "thread":
            told = app.parent / "told"
            assert wait_for(lambda: told.exists() and told.read_text(), "the app to be told") == "http.disconnect"
        (app.parent / "gate").touch()


def test_a_slow_reader_is_cut_off_and_an_idle_one_is_not(app: Path, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(50_000_000))
    with serving("serve", str(tmp_path), "-m", "epoll", *ARGUMENTS) as server, server.connect() as idle:
        assert exchange(idle, "/app.py").status == 200
        slow = Wire(server.address, receive_buffer=4096)
        slow.send(request("/large.bin"))
        received, started = 0, time.monotonic()
        while time.monotonic() - started < LIMIT + 1:  # above the least rate by far
            received += len(read_or_end(slow.socket))
            time.sleep(0.01)
        while piece := read_or_end(slow.socket):  # what the kernels hold
            received += len(piece)
        slow.socket.close()
        assert 0 < received < 50_000_000
        assert exchange(idle, "/app.py").status == 200  # after more than its limit


def read_or_end(sock: socket.socket) -> bytes:
    try:
        return sock.recv(4096)
    except ConnectionResetError:
        return b""


def test_without_the_limit_a_slow_answer_is_whole(app: Path) -> None:
    with serving("run", f"{app}:Web", "-m", "epoll") as server, server.connect() as sock:
        sock.sendall(request("/slow"))
        until = time.monotonic() + LIMIT
        wait_for(lambda: time.monotonic() > until, "a time that is a limit elsewhere")
        (app.parent / "gate").touch()
        assert receive(sock).status == 200


# ---------------------------------------------------------------- requests of a connection


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize(
    ("target", "model", "calls", "plain"),
    [
        *(("Web", model, "inline", False) for model in chosen(["thread", "process", "epoll"], [*BLOCKING, "epoll"])),
        ("Web", "epoll", "pool", False),
        ("wsgi", "epoll", "auto", False),
        ("wsgi", "epoll", "auto", True),
        ("asgi", "asyncio", "", False),
        ("asgi", "epoll", "", True),
    ],
)
def test_the_nth_answer_ends_the_connection(
    app: Path, target: str, model: str, calls: str, plain: bool, pipelined: bool
) -> None:
    options = ["-m", model, *(["--calls", calls] if calls else []), "--max-requests-per-connection", "3"]
    with serving("run", f"{app}:{target}", *options, env=PLAIN if plain else {}) as server, server.connect() as sock:
        if pipelined:
            sock.sendall(request() * 5)
            received = receive_all(sock)
            heads = [answer.partition(b"\r\n\r\n")[0].lower() for answer in received.split(b"HTTP/1.1 200")[1:]]
            closes = [b"\r\nconnection: close" in head for head in heads]
        else:
            closes = [exchange(sock).close for _ in range(3)]
            assert receive_all(sock) == b""
        assert closes == [False, False, True]


def test_the_nth_answer_ends_a_connection_of_tls(app: Path, certificate: Certificate) -> None:
    options = ["-m", "epoll", "--max-requests-per-connection", "2", "--certfile", str(certificate.pem)]
    with serving("run", f"{app}:Web", *options) as server, server.connect(certificate.trusted) as sock:
        assert [exchange(sock).close for _ in range(2)] == [False, True]
        assert sock.recv(1) == b""


# ---------------------------------------------------------------- forms and JSON


def post(server: Server, path: str, body: bytes) -> int:
    with server.connect() as sock:
        kind = b"Content-Type: application/x-www-form-urlencoded\r\n" if path == "/form" else b""
        head = b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n"
        sock.sendall(head % (path.encode(), kind, len(body)) + body)
        return receive(sock).status


@pytest.mark.parametrize("env", [{}, PLAIN])
def test_forms_and_json_have_sizes_of_their_own(app: Path, env: dict[str, str]) -> None:
    with serving("run", f"{app}:Web", "-m", "epoll", env=env) as server:
        assert post(server, "/form", b"a=" + b"x" * ((1 << 20) - 2)) == 200
        assert post(server, "/form", b"a=" + b"x" * ((1 << 20) - 1)) == 413
        assert post(server, "/form", b"&".join(b"a%d=" % number for number in range(1000))) == 200
        assert post(server, "/form", b"&".join(b"a%d=" % number for number in range(1001))) == 413
        assert post(server, "/json", b'"' + b"x" * ((10 << 20) - 2) + b'"') == 200
        assert post(server, "/json", b'"' + b"x" * ((10 << 20) - 1) + b'"') == 413
        assert post(server, "/", bytes(11 << 20)) == 200
    options = ["--max-form-size", "10", "--max-form-fields", "2", "--max-json-size", "20"]
    with serving("run", f"{app}:Web", "-m", "epoll", *options, env=env) as server:
        assert [post(server, "/form", body) for body in (b"a=1&b=2", b"a=1&b=2&c=", b"a=123456789")] == [200, 413, 413]
        assert [post(server, "/json", body) for body in (b"[]" + b" " * 18, b"[]" + b" " * 19)] == [200, 413]
