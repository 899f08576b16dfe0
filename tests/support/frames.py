"""A client's frames, made and read by hand: nothing of the library that the server uses."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from allcomers.protocol.websocket.session import Event, WebSocket

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"\x12\x34\xd6\x78"
MAX_SIZE = 1 << 20


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    size: int | None = None,
) -> bytes:
    """One frame (RFC 6455, 5.2). `reserved`: 4 is RSV1; `size`: what it says of its length, whatever it has."""
    size = len(payload) if size is None else size
    head = bytes([fin << 7 | reserved << 4 | opcode])
    mask = masked << 7
    if size < 126:
        head += bytes([mask | size])
    elif size < 1 << 16:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    return head + KEY + bytes(byte ^ KEY[at % 4] for at, byte in enumerate(payload))


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def deflated(payload: bytes, bits: int = 15) -> bytes:
    """RFC 7692, 7.2.1, with nothing that refers to a message before it."""
    deflater = zlib.compressobj(wbits=-bits)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(payload: bytes, bits: int = 15) -> bytes:
    return zlib.decompressobj(wbits=-bits).decompress(payload + b"\x00\x00\xff\xff")


@dataclass(frozen=True)
class Sent:
    """A frame of the server's."""

    opcode: int
    payload: bytes
    compressed: bool = False


def read(data: bytes) -> list[Sent]:
    """The server's frames: each whole, not masked, with its length in as few bytes as can be."""
    frames = []
    while data:
        assert data[0] & 0b10110000 == 0x80, "every message goes out in one frame, and has no bit that means nothing"
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
            assert size > 125
        elif size == 127:
            size, at = int.from_bytes(data[2:10], "big"), 10
            assert size > 65535
        assert size + at <= len(data), "neither masked nor cut"
        frames.append(Sent(data[0] & 15, data[at : at + size], bool(data[0] & 64)))
        data = data[at + size :]
    return frames


@dataclass
class Talk:
    """What became of what a client said."""

    events: list[Event] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    over: bool = False


def said(websocket: WebSocket, pieces: Iterable[bytes]) -> Talk:
    """The pieces one after the other, each looked at to its end."""
    talk = Talk()
    for piece in pieces:
        talk.events += websocket.feed(piece)
        while websocket.held:
            talk.events += websocket.go_on()
    talk.sent = read(b"".join(websocket.data_to_send()))
    talk.over = websocket.over
    return talk
