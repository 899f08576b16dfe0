"""The client's address and scheme, as proxies report them in a request: X-Forwarded-For and -Proto, Forwarded.

Anybody can send these fields. So each counts only as far as every hop that passed it on is trusted: from our own peer
back, the rightmost address that is no trusted proxy is the client's (as nginx finds it with real_ip_recursive on). An
element that cannot be parsed ends that walk: nobody vouches for those before it.

Forwarded (RFC 7239) counts only where there is no X-Forwarded-For or -Proto. X-Forwarded-Host, and host= of Forwarded,
never count: few proxies set them, so most pass on a client's invention, and an invented host ends in caches and in
links that are mailed. The Host field is there for that, and any proxy can be set to keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import repeat
from typing import Final, NamedTuple, TypeAlias

from allcomers.errors import ConfigError
from allcomers.protocol.head import RequestHead, remember
from allcomers.protocol.proxy.addresses import ip_of

HOPS: Final = 32
"""Proxies, one behind another, that are read: a client may send thousands of invented ones."""

_LONGEST: Final = 2048
"""Bytes of one Forwarded line; a longer one is not parsed."""

_LONGEST_KNOWN: Final = 200

_REPORTED: Final = (b"x-forwarded-for", b"x-forwarded-proto", b"forwarded")

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_PAIR = re.compile(rf'[ \t]*+(?:({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*+)"))?+[ \t]*+([,;]|\Z)', re.DOTALL)
_NODE = re.compile(r"(?:([0-9.]++)|\[([0-9A-Fa-f:.]++)\])(?::(?:([0-9]{1,5}+)|_[0-9A-Za-z._\-]++))?+")
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_QUAD = re.compile(rf"(?:{_BYTE}\.){{3}}{_BYTE}")
_BARE = re.compile(r"[0-9A-Fa-f.]*+:[0-9A-Fa-f.]*+:[0-9A-Fa-f:.]*+")
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

Network: TypeAlias = IPv4Network | IPv6Network

Origin: TypeAlias = tuple[str, int, str]
"""The origin of a request: host, "" for a Unix socket; port, 0 where it is unknown; scheme, "http" or "https"."""

Found: TypeAlias = tuple[tuple[str, int] | None, str | None]
"""(host, port) and scheme of the client; None for one that no field gives."""


class Hop(NamedTuple):
    """One proxy's report of its own peer, as it wrote it; "" for none."""

    node: str
    scheme: str


class Proxies:
    """The trusted proxies: `text` lists addresses, networks, `unix` and `*`. Raises ConfigError."""

    def __init__(self, text: str) -> None:
        words = [word.strip() for word in text.split(",") if word.strip()]
        self._all = "*" in words
        self._unix = "unix" in words
        self._networks = [_network(word) for word in words if word not in ("*", "unix")]
        self.known: dict[str, bool] = {}
        """Results of trust(), for the fast path."""
        self._clients: dict[tuple[bytes | None, ...], Found] = {}

    def trust(self, host: str) -> bool:
        """Return True if `host` is one of them; "" is a peer on a Unix socket."""
        known = self.known.get(host)
        if known is None:
            known = self._look_up(host)
            remember(self.known, host, known)
        return known

    def _look_up(self, host: str) -> bool:
        if self._all:
            return True
        if not host:
            return self._unix
        try:
            ip = ip_of(host)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)

    def client(self, peer: Origin, head: RequestHead) -> Origin:
        """Return the client of `head`, which `peer` sent to us. Never raises."""
        host, port, scheme = peer
        if not (self.known.get(host) or self.trust(host)):
            return peer
        node, found_scheme = self._found(head)
        if node is not None:
            host, port = node
        return host, port, found_scheme or scheme

    def origin(self, head: RequestHead) -> Origin | None:
        """Return the client of `head` where its fields give all of it, whichever trusted proxy has sent it."""
        node, scheme = self._found(head)
        return None if node is None or scheme is None else (*node, scheme)

    def _found(self, head: RequestHead) -> Found:
        reported = head.values(_REPORTED)
        if reported is None:
            return self._walk(head)
        # PERF: a walk takes three to five times as long as the look-up of an earlier result (bench/request/micro.py).
        found = self._clients.get(reported)
        if found is None:
            found = self._walk(head)
            if sum(len(value or b"") for value in reported) <= _LONGEST_KNOWN:
                remember(self._clients, reported, found)
        return found

    def _walk(self, head: RequestHead) -> Found:
        node: tuple[str, int] | None = None
        scheme: str | None = None
        for hop in _hops(head):
            scheme = _SCHEMES.get(hop.scheme.lower(), scheme)
            found = _node(hop.node)
            if found is None:
                break
            node = found
            if not self.trust(node[0]):
                break
        return node, scheme


def _network(word: str) -> Network:
    try:
        if "%" in word:
            raise ValueError("a zone is for this machine alone")
        network = ip_network(word)
    except ValueError as error:
        raise ConfigError(
            f"--forwarded-allow-ips: {word!r} is no address and no network, nor `unix` or `*` ({error})"
        ) from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:  # see addresses
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _hops(head: RequestHead) -> Iterable[Hop]:
    """Return the proxies' reports, from the nearest proxy on."""
    named = head.named
    if b"x-forwarded-for" in named or b"x-forwarded-proto" in named:
        return _x_forwarded(_values(head, b"x-forwarded-for"), _values(head, b"x-forwarded-proto"))
    if b"forwarded" in named:
        return _forwarded(_lines(head, b"forwarded"))
    return ()


def _lines(head: RequestHead, name: bytes) -> list[str]:
    """Return the values of all fields of this name, the last first."""
    if len(head.named) == len(head.fields):
        return [head.named[name].decode("latin-1")] if name in head.named else []
    return [value.decode("latin-1") for other, value in reversed(head.fields) if other.lower() == name]


def _values(head: RequestHead, name: bytes) -> list[str]:
    """Return the elements between the commas in all fields of this name, the last first, up to HOPS."""
    found: list[str] = []
    for line in _lines(head, name):
        values = line.rsplit(",", HOPS)
        found += [value.strip(" \t") for value in reversed(values)]
        if len(found) >= HOPS:
            break
    return found[:HOPS]


def _x_forwarded(nodes: list[str], schemes: list[str]) -> Iterable[Hop]:
    """Pair addresses with schemes: one each where there are as many; else the nearest proxy's scheme counts for all."""
    if not nodes:
        return [Hop("", scheme) for scheme in schemes[:1]]
    if len(nodes) == len(schemes):
        return map(Hop, nodes, schemes)
    return map(Hop, nodes, repeat(schemes[0] if schemes else ""))


def _forwarded(lines: list[str]) -> Iterable[Hop]:
    hops: list[Hop] = []
    for line in lines:
        elements = _elements(line) if len(line) <= _LONGEST else None
        if elements is None:
            break
        hops += elements
    return hops[:HOPS]


def _elements(line: str) -> list[Hop] | None:
    """Return the elements of one line, the last first; None where any of it breaks the grammar of RFC 7239, 4.

    All of a line or nothing: within quotes that a client has opened, a proxy's element would be part of the client's.
    """
    hops: list[Hop] = []
    pairs: dict[str, str] = {}
    at = 0
    while match := _PAIR.match(line, at):
        name, token, quoted, end = match.groups()
        if name is not None:
            if name.lower() in pairs:
                return None
            pairs[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if token is None else token
        if end != ";" and pairs:  # an empty element counts for nothing (RFC 9110, 5.6.1.2)
            hops.append(Hop(pairs.get("for", ""), pairs.get("proto", "")))
            pairs = {}
        if not end:
            return hops[::-1]
        at = match.end()
    return None


def _node(text: str) -> tuple[str, int] | None:
    """Return (host, port) of an address with or without a port, IPv6 with or without brackets; None for others."""
    if _QUAD.fullmatch(text):  # PERF: as ip_of() writes it, at a sixth of its time
        return text, 0
    match = _NODE.fullmatch(text)
    if match is not None:
        four, six, digits = match.groups()
        address, port = four or six, int(digits or 0)
    elif _BARE.fullmatch(text):
        address, port = text, 0
    else:
        return None
    try:
        return (str(ip_of(address)), port) if port < 65536 else None
    except ValueError:
        return None
