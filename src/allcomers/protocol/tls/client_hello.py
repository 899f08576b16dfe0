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
    try:
        at = 2 + 32  # version, random
        at += 1 + hello[at]  # session
        at += 2 + _size(hello, at)  # cipher suites
        at += 1 + hello[at]  # compression methods
        return _protocols(hello, at)
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


def _protocols(hello: bytes, at: int) -> list[bytes]:
    """Return what the extensions offer, which begin there. Raises IndexError where they are cut short."""
    end = at + 2 + _size(hello, at)
    at += 2
    while at < end <= len(hello):
        kind, size = _size(hello, at), _size(hello, at + 2)
        at += 4 + size
        if kind == _ALPN:
            return _names(hello[at - size : min(at, end)], size)
    if at == end:
        return []
    raise IndexError


def _names(content: bytes, size: int) -> list[bytes]:
    """Return the names in the content of the extension, which is to have `size` bytes. Raises IndexError."""
    end = 2 + _size(content, 0)
    if not end <= size == len(content):
        raise IndexError
    names = []
    at = 2
    while at < end:
        names.append(content[at + 1 : at + 1 + content[at]])
        at += 1 + content[at]
    if at > end:
        raise IndexError
    return names


def _size(data: bytes, at: int) -> int:
    """Return the number of two bytes that stands there. Raises IndexError where there are fewer."""
    return data[at] << 8 | data[at + 1]
