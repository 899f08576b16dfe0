"""What a response leaves behind until it has gone out: then its file is closed, and its line is written.

The connection knows when that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from allcomers.config.log_format import Entry, Format
from allcomers.connection.http.endpoint import HttpEndpoint, Log
from allcomers.protocol import compiled
from allcomers.protocol.message import Request
from allcomers.system import faults

GONE: Final = 499
"""The logged status of a client that left before it had any of a response: nginx's, and never sent."""


if compiled.COMPILED:
    from allcomers.connection.http._log_record import Finisher, LogLine, finish

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.connection.http._log_record import LogSlots as LogSlots
    from allcomers.connection.http._log_record import RecordSlots
else:

    class LogSlots:
        """The slots of access_log.AccessLog."""

        _fd: int
        _cut: bool
        _line: Callable[[Entry], bytes]
        _second: tuple[int, str]

    class RecordSlots:
        """The slots of an AccessRecord."""

        __slots__ = (
            "app",
            "close",
            "head",
            "headers",
            "line",
            "peer",
            "request_line",
            "seconds",
            "sent",
            "stamp",
            "started",
            "status",
            "wait",
            "when",
            "write",
        )  # fmt: skip

        app: float
        close: Callable[[], object] | None
        head: Request | None
        headers: Iterable[tuple[str, str]]
        line: str
        peer: str
        request_line: tuple[str, str, str]
        seconds: float
        sent: int
        stamp: str
        started: float
        status: int
        wait: float
        when: float
        write: float

        def __init__(
            self,
            head: Request | None,
            request_line: tuple[str, str, str],
            status: int,
            sent: int,
            started: float,
            headers: Iterable[tuple[str, str]] = (),
            close: Callable[[], object] | None = None,
        ) -> None:
            self.head = head
            self.request_line = request_line
            self.status = status
            self.sent = sent
            self.started = started
            self.headers = headers
            self.close = close


def line_maker(fmt: Format) -> Callable[[Entry], bytes]:
    """Return the function that makes the lines of a format."""
    if compiled.COMPILED and fmt.layout is not None:
        try:
            return LogLine(*fmt.layout, fmt.line)
        except LookupError:  # a field that few logs have
            pass
    return lambda entry: fmt.line(entry).encode("ascii")


class AccessRecord(RecordSlots):
    """A response to be logged once it has gone out: the log's Entry, see config.log_format.

    head     the request; None where it was not understood
    sent     bytes of its body; less what has not gone out after all
    started  when the request's first byte came
    headers  of the app's response
    close    closes what is open, then
    """

    __slots__ = ()

    @property
    def host(self) -> str:
        return self.head.host if self.head is not None else ""

    def field(self, name: bytes) -> str:
        value = self.head.value(name) if self.head is not None else None
        return value.strip(b" \t").decode("latin-1") if value else ""

    def answer_field(self, name: str) -> str:
        return ", ".join(value for other, value in self.headers if other.lower() == name)

    def finish(self, endpoint: HttpEndpoint, peer: str, now: float) -> None:
        """Close what is open, and write the line; `peer` is the one that we are connected with. Raise nothing."""
        if self.close is not None:
            _close(self.close, self.head, endpoint, peer)
        if endpoint.log is not None:
            try:
                if not compiled.COMPILED or not finish(self, endpoint.log, endpoint.wall, now):
                    self._write(endpoint, endpoint.log, peer, now)
            except Exception as error:
                _lost(error)

    def _write(self, endpoint: HttpEndpoint, log: Log, peer: str, now: float) -> None:
        head = self.head
        self.seconds = seconds = now - self.started
        self.when = endpoint.wall() - seconds
        self.peer = peer if head is None else head.peer
        self.line = self.stamp = ""
        self.wait = self.app = self.write = 0.0
        if head is not None and head.times is not None:
            times = head.times
            self.wait, self.app = times.wait, times.app
            self.write = max(0.0, now - times.due - self.wait - self.app)
        log.log(self)


def finisher(endpoint: HttpEndpoint) -> Callable[[Iterable[AccessRecord], str, float], None]:
    """Return a function that finishes records of responses which were sent whole."""
    if compiled.COMPILED and endpoint.log is not None:
        return Finisher(endpoint=endpoint, log=endpoint.log, wall=endpoint.wall, lost=_lost)

    def finish_each(records: Iterable[AccessRecord], peer: str, now: float) -> None:
        for record in records:
            record.finish(endpoint, peer, now)

    return finish_each


def _lost(error: BaseException) -> None:
    faults.report(error, "a line of the access log is lost")


def _close(close: Callable[[], object], head: Request | None, endpoint: HttpEndpoint, peer: str) -> None:
    try:
        close()
    except BaseException as error:  # the app's: one request does not stop a server
        assert head is not None
        endpoint.report(error, Request(method=head.method, target=head.target, peer=peer))
