"""The PROXY header, versions 1 and 2: a proxy's report of its client, before the client's own first byte.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. This file parses one header; `connection.proxy_header`
requires one of each connection.

The parse follows the specification: nothing is trusted before the header is whole, a line ends with CRLF and nothing
else, unassigned values are refused. The TLVs after the addresses of version 2 are skipped, and so is their checksum,
which the specification leaves to the receiver: TCP has one.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from allcomers.errors import PeerError
from allcomers.protocol.proxy.addresses import ip_of

MOST_1: Final = 107
"""Bytes of a header in version 1, with its CRLF (specification, 2.1)."""

MOST_2: Final = 4096
"""Bytes of a header in version 2: as many as nginx accepts. Most have 28 or 52; a certificate's name adds some."""

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_WORD: Final = b"PROXY "
_PREFIX_2: Final = 16

_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*+)?+\r\n")
_LINE = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f.:]++) ([0-9A-Fa-f.:]++) ([0-9]{1,5}+) ([0-9]{1,5}+)\r\n")

_LOCAL, _PROXY = 0x20, 0x21  # version 2, and the command
_UNSPEC, _INET, _INET6, _UNIX = range(4)
_ADDRESSES: Final = {_INET: 4, _INET6: 16, _UNIX: 108}


class Header(NamedTuple):
    """One header.

    size     its length in bytes
    address  (host, port) of the client, ("", 0) for one on a Unix socket; None where the connection is the proxy's own
             or the header has no address: then the peer's own address counts
    """

    size: int
    address: tuple[str, int] | None


def parse(data: bytes) -> Header | None:
    """Return the header at the start of `data`; None while it may still become one. Raises PeerError once it cannot."""
    if data.startswith(_WORD):
        return _parse_1(data)
    if data.startswith(_SIGNATURE):
        return _parse_2(data)
    if _WORD.startswith(data) or _SIGNATURE.startswith(data):
        return None
    raise PeerError("no PROXY header")


def _parse_1(data: bytes) -> Header | None:
    size = data.find(b"\n", 0, MOST_1) + 1
    if size == 0:
        if len(data) >= MOST_1:
            raise PeerError("a PROXY line without an end")
        return None
    line = data[:size]
    if _UNKNOWN.fullmatch(line):
        return Header(size, None)
    match = _LINE.fullmatch(line)
    if match is None:
        raise PeerError("a malformed PROXY line")
    version, source, target, *ports = match.groups()
    client, _ = _host(source, version), _host(target, version)
    port, _ = (_port(digits) for digits in ports)
    return Header(size, (client, port))


def _host(text: bytes, version: bytes) -> str:
    try:
        ip = ip_of(text.decode("ascii"))
    except ValueError:
        raise PeerError("no address in a PROXY line") from None
    if (b":" in text) is not (version == b"6"):
        raise PeerError("an address of the other family in a PROXY line")
    return str(ip)


def _port(digits: bytes) -> int:
    if int(digits) > 65535 or (digits.startswith(b"0") and digits != b"0"):
        raise PeerError("no port in a PROXY line")
    return int(digits)


def _parse_2(data: bytes) -> Header | None:
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise PeerError("an unknown version or command in a PROXY header")
    if len(data) < _PREFIX_2:
        return None
    size = _PREFIX_2 + int.from_bytes(data[14:16], "big")
    if size > MOST_2:
        raise PeerError(f"a PROXY header of {size} bytes")
    if len(data) < size:
        return None
    return Header(size, None if data[12] == _LOCAL else _client(data[13], data[_PREFIX_2:size]))


def _client(kind: int, block: bytes) -> tuple[str, int] | None:
    family, transport = kind >> 4, kind & 15
    if family > _UNIX or transport > 2:
        raise PeerError("an unknown family or transport in a PROXY header")
    if family == _UNSPEC or transport == 0:
        return None
    length = _ADDRESSES[family]
    ports = 2 * length
    if len(block) < ports + (0 if family == _UNIX else 4):
        raise PeerError("a PROXY header too short for its addresses")
    if family == _UNIX:
        return "", 0
    return str(ip_of(block[:length])), int.from_bytes(block[ports : ports + 2], "big")
