"""An EventLoop with socketpairs for peers, in this thread: with the fast path, or in plain Python alone."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from time import monotonic
from typing import Any

from allcomers.calls.inline import Inline
from allcomers.calls.pool import ThreadPool
from allcomers.calls.time_limit import TimedInline
from allcomers.config.limits import Limits
from allcomers.config.log_format import Entry
from allcomers.connection.base import Work
from allcomers.connection.http.endpoint import HttpEndpoint
from allcomers.connection.http.http1 import Http1Connection
from allcomers.models.driver.event_loop import EventLoop
from allcomers.models.driver.serving import Endpoint, Serving
from allcomers.models.poll_loop import PollPoller
from allcomers.protocol import compiled as leaf
from allcomers.protocol.message import Handler, Request
from allcomers.server.clock import DateLine
from allcomers.system.accept_balance import WorkerSlots
from allcomers.system.counters import CounterRow
from allcomers.system.memory.ledger import unbounded
from allcomers.system.signals import Signals

PEER = ("192.0.2.1", 4711, ("192.0.2.7", 8000))


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces that begin at `places`."""
    marks = sorted({place % len(data) for place in places} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(marks)]


@contextmanager
def built(compiled: bool) -> Iterator[None]:
    """The compiled leaf runs, with its lane; or plain Python."""
    before, leaf.COMPILED = leaf.COMPILED, compiled
    try:
        yield
    finally:
        leaf.COMPILED = before


class Voice:
    """What a peer says and hears, as it goes through its socket: as it is."""

    def begin(self, heard: bytes) -> bytes:
        """What comes before anything else, after what was `heard`; b"" at the end of that."""
        return b""

    def say(self, piece: bytes, last: bool) -> bytes:
        return piece

    def hear(self, data: bytes) -> bytes:
        return data


class TlsVoice(Voice):
    """The same in TLS; with the last that is said comes the word that it is."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def begin(self, heard: bytes) -> bytes:
        self._incoming.write(heard)
        with suppress(ssl.SSLWantReadError):
            self._engine.do_handshake()
        return self._outgoing.read()

    def say(self, piece: bytes, last: bool) -> bytes:
        if piece:
            self._engine.write(piece)
        if last:
            with suppress(ssl.SSLError):
                self._engine.unwrap()
        return self._outgoing.read()

    def hear(self, data: bytes) -> bytes:
        self._incoming.write(data)
        pieces = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := self._engine.read(65536):
                pieces.append(piece)
        return b"".join(pieces)


class Watched(ThreadPool):
    """A pool of two that ends, and knows which of its calls have not answered: so a test can wait for them."""

    def __init__(self, counters: CounterRow) -> None:
        super().__init__(2, counters)
        self.under_way: set[Work] = set()
        self._threads_that_end = ThreadPoolExecutor(2)

    def submit(self, work: Work, done: Callable[[Any], object]) -> None:
        def run() -> None:
            began = monotonic()
            reply = work()
            self._counters.called(0.0, monotonic() - began)
            done(reply)
            self.under_way.discard(run)

        self.under_way.add(run)
        self._threads_that_end.submit(run)

    def end(self) -> None:
        self._threads_that_end.shutdown()


class Looped:
    """An EventLoop and its peers.

    tls     the server's context, and a client's; None for plain HTTP
    pools   do its calls run in threads of their own?
    call_limit  seconds that an inline call may take; 0 for any time
    http    further parts of its HttpEndpoint
    front   what stands before its connections
    errors  what the app raised
    lines   what was noted, if `logs`
    counters    its live figures
    """

    def __init__(
        self,
        handler: Handler,
        signals: Signals,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        logs: bool = False,
        pools: bool = False,
        call_limit: float = 0.0,
        http: dict[str, Any] | None = None,
        front: Callable[[Any], Any] = lambda connect: connect,
        **limits: Any,
    ) -> None:
        self.lines: list[tuple[object, ...]] = []
        self._tls = tls
        self.errors: list[BaseException] = []
        slot = WorkerSlots().acquire()
        self.counters: CounterRow = slot.counters
        self.limits = Limits(**limits)
        served = HttpEndpoint(
            handler=handler,
            limits=self.limits,
            date=DateLine(),
            wall=float,
            report=self._report,
            counters=self.counters,
            ledger=unbounded(),
            tls=tls and tls[0],
            log=self if logs else None,
            **(http or {}),
        )
        connect = front(partial(Http1Connection, served))
        self._poller = PollPoller()
        self.calls: Watched | Inline | TimedInline = Watched(self.counters) if pools else Inline()
        if call_limit:
            self.calls = TimedInline(1, call_limit, print, self.counters)
        endpoint = Endpoint(scheme="http", connect=connect, serve=lambda serving: None, http=served)
        serving = Serving(endpoint=endpoint, listeners=[], calls=self.calls, signals=signals, slot=slot)
        self.loop = EventLoop(serving, self._poller)
        self.has_lane = self.loop.handle != self.loop._handle

    def _report(self, error: BaseException, _: Request) -> None:
        self.errors.append(error)

    def log(self, entry: Entry) -> None:
        assert entry.seconds >= 0
        assert entry.wait >= 0
        assert entry.app >= 0
        assert entry.write >= 0
        said = entry.field(b"cookie"), entry.answer_field("content-type"), entry.app > 0
        self.lines.append((entry.request_line, entry.status, entry.sent, entry.peer, entry.host, *said))

    def peer(self) -> socket.socket:
        """The peer's end of a connection; it does not block."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self.loop.peers.add(ours.detach(), PEER, monotonic())
        self.turn()
        return theirs

    def turn(self, waits: bool = True) -> None:
        """All that can be done without waiting for a peer; or, unless it `waits`, for a call."""
        busy = True
        while busy:
            now = monotonic()
            awaits = waits and isinstance(self.calls, Watched) and bool(self.calls.under_way)  # else all have answered
            events = self._poller.wait(0.01 if awaits else 0)
            for fd, event in events:
                self.loop.handle(fd, event, now)
            left = self.loop.turn(now)
            busy = bool(events) or left == 0 or awaits

    def talk(self, pieces: Iterable[bytes], *, reads: bool = True) -> bytes:
        """What a peer hears who says these, one after another, and then no more.

        reads  False: only when it has said all does it read, and its socket fills up meanwhile
        """
        voice = TlsVoice(self._tls[1]) if self._tls else Voice()
        *most, last = pieces
        with self.peer() as sock:
            words = voice.begin(b"")
            while words:
                sock.sendall(words)
                self.turn()
                words = voice.begin(there(sock))
            said = b""
            for piece in (*most, last):
                try:
                    sock.sendall(voice.say(piece, piece is last))
                except OSError:  # the server has closed
                    break
                self.turn()
                if reads:
                    said += voice.hear(there(sock))
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            self.turn()
            while more := there(sock):
                said += voice.hear(more)
                self.turn()
            return said

    @property
    def peers(self) -> int:
        return len(self.loop.peers.channels)

    def close(self) -> None:
        for channel in list(self.loop.peers.channels.values()):
            self.loop.peers.close(channel)
        if isinstance(self.calls, Watched):
            self.calls.end()
        if isinstance(self.calls, TimedInline):
            self.calls.close()


def there(sock: socket.socket) -> bytes:
    """What there is to read now."""
    pieces = []
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except (BlockingIOError, ConnectionResetError):
        pass
    return b"".join(pieces)
