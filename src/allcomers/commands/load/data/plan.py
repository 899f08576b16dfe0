"""A load as one frozen, checked Plan; and the host that it is for.

The options of a load are its own, apart from the server's.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from allcomers.commands.load.data.record import STATUS_ERRORS
from allcomers.errors import ConfigError, OperatorError

HOSTILE: Final = ("slow-head", "slow-body", "slow-read", "idle", "reconnect")

_PORTS: Final = {"http": 80, "https": 443}

_PRIVATE: Final = tuple(
    ip_network(text)
    for text in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")
)
"""Loopback; private use (RFC 1918, RFC 4193); link-local IPv6. Not 169.254/16, where clouds have services of theirs."""

_TARGET: Final = re.compile(r"[\x21-\x7e]+")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STATUSES: Final = re.compile(r"[1-9]([0-9]{2}|xx)(,[1-9]([0-9]{2}|xx))*")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

DEFAULT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A load. `make` makes and checks it; times are seconds, rates per second.

    url          http://, https://, tcp:// or tls:// (a service behind TLS) with host and port
    targets      paths, requested in turn; empty for that of `url`
    clients      concurrent connections; in an open loop, the most
    processes    processes that share the clients
    rate         0: a closed loop, each client sends its next request after a response; else requests per second,
                 of all clients, sent when they are due (an open loop)
    arrivals     "constant" or "poisson": how requests are due
    seconds      duration; 0 for DEFAULT_SECONDS, or for as long as `requests` take
    requests     total number; 0 for no limit
    think        time from a response to the client's next request (closed loop)
    ramp         time in which clients (closed loop) or rate (open loop) grow from 0
    connections_per_second   most connections to open; 0 for no limit
    pipeline     requests in flight on one connection, over HTTP/1.1
    http2        over HTTP/2: by ALPN for https, with prior knowledge for http
    streams      requests at once on one connection, over HTTP/2; the server may allow fewer
    timeout      for a connection to open, for a complete response, and for requests in flight at the end
    expect       the exact body of each response, of a TCP service the exact response; or
    expect_size  its size in bytes
    expect_status   statuses that are no error, "200,3xx"; "": all below 400
    ca_certs     https, tls: trusted certificates; without it, any certificate is accepted
    own_host     the user owns a host that is neither this machine nor in a private network
    """

    url: str
    targets: tuple[str, ...] = ()
    clients: int = 10
    processes: int = 1
    rate: float = 0.0
    arrivals: str = "constant"
    seconds: float = 0.0
    requests: int = 0
    think: float = 0.0
    ramp: float = 0.0
    connections_per_second: float = 0.0
    keep_alive: bool = True
    pipeline: int = 1
    http2: bool = False
    streams: int = 1
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    browser: bool = False
    hostile: str = ""
    expect: bytes = b""
    expect_size: int = 0
    expect_status: str = ""
    timeout: float = 10.0
    ca_certs: str = ""
    own_host: bool = False
    seed: int = 1

    @classmethod
    def make(cls, **values: Any) -> Self:
        """Return a plan whose values are complete and consistent. Raises ConfigError."""
        plan = cls(**values)
        if not plan.seconds and not plan.requests:
            plan = replace(plan, seconds=DEFAULT_SECONDS)
        if plan.processes > plan.clients:
            plan = replace(plan, processes=plan.clients)
        _check_numbers(plan)
        _check_together(plan)
        _check_request(plan)
        return plan

    @property
    def is_open(self) -> bool:
        """Whether requests are sent when they are due, answered or not."""
        return self.rate > 0

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def is_raw(self) -> bool:
        """Whether the server is a TCP service that does not speak HTTP."""
        return self.scheme in ("tcp", "tls")

    @property
    def is_tls(self) -> bool:
        return self.scheme in ("https", "tls")

    @property
    def status_errors(self) -> bytes:
        """1 for each status, 0 to 999, that is an error."""
        if not self.expect_status:
            return STATUS_ERRORS
        words = self.expect_status.split(",")
        return bytes(f"{status}" not in words and f"{status // 100}xx" not in words for status in range(1000))

    def share(self, process: int, of: int) -> int:
        """Return this process's part of `of` things that are dealt out in turn."""
        return len(range(process, of, self.processes))


_LEAST: Final = {"clients": 1, "processes": 1, "pipeline": 1, "streams": 1, "requests": 0, "expect_size": 0}


def _check_numbers(plan: Plan) -> None:
    for name, least in _LEAST.items():
        if getattr(plan, name) < least:
            raise ConfigError(f"--{_flag(name)} is at least {least}")
    for name in ("rate", "seconds", "think", "ramp", "connections_per_second"):
        if not 0 <= getattr(plan, name) < 1e9:
            raise ConfigError(f"--{_flag(name)} is 0 or more")
    if not 0 < plan.timeout < 1e9:
        raise ConfigError("--timeout is a number of seconds above 0")


_FLAGS: Final = {"processes": "threads", "seconds": "duration"}


def _flag(name: str) -> str:
    return _FLAGS.get(name, name.replace("_", "-"))


def _check_together(plan: Plan) -> None:
    _split(plan.url)
    if plan.arrivals not in ("constant", "poisson"):
        raise ConfigError("--arrivals is constant or poisson")
    if plan.is_open and plan.think:
        raise ConfigError("--think is for a closed loop, --rate for an open one: give one of them")
    if plan.hostile and plan.hostile not in HOSTILE:
        raise ConfigError(f"--hostile {plan.hostile!r} is not known; choose one of {', '.join(HOSTILE)}")
    if plan.hostile and (plan.is_open or plan.requests or plan.think):
        raise ConfigError("--hostile clients set their own pace: no --rate, --requests or --think")
    if plan.hostile and plan.is_raw and plan.hostile not in ("idle", "reconnect"):
        raise ConfigError(f"--hostile {plan.hostile} is for http; for a tcp service choose idle or reconnect")
    if plan.pipeline > 1 and not plan.keep_alive:
        raise ConfigError("--pipeline needs persistent connections: not with --no-keep-alive")
    _check_http2(plan)


def _check_http2(plan: Plan) -> None:
    if not plan.http2:
        if plan.streams > 1:
            raise ConfigError("--streams is for --http2; over HTTP/1.1 --pipeline has requests in flight at once")
        return
    if plan.is_raw:
        raise ConfigError("--http2 is for http:// and https://")
    if plan.hostile:
        raise ConfigError("--hostile clients speak HTTP/1.1: not with --http2")
    if plan.pipeline > 1:
        raise ConfigError("--pipeline is for HTTP/1.1; over HTTP/2 --streams has requests in flight at once")
    if not plan.keep_alive:
        raise ConfigError("--http2 needs persistent connections: not with --no-keep-alive")


def _check_request(plan: Plan) -> None:
    if plan.is_raw:
        if plan.expect_status:
            raise ConfigError("--expect-status is for http:// and https://")
        if not plan.hostile and (not plan.body or bool(plan.expect) == bool(plan.expect_size)):
            raise ConfigError("a tcp:// or tls:// target needs --body, and either --expect or --expect-size")
        return
    if plan.expect and plan.expect_size:
        raise ConfigError("--expect has a size already: not with --expect-size")
    if plan.method == "HEAD" and (plan.expect or plan.expect_size):
        raise ConfigError("a response to HEAD has no body: not with --expect or --expect-size")
    if plan.expect_status and not _STATUSES.fullmatch(plan.expect_status):
        raise ConfigError(f"--expect-status {plan.expect_status!r} is no list of statuses: 200,204 or 2xx,404")
    if not _METHOD.fullmatch(plan.method) or plan.method == "CONNECT":
        raise ConfigError(f"--method {plan.method!r} is no method for a load")
    for target in plan.targets:
        if not target.startswith("/") or not _TARGET.fullmatch(target):
            raise ConfigError(f"{target!r} is no path: a path begins with / and has no blank")
    for name, value in plan.headers:
        if not _FIELD.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ConfigError(f"--header {name + ': ' + value!r} is not NAME: VALUE")
        if name.lower() in ("content-length", "transfer-encoding", "connection"):
            raise ConfigError(f"--header {name}: --body and --no-keep-alive decide on the framing")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r}: {error}") from None
    if parts.scheme not in ("http", "https", "tcp", "tls") or not parts.hostname:
        raise ConfigError(f"{url!r} is not http://HOST, https://HOST, tcp://HOST:PORT or tls://HOST:PORT")
    if parts.username is not None:
        raise ConfigError(f"{url!r}: a user name goes into --header 'Authorization: ...'")
    if port is None and parts.scheme in ("tcp", "tls"):
        raise ConfigError(f"{url!r} needs a port: {parts.scheme}://HOST:PORT")
    target = path_of(parts)
    if not _TARGET.fullmatch(target):
        raise ConfigError(f"{url!r}: the path has a character that must be percent-encoded")
    return parts


def path_of(parts: SplitResult) -> str:
    """Return path and query: "/a?b=c"."""
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


@dataclass(frozen=True, slots=True)
class Destination:
    """The server of a plan's connections.

    address  as connect() takes it, of `family`
    name     the host as the URL has it: for Host and for TLS
    """

    family: int
    address: Any  # its shape depends on the family
    name: str
    authority: str
    path: str


def resolve(plan: Plan) -> Destination:
    """Resolve the host, once. Raises ConfigError if it has no address, or one that may not be loaded.

    Of several addresses the first that accepts connections is chosen, else the first.
    """
    parts = _split(plan.url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{plan.url!r}: {host} has no address: {error.strerror}") from None
    candidates = [(family, address) for family, _, _, _, address in found]
    for _, address in candidates:
        if not plan.own_host and not is_private(str(address[0])):
            raise ConfigError(
                f"{host} is {address[0]}, neither this machine nor in a private network; to load it is an attack"
                " unless you own it: if you do, give --i-own-this-host"
            )
    family, address = next(
        (candidate for candidate in candidates[1:] and candidates if not _connect(*candidate)), candidates[0]
    )
    authority = f"[{host}]" if ":" in host else host
    if parts.port and parts.port != _PORTS.get(parts.scheme):
        authority += f":{parts.port}"
    return Destination(family, address, host, authority, path_of(parts))


def is_loopback(destination: Destination) -> bool:
    return ip_address(str(destination.address[0]).partition("%")[0]).is_loopback


def is_private(text: str) -> bool:
    """Whether the address is of this machine or of a private network."""
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in _PRIVATE)


_NOBODY: Final = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)


def check_listener(destination: Destination) -> None:
    """Raise OperatorError if no server listens at the destination. One that is slow to accept counts as listening."""
    code = _connect(destination.family, destination.address)
    if code in _NOBODY:
        host, port, *_ = destination.address
        place = f"{host}, port {port}"
        raise OperatorError(f"no server listens at {place} ({os.strerror(code)}): start it, or mend the URL")


def _connect(family: int, address: Any) -> int:
    """Open a connection, and close it; return 0, or the error (errno(3)) that it met within a second."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(address)
