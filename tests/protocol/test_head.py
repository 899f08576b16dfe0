"""Heads that are read: the valid ones, and the refused ones with their status."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers.config.limits import Limits
from allcomers.errors import AnswerError, Refusal
from allcomers.protocol import head as heads
from allcomers.protocol.encode import request_head
from allcomers.protocol.head import RequestHead, ResponseHead
from allcomers.protocol.http1 import Inbound, Requests, Responses
from support.streams import each

pytestmark = pytest.mark.usefixtures("both_builds")

HOST = b"Host: example.org\r\n"
TCHAR = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


Head = TypeVar("Head", RequestHead, ResponseHead)


def same_both_ways(begin: Callable[[], tuple[Inbound, Callable[[], Head | None]]], data: bytes) -> Head:
    """Return the one head in `data`, read whole and byte by byte with the same result. Raises Refusal."""
    fast, slow = first(*begin(), [data]), first(*begin(), each(data))
    if isinstance(fast, Refusal) or isinstance(slow, Refusal):
        assert isinstance(fast, Refusal)
        assert isinstance(slow, Refusal)
        assert (fast.status, fast.reason) == (slow.status, slow.reason)
        raise fast
    assert_same(fast, slow)
    return fast


def first(inbound: Inbound, ask: Callable[[], Head | None], pieces: list[bytes]) -> Head | Refusal:
    for piece in pieces:
        inbound.feed(piece)
        try:
            if (head := ask()) is not None:
                return head
        except Refusal as refusal:
            return refusal
    raise AssertionError(f"neither a head nor a refusal in {pieces!r}")


def read(data: bytes, **limits: int) -> RequestHead:
    """Return the head of the request in `data`. Raises Refusal."""

    def begin() -> tuple[Inbound, Callable[[], RequestHead | None]]:
        requests = Requests(Limits(**limits))
        return requests, requests.head

    return same_both_ways(begin, data)


def assert_same(one: RequestHead | ResponseHead, other: RequestHead | ResponseHead) -> None:
    for name in ("method", "target", "host", "status", "reason", "version", "length", "chunked", "persists", "expects"):
        assert getattr(one, name, None) == getattr(other, name, None)
    assert (one.fields, one.named) == (other.fields, other.named)  # of the leaf's, made when they are read


def get(fields: bytes = HOST, line: bytes = b"GET / HTTP/1.1") -> RequestHead:
    return read(line + b"\r\n" + fields + b"\r\n")


def status(fields: bytes = HOST, line: bytes = b"GET / HTTP/1.1") -> int:
    with pytest.raises(Refusal) as caught:
        get(fields, line)
    assert caught.value.reason.isascii()
    assert caught.value.reason.isprintable()
    return caught.value.status


def value(head: RequestHead, name: bytes) -> list[bytes]:
    return [v.strip(b" \t") for n, v in head.fields if n.lower() == name]


# ---------------------------------------------------------------- requests: what is taken


def test_a_plain_request() -> None:
    head = get(HOST + b"Accept:  */* \t\r\nX-Empty:\r\n")
    assert (head.method, head.target, head.host, head.version) == ("GET", "/", "example.org", "1.1")
    assert value(head, b"accept") == [b"*/*"]
    assert value(head, b"x-empty") == [b""]
    assert head.length is None
    assert (head.chunked, head.persists, head.expects) == (False, True, False)


def test_names_keep_their_letters_and_order_and_repeat() -> None:
    head = get(HOST + b"B: 1\r\na: 2\r\nb: 3\r\n")
    assert [name for name, _ in head.fields] == [b"Host", b"B", b"a", b"b"]
    assert value(head, b"b") == [b"1", b"3"]


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "a", TCHAR[:64], TCHAR[-64:]])
def test_any_token_is_a_method(method: str) -> None:
    assert get(line=f"{method} / HTTP/1.1".encode()).method == method


@pytest.mark.parametrize(
    ("target", "seen", "host"),
    [
        (b"/", "/", "example.org"),
        (b"/a%20b?c=d&e", "/a%20b?c=d&e", "example.org"),
        (b"//a", "//a", "example.org"),
        (b'/"<>\\^`{|}', '/"<>\\^`{|}', "example.org"),
        (b"http://a.b:8000/c?d", "/c?d", "a.b:8000"),
        (b"HTTPS://a", "/", "a"),
        (b"http://a?b", "/?b", "a"),
        (b"http://[::1]:80/", "/", "[::1]:80"),
    ],
)
def test_targets(target: bytes, seen: str, host: str) -> None:
    head = get(line=b"GET %b HTTP/1.1" % target)
    assert (head.target, head.host) == (seen, host)


@pytest.mark.parametrize("target", [b"*", b"http://example.org"])
def test_options_asterisk(target: bytes) -> None:
    assert get(line=b"OPTIONS %b HTTP/1.1" % target).target == "*"


@pytest.mark.parametrize("host", [b"a", b"a.b:80", b"[::1]", b"[::1]:8000", b"127.0.0.1:0", b"a%2Db", b"x:65535"])
def test_hosts(host: bytes) -> None:
    for _ in range(2):  # the second time, it is known
        assert get(b"Host: %b \t\r\n" % host).host == host.decode()


def test_an_old_client_may_have_no_host() -> None:
    assert get(b"", b"GET / HTTP/1.0").host == ""


@pytest.mark.parametrize(
    ("minor", "connection", "persists"),
    [
        (1, None, True),
        (0, None, False),
        (1, b"close", False),
        (1, b"Close , x", False),
        (1, b"keep-alive", True),
        (0, b"Keep-Alive", True),
        (0, b"keep-alive, close", False),
        (1, b"closed", True),
    ],
)
def test_persistence(minor: int, connection: bytes | None, persists: bool) -> None:
    fields = HOST + (b"" if connection is None else b"Connection: %b\r\n" % connection)
    assert get(fields, b"GET / HTTP/1.%d" % minor).persists is persists


def test_connection_may_stand_in_several_lines() -> None:
    assert get(HOST + b"Connection: close\r\nConnection: x\r\n").persists is False


@pytest.mark.parametrize(
    ("digits", "length"), [(b"0", 0), (b"5", 5), (b"0010", 10), (b"5 \t", 5), (b"0" * 5000 + b"7", 7), (b"0" * 5000, 0)]
)
def test_content_length(digits: bytes, length: int) -> None:
    assert get(HOST + b"Content-Length: %b\r\n" % digits).length == length


def test_the_largest_length_there_is() -> None:
    head = read(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (10**18 - 1), max_body=1 << 60)
    assert head.length == 10**18 - 1


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"chunked \t"])
def test_chunked(coding: bytes) -> None:
    assert get(HOST + b"Transfer-Encoding: %b\r\n" % coding).chunked is True


def test_expect() -> None:
    assert get(HOST + b"Expect: 100-Continue\r\n").expects is True
    assert get(HOST + b"Expect: 100-continue\r\n", b"GET / HTTP/1.0").expects is False


def test_names_with_an_underscore_are_dropped() -> None:
    head = get(HOST + b"X_Forwarded_For: 6.6.6.6\r\nContent_Length: 5\r\nX-Forwarded-For: 1_2\r\n")
    assert [name for name, _ in head.fields] == [b"Host", b"X-Forwarded-For"]
    assert value(head, b"x-forwarded-for") == [b"1_2"]
    assert head.length is None


@given(
    st.text(TCHAR.replace("_", ""), min_size=1, max_size=20),
    st.binary(max_size=40).map(lambda data: bytes(b for b in data if b in b"\t" or 32 <= b != 127)),
)
def test_any_field_that_the_grammar_allows(name: str, content: bytes) -> None:
    name = "X" + name
    head = get(HOST + b"%b: %b\r\n" % (name.encode(), content))
    assert head.fields[1][0] == name.encode()
    assert value(head, name.lower().encode()) == [content.strip(b" \t")]


# ---------------------------------------------------------------- requests: what is refused


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET /", 400),
        (b"GET", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / HTTP/1,1", 400),
        (b"GET / HTTP/1.", 400),
        (b"GET / HTTP/11", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET /#a HTTP/1.1", 400),
        (b"GET ftp://a/ HTTP/1.1", 400),
        (b"GET http:///a HTTP/1.1", 400),
        (b"GET http://a@b/ HTTP/1.1", 400),
        (b"GET http://a:b/ HTTP/1.1", 400),
        (b"CONNECT a:80 HTTP/1.1", 501),
        (b"CONNECT / HTTP/1.1", 501),
        (b"G\x00T / HTTP/1.1", 400),
    ],
)
def test_first_lines(line: bytes, expected: int) -> None:
    assert status(line=line) == expected


def test_a_method_is_named_before_the_version_and_the_version_before_the_fields() -> None:
    assert status(b"Bad field\r\n", b"GET / HTTP/3.0") == 505


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Expect"])
def test_what_stands_once_does_not_stand_twice(name: str) -> None:
    line = {"Host": "a", "Content-Length": "1", "Transfer-Encoding": "chunked", "Expect": "100-continue"}[name]
    fields = f"{name}: {line}\r\n{name.upper()}: {line}\r\n".encode()
    assert status((b"" if name == "Host" else HOST) + fields) == 400


def test_expectations_unknown_here() -> None:
    assert status(HOST + b"Expect: a miracle\r\n") == 417


def test_limits_of_a_head() -> None:
    line = b"GET / HTTP/1.1\r\n"
    rest = b"A: " + b"a" * (200 - len(line + HOST) - len(b"A: \r\n\r\n")) + b"\r\n\r\n"
    exact = line + HOST + rest
    assert len(exact) == 200
    assert read(exact, max_head=200).target == "/"
    with pytest.raises(Refusal, match="431"):
        read(exact, max_head=199)
    with pytest.raises(Refusal, match="414"):
        read(b"GET /" + b"a" * 200 + b" HTTP/1.1\r\n\r\n", max_head=200)
    many = line + HOST + b"A: b\r\n" * 9 + b"\r\n"
    assert read(many, max_headers=10).target == "/"
    with pytest.raises(Refusal, match="431"):
        read(many, max_headers=9)


def test_the_memory_of_hosts_is_bounded() -> None:
    for number in range(3000):
        get(b"Host: h%d\r\n" % number)
    get(b"Host: " + b"h" * 1000 + b"\r\n")
    assert 0 < len(heads.known_hosts) <= heads._MOST_KNOWN
    assert max(len(host or b"") for host in heads.known_hosts) < 300


# ---------------------------------------------------------------- responses


def response(data: bytes, method: str = "GET") -> ResponseHead:
    """Return the head of the response in `data`. Raises Refusal."""

    def begin() -> tuple[Inbound, Callable[[], ResponseHead | None]]:
        responses = Responses(Limits())
        return responses, lambda: responses.head(method)

    return same_both_ways(begin, data)


def test_a_response() -> None:
    head = response(b"HTTP/1.1 404 Not  Found \r\nContent-Length: 3\r\n\r\n")
    assert (head.version, head.status, head.reason, head.length, head.persists) == ("1.1", 404, b"Not  Found ", 3, True)


@pytest.mark.parametrize("line", [b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 \xe9"])
def test_reasons(line: bytes) -> None:
    assert response(line + b"\r\nContent-Length: 0\r\n\r\n").status == 200


@pytest.mark.parametrize(
    "line",
    [b"HTTP/2.0 200 OK", b"HTTP/1.1 099 x", b"HTTP/1.1 600 x", b"HTTP/1.1 20 x", b"HTTP/1.1  200 x", b"ICY 200 OK"],
)
def test_bad_status_lines(line: bytes) -> None:
    with pytest.raises(Refusal, match="502"):
        response(line + b"\r\n\r\n")


@pytest.mark.parametrize(
    "fields", [b"A b\r\n", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", b"A: \x00\r\n", b"A: b\n"]
)
def test_bad_fields_of_a_response(fields: bytes) -> None:
    with pytest.raises(Refusal, match="400"):
        response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")


def test_a_request_head_is_read_as_it_is_written() -> None:
    head = read(request_head("POST", "/a?b", "a:80", [("Content-Length", "3"), ("A", "é")]))
    assert (head.method, head.target, head.host, head.length) == ("POST", "/a?b", "a:80", 3)
    with pytest.raises(AnswerError):
        request_head("GET", "/", "a", [("A", "b\r\nC: d")])
