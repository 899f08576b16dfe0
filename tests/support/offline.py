"""A connection with nobody around it but the test: no socket, and a clock that stands still until it is moved."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from allcomers.config.limits import Limits
from allcomers.config.log_format import Entry
from allcomers.connection.base import CALL, READ, RUNNING, WRITE, Connection
from allcomers.connection.call import Address
from allcomers.connection.http.endpoint import HttpEndpoint
from allcomers.connection.http.http1 import Http1Connection
from allcomers.connection.service import ServiceConnection, ServiceEndpoint
from allcomers.errors import PeerError
from allcomers.protocol.message import FileSlice, Handler, Response
from allcomers.system.counters import CounterRow
from allcomers.system.memory.ledger import Ledger, unbounded

PEER = "192.0.2.1"
SERVER = ("192.0.2.7", 8000)
START = 1000.0
RECEIVE = 64 * 1024

Connect = Callable[[Address, float], Connection]
Wrap = Callable[[Connect], Connect]

at_once = False
"""Whether calls run within the report of what was read, as a loop with inline calls has it. A test may set it."""


class Far:
    """Drives a Connection as a model does, and keeps what it sends.

    now        the clock
    said       bytes that it has sent
    shut       bool: it has shut its sending side down
    room       bytes that its socket takes before it would block; None for all
    held       bytes of those sent that the kernel still holds
    farewells  how often the app got the call for a peer that is gone
    """

    def __init__(
        self, connect: Callable[[Address, float], Connection], *, room: int | None = None, calls: bool = True
    ) -> None:
        self.now = START
        self.conn = connect((PEER, 4711, SERVER), self.now)
        self.said = b""
        self.shut = False
        self.room = room
        self.held = 0
        self.farewells = 0
        self.run(calls=calls)

    @property
    def closed(self) -> bool:
        return not self.conn.wants

    def hear(self, data: bytes, *, calls: bool = True) -> None:
        """Report `data`, in reads of at most 64 KiB; drop what is not wanted any more."""
        for begin in range(0, len(data), RECEIVE) if data else (0,):
            if not self.conn.wants & READ:
                return
            piece = data[begin : begin + RECEIVE]
            if at_once and calls:
                self.conn.received_and_called(piece, self.now, operator.call, lambda: self.now)
            else:
                self.conn.received(piece, self.now)
            self.run(calls=calls)

    def hear_each(self, data: bytes) -> None:
        """Report `data` byte by byte."""
        for at in range(len(data)):
            self.hear(data[at : at + 1])

    def end(self) -> None:
        """Report the end of file."""
        self.hear(b"")

    def run(self, *, calls: bool = True) -> None:
        """Do what is wanted, for as long as that needs no waiting."""
        conn = self.conn
        try:
            while True:
                if conn.wants & CALL and calls:
                    call = conn.take_call()
                    conn.answered(call, call(), self.now)
                elif conn.wants & WRITE and self.room != 0:
                    self._send()
                else:
                    break
        except PeerError:
            conn.lost(self.now)
        assert not calls or not conn.wants & RUNNING
        if self.closed and callable(close_call := conn.close_call()):  # PENDING while a call runs
            close_call()
            self.farewells += 1

    def _send(self) -> None:
        segment = self.conn.output()
        size = len(segment) if self.room is None else min(len(segment), self.room)
        if not len(segment):
            self.shut = True
        elif isinstance(segment, FileSlice):
            data = segment.read(size)
            if not data:
                raise PeerError("a file became shorter while it was sent")
            size = len(data)
            self.said += data
        else:
            assert not self.shut, "something is sent after the end"
            self.said += segment[:size]
        if self.room is not None:
            self.room -= size
        self.conn.sent(size, self.now)

    def take(self, count: int) -> None:
        """Let the socket take `count` bytes more."""
        self.room = (self.room or 0) + count
        self.run()

    def sleep(self, seconds: float) -> None:
        """Move the clock; report each deadline on the way."""
        until = self.now + seconds
        while self.conn.wants and self.conn.deadline <= until:
            assert self.conn.deadline >= self.now, "a deadline is in the past: a loop would spin"
            before = self.now, self.conn.deadline
            self.now = self.conn.deadline
            self.conn.expired(self.now, self.held)
            self.run()
            assert (self.now, self.conn.deadline) != before or not self.conn.wants, "a deadline did not move: a spin"
        self.now = until

    def lose(self) -> None:
        """Report a socket that fails."""
        self.conn.lost(self.now)
        self.run()


class Noted:
    """A log, and a report of what an app raised: both as lists."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.refusals: list[dict[str, Any]] = []
        self.errors: list[BaseException] = []
        self.times: list[tuple[float, float, float]] = []

    def log(self, entry: Entry) -> None:
        method, target, version = entry.request_line
        noted = {name: getattr(entry, name) for name in ("when", "peer", "status", "sent", "seconds", "host")}
        if method:
            noted |= {"method": method, "target": target, "version": f"HTTP/{version}"}
            noted |= {"referer": entry.field(b"referer"), "agent": entry.field(b"user-agent")}
        (self.answers if method else self.refusals).append(noted)
        self.times.append((entry.wait, entry.app, entry.write))

    def report(self, error: BaseException, _: object) -> None:
        self.errors.append(error)


def http(
    handler: Handler | None = None,
    *,
    noted: Noted | None = None,
    tls: Any = None,
    room: int | None = None,
    wrap: Wrap = lambda connect: connect,
    shared: dict[str, Any] | None = None,
    ledger: Ledger | None = None,
    **limits: Any,
) -> Far:
    """Return a peer of an Http1Connection. An app that raises fails the test, unless it is `noted`.

    shared  more of the endpoint
    ledger  where memory held is counted; by default one without bounds
    """

    def fail(error: BaseException, _: object) -> None:
        raise AssertionError("the app raised") from error

    endpoint = HttpEndpoint(
        handler=handler or (lambda request: Response(b"Hello")),
        limits=Limits(**limits),
        date=lambda now: b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        wall=lambda: 0.0,
        report=noted.report if noted else fail,
        counters=CounterRow(),
        ledger=ledger or unbounded(),
        log=noted,
        tls=tls,
        **(shared or {}),
    )
    return Far(wrap(lambda peer, now: Http1Connection(endpoint, peer, now)), room=room)


def service(
    make: Callable[[], Any],
    *,
    noted: Noted | None = None,
    tls: Any = None,
    calls: bool = True,
    wrap: Wrap = lambda connect: connect,
    ledger: Ledger | None = None,
    **limits: Any,
) -> Far:
    """Return a peer of a ServiceConnection, greeted already unless `calls` is False."""
    endpoint = ServiceEndpoint(
        service=make,
        limits=Limits(**limits),
        report=noted.report if noted else _fail,
        counters=CounterRow(),
        ledger=ledger or unbounded(),
        tls=tls,
    )
    return Far(wrap(lambda peer, now: ServiceConnection(endpoint, peer, now)), calls=calls)


def _fail(error: BaseException, _: object) -> None:
    raise AssertionError("the service raised") from error


def statuses(said: bytes) -> list[int]:
    """Return the statuses of the responses in `said`, whose bodies have a Content-Length or end it."""
    return [status for status, _, _ in answers(said)]


def answers(said: bytes, methods: Sequence[str] = ()) -> list[tuple[int, dict[str, str], bytes]]:
    """Return (status, fields, body) of each response in `said`: by a plain reader, not the one that is under test."""
    found: list[tuple[int, dict[str, str], bytes]] = []
    while said:
        head, end, said = said.partition(b"\r\n\r\n")
        assert end, head
        line, *fields = head.decode("latin-1").split("\r\n")
        version, code, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        named = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        assert len(named) == len(fields), fields
        status = int(code)
        bare = status < 200 or status in (204, 304) or (len(methods) > len(found) and methods[len(found)] == "HEAD")
        body = b""
        if not bare:
            size = int(named["content-length"])
            body, said = said[:size], said[size:]
            assert len(body) == size, "the answer was cut off"
        if status >= 200:
            found.append((status, named, body))
    return found
