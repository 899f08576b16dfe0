"""The client of a load over HTTP/2: as many requests at once on its connection as the plan has streams.

`request_client.RequestClient` decides when a request is sent; here a request is a stream of its own, and its response
comes in any order. A stream that is too late, or that the server resets, fails alone.
"""

from __future__ import annotations

import ssl
from typing import Final

from allcomers.commands.load.data.record import SENT
from allcomers.commands.load.run.client import NO_HTTP2, Group, Phase
from allcomers.commands.load.run.request_client import RequestClient
from allcomers.commands.load.run.response_end import LIMITS, ExpectedBody, expected_body
from allcomers.config.limits import Http2Limits, Rate
from allcomers.errors import Refusal
from allcomers.protocol.http2.events import (
    DataReceived,
    ResponseReceived,
    SessionFailed,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from allcomers.protocol.http2.frames import ErrorCode
from allcomers.protocol.http2.session import Session
from allcomers.protocol.http2.state import SessionPhase

_NO_RATE: Final = Rate(1 << 62, 0.0)

HTTP2_LIMITS: Final = Http2Limits(
    stream_window=1 << 30, connection_window=1 << 30, resets=_NO_RATE, faults=_NO_RATE, pings=_NO_RATE,
    settings=_NO_RATE, empty_frames=_NO_RATE, priorities=_NO_RATE, window_updates=_NO_RATE,
)  # fmt: skip
"""Windows as wide as h2load's, so that the server alone sets the pace; a server may send what it likes."""


class _Request:
    """A request whose response is not complete. Times are ns; `body_sent`: bytes of its body; `expected`: the body that
    its response is to have."""

    __slots__ = ("body_sent", "due", "expected", "sent", "status")

    def __init__(self, due: int, sent: int, expected: ExpectedBody | None) -> None:
        self.due = due
        self.sent = sent
        self.status = 0
        self.body_sent = 0
        self.expected = expected


class Http2Client(RequestClient):
    """A client whose connection carries many requests at once."""

    __slots__ = ("_body", "_requests", "_session")

    def __init__(self, group: Group, key: int, start: int) -> None:
        super().__init__(group, key, start)
        self._body = group.plan.body
        self._session = _session()
        self._requests: dict[int, _Request] = {}  # by stream, the oldest first

    def in_flight(self) -> int:
        return len(self._requests)

    @property
    def has_room(self) -> bool:
        """Whether another request can be sent at once: the server's SETTINGS, which may limit streams, are known."""
        return (
            self.phase is Phase.OPEN
            and self._session.phase is SessionPhase.OPEN
            and len(self._requests) < min(self._group.pipeline, len(self._requests) + self._session.places)
        )

    # ------------------------------------------------------------ requests

    def send_request(self, due: int, now: int) -> None:
        self._start(due, now)
        self._send_output(now)

    def _fill(self, now: int) -> None:
        group = self._group
        while self.has_room and group.claim_request():
            self._start(now, now)
        self._send_output(now)

    def _start(self, due: int, now: int) -> None:
        """Queue a request."""
        group = self._group
        if not self._requests:
            self.set_deadline(now + group.timeout)
        group.record.counters[SENT] += 1
        stream = self._session.request(group.next_request(), not self._body)
        request = self._requests[stream] = _Request(due, now, expected_body(group.plan))
        if self._body:
            self._send_body(stream, request)

    def _send_body(self, stream: int, request: _Request) -> None:
        """Queue what the windows allow of the body."""
        start = request.body_sent
        end = min(start + self._session.room(stream), len(self._body))
        if end > start:
            request.body_sent = end
            self._session.send(stream, self._body[start:end], end == len(self._body))

    def _send_output(self, now: int) -> None:
        if self._session.pending and self.phase is Phase.OPEN:
            self.send(self._session.output(), now)

    # ------------------------------------------------------------ what happens

    def opened(self, now: int) -> None:
        self._session = _session()
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.selected_alpn_protocol() != "h2":
            self.fail(NO_HTTP2, now)
        else:
            self.set_deadline(now + self._group.timeout)
            self._send_output(now)

    def on_timer(self, now: int) -> None:
        group = self._group
        if self.phase is Phase.DISCONNECTED:
            if group.has_more_requests():
                self.connect(now)
            return
        if self._session.phase is SessionPhase.SETTINGS:
            self.fail("time-out", now)
            return
        for stream, request in list(self._requests.items()):
            if request.sent + group.timeout > now:
                break
            self._session.reset(stream, ErrorCode.CANCEL)
            self._give_up(stream, "time-out", now)
        self._continue(now)
        if self._requests:
            self.set_deadline(next(iter(self._requests.values())).sent + group.timeout)

    def received(self, data: bytes, now: int) -> None:
        if not data:
            self.fail("closed", now)
            return
        session = self._session
        requests = self._requests
        for event in session.receive(data, now / 1e9):
            if isinstance(event, DataReceived):
                if (expected := requests[event.stream].expected) is not None:
                    expected.receive(event.data)
                if event.complete:
                    self._complete(event.stream, now)
                else:
                    session.consumed(event.stream, len(event.data))
            elif isinstance(event, ResponseReceived):
                requests[event.stream].status = event.status
                if event.complete:
                    self._complete(event.stream, now)
            elif isinstance(event, TrailersReceived):
                self._complete(event.stream, now)
            elif isinstance(event, StreamReset):
                self._give_up(event.stream, _kind_of(event), now)
            elif isinstance(event, WindowOpened):
                self._window_opened(event.stream)
            elif isinstance(event, SessionFailed):
                raise Refusal(400, event.reason)
        self._continue(now)

    def _window_opened(self, stream: int) -> None:
        for number in [stream] if stream else list(self._requests):
            request = self._requests.get(number)
            if request is not None and request.body_sent < len(self._body):
                self._send_body(number, request)

    def _complete(self, stream: int, now: int) -> None:
        """Count a response that is complete."""
        request = self._requests.pop(stream)
        differs = request.expected.end() if request.expected is not None else 0
        self._group.recorder.answered(request.due, request.sent, now, request.status | differs)
        self._session.reset(stream)  # if the server has answered before the body was sent
        self._pause = 0
        if self._group.think and not self._requests:
            self._next_from = now + self._group.think

    def _give_up(self, stream: int, kind: str, now: int) -> None:
        """Count a request that gets no response, and wait a while before the next."""
        if self._requests.pop(stream, None) is not None:
            self._group.record.failed(1, kind)
            self._next_from = now + self.next_pause()

    def _continue(self, now: int) -> None:
        """Send what there is to send, or leave a connection that the server leaves."""
        if self._session.peer_goaway is not None and not self._requests:
            self.disconnect(now)
            self.on_timer(now)
        elif self.has_room:
            self._send_next(now)
        self._send_output(now)

    def lost(self, kind: str, now: int) -> None:
        if self._requests:
            self._group.record.failed(len(self._requests), kind)
            self._requests.clear()
        elif kind != "closed":  # closing an idle connection is no error
            self._group.record.errors[kind] += 1
        self.set_deadline(now + self.next_pause())


def _kind_of(event: StreamReset) -> str:
    if not event.remote:
        return f"malformed: {event.reason}"
    try:
        return f"stream reset: {ErrorCode(event.code).name}"
    except ValueError:
        return "stream reset: an unknown code"


def _session() -> Session:
    return Session(is_server=False, limits=LIMITS, http2=HTTP2_LIMITS)
