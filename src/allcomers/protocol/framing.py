"""Framings for plain TCP services: the end of one message and the start of the next.

A framing cuts received bytes into whole messages and wraps a response for the way back; it holds no state, so one
instance serves all connections. A message over `max_size` is a PeerError: it ends that connection.

A framing may have a method waits(buffer, checked), too: then the bytes of a long message that trickles in are cut once,
not with each that comes. A framing of an app's own needs none.
"""

from __future__ import annotations

from typing import Literal, Protocol

from allcomers.errors import PeerError


class Framing(Protocol):
    """The way in which a service's messages are separated."""

    def split(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return (the whole messages in `data`, the bytes of one that is not whole yet). Raises PeerError."""
        ...

    def wrap(self, answer: bytes) -> bytes:
        """Return `answer` as it is sent. Raises ValueError where this framing cannot carry it."""
        ...


class Raw:
    """No framing: the bytes of one read are a message. For echo and for protocols that frame themselves."""

    def split(self, data: bytes) -> tuple[list[bytes], bytes]:
        return [data], b""

    def wrap(self, answer: bytes) -> bytes:
        return answer


class Delimited:
    r"""Each message ends with `delimiter`, which the service neither sees nor has to write: b"\n" for lines.

    The longest message is `max_size` bytes: 64 KiB, as asyncio's readuntil has it.
    """

    def __init__(self, delimiter: bytes = b"\n", *, max_size: int = 64 * 1024) -> None:
        if not delimiter:
            raise ValueError("a delimiter has at least one byte")
        self.delimiter = delimiter
        self.max_size = max_size

    def split(self, data: bytes) -> tuple[list[bytes], bytes]:
        *messages, rest = data.split(self.delimiter)
        if len(rest) >= self.max_size + len(self.delimiter) or any(len(m) > self.max_size for m in messages):
            raise PeerError(f"a message is longer than {self.max_size} bytes")
        return messages, rest

    def waits(self, buffer: bytearray, checked: int) -> bool:
        """Return True if `buffer`, which begins with a message, has no whole one: of which the first `checked` bytes
        had none."""
        begin = max(0, checked - len(self.delimiter) + 1)
        return len(buffer) < self.max_size + len(self.delimiter) and buffer.find(self.delimiter, begin) < 0

    def wrap(self, answer: bytes) -> bytes:
        return answer + self.delimiter


class LengthPrefixed:
    """Each message follows its length, an unsigned number of `width` bytes: 4, big-endian, as most protocols do.

    The longest message is `max_size` bytes: 1 MiB, so that a peer cannot fill the server's memory.
    """

    def __init__(
        self, width: int = 4, *, byteorder: Literal["big", "little"] = "big", max_size: int = 1024 * 1024
    ) -> None:
        if not 1 <= width <= 8:
            raise ValueError("a length prefix has 1 to 8 bytes")
        self.width = width
        self.byteorder: Literal["big", "little"] = byteorder
        self.max_size = min(max_size, 256**width - 1)

    def split(self, data: bytes) -> tuple[list[bytes], bytes]:
        messages = []
        at = 0
        while len(data) - at >= self.width:
            begin = at + self.width
            size = int.from_bytes(data[at:begin], self.byteorder)
            if size > self.max_size:
                raise PeerError(f"a message is longer than {self.max_size} bytes")
            if begin + size > len(data):
                break
            messages.append(data[begin : begin + size])
            at = begin + size
        return messages, data[at:]

    def waits(self, buffer: bytearray, checked: int) -> bool:
        """Return True if `buffer`, which begins with a message, has no whole one and none that is too long."""
        size = int.from_bytes(buffer[: self.width], self.byteorder)
        return len(buffer) < self.width or len(buffer) < self.width + size <= self.width + self.max_size

    def wrap(self, answer: bytes) -> bytes:
        if len(answer) >= 256**self.width:
            raise ValueError(f"a response of {len(answer)} bytes does not fit a prefix of {self.width}")
        return len(answer).to_bytes(self.width, self.byteorder) + answer
