"""The frames of HTTP/2: their numbers, and their bytes on the way out (RFC 9113, 4 and 6)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of a client (RFC 9113, 3.4)."""


class FrameType(IntEnum):
    """The types of frames (RFC 9113, 6; RFC 9218, 7.1)."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9
    PRIORITY_UPDATE = 0x10


class ErrorCode(IntEnum):
    """The codes of RST_STREAM and GOAWAY (RFC 9113, 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """The parameters of SETTINGS (RFC 9113, 6.5.2; RFC 8441, 3; RFC 9218, 2.1)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    ENABLE_CONNECT_PROTOCOL = 0x8
    NO_RFC7540_PRIORITIES = 0x9


ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

HEAD: Final = struct.Struct(">HBBBL")
"""The head of a frame: the length's first 16 bits and its last 8, type, flags, the stream with a reserved bit."""

HEAD_SIZE: Final = 9
PRIORITY_SIZE: Final = 5
"""Bytes of the priority in HEADERS and PRIORITY, which nobody goes by any more (RFC 9113, 5.3.2)."""

FRAME_SIZE: Final = 16_384
"""Bytes of a payload that each endpoint takes, and the most that is sent to this one (RFC 9113, 4.2)."""

DATA_SIZE: Final = FRAME_SIZE - HEAD_SIZE
"""Bytes of a body that are sent in a frame: with its head it fills a TLS record (RFC 8446, 5.1)."""

MOST_FRAME_SIZE: Final = (1 << 24) - 1
WINDOW: Final = 65_535
"""The window of a connection and of each stream before any SETTINGS or WINDOW_UPDATE (RFC 9113, 6.9.2)."""

MOST_WINDOW: Final = (1 << 31) - 1
LAST_STREAM: Final = (1 << 31) - 1

SETTING: Final = struct.Struct(">HL")
NUMBER: Final = struct.Struct(">L")
_GOAWAY: Final = struct.Struct(">LL")


def frame_head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """Return the head of a frame with a payload of `size` bytes."""
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)


def headers(stream: int, block: bytes, complete: bool, most: int) -> list[bytes]:
    """Return a header block as HEADERS and, where it is longer than `most`, CONTINUATIONs (RFC 9113, 6.2, 6.10)."""
    flags = END_STREAM if complete else 0
    if len(block) <= most:
        return [HEAD.pack(len(block) >> 8, len(block) & 0xFF, FrameType.HEADERS, flags | END_HEADERS, stream), block]
    frames = [frame_head(FrameType.HEADERS, flags, stream, most), block[:most]]
    for at in range(most, len(block), most):
        fragment = block[at : at + most]
        last = END_HEADERS if at + most >= len(block) else 0
        frames += (frame_head(FrameType.CONTINUATION, last, stream, len(fragment)), fragment)
    return frames


def data(stream: int, payload: bytes | memoryview, complete: bool, most: int) -> list[bytes | memoryview]:
    """Return `payload` as DATA frames of at most `most` bytes each; one at least (RFC 9113, 6.1)."""
    end, size = END_STREAM if complete else 0, len(payload)
    if size <= most:
        return [frame_head(FrameType.DATA, end, stream, size), payload]
    frames: list[bytes | memoryview] = []
    view = memoryview(payload)  # PERF: a copy less; output() joins them
    last = size - 1 - (size - 1) % most
    full = frame_head(FrameType.DATA, 0, stream, most)
    for at in range(0, last, most):
        frames += (full, view[at : at + most])
    return [*frames, frame_head(FrameType.DATA, end, stream, size - last), view[last:]]


def settings(values: Iterable[tuple[Setting, int]]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join([SETTING.pack(setting, value) for setting, value in values])
    return frame_head(FrameType.SETTINGS, 0, 0, len(payload)) + payload


SETTINGS_ACK: Final = frame_head(FrameType.SETTINGS, ACK, 0, 0)


def ping(payload: bytes, flags: int = 0) -> bytes:
    """Return a PING with these 8 bytes."""
    return frame_head(FrameType.PING, flags, 0, 8) + payload


def reset(stream: int, code: int) -> bytes:
    """Return a RST_STREAM."""
    return frame_head(FrameType.RST_STREAM, 0, stream, 4) + NUMBER.pack(code)


def goaway(last: int, code: int, debug: bytes = b"") -> bytes:
    """Return a GOAWAY: streams up to `last` were taken."""
    return frame_head(FrameType.GOAWAY, 0, 0, 8 + len(debug)) + _GOAWAY.pack(last, code) + debug


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE."""
    return frame_head(FrameType.WINDOW_UPDATE, 0, stream, 4) + NUMBER.pack(increment)
