"""The framing of HTTP/1.1 in both roles: whole, byte by byte, with further bytes behind, and against h11."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allcomers.config.limits import Limits
from allcomers.protocol.encode import chunk, encode_fields, last_chunk
from allcomers.protocol.http1 import MAX_EXTENSIONS
from allcomers.protocol.message import FileSlice
from support.strategies import mutated, requests
from support.streams import Message, Outcome, Reader, cut, each, read

pytestmark = pytest.mark.usefixtures("both_builds")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


def both_ways(data: bytes, methods: list[str] | None = None, *, end: bool = False, **limits: Any) -> Outcome:
    """Return the messages in `data`, read whole and byte by byte with the same result."""
    whole = read([data], methods, end=end, **limits)
    assert read(each(data), methods, end=end, **limits) == whole
    return whole


def bodies(outcome: Outcome) -> list[bytes]:
    assert outcome.refusal is None
    assert all(message.whole for message in outcome.messages)
    return [message.body for message in outcome.messages]


def refusal(data: bytes, methods: list[str] | None = None, **keywords: Any) -> int:
    outcome = both_ways(data, methods, **keywords)
    assert outcome.refusal is not None, outcome
    return outcome.refusal[0]


# ---------------------------------------------------------------- requests

REQUESTS = {
    "no body": (GET, b""),
    "length": (POST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "length 0": (POST + b"Content-Length: 0\r\n\r\n", b""),
    "chunks": (CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", b"hello!"),
    "chunk of hex": (CHUNKED + b"00A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "extensions": (CHUNKED + b'5;a="\\"b c";d\r\nhello\r\n0;x\r\n\r\n', b"hello"),
    "no chunk": (CHUNKED + b"0\r\n\r\n", b""),
    "trailers": (CHUNKED + b"1\r\n!\r\n0\r\nA: b\r\nC_D: e\r\nF:\r\n\r\n", b"!"),
    "empty lines before": (b"\r\n\r\n\r\n" + GET, b""),
    "HTTP/1.0": (b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n!", b"!"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str) -> None:
    data, body = REQUESTS[name]
    assert bodies(both_ways(data, end=True)) == [body]
    twice = both_ways(data + GET + data)
    assert bodies(twice) == [body, b"", body]
    assert twice.messages[0] == twice.messages[2]
    assert twice.messages[1] == both_ways(GET).messages[0], "something of one request is left for the next"


def test_trailers_are_those_of_their_own_request() -> None:
    outcome = both_ways(REQUESTS["trailers"][0] + GET + REQUESTS["chunks"][0])
    assert [message.trailers for message in outcome.messages] == [[(b"A", b"b"), (b"F", b"")], [], []]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_cut_short(name: str) -> None:
    data, _ = REQUESTS[name]
    begin = len(data) - len(data.lstrip(b"\r\n"))
    for size in range(begin + 1, len(data)):
        outcome = both_ways(data[:size], end=True)
        assert outcome.refusal is not None
        assert outcome.refusal[0] == 400


def test_nothing_at_all_is_no_fault() -> None:
    assert both_ways(b"", end=True) == Outcome([])
    assert both_ways(b"\r\n\r\n", end=True) == Outcome([])


@pytest.mark.parametrize(
    "line",
    [b"", b"0x5", b"+5", b"-5", b"0_5", b"5Z", b" 5", b"5 ", b"\t5", b"5,a", b"1" * 17, b"0" * 17, b"5;\x00",
     b"5;\x0b", b"5;\x7f", b"5;a\r", b"5\n", b";a", b"\xd9\xa5", b"5;a\n"],
)  # fmt: skip
def test_chunk_sizes_that_are_none(line: bytes) -> None:
    assert refusal(CHUNKED + line + b"\r\nhello\r\n0\r\n\r\n") == 400


@pytest.mark.parametrize("data", [b"5\r\nhell\r\n0\r\n\r\n", b"5\r\nhello!\r\n", b"5\r\nhello\n", b"5\r\nhello\r\r\n"])
def test_chunks_of_another_size(data: bytes) -> None:
    assert refusal(CHUNKED + data) == 400


@pytest.mark.parametrize(
    "lines",
    [b"A\r\n", b" A: b\r\n", b"A : b\r\n", b"A: b\n", b"A: \x00\r\n", b"A: b\r\n c\r\n", b"\n", b"\rX\r\n", b": b\r\n"],
)
def test_trailers_that_are_none(lines: bytes) -> None:
    assert refusal(CHUNKED + b"0\r\n" + lines + b"\r\n") == 400
    assert refusal(CHUNKED + b"0\r\nGood: yes\r\n" + lines + b"\r\n") == 400


def test_limits_of_trailers() -> None:
    line = b"A: bcd\r\n"
    exact = CHUNKED + b"0\r\n" + line * 10 + b"\r\n"
    limits: dict[str, Any] = {"max_headers": 10, "max_head": 80}
    small = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert len(small) < 80
    assert bodies(both_ways(exact, **limits)) == [b""]
    assert refusal(exact, max_headers=9, max_head=80) == 431
    assert refusal(exact, max_headers=10, max_head=79) == 431
    assert refusal(CHUNKED + b"0\r\n" + b"A" * 81, **limits) == 431
    assert both_ways(CHUNKED + b"0\r\n" + b"A" * 79, **limits).refusal is None
    assert refusal(CHUNKED + b"0\r\n" + line * 10 + b"bad\r\n\r\n", **limits) == 431


def test_limits_of_bodies() -> None:
    assert bodies(both_ways(POST + b"Content-Length: 10\r\n\r\n0123456789", max_body=10)) == [b"0123456789"]
    assert refusal(POST + b"Content-Length: 11\r\n\r\n", max_body=10) == 413
    assert bodies(both_ways(CHUNKED + b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", max_body=10)) == [b"0123456789"]
    assert refusal(CHUNKED + b"5\r\n01234\r\n6\r\n", max_body=10) == 413
    assert refusal(CHUNKED + b"F" * 16 + b"\r\n") == 413


def test_limits_of_extensions() -> None:
    exact = b"1;" + b"x" * (MAX_EXTENSIONS - 1) + b"\r\n!\r\n0\r\n\r\n"
    assert bodies(both_ways(CHUNKED + exact)) == [b"!"]
    assert refusal(CHUNKED + b"1;" + b"x" * MAX_EXTENSIONS + b"\r\n!\r\n0\r\n\r\n") == 400
    assert refusal(CHUNKED + b"1;" + b"x" * MAX_EXTENSIONS + b"\x00") == 400
    assert refusal(CHUNKED + b"1;" + b"x" * (MAX_EXTENSIONS // 2) + b"\r\n!\r\n" + exact) == 400
    assert refusal(CHUNKED + (b"1;" + b"x" * 99 + b"\r\n!\r\n") * 164) == 400


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/2.0\r\nHost: a\nX",  # two faults: the first byte by byte is the first whole
        b"GET / HTTP/1.1\r\nBad field\r\nA: b\rc\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /\n HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"bad\r\n\r\n",
        CHUNKED + b"0\r\n" + b"A: b\r\n" * 101 + b"bad\r\n\r\n",
        CHUNKED + b"0\r\nbad\r\nA",
        GET + b"\x00",
    ],
)
def test_of_two_faults_the_first_counts(data: bytes) -> None:
    assert both_ways(data).refusal is not None


# ---------------------------------------------------------------- responses


def response(data: bytes, *methods: str, end: bool = False) -> Outcome:
    return both_ways(data, list(methods), end=end)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    ],
)
def test_responses(data: bytes, body: bytes) -> None:
    outcome = response(data + data)
    assert bodies(outcome) == [body, body]
    assert outcome.messages[0] == outcome.messages[1]
    assert outcome.messages[0].head["persists"] is True


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_the_answer_to_head_has_no_body(framing: bytes) -> None:
    outcome = response(OK + framing + b"\r\n" + OK + b"Content-Length: 1\r\n\r\n!", "HEAD", "GET")
    assert bodies(outcome) == [b"", b"!"]


def test_interim_responses_come_before_the_final_one() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    outcome = response(early + OK + b"Content-Length: 1\r\n\r\n!" + early + OK + b"\r\n", "POST", "HEAD")
    assert [message.head["status"] for message in outcome.messages] == [100, 103, 200, 100, 103, 200]
    assert bodies(outcome) == [b"", b"", b"!", b"", b"", b""]


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_a_body_until_the_server_closes(version: bytes) -> None:
    outcome = response(version + b" 200 OK\r\n\r\nhello\r\n\r\nHTTP/1.1 200 OK\r\n", end=True)
    assert bodies(outcome) == [b"hello\r\n\r\nHTTP/1.1 200 OK\r\n"]
    assert outcome.messages[0].head["persists"] is False
    assert not response(version + b" 200 OK\r\n\r\nhello").messages[0].whole


@pytest.mark.parametrize(
    "data",
    [OK + b"Content-Length: 5\r\n\r\nhell", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", OK, OK[:5]],
)
def test_a_response_cut_short(data: bytes) -> None:
    assert refusal(data, [], end=True) == 400


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"GET / HTTP/1.1\r\n\r\n", 502), (b"\x00\r\n\r\n", 400), (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", 400),
     (b"HTTP/1.1 200\nA: b\r\n\r\n", 400)],
)  # fmt: skip
def test_no_response_at_all(data: bytes, status: int) -> None:
    assert refusal(data, []) == status


# ---------------------------------------------------------------- writing


def joined(pieces: list[Any]) -> bytes:
    return b"".join(piece.read(len(piece)) if isinstance(piece, FileSlice) else piece for piece in pieces)


def test_chunks_as_written(tmp_path: Path) -> None:
    assert chunk(b"") == []
    assert joined(chunk(b"x" * 255)) == b"ff\r\n" + b"x" * 255 + b"\r\n"
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        pieces = chunk(FileSlice(file, 2, 5))
        assert any(isinstance(piece, FileSlice) for piece in pieces)  # so that sendfile sends it
        assert joined(pieces) == b"5\r\n23456\r\n"
        assert chunk(FileSlice(file, 2, 0)) == []


def test_last_chunks() -> None:
    assert last_chunk() == b"0\r\n\r\n"
    trailers, _ = encode_fields([("A", "b"), ("C", "d")])
    assert last_chunk(trailers) == b"0\r\nA: b\r\nC: d\r\n\r\n"
    trailers, _ = encode_fields([("Content-Length", "5"), ("Transfer-Encoding", "chunked")])
    assert last_chunk(trailers) == b"0\r\n\r\n"  # RFC 9110, 6.5.1


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=6))
def test_what_is_written_in_chunks_is_read_again(pieces: list[bytes], places: list[int]) -> None:
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    data += b"".join(joined(chunk(piece)) for piece in pieces) + last_chunk(b"A: b\r\n")
    outcome = read(cut(data + OK + b"Content-Length: 1\r\n\r\n!", places), [])
    assert bodies(outcome) == [b"".join(pieces), b"!"]
    assert outcome.messages[0].trailers == [(b"A", b"b")]


# ---------------------------------------------------------------- properties


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 600), max_size=8))
def test_valid_requests_however_they_are_cut(messages: list[bytes], places: list[int]) -> None:
    data = b"".join(messages)
    whole = read([data], end=True)
    assert whole.refusal is None
    assert len(whole.messages) == len(messages)
    assert whole.messages == [read([message]).messages[0] for message in messages]
    assert read(cut(data, places), end=True) == whole
    assert read(each(data), end=True) == whole


@given(mutated() | st.binary(max_size=60), st.lists(st.integers(0, 400), max_size=5), st.booleans())
@example(b"GET / HTTP/2.0\r\nHost: a\n", [], False)
@example(CHUNKED + b"0\r\nbad\r\nA", [], False)
@example(b"\r\n", [1], True)
def test_any_bytes_have_one_outcome_however_they_are_cut(data: bytes, places: list[int], end: bool) -> None:
    whole = read([data], end=end)  # raises nothing but Refusal
    assert read(each(data), end=end) == whole
    assert read(cut(data, places), end=end) == whole


@given(mutated(), st.sampled_from([[], ["HEAD"]]))
def test_any_bytes_have_one_outcome_for_a_client(data: bytes, methods: list[str]) -> None:
    data = data.replace(b" HTTP/1.1\r\nHost:", b"\r\nHost:").replace(b"POST /", b"HTTP/1.1 200 ")
    whole = read([data], methods, end=True)
    assert read(each(data), methods, end=True) == whole


# ---------------------------------------------------------------- h11 as an oracle


def h11_read(data: bytes) -> list[tuple[Any, ...]] | None:
    """Return (method, target, fields, body, trailers) of the requests that h11 reads; None if it refuses any."""
    found: list[tuple[Any, ...]] = []
    conn = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    conn.receive_data(data)
    request: h11.Request | None = None
    body = b""
    try:
        while True:
            event = conn.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                found.append(
                    (
                        request.method,
                        request.target,
                        list(request.headers.raw_items()),
                        body,
                        list(event.headers.raw_items()),
                    )
                )
                if request.method == b"CONNECT":
                    return found
                conn.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                conn.send(h11.EndOfMessage())
                if conn.our_state is h11.MUST_CLOSE:
                    return found
                conn.start_next_cycle()
            else:
                return found
    except h11.RemoteProtocolError:
        return None


def plain(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return fields without those that have an underscore; with the transfer coding in lower case, as in h11."""
    small = ((name, value.lower() if name.lower() == b"transfer-encoding" else value) for name, value in fields)
    return [(name, value) for name, value in small if b"_" not in name]


def taken(data: bytes) -> list[tuple[Message, bytes]]:
    """Return each request that we read from `data`, with its bytes."""
    reader = Reader(Limits())
    found: list[tuple[Message, bytes]] = []
    begin = 0
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        messages = reader.outcome.messages
        if len(messages) > len(found) and messages[-1].whole:
            found.append((messages[-1], data[begin : at + 1]))
            begin = at + 1
    return found


def agrees_with_h11(data: bytes) -> None:
    """Each request that we read is the same request to h11, no byte more or less. It may accept more than we do.

    Differences on purpose:

    - empty lines before a request are skipped (RFC 9112, 2.2); h11 refuses them
    - a field with an underscore in its name is dropped (BAD_INPUT 45); h11 keeps it
    - an absolute-form target becomes its path; h11 leaves it as it is
    """
    for mine, part in taken(data):
        theirs = h11_read(part.lstrip(b"\r\n"))
        assert theirs is not None, f"h11 refuses what we take: {part!r}"
        assert len(theirs) == 1, f"h11 sees the end of a request elsewhere: {part!r}"
        method, target, fields, body, trailers = theirs[0]
        assert mine.head["method"].encode() == method
        if target.startswith(b"/"):
            assert mine.head["target"].encode() == target
        assert plain(mine.fields) == plain(fields)
        assert mine.body == body
        assert mine.trailers == plain(trailers)


@given(st.lists(requests(), min_size=1, max_size=3))
def test_h11_reads_valid_requests_as_we_do(messages: list[bytes]) -> None:
    agrees_with_h11(b"".join(messages))


@given(mutated())
def test_h11_takes_what_we_take(data: bytes) -> None:
    agrees_with_h11(data)


FRAMING = st.sampled_from(
    [b"Content-Length: 5", b"Content-Length: 6", b"Content-Length: 05", b"Content-Length:5 ", b"content-length: 5, 5",
     b"Content-Length: +5", b"Content-Length:", b"Transfer-Encoding: chunked", b"transfer-encoding: CHUNKED",
     b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked",
     b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding : chunked",
     b"Transfer-Encoding: chunked\x0b", b"Transfer_Encoding: chunked", b"Content-Length: 5\r\n 6", b"Host: a",
     b"Connection: close", b"Connection: keep-alive"]
)  # fmt: skip


@settings(max_examples=500)
@given(
    st.lists(FRAMING, max_size=3),
    st.sampled_from([b"1.1", b"1.0"]),
    st.sampled_from([b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"]),
)
def test_h11_and_we_never_differ_on_where_a_request_ends(fields: list[bytes], minor: bytes, body: bytes) -> None:
    lines = b"".join(field + b"\r\n" for field in fields)
    agrees_with_h11(b"POST / HTTP/%b\r\nHost: a\r\n%b\r\n%b" % (minor, lines, body) + GET)


STRICTER: dict[str, bytes] = {
    "the same length twice": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n!",
    "5, 5": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n!",
    "a host that is none": b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
    "an empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "a bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "obs-fold": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
    "a target in no form": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "an expectation unknown": b"GET / HTTP/1.1\r\nHost: a\r\nExpect: b\r\n\r\n",
    "a space behind a chunk's size": CHUNKED + b"1 \r\n!\r\n0\r\n\r\n",
    "control bytes in a value": b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x01c\r\n\r\n",
}
"""What h11 (0.16) takes and we refuse, on purpose: RFC 9112 lets a server refuse each."""


@pytest.mark.parametrize("name", STRICTER)
def test_where_we_are_stricter_than_h11(name: str) -> None:
    assert refusal(STRICTER[name]) in (400, 417, 501)
    assert h11_read(STRICTER[name]) is not None, "h11 refuses it now: strike it from the list"


# ---------------------------------------------------------------- time


def calls(work: Callable[[], object]) -> int:
    """Count the calls that `work` makes, in Python and in C: a measure that other load does not change."""
    count = 0

    def see(frame: object, event: str, argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def in_pieces(data: bytes, size: int = 65536) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_many_small_chunks_take_linear_time() -> None:
    def body(count: int) -> list[bytes]:
        return in_pieces(CHUNKED + b"1\r\n!\r\n" * count + b"0\r\n\r\n")

    few, many = body(2_000), body(8_000)
    assert calls(lambda: read(many)) < 4.5 * calls(lambda: read(few))
    begun = time.process_time()
    assert bodies(read(body(200_000))) == [b"!" * 200_000]
    assert time.process_time() - begun < 5


def test_what_is_not_whole_is_not_looked_at_again_and_again() -> None:
    """Work is bounded by the limits: for an endless line, endless empty lines, a long extension, byte by byte."""
    begun = time.process_time()
    assert read(each(b"GET / HTTP/1.1\r\nA: " + b"a" * 40_000)).refusal == (431, "the head is larger than 32768 bytes")
    assert read(each(b"GET /" + b"a" * 40_000)).refusal == (414, "the first line is longer than 32768 bytes")
    refusal = read(each(b"\r\n" * 20_000)).refusal
    assert refusal == (400, "more than 16 empty lines before a message")
    assert read(each(CHUNKED + b"1;" + b"a" * 40_000)).refusal is not None
    assert read(each(CHUNKED + b"0\r\n" + b"a" * 40_000)).refusal is not None
    assert time.process_time() - begun < 10
