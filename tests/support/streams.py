"""A stream of bytes read as messages, however it is cut: what the tests of the framing compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from allcomers.config.limits import Limits
from allcomers.errors import Refusal
from allcomers.protocol.head import RequestHead, ResponseHead
from allcomers.protocol.http1 import Requests, Responses

_KEPT = ("method", "target", "host", "status", "reason", "version", "length", "chunked", "persists", "expects")


@dataclass
class Message:
    head: dict[str, Any]
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    whole: bool = False


@dataclass
class Outcome:
    """What a stream was: its messages, and why it was refused, if it was."""

    messages: list[Message]
    refusal: tuple[int, str] | None = None

    def refused(self, refusal: Refusal) -> None:
        self.refusal = refusal.status, refusal.reason
        for message in self.messages:
            if not message.whole:  # how much of its body was seen by then is nobody's business
                message.body = b""


def _message(head: RequestHead | ResponseHead) -> Message:
    said = {name: getattr(head, name) for name in _KEPT if hasattr(head, name)}
    return Message(said, [(name, value.strip(b" \t")) for name, value in head.fields])


class Reader:
    """Feeds one role's reader and collects. `methods` are those of the requests that the responses answer."""

    def __init__(self, limits: Limits, methods: Iterable[str] | None = None) -> None:
        self.inbound: Requests | Responses = Requests(limits) if methods is None else Responses(limits)
        self._methods = None if methods is None else iter(methods)
        self._method = ""
        self.outcome = Outcome([])

    def feed(self, data: bytes) -> None:
        if self.outcome.refusal is None:
            self.inbound.feed(data)
            try:
                while self._step():
                    pass
            except Refusal as refusal:
                self.outcome.refused(refusal)

    def end(self) -> None:
        if self.outcome.refusal is None:
            try:
                self.inbound.end()
                if self.outcome.messages:
                    self._complete()
            except Refusal as refusal:
                self.outcome.refused(refusal)

    def _step(self) -> bool:
        messages = self.outcome.messages
        if messages and not messages[-1].whole:
            messages[-1].body += self.inbound.body()
            return self._complete()
        head = self._head()
        if head is None:
            return False
        messages.append(_message(head))
        self._complete()
        return True

    def _head(self) -> RequestHead | ResponseHead | None:
        if isinstance(self.inbound, Requests):
            return self.inbound.head()
        assert self._methods is not None
        last = self.outcome.messages[-1].head["status"] if self.outcome.messages else 200
        if last >= 200 and not self._method:
            self._method = next(self._methods, "GET")
        head = self.inbound.head(self._method)
        if head is not None and head.status >= 200:
            self._method = ""
        return head

    def _complete(self) -> bool:
        last = self.outcome.messages[-1]
        if self.inbound.complete and not last.whole:
            last.whole = True
            last.trailers = [(name, value.strip(b" \t")) for name, value in self.inbound.trailers]
            return True
        return False


def read(pieces: Iterable[bytes], methods: Iterable[str] | None = None, *, end: bool = False, **limits: Any) -> Outcome:
    """What the stream in `pieces` is: requests, or responses to `methods`; with `end`, the peer closes after it."""
    reader = Reader(Limits(**limits), methods)
    for piece in pieces:
        reader.feed(piece)
    if end:
        reader.end()
    return reader.outcome


def each(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces that begin at `places`."""
    marks = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[begin:stop] for begin, stop in pairwise(marks)]
