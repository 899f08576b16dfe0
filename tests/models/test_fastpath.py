"""The fast path (models/fastpath): to a peer it is the plain way, byte for byte; and so it is to who counts."""

from __future__ import annotations

import gc
import re
import signal
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allcomers.apps.compression.codings import available
from allcomers.apps.compression.policy import Policy
from allcomers.apps.compression.response import CompressedHandler
from allcomers.apps.static.site import Site
from allcomers.apps.wsgi import app as wsgi
from allcomers.connection.http.http1 import Http1Connection
from allcomers.connection.proxy_header import with_proxy_header
from allcomers.errors import HttpError
from allcomers.models.driver.channel import Channel
from allcomers.protocol import compiled as leaf
from allcomers.protocol.encode import CONTINUE
from allcomers.protocol.message import Request, Response
from allcomers.protocol.proxy.forwarded import Proxies
from allcomers.server.tls.certificates import server_context
from allcomers.system.counters import ABORTED, ANSWERED, BYTES_IN, BYTES_OUT, CALLS, CLASSES, REQUESTS
from allcomers.system.signals import Signals
from support.certificates import Certificate
from support.harness import PATIENCE, serving, wait_for
from support.looped import Looped, built, cut, there
from support.strategies import bodies_in_chunks

pytestmark = pytest.mark.skipif(not leaf.COMPILED, reason="the leaf is not compiled, or ALLCOMERS_PURE is set")

TEXT = ("Content-Type", "text/plain")
MOST_HEADERS = 6


# ------------------------------------------------------------ answers of all kinds


def stream() -> Iterator[bytes]:
    yield b"one "
    yield b""
    yield b"two"


def broken() -> Iterator[bytes]:
    yield b"one "
    raise RuntimeError("in the middle")


def renamed(request: Request, method: str) -> Response:
    """What the app makes of a request is its own affair: the answer is to what was asked."""
    request.method, request.target, request.version = method, "/elsewhere", "1.0" if request.version == "1.1" else "1.1"
    return Response(b"renamed", headers=[TEXT])


def raising(error: BaseException) -> Any:
    raise error


ANSWERS: dict[str, Callable[[Request], Any]] = {
    "/small": lambda _: Response(b"Hello", headers=[TEXT]),
    "/empty": lambda _: Response(),
    "/told": lambda request: Response(repr((request.method, request.target, request.headers)).encode()),
    "/origin": lambda request: Response(repr((request.peer, request.port, request.scheme)).encode()),
    "/most": lambda _: Response(b"m" * 16384, headers=[TEXT]),
    "/more": lambda _: Response(b"m" * 16385, headers=[TEXT]),
    "/huge": lambda _: Response(b"h" * 400_000, headers=[TEXT]),
    "/stream": lambda _: Response(stream(), headers=[TEXT]),
    "/broken": lambda _: Response(broken(), headers=[TEXT]),
    "/pieces": lambda _: Response(iter([b"p" * 1024] * 16), headers=[TEXT]),
    "/large": lambda _: Response(iter([b"l" * 16384, b"m" * 16364, b"n" * 16365, b"o" * 40_000]), headers=[TEXT]),
    "/many": lambda _: Response((b"m" * 20_000 for _ in range(40)), headers=[TEXT]),
    "/measured": lambda _: Response(stream(), headers=[TEXT, ("Content-Length", "7")]),
    "/short": lambda _: Response(stream(), headers=[TEXT, ("Content-Length", "9")]),
    "/over": lambda _: Response(stream(), headers=[TEXT, ("Content-Length", "5")]),
    "/exact": lambda _: Response(stream(), headers=[TEXT, ("Content-Length", "4")]),
    "/unmeasured": lambda _: Response(stream(), headers=[TEXT, ("Content-Length", "five")]),
    "/told-off": lambda _: Response(iter([b"one", "two"]), headers=[TEXT]),
    "/tuple": lambda _: Response((b"one", b"", b"two"), headers=[TEXT]),
    "/nothing": lambda _: Response(iter(()), headers=[TEXT]),
    "/void": lambda _: Response(iter((b"", b"")), headers=[TEXT]),
    "/trailed": lambda _: Response(stream(), headers=[TEXT], trailers=[("A", "b")]),
    "/last": lambda _: Response(stream(), headers=[("Connection", "close")]),
    "/stale": lambda _: Response(stream(), headers=[("Date", "yesterday"), ("Server", "mine")]),
    "/unchanged": lambda _: Response(stream(), status=304),
    "/nameless": lambda _: Response(stream(), status=299),
    "/bad": lambda _: Response(stream(), headers=[("A", "b\r\nC: d")]),
    "/wide": lambda _: Response(stream(), headers=[("A", "b" * 20_000)]),
    "/wider": lambda _: Response(stream(), headers=[("A", "b" * 80_000)]),
    "/unclosed": lambda _: Response(stream(), close=lambda: raising(RuntimeError("in close"))),
    "/raises": lambda _: raising(RuntimeError("at once")),
    "/exits": lambda _: sys.exit(3),
    "/refuses": lambda _: raising(HttpError(403, "No.")),
    "/none": lambda _: None,
    "/array": lambda _: Response(bytearray(b"Hello")),
    "/204": lambda _: Response(status=204),
    "/bare": lambda _: Response(status=304, headers=[("ETag", '"a"')]),
    "/205": lambda _: Response(status=205),
    "/304": lambda _: Response(b"not sent", status=304),
    "/299": lambda _: Response(b"unknown", status=299),
    "/true": lambda _: Response(b"no number", status=True),
    "/12": lambda _: Response(b"no status", status=12),
    "/cookies": lambda _: Response(b"two", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
    "/dated": lambda _: Response(b"mine", headers=[("Date", "yesterday"), ("Server", "mine")]),
    "/length": lambda _: Response(b"mine", headers=[("content-length", "4")]),
    "/wrong": lambda _: Response(b"mine", headers=[("Content-Length", "5")]),
    "/closes": lambda _: Response(b"bye", headers=[("Connection", "close")]),
    "/split": lambda _: Response(b"no", headers=[("A", "b\r\nC: d")]),
    "/number": lambda _: Response(b"no", headers=[("A", 1)]),  # type: ignore[list-item]
    "/list": lambda _: Response(b"no", headers=[["A", "b"]]),  # type: ignore[list-item]
    "/long": lambda _: Response(b"long", headers=[("A", "b" * 20_000)]),
    "/close": lambda _: Response(b"told", close=lambda: None),
    "/head": lambda request: renamed(request, "HEAD"),
    "/get": lambda request: renamed(request, "GET"),
}


def handler(request: Request) -> Any:
    return ANSWERS[request.path](request)


# ------------------------------------------------------------ requests of all kinds


REPORTS = [
    "X-Forwarded-For: 203.0.113.7",
    "x-forwarded-for: 198.51.100.9, 203.0.113.8:4000 \t",
    "X-Forwarded-For: 203.0.113.9, 192.0.2.1",
    "X-Forwarded-For: nobody",
    "X-Forwarded-Proto: https",
    "Forwarded: for=203.0.113.10;proto=https",
]
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a trusted proxy": {"http": {"proxies": Proxies("192.0.2.1")}},
    "a proxy without trust": {"http": {"proxies": Proxies("192.0.2.2")}},
    "times": {"http": {"clock": monotonic}},
    "Server-Timing": {"http": {"clock": monotonic, "server_timing": True}},
    "all": {"http": {"clock": monotonic, "server_timing": True, "proxies": Proxies("*")}},
}
"""Of HTTP, as production turns them on."""


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is in order, or asks for something uncommon."""
    method = draw(st.sampled_from(["GET"] * 5 + ["HEAD", "OPTIONS", "get"]))
    target = draw(st.sampled_from(sorted(ANSWERS)) | st.just("/small"))
    version = draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    lines = draw(st.lists(st.sampled_from(["A: b", "Cookie: a=1", "Cookie: b=2", "X-Long: " + "x" * 3000]), max_size=3))
    lines += draw(st.lists(st.sampled_from(REPORTS), max_size=2))
    lines += draw(
        st.sampled_from([[], [], [], ["Connection: keep-alive"], ["Connection: KEEP-alive, te"], ["TE: trailers"]])
    )
    lines += draw(st.sampled_from([[], [], [], [], ["Connection: close"], ["Expect: 100-continue"]]))
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: example.org", *lines, "", ""]).encode()


GET = b"GET /small HTTP/1.1\r\nHost: example.org\r\n"
ODD = [
    b"\r\n" + GET + b"\r\n",
    b"POST /told HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nHello",
    b"POST /told HTTP/1.1\r\nHost: example.org\r\nContent-Length: 0\r\n\r\n",
    b"POST /told HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\nA: b\r\n\r\n",
    b"GET http://example.org/small HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"GET /small?a=b HTTP/1.1\r\nHost: EXAMPLE.org:80\r\n\r\n",
    b"GET /small HTTP/1.0\r\n\r\n",
    b"GET /small HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    GET + b"A: b\r\n" * (MOST_HEADERS - 1) + b"\r\n",
    GET + b"A: b\r\n" * MOST_HEADERS + b"\r\n",  # 431
    GET + b"X: " + b"x" * 40_000 + b"\r\n\r\n",  # 431
    b"GET /small HTTP/1.1\r\n\r\n",
    b"GET /small HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET /small HTTP/1.1\r\nHost: a b\r\n\r\n",
    GET + b"Host: example.org\r\n\r\n",
    GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    GET + b"A : b\r\n\r\n",
    GET + b"A: b\x01\r\n\r\n",
    GET + b"A: b\n\r\n",
    b"GET /small HTTP/2.0\r\nHost: example.org\r\n\r\n",
    b"GET /sm#all HTTP/1.1\r\nHost: example.org\r\n\r\n",
    b"nonsense\r\n\r\n",
]

SAID = st.lists(requests() | st.sampled_from(ODD), min_size=1, max_size=8).map(b"".join)
PLACES = st.lists(st.integers(0, 4000), max_size=4)


# ------------------------------------------------------------ the fast path and the plain way


@pytest.fixture(scope="module")
def signals() -> Iterator[Signals]:
    yield Signals(1.0)
    signal.set_wakeup_fd(-1)


def undated(said: bytes) -> bytes:
    undated = re.sub(rb"Date: [^\r]* GMT\r\n", b"Date\r\n", said)
    return re.sub(rb"Server-Timing: wait;dur=\d+\.\d{3}, app;dur=\d+\.\d{3}\r\n", b"Server-Timing\r\n", undated)


Tls = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def tls(certificate: Certificate) -> Tls:
    return server_context([str(certificate.pem)], [], "", ["http/1.1"]), certificate.trusted


def outcome(
    make: Callable[[], Any],
    signals: Signals,
    pieces: list[bytes],
    reads: bool,
    compiled: bool,
    tls: Tls | None = None,
    logs: bool = False,
    pools: bool = False,
    **options: Any,
) -> Any:
    """What a peer hears, what the app raised, what was noted, and what was counted."""
    with built(compiled):
        looped = Looped(make(), signals, tls, logs, pools, max_headers=MOST_HEADERS, **options)
        assert looped.has_lane is compiled
        said = [undated(looped.talk(pieces, reads=reads)) for _ in range(2)]  # lines that come again are known
        assert looped.peers == 0
        cells = looped.counters.cells
        slots = [REQUESTS, ABORTED, CALLS, *range(ANSWERED, ANSWERED + CLASSES)]
        if tls is None and not options.get("http", {}).get("server_timing"):  # tickets, records, times: of other sizes
            slots += [BYTES_IN, BYTES_OUT]
        counted = [cells[slot] for slot in slots]
        looped.close()
        return said, [repr(error) for error in looped.errors], looped.lines, counted


@settings(max_examples=200)
@given(SAID, PLACES, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(sorted(OPTIONS)))
@example(b"".join(ODD[:9]), [], True, True, False, "all")
@example((GET + b"\r\n") * 200, [], True, True, False, "all")
@example((GET.replace(b"small", b"most") + b"\r\n") * 100, [1000], False, True, True, "all")
@example((GET.replace(b"small", b"huge") + b"\r\n" + GET + b"\r\n") * 3, [], False, True, True, "all")
def test_a_peer_hears_the_same(
    signals: Signals, said: bytes, places: list[int], reads: bool, logs: bool, pools: bool, options: str
) -> None:
    pieces = cut(said, places)
    chosen = {"logs": logs, "pools": pools} | OPTIONS[options]
    plain = outcome(lambda: handler, signals, pieces, reads, compiled=False, **chosen)
    assert outcome(lambda: handler, signals, pieces, reads, compiled=True, **chosen) == plain


@settings(max_examples=40)
@given(SAID, PLACES, st.booleans())
@example(b"".join(ODD[:9]), [], True)
@example((GET + b"\r\n") * 200, [], True)
def test_a_peer_hears_the_same_whose_calls_have_a_limit(
    signals: Signals, said: bytes, places: list[int], reads: bool
) -> None:
    pieces = cut(said, places)
    chosen = {"logs": True, "call_limit": 30.0}
    plain = outcome(lambda: handler, signals, pieces, reads, compiled=False, **chosen)
    assert outcome(lambda: handler, signals, pieces, reads, compiled=True, **chosen) == plain


@pytest.mark.parametrize("options", sorted(OPTIONS))
@pytest.mark.parametrize("path", sorted(ANSWERS))
def test_each_answer_with_each_option(signals: Signals, path: str, options: str) -> None:
    asked = "".join(f"GET {path} HTTP/1.1\r\nHost: example.org\r\n{line}\r\n\r\n" for line in REPORTS)
    pieces = cut(asked.encode(), [100, 300])
    plain = outcome(lambda: handler, signals, pieces, True, compiled=False, logs=True, **OPTIONS[options])
    assert outcome(lambda: handler, signals, pieces, True, compiled=True, logs=True, **OPTIONS[options]) == plain


@settings(max_examples=100)
@given(SAID, PLACES, st.booleans(), st.booleans())
@example(b"".join(ODD[:9]), [], True, False)
@example((GET + b"\r\n") * 200, [], True, False)
@example((GET.replace(b"small", b"most") + b"\r\n") * 100, [1000], False, True)
@example((GET.replace(b"small", b"huge") + b"\r\n" + GET + b"\r\n") * 3, [], False, True)
def test_a_peer_hears_the_same_in_tls(
    signals: Signals, tls: Tls, said: bytes, places: list[int], reads: bool, pools: bool
) -> None:
    pieces = cut(said, places)
    plain = outcome(lambda: handler, signals, pieces, reads, compiled=False, tls=tls, logs=True, pools=pools)
    assert outcome(lambda: handler, signals, pieces, reads, compiled=True, tls=tls, logs=True, pools=pools) == plain


@pytest.mark.parametrize("pools", [False, True], ids=["inline", "pool"])
@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_a_session_ticket_comes_with_the_first_response(
    signals: Signals, tls: Tls, compiled: bool, pools: bool
) -> None:
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls[1].wrap_bio(received, sent, server_hostname="localhost")
    with built(compiled):
        looped = Looped(handler, signals, tls, pools=pools)
        with looped.peer() as sock:

            def exchange() -> bytes:
                sock.sendall(sent.read())
                looped.turn()
                received.write(data := there(sock))
                return data

            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            exchange()
            client.do_handshake()
            assert exchange() == b""  # nothing is said to a client that has not asked
            client.write(GET + b"Connection: close\r\n\r\n")
            exchange()
            assert client.read(65536).startswith(b"HTTP/1.1 200 OK\r\n")
            assert client.session is not None
            assert client.session.has_ticket
            assert client.read(1) == b""  # close_notify: not a cut
            assert sock.recv(1) == b""
        looped.close()


@pytest.mark.parametrize("pools", [False, True], ids=["inline", "pool"])
@pytest.mark.parametrize("odd", range(len(ODD)))
@pytest.mark.parametrize("path", sorted(ANSWERS))
def test_each_answer_before_and_after_each_odd_request(signals: Signals, odd: int, path: str, pools: bool) -> None:
    asked = f"GET {path} HTTP/1.1\r\nHost: example.org\r\n\r\n".encode()
    pieces = [GET + b"\r\n", asked, asked + ODD[odd] + asked]
    plain = outcome(lambda: handler, signals, pieces, True, compiled=False, pools=pools)
    assert outcome(lambda: handler, signals, pieces, True, compiled=True, pools=pools) == plain


FILE = Path(__file__).with_name("test_freed.py")


def wraps(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](FILE.open("rb"))


def announced(connect: Any) -> Any:
    return with_proxy_header(connect, None, b"")


FAST: dict[str, dict[str, Any]] = {
    **OPTIONS,
    "an access log": {"logs": True},
    "calls with a limit": {"call_limit": 30.0},
    "a PROXY header": {"front": announced},
}


@pytest.mark.parametrize("path", ["/small", "/bare", "/204", "/205", "/origin", "/file", "/site", "/coded"])
@pytest.mark.parametrize("options", sorted(FAST))
def test_a_common_request_is_answered_by_the_fast_path(
    signals: Signals, options: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs its connection neither for what production turns on, nor for such an answer."""
    (tmp_path / "site").write_text("a small file")
    text = CompressedHandler(
        lambda _: Response(b"<p>" * 500, headers=[("Content-Type", "text/html")]), Policy(available())
    )
    others = {
        "/file": wsgi.handler(wraps, report=lambda error, request: None, inline=True),
        "/site": Site(tmp_path),
        "/coded": text,
    }
    asked = f"GET {path} HTTP/1.1\r\nHost: example.org\r\nAccept-Encoding: gzip\r\n{REPORTS[0]}\r\n\r\n".encode()
    with built(compiled=True):
        looped = Looped(others.get(path, handler), signals, **FAST[options])
        peer = looped.peer()
        header = b"PROXY TCP4 203.0.113.1 203.0.113.2 4000 80\r\n" if "front" in FAST[options] else b""
        first = ask(looped, peer, header + asked)
        if path == "/site":
            tag = re.search(rb"ETag: ([^\r]*)", first)
            assert tag
            asked = asked[:-2] + b"If-None-Match: " + tag[1] + b"\r\n\r\n"
        monkeypatch.setattr(Channel, "drive", lambda *_: pytest.fail("it was driven by its connection"))
        second = ask(looped, peer, asked)
        monkeypatch.undo()
        assert second.startswith(b"HTTP/1.1 304" if path == "/site" else first[:13])
        peer.close()
        looped.close()


# ------------------------------------------------------------ WSGI

PLAIN = [("Content-Type", "text/plain"), ("X-Own", "a")]


def environ_of(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """What the app was told, which is its own to change."""
    start_response("200 OK", PLAIN)
    told = {name: value for name, value in environ.items() if type(value) in (str, bool, tuple)}
    told["wsgi.input"] = environ["wsgi.input"].read()
    environ.clear()
    return [repr(sorted(told.items())).encode()]


def said(*answers: tuple[Any, Any], blocks: Any = (b"Hello",), make: Callable[[Any], Any] = list) -> Any:
    """An app that calls start_response with each of `answers`, and returns what `make` makes of `blocks`."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        for answer in answers:
            start_response(*answer)
        return make(blocks)

    return app


def wrapped(
    use: Callable[[Any], Any] = lambda file: None, fields: Any = (*PLAIN,), path: Any = FILE
) -> Callable[[dict[str, Any], Any], Any]:
    """An app that returns a file, of which it makes some use before."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", list(fields))
        file = Path(path).open("rb")
        use(file)
        return environ["wsgi.file_wrapper"](file)

    return app


def writes(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", PLAIN)(b"written ")
    return [b"returned"]


def changes_its_mind(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", PLAIN)
    try:
        raise ValueError
    except ValueError:
        start_response("500 No", PLAIN, sys.exc_info())
    return [b"No."]


def fails(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", PLAIN)
    return raising(RuntimeError("begun"))


def exits(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return sys.exit(3)


def late(start_response: Any, first: bytes = b"one ", written: bytes = b"") -> Iterator[bytes]:
    """A generator that says how it responds with its first block."""
    write = start_response("200 OK", PLAIN)
    if written:
        write(written)
    yield first
    yield b"two"


class Closing:
    """An iterator of an app's, whose close() fails."""

    def __init__(self, blocks: Any, is_odd: bool = False) -> None:
        self.blocks = iter(blocks)
        self.is_odd = is_odd

    def __repr__(self) -> str:
        return "Closing"

    def __iter__(self) -> Any:
        return None if self.is_odd else self

    def __next__(self) -> bytes:
        return next(self.blocks)  # type: ignore[no-any-return]

    def close(self) -> None:
        raise RuntimeError("in close")


APPS = {
    "/environ": environ_of,
    "/list": said(("200 OK", PLAIN)),
    "/tuple": said(("200 OK", PLAIN), make=tuple),
    "/generator": said(("200 OK", PLAIN), make=lambda blocks: (block for block in blocks)),
    "/generators": said(("200 OK", PLAIN), blocks=[b"one ", b"", b"two"] * 9, make=lambda blocks: (b for b in blocks)),
    "/late": lambda environ, start_response: late(start_response),
    "/later": lambda environ, start_response: late(start_response, first=b""),
    "/not-begun": said(make=iter),
    "/written": lambda environ, start_response: late(start_response, written=b"written "),
    "/ends": said(("200 OK", PLAIN), blocks=[], make=iter),
    "/empties": said(("200 OK", PLAIN), blocks=[b"", b""], make=iter),
    "/texts": said(("200 OK", PLAIN), blocks=[b"one", "two"], make=iter),
    "/only-text": said(("200 OK", PLAIN), blocks=["one"], make=iter),
    "/measured": said(("200 OK", [*PLAIN, ("Content-Length", "6")]), blocks=[b"one", b"two"], make=iter),
    "/first-is-all": said(("200 OK", [*PLAIN, ("Content-Length", "3")]), blocks=[b"one", b"two"], make=iter),
    "/closing": said(("200 OK", PLAIN), make=Closing),
    "/odd-iterator": said(("200 OK", PLAIN), make=lambda _: Closing(b"", is_odd=True)),
    "/dated-pieces": said(("200 OK", [("Date", "yesterday"), ("X-Own", "b")]), make=iter),
    "/two": said(("200 OK", PLAIN), blocks=[b"one ", b"two"]),
    "/nothing": said(("200 OK", PLAIN), blocks=[]),
    "/empty": said(("200 OK", PLAIN), blocks=[b""]),
    "/text": said(("200 OK", PLAIN), blocks=["Hello"]),
    "/array": said(("200 OK", PLAIN), blocks=[bytearray(b"Hello")]),
    "/none": said(("200 OK", PLAIN), make=lambda _: None),
    "/most": said(("200 OK", PLAIN), blocks=[b"x" * 16385]),
    "/fine": said(("299 Fine", PLAIN)),
    "/204": said(("204 No Content", PLAIN), blocks=[b""]),
    "/304": said(("304 Not Modified", PLAIN)),
    "/bare": said(("200", PLAIN)),
    "/wrong": said(("2000 No", PLAIN)),
    "/bytes": said((b"200 OK", PLAIN)),
    "/length": said(("200 OK", [*PLAIN, ("Content-Length", "5")])),
    "/longer": said(("200 OK", [*PLAIN, ("Content-Length", "6")])),
    "/shorter": said(("200 OK", [*PLAIN, ("Content-Length", "4")])),
    "/lengths": said(("200 OK", [("Content-Length", "5"), ("content-length", "5")])),
    "/number": said(("200 OK", [("Content-Length", 5)])),
    "/cookies": said(("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])),
    "/dated": said(("200 OK", [("Date", "yesterday"), ("Server", "mine")])),
    "/hop": said(("200 OK", [("Connection", "close")])),
    "/split": said(("200 OK", [("A", "b\r\nC: d")])),
    "/lists": said(("200 OK", [["A", "b"]])),
    "/headers": said(("200 OK", tuple(PLAIN))),
    "/twice": said(("200 OK", PLAIN), ("200 OK", PLAIN)),
    "/never": said(),
    "/writes": writes,
    "/mind": changes_its_mind,
    "/fails": fails,
    "/exits": exits,
    "/file": wraps,
    "/file-begun": wrapped(lambda file: file.read(10)),
    "/file-read": wrapped(lambda file: file.read()),
    "/file-closed": wrapped(lambda file: file.close()),
    "/file-long": wrapped(fields=[*PLAIN, ("Content-Length", "100000")]),
    "/file-short": wrapped(fields=[*PLAIN, ("Content-Length", "10")]),
    "/file-large": wrapped(path=__file__),
}


def wsgi_handler() -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        return APPS[environ["PATH_INFO"]](environ, start_response)

    return wsgi.handler(app, report=lambda error, request: None, inline=True)


LINES = st.lists(
    st.tuples(
        st.sampled_from(["A", "a", "Cookie", "COOKIE", "Content-Type", "X-Own", "Proxy", "TE", "a_b", "!", "Host2"])
        | st.just("X-Forwarded-For"),
        st.sampled_from(["", "b", "b ", "\tb \t ", "a=1", "\xe9", "a, b", "x" * 2100]),
    ),
    max_size=4,
).map(lambda fields: "".join(f"{name}: {value}\r\n" for name, value in fields))
TARGETS = st.sampled_from([*sorted(APPS), "/environ", "/environ?", "/environ?a=%20b?c", "/%65nviron?%e9"])
HEADS = st.tuples(st.sampled_from(["GET", "GET", "HEAD", "PUT"]), TARGETS, st.integers(0, 1))


@settings(max_examples=150)
@given(LINES, st.lists(HEADS, min_size=2, max_size=6), PLACES, st.sampled_from(sorted(OPTIONS)))
@example("", [("GET", path, 1) for path in APPS], [], "nothing")
@example("", [("HEAD", path, 1) for path in APPS], [], "nothing")
@example("A: b\r\n", [("GET", path, 0) for path in APPS for _ in range(2)], [], "nothing")
@example("".join(f"{line}\r\n" for line in REPORTS[:5:4]), [("GET", path, 1) for path in APPS], [], "all")
def test_a_wsgi_app_is_told_the_same(
    signals: Signals, lines: str, heads: list[tuple[str, str, int]], places: list[int], options: str
) -> None:
    """Field lines that come again are not read again, whatever stands above them."""
    asked = "".join(
        f"{method} {target} HTTP/1.{minor}\r\nHost: example.org\r\nConnection: keep-alive\r\n{lines}\r\n"
        for method, target, minor in heads
    )
    pieces = cut(asked.encode("latin-1"), places)
    plain = outcome(wsgi_handler, signals, pieces, True, compiled=False, **OPTIONS[options])
    assert outcome(wsgi_handler, signals, pieces, True, compiled=True, **OPTIONS[options]) == plain


# ------------------------------------------------------------ time, and the end of it

ASKED = GET + b"\r\n"


@pytest.fixture
def looped(signals: Signals) -> Iterator[Looped]:
    with built(compiled=True):
        made = Looped(handler, signals)
        yield made
        made.close()


def ask(looped: Looped, peer: socket.socket, request: bytes = ASKED) -> bytes:
    peer.send(request)
    looped.turn()
    return peer.recv(65536)


def test_whoever_asks_after_a_file_has_changed_gets_the_new_one(signals: Signals, tmp_path: Path) -> None:
    """Also where the change comes between two requests of one read."""
    counters, site, numbers = tmp_path / "index.html", Site(tmp_path), count()
    get, change = ASKED.replace(b"/small", b"/"), ASKED.replace(b"/small", b"/change")

    def changing(request: Request) -> Response:
        if request.path == "/change":
            counters.write_text(f"changed {next(numbers)}")
        return site(request)

    with built(compiled=True):
        looped = Looped(changing, signals)
        peers = [looped.peer() for _ in range(3)]
        for number in range(20):
            counters.write_text(f"written {number}")
            for peer in peers:
                assert ask(looped, peer, get).endswith(b"written %d" % number)
            both = ask(looped, peers[0], get + change + get)
            assert b"written %d" % number in both
            assert both.endswith(b"changed %d" % number)
        for peer in peers:
            peer.close()
        looped.close()


def is_open(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) != b""
    except BlockingIOError:
        return True


@pytest.mark.parametrize(("head_timeout", "keep_alive"), [(10.0, 75.0), (10.0, 2.0)])
def test_a_peer_that_was_answered_has_its_time(signals: Signals, head_timeout: float, keep_alive: float) -> None:
    """Whether that is longer than it had for its first word, or shorter."""
    with built(compiled=True):
        looped = Looped(handler, signals, head_timeout=head_timeout, keep_alive=keep_alive)
        peer = looped.peer()
        for _ in range(3):
            assert ask(looped, peer).endswith(b"Hello")
        now = monotonic()
        looped.loop.turn(now + keep_alive - 1)
        assert is_open(peer)
        looped.loop.turn(now + keep_alive + 1)
        assert not is_open(peer)
        peer.close()


def test_a_peer_that_asks_again_has_its_time_again(looped: Looped) -> None:
    peer = looped.peer()
    ask(looped, peer)
    before = monotonic()
    wait_for(lambda: monotonic() > before, "the clock to move on")
    ask(looped, peer)
    looped.loop.turn(before + looped.limits.keep_alive)
    assert is_open(peer)
    assert ask(looped, peer).endswith(b"Hello")
    peer.close()


def test_a_call_may_have_the_loop_serve_others(signals: Signals) -> None:
    """Not that it should; but an event loop that was made to be entered again does so."""
    others: list[bytes] = []

    def nested(request: Request) -> Response:
        if request.path == "/nested":
            others.append(ask(looped, other))
        return Response(request.path.encode())

    with built(compiled=True):
        looped = Looped(nested, signals)
        other, peer = looped.peer(), looped.peer()
        ask(looped, other)
        for _ in range(3):
            assert ask(looped, peer, ASKED.replace(b"/small", b"/nested")).endswith(b"/nested")
        assert [answer[-6:] for answer in others] == [b"/small"] * 3
        assert ask(looped, other).endswith(b"/small")
        other.close()
        peer.close()
        looped.turn()


def test_nothing_holds_who_was_let_go_with_an_answer_still_to_send(looped: Looped) -> None:
    def connections() -> int:
        gc.collect()
        # by type(): isinstance() asks an object for its __class__, and lazy objects of a library then load themselves
        return sum(issubclass(type(one), Http1Connection) for one in gc.get_objects())

    seen = []
    ask_last = b"GET /most HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n"
    for _ in range(4):
        peer = looped.peer()
        (channel,) = looped.loop.peers.channels.values()
        channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer.send(ask_last)
        looped.turn()
        said = peer.recv(1 << 20)
        assert len(said) < 16384  # the rest is for the Loop
        looped.turn()
        while piece := peer.recv(1 << 20):
            said += piece
            looped.turn()
        assert said.endswith(b"\r\n\r\n" + b"m" * 16384)
        peer.close()
        looped.turn()
        assert looped.peers == 0
        del channel
        seen.append(connections())
    assert len(set(seen)) == 1  # the loop remembers whose turn it was


# ------------------------------------------------------------ a body behind its head


def post(size: int, fields: str = "", path: str = "/body") -> tuple[bytes, bytes]:
    """A head, and the body that it announces."""
    head = f"POST {path} HTTP/1.1\r\nHost: example.org\r\n{fields}Content-Length: {size}\r\n\r\n"
    return head.encode(), (b"0123456789" * (size // 10 + 1))[:size]


def in_packets(head: bytes, body: bytes) -> list[list[bytes]]:
    """What a client may send, packet by packet: each time after a request that makes its lines known."""
    known = b"".join(post(3))
    half = len(body) // 2
    return [
        [known, known, head, body],
        [known, known, head + body[:half], body[half:], known],
        [known, known + head, body + known + head, body],
        [known, known, head, body[:1], body[1:half], body[half:] + known],
        [known, known, head, body[:half]],
        [known, known, head],
    ]


def echo(request: Request) -> Response:
    begins, body = request.stream.read(10), request.body  # which has all, and leaves the stream where it is
    assert begins + request.stream.read() == body
    return Response(f"{request.method} {len(body)} ".encode() + body[-20:], headers=[TEXT])


@pytest.mark.parametrize("pools", [False, True], ids=["inline", "pool"])
@pytest.mark.parametrize("fields", ["", "Connection: close\r\n", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize("size", [1, 100, 5000, 65_400, 70_000, 2_000_000])
def test_a_body_behind_its_head(signals: Signals, size: int, fields: str, pools: bool) -> None:
    for pieces in in_packets(*post(size, fields)):
        plain = outcome(lambda: echo, signals, pieces, True, compiled=False, logs=True, pools=pools)
        assert outcome(lambda: echo, signals, pieces, True, compiled=True, logs=True, pools=pools) == plain


@settings(max_examples=150)
@given(bodies_in_chunks(), PLACES, st.booleans(), st.booleans(), st.sampled_from([None, 6000]))
def test_a_body_in_chunks(
    signals: Signals, coded: bytes, places: list[int], pools: bool, follows: bool, most: int | None
) -> None:
    known, head = b"".join(post(3)), b"POST /body HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + coded + (known if follows else b"")
    pieces = [known, known, *cut(data, places)]
    limits = {} if most is None else {"max_body": most}
    plain = outcome(lambda: echo, signals, pieces, True, compiled=False, logs=True, pools=pools, **limits)
    assert outcome(lambda: echo, signals, pieces, True, compiled=True, logs=True, pools=pools, **limits) == plain


@pytest.mark.parametrize("compiled", [True, False])
def test_a_body_that_is_late(signals: Signals, compiled: bool) -> None:
    head, body = post(1000)
    with built(compiled):
        looped = Looped(echo, signals)
        peer = looped.peer()
        for _ in range(3):
            assert b"POST 1000" in ask(looped, peer, head + body)
        peer.send(head + body[:10])
        now = monotonic()
        looped.turn()
        looped.loop.turn(now + 4.9)
        assert is_open(peer)
        looped.loop.turn(now + 5.1)
        assert peer.recv(65536).startswith(b"HTTP/1.1 408 ")
        peer.close()
        looped.turn()
        assert looped.peers == 0
        looped.close()


@pytest.mark.parametrize("fields", ["", "Expect: 100-continue\r\n"])
def test_a_body_that_comes_when_the_server_leaves(signals: Signals, fields: str) -> None:
    head, body = post(1000, fields)
    with built(compiled=True):
        looped = Looped(echo, signals)
        peer = looped.peer()
        for _ in range(3):
            ask(looped, peer, head + body)
        peer.send(head)
        looped.turn()
        if fields:
            assert peer.recv(65536) == CONTINUE
        (channel,) = looped.loop.peers.channels.values()
        assert channel.held == head
        for channel in looped.loop.peers.channels.values():
            channel.sync()
            channel.conn.drain(monotonic())
        answer = ask(looped, peer, body)
        assert answer.startswith(b"HTTP/1.1 200 ")  # 100 Continue is not said twice
        assert b"POST 1000" in answer
        assert b"Connection: close\r\n" in answer
        peer.close()
        looped.turn()
        looped.close()


# ------------------------------------------------------------ while a call runs in another thread


class Gate:
    """A handler whose calls wait until they may go on; compiled or in plain Python, it is to be the same."""

    def __init__(self, signals: Signals, **limits: Any) -> None:
        self.opens = threading.Event()
        self.looped = Looped(self._handle, signals, pools=True, **limits)
        self.peer = self.looped.peer()
        assert ask(self.looped, self.peer, self._asked("/first")).endswith(b"/first")  # it is at rest from here on

    def _asked(self, path: str, more: str = "") -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: example.org\r\n{more}\r\n".encode()

    def _handle(self, request: Request) -> Response:
        if request.path == "/gate":
            self.opens.wait(PATIENCE)
        return Response(request.path.encode() * (2000 if request.target.endswith("long") else 1))

    def ask(self, path: str = "/gate", more: str = "") -> None:
        """… and come back while the call runs."""
        self.peer.send(self._asked(path, more))
        self.looped.turn(waits=False)

    def answer(self) -> bytes:
        """What the peer hears when its calls may go on."""
        self.opens.set()
        self.looped.turn()
        return undated(_all_of(self.peer))

    def counted(self) -> list[int]:
        """Requests, those of them that were aborted, calls that are over."""
        return [self.looped.counters.cells[slot] for slot in (REQUESTS, ABORTED, CALLS)]

    def close(self) -> None:
        self.opens.set()
        self.peer.close()
        self.looped.turn()
        assert self.looped.peers == 0
        self.looped.close()


def _all_of(peer: socket.socket) -> bytes:
    said = b""
    with suppress(BlockingIOError, ConnectionResetError):
        while piece := peer.recv(1 << 20):
            said += piece
    return said


@pytest.fixture(params=[True, False], ids=["lane", "plain"])
def gate(request: pytest.FixtureRequest, signals: Signals) -> Iterator[Gate]:
    with built(compiled=request.param):
        made = Gate(signals, keep_alive=20.0, head_timeout=20.0)
        yield made
        made.close()


def test_it_is_answered_when_its_call_is_over(gate: Gate) -> None:
    for _ in range(3):
        gate.opens.clear()
        gate.ask()
        assert _all_of(gate.peer) == b""
        assert gate.answer().endswith(b"Content-Length: 5\r\n\r\n/gate")
    assert gate.counted() == [4, 0, 4]


def test_what_it_asks_meanwhile_is_answered_behind(gate: Gate) -> None:
    gate.ask()
    gate.ask("/second")
    gate.ask("/third", "Connection: close\r\n")
    said = gate.answer()
    assert [said.count(path) for path in (b"/gate", b"/second", b"/third")] == [1, 1, 1]
    assert said.index(b"/gate") < said.index(b"/second") < said.index(b"/third")
    assert gate.counted() == [4, 0, 4]


def test_it_counts_as_asked_from_the_first(gate: Gate) -> None:
    gate.ask()
    assert gate.counted()[:2] == [2, 0]
    gate.looped.loop.turn(monotonic() + 1)
    gate.ask("/second")  # its connection deals with it now
    assert gate.counted()[:2] == [2, 0]
    gate.answer()
    assert gate.counted()[:2] == [3, 0]


def test_who_leaves_meanwhile_is_gone(gate: Gate) -> None:
    gate.ask()
    gate.peer.close()
    gate.looped.turn(waits=False)
    gate.opens.set()
    gate.looped.turn()
    assert gate.looped.peers == 0
    assert gate.counted() == [2, 1, 2]


def test_a_call_may_last_longer_than_a_peer_may_be_idle(gate: Gate) -> None:
    gate.ask()
    gate.looped.loop.turn(monotonic() + 1000)
    assert is_open(gate.peer)
    assert gate.answer().endswith(b"/gate")
    gate.looped.loop.turn(monotonic() + 19)
    assert is_open(gate.peer)
    gate.looped.loop.turn(monotonic() + 21)
    assert not is_open(gate.peer)


def test_the_last_answer_says_so(gate: Gate) -> None:
    gate.ask(more="Connection: close\r\n")
    said = gate.answer()
    assert b"\r\nConnection: close\r\n" in said
    assert said.endswith(b"/gate")
    assert not is_open(gate.peer)
    assert gate.looped.peers == 0


def test_an_answer_that_the_kernel_does_not_take_at_once(gate: Gate) -> None:
    (channel,) = gate.looped.loop.peers.channels.values()
    channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    gate.ask("/gate?long")
    said = gate.answer()
    assert len(said) < 10_000
    gate.looped.turn()
    while piece := _all_of(gate.peer):
        said += piece
        gate.looped.turn()
    assert said.endswith(b"\r\n\r\n" + b"/gate" * 2000)
    gate.ask("/second")
    assert gate.answer().endswith(b"/second")


# ------------------------------------------------------------ servers


@pytest.fixture(scope="module")
def app_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("app") / "app.py"
    path.write_text(
        "def app(environ, start_response):\n"
        '    start_response("200 OK", [("Content-Type", "text/plain")])\n'
        "    return [b'x' * int(environ['QUERY_STRING'] or 1)]\n"
    )
    return f"{path}:app"


MODELS = ["select", "poll", "epoll", "epoll-et", "asyncio"]


def heard(sock: socket.socket, count: int, size: int) -> bytes:
    """The answers to `count` requests, each of which has a body of `size`."""
    data = b""
    while data.count(b"HTTP/1.1 200 OK\r\n") < count or not data.endswith(b"\r\n\r\n" + b"x" * size):
        piece = sock.recv(1 << 20)
        assert piece, "the server has closed"
        data += piece
    return data


@pytest.mark.parametrize("model", MODELS)
def test_peers_that_reset_and_peers_that_do_not_read(app_file: str, model: str) -> None:
    with serving("run", app_file, "--model", model, "--calls", "inline") as server:
        for _ in range(30):
            with server.connect() as sock:
                sock.sendall(ASKED)
                heard(sock, 1, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(ASKED.replace(b"/small", b"/?16000") * 50)  # and reset with what is unread
        with server.connect() as slow, server.connect() as quick:
            slow.sendall(ASKED)
            heard(slow, 1, 1)
            slow.sendall(ASKED.replace(b"/small", b"/?16000") * 300)
            for _ in range(20):
                quick.sendall(ASKED)
                heard(quick, 1, 1)
            assert heard(slow, 300, 16000).count(b"HTTP/1.1 200 OK\r\n") == 300


@pytest.mark.parametrize("model", ["epoll", "asyncio"])
def test_who_has_been_answered_makes_room(app_file: str, model: str) -> None:
    with (
        serving("run", app_file, "--model", model, "--calls", "inline", "--max-connections", "1") as server,
        server.connect() as first,
    ):
        first.sendall(ASKED)
        heard(first, 1, 1)
        with server.connect() as second:
            second.sendall(ASKED)
            heard(second, 1, 1)
            assert first.recv(1) == b""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("model", ["epoll", "asyncio"])
def test_nobody_is_cut_off_by_a_signal(app_file: str, model: str, signum: int) -> None:
    """A peer that asks again and again gets all its answers, the last of which says that it is."""
    with serving("run", app_file, "--model", model, "--calls", "inline") as server, server.connect() as sock:
        for at in count():
            sock.sendall(ASKED)
            answer = heard(sock, 1, 1)
            if at == 20:
                server.send(signum)
            if b"\r\nConnection: close\r\n" in answer:
                break
        assert sock.recv(1) == b""
        if signum == signal.SIGHUP:
            with server.connect() as again:
                again.sendall(ASKED)
                heard(again, 1, 1)
