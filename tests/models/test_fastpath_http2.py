"""The fast path of HTTP/2: to a client it is the plain way, stream by stream; and so it is to who counts and logs."""

from __future__ import annotations

import signal
import ssl
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allcomers.connection.http.http2.connection import Http2Connection
from allcomers.errors import HttpError
from allcomers.protocol import compiled as leaf
from allcomers.protocol.hpack.decoder import Decoder
from allcomers.protocol.message import Request, Response
from allcomers.protocol.proxy.forwarded import Proxies
from allcomers.server.tls.certificates import server_context
from allcomers.system.counters import ABORTED, ANSWERED, BYTES_IN, CALLS, CLASSES, REQUESTS
from allcomers.system.signals import Signals
from support import http2
from support.certificates import Certificate
from support.harness import serving
from support.http2_client import Http2Client
from support.looped import PEER, Looped, built, cut, there

pytestmark = pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")

TEXT = ("Content-Type", "text/plain")
WAITING = """
import os, time

def wsgi(environ, start_response):
    while environ["PATH_INFO"] == "/wait" and not os.path.exists({gate!r}):
        time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]
"""


def raising(error: BaseException) -> Any:
    raise error


ANSWERS: dict[str, Callable[[Request], Any]] = {
    "/small": lambda _: Response(b"Hello", headers=[TEXT]),
    "/empty": lambda _: Response(),
    "/told": lambda request: Response(repr((request.method, request.version, request.headers)).encode()),
    "/origin": lambda request: Response(repr((request.peer, request.port, request.scheme)).encode()),
    "/body": lambda request: Response(request.body),
    "/most": lambda _: Response(b"m" * 16384, headers=[TEXT]),
    "/more": lambda _: Response(b"m" * 16385, headers=[TEXT]),
    "/huge": lambda _: Response(b"h" * 100_000, headers=[TEXT]),
    "/stream": lambda _: Response(iter([b"one ", b"", b"two"]), headers=[TEXT]),
    "/trailed": lambda _: Response(iter([b"one"]), trailers=[("a", "b")]),
    "/raises": lambda _: raising(RuntimeError("at once")),
    "/exits": lambda _: sys.exit(3),
    "/refuses": lambda _: raising(HttpError(403, "No.")),
    "/none": lambda _: None,
    "/204": lambda _: Response(status=204),
    "/205": lambda _: Response(status=205),
    "/304": lambda _: Response(b"not sent", status=304),
    "/299": lambda _: Response(b"unknown", status=299),
    "/true": lambda _: Response(b"no number", status=True),
    "/12": lambda _: Response(b"no status", status=12),
    "/dated": lambda _: Response(b"mine", headers=[("Date", "yesterday"), ("Server", "mine")]),
    "/length": lambda _: Response(b"mine", headers=[("content-length", "4")]),
    "/wrong": lambda _: Response(b"mine", headers=[("Content-Length", "5")]),
    "/wronger": lambda _: Response(b"mine", headers=[("Content-Length", "3")]),
    "/closes": lambda _: Response(b"bye", headers=[("Connection", "close")]),
    "/split": lambda _: Response(b"no", headers=[("A", "b\r\nC: d")]),
    "/list": lambda _: Response(b"no", headers=[["A", "b"]]),  # type: ignore[list-item]
    "/long": lambda _: Response(b"long", headers=[("A", "b" * 17_000)]),
    "/brim": lambda _: Response(b"m" * 16384, headers=[("A", "{" * 16_325)]),  # a frame of each type, nearly full
    "/close": lambda _: Response(b"told", close=lambda: None),
}


def handler(request: Request) -> Any:
    return ANSWERS[request.path](request)


FIELDS: dict[str, list[tuple[str, str]]] = {
    "plain": [],
    "forwarded": [("x-forwarded-for", "203.0.113.7"), ("cookie", "a=b")],
    "urgent": [("priority", "u=1, i")],
    "refused": [("content-length", "5")],
    "malformed": [("connection", "close")],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a trusted proxy": {"http": {"proxies": Proxies("192.0.2.1")}},
    "times": {"http": {"clock": lambda: 0.0}},
    "times that are shown": {"http": {"clock": lambda: 0.0, "server_timing": True}},
    "a limit of requests": {"max_requests": 7},
    "a limit of time": {"request_timeout": 30.0},
    "calls with a limit": {"call_limit": 30.0},
}

Step = tuple[str, str, str]  # a kind of frame, a path, fields
STEPS = st.tuples(
    st.sampled_from(["get", "get", "get", "get", "head", "post", "prioritized", "padded", "skip", "window", "ping"]),
    st.sampled_from(["/small", "/small", *sorted(ANSWERS)]),
    st.sampled_from(["plain", "plain", "plain", *sorted(FIELDS)]),
)


def frames_of(steps: list[Step]) -> bytes:
    stream, said = 1, http2.HELLO + http2.window(0, 1 << 20)
    for kind, path, fields in steps:
        method = {"head": "HEAD", "post": "POST"}.get(kind, "GET")
        block = http2.block([(":method", method), *http2.GET[1:3], (":path", path), *FIELDS[fields]])
        if kind == "window":
            said += http2.window(0, 100)
        elif kind == "ping":
            said += http2.frame(http2.PING, 0, 0, b"12345678")
        else:
            flags = http2.END_HEADERS | (0 if kind == "post" else http2.END_STREAM)
            if kind == "prioritized":
                flags, block = flags | http2.PRIORITIZED, b"\0\0\0\0\1" + block
            if kind == "padded":
                flags, block = flags | http2.PADDED, b"\1" + block + b"\0"
            stream += 4 if kind == "skip" else 2
            said += http2.frame(http2.HEADERS, flags, stream, block)
            if kind == "post":
                said += http2.frame(http2.DATA, http2.END_STREAM, stream, b"12345")
    return said


def heard(data: bytes) -> dict[int, list[object]]:
    """What a client hears in each stream, without dates, and however a body is cut into frames."""
    found: dict[int, list[object]] = defaultdict(list)
    block = b""
    for frame in http2.parse(data):
        events = found[frame.stream]
        if frame.kind in (http2.HEADERS, http2.CONTINUATION):
            block = b"" if frame.kind == http2.HEADERS else block
            block += frame.payload
            if not frame.flags & http2.END_HEADERS:
                continue
            fields = Decoder().decode(block, 1 << 20)
            events.append([field for field in fields if field[0] not in (b"date", b"server-timing")])
        elif frame.kind == http2.DATA:
            before = events.pop() if isinstance(events[-1], bytes) else b""
            assert isinstance(before, bytes)
            events.append(before + frame.payload)
        else:
            events.append((frame.kind, frame.flags, frame.payload))
        if frame.kind in (http2.HEADERS, http2.DATA) and frame.flags & http2.END_STREAM:
            events.append("end")
    return {stream: [event for event in events if event != b""] for stream, events in found.items()}


@pytest.fixture(scope="module")
def signals() -> Iterator[Signals]:
    yield Signals(1.0)
    signal.set_wakeup_fd(-1)


def looped(signals: Signals, app: Any = handler, **options: Any) -> Looped:
    http = {"http2": Http2Connection} | options.pop("http", {})
    return Looped(app, signals, http=http, **options)


def outcome(signals: Signals, pieces: list[bytes], compiled: bool, reads: bool, **options: Any) -> Any:
    """What a client hears, what the app raised, what was logged, and what was counted."""
    with built(compiled):
        server = looped(signals, **options)
        assert server.has_lane is compiled
        said = [heard(server.talk(pieces, reads=reads)) for _ in range(2)]
        assert server.peers == 0
        slots = [REQUESTS, ABORTED, CALLS, *range(ANSWERED, ANSWERED + CLASSES), BYTES_IN]
        counted = [server.counters.cells[slot] for slot in slots]
        server.close()
        return said, [repr(error) for error in server.errors], sorted(map(repr, server.lines)), counted


@settings(max_examples=60)
@given(
    st.lists(STEPS, min_size=1, max_size=30),
    st.lists(st.integers(0, 4000), max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from(sorted(OPTIONS)),
)
@example([("get", "/small", "plain")] * 300, [1000, 2000, 3000, 4000], True, True, "nothing")
@example([("get", "/most", "plain")] * 20, [], True, False, "nothing")
@example([("get", "/small", "plain")] * 20, [30, 500], True, True, "a limit of requests")
def test_a_client_hears_the_same(
    signals: Signals, steps: list[Step], places: list[int], reads: bool, logs: bool, options: str
) -> None:
    pieces = cut(frames_of(steps), places)
    chosen = {"logs": logs} | OPTIONS[options]
    plain = outcome(signals, pieces, False, reads, **chosen)
    assert outcome(signals, pieces, True, reads, **chosen) == plain


@pytest.mark.parametrize("options", sorted(OPTIONS))
def test_each_answer_with_each_option(signals: Signals, options: str) -> None:
    steps = [("get", path, fields) for path in sorted(ANSWERS) for fields in ("plain", "forwarded")]
    pieces = cut(frames_of(steps * 2), range(0, 4000, 500))
    plain = outcome(signals, pieces, False, True, logs=True, **OPTIONS[options])
    assert outcome(signals, pieces, True, True, logs=True, **OPTIONS[options]) == plain


def warm(server: Looped, sock: Any) -> int:
    """Have a client say what it says at first. Return the stream of its next request."""
    for stream in (1, 3):
        sock.sendall((http2.HELLO if stream == 1 else b"") + request(stream))
        server.turn()
        there(sock)
    return 5


def request(stream: int, path: str = "/small") -> bytes:
    return http2.headers(stream, [*http2.GET[:3], (":path", path)])


def test_one_write_answers_one_read(signals: Signals) -> None:
    server = looped(signals)
    with server.peer() as sock:
        first = warm(server, sock)
        channel = next(iter(server.loop.peers.channels.values()))
        before = channel.count
        sock.sendall(b"".join(request(stream) for stream in range(first, first + 128, 2)))
        server.turn()
        assert len(heard(there(sock))) == 64
        assert channel.count - before == 64  # without its connection
        assert channel.is_idle
    server.turn()
    server.close()


def test_the_windows_hold(signals: Signals) -> None:
    server = looped(signals)
    with server.peer() as sock:
        first = warm(server, sock)
        sock.sendall(http2.setting((4, 3)) + request(first) + request(first + 2, "/empty"))
        server.turn()
        said = heard(there(sock))
        assert said[first][1:] == [b"Hel"]
        assert said[first + 2][1:] == ["end"]
        sock.sendall(http2.window(first, 2))
        server.turn()
        assert heard_rest(there(sock)) == b"lo"
    server.turn()
    server.close()


def heard_rest(data: bytes) -> bytes:
    return b"".join(frame.payload for frame in http2.parse(data) if frame.kind == http2.DATA)


def test_resets_count(signals: Signals) -> None:
    """A request that is answered at once and then reset counts as any other (CVE-2023-44487)."""
    server = looped(signals)
    with server.peer() as sock:
        first = warm(server, sock)
        ends: list[http2.Frame] = []
        for stream in range(first, first + 20_000, 2):  # most are answered; some of these rates leak meanwhile
            sock.sendall(request(stream) + http2.reset(stream))
            server.turn()
            ends = [frame for frame in http2.parse(there(sock)) if frame.kind == http2.GOAWAY]
            if ends:
                break
        assert [frame.code for frame in ends] == [http2.ErrorCode.ENHANCE_YOUR_CALM]
    server.turn()
    server.close()


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_a_piece_goes_out_before_the_next_call(signals: Signals, compiled: bool) -> None:
    """PEP 3333: a server delays no block; the next may take its time."""
    seen: list[bytes] = []

    def app(request: Request) -> Any:
        def pieces() -> Iterator[bytes]:
            yield b"one"
            seen.append(heard_rest(there(sock)))
            yield b"two"
            seen.append(heard_rest(there(sock)))
            yield b"three"

        return Response(b"Hello") if request.path == "/small" else Response(pieces())

    with built(compiled):
        server = looped(signals, app)
        with server.peer() as sock:
            first = warm(server, sock)
            sock.sendall(request(first, "/pieces") + request(first + 2))
            server.turn()
            assert seen[0] in (b"one", b"oneHello")
            assert seen[1].replace(b"Hello", b"") == b"two"
            assert heard_rest(there(sock)) == b"three"
        server.turn()
        server.close()


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_a_call_that_ends_its_own_client(signals: Signals, compiled: bool) -> None:
    """What a call has the loop do to its connection holds for the rest of the same read."""
    cuts: list[bool] = []

    def app(request: Request) -> Response:
        if cuts:
            request.driver.cut()
        return Response(b"Hello")

    with built(compiled):
        server = looped(signals, app)
        with server.peer() as sock:
            first = warm(server, sock)
            cuts.append(True)
            sock.sendall(request(first) + request(first + 2))
            server.turn()
            said = there(sock)
            assert http2.parse(said)[-1].code == http2.ErrorCode.ENHANCE_YOUR_CALM
            assert first + 2 not in heard(said)
        server.turn()
        server.close()


@pytest.fixture(scope="module")
def tls(certificate: Certificate) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    context = certificate.trusted
    context.set_alpn_protocols(["h2"])
    return server_context([str(certificate.pem)], [], "", ["h2", "http/1.1"]), context


@pytest.mark.parametrize("reads", [True, False])
def test_a_client_hears_the_same_in_tls(signals: Signals, tls: Any, reads: bool) -> None:
    steps = [("get", path, "plain") for path in ("/small", "/told", "/origin", "/most", "/stream", "/small") * 4]
    pieces = cut(frames_of(steps), [100, 300, 400])
    plain = outcome(signals, pieces, False, reads, tls=tls, logs=True)
    with_path = outcome(signals, pieces, True, reads, tls=tls, logs=True)
    assert [with_path[0], with_path[2], with_path[3][:-1]] == [plain[0], plain[2], plain[3][:-1]]


def test_the_origin(signals: Signals) -> None:
    server = looped(signals)
    with server.peer() as sock:
        first = warm(server, sock)
        for stream in (first, first + 2):
            sock.sendall(request(stream, "/origin"))
            server.turn()
            assert heard_rest(there(sock)) == repr((*PEER[:2], "http")).encode()
    server.turn()
    server.close()


@pytest.mark.parametrize("path", ["/wait", "/small"], ids=["a call that lasts", "quick calls"])
def test_a_call_that_keeps_the_thread_of_the_loop(tmp_path: Path, path: str) -> None:
    """Under --calls auto the loop moves on from the midst of a read, and the call gets its exchange then."""
    (tmp_path / "app.py").write_text(WAITING.format(gate=str(tmp_path / "gate")))
    gate = tmp_path / "gate"
    gate.touch()
    with (
        serving("run", f"{tmp_path / 'app.py'}:wsgi", "--calls", "auto") as server,
        Http2Client(server.address) as client,
    ):
        for _ in range(3):  # these heads are known then
            assert [client.ask("GET", known).body for known in ("/small", path)] == [b"/small", path.encode()]
        gate.unlink()
        said: list[bytes] = []
        client.transmit = said.append  # type: ignore[method-assign]
        early = [client.request("GET", "/small") for _ in range(3)]
        held = client.request("GET", path)
        late = [client.request("GET", "/small") for _ in range(3)]
        del client.transmit
        client.transmit(b"".join(said))
        assert {reply.body for reply in client.all_replies([*early, *late])} == {b"/small"}
        assert path == "/small" or not client.replies[held].over
        gate.touch()
        assert client.reply(held).body == path.encode()
        assert client.ask("GET", "/small").body == b"/small"
