"""A client: one non-blocking connection at a time, from connect to close.

The group reports events (`ready`, `expired`); the client's phase decides what follows. `Client` connects, encrypts,
sends and closes. Subclasses decide what to send, and handle what is received: `request_client.RequestClient` sends
requests and counts responses, those in `hostile_client` attack.

Times are ns of the monotonic clock. A client has one moment at which it must be looked at in any case: `deadline`.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, Protocol

from allcomers.commands.load.data.plan import Destination, Plan
from allcomers.commands.load.data.record import Record
from allcomers.errors import Refusal
from allcomers.system.deadlines import Deadlines

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

SHORT: Final = 16 * 1024
"""Bytes received at once, at first. PERF: 0.6 µs a request less than with RECEIVE, for which more memory is allocated
and freed (user time, `python -m bench generator --parts cost`)."""

RECEIVE: Final = 64 * 1024
"""Bytes received at once after a full SHORT."""

FIRST_PAUSE: Final = 50_000_000
"""ns before the second try after a failure; doubled each time, up to LONGEST_PAUSE. The first try is immediate."""

LONGEST_PAUSE: Final = 1_000_000_000

_KINDS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.ETIMEDOUT: "time-out",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EADDRNOTAVAIL: "no port left",
    errno.EMFILE: "no descriptor left",
    errno.ENFILE: "no descriptor left",
}


NO_HTTP2: Final = "no HTTP/2"
"""The kind of error where the server does not choose HTTP/2."""


def kind_of(error: OSError) -> str:
    """Return the kind of error that `error` is counted as."""
    if isinstance(error, ssl.SSLError):
        if "no application protocol" in str(error):  # ALPN offered "h2" alone (RFC 7301, 3.2); `reason` is None
            return NO_HTTP2
        return "closed" if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) else "tls"
    return _KINDS.get(error.errno or 0, "other")


class Phase(Enum):
    DISCONNECTED = "no connection"
    CONNECTING = "connect(2) is in progress"
    HANDSHAKE = "the TLS handshake is in progress"
    OPEN = "the connection carries data"


class Group(Protocol):
    """The group as its clients see it."""

    plan: Plan
    destination: Destination
    record: Record
    recorder: Any  # record.Recorder or _response_end.Recorder
    tls: ssl.SSLContext | None
    deadlines: Deadlines
    schedule: Iterator[int] | None
    next_request: Callable[[], bytes]
    clock: Callable[[], int]
    timeout: int
    think: int
    pipeline: int  # most requests in flight on a connection
    keep_alive: bool

    def watch(self, client: Client, fd: int, mask: int) -> None:
        """Report when the client's socket is ready in this way."""

    def modify(self, fd: int, mask: int) -> None:
        """Change the events that are reported."""

    def forget(self, sock: socket.socket) -> None:
        """Forget a socket that is about to be closed."""

    def may_connect(self, client: Client) -> bool:
        """Return True if the client may connect at once; else queue it and call `connect_now` in its turn."""
        ...

    def connect_ended(self) -> None:
        """Count a connection that is open now, or has failed."""

    def claim_request(self) -> bool:
        """Return True and count one request, if another one may be sent."""
        ...

    def has_more_requests(self) -> bool:
        """Whether any client will have another request to send."""
        ...

    def add_free(self, client: Any) -> None:
        """Add a client that can send the next request that is due."""

    def count_in(self, size: int) -> None: ...

    def count_out(self, size: int) -> None: ...


class Client:
    """The base of all clients. The group calls `ready` and `expired`; subclasses override the hooks."""

    __slots__ = (
        "_group",
        "_mask",
        "_pause",
        "_unsent",
        "awaits_turn",
        "deadline",
        "key",
        "phase",
        "receive_size",
        "sock",
    )

    def __init__(self, group: Group, key: int) -> None:
        self._group = group
        self.key = key
        self.phase = Phase.DISCONNECTED
        self.sock: socket.socket | None = None
        self.deadline = 0
        self.receive_size = SHORT
        """Bytes received from the socket at once."""
        self._mask = 0
        self._pause = 0
        self._unsent = b""
        self.awaits_turn = False
        """Whether it is queued for its turn to connect; set by ConnectQueue."""

    # ------------------------------------------------------------ hooks of subclasses

    def in_flight(self) -> int:
        """Return the number of requests that are neither answered nor given up."""
        return 0

    def opened(self, now: int) -> None:
        """Handle an open connection: all of `_unsent` has been sent."""

    def received(self, data: bytes, now: int) -> None:
        """Handle data from the server; b"" is its end. Raises Refusal if it is no response."""

    def on_timer(self, now: int) -> None:
        """Handle `deadline`, on an open connection or without one."""

    def lost(self, kind: str, now: int) -> None:
        """Handle a connection that could not be opened or has broken; it is closed already."""

    # ------------------------------------------------------------ events from the group

    def ready(self, mask: int, now: int) -> None:
        """Handle a socket that is ready, as `mask` says (epoll_ctl(2))."""
        if self.phase is Phase.OPEN:
            if mask & WRITE:
                self._flush(now)
            if mask & ~WRITE and self.phase is Phase.OPEN:
                self.receive(now)
        elif self.phase is Phase.CONNECTING:
            self._connected(now)
        elif self.phase is Phase.HANDSHAKE:
            self._handshake(now)

    def expired(self, now: int) -> None:
        """Check the deadline, which may have moved."""
        if now < self.deadline:
            self._group.deadlines.set(self.key, self.deadline)
        elif self.phase in (Phase.CONNECTING, Phase.HANDSHAKE):
            self.fail("time-out", now)
        else:
            self.on_timer(now)

    # ------------------------------------------------------------ verbs

    def set_deadline(self, when: int) -> None:
        self.deadline = when
        self._group.deadlines.set(self.key, when)

    def connect(self, now: int) -> None:
        """Connect, or queue for a turn if too many connect."""
        if self._group.may_connect(self):
            self.connect_now(now)

    def connect_now(self, now: int) -> None:
        group = self._group
        try:
            sock = socket.socket(group.destination.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            group.connect_ended()
            self.lost(kind_of(error), now)
            return
        self.sock = sock
        self.phase = Phase.CONNECTING
        self.set_deadline(now + group.timeout)
        self.tune(sock)
        code = sock.connect_ex(group.destination.address)
        if code and code != errno.EINPROGRESS:
            self.fail(_KINDS.get(code, "other"), now)
            return
        self._mask = WRITE
        group.watch(self, sock.fileno(), WRITE)

    def tune(self, sock: socket.socket) -> None:
        """Set the options that must be set before the connection is made."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes, now: int) -> None:
        """Send data, after what is still unsent."""
        if self._unsent:
            self._unsent += data
            return
        self._unsent = data
        self._flush(now)

    def receive(self, now: int) -> None:
        """Receive what is there."""
        assert self.sock is not None
        try:
            data = self.sock.recv(self.receive_size)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.fail(kind_of(error), now)
            return
        now = self._group.clock()  # receiving is part of the response time, what follows is not
        size = len(data)
        if size == SHORT:
            self.receive_size = RECEIVE
        self._group.count_in(size)
        try:
            self.received(data, now)
        except Refusal as refusal:
            self.fail(f"malformed: {refusal.reason}" if data else "closed", now)
        if (
            self._group.tls
            and self.phase is Phase.OPEN
            and isinstance(self.sock, ssl.SSLSocket)
            and self.sock.pending()
        ):
            self.receive(now)  # the kernel reports nothing of what OpenSSL holds

    def stop_reading(self) -> None:
        """Receive nothing from now on, except by receive()."""
        self._watch(0)

    def disconnect(self, now: int) -> None:
        """Close the connection, in any phase."""
        before = self.phase
        self._unsent = b""
        self.phase = Phase.DISCONNECTED
        if self.sock is not None:
            self._group.forget(self.sock)
            self.sock.close()
            self.sock = None
        if before is Phase.OPEN:
            self._group.record.closed()
        elif before is not Phase.DISCONNECTED:
            self._group.connect_ended()

    def fail(self, kind: str, now: int) -> None:
        """Close a connection that is of no more use, for the reason `kind`."""
        self.disconnect(now)
        self.lost(kind, now)

    def next_pause(self) -> int:
        """Return the time to wait before the next try, in ns: twice as long as before."""
        next_pause = self._pause
        self._pause = min(max(2 * next_pause, FIRST_PAUSE), LONGEST_PAUSE)
        return next_pause

    # ------------------------------------------------------------ phases

    def _watch(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            assert self.sock is not None
            self._group.modify(self.sock.fileno(), mask)

    def _connected(self, now: int) -> None:
        assert self.sock is not None
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.fail(_KINDS.get(code, "other"), now)
        elif self._group.tls is None:
            self._open(now)
        else:
            self.phase = Phase.HANDSHAKE
            self.sock = self._group.tls.wrap_socket(
                self.sock, server_hostname=self._group.destination.name, do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )  # fmt: skip
            self._handshake(now)

    def _handshake(self, now: int) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(READ)
        except ssl.SSLWantWriteError:
            self._watch(WRITE)
        except OSError as error:
            self.fail(kind_of(error), now)
        else:
            self._open(now)

    def _open(self, now: int) -> None:
        self.phase = Phase.OPEN
        self._watch(READ)
        self._group.connect_ended()
        self._group.record.opened()
        if self._unsent:
            self._flush(now)
        if self.phase is Phase.OPEN:
            self.opened(now)

    def _flush(self, now: int) -> None:
        assert self.sock is not None
        data = self._unsent
        try:
            count = self.sock.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            count = 0
        except OSError as error:
            self.fail(kind_of(error), now)
            return
        self._group.count_out(count)
        self._unsent = data[count:]
        if self._unsent:
            self._watch(self._mask | WRITE)
        elif self._mask & WRITE:
            self._watch(self._mask & ~WRITE)
