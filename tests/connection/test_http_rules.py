"""HTTP to the letter: what RFC 9110 and 9112 refuse is refused, what they allow is taken, however the bytes come."""

from __future__ import annotations

import pytest

from allcomers import Delimited, LengthPrefixed, Request, Response, Service
from allcomers.apps.asgi.scope import http_scope, websocket_scope
from allcomers.apps.wsgi.environ import Environs
from allcomers.apps.wsgi.file_wrapper import FileWrapper
from allcomers.config.limits import Limits
from allcomers.protocol.http1 import MOST_EMPTY_LINES, Requests
from support import offline
from support.bad_input import MARKER, Place, Real, Refuse, Taken, case, cases, chunked, get, line, post
from support.offline import answers, statuses

EMPTY = b"\r\n"


def of_host(host: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


# ---------------------------------------------------------------- chunk extensions (RFC 9112, 7.1.1)


@pytest.mark.parametrize(
    "extension",
    [b";", b"; ", b";;a", b";a;", b";bad[=x", b";=b", b";a=", b';a="b', b';a=b"c"', b';a="b"c', b";a b", b";a=b c",
     b";a==b", b';a="\\"', b";\xff", b";a=\xff", b" ", b"\t", b";a ", b" ;a=b ", b",a", b';"a"', b";a=b,c", b" a"],
)  # fmt: skip
def test_extensions_that_are_malformed(refuse: Refuse, extension: bytes) -> None:
    refuse(chunked(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n"))
    refuse(chunked(b"5\r\nhello\r\n0" + extension + b"\r\n\r\n"))


@pytest.mark.parametrize(
    "extension",
    [
        b'5;a;b=c;d="e"',
        b"5 ;a",
        b"5\t; a \t=\t b",
        b"5;a ;b",
        b'5;a=""',
        b'5;a="\\"\\\\;\xff\t,"',
        b"5;!#$%&'*+-.^_`|~=0",
    ],
)
def test_extensions_that_are_legal(taken: Taken, extension: bytes) -> None:
    assert taken(chunked(extension + b"\r\nhello\r\n0" + extension[1:] + b"\r\n\r\n"))["body"] == "hello"


# ---------------------------------------------------------------- a refused HEAD (RFC 9110, 9.3.2)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"/ HTTP/1.1\r\n\r\n", 400),
        (b"/ HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"/ HTTP/1.1\r\nHost: a\r\nA\r\n\r\n", 400),
        (b"/ HTTP/1.1\r\nHost: a\r\nA: \n", 400),
        (b"/ HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 40_000, 431),
        (b"/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nX", 400),
        (b"/ HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"/ HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
    ],
)
def test_a_refused_head_has_no_body(place: Place, rest: bytes, expected: int) -> None:
    said = place.say(EMPTY + b"HEAD " + rest + MARKER)
    status, fields, _ = answers(said, methods=["HEAD"])[0]
    assert (status, fields["connection"]) == (expected, "close")
    assert int(fields["content-length"]) > 0
    assert said.endswith(b"\r\n\r\n")


def test_a_head_request_behind_another_is_refused_without_a_body(place: Place) -> None:
    said = place.say(get() + b"HEAD / HTTP/9.9\r\n\r\n")
    assert [status for status, _, _ in answers(said, methods=["GET", "HEAD"])] == [200, 505]


@pytest.mark.parametrize("begun", [b"HEAD / HT", b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel"])
def test_a_head_request_that_is_late_is_refused_without_a_body(begun: bytes) -> None:
    far = offline.http()
    far.hear(begun)
    far.sleep(20)
    assert [status for status, _, _ in answers(far.said, methods=["HEAD"])] == [408]


# ---------------------------------------------------------------- transfer codings (RFC 9112, 6.1, 6.3 and 7)


@pytest.mark.parametrize(
    "coding",
    [b"gzip", b"identity", b"chunked, gzip", b"chunked;a=b", b'chunked;a="b"', b"gzip;q", b'gzip;q="',
     b"gzip, chunked;", b'gzip;a="b, chunked'],
)  # fmt: skip
def test_codings_whose_body_has_no_end(refuse: Refuse, coding: bytes) -> None:
    refuse(post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"), (400,))


@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"gzip;q=1, chunked", b'x ; y = "1, 2" , Chunked', b"a,b,chunked"]
)
def test_codings_that_are_not_implemented(refuse: Refuse, coding: bytes) -> None:
    refuse(post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"), (501,))


# ---------------------------------------------------------------- Host (RFC 9110, 4.2.1 and 7.2; RFC 3986, 3.2.2)

BRACKETS = [
    b"[]", b"[1.2.3.4]", b"[v1.a]", b"[:::]", b"[1::2::3]", b"[12345::]", b"[::1%25lo]", b"[::256.1.1.1]", b"[1:2]",
    b"[.]", b"[::1]80", b"[::1]]", b"[1:2:3:4:5:6:7:8:9]", b"[:]",
]  # fmt: skip


@pytest.mark.parametrize("host", [*BRACKETS, b":80", b"", b"a:65536", b"a:00000000065536", b"a:" + b"1" * 5000])
def test_hosts_that_are_none(refuse: Refuse, host: bytes) -> None:
    refuse(of_host(host))
    refuse(line(b"GET http://" + host + b"/ HTTP/1.1"))


@pytest.mark.parametrize(
    "host", [b"example.com:", b"example.com:000080", b"a:" + b"0" * 500, b"[::1]", b"[::1]:",
    b"[::ffff:192.0.2.1]:8000", b"[2001:DB8::]:0080", b"999.1.1.1", b"a.:65535"],
)  # fmt: skip
def test_hosts_that_are_legal(taken: Taken, host: bytes) -> None:
    assert taken(of_host(host))["host"] == host.decode()
    assert taken(line(b"GET http://" + host + b"/x HTTP/1.1"))["host"] == host.decode()


@pytest.mark.parametrize(
    "data",
    [
        b"GET http://b:1/x?y HTTP/1.1\r\nA: 1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET HTTP://b:1/x?y HTTP/1.0\r\nA: 1\r\nHost:a\r\nUpgrade: websocket\r\n\r\n",
        b"GET https://b:1/x?y HTTP/1.0\r\nA: 1\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_every_interface_sees_the_host_of_an_absolute_target(data: bytes) -> None:
    """RFC 9112, 3.2.2: Host is replaced, so that no app goes by another host than the cache before it."""
    requests = Requests(Limits())
    requests.feed(data)
    request = requests.head()
    assert request is not None
    request.arrived([], None, "192.0.2.1", 4711, "http")
    assert (request.host, request.headers["host"], request.named[b"host"]) == ("b:1", "b:1", b"b:1")
    assert Environs(file_wrapper=FileWrapper)(request)["HTTP_HOST"] == "b:1"
    for scope in (http_scope(request, "", None), websocket_scope(request, "", None, [])):
        assert [value for name, value in scope["headers"] if name == b"host"] == [b"b:1"]
        assert (scope["raw_path"], scope["query_string"]) == (b"/x", b"y")


def test_a_handler_sees_the_host_of_an_absolute_target(taken: Taken) -> None:
    seen = taken(line(b"GET http://b/x HTTP/1.1"))
    assert (seen["host"], seen["headers"]["host"], seen["target"]) == ("b", "b", "/x")


# ---------------------------------------------------------------- the first line (RFC 9112, 2.2 and 3)


def test_empty_lines_before_a_request(taken: Taken, refuse: Refuse) -> None:
    assert taken(EMPTY * MOST_EMPTY_LINES + get())["method"] == "GET"
    refuse(EMPTY * (MOST_EMPTY_LINES + 1) + get())
    refuse(EMPTY * 1000)
    refuse(get() + EMPTY * (MOST_EMPTY_LINES + 1) + get(), before=1)
    refuse((get() + EMPTY * MOST_EMPTY_LINES) * 3 + EMPTY, before=3)


def test_empty_lines_are_counted_for_each_request(real: Real) -> None:
    """Old clients send one behind each body: a connection may have more than 16 in all."""
    with real.server.connect() as sock:
        for _ in range(2 * MOST_EMPTY_LINES):
            sock.sendall(post(b"Content-Length: 1", body=b"x"))
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            sock.sendall(EMPTY)


@cases(
    case("65", line(b"A" * 65 + b" / HTTP/1.1"), 501),
    case("no-end", b"A" * 65, 501),
    case("100-KB", b"A" * 100_000, 501),
    case("then-no-token", line(b"A" * 65 + b"[ / HTTP/1.1"), 501),
    case("no-token-before", line(b"A" * 64 + b"[" + b"A" * 64 + b" / HTTP/1.1"), 400),
)
def test_a_long_method(refuse: Refuse, data: bytes, expected: tuple[int, ...]) -> None:
    refuse(data, expected)


def test_the_longest_method(taken: Taken) -> None:
    assert taken(line(b"_" + b"A" * 63 + b" / HTTP/1.1"))["method"] == "_" + "A" * 63


# ---------------------------------------------------------------- fields that stand once (RFC 9110, 5.3)


@pytest.mark.parametrize("name", [b"Content-Type", b"Authorization"])
@pytest.mark.parametrize("values", [(b"a", b"b"), (b"a", b"a"), (b"", b"a")], ids=["different", "equal", "empty"])
def test_two_lines_of_a_field_that_stands_once(refuse: Refuse, name: bytes, values: tuple[bytes, bytes]) -> None:
    first, second = values
    refuse(post(name + b": " + first, b"A: b", name.lower() + b": " + second))


def test_one_line_of_each_is_taken(taken: Taken) -> None:
    seen = taken(get(b"Content-Type: a", b"Authorization: b"))
    assert (seen["headers"]["content-type"], seen["headers"]["authorization"]) == ("a", "b")


# ---------------------------------------------------------------- responses (RFC 9110, 7.8 and 15.3.6)


@pytest.mark.parametrize(
    ("asked", "connection"),
    [
        (get(), "Upgrade"),
        (get(b"Connection: close"), "Upgrade, close"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Upgrade, keep-alive"),
    ],
)
@pytest.mark.parametrize("body", [b"x", [b"x"]], ids=["whole", "pieces"])
@pytest.mark.parametrize("status", [426, 200])
def test_an_upgrade_field_is_named_in_connection(asked: bytes, connection: str, body: object, status: int) -> None:
    def app(request: Request) -> Response:
        return Response(body, status=status, headers=[("upgrade", "websocket"), ("A", "b")])  # type: ignore[arg-type]

    far = offline.http(app)
    far.hear(asked)
    head = far.said.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert "upgrade: websocket" in head
    fields = [field.partition(": ")[2] for field in head if field.startswith("Connection: ")]
    if isinstance(body, list) and "HTTP/1.0" in asked.decode():
        connection = "Upgrade, close"
    assert fields == [connection]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("body", [b"", b"Hello", [b"He", b"llo"], []], ids=["empty", "whole", "pieces", "no-pieces"])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "5")]], ids=["", "length"])
def test_a_205_has_no_body(method: bytes, body: object, headers: list[tuple[str, str]]) -> None:
    far = offline.http(lambda request: Response(body, status=205, headers=headers))  # type: ignore[arg-type]
    far.hear(get().replace(b"GET", method) * 2)
    assert statuses(far.said) == [205] * len(statuses(far.said))
    assert far.said.count(b"HTTP/1.1 205") == far.said.count(b"Content-Length: 0\r\n") == len(statuses(far.said)) > 0
    assert b"llo" not in far.said


# ---------------------------------------------------------------- services: work is linear


class Counted:
    """The bytes that split() has looked at: what a busy machine does not change."""

    looked_at = 0

    def split(self, data: bytes) -> tuple[list[bytes], bytes]:
        self.looked_at += len(data)
        return super().split(data)  # type: ignore[misc, no-any-return]


class CountedPrefixed(Counted, LengthPrefixed):
    pass


class CountedDelimited(Counted, Delimited):
    pass


@pytest.mark.parametrize(
    ("framing", "size"),
    [(CountedPrefixed(), 20_000), (CountedDelimited(b"\n"), 20_000), (CountedDelimited(b"\r\n"), 20_000)],
)
def test_a_message_that_trickles_in_is_cut_once(framing: CountedPrefixed | CountedDelimited, size: int) -> None:
    class Echo(Service):
        def request(self, data: bytes) -> bytes:
            return data

    Echo.framing = framing
    message = b"\nx\r" * (size // 3) if isinstance(framing, LengthPrefixed) else b"x\ry" * (size // 3)
    wire = framing.wrap(message)
    far = offline.service(Echo)
    far.hear_each(wire[:-1])
    assert far.said == b""
    far.hear(wire[-1:] + wire)
    assert far.said == wire * 2
    assert framing.looked_at < 4 * len(wire)


def test_a_framing_of_an_apps_own_needs_no_more_than_split() -> None:
    class Pairs:
        def split(self, data: bytes) -> tuple[list[bytes], bytes]:
            even = len(data) & ~1
            return [data[at : at + 2] for at in range(0, even, 2)], data[even:]

        def wrap(self, answer: bytes) -> bytes:
            return answer

    class Upper(Service):
        framing = Pairs()

        def request(self, data: bytes) -> bytes:
            return data.upper()

    far = offline.service(Upper)
    far.hear_each(b"abcde")
    assert far.said == b"ABCD"
