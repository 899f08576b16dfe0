"""The application protocols that a TLS client offers (ALPN, RFC 7301), from its first bytes (RFC 8446, 4.1.2).

OpenSSL selects one of them, but where none is common, Python's ssl goes on without one. So the offer is read here,
before OpenSSL has the bytes. Only what leads to the offer is looked at: any other fault is OpenSSL's to refuse.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 16 * 1024
"""Bytes of a ClientHello that are waited for: those of today's clients have 200 to 2,000."""

MOST_RECORDS: Final = 16
"""Records that it may come in."""

NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
"""The fatal alert for a client with no protocol in common, as a record (RFC 7301, 3.2)."""

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_ALPN: Final = 16


_METHOD: Final = re.compile(rb"[A-Z]{3,20} [/*a-zA-Z]")
_METHOD_BEGUN: Final = re.compile(rb"[A-Z]{1,20} ?")


def is_http(data: bytes) -> bool | None:
    """Return whether `data` begins as a plain HTTP request does; None while it may become one. No handshake begins with
    a letter (RFC 8446, 5.1)."""
    if data[:1] == b"\x16":
        return False
    return True if _METHOD.match(data) else None if _METHOD_BEGUN.fullmatch(data) else False


def offered(data: bytes) -> list[bytes] | None:
    """Return the protocols that the ClientHello at the start of `data` offers: [] where it has no offer, is no
    ClientHello, or is malformed; None while it may still become one of at most LONGEST bytes."""
    hello = _message(data)
    if hello is None:
        return None
    reader = _Reader(hello)
    try:
        reader.take(2 + 32)  # version, random
        for width in (1, 2, 1):  # session, cipher suites, compression methods
            reader.vector(width)
        return _protocols(_Reader(reader.vector(2)))
    except IndexError:
        return []


def _message(data: bytes) -> bytes | None:
    """Return the body of the ClientHello, joined from its records; b"" where this is none, None while it is partial."""
    joined = b""
    at = 0
    for _ in range(MOST_RECORDS):
        if at < len(data) and data[at] != _HANDSHAKE:
            return b""
        if len(data) < at + 5:
            break
        end = at + 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        joined += data[at + 5 : end]
        if joined and joined[0] != _CLIENT_HELLO:
            return b""
        size = 4 + int.from_bytes(joined[1:4], "big") if len(joined) >= 4 else LONGEST
        if size > LONGEST:
            return b""
        if len(joined) >= size:
            return joined[4:size]
        if len(data) < end:
            break
        at = end
    else:
        return b""
    return b"" if len(data) >= LONGEST else None


def _protocols(extensions: _Reader) -> list[bytes]:
    while extensions.left:
        kind = int.from_bytes(extensions.take(2), "big")
        content = extensions.vector(2)
        if kind == _ALPN:
            names = _Reader(_Reader(content).vector(2))
            found = []
            while names.left:
                found.append(names.vector(1))
            return found
    return []


class _Reader:
    """Reads bytes from the left. Raises IndexError where there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise IndexError
        self._at += count
        return self._data[self._at - count : self._at]

    def vector(self, width: int) -> bytes:
        """Return a vector, whose size precedes it in `width` bytes (RFC 8446, 3.4)."""
        return self.take(int.from_bytes(self.take(width), "big"))
