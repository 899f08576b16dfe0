"""One peer under any model: the driver reports what has happened, the connection returns what it wants.

A connection knows everything about one peer but its socket: what it sent, what it is owed, how long it may take. It
has no socket, no clock and no thread: bytes and `now` (seconds of a monotonic clock) go in, values come out. That is
what lets the same code run under a blocking thread, a poller, an asyncio loop; and be tested without any of them.

The verbs in the past tense are reports. What comes next is data: `wants` and `deadline`, set anew by every report.
One owner at a time calls them: `models.driver.blocking.converse` is the plainest. Subclasses give the bytes a meaning
(`hooks.Hooks`).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from allcomers.config.limits import Limits
from allcomers.connection.call import PENDING, Address, Call, Delivery, Driver
from allcomers.connection.codec import Clear
from allcomers.connection.hooks import Hooks
from allcomers.connection.progress import Progress
from allcomers.errors import PeerError, Refusal
from allcomers.protocol.body import UNCOUNTED
from allcomers.protocol.message import Segment
from allcomers.system.counters import ABORTED, BYTES_IN, BYTES_OUT, CounterRow
from allcomers.system.memory.ledger import Ledger

if TYPE_CHECKING:
    import ssl

READ: Final = 1
CALL: Final = 2
WRITE: Final = 4
RUNNING: Final = 8
"""What a connection wants, added up: to receive, to have a call run, to send, to have the reply of the call that runs.

READ and WRITE are numbered as POLLIN and POLLOUT are (poll(2), epoll(7)): a mask goes to the kernel as it is.
"""

HIGH_WATER: Final = 64 * 1024
"""Bytes unsent above which nothing more is read or called; bytes received ahead above which nothing more is read."""

CALLS_AT_ONCE: Final = 64
"""Calls that one read may lead to before it is another peer's turn."""

LINGER: Final = 2.0
"""Seconds for which a refused peer may still send, so that it reads the refusal rather than a reset."""

FAREWELL: Final = 1.0
"""Seconds that an idle peer has, when the server leaves, for a request that is already on its way."""

PATIENCE: Final = 0.1
"""Seconds that an idle peer has when another waits for its place."""


Work: TypeAlias = Callable[[], Any]
"""A Call, or another function to be run where calls run."""


class Phase(enum.Enum):
    """Where a connection is, one at a time."""

    IDLE = "nothing has come since the last response"
    HEAD = "a part of a message's beginning is here"
    BODY = "the rest of a message is coming"
    DUE = "a call can be taken"
    CALLED = "a call was taken and has not returned"
    CLOSING = "what is queued goes out, then this ends"
    CLOSED = "over"


IDLE, HEAD, BODY, DUE, CALLED, CLOSING, CLOSED = Phase


class Connection(Hooks):
    """The part of a connection that every peer has: a codec, a phase, a deadline, a delivery queue.

    wants     int: a sum of READ, CALL, WRITE, RUNNING; 0 means: close the socket
    deadline  float: the time at which expired() is due if nothing else happens; math.inf for never
    phase     Phase; `leaving`, a bool: it was told to drain()
    peer      str: the peer's address; "" on a Unix socket; `port`, an int, is its port
    server    the address that it connected to
    counted_as  str: the address by which its client's connections are counted; "" where they are not
    served    int: messages answered so far; `counters` counts what is done
    driver    receives what a call sends before it is over; set by the driver
    successor serves this peer from here on, once `wants` is 0: WebSocket follows on HTTP
    """

    __slots__ = (
        "_deliveries", "_ended", "_farewell", "_held", "_idle_for", "_ledger", "_left", "_limits",
        "_progress", "codec", "counted_as", "counters", "deadline", "driver", "leaving", "peer", "phase", "port",
        "served", "server", "since", "successor", "wants",
    )  # fmt: skip

    def __init__(
        self, limits: Limits, address: Address, tls: ssl.SSLContext | None, now: float, counters: CounterRow,
        ledger: Ledger,
    ) -> None:  # fmt: skip
        self.codec = Clear()
        if tls is not None:
            from allcomers.connection.tls import Tls  # late: see there

            self.codec = Tls(tls)
        self.peer, self.port, self.server = address
        self.counted_as = ""
        self.phase, self.served = IDLE, 0
        self.driver: Driver | None = None
        self.successor: Connection | None = None
        self.wants = READ
        self.deadline = now + limits.head_timeout
        self._limits, self.counters, self._ledger = limits, counters, ledger
        self._held = 0  # bytes of memory that the ledger counts for this peer
        self.since = now  # when this phase began, or what it sent had gone out
        self._progress: Progress | None = None  # of what is sent, or of a body that is awaited
        self._deliveries: list[Delivery] | None = None  # None when empty: an idle peer costs no list
        self._ended = self.leaving = False  # the peer sends no more; the server sends no more after this
        self._farewell, self._left = FAREWELL, now  # of a peer that the server leaves: its patience, and since when
        self._idle_for = limits.head_timeout  # seconds that the peer may take in the phase IDLE

    @property
    def address(self) -> Address:
        return self.peer, self.port, self.server

    def put_codec(self, codec: Clear, now: float) -> None:
        """Put `codec` in front; it must restore the original codec when it is done. Call right after construction."""
        self.codec = codec
        self.enter(IDLE, now)  # a connection that greets its peer does so later
        self._settle(now)

    # ------------------------------------------------------------ reports

    def received(self, data: bytes, now: float) -> None:
        """Handle `data` of the socket; b"" is end of file."""
        self._receive(data, now)
        self._settle(now)

    def received_and_called(
        self, data: bytes, now: float, run: Callable[[Call], Any], clock: Callable[[], float]
    ) -> float:
        """Handle `data`, and run_due(): PERF: wants and deadline are decided twice, not thrice, a fifth of an echo."""
        self._receive(data, now)
        return run_due(self, now, run, clock)

    def opened(self, plain: bytes | PeerError, now: float) -> None:
        """Handle what codec.received() has returned, or raised, in a driver that calls it itself."""
        self._opened(plain, now)
        self._settle(now)

    def _receive(self, data: bytes, now: float) -> None:
        self.counters.add(BYTES_IN, len(data))
        if self.phase is CLOSING:  # the codec does not read it either: it could only fail again, and hold it
            self._ended = self._ended or not data
            return
        plain: bytes | PeerError | None
        try:
            plain = data if self.codec.is_clear else self.codec.received(data)
        except PeerError as error:
            plain = PeerError(*error.args)  # the one raised has this frame: a circle is garbage for the collector alone
        self._opened(plain, now)

    def _opened(self, plain: bytes | PeerError | None, now: float) -> None:
        try:
            if plain is None:
                if self.codec.ready:
                    self._handshake_done(now)
            elif isinstance(plain, PeerError):
                self.close(now, linger=True)
            elif plain:
                if (progress := self._progress) is not None and not progress.writing:
                    progress.moved += len(plain)
                self._receive_plain(plain, now)
                if self.codec.ended:  # the peer's end came with these
                    self._ended = True
                    self._receive_end(now)
            else:
                self._ended = True
                self._receive_end(now)
        except Refusal as refusal:
            self._refuse(refusal, now)
        except PeerError:
            self.close(now, linger=True)

    def output(self) -> Segment:
        """Return the first unsent segment; b"" (codec.EOF) where the driver is to shut the sending side down.

        Only while wants has WRITE. Raises PeerError where the codec or a file fails: report it with lost().
        """
        return self.codec.output()

    def sent(self, count: int, now: float) -> None:
        """Drop `count` bytes of output(), which the socket has taken."""
        self.codec.sent(count)
        self.counters.add(BYTES_OUT, count)
        if self._progress is not None:
            self._progress.moved += count
        self._settle(now)

    def take_call(self) -> Call:
        """Return the call that is due. Only while wants has CALL."""
        self.wants = self.wants - CALL | RUNNING
        return self._take_call()

    def answered(self, call: Call | None, reply: Any, now: float) -> None:
        """Handle `reply` of `call`: what take_call() returned, or the Exchange of an AsyncCall that replies later.

        None stands for the one call that runs, for a driver that has no name for it: see adopt()."""
        self._answered(call, reply, now)
        self._settle(now)

    def consumed(self, call: Call | None, now: float) -> None:
        """Note that `call`, as answered() has it, has looked at what is there: perhaps it consumes more than before."""
        self._consumed(call, now)
        self._settle(now)

    def count_served(self, count: int, now: float) -> None:
        """Count requests that a driver has answered by itself while this was idle, the last of them until `now`."""
        self.served += count
        self._idle_for = self._idle_timeout()
        self.enter(IDLE, now)
        self._settle(now)

    def expired(self, now: float, held: int = 0) -> None:
        """Handle the deadline, which moves on while bytes move at the minimum rate; the kernel holds `held` bytes."""
        if now < self.deadline:
            return
        progress = self._progress
        is_moving = progress is not None and (progress.writing or self.phase is BODY or self._awaits_body)
        if progress is None or not is_moving or not progress.keeps(self._limits.min_rate, now, held):
            self._expire(now)
        self._settle(now)

    def drain(self, now: float, patience: float = FAREWELL) -> None:
        """Answer what was requested, then close: the server leaves, or others wait.

        An idle peer has `patience` seconds for a request that is on its way; one that never sent any has FAREWELL.
        """
        if not self.leaving:
            self.leaving = True
            self._left = now  # beside `since`: the time of a head that has started must not start again
            self._farewell = patience if self.served else FAREWELL
            self._settle(now)

    def lost(self, now: float) -> None:
        """Drop whatever was due: the socket failed, or the server closes it."""
        if self.phase is not CLOSED:
            undelivered, self._deliveries = self._deliveries or (), None
            aborted = sum(status is not None for _, status, _, _ in undelivered)
            self.counters.add(ABORTED, self._has_request + aborted)
        self.codec.discard()
        self.enter(CLOSED, now)
        self._settle(now)

    def replace_with(self, successor: Connection, now: float) -> None:
        """Hand the peer over to `successor`, with the codec and all that is queued: this connection is over."""
        self._deliver(now, math.inf)  # what is queued is the successor's to send
        successor.codec, successor.counters, successor.counted_as = self.codec, self.counters, self.counted_as
        successor._ended, successor.leaving = self._ended, self.leaving
        self.successor = successor
        self.phase = CLOSED
        count_held(self)

    # ------------------------------------------------------------ for subclasses

    def enter(self, phase: Phase, now: float) -> None:
        """Enter a phase that has a deadline of its own; DUE and CALLED have none, and are just set."""
        self.phase = phase
        self.since = now
        if self._progress is None or not self._progress.writing:
            # While it is sent to, a peer that requests more and does not read would else buy time with each request.
            self._progress = Progress(now, False) if phase is BODY else None

    def close(self, now: float, *, linger: bool = False) -> None:
        """Send what is queued, then close; with `linger`, receive (and drop) what the peer sends for a moment more."""
        if linger or not self.codec.is_clear:
            self.codec.end()
        self._ended = self._ended or not linger
        self.enter(CLOSING, now)

    def _deliver_later(self, status: int | None, requested_at: float, item: Any, now: float) -> None:
        """Queue a delivery behind all bytes that are queued: see Delivery."""
        delivery = (self.codec.queued, status, requested_at, item)
        if status is not None:
            self.served += 1
        self._deliveries = self._deliveries or []
        self._deliveries.append(delivery)
        if not self.codec.pending:  # it has no bytes, or they have gone out before their end was known
            self._deliver(now, delivery[0])

    def _deliver(self, now: float, gone: float) -> None:
        """Finish the deliveries whose marks are reached."""
        deliveries = self._deliveries
        while deliveries and deliveries[0][0] <= gone:
            _, status, requested_at, item = deliveries.pop(0)
            if status is not None:
                self.counters.answered(status, now - requested_at)
            if item is not None:
                self._delivered(item, now)
            if self.phase is IDLE or self.phase is CLOSING:
                self.since = now
        if not deliveries:
            self._deliveries = None

    def _settle(self, now: float) -> None:
        """Decide `wants` and `deadline`: the one place that does."""
        phase, codec = self.phase, self.codec
        pending = codec.pending
        if self._deliveries is not None and codec.gone >= self._deliveries[0][0]:
            self._deliver(now, codec.gone)
        is_writing = self._progress is not None and self._progress.writing
        if pending and not is_writing:
            self._progress = Progress(now, True)
        elif is_writing and not pending:
            self._end_writing(now)
        receives = not self._ended
        wants = received = 0
        if phase is IDLE:
            left = self.leaving
            until = max(self.since, self._left) + self._farewell if left else self.since + self._idle_for
        elif phase is DUE or phase is CALLED:
            until = math.inf
            if phase is CALLED:
                wants = RUNNING
                until = self._call_deadline()
            elif not pending or self._may_call():
                wants = CALL
            received = self._buffered()
            receives = receives and received < HIGH_WATER
        else:
            until = _phase_deadline(phase, self.since, self._progress, self._limits)
            received = self._buffered()
            receives = receives and phase is not CLOSED
        if pending and phase is not CLOSED:
            assert self._progress is not None
            until = self._progress.deadline
            wants |= WRITE
            receives = receives and (codec.unsent <= HIGH_WATER or phase is CLOSING)
        self.wants = wants = wants | READ if receives else wants
        self.deadline = until
        if not wants and phase is not CLOSED:
            self._settle_end(now)
        elif self._held or received > UNCOUNTED or (is_writing and pending):
            count_held(self, pending and is_writing)

    def _settle_end(self, now: float) -> None:
        """Close: nothing is wanted any more."""
        if self.phase is CLOSING or self.codec.is_clear:
            self.enter(CLOSED, now)
            self.deadline = math.inf
            count_held(self)
        else:
            self.close(now)
            self._settle(now)

    def _end_writing(self, now: float) -> None:
        """Note that all that was queued has gone out."""
        self._progress = Progress(now, False) if awaits_body(self) else None


def run_due(conn: Connection, now: float, run: Callable[[Call], Any], clock: Callable[[], float]) -> float:
    """Run the calls of `conn` that are due, and report their replies. Return the time after them."""
    for _ in range(CALLS_AT_ONCE):
        if conn.phase is not DUE or (conn.codec.pending and not conn._may_call()):
            break
        started, due, call = clock(), now, conn._take_call()
        reply = run(call)
        now = clock()
        conn.counters.called(started - due, now - started)
        if reply is PENDING:
            conn._consumed(call, now)
            break
        conn._answered(call, reply, now)
    conn._settle(now)
    return now


def awaits_body(conn: Connection) -> bool:
    """Return whether the rest of a message is coming."""
    return conn.phase is BODY or (conn.phase is CALLED and conn._awaits_body)


def count_held(conn: Connection, is_stalled: bool = False) -> None:
    """Count the memory held for a peer; `is_stalled`: its socket did not take all. The ledger may end it, or another,
    before this returns."""
    held = 0 if conn.phase is CLOSED else conn._memory() + (conn.codec.held() if is_stalled else 0)
    held, before = held if held > UNCOUNTED else 0, conn._held
    if is_stalled or not held or abs(held - before) >= UNCOUNTED:  # a trickle of bytes costs no look at all shares
        conn._held = held
        if held != before or (held and conn._ledger.tight):  # else nothing changes, for anybody
            conn._ledger.hold(conn, held, before)


def _phase_deadline(phase: Phase, since: float, progress: Progress | None, limits: Limits) -> float:
    """Return the time by which a phase other than IDLE, DUE and CALLED must end, if nothing is to be sent."""
    if phase is HEAD:
        return since + limits.head_timeout
    if phase is BODY and progress is not None:
        return progress.deadline
    return since + LINGER if phase is CLOSING else math.inf
