"""The framing of responses: the compiled cut against plain Python, in any pieces, and malformed responses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from allcomers.commands.load.data.plan import Plan
from allcomers.commands.load.data.record import DIFFERS
from allcomers.commands.load.run import response_end_compiled
from allcomers.commands.load.run.response_end import CLOSES, LIMITS, STATUS, HttpResponseFraming, TcpResponseFraming
from allcomers.errors import Refusal

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\nX: y\r\n\r\n"


@pytest.fixture(params=["compiled", "plain Python"])
def build(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "compiled" and not response_end_compiled.COMPILED:
        pytest.skip("nothing is compiled here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(response_end_compiled, "COMPILED", request.param == "compiled")
        yield


def framing_of(method: str = "GET", **expected: Any) -> HttpResponseFraming:
    return HttpResponseFraming(Plan.make(url="http://127.0.0.1/", method=method, **expected))


def read(stream: bytes, cuts: list[int], method: str = "GET", **expected: Any) -> list[int]:
    """Return all responses of `stream`, which comes in pieces."""
    framing = framing_of(method, **expected)
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    found = []
    for start, end in pairwise(places):
        if start < end:
            found += framing.receive(stream[start:end])
    return found


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(
    ("stream", "method", "expected"),
    [
        (OK, "GET", [200]),
        (OK + OK + CHUNKED, "GET", [200, 200, 206]),
        (OK + CLOSE, "GET", [200, 200 | CLOSES]),
        (EMPTY + b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n" + OK, "GET", [204, 304, 200]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + EMPTY, "HEAD", [200, 204]),
        (INTERIM + OK, "GET", [200]),
        (TRAILERS + OK, "GET", [200, 200]),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", [200 | CLOSES]),
        (b"HTTP/1.1 503\r\nContent-Length:0\r\n\r\n", "GET", [503]),
    ],
)
def test_responses_are_cut_at_any_byte(stream: bytes, method: str, expected: list[int]) -> None:
    for cut in range(1, len(stream)):
        assert read(stream, [cut], method) == expected
    assert read(stream, list(range(len(stream))), method) == expected


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(
    "stream",
    [
        b"hello\r\n\r\n",
        b"\x00\x01\x02",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000,
        CLOSE + OK,
    ],
)
def test_malformed_responses_are_refused(stream: bytes) -> None:
    with pytest.raises(Refusal):
        read(stream, [])


@pytest.mark.usefixtures("build")
def test_a_response_without_a_length_ends_with_its_connection() -> None:
    framing = framing_of()
    assert framing.receive(b"HTTP/1.1 200 OK\r\n\r\nsome") == []
    assert framing.receive(b"thing") == []
    assert framing.receive_eof() == [200 | CLOSES]
    assert framing.receive_eof() == []


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("started", [OK[:-1], OK[:20], CHUNKED[:-3], OK + b"H"])
def test_a_response_that_is_cut_short_is_refused(started: bytes) -> None:
    framing = framing_of()
    framing.receive(started)
    with pytest.raises(Refusal):
        framing.receive_eof()


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("expected", [{"expect": b"hello"}, {"expect_size": 5}])
def test_a_body_is_compared_with_the_one_expected(expected: dict[str, Any]) -> None:
    other = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhullo"
    longer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    for stream, differs in (
        (OK + OK, [0, 0]),
        (CHUNKED, [DIFFERS]),
        (OK + longer + OK, [0, DIFFERS, 0]),
        (other + OK, [DIFFERS if "expect" in expected else 0, 0]),
        (INTERIM + OK, [0]),
        (EMPTY + OK, [DIFFERS, 0]),
        (CLOSE, [CLOSES | DIFFERS]),
    ):
        for cuts in ([], list(range(len(stream))), [len(stream) // 2]):
            assert [one & ~STATUS for one in read(stream, cuts, **expected)] == differs


# ---------------------------------------------------------------- differential

NAMES = st.sampled_from(b"Content-Length content-length Transfer-Encoding Connection Host Expect X a_b A=B".split())
VALUES = st.one_of(
    st.sampled_from([b"0", b"5", b" 5 ", b"05", b"5,5", b"chunked", b"Chunked", b"gzip"]),
    st.sampled_from([b"close", b"keep-alive", b"x, close", b"\x01", b"a b"]),
    st.binary(max_size=6),
)
LINES = st.builds(lambda name, value: name + b":" + value + b"\r\n", NAMES, VALUES)
FIRST = st.one_of(
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 204", b"HTTP/1.1 304 x", b"HTTP/1.0 200 OK", b"HTTP/1.1 100 x"]),
    st.binary(max_size=12),
)
BODIES = st.one_of(
    st.sampled_from([b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"5;x\r\n"]), st.binary(max_size=8)
)
MESSAGES = st.builds(
    lambda first, lines, body: first + b"\r\n" + b"".join(lines) + b"\r\n" + body,
    FIRST,
    st.lists(LINES, max_size=4),
    BODIES,
)


EXPECTED = st.sampled_from([{}, {"expect": b"hello"}, {"expect_size": 5}, {"expect": b"x"}])


@pytest.mark.skipif(not response_end_compiled.COMPILED, reason="nothing is compiled here")
@given(st.lists(st.one_of(st.sampled_from([OK, CHUNKED, EMPTY, CLOSE]), MESSAGES), max_size=3), st.booleans(), EXPECTED)
@example([OK[:-1]], False, {})
@example([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"], False, {})
def test_the_compiled_cut_agrees_with_plain_python(
    messages: list[bytes], bodiless: bool, expected: dict[str, Any]
) -> None:
    stream = b"".join(messages)
    method = "HEAD" if bodiless else "GET"
    if bodiless:
        expected = {}
    found: list[int] = []
    body, length = expected.get("expect", b""), expected.get("expect_size", 0)
    size = response_end_compiled.cut(stream, bodiless, LIMITS.max_head, LIMITS.max_headers, found, body, length)
    assert 0 <= size <= len(stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(response_end_compiled, "COMPILED", False)
        framing = framing_of(method, **expected)
        assert (framing.receive(stream[:size]) if size else []) == found
        assert framing.receive_eof() == []  # nothing was left after the cut


# ---------------------------------------------------------------- tcp


@given(st.binary(min_size=1, max_size=8), st.integers(1, 5), st.lists(st.integers(0, 40), max_size=5))
def test_a_service_sends_the_expected_bytes(answer: bytes, count: int, cuts: list[int]) -> None:
    stream = answer * count
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    for framing in (TcpResponseFraming(answer, 0), TcpResponseFraming(b"", len(answer))):
        found = [one for start, end in pairwise(places) for one in framing.receive(stream[start:end])]
        assert found == [0] * count
        assert framing.receive_eof() == []


def test_other_bytes_are_refused() -> None:
    framing = TcpResponseFraming(b"pong\n", 0)
    framing.receive(b"po")
    with pytest.raises(Refusal):
        framing.receive(b"xx")
    cut_short = TcpResponseFraming(b"", 4)
    cut_short.receive(b"abc")
    with pytest.raises(Refusal):
        cut_short.receive_eof()
