"""The reports: what a connection wants and until when, in each phase. No socket, and a clock that the test moves."""

from __future__ import annotations

import io
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allcomers import Delimited, LengthPrefixed, Service
from allcomers.connection.base import (  # fmt: skip
    CALL,
    FAREWELL,
    HIGH_WATER,
    LINGER,
    READ,
    RUNNING,
    WRITE,
    Phase,
)
from allcomers.connection.call import PENDING, TIMED_OUT, PartialResponse
from allcomers.connection.progress import GRACE, STALL
from allcomers.connection.tls import PLAIN_HTTP
from allcomers.errors import ClientGone, HttpError
from allcomers.protocol.body import SPOOL_AT
from allcomers.protocol.encode import named_status
from allcomers.protocol.http1 import Responses
from allcomers.protocol.message import FileSlice, Request, Response
from allcomers.server.tls.certificates import server_context
from support import offline
from support.certificates import Certificate
from support.offline import START, Noted, answers, statuses

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD_TIMEOUT = 10.0
KEEP_ALIVE = 75.0
RATE = 240.0


@pytest.fixture(scope="module", autouse=True, params=["apart", "at once"])
def drive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Reports and calls one by one; and once more as a loop with inline calls has them, in one step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline, "at_once", request.param == "at once")
        yield


def asked(method: bytes = b"GET", target: bytes = b"/", *fields: bytes, body: bytes = b"", minor: int = 1) -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"%b %b HTTP/1.%d\r\nHost: a\r\n%b\r\n%b" % (method, target, minor, lines, body)


def answering(*args: Any, **keywords: Any) -> Callable[[Request], Response]:
    """A handler that always answers so."""
    return lambda request: Response(*args, **keywords)


def echo(request: Request) -> Response:
    return Response(request.body, headers=[("X-Path", request.path)])


# ---------------------------------------------------------------- requests and answers


def test_a_request_is_one_read_one_call_one_send() -> None:
    far = offline.http()
    conn = far.conn
    assert conn.wants == READ
    conn.received(GET, far.now)
    assert conn.wants == READ | CALL
    work = conn.take_call()
    assert conn.wants == READ | RUNNING
    conn.answered(work, work(), far.now)
    assert conn.wants == READ | WRITE
    segment = conn.output()
    assert isinstance(segment, bytes)
    assert statuses(segment) == [200]
    conn.sent(len(segment), far.now)
    assert conn.wants == READ
    assert conn.phase is Phase.IDLE


def test_an_answer_and_its_fields() -> None:
    far = offline.http(answering(b"Hello", headers=[("A", "b"), ("Connection", "upgrade"), ("Keep-Alive", "5")]))
    far.hear(GET)
    ((status, fields, body),) = answers(far.said)
    assert (status, body) == (200, b"Hello")
    assert fields == {
        "a": "b", "date": "Thu, 01 Jan 1970 00:00:00 GMT", "server": "allcomers", "content-length": "5",
    }  # fmt: skip


def test_an_app_may_say_who_serves_and_when() -> None:
    far = offline.http(answering(b"Hello", headers=[("date", "Fri, 02 Jan 1970 00:00:00 GMT"), ("Server", "other")]))
    far.hear(GET)
    ((_, fields, _),) = answers(far.said)
    assert (fields["date"], fields["server"]) == ("Fri, 02 Jan 1970 00:00:00 GMT", "other")


def test_an_app_may_give_a_status_its_own_reason() -> None:
    far = offline.http(answering(b"", status=named_status(404, b"Lost")))
    far.hear(GET)
    assert far.said.startswith(b"HTTP/1.1 404 Lost\r\n")


def test_pipelined_requests_are_answered_in_order() -> None:
    far = offline.http(echo)
    bodies = [b"x" * size for size in (0, 1, 70_000, 3, 200_000, 0)]
    data = b"".join(
        asked(b"POST", b"/%d" % number, b"Content-Length: %d" % len(body), body=body)
        for number, body in enumerate(bodies)
    )
    far.hear(data)
    assert [(fields["x-path"], body) for _, fields, body in answers(far.said)] == [
        (f"/{number}", body) for number, body in enumerate(bodies)
    ]
    slow = offline.http(echo)
    slow.hear_each(data[:2000])
    slow.hear(data[2000:])
    assert slow.said == far.said


def test_the_next_request_is_not_looked_at_while_a_call_runs() -> None:
    far = offline.http(echo)
    conn = far.conn
    conn.received(asked(target=b"/1") + asked(target=b"/2") + b"\x00 bad", far.now)
    first = conn.take_call()
    conn.received(b" and worse", far.now)
    assert conn.phase is Phase.CALLED
    conn.answered(first, first(), far.now)
    assert conn.wants & CALL
    call = conn.take_call()
    conn.answered(call, call(), far.now)
    far.run()
    assert statuses(far.said) == [200, 200, 400]
    assert far.shut


@pytest.mark.parametrize("status", [200, 204, 205, 304, 404])
@pytest.mark.parametrize("body", [b"", b"Hello", "pieces"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_client_reads_each_answer_to_its_end(status: int, body: bytes | str, method: bytes) -> None:
    """Two answers in a row, read by the client's role of the framing: the second begins where the first ends."""

    def handler(request: Request) -> Response:
        return Response([b"He", b"", b"llo"] if isinstance(body, str) else body, status=status)

    far = offline.http(handler)
    far.hear(asked(method) * 2)
    responses = Responses(far.conn._limits)
    responses.feed(far.said)
    for _ in range(2):
        head = responses.head(method.decode())
        assert head is not None
        assert head.status == status
        assert head.persists
        content = responses.body()
        assert responses.complete
        expected = b"" if method == b"HEAD" or status in (204, 205, 304) else b"Hello" if body else b""
        assert content == expected
    assert responses.buffer == b""


def test_head_has_the_length_of_get() -> None:
    far = offline.http(answering(b"Hello"))
    far.hear(asked(b"HEAD"))
    assert b"Content-Length: 5\r\n" in far.said
    assert far.said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "stays"),
    [
        (asked(), True),
        (asked(b"GET", b"/", b"Connection: close"), False),
        (asked(minor=0), False),
        (asked(b"GET", b"/", b"Connection: keep-alive", minor=0), True),
        (asked(b"GET", b"/", b"Connection: Upgrade", b"Upgrade: websocket"), True),
        (asked(b"GET", b"/", b"Connection: keep-alive, Upgrade, HTTP2-Settings", b"Upgrade: h2c"), True),
    ],
)
def test_who_may_stay(request_: bytes, stays: bool) -> None:
    far = offline.http()
    far.hear(request_)
    assert statuses(far.said) == [200]
    assert (b"Connection: close\r\n" in far.said) is not stays
    assert (b"Connection: keep-alive\r\n" in far.said) is (stays and b"HTTP/1.0" in request_)
    assert far.closed is not stays


def test_an_app_may_end_the_connection() -> None:
    far = offline.http(answering(b"Hello", headers=[("Connection", "close")]))
    far.hear(GET + GET)
    assert statuses(far.said) == [200]
    assert far.said.count(b"Connection: ") == 1
    assert far.shut


def test_an_old_client_gets_a_stream_until_the_end() -> None:
    far = offline.http(answering([b"a", b"b"]))
    far.hear(asked(b"GET", b"/", b"Connection: keep-alive", minor=0))
    head, _, body = far.said.partition(b"\r\n\r\n")
    assert body == b"ab"
    assert b"Connection: close" in head
    assert b"chunked" not in head
    assert far.shut or far.closed


def test_half_closed_after_the_request() -> None:
    far = offline.http()
    far.conn.received(GET, far.now)
    far.conn.received(b"", far.now)
    assert far.conn.wants == CALL  # and READ never again: an end of file would be told for ever
    far.run()
    assert statuses(far.said) == [200]
    assert b"Connection: close\r\n" in far.said
    assert far.closed


def test_half_closed_after_two_requests() -> None:
    far = offline.http()
    far.conn.received(GET + GET, far.now)
    far.conn.received(b"", far.now)
    far.run()
    assert statuses(far.said) == [200, 200]
    assert far.closed


@pytest.mark.parametrize("begun", [b"G", GET[:-2], asked(b"POST", b"/", b"Content-Length: 5", body=b"hell")])
@pytest.mark.parametrize("before", [b"", GET])
def test_the_end_in_the_middle_of_a_request(begun: bytes, before: bytes) -> None:
    far = offline.http()
    far.hear(before + begun)
    far.end()
    assert statuses(far.said) == [200] * bool(before) + [400]
    assert far.closed
    at_once = offline.http()
    at_once.hear(before + begun, calls=False)
    at_once.end()
    at_once.run()
    assert at_once.said.count(b"HTTP/1.1 400 ") == 1
    assert at_once.closed


def test_the_end_before_anything_costs_nothing() -> None:
    noted = Noted()
    far = offline.http(noted=noted)
    far.end()
    assert far.closed
    assert (far.said, noted.answers, noted.refusals) == (b"", [], [])


# ---------------------------------------------------------------- 100-continue


def test_continue_is_said_once_before_the_body() -> None:
    far = offline.http(echo)
    far.hear(asked(b"POST", b"/", b"Content-Length: 5", b"Expect: 100-continue"))
    assert far.said == b"HTTP/1.1 100 Continue\r\n\r\n"
    far.hear(b"hello")
    assert answers(far.said)[0][2] == b"hello"
    assert far.said.count(b"100 Continue") == 1


def test_continue_is_not_said_when_the_body_is_here_already() -> None:
    far = offline.http(echo)
    far.hear(asked(b"POST", b"/", b"Content-Length: 5", b"Expect: 100-continue", body=b"hello"))
    assert statuses(far.said) == [200]
    assert b"100 Continue" not in far.said


@pytest.mark.parametrize("minor", [0, 1])
def test_continue_is_not_said_where_it_is_not_for(minor: int) -> None:
    far = offline.http(echo)
    fields = [b"Content-Length: 0"] if minor else [b"Content-Length: 5"]
    far.hear(asked(b"POST", b"/", b"Expect: 100-continue", *fields, minor=minor))
    assert b"100 Continue" not in far.said


def test_continue_is_not_said_for_a_body_that_is_too_large() -> None:
    far = offline.http(echo, max_body=4)
    far.hear(asked(b"POST", b"/", b"Content-Length: 5", b"Expect: 100-continue"))
    assert statuses(far.said) == [413]


# ---------------------------------------------------------------- deadlines


def test_the_first_head_has_its_time_from_accept_on() -> None:
    far = offline.http()
    assert far.conn.deadline == START + HEAD_TIMEOUT
    for _ in range(9):  # a byte each second buys no time
        far.sleep(1)
        far.hear(b"G")
        assert far.conn.deadline == START + HEAD_TIMEOUT
    far.sleep(0.999)
    assert not far.said
    far.sleep(0.001)
    assert statuses(far.said) == [408]
    assert far.shut


def test_who_says_nothing_is_closed_without_a_word() -> None:
    far = offline.http()
    far.sleep(HEAD_TIMEOUT)
    assert far.closed
    assert far.said == b""


def test_empty_lines_buy_no_time() -> None:
    far = offline.http()
    for _ in range(90):
        far.sleep(0.1)
        far.hear(b"\r\n")
        far.hear(b"\r")
        far.hear(b"\n")
    far.sleep(1.001)
    assert far.closed


def test_keep_alive_and_the_next_head() -> None:
    far = offline.http()
    far.sleep(3)
    far.hear(GET)
    assert far.conn.deadline == far.now + KEEP_ALIVE
    far.sleep(KEEP_ALIVE - 1)
    assert not far.closed
    far.hear(b"G")
    assert far.conn.deadline == far.now + HEAD_TIMEOUT
    far.sleep(HEAD_TIMEOUT - 1)
    far.hear(b"E")
    far.sleep(1)
    assert statuses(far.said) == [200, 408]


def test_idle_is_closed_without_a_word() -> None:
    far = offline.http()
    far.hear(GET)
    far.sleep(KEEP_ALIVE)
    assert far.closed
    assert statuses(far.said) == [200]


def test_no_deadline_for_a_call() -> None:
    far = offline.http()
    far.conn.received(GET, far.now)
    assert far.conn.deadline == float("inf")
    far.conn.take_call()
    assert far.conn.deadline == float("inf")


def test_a_body_may_take_as_long_as_it_moves() -> None:
    far = offline.http(answering(b""))
    size = 100_000
    far.hear(asked(b"POST", b"/", b"Content-Length: %d" % size))
    sent = 0
    while sent + 300 < size:
        far.hear(b"x" * 300)
        sent += 300
        far.sleep(1)
    far.hear(b"x" * (size - sent))
    assert statuses(far.said) == [200]


@pytest.mark.parametrize("fields", [[b"Content-Length: 100000"], [b"Transfer-Encoding: chunked"]])
def test_a_body_below_the_minimum_rate(fields: list[bytes]) -> None:
    far = offline.http()
    far.hear(asked(b"POST", b"/", *fields))
    assert far.conn.deadline == START + GRACE
    if b"chunked" in fields[0]:
        far.hear(b"FFFF\r\n")
    for _ in range(5):
        far.hear(b"x" * 230)
        far.sleep(0.99)
    assert not far.said
    far.sleep(0.05)
    assert statuses(far.said) == [408]
    assert far.shut


def test_a_body_that_stops_is_cut_within_two_looks() -> None:
    far = offline.http()
    far.hear(asked(b"POST", b"/", b"Content-Length: 1000000", body=b"x" * 100_000))
    far.sleep(2 * GRACE)
    assert statuses(far.said) == [408]


def test_no_minimum_rate_if_none_is_asked() -> None:
    far = offline.http(min_rate=0.0)
    far.hear(asked(b"POST", b"/", b"Content-Length: 5"))
    far.sleep(1000)
    assert not far.said
    far.hear(b"hello")
    assert statuses(far.said) == [200]


def test_a_reader_that_does_not_read() -> None:
    """The kernel takes 300,000 bytes, and from then on nothing leaves it."""
    noted = Noted()
    far = offline.http(answering(b"x" * 1_000_000), noted=noted, room=300_000)
    far.hear(GET)
    assert far.conn.wants == WRITE  # 700,000 bytes unsent: nothing more is read
    assert far.conn.deadline == START + GRACE
    far.held = 300_000
    far.sleep(GRACE)
    assert far.conn.deadline == START + GRACE + STALL
    far.sleep(STALL - 0.001)
    assert not far.closed
    far.sleep(0.001)
    assert far.closed
    assert not far.shut
    (entry,) = noted.answers
    assert entry["status"] == 200
    assert 299_000 < entry["sent"] < 300_000


def test_a_reader_that_never_begins() -> None:
    far = offline.http(answering(b"x" * 1_000_000), room=100)
    far.hear(GET)
    far.sleep(GRACE)
    assert far.closed


def test_a_slow_reader_is_judged_by_what_the_kernel_still_holds() -> None:
    """Nothing goes to the kernel for a long time, but what it holds becomes less: the peer reads."""
    far = offline.http(answering(b"x" * 1_000_000), room=500_000)
    far.hear(GET)
    far.held = 500_000
    far.sleep(GRACE)
    for _ in range(20):
        far.held -= int(RATE * STALL)
        far.sleep(STALL)
        assert not far.closed
    far.held -= int(RATE * STALL) - 1
    far.sleep(STALL)
    assert far.closed


def test_a_slow_reader_whose_kernel_takes_more_now_and_then() -> None:
    far = offline.http(answering(b"x" * 1_000_000), room=200_000)
    far.hear(GET)
    far.held = 200_000
    far.sleep(GRACE)
    for _ in range(10):
        far.take(3000)  # the peer has read 3,000, and the kernel holds as much as before
        far.sleep(STALL)
        assert not far.closed
    far.sleep(STALL)
    assert far.closed


def test_who_asks_and_does_not_read_buys_no_time_by_asking() -> None:
    far = offline.http(answering(b"x" * 30_000), room=100)
    far.hear(GET)
    for _ in range(4):
        far.sleep(1)
        far.hear(GET)
        assert far.conn.deadline == START + GRACE
    far.sleep(1)
    assert far.closed


def test_a_streamed_answer_to_a_reader_that_does_not_read() -> None:
    noted = Noted()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
        finally:
            closed.append(True)

    closed: list[bool] = []
    far = offline.http(lambda request: Response(endless()), noted=noted, room=95_000)
    far.hear(GET)
    far.held = 95_000
    far.sleep(GRACE + STALL)
    assert far.closed
    assert closed == [True]
    assert far.farewells == 1
    (entry,) = noted.answers
    assert 90_000 <= entry["sent"] <= 100_000


def test_a_stream_of_which_the_kernel_holds_much_before_any_is_unsent() -> None:
    """Each piece went out at once until the kernel was full: from then on it takes nothing for a while."""
    far = offline.http(lambda request: Response(iter(lambda: b"x" * 1_000, b"")), room=95_000)
    far.hear(GET)
    far.held = 95_000
    far.sleep(GRACE)
    for _ in range(20):
        far.held -= int(RATE * STALL)
        far.sleep(STALL)
        assert not far.closed
    far.sleep(STALL)
    assert far.closed


def test_a_refused_peer_is_heard_a_moment_longer() -> None:
    far = offline.http()
    far.hear(b"\x00")
    assert far.shut
    assert far.conn.wants == READ
    far.sleep(LINGER / 2)
    for _ in range(10):
        far.hear(b"x" * 100_000)  # forgotten, and buys no time
    assert far.conn.deadline == START + LINGER
    far.sleep(LINGER / 2)
    assert far.closed
    assert far.conn._reader.buffer in (b"", b"\x00")  # type: ignore[attr-defined]


def test_a_refused_peer_that_closes_is_gone_at_once() -> None:
    far = offline.http()
    far.hear(b"\x00")
    far.end()
    assert far.closed


def test_a_refused_peer_that_does_not_read_the_refusal() -> None:
    far = offline.http(room=0)
    far.hear(b"\x00")
    assert far.conn.wants == READ | WRITE
    for _ in range(20):
        far.sleep(GRACE / 20)
        far.hear(b"more")
    assert far.closed


# ---------------------------------------------------------------- back-pressure


def test_nothing_is_read_while_much_is_unsent() -> None:
    far = offline.http(answering(b"x" * HIGH_WATER), room=0)
    far.hear(GET)
    assert far.conn.wants == WRITE
    far.take(1000)
    assert far.conn.wants == READ | WRITE  # what is left is not much any more


def test_no_call_while_much_is_unsent() -> None:
    calls: list[str] = []

    def handler(request: Request) -> Response:
        calls.append(request.path)
        return Response(b"x" * 40_000)

    far = offline.http(handler, room=0)
    far.hear(b"".join(asked(target=b"/%d" % number) for number in range(10)))
    assert calls == ["/0", "/1"]
    assert not far.conn.wants & (CALL | READ)
    far.take(1 << 20)
    assert len(calls) == 10
    assert statuses(far.said) == [200] * 10


def test_not_more_is_read_than_can_be_looked_at() -> None:
    far = offline.http()
    many = GET * (HIGH_WATER // len(GET) + 2)
    far.hear(many, calls=False)
    assert far.conn.wants == CALL
    far.run()
    assert far.conn.wants == READ
    assert statuses(far.said) == [200] * (far.conn.served)
    assert far.conn.served >= HIGH_WATER // len(GET)


def test_a_client_that_asks_without_end_and_reads_nothing_is_bounded() -> None:
    far = offline.http(answering(b"x" * 100), room=0)
    for _ in range(100):
        far.hear(GET * 1000)
    assert far.conn.codec.unsent < 2 * HIGH_WATER
    assert far.conn._buffered() <= 3 * HIGH_WATER


def test_a_piece_is_not_asked_for_before_the_last_one_has_gone() -> None:
    pulled: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(5):
            pulled.append(number)
            yield b"x" * 100

    far = offline.http(lambda request: Response(pieces()), room=0)
    far.hear(GET + GET)
    assert pulled == [0]
    assert not far.conn.wants & CALL
    far.take(150)
    assert pulled == [0]
    far.take(100)
    assert pulled == [0, 1]
    far.take(10_000)
    assert pulled == [*range(5), *range(5)]
    assert far.said.endswith(b"0\r\n\r\n")


def test_an_empty_piece_is_no_end() -> None:
    far = offline.http(lambda request: Response([b"", b"a", b"", b"", b"b", b""]))
    far.hear(GET)
    assert far.said.endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


# ---------------------------------------------------------------- leaving


def test_drain_while_nothing_was_ever_asked() -> None:
    far = offline.http()
    far.sleep(5)
    far.conn.drain(far.now, 0.1)
    assert far.conn.deadline == far.now + FAREWELL
    far.sleep(FAREWELL)
    assert far.closed
    assert far.said == b""


def test_drain_while_idle() -> None:
    far = offline.http()
    far.hear(GET)
    far.conn.drain(far.now, 0.1)
    assert far.conn.deadline == far.now + 0.1
    far.sleep(0.05)
    far.conn.drain(far.now, 5)  # once is enough
    far.hear(GET)  # this one was on its way
    assert statuses(far.said) == [200, 200]
    assert far.said.count(b"Connection: close") == 1
    assert far.shut


def test_drain_in_the_middle_of_a_request() -> None:
    far = offline.http(echo)
    far.hear(asked(b"POST", b"/", b"Content-Length: 5", body=b"he"))
    far.conn.drain(far.now)
    far.hear(b"llo")
    assert answers(far.said)[0][2] == b"hello"
    assert b"Connection: close" in far.said


def test_drain_buys_a_slow_head_no_time() -> None:
    """Another client that waits for the place, or a server that leaves, is no reason to wait longer for this one."""
    far = offline.http()
    far.sleep(2)
    far.hear(GET[:10])
    far.sleep(2)
    far.conn.drain(far.now, 0.1)
    far.sleep(HEAD_TIMEOUT - 4)
    assert statuses(far.said) == [408]
    closing = far.now
    far.sleep(LINGER / 2)
    far.conn.drain(far.now)
    assert far.conn.deadline == closing + LINGER


def test_drain_of_a_client_that_begins_to_ask_then_counts_from_accept() -> None:
    far = offline.http()
    far.sleep(2)
    far.conn.drain(far.now, 0.1)
    far.hear(GET[:10])
    assert far.conn.deadline == far.now - 2 + HEAD_TIMEOUT


def test_drain_while_calls_run_answers_what_is_asked() -> None:
    far = offline.http()
    far.hear(GET + GET + GET, calls=False)
    work = far.conn.take_call()
    far.conn.drain(far.now)
    far.conn.answered(work, work(), far.now)
    far.run()
    assert statuses(far.said) == [200] * 3
    assert far.said.count(b"Connection: close") == 1
    assert far.said.rindex(b"Connection: close") > far.said.rindex(b"HTTP/1.1 200")


def test_drain_in_the_middle_of_a_stream() -> None:
    far = offline.http(answering([b"a", b"b"]), room=0)
    far.hear(GET)
    far.conn.drain(far.now)
    far.take(10_000)
    assert far.said.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")  # its head did not say close: the idle time tells
    assert far.conn.deadline <= far.now + FAREWELL
    far.sleep(FAREWELL)
    assert far.closed


# ---------------------------------------------------------------- apps that get it wrong


def test_an_app_that_raises_is_a_500_and_the_connection_stays() -> None:
    def handler(request: Request) -> Response:
        raise [ValueError("secret"), SystemExit(1), KeyboardInterrupt()][int(request.path[1:])]

    noted = Noted()
    far = offline.http(handler, noted=noted)
    far.hear(b"".join(asked(target=b"/%d" % number) for number in range(3)))
    assert statuses(far.said) == [500] * 3
    assert b"secret" not in far.said
    assert [type(error) for error in noted.errors] == [ValueError, SystemExit, KeyboardInterrupt]
    assert not far.closed


@pytest.mark.parametrize(
    "answer",
    [
        None, b"bytes", "text", 5, Response("text"), Response([b"ok", "text"][1:]), Response(None), Response(5),
        Response(b"x", status=100), Response(b"x", status="200 OK"), Response(b"x", headers=[("A",)]),
        Response(b"x", headers=[("Content-Length", "-1")]), Response(b"x", headers=[("Content-Length", "9" * 5000)]),
        Response(b"x", headers=[("Content-Length", "5 5")]), Response(b"x", headers=[("A", "b\r\nC: d")]),
        Response([b"x"], headers=[("A", "\n")]), Response(bytearray(b"x")),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_sent_is_a_500(answer: Any) -> None:
    noted = Noted()
    far = offline.http(lambda request: answer if request.path == "/" else Response(b"good"), noted=noted)
    far.hear(GET + asked(target=b"/next"))
    assert statuses(far.said) == [500, 200]
    assert len(noted.errors) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda close: Response(None, close=close),
        lambda close: Response(5, close=close),
        lambda close: Response(b"x", headers=[("A", "\n")], close=close),
        lambda close: Response(b"x", status=99, close=close),
        lambda close: Response([b"x"], headers=[("A", "\n")], close=close),
        lambda close: Response(["text"], close=close),
        lambda close: Response([b"x", "text"], close=close),
    ],
)
def test_an_answer_that_cannot_be_sent_is_closed_once(make: Callable[[Any], Response]) -> None:
    closed: list[bool] = []
    far = offline.http(lambda request: make(lambda: closed.append(True)), noted=Noted())
    far.hear(GET)
    far.lose()
    assert closed == [True]


def test_an_answer_that_cannot_be_sent_with_a_bad_request_behind_it() -> None:
    noted = Noted()
    far = offline.http(answering(b"x", headers=[("A", "b\r\n")]), noted=noted)
    far.hear(GET + b"\x00")
    assert statuses(far.said) == [500, 400]
    assert far.shut


def test_an_http_error_of_a_handler() -> None:
    def handler(request: Request) -> Response:
        raise HttpError(404, "no such thing", headers=[("A", "b")])

    far = offline.http(handler)
    far.hear(GET)
    ((status, fields, body),) = answers(far.said)
    assert (status, fields["a"], body) == (404, "b", b"no such thing\n")


@pytest.mark.parametrize("first", [b"HEAD", b"GET"])
def test_an_app_that_changes_its_request_changes_no_framing(first: bytes) -> None:
    """Where the answer ends is decided by what the client asked, not by what the app made of it."""

    def handler(request: Request) -> Response:
        request.method = "GET" if request.method == "HEAD" else "HEAD"
        request.version = "1.0"
        request.target = "/other"
        return Response([b"Hel", b"lo"] if request.path == "/stream" else b"Hello")

    noted = Noted()
    for target in (b"/", b"/stream"):
        far = offline.http(handler, noted=noted)
        far.hear(asked(first, target) + asked(b"GET", target))
        responses = Responses(far.conn._limits)
        responses.feed(far.said)
        for method in (first.decode(), "GET"):
            head = responses.head(method)
            assert head is not None
            assert responses.body() == (b"" if method == "HEAD" else b"Hello")
            assert responses.complete
        assert responses.buffer == b""
        assert not far.closed
    assert [entry["target"] for entry in noted.answers] == ["/", "/", "/stream", "/stream"]


class Tracked:
    """A body in pieces that says how often it was closed, and may raise on the way."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = list(pieces)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._pieces:
            raise StopIteration
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1


def test_a_stream_that_breaks_before_its_first_piece() -> None:
    noted = Noted()
    body = Tracked(ValueError("early"))
    far = offline.http(lambda request: Response(body), noted=noted)
    far.hear(GET)
    assert statuses(far.said) == [500]
    assert body.closed == 1


def test_a_stream_that_breaks_in_the_middle_is_never_passed_off_as_whole() -> None:
    noted = Noted()
    body = Tracked(b"some", ValueError("late"), b"more")
    far = offline.http(lambda request: Response(body), noted=noted)
    far.hear(GET + GET)
    assert far.said.endswith(b"4\r\nsome\r\n")
    assert far.shut
    assert body.closed == 1
    assert len(noted.errors) == 1


@pytest.mark.parametrize(
    ("promised", "pieces", "sent"),
    [(5, [b"Hello"], b"Hello"), (3, [b"Hel", b"lo"], b"Hel"), (3, [b"Hello"], b"Hel"), (9, [b"Hel", b"lo"], b"Hello"),
     (0, [b"Hello"], b""), (5, [], b"")],
)  # fmt: skip
@pytest.mark.parametrize("whole", [True, False])
def test_a_body_that_differs_from_its_length_is_cut_or_closed(
    promised: int, pieces: list[bytes], sent: bytes, whole: bool
) -> None:
    """BAD_INPUT 69: never misframed. Longer than said: cut. Shorter: the connection is closed."""
    body: Any = b"".join(pieces) if whole else pieces
    if whole and promised == 3:
        sent = b"Hel"
    handler = answering(body, headers=[("Content-Length", str(promised))])
    far = offline.http(handler, noted=Noted())
    far.hear(GET)
    head, _, content = far.said.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % promised in head + b"\r\n"
    assert content == sent
    assert far.shut is (len(sent) < promised)
    far.hear(GET)
    assert far.said.count(b"HTTP/1.1 200 OK") == (1 if len(sent) < promised else 2)


def test_a_stream_is_not_pulled_beyond_its_length() -> None:
    body = Tracked(b"Hello", b"never", ValueError("never"))
    far = offline.http(lambda request: Response(body, headers=[("Content-Length", "5")]))
    far.hear(GET)
    assert answers(far.said)[0][2] == b"Hello"
    assert body.closed == 1
    assert not far.closed


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    file = path.open("rb")

    class Shrinking:
        asked = 0

        def fileno(self) -> int:
            self.asked += 1
            if self.asked == 2:  # the head is on its way
                os.truncate(path, 500)
            return file.fileno()

    far = offline.http(lambda request: Response(FileSlice(Shrinking(), 0, 1000), close=file.close))
    far.hear(GET + GET)
    assert far.closed
    assert far.said.endswith(b"x" * 500)
    assert file.closed


@pytest.mark.parametrize("place", ["close", "trailers", "stream close"])
def test_what_an_app_raises_at_the_end_costs_nobody(place: str) -> None:
    noted = Noted()

    def fail() -> None:
        raise RuntimeError(place)

    def trailers() -> Iterator[tuple[str, str]]:
        raise RuntimeError(place)
        yield

    def handler(request: Request) -> Response:
        if place == "close":
            return Response(b"x", close=fail)
        if place == "trailers":
            return Response([b"x"], trailers=trailers())
        return Response([b"x"], close=fail)

    far = offline.http(handler, noted=noted)
    far.hear(asked(b"GET", b"/", b"TE: trailers") * 2)
    assert far.said.count(b"HTTP/1.1 200 OK") == 2
    assert not far.closed
    assert [str(error) for error in noted.errors] == [place] * 2


def test_trailers_go_to_who_takes_them() -> None:
    def handler(request: Request) -> Response:
        found: list[tuple[str, str]] = []

        def body() -> Iterator[bytes]:
            yield b"x"
            found.append(("X-Sum", "120"))

        return Response(body(), trailers=found)

    far = offline.http(handler)
    far.hear(asked(b"GET", b"/", b"TE: trailers"))
    assert far.said.endswith(b"1\r\nx\r\n0\r\nX-Sum: 120\r\n\r\n")
    other = offline.http(handler)
    other.hear(GET)
    assert other.said.endswith(b"1\r\nx\r\n0\r\n\r\n")


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_header_of_an_app_writes_another(name: str, value: str) -> None:
    """BAD_INPUT 68."""
    far = offline.http(answering(b"", headers=[(name, value)]), noted=Noted())
    far.hear(GET)
    head = far.said.partition(b"\r\n\r\n")[0]
    assert far.said.count(b"\r\n\r\n") == 1 or statuses(far.said) == [500]
    assert len(head.split(b"\r\n")) <= 6
    assert head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n")
    assert b"\0" not in head


# ---------------------------------------------------------------- what is noted


def test_an_answer_is_noted_once_it_has_gone() -> None:
    noted = Noted()
    far = offline.http(answering(b"Hello"), noted=noted, room=0)
    fields = [b"Referer: http://r/", b"User-Agent: me"]
    far.sleep(1)
    far.hear(asked(b"GET", b"/a?b", *fields)[:-2])
    far.sleep(2)
    far.hear(b"\r\n")
    far.sleep(1)
    assert noted.answers == []
    far.take(1000)
    (entry,) = noted.answers
    assert entry == {
        "when": -3.0, "peer": offline.PEER, "method": "GET", "target": "/a?b", "version": "HTTP/1.1", "status": 200,
        "sent": 5, "seconds": 3.0, "host": "a", "referer": "http://r/", "agent": "me",
    }  # fmt: skip


def test_pipelined_answers_are_noted_apart() -> None:
    noted = Noted()
    far = offline.http(echo, noted=noted)
    for size in (1, 2, 3):
        far.conn.received(asked(b"POST", b"/%d" % size, b"Content-Length: %d" % size, body=b"x" * size), far.now)
    far.run()
    assert [(entry["target"], entry["sent"]) for entry in noted.answers] == [("/1", 1), ("/2", 2), ("/3", 3)]


def test_each_of_several_answers_is_noted_when_its_own_bytes_have_gone() -> None:
    noted = Noted()
    far = offline.http(answering(b"x" * 100), noted=noted, room=0)
    far.hear(GET * 3)
    size = far.conn.codec.queued // 3
    for number in range(3):
        assert len(noted.answers) == number
        far.take(size - 1)
        assert len(noted.answers) == number
        far.take(1)
    assert [entry["sent"] for entry in noted.answers] == [100] * 3


def test_a_refusal_is_noted() -> None:
    noted = Noted()
    far = offline.http(noted=noted)
    far.hear(GET + b"\x00")
    assert [entry["status"] for entry in noted.answers] == [200]
    assert [(entry["status"], entry["peer"]) for entry in noted.refusals] == [(400, offline.PEER)]


@pytest.mark.parametrize("room", [0, 50, 1000, 5000])
def test_what_is_noted_of_an_answer_whose_client_leaves(room: int) -> None:
    noted = Noted()
    far = offline.http(answering(b"x" * 4000), noted=noted, room=room)
    far.hear(GET)
    if room < 4200:
        assert noted.answers == []
        far.lose()
    (entry,) = noted.answers
    size = len(far.said.partition(b"\r\n\r\n")[2])
    assert entry["sent"] == size
    assert entry["status"] == 200


def test_a_streamed_answer_whose_client_leaves_is_noted_once() -> None:
    noted = Noted()
    body = Tracked(*[b"x" * 1000] * 10)
    far = offline.http(lambda request: Response(body), noted=noted, room=3500)
    far.hear(GET)
    far.lose()
    far.lose()  # as a blocking driver says once more at the end
    (entry,) = noted.answers
    assert 3000 <= entry["sent"] <= 3500
    assert body.closed == 1


# ---------------------------------------------------------------- farewell


def test_farewell_closes_a_stream_once() -> None:
    body = Tracked(*[b"x" * 1000] * 10)
    far = offline.http(lambda request: Response(body), room=0)
    far.hear(GET)
    far.conn.lost(far.now)
    close_call = far.conn.close_call()
    assert close_call is not None
    assert body.closed == 0
    close_call()
    assert body.closed == 1
    assert far.conn.close_call() is None


def test_lost_while_a_call_runs() -> None:
    body = Tracked(b"x" * 1000, b"y")
    closed: list[bool] = []
    for answer in (Response(b"x", close=lambda: closed.append(True)), Response(body)):
        far = offline.http(lambda request, answer=answer: answer)  # type: ignore[misc]
        far.conn.received(GET, far.now)
        work = far.conn.take_call()
        far.conn.lost(far.now)
        assert far.conn.wants == 0
        assert far.conn.close_call() is PENDING, "the app is still at work"
        far.conn.answered(work, work(), far.now)
        assert far.conn.wants == 0
        assert far.conn.close_call() is None  # what the answer had open is closed
    assert closed == [True]
    assert body.closed == 1


def test_a_part_of_a_call_that_was_given_up_never_goes_out() -> None:
    reports: list[Exception | None] = []
    far = offline.http()
    far.conn.received(GET, far.now)
    call = far.conn.take_call()
    far.conn.answered(None, PartialResponse(Response(b"begun"), reports.append), far.now)
    while far.conn.wants & WRITE:
        far._send()
    assert reports == [None]
    far.conn.answered(call, TIMED_OUT, far.now)
    far.conn.answered(None, PartialResponse(b"late", reports.append), far.now)
    assert isinstance(reports.pop(), ClientGone)
    assert b"late" not in far.said


@pytest.mark.parametrize("last", [False, True])
def test_lost_while_a_piece_is_made(last: bool) -> None:
    body = Tracked(b"x", *([] if last else [b"y", b"z"]))
    far = offline.http(lambda request: Response(body))
    far.conn.received(GET, far.now)
    call = far.conn.take_call()
    far.conn.answered(call, call(), far.now)
    far.run(calls=False)
    step = far.conn.take_call()
    far.conn.lost(far.now)
    assert far.conn.close_call() is PENDING
    far.conn.answered(step, step(), far.now)
    close_call = far.conn.close_call()
    assert (close_call is None) is last
    if close_call:
        close_call()
    assert body.closed == 1
    assert far.conn.close_call() is None


def test_no_farewell_after_a_whole_answer() -> None:
    body = Tracked(b"x")
    far = offline.http(lambda request: Response(body))
    far.hear(GET)
    assert body.closed == 1
    far.lose()
    assert far.farewells == 0
    assert body.closed == 1


# ---------------------------------------------------------------- large bodies


def spooled(descriptors: Callable[[], int], kind: str, size: int) -> None:
    seen: list[Any] = []

    def handler(request: Request) -> Response:
        seen.append(request.stream)
        assert len(request.stream.read()) == size
        seen.append(descriptors())
        return Response(request.body[:3])

    before = descriptors()
    far = offline.http(handler)
    body = b"abc" + b"x" * (size - 3)
    if kind == "length":
        far.hear(asked(b"POST", b"/", b"Content-Length: %d" % size, body=body))
    else:
        far.hear(asked(b"POST", b"/", b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)))
    assert answers(far.said)[0][2] == b"abc"
    stream, during = seen
    assert stream.closed
    assert isinstance(stream, io.BytesIO) is (size <= SPOOL_AT)
    assert during == before + (size > SPOOL_AT)
    assert descriptors() == before


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path would open one more


@pytest.mark.parametrize("kind", ["length", "chunked"])
@pytest.mark.parametrize("size", [SPOOL_AT, SPOOL_AT + 1, 3 * SPOOL_AT])
def test_a_large_body_is_a_temporary_file_which_is_closed_afterwards(kind: str, size: int) -> None:
    spooled(open_descriptors, kind, size)


@pytest.mark.parametrize("end", ["lost", "slow", "malformed", "half closed", "too large", "while the call runs"])
def test_the_temporary_file_is_closed_when_its_request_never_ends(end: str) -> None:
    before = open_descriptors()
    far = offline.http(max_body=4 * SPOOL_AT)
    chunks = b"%x\r\n%b\r\n" % (2 * SPOOL_AT, b"x" * 2 * SPOOL_AT)
    far.hear(asked(b"POST", b"/", b"Transfer-Encoding: chunked", body=chunks))
    assert open_descriptors() == before + 1
    if end == "lost":
        far.lose()
    elif end == "slow":
        far.sleep(2 * GRACE)
        assert statuses(far.said) == [408]
    elif end == "malformed":
        far.hear(b"?")
        assert statuses(far.said) == [400]
    elif end == "half closed":
        far.end()
        assert statuses(far.said) == [400]
    elif end == "too large":
        far.hear(b"FFFFFF\r\n")
        assert statuses(far.said) == [413]
    else:
        far.hear(b"0\r\n\r\n", calls=False)
        work = far.conn.take_call()
        far.conn.lost(far.now)
        assert open_descriptors() == before + 1, "the app may be reading it"
        far.conn.answered(work, work(), far.now)
    assert open_descriptors() == before


def test_a_disk_that_is_full_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    noted = Noted()
    far = offline.http(noted=noted)
    far.hear(asked(b"POST", b"/", b"Content-Length: %d" % (2 * SPOOL_AT), body=b"x" * 2 * SPOOL_AT))
    assert statuses(far.said) == [503]
    assert far.shut
    assert [type(error) for error in noted.errors] == [OSError]


def test_nothing_of_a_request_is_left_for_the_next() -> None:
    seen: list[tuple[bytes, dict[str, str], dict[str, str]]] = []

    def handler(request: Request) -> Response:
        seen.append((request.body, dict(request.trailers), dict(request.headers)))
        return Response(b"")

    far = offline.http(handler)
    full = asked(b"POST", b"/", b"Transfer-Encoding: chunked", b"A: b", body=b"1\r\nx\r\n0\r\nT: u\r\n\r\n")
    far.hear(full + GET + full + GET)
    assert seen[0] == seen[2] == (b"x", {"t": "u"}, {"host": "a", "transfer-encoding": "chunked", "a": "b"})
    assert seen[1] == seen[3] == (b"", {}, {"host": "a"})


# ---------------------------------------------------------------- TLS


class TlsClient:
    """The other end, in memory too."""

    def __init__(self, far: offline.Far, trusted: ssl.SSLContext) -> None:
        self.far = far
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.engine = trusted.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._taken = 0

    def shake(self, step: Callable[[bytes], None] | None = None) -> None:
        while True:
            try:
                self.engine.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.give(step)
        self.give(step)

    def give(self, step: Callable[[bytes], None] | None = None) -> None:
        """What this end has to say goes over, and what the other says comes here."""
        (step or self.far.hear)(self._out.read() if self._out.pending else b"" if self._out.eof else self._out.read())
        self.take()

    def take(self) -> None:
        self._in.write(self.far.said[self._taken :])
        self._taken = len(self.far.said)

    def say(self, data: bytes) -> None:
        for begin in range(0, len(data), 16384):
            self.engine.write(data[begin : begin + 16384])
        self.far.hear(self._out.read())
        self.take()

    def heard(self) -> bytes:
        pieces = []
        try:
            while piece := self.engine.read(65536):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)


@pytest.fixture(scope="module")
def server_side(certificate: Certificate) -> ssl.SSLContext:
    return server_context([str(certificate.pem)], [], "", ["http/1.1"])


@pytest.fixture
def secure(server_side: ssl.SSLContext, certificate: Certificate) -> Callable[..., TlsClient]:
    def connect(handler: Callable[[Request], Response] | None = None, **keywords: Any) -> TlsClient:
        client = TlsClient(offline.http(handler, tls=server_side, **keywords), certificate.trusted)
        client.shake()
        return client

    return connect


def test_tls(secure: Callable[..., TlsClient]) -> None:
    client = secure(lambda request: Response(f"{request.scheme} {request.path}".encode()))
    client.say(asked(target=b"/a") + asked(target=b"/b"))
    assert [body for _, _, body in answers(client.heard())] == [b"https /a", b"https /b"]
    assert client.far.conn.deadline == client.far.now + KEEP_ALIVE


def test_tls_byte_by_byte(server_side: ssl.SSLContext, certificate: Certificate) -> None:
    far = offline.http(tls=server_side)
    client = TlsClient(far, certificate.trusted)
    client.shake(far.hear_each)
    client.engine.write(GET)
    client.give(far.hear_each)
    assert statuses(client.heard()) == [200]


def test_tls_carries_much_both_ways(secure: Callable[..., TlsClient], tmp_path: Path) -> None:
    big = bytes(range(251)) * 4000
    client = secure(echo)
    client.say(asked(b"POST", b"/", b"Content-Length: %d" % len(big), body=big))
    assert answers(client.heard())[0][2] == big
    path = tmp_path / "file"
    path.write_bytes(big)
    with path.open("rb") as file:
        client = secure(lambda request: Response(FileSlice(file, 10, len(big) - 20)))
        client.say(GET)
        assert answers(client.heard())[0][2] == big[10:-10]


def test_tls_says_that_this_is_the_end(secure: Callable[..., TlsClient]) -> None:
    client = secure()
    client.say(asked(b"GET", b"/", b"Connection: close"))
    assert statuses(client.heard()) == [200]
    assert client.engine.read(1) == b""  # close_notify: not a cut
    assert client.far.shut


def test_tls_refuses_in_words(secure: Callable[..., TlsClient]) -> None:
    client = secure()
    client.say(b"\x00")
    assert statuses(client.heard()) == [400]
    assert client.far.shut


def test_tls_end_of_the_client(secure: Callable[..., TlsClient]) -> None:
    client = secure()
    with pytest.raises(ssl.SSLWantReadError):
        client.engine.unwrap()
    client.give()
    assert client.far.closed or client.far.shut
    client.far.end()
    assert client.far.closed


@pytest.mark.parametrize(
    "data", [GET, b"\x00" * 100, b"SSH-2.0-OpenSSH_9.6\r\n", b"\x16\x03\x01\xff\xff" + b"\x00" * 100]
)
def test_no_tls_at_all(server_side: ssl.SSLContext, data: bytes) -> None:
    far = offline.http(tls=server_side)
    far.hear(data * 3)
    if not far.shut:  # a record of 65,535 bytes may still come: not in time
        far.sleep(HEAD_TIMEOUT)
    else:
        deadline = far.conn.deadline
        for _ in range(100):  # what follows buys no time and is not kept
            far.hear(data * 100)
        assert far.conn.deadline == deadline
        assert far.conn.codec._incoming.pending <= 3 * len(data)  # type: ignore[attr-defined]
        far.sleep(LINGER)
    assert far.closed
    assert far.said == PLAIN_HTTP if data is GET else b"HTTP" not in far.said


def test_a_handshake_has_the_time_of_a_head(server_side: ssl.SSLContext, certificate: Certificate) -> None:
    for far in (offline.http(tls=server_side), offline.service(Greeter, tls=server_side)):
        client = TlsClient(far, certificate.trusted)
        with pytest.raises(ssl.SSLWantReadError):
            client.engine.do_handshake()
        hello = client._out.read()
        for at in range(9):
            far.sleep(1)
            far.hear(hello[at : at + 1])
        assert not far.closed
        far.sleep(1.001)
        assert far.shut or far.closed
        far.sleep(LINGER)
        assert far.closed


def test_tls_broken_while_a_call_runs(secure: Callable[..., TlsClient]) -> None:
    client = secure()
    client.engine.write(GET + GET)
    far = client.far
    far.conn.received(client._out.read(), far.now)
    work = far.conn.take_call()
    said = far.said
    far.conn.received(b"\x17\x03\x03\x00\x20" + b"x" * 32, far.now)
    assert far.conn.phase is Phase.CLOSING
    far.conn.answered(work, work(), far.now)
    assert far.conn.phase is Phase.CLOSING
    far.run()
    assert far.shut
    assert b"HTTP" not in far.said[len(said) :]
    far.sleep(LINGER)
    assert far.closed


# ---------------------------------------------------------------- services


class Greeter(Service):
    framing = Delimited(b"\n", max_size=100)
    idle_timeout = 30.0

    def __init__(self) -> None:
        self.lost_times = 0
        Greeter.last = self

    last: Greeter

    def connected(self) -> bytes:
        return b"welcome " + self.peer.encode()

    def request(self, data: bytes) -> bytes | None:
        if data == b"boom":
            raise ValueError("boom")
        if data == b"bye":
            self.close()
        return None if data == b"quiet" else data.upper()

    def lost(self) -> None:
        self.lost_times += 1


def test_a_service_greets_answers_and_says_farewell() -> None:
    far = offline.service(Greeter)
    assert far.said == b"welcome 192.0.2.1\n"
    far.hear(b"one\nquiet\ntw")
    far.hear_each(b"o\n")
    assert far.said == b"welcome 192.0.2.1\nONE\nTWO\n"
    far.end()
    assert far.closed
    assert Greeter.last.lost_times == far.farewells == 1


def test_a_service_that_closes() -> None:
    far = offline.service(Greeter)
    far.hear(b"bye\nmore\n")
    assert far.said.endswith(b"BYE\n")
    assert far.shut
    far.sleep(LINGER)
    assert Greeter.last.lost_times == far.farewells == 1


def test_a_service_that_raises_costs_its_peer_alone() -> None:
    noted = Noted()
    far = offline.service(Greeter, noted=noted)
    far.hear(b"boom\nmore\n")
    assert far.said == b"welcome 192.0.2.1\n"
    assert far.shut
    assert len(noted.errors) == 1
    far.end()
    assert Greeter.last.lost_times == 1


@pytest.mark.parametrize("data", [b"x" * 102, b"x" * 101 + b"\n"])
def test_a_message_that_is_too_long(data: bytes) -> None:
    far = offline.service(Greeter)
    far.hear(data)
    far.hear(b"\nmore\n")
    assert far.said == b"welcome 192.0.2.1\n"
    assert far.shut
    far.sleep(LINGER)
    assert far.closed


def test_a_message_that_is_too_long_while_a_call_runs() -> None:
    far = offline.service(Greeter)
    far.conn.received(b"one\ntwo\n", far.now)
    work = far.conn.take_call()
    far.conn.received(b"x" * 200, far.now)
    far.conn.answered(work, work(), far.now)
    far.run()
    assert far.said == b"welcome 192.0.2.1\n"
    assert far.shut
    far.sleep(LINGER)
    assert far.closed
    assert Greeter.last.lost_times == 1


def test_what_comes_before_the_greeting_is_answered_after_it() -> None:
    far = offline.service(Greeter, calls=False)
    far.hear(b"one\ntw", calls=False)
    assert far.said == b""
    far.run()
    far.hear(b"o\n")
    assert far.said == b"welcome 192.0.2.1\nONE\nTWO\n"


def test_times_of_a_service() -> None:
    far = offline.service(Greeter)
    assert far.conn.deadline == START + 30
    far.sleep(29)
    far.hear(b"begun")
    assert far.conn.deadline == far.now + HEAD_TIMEOUT
    far.sleep(9)
    far.hear(b"more")
    far.sleep(1)
    assert far.closed
    assert Greeter.last.lost_times == 1


def test_a_service_whose_class_fails() -> None:
    noted = Noted()

    class Broken(Service):
        def __init__(self) -> None:
            raise RuntimeError("no database")

    far = offline.service(Broken, noted=noted)
    assert far.shut
    assert far.said == b""
    far.end()
    assert far.closed
    assert len(noted.errors) == 1


def test_a_service_whose_framing_fails() -> None:
    noted = Noted()

    class Fragile:
        def split(self, data: bytes) -> tuple[list[bytes], bytes]:
            raise IndexError("oops")

        def wrap(self, answer: bytes) -> bytes:
            return answer

    class Framed(Service):
        framing = Fragile()

    far = offline.service(Framed, noted=noted)
    far.hear(b"x")
    assert far.shut
    assert [type(error) for error in noted.errors] == [IndexError]


def test_an_answer_that_the_framing_cannot_carry() -> None:
    noted = Noted()

    class Long(Service):
        framing = LengthPrefixed(1)

        def request(self, data: bytes) -> bytes:
            return b"x" * 256

    far = offline.service(Long, noted=noted)
    far.hear(b"\x01x")
    assert (far.said, far.shut) == (b"", True)
    assert len(noted.errors) == 1


def test_messages_of_nothing_are_bounded_too() -> None:
    far = offline.service(Greeter)
    for _ in range(100):
        far.hear(b"\n" * 10_000, calls=False)
    assert not far.conn.wants & READ
    assert far.conn._buffered() < 3 * HIGH_WATER
    far.run()
    assert far.conn.wants & READ


def test_a_service_over_tls_greets_after_the_handshake(server_side: ssl.SSLContext, certificate: Certificate) -> None:
    far = offline.service(Greeter, tls=server_side)
    assert far.said == b""
    client = TlsClient(far, certificate.trusted)
    client.shake()
    client.say(b"one\n")
    assert client.heard() == b"welcome 192.0.2.1\nONE\n"
