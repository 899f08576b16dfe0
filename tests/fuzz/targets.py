"""What is fuzzed: for each target a check of any bytes, and bytes to begin with.

A check raises nothing but AssertionError: a parser that raises what it does not document has failed, too. Whole and
byte by byte, compiled and plain, the outcome is the same.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple

from allcomers.config.limits import InputLimits
from allcomers.errors import HttpError, PeerError
from allcomers.protocol import head as heads
from allcomers.protocol import multipart
from allcomers.protocol.http2.events import RequestReceived
from allcomers.protocol.message import Request
from allcomers.protocol.proxy import proxy_header
from allcomers.protocol.proxy.forwarded import Proxies
from allcomers.protocol.tls import client_hello
from allcomers.protocol.websocket.handshake import Offer
from allcomers.protocol.websocket.session import Closed, accept
from support import http2
from support.builds import outcome, plain
from support.frames import BINARY, CLOSE, CONT, PING, TEXT, closing, deflated, frame, said
from support.streams import cut, each, read

LIMITS: Final = {"max_head": 400, "max_headers": 6, "max_body": 1000}
"""Small ones: what a fuzzer finds is short."""

CHUNKED: Final = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


_PART: Final = b'--x\r\nContent-Disposition: form-data; name="a"'

_FORMS: Final = [
    _PART + b"\r\n\r\n1\r\n" + _PART + b'; filename="../b.txt"\r\nContent-Type: a/b\r\n\r\n2\r\n--x--\r\n',
    b"preamble\r\n" + _PART + b"\r\nContent-Length: 1\r\n\r\n1\r\n--x--epilogue",
    _PART + b'; filename=""\r\n\r\n\r\n--x--',
    b"--x--",
]


class Target(NamedTuple):
    check: Callable[[bytes], object]
    seeds: list[bytes]


# ---------------------------------------------------------------- requests


def head(data: bytes) -> object:
    """Check requests, and the responses that the same bytes may be."""
    with plain():
        expected = outcome([data], **LIMITS)
    heads.remember(heads.known_hosts, b"a", "a")  # without a Host that it knows, the leaf reads nothing
    found = outcome([data], **LIMITS)
    assert found == expected, "compiled, the requests are others"
    whole = read([data], end=True, **LIMITS)
    assert read(each(data), end=True, **LIMITS) == whole, "byte by byte, the requests are others"
    responses = read([data], ["GET", "HEAD", "GET"], end=True, **LIMITS)
    assert read(each(data), ["GET", "HEAD", "GET"], end=True, **LIMITS) == responses, "as are the responses"
    return whole.refusal, responses.refusal


def chunks(data: bytes) -> object:
    """Check the body of a request in chunks, and what follows it."""
    whole = read([CHUNKED + data], end=True, **LIMITS)
    assert read([CHUNKED, *each(data)], end=True, **LIMITS) == whole, "byte by byte, the body is another"
    return whole.refusal


# ---------------------------------------------------------------- where a client is


def proxy(data: bytes) -> object:
    """Check a PROXY header: the first prefix that has a result has that of the whole."""

    def parsed(size: int) -> object:
        try:
            return proxy_header.parse(data[:size])
        except PeerError as error:
            return str(error)

    whole = parsed(len(data))
    early = next((found for size in range(1, len(data)) if (found := parsed(size)) is not None), None)
    assert early is None or early == whole or isinstance(early, str) is isinstance(whole, str) is True
    if isinstance(whole, proxy_header.Header):
        assert whole.size <= len(data)
        assert whole.address is None or whole.address == ("", 0) or ip_address(whole.address[0])
    return whole if isinstance(whole, str) else type(whole)


_PROXIES: Final = Proxies("10.0.0.0/8, ::1, unix")
_NAMES: Final = (b"X-Forwarded-For", b"Forwarded", b"X-Forwarded-Proto", b"x-forwarded-for", b"forwarded")


def forwarded(data: bytes) -> object:
    """Check the fields of proxies, one a line, of which the first byte chooses the name."""
    lines = [re.sub(rb"[\x00-\x08\x0a-\x1f\x7f]", b"", line) for line in data.split(b"\n")]
    fields = [(_NAMES[line[0] % len(_NAMES)], line[1:].lstrip(b" \t")) for line in lines if line]
    request = Request(method="GET", target="/", fields=fields)
    client = _PROXIES.client(("10.0.0.1", 80, "http"), request)
    assert Proxies("10.0.0.0/8, ::1, unix").client(("10.0.0.1", 80, "http"), request) == client, "memory changes it"
    host, port, scheme = client
    assert scheme in ("http", "https")
    assert 0 <= port <= 65535
    assert str(ip_address(host)) == host
    assert _PROXIES.client(("192.0.2.1", 80, "http"), request) == ("192.0.2.1", 80, "http")
    return scheme, port > 0, host == "10.0.0.1"


# ---------------------------------------------------------------- frames, TLS


def frames(data: bytes) -> object:
    """Check the frames of a WebSocket, with compression and without."""
    seen = []
    for extensions in ([], ["permessage-deflate"]):
        whole = said(accept(Offer(b"", [], extensions), max_size=300)[1], cut(data, []))
        bytewise = said(accept(Offer(b"", [], extensions), max_size=300)[1], each(data))
        assert bytewise == whole, "byte by byte, the messages are others"
        seen += [event.code if isinstance(event, Closed) else type(event) for event in whole.events]
    return tuple(seen)


def hello(data: bytes) -> object:
    """Check a ClientHello: once it is whole, nothing that follows changes the offer."""
    whole = client_hello.offered(data)
    if whole is None:
        assert len(data) < client_hello.LONGEST
    for size in range(1, len(data)):
        early = client_hello.offered(data[:size])
        if early is not None:
            assert early == whole
            break
    return None if whole is None else len(whole)


def _hello(*extensions: bytes) -> bytes:
    joined = b"".join(extensions)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + len(joined).to_bytes(2, "big") + joined
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


_HEADS: Final = [
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nCookie: a=b\r\n\r\n",
    b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n",
    b"OPTIONS http://[::1]:8000?x HTTP/1.1\r\nHost: a:\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n",
    b'PUT * HTTP/1.1\r\nHost: a:000080\r\nTransfer-Encoding: gzip;q="1", chunked\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 100 \r\n\r\n",
    CHUNKED + b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
]

# ---------------------------------------------------------------- forms with files


class _Slow(io.BytesIO):
    """A stream that gives a byte at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(1)


def form(data: bytes) -> object:
    """Check a form: read whole and byte by byte, what both take is the same, and no file's name is a path."""

    def parsed(stream: io.BytesIO) -> object:
        try:
            found = multipart.read(
                stream, "multipart/form-data; boundary=x", InputLimits(64, 3, form_parts=5, file_size=90)
            )
        except HttpError:
            return None
        assert all("/" not in upload.filename and not upload.filename.startswith(".") for _, upload in found.files)
        return found.fields, [(name, upload.filename, upload.read()) for name, upload in found.files]

    whole, slow = parsed(io.BytesIO(data)), parsed(_Slow(data))
    assert whole is None or slow is None or whole == slow, "byte by byte, the form is another"
    return None if whole is None else "read"


# ---------------------------------------------------------------- frames of HTTP/2


def http2_frames(data: bytes) -> object:
    """Check frames after the preface: a session raises nothing, and answers each request that it reports."""

    def told(pieces: list[bytes]) -> tuple[list[str], bytes]:
        session = http2.server(http2={"stream_window": 300, "max_streams": 4}, **LIMITS)
        shown = []
        for piece in pieces:
            for event in session.receive(piece, 0.0):
                shown.append(type(event).__name__ + repr(event[:1]))
                if isinstance(event, RequestReceived):
                    request = event.head.request()
                    shown.append(f"{request.method} {request.target} {request.host} {request.fields} {event.complete}")
        return shown, session.output()

    with plain():
        expected = told([data])
    assert told([data]) == expected, "compiled, the frames mean something else"
    assert told(each(data)) == expected, "byte by byte, they do"
    return expected[0][-1:]


TARGETS: Final = {
    "head": Target(head, _HEADS),
    "chunks": Target(
        chunks,
        [
            b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b'5 ;a;b=c ; d = "e\\"f"\r\nhello\r\n00\r\nA: b\r\nC: d\r\n\r\n',
            b"A;a\r\n0123456789\r\nF\r\n",
        ],
    ),
    "proxy": Target(
        proxy,
        [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n",
            b"PROXY TCP6 2001:db8::1 ::1 1000 80\r\nGET",
            b"PROXY UNKNOWN x\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28" + bytes(40),
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        ],
    ),
    "forwarded": Target(
        forwarded,
        [
            b"\0 192.0.2.1, 10.0.0.2\n\x02 https",
            b'\x01 for="[2001:db8::1]:4711";proto=https, for=10.0.0.3;by=_x',
            b"\x03 [::ffff:192.0.2.1]:80,unknown\n\x00 ::1",
            b'\x04 for="_a\\"b", , FOR=192.0.2.9:65536;host=x',
        ],
    ),
    "form": Target(form, _FORMS),
    "frames": Target(
        frames,
        [
            frame(TEXT, b"hello") + frame(PING, b"x") + closing(1000, b"bye"),
            frame(TEXT, b"\xe2\x82", fin=False) + frame(CONT, b"\xac") + frame(CLOSE),
            frame(BINARY, bytes(200), fin=False) + frame(CONT, bytes(200)),
            frame(TEXT, deflated(b"hello" * 40), reserved=4) + frame(BINARY, bytes(130)),
        ],
    ),
    "http2": Target(
        http2_frames,
        [
            http2.headers(1) + http2.headers(3, http2.POST, 4) + http2.frame(0, 9, 3, b"\x01hi\0") + http2.reset(1),
            http2.headers(1, [*http2.POST, ("content-length", "2"), ("cookie", "a"), ("cookie", "b")], 4)
            + http2.frame(0, 0, 1, b"hi")
            + http2.headers(1, [("x", "y")]),
            http2.frame(1, 0x21, 1, bytes(5) + http2.block(http2.GET)[:3])
            + http2.frame(9, 4, 1, http2.block(http2.GET)[3:] + b"\x40\x01a\x82\x1c\x7f"),
            http2.setting((4, 10), (1, 0)) + http2.window(0, 9) + http2.frame(6, 0, 0, bytes(8)),
            http2.frame(16, 0, 0, b"\0\0\0\x01u=1, i") + http2.headers(1) + http2.frame(7, 0, 0, bytes(8)),
        ],
    ),
    "hello": Target(
        hello,
        [
            _hello(b"\0\x10\0\x0e\0\x0c\x02h2\x08http/1.1", b"\0\0\0\x06\0\x04\0\0\x01a"),
            _hello(b"\0\x2b\0\x03\x02\x03\x04", b"\0\x10\0\x05\0\x03\x02h2"),
            _hello()[:20],
            b"\x15\x03\x01\0\x02\x02\x78",
        ],
    ),
}
