"""The rules for fields (RFC 9113, 8.2 and 8.3), and the requests that are made of them."""

from __future__ import annotations

from typing import Any

import pytest

from allcomers.errors import AnswerError
from allcomers.protocol.http2 import blocks
from allcomers.protocol.http2.events import DataReceived, RequestReceived, RequestRefused, ResponseReceived
from allcomers.protocol.http2.frames import ErrorCode
from allcomers.protocol.http2.requests import RequestBlock
from support import http2
from support.http2 import END_HEADERS, GET, POST, exchange, frame, headers

pytestmark = pytest.mark.usefixtures("both_builds")

Pairs = list[tuple[str, str]]


def without(name: str, fields: Pairs = GET) -> Pairs:
    return [field for field in fields if field[0] != name]


def with_path(path: str, method: str = "GET") -> Pairs:
    return [(":method", method), *without(":path", GET[1:]), (":path", path)]


def read(fields: Pairs, **keywords: Any) -> RequestBlock:
    event = exchange(http2.server(**keywords), headers(1, fields)).only(RequestReceived)
    assert isinstance(event.head, RequestBlock)
    return event.head


MALFORMED = {
    "no :method": without(":method"),
    "no :scheme": without(":scheme"),
    "no :path": without(":path"),
    "no field at all": [],
    "no authority": without(":authority"),
    "two :method": [GET[0], *GET],
    "two :path": [*GET, GET[3]],
    "an empty :method": [(":method", ""), *GET[1:]],
    "a :method with a space": [(":method", "GET /x"), *GET[1:]],
    "a :method of a line": [(":method", "GET / HTTP/1.1\r\nx:y\r\n"), *GET[1:]],
    "an empty :scheme": [(":scheme", ""), *without(":scheme")],
    "a :scheme that is none": [(":scheme", "ht tp"), *without(":scheme")],
    "an empty :path": with_path(""),
    "an absolute :path": with_path("http://a/"),
    "a :path without a slash": with_path("a"),
    "a :path with a fragment": with_path("/#a"),
    "a :path with a space": with_path("/ a"),
    "a :path with lines": with_path("/ HTTP/1.1\r\nx: y"),
    "a :path with CR": with_path("/\r"),
    "a :path with LF": with_path("/\n"),
    "a :path with NUL": with_path("/\0"),
    "a :path beyond ASCII": with_path("/\xe9"),
    "* for GET": with_path("*"),
    "an empty :authority": [(":authority", ""), *without(":authority")],
    "a user in :authority": [(":authority", "u@a"), *without(":authority")],
    "two hosts in :authority": [(":authority", "a,b"), *without(":authority")],
    "a port beyond any": [(":authority", "a:65536"), *without(":authority")],
    "Host is another": [*GET, ("host", "b")],
    "two Hosts": [*without(":authority"), ("host", "a"), ("host", "a")],
    "an unknown pseudo-field": [*GET, (":x", "y")],
    "a pseudo-field of responses": [*GET, (":status", "200")],
    "a :protocol that was not offered": [(":method", "CONNECT"), *GET[1:], (":protocol", "websocket")],
    "a pseudo-field after a field": [*GET[:3], ("x", "y"), GET[3]],
    "a name in upper case": [*GET, ("X-Y", "z")],
    "an empty name": [*GET, ("", "y")],
    "a name with a space": [*GET, ("x y", "z")],
    "a name with a colon": [*GET, ("x:y", "z")],
    "a name with CRLF": [*GET, ("x\r\ny", "z")],
    "a name beyond ASCII": [*GET, ("\xe9", "z")],
    "a name with DEL": [*GET, ("x\x7f", "z")],
    "a value with CR": [*GET, ("x", "y\rz")],
    "a value with LF": [*GET, ("x", "y\nz")],
    "a value with NUL": [*GET, ("x", "y\0z")],
    "a value with another control": [*GET, ("x", "y\x01z")],
    "a value with DEL": [*GET, ("x", "y\x7f")],
    "a value of lines": [*GET, ("x", "y\r\nz: a")],
    "space before a value": [*GET, ("x", " y")],
    "space after a value": [*GET, ("x", "y ")],
    "a tab after a value": [*GET, ("x", "y\t")],
    "a value of a space": [*GET, ("x", " ")],
    "Connection": [*GET, ("connection", "close")],
    "Keep-Alive": [*GET, ("keep-alive", "1")],
    "Proxy-Connection": [*GET, ("proxy-connection", "close")],
    "Transfer-Encoding": [*GET, ("transfer-encoding", "chunked")],
    "Upgrade": [*GET, ("upgrade", "h2c")],
    "TE": [*GET, ("te", "gzip")],
    "TE with more": [*GET, ("te", "trailers, gzip")],
    "a second TE": [*GET, ("te", "trailers"), ("te", "gzip")],
    "a Content-Length and no body": [*GET, ("content-length", "1")],
    "a Content-Length of words": [*GET, ("content-length", "x")],
    "a negative Content-Length": [*GET, ("content-length", "-1")],
    "two Content-Lengths": [*GET, ("content-length", "0"), ("content-length", "0")],
    "two Content-Types": [*GET, ("content-type", "a/b"), ("content-type", "a/b")],
    "CONNECT with :path": [(":method", "CONNECT"), *GET[1:]],
    "CONNECT without :authority": [(":method", "CONNECT")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests(name: str) -> None:
    """Each is a stream error PROTOCOL_ERROR (RFC 9113, 8.1.1), of which the connection hears nothing, and which leaves
    compression as it was."""
    session = http2.server()
    events, sent = exchange(session, headers(1, MALFORMED[name]))
    assert [(each.kind, each.stream, each.code) for each in sent] == [(http2.RST_STREAM, 1, ErrorCode.PROTOCOL_ERROR)]
    assert events == []
    assert exchange(session, headers(3)).only(RequestReceived).stream == 3


REFUSED = {
    "CONNECT": (501, [(":method", "CONNECT"), (":authority", "a:1")], {}),
    "a long method": (501, [(":method", "A" * 65), *GET[1:]], {}),
    "an expectation": (417, [*GET, ("expect", "miracles")], {}),
    "a body beyond the limit": (413, [*POST, ("content-length", "11")], {"max_body": 10}),
    "a length beyond any": (413, [*POST, ("content-length", "9" * 30)], {}),
    "many fields": (431, [*GET, *[("x", "y")] * 4], {"max_headers": 3}),
    "large fields": (431, [*GET, ("x", "y" * 1000)], {"max_head": 1000}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_requests(name: str) -> None:
    """What HTTP has a status for is answered by it."""
    status, fields, limits = REFUSED[name]
    session = http2.server(**limits)
    event = exchange(session, headers(1, fields, END_HEADERS)).only(RequestRefused)
    assert (event.refusal.status, event.complete) == (status, False)
    assert event.method == ("" if name == "large fields" else fields[0][1])
    assert session.answer(1, blocks.status_block(status), b"no")
    session.reset(1)
    assert [sent.kind for sent in http2.parse(session.output())] == [http2.HEADERS, http2.DATA, http2.RST_STREAM]
    assert not session.streams


def test_a_request() -> None:
    fields = [*with_path("/a%20b?c=d", "POST"), ("x-y", "z"), ("accept", ""), ("cookie", "a=b"), ("cookie", "c=d")]
    fields += [("te", "trailers"), ("x-y", "\xe9"), ("content-length", "0"), ("expect", "100-continue"), ("a_b", "c")]
    fields += [("priority", "u=1, i")]
    head = read(fields)
    request = head.request()
    assert (request.method, request.target, request.host, request.version) == ("POST", "/a%20b?c=d", "a", "2")
    assert (request.length, request.chunked, request.persists, request.upgrades) == (0, False, True, False)
    assert request.expects
    assert dict(request.headers) == {
        "host": "a", "x-y": "z, \xe9", "accept": "", "cookie": "a=b; c=d", "te": "trailers", "content-length": "0",
        "expect": "100-continue", "priority": "u=1, i",
    }  # fmt: skip
    assert request.fields[0] == (b"host", b"a")
    assert request.value(b"accept") == b""
    assert (head.scheme, head.protocol, head.priority, head.has_priority) == ("http", "", (1, True), True)
    request.fields.append((b"x", b"y"))
    request.named[b"x"] = b"y"
    assert head.request().value(b"x") is None
    assert read(GET).priority == (3, False)
    assert not read(GET).has_priority


@pytest.mark.parametrize("host", ["A", "a"])
def test_hosts(host: str) -> None:
    assert read([*GET, ("host", host)]).request().fields == [(b"host", b"a")]
    assert read([*without(":authority"), ("x", "y"), ("host", "b:80")]).request().host == "b:80"
    assert read([(":authority", "[::1]:80"), *without(":authority")]).request().host == "[::1]:80"


def test_star_and_fields_that_are_allowed() -> None:
    assert read(with_path("*", "OPTIONS")).request().target == "*"
    assert read([*GET, ("te", "trailers"), ("te", "trailers")]).request().headers["te"] == "trailers, trailers"
    assert read([*GET, ("x", "a\tb c\xff")]).request().headers["x"] == "a\tb c\xff"
    assert read([(":scheme", "coap+tcp"), *without(":scheme")]).scheme == "coap+tcp"
    assert read([*GET, *[("cookie", "a=b")] * 200]).request().headers["cookie"].count("a=b") == 200


CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]]


def test_extended_connect() -> None:
    """RFC 8441, 4 and 5: the scheme and the path are there, and no length."""
    head = read(CONNECT, connect=True)
    assert (head.protocol, head.request().method, head.request().target) == ("websocket", "CONNECT", "/")
    for fields in ([("x", "y") if field[0] == ":protocol" else field for field in CONNECT], without(":path", CONNECT)):
        assert exchange(http2.server(connect=True), headers(1, fields)).error == (1, ErrorCode.PROTOCOL_ERROR)
    for fields in (without(":authority", CONNECT), [*GET, (":protocol", "websocket")][1:]):
        assert exchange(http2.server(connect=True), headers(1, fields)).error == (1, ErrorCode.PROTOCOL_ERROR)
    assert exchange(http2.server(connect=True), headers(1, [*GET, (":protocol", "x")])).error == (1, 1)


# ---------------------------------------------------------------- bodies and trailers

TRAILERS = {
    "a pseudo-field": [(":path", "/")],
    "Connection": [("connection", "close")],
    "upper case": [("X", "y")],
    "a control": [("x", "\0")],
}


@pytest.mark.parametrize("name", TRAILERS)
def test_malformed_trailers(name: str) -> None:
    session = http2.server()
    exchange(session, headers(1, POST, END_HEADERS))
    assert exchange(session, headers(1, TRAILERS[name])).error == (1, ErrorCode.PROTOCOL_ERROR)
    assert not session.streams


def test_trailers() -> None:
    session = http2.server(max_headers=2, max_head=1000)
    exchange(session, headers(1, POST, END_HEADERS))
    events = exchange(session, headers(1, [("x", "y"), ("a_b", "c")])).events
    assert [(event.stream, event.fields) for event in events] == [(1, [(b"x", b"y")])]  # type: ignore[union-attr]
    exchange(session, headers(3, POST, END_HEADERS))
    assert exchange(session, headers(3, [("x", "y")] * 3)).error == (3, ErrorCode.ENHANCE_YOUR_CALM)
    exchange(session, headers(5, POST, END_HEADERS))
    assert exchange(session, headers(5, [("x", "y" * 1000)])).error == (5, ErrorCode.ENHANCE_YOUR_CALM)


@pytest.mark.parametrize(
    ("length", "sizes", "good"),
    [(5, (5,), True), (5, (2, 3), True), (0, (0,), True), (5, (4,), False), (5, (3, 3), False), (0, (1,), False)],
)
def test_content_length(length: int, sizes: tuple[int, ...], good: bool) -> None:
    """RFC 9113, 8.1.1: the DATA frames together are as long as it says."""
    session = http2.server()
    data = headers(1, [*POST, ("content-length", str(length))], END_HEADERS)
    data += b"".join(
        frame(http2.DATA, http2.END_STREAM if place == len(sizes) else 0, 1, b"x" * size)
        for place, size in enumerate(sizes, 1)
    )
    found = exchange(session, data)
    assert found.error == (None if good else (1, ErrorCode.PROTOCOL_ERROR))
    complete = [event.complete for event in found.events if isinstance(event, DataReceived)]
    assert (complete[-1:] == [True]) is good


def test_trailers_end_a_body_too_early() -> None:
    session = http2.server()
    exchange(session, headers(1, [*POST, ("content-length", "5")], END_HEADERS) + frame(http2.DATA, 0, 1, b"x"))
    assert exchange(session, headers(1, [("x", "y")])).error == (1, ErrorCode.PROTOCOL_ERROR)


# ---------------------------------------------------------------- responses, at a client

RESPONSES = {
    "no :status": [("x", "y")],
    "two": [(":status", "200"), (":status", "200")],
    "four digits": [(":status", "2000")],
    "a word": [(":status", "ok")],
    "101": [(":status", "101")],
    "a pseudo-field of requests": [(":status", "200"), (":path", "/")],
    "upper case": [(":status", "200"), ("X", "y")],
    "Connection": [(":status", "200"), ("connection", "close")],
    "two lengths": [(":status", "200"), ("content-length", "1"), ("content-length", "2")],
    "a length of words": [(":status", "200"), ("content-length", "x")],
}


@pytest.mark.parametrize("name", RESPONSES)
def test_malformed_responses(name: str) -> None:
    session = http2.client()
    stream = session.request(blocks.request_block("GET", "http", "a", "/"), end=True)
    session.output()
    assert exchange(session, headers(stream, RESPONSES[name], END_HEADERS)).error == (1, ErrorCode.PROTOCOL_ERROR)
    assert not session.streams


def test_responses() -> None:
    session = http2.client()
    stream = session.request(blocks.request_block("HEAD", "http", "a", "/"), end=True)
    session.output()
    interim = headers(stream, [(":status", "103"), ("link", "</x>")], END_HEADERS)
    event = exchange(session, interim).only(ResponseReceived)
    assert (event.status, event.fields, event.complete) == (103, [(b"link", b"</x>")], False)
    event = exchange(session, headers(stream, [(":status", "200"), ("content-length", "9")])).only(ResponseReceived)
    assert (event.status, event.complete) == (200, True)
    stream = session.request(blocks.request_block("GET", "http", "a", "/"), end=True)
    assert exchange(session, headers(stream, [(":status", "103")])).error == (stream, ErrorCode.PROTOCOL_ERROR)
    stream = session.request(blocks.request_block("GET", "http", "a", "/"), end=True)
    data = headers(stream, [(":status", "200"), ("content-length", "2")], END_HEADERS)
    assert exchange(session, data + frame(http2.DATA, 1, stream, b"xyz")).error == (stream, ErrorCode.PROTOCOL_ERROR)


# ---------------------------------------------------------------- blocks on their way out


def test_blocks() -> None:
    pairs = [("Content-Type", "text/plain"), ("X-Y", " z\t"), ("Date", "now"), ("Connection", "close"), ("Server", "s")]
    block, ours = blocks.fields_block(pairs)
    assert ours == {"date": "now", "server": "s"}
    for _ in range(2):
        plain, none = blocks.fields_block(pairs[:2])
        assert none is None
        assert plain == block
    session = http2.client()
    stream = session.request(blocks.request_block("GET", "http", "a", "/", [("User-Agent", "x")]), end=True)
    data = blocks.status_block(404) + block + blocks.length_block(3)
    event = exchange(session, frame(http2.HEADERS, 4, stream, data)).only(ResponseReceived)
    assert event.status == 404
    assert event.fields == [(b"content-type", b"text/plain"), (b"x-y", b"z"), (b"content-length", b"3")]
    assert blocks.fields_block([["a", "b"]])[0] == blocks.fields_block([("a", "b")])[0]  # type: ignore[list-item]


@pytest.mark.parametrize(
    "pair", [("a b", "c"), ("", "c"), ("a", "b\r\n"), ("a", "\0"), (":path", "/"), ("a", 1), "abc", 1]
)
def test_fields_that_cannot_be_sent(pair: Any) -> None:
    with pytest.raises(AnswerError):
        blocks.fields_block([pair])


@pytest.mark.parametrize("status", [99, 101, 1000, "200", None])
def test_statuses_that_cannot_be_sent(status: Any) -> None:
    with pytest.raises(AnswerError):
        blocks.status_block(status)
