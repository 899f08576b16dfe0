"""A client: one non-blocking connection at a time, from its beginning to its end.

The crew tells it what has happened (`ready`, `woken`); what it then does is a matter of its phase. `Client` knows how
to connect, to encrypt, to send and to leave. What it has to say, and what it makes of what it hears, its subclasses
know: `asker.Asker` asks and is answered, those in `hostile` do what nobody should.

Times are ns of the monotonic clock. A client has one moment at which it must be looked at, whatever happens: `wake`.
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
"""Bytes asked of a socket at once, at first. PERF: 0.6 µs a request less than with RECEIVE, for which more memory is
taken and given back (user time, `python -m bench generator --parts cost`)."""

RECEIVE: Final = 64 * 1024
"""… of one that has given as many as it was asked for."""

FIRST_PAUSE: Final = 50_000_000
"""ns before a second try at what failed; they double, up to LONGEST_PAUSE. The first try comes at once."""

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


def kind_of(error: OSError) -> str:
    """The kind of error that this is counted as."""
    if isinstance(error, ssl.SSLError):
        return "closed" if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) else "tls"
    return _KINDS.get(error.errno or 0, "other")


class Phase(Enum):
    DISCONNECTED = "no connection"
    CONNECTING = "connect(2) is under way"
    HANDSHAKE = "the TLS handshake is under way"
    OPEN = "the connection carries data"


class Group(Protocol):
    """What a client needs of the crew that it is one of."""

    plan: Plan
    destination: Destination
    record: Record
    recorder: Any  # record.Pen or _wire.Pen
    tls: ssl.SSLContext | None
    deadlines: Deadlines
    schedule: Iterator[int] | None
    next_request: Callable[[], bytes]
    clock: Callable[[], int]
    timeout: int
    think: int
    pipeline: int
    keep_alive: bool

    def watch(self, client: Client, fd: int, mask: int) -> None:
        """Tell it when its socket is ready so."""

    def modify(self, fd: int, mask: int) -> None:
        """… or so, from now on."""

    def forget(self, sock: socket.socket) -> None:
        """Its owner is about to close it."""

    def may_connect(self, client: Client) -> bool:
        """At once? If not, `connect_now` is called when it is its turn."""
        ...

    def connect_ended(self) -> None:
        """A connection that might be made is open, or has come to nothing."""

    def claim_request(self) -> bool:
        """Is there another request to be sent? Then it is the caller's."""
        ...

    def has_more_requests(self) -> bool:
        """Will there be another request, for somebody?"""
        ...

    def add_free(self, client: Any) -> None:
        """It waits for a request that is due."""

    def count_in(self, size: int) -> None: ...

    def count_out(self, size: int) -> None: ...


class Client:
    """What all clients share. The crew calls start, ready and woken; subclasses override what they care about."""

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
        """Bytes asked of the socket at once."""
        self._mask = 0
        self._pause = 0
        self._unsent = b""
        self.awaits_turn = False
        """Does it wait for its turn to connect? (line)"""

    # ------------------------------------------------------------ for subclasses

    def in_flight(self) -> int:
        """Requests that are neither answered nor given up."""
        return 0

    def opened(self, now: int) -> None:
        """The connection is there, and all that `_unsent` had is sent."""

    def received(self, data: bytes, now: int) -> None:
        """The server has said this; b"" is its end. Raises Refusal where it is no answer."""

    def on_timer(self, now: int) -> None:
        """`wake` has come while the connection was open, or while there was none."""

    def lost(self, kind: str, now: int) -> None:
        """The connection could not be opened or has broken; it is gone already."""

    # ------------------------------------------------------------ what the crew tells

    def ready(self, mask: int, now: int) -> None:
        """Its socket is ready as `mask` says (epoll_ctl(2))."""
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
        """Perhaps its moment has come."""
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
        """Begin to connect; in its turn, where many do."""
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
        """Set what must be set before the connection is made."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes, now: int) -> None:
        """Send it, behind what could not be sent yet."""
        if self._unsent:
            self._unsent += data
            return
        self._unsent = data
        self._flush(now)

    def receive(self, now: int) -> None:
        """Hear what there is."""
        assert self.sock is not None
        try:
            data = self.sock.recv(self.receive_size)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self.fail(kind_of(error), now)
            return
        now = self._group.clock()  # to read it is a part of its time, what follows is not
        size = len(data)
        if size == SHORT:
            self.receive_size = RECEIVE
        self._group.count_in(size)
        try:
            self.received(data, now)
        except Refusal:
            self.fail("malformed" if data else "closed", now)
        if (
            self._group.tls
            and self.phase is Phase.OPEN
            and isinstance(self.sock, ssl.SSLSocket)
            and self.sock.pending()
        ):
            self.receive(now)  # the kernel has nothing more to tell of what OpenSSL holds

    def stop_reading(self) -> None:
        """Hear nothing from now on, unless asked to."""
        self._watch(0)

    def disconnect(self, now: int) -> None:
        """Close the connection, in whatever phase."""
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
        """The connection is of no more use: `kind` says why."""
        self.disconnect(now)
        self.lost(kind, now)

    def next_pause(self) -> int:
        """How long to wait before the next try, in ns: twice as long as before."""
        next_pause = self._pause
        self._pause = min(max(2 * next_pause, FIRST_PAUSE), LONGEST_PAUSE)
        return next_pause

    # ------------------------------------------------------------ how it goes on

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
