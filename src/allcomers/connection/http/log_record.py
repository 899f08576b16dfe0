"""What an answer leaves behind, until it has gone out: then its file is closed, and its line is written.

When that is, the connection knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from allcomers.connection.call import PartialResponse
from allcomers.connection.http.endpoint import HttpEndpoint
from allcomers.errors import ClientGone
from allcomers.protocol.message import Request

GONE: Final = 499
"""What the log has for a client that left before it had any of an answer: nginx's, no status that is ever sent."""


class AccessRecord:
    """An answer to be noted once it has gone out: the log's Entry, see logformat.

    head     the request's; None where it was not understood
    sent     bytes of its body; less what has not gone out after all
    adopt    when its first byte came
    headers  of the app's answer
    close    what is to be closed then
    """

    __slots__ = (
        "adopt",
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
        "status",
        "wait",
        "when",
        "write",
    )  # fmt: skip

    def __init__(
        self,
        head: Request | None,
        request_line: tuple[str, str, str],
        status: int,
        sent: int,
        adopt: float,
        headers: Iterable[tuple[str, str]] = (),
        close: Callable[[], object] | None = None,
    ) -> None:
        self.head = head
        self.request_line = request_line
        self.status = status
        self.sent = sent
        self.adopt = adopt
        self.headers = headers
        self.close = close

    @property
    def host(self) -> str:
        return self.head.host if self.head is not None else ""

    def field(self, name: bytes) -> str:
        value = self.head.named.get(name) if self.head is not None else None
        return value.strip(b" \t").decode("latin-1") if value else ""

    def answer_field(self, name: str) -> str:
        return ", ".join(value for other, value in self.headers if other.lower() == name)

    def note(self, endpoint: HttpEndpoint, peer: str, now: float) -> None:
        """Write its line; `peer` is the one that we are connected with."""
        assert endpoint.log is not None
        head = self.head
        self.seconds = seconds = now - self.adopt
        self.when = endpoint.wall() - seconds
        self.peer = peer if head is None else head.peer
        self.line = self.stamp = ""
        self.wait = self.app = self.write = 0.0
        if head is not None and head.times is not None:
            times = head.times
            self.wait, self.app = times.wait, times.app
            self.write = max(0.0, now - times.due - self.wait - self.app)
        endpoint.log.log(self)


def note_all(
    endpoint: HttpEndpoint, records: Sequence[AccessRecord | PartialResponse], unsent: int, peer: str, now: float
) -> None:
    """What they are the records of has gone out, but for `unsent` bytes at its end."""
    of_parts = unsent  # the record of an answer has the bytes of its parts, too
    for record in reversed(records):
        if isinstance(record, PartialResponse):
            record.end(ClientGone("the client has gone") if of_parts else None)
            of_parts -= min(of_parts, record.sent)
        else:
            missing = min(unsent, record.sent)
            record.sent -= missing
            unsent -= missing
    for record in records:
        if isinstance(record, PartialResponse):
            continue
        if record.close is not None:
            _close(record.close, record.head, endpoint, peer)
        if endpoint.log is not None:
            record.note(endpoint, peer, now)


def _close(close: Callable[[], object], head: Request | None, endpoint: HttpEndpoint, peer: str) -> None:
    try:
        close()
    except BaseException as error:  # the app's: one request does not stop a server
        assert head is not None
        endpoint.report(error, Request(method=head.method, target=head.target, peer=peer))
