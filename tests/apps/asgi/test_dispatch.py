"""An HTTP connection whose call goes on while its request still comes: what it wants and until when. No socket."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from allcomers.config.limits import Limits
from allcomers.connection.base import CALL, HIGH_WATER, LINGER, READ, RUNNING, WRITE, Phase
from allcomers.connection.call import CONSUMED, PENDING
from allcomers.connection.http.async_call import Asker
from allcomers.connection.http.endpoint import SKIP, HttpEndpoint
from allcomers.connection.http.http1 import Http1Connection
from allcomers.connection.http.log_record import GONE
from allcomers.connection.http.response_body import EndOfBody, FinalPiece, StreamingBody
from allcomers.connection.progress import GRACE
from allcomers.errors import AnswerError, PeerError
from allcomers.protocol.message import Request, Response
from allcomers.system.counters import CounterRow
from allcomers.system.memory.ledger import unbounded
from support import offline
from support.offline import Far, Noted, answers, statuses

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
EXPECT = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module", autouse=True, params=["apart", "at once"])
def drive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run each test with reports and calls one by one, and in one step, as a loop with inline calls does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline, "at_once", request.param == "at once")
        yield


class Script:
    """An AsyncCall whose outputs come from the test, when it likes.

    heard   what it was told, in order: pieces as bytes, else "more", "whole", "end", "leave"
    """

    def __init__(self, request: Request, asker: Asker) -> None:
        self.request = request
        self.asker = asker
        self.ahead = 0
        self.hungry = False
        self.started = 0
        self.first: Any = PENDING
        self.wants_body = False
        self.heard: list[bytes | str] = []

    def start(self) -> Any:
        self.started += 1
        self.hungry = self.wants_body
        return self.first

    def hear(self, piece: bytes, more: bool) -> None:
        if piece:
            self.heard.append(piece)
            self.ahead += len(piece)
        if not more:
            self.heard.append("whole")
        if piece or not more:
            self.hungry = False

    def end(self) -> None:
        self.heard.append("end")

    def drain(self) -> None:
        self.heard.append("drain")

    def leave(self) -> None:
        self.heard.append("leave")
        self.hungry = False


class Steps(StreamingBody):
    """A StreamingBody that is pushed; it counts its steps and its closes."""

    __slots__ = ("closed", "steps")

    def __init__(self, response: Response, first: bytes | FinalPiece) -> None:
        super().__init__(response, first)
        self.steps = 0
        self.closed = 0

    def step(self) -> Any:
        self.steps += 1
        return PENDING

    def close(self) -> None:
        self.closed += 1


class Ear:
    """The driver of a connection: it keeps the later outputs of a call."""

    def __init__(self, near: Near) -> None:
        self._near = near

    def post(self, call: Any, reply: Any) -> None:
        near = self._near
        if reply is CONSUMED:
            near.conn.consumed(call, near.now)
        else:
            near.conn.answered(call, reply, near.now)
        near.run()


class Near(Far):
    """Drives a connection as a loop does on which calls go on.

    lives   those of its requests
    """

    def __init__(
        self, *, noted: Noted | None = None, room: int | None = None, first: Any = PENDING, hungry: bool = False,
        clock: Callable[[], float] | None = None, **limits: Any,
    ) -> None:  # fmt: skip
        self.lives: list[Script] = []

        def async_call(request: Request, asker: Asker) -> Script:
            script = Script(request, asker)
            script.first, script.wants_body = (first() if callable(first) else first), hungry
            self.lives.append(script)
            return script

        def fail(error: BaseException, _: object) -> None:
            raise AssertionError("the app raised") from error

        endpoint = HttpEndpoint(
            handler=lambda request: Response(b""),
            async_call=async_call,
            limits=Limits(**limits),
            date=lambda now: b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            wall=lambda: 0.0,
            report=noted.report if noted else fail,
            counters=CounterRow(),
            ledger=unbounded(),
            log=noted,
            clock=clock,
        )
        super().__init__(lambda peer, now: Http1Connection(endpoint, peer, now), room=room)
        self.conn.driver = Ear(self)

    @property
    def async_call(self) -> Script:
        return self.lives[-1]

    def say(self, reply: Any) -> None:
        """Post `reply` for the call, if its connection has a driver still."""
        if self.conn.driver is not None:
            self.conn.driver.post(None, reply)

    def wait_for_more(self) -> None:
        """Consume what the call has, and wait for more."""
        self.async_call.ahead = 0
        self.async_call.hungry = True
        self.say(CONSUMED)

    def run(self, *, calls: bool = True) -> None:
        conn = self.conn
        try:
            while True:
                if conn.wants & CALL and calls:
                    call = conn.take_call()
                    reply = call()
                    if reply is PENDING:
                        conn.consumed(call, self.now)
                    else:
                        conn.answered(call, reply, self.now)
                elif conn.wants & WRITE and self.room != 0:
                    self._send()
                else:
                    break
        except PeerError:
            conn.lost(self.now)
        if self.closed:
            conn.driver = None
            if close_call := conn.close_call():
                close_call()
                self.farewells += 1


def hello() -> Response:
    return Response(b"Hello")


def heard(async_call: Script) -> bytes:
    return b"".join(piece for piece in async_call.heard if isinstance(piece, bytes))


# ---------------------------------------------------------------- the body


def test_a_call_begins_with_the_head_and_hears_the_body_as_it_comes() -> None:
    near = Near()
    near.hear(POST % 10)
    assert near.async_call.started == 1
    near.hear(b"abc")
    near.hear(b"defg")
    assert near.async_call.heard == [b"abc", b"defg"]
    near.hear(b"hij")
    assert near.async_call.heard == [b"abc", b"defg", b"hij", "whole"]
    assert near.conn.wants == READ | RUNNING
    near.say(hello())
    assert statuses(near.said) == [200]
    assert near.conn.phase is Phase.IDLE


@pytest.mark.parametrize("first", [PENDING, hello()], ids=["later", "in its start"])
def test_a_call_that_is_over_is_freed_at_once(first: Any) -> None:
    """The collector alone frees a circle: 16,000 instructions a request (bench instructions --kinds asgi)."""
    near = Near(first=first)
    gc.disable()
    try:
        near.hear(GET)
        if first is PENDING:
            near.say(hello())
        call = weakref.ref(near.lives.pop())
        assert call() is None
    finally:
        gc.enable()


def test_a_call_of_a_client_that_is_lost_is_freed_at_once() -> None:
    near = Near()
    gc.disable()
    try:
        near.hear(GET)
        call = weakref.ref(near.lives.pop())
        near.conn.lost(near.now)
        assert call() is None
    finally:
        gc.enable()


def test_no_more_is_read_than_a_call_takes() -> None:
    near = Near()
    near.hear(POST % 1_000_000)
    near.hear(b"x" * 1_000_000)
    assert len(heard(near.async_call)) == HIGH_WATER
    assert near.conn.wants == RUNNING
    near.wait_for_more()
    assert near.conn.wants == READ | RUNNING
    near.hear(b"x" * 10)
    assert near.conn.wants == READ | RUNNING
    near.async_call.ahead = HIGH_WATER
    near.hear(b"x")
    assert near.conn.wants == RUNNING
    assert near.conn.deadline == float("inf")  # the call is slow, not the client


def test_behind_a_whole_body_the_end_is_heard_before_it_is_taken() -> None:
    near = Near()
    near.hear(POST % HIGH_WATER)
    near.hear(b"x" * HIGH_WATER)
    assert near.async_call.ahead == HIGH_WATER
    assert near.conn.wants == READ | RUNNING
    near.hear(b"")
    assert near.async_call.heard[-1] == "end"
    near = Near()
    near.hear(POST % HIGH_WATER)
    near.hear(b"x" * HIGH_WATER)
    near.hear(GET * 5000)  # who goes on asking is not heard without end
    assert near.conn.wants == RUNNING


def test_go_on_is_said_when_the_call_waits_for_the_body() -> None:
    near = Near()
    near.hear(EXPECT % 5)
    assert near.said == b""
    near.wait_for_more()
    assert near.said == b"HTTP/1.1 100 Continue\r\n\r\n"
    near.wait_for_more()
    near.hear(b"hel")
    near.wait_for_more()
    near.hear(b"lo")
    near.say(hello())
    assert near.said.count(b"100 Continue") == 1
    assert near.conn.phase is Phase.IDLE


def test_go_on_is_said_when_the_call_waits_at_once() -> None:
    near = Near(hungry=True)
    near.hear(EXPECT % 5)
    assert near.said == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("stream", [False, True])
def test_go_on_is_not_said_when_the_answer_comes_first(stream: bool) -> None:
    near = Near(first=lambda: Steps(hello(), b"Hello") if stream else hello())
    near.hear(EXPECT % 5)
    if stream:
        near.say(FinalPiece(b""))
    assert b"100 Continue" not in near.said
    assert b"Connection: close" in near.said
    assert near.shut
    near.hear(b"hello")
    near.end()
    assert near.closed


def test_go_on_is_not_said_once_the_body_comes() -> None:
    near = Near()
    near.hear(EXPECT % 5 + b"he")
    near.wait_for_more()
    near.hear(b"llo")
    near.say(hello())
    assert statuses(near.said) == [200]
    assert b"100" not in near.said.partition(b"\r\n")[0]


# ---------------------------------------------------------------- times


def test_a_client_has_time_while_its_call_does_not_wait() -> None:
    near = Near()
    near.hear(POST % 10)
    near.sleep(1000)
    near.hear(b"x")
    near.sleep(1000)
    assert near.said == b""
    assert near.async_call.heard == [b"x"]


def test_a_client_that_its_call_waits_for_is_cut() -> None:
    near = Near(noted=(noted := Noted()))
    near.hear(POST % 10)
    near.sleep(1000)
    near.wait_for_more()
    near.sleep(GRACE - 0.1)
    assert near.said == b""
    near.sleep(0.2)
    assert statuses(near.said) == [408]
    assert near.async_call.heard == ["leave"]
    near.sleep(LINGER + 0.1)
    assert near.closed
    assert [entry["status"] for entry in noted.answers] == [408]


def test_the_time_of_a_call_is_not_its_clients() -> None:
    near = Near(min_rate=10)
    near.hear(POST % 10_000)
    for _ in range(20):
        near.wait_for_more()
        near.sleep(GRACE - 1)
        near.hear(b"x" * 60)  # at the rate, as far as it is waited for
        near.sleep(100)
    assert near.said == b""
    near.wait_for_more()
    near.sleep(2 * GRACE)
    assert statuses(near.said) == [408]


def test_a_trickle_buys_no_time() -> None:
    near = Near(min_rate=10)
    near.hear(POST % 1000)
    for _ in range(20):
        near.wait_for_more()
        near.sleep(1)
        near.hear(b"x")
    assert statuses(near.said) == [408]


def test_the_time_of_one_request_is_not_the_next_ones() -> None:
    near = Near()
    near.hear(POST % 4)
    near.wait_for_more()
    near.hear(b"body")
    near.sleep(60)
    near.say(hello())
    near.sleep(20)
    near.hear(POST % 10)
    near.wait_for_more()
    near.sleep(GRACE + 0.1)
    assert statuses(near.said) == [200, 408]


def test_a_stream_whose_client_does_not_read_is_cut() -> None:
    near = Near(room=0)
    near.hear(GET)
    steps = Steps(Response(b""), b"x" * 1000)
    near.say(steps)
    assert near.conn.wants == READ | WRITE
    near.sleep(GRACE + 0.1)
    assert near.closed
    assert steps.steps == 0
    assert steps.closed == 1
    assert near.async_call.heard == ["leave"]


# ---------------------------------------------------------------- answers


def test_a_stream_goes_on_when_its_piece_has_gone_out() -> None:
    near = Near(room=100)
    near.hear(GET)
    steps = Steps(Response(b""), b"x" * 1000)
    near.say(steps)
    assert steps.steps == 0
    near.take(10_000)
    assert steps.steps == 1
    assert near.conn.wants == READ | RUNNING
    near.say(b"more")
    assert steps.steps == 2
    near.say(FinalPiece(b"!"))
    assert steps.steps == 2
    assert near.said.endswith(b"\r\n4\r\nmore\r\n1\r\n!\r\n0\r\n\r\n")
    assert near.conn.phase is Phase.IDLE


def test_a_stream_may_be_whole_with_its_first_piece() -> None:
    near = Near()
    near.hear(GET)
    near.say(Steps(Response(b""), FinalPiece(b"all")))
    assert near.said.endswith(b"\r\n\r\n3\r\nall\r\n0\r\n\r\n")
    assert near.conn.phase is Phase.IDLE


def test_a_broken_stream_is_never_passed_off_as_whole() -> None:
    near = Near()
    near.hear(GET)
    near.say(Steps(Response(b""), b"some"))
    near.say(EndOfBody.ABORTED)
    assert near.said.endswith(b"4\r\nsome\r\n")
    near.end()
    assert near.closed


def test_the_next_request_begins_when_the_answer_before_is_whole() -> None:
    near = Near()
    near.hear(GET * 3)
    assert len(near.lives) == 1
    near.say(Steps(Response(b"", headers=[("Content-Length", "8")]), b"some"))
    assert len(near.lives) == 1
    near.say(FinalPiece(b"more"))
    assert len(near.lives) == 2
    near.say(hello())
    assert len(near.lives) == 3
    near.say(hello())
    assert [body for _, _, body in answers(near.said)] == [b"somemore", b"Hello", b"Hello"]


def test_an_answer_that_cannot_be_sent_is_a_500_and_its_stream_is_closed() -> None:
    near = Near(noted=(noted := Noted()))
    near.hear(GET)
    steps = Steps(Response(b"", headers=[("a\r\nb", "c")]), b"x")
    near.say(steps)
    assert statuses(near.said) == [500]
    assert steps.closed == 1
    assert isinstance(noted.errors[0], AnswerError)


def test_hints_come_before_the_answer_and_are_bounded() -> None:
    near = Near(room=0)
    near.hear(GET)
    for _ in range(10_000):
        near.async_call.asker.hint([b"</a.css>; rel=preload"])
    near.say(CONSUMED)
    near.take(1_000_000)
    hints = near.said.count(b"103 Early Hints")
    assert 100 < hints < 2000
    near.say(hello())
    near.async_call.asker.hint([b"</a.css>; rel=preload"])  # too late
    near.take(1_000_000)
    assert near.said.count(b"103 Early Hints") == hints
    assert statuses(near.said) == [200]


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1000, SKIP - 1, SKIP * 4])
def test_a_body_that_nobody_takes(size: int, coding: str) -> None:
    """Its rest is heard and dropped, if it is small; then the next request is."""
    near = Near(first=hello)
    if coding == "length":
        data = POST % size + b"x" * size
    else:
        data = CHUNKED + b"".join(b"3e8\r\n" + b"x" * 1000 + b"\r\n" for _ in range(size // 1000)) + b"0\r\n\r\n"
    near.hear(data + GET)
    if size <= SKIP:
        assert statuses(near.said) == [200, 200]
        assert near.conn.phase is Phase.IDLE
    else:
        assert statuses(near.said) == [200]
        assert (b"Connection: close" in near.said) == (coding == "length")
        assert near.shut
        near.sleep(LINGER + 0.1)
        assert near.closed


def test_the_rest_of_a_body_that_does_not_come() -> None:
    near = Near(first=hello)
    near.hear(POST % 1000)
    near.sleep(GRACE + 0.1)
    assert statuses(near.said) == [200]
    assert near.shut
    near.sleep(LINGER + 0.1)
    assert near.closed


# ---------------------------------------------------------------- ends


def test_a_call_is_told_that_its_client_says_no_more() -> None:
    near = Near(noted=(noted := Noted()))
    near.hear(GET)
    near.end()
    assert near.async_call.heard == ["end"]
    assert near.conn.wants == RUNNING
    near.say(hello())
    assert statuses(near.said) == [200]
    assert near.closed
    assert [entry["status"] for entry in noted.answers] == [200]


def test_a_call_that_is_told_so_may_answer_nothing() -> None:
    near = Near(noted=(noted := Noted()))
    near.hear(GET)
    near.end()
    near.say(EndOfBody.ABORTED)
    assert near.said == b""
    assert near.closed
    assert [entry["status"] for entry in noted.answers] == [GONE]


def test_a_second_request_hears_the_end_too() -> None:
    near = Near()
    near.hear(GET + GET)
    near.end()
    near.say(hello())
    assert near.lives[1].heard == ["end"]
    near.say(hello())
    assert statuses(near.said) == [200, 200]
    assert near.closed


@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_ends_in_its_body(begun: bool) -> None:
    near = Near()
    near.hear(POST % 10 + b"half")
    if begun:
        near.say(Steps(hello(), b"Hello"))
    near.end()
    assert near.async_call.heard == [b"half", "leave"]
    near.sleep(LINGER + 0.1)
    assert near.closed
    if not begun:
        assert statuses(near.said) == [400]


@pytest.mark.parametrize("begun", [False, True])
def test_a_body_that_makes_no_sense(begun: bool) -> None:
    near = Near()
    near.hear(CHUNKED + b"2\r\nok\r\n")
    if begun:
        near.say(Steps(Response(b""), b"Hello"))
    near.hear(b"nonsense\r\n")
    assert near.async_call.heard == [b"ok", "leave"]
    if begun:
        assert near.closed
        assert near.said.endswith(b"Hello\r\n")  # no end: it was not whole
    else:
        assert statuses(near.said) == [400]
        near.say(hello())  # too late
        assert statuses(near.said) == [400]


def test_a_body_that_is_too_long() -> None:
    near = Near(max_body=1000)
    near.hear(CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    near.hear(b"1\r\nx\r\n")
    assert statuses(near.said) == [413]
    assert near.async_call.heard[-1] == "leave"


@pytest.mark.parametrize("said", [False, True])
def test_a_client_that_is_lost(said: bool) -> None:
    near = Near(noted=(noted := Noted()))
    near.hear(POST % 10 + b"half")
    steps = Steps(Response(b""), b"x")
    if said:
        near.say(steps)
    near.lose()
    assert near.closed
    assert near.async_call.heard == [b"half", "leave"]
    assert steps.closed == said  # the connection closes the stream that it has
    assert [entry["status"] for entry in noted.answers] == [200 if said else GONE]
    near.say(b"more")
    near.say(EndOfBody.ABORTED)
    assert len(noted.answers) == 1


def test_an_answer_too_late_is_closed() -> None:
    near = Near()
    near.hear(POST % 10)
    near.wait_for_more()
    near.sleep(GRACE + 0.1)
    assert statuses(near.said) == [408]
    closed: list[bool] = []
    near.say(Response(b"late", close=lambda: closed.append(True)))
    assert closed == [True]
    steps = Steps(Response(b""), b"late")
    near.say(steps)
    assert steps.closed == 1
    assert statuses(near.said) == [408]


def test_a_call_is_told_that_the_server_leaves() -> None:
    near = Near()
    near.hear(GET)
    near.conn.drain(near.now)
    assert near.async_call.heard == ["drain"]
    near.say(hello())
    assert b"Connection: close" in near.said
    assert near.shut


def test_its_time_ends_when_its_answer_is_queued() -> None:
    """Not when that is noted: a busy machine may take the core away in between."""
    noted, late = Noted(), [0.0]
    near = Near(noted=noted, clock=lambda: near.now + late[0])
    near.hear(GET)
    near.sleep(1.0)
    late[0] = 0.25
    near.say(Response(b"x"))
    (answer,), ((_, app, _),) = noted.answers, noted.times
    assert answer["seconds"] == app == 1.0
