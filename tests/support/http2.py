"""Frames of HTTP/2 written byte by byte, good and bad, and what a session makes of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from allcomers.config.limits import Http2Limits, Limits
from allcomers.protocol.hpack.encoder import encode
from allcomers.protocol.http2.events import Http2Event
from allcomers.protocol.http2.frames import PREFACE, ErrorCode, FrameType
from allcomers.protocol.http2.session import Session

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return fields as a header block, without a table and whatever they are."""
    return b"".join(encode(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields)


def headers(
    stream: int, fields: Iterable[tuple[str, str]] = GET, flags: int = END_STREAM | END_HEADERS
) -> bytes:  # fmt: skip
    return frame(HEADERS, flags, stream, block(fields))


def setting(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *value) for value in values))


def window(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream: int, code: int = ErrorCode.CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


HELLO = PREFACE + setting()
"""What a client begins with."""


class Frame(NamedTuple):
    """A frame that a session has sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or GOAWAY."""
        return int(struct.unpack_from(">I", self.payload, 0 if self.kind == RST_STREAM else 4)[0])


def parse(data: bytes) -> list[Frame]:
    """Return the frames in what a session has sent, without a preface."""
    found = []
    while data:
        size = int.from_bytes(data[:3])
        kind, flags, stream = struct.unpack_from(">BBI", data, 3)
        assert len(data) >= 9 + size
        found.append(Frame(kind, flags, stream, data[9 : 9 + size]))
        data = data[9 + size :]
    return found


class Exchanged(NamedTuple):
    """What a session has made of some bytes."""

    events: list[Http2Event]
    frames: list[Frame]

    def only(self, kind: type) -> Any:
        """Return the one event of this kind."""
        (event,) = [event for event in self.events if isinstance(event, kind)]
        return event

    @property
    def error(self) -> tuple[int, int] | None:
        """The (stream, code) of the last RST_STREAM or GOAWAY."""
        errors = [(sent.stream, sent.code) for sent in self.frames if sent.kind in (RST_STREAM, GOAWAY)]
        return errors[-1] if errors else None


def server(
    *, started: bool = True, connect: bool = False, http2: dict[str, Any] | None = None, **limits: Any
) -> Session:
    """Return a server's session, whose client has begun and acknowledged its SETTINGS."""
    session = Session(is_server=True, limits=Limits(**limits), http2=Http2Limits(**(http2 or {})), connect=connect)
    session.output()
    if started:
        exchange(session, HELLO + frame(SETTINGS, ACK, 0))
    return session


def client(http2: dict[str, Any] | None = None, **limits: Any) -> Session:
    """Return a client's session, whose server has begun."""
    session = Session(is_server=False, limits=Limits(**limits), http2=Http2Limits(**(http2 or {})))
    session.output()
    exchange(session, setting() + frame(SETTINGS, ACK, 0))
    return session


def exchange(session: Session, data: bytes, now: float = 0.0) -> Exchanged:
    """Give bytes to a session, and return its events and frames."""
    return Exchanged(session.receive(data, now), parse(session.output()))


def name_of(kind: int) -> str:
    return FrameType(kind).name if kind in FrameType else f"0x{kind:x}"
