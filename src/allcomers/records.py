"""What an answer leaves behind, until it has gone out: then its file is closed, and its line is written.

When that is, the connection knows.
"""

from __future__ import annotations

from collections.abc import Callable

from allcomers.http_calls import HttpEndpoint
from allcomers.protocol.message import Request


class Record:
    """An answer to be noted once it has gone out; `head` is None for a request that was refused."""

    __slots__ = ("asked", "began", "close", "head", "sent", "status")

    def __init__(
        self,
        head: Request | None,
        asked: tuple[str, str, int],
        status: int,
        sent: int,
        began: float,
        close: Callable[[], object] | None,
    ) -> None:
        self.head = head
        self.asked = asked
        self.status = status
        self.sent = sent
        self.began = began
        self.close = close

    def write(self, endpoint: HttpEndpoint, peer: str, now: float) -> None:
        log, head = endpoint.log, self.head
        assert log is not None
        method, target, minor = self.asked
        seconds = now - self.began
        when = endpoint.wall() - seconds
        if head is None:
            log.refused(when=when, peer=peer, line=b"", status=self.status, sent=self.sent, seconds=seconds)
            return
        log.log(
            when=when,
            peer=peer,
            method=method,
            target=target,
            version=f"HTTP/1.{minor}",
            status=self.status,
            sent=self.sent,
            seconds=seconds,
            host=head.host,
            referer=_text(head, b"referer"),
            agent=_text(head, b"user-agent"),
        )


def _text(head: Request, name: bytes) -> str:
    return head.named.get(name, b"").strip(b" \t").decode("latin-1")
