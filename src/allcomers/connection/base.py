"""One peer under any model: the driver reports what has happened, the connection says what it wants.

A connection knows everything about one peer but its socket: what it said, what it is owed, how long it may take. It
has no socket, no clock and no thread: bytes and `now` (seconds of a monotonic clock) go in, values come out. That is
what lets the same code run under a blocking thread, a poller, an asyncio loop; and be tested without any of them.

The verbs in the past tense are reports. What comes next is data: `wants` and `deadline`, set anew by every report.
One owner at a time calls them: `models.blocking.converse` is the plainest. Subclasses say what the bytes mean.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from allcomers.config.limits import Limits
from allcomers.connection.call import PENDING, Driver
from allcomers.connection.codec import Clear
from allcomers.errors import PeerError, Refusal
from allcomers.protocol.compiled import Server
from allcomers.protocol.message import Segment
from allcomers.system.counters import ABORTED, BYTES_IN, BYTES_OUT, REQUESTS, CounterRow

if TYPE_CHECKING:
    import ssl

READ: Final = 1
CALL: Final = 2
WRITE: Final = 4
RUNNING: Final = 8
"""What a connection wants, added up: to hear, to have a call run, to speak, to have the answer of the call that runs.

READ and WRITE are numbered as POLLIN and POLLOUT are (poll(2), epoll(7)): a mask goes to the kernel as it is.
"""

HIGH_WATER: Final = 64 * 1024
"""Bytes unsent above which nothing more is read or called; bytes heard ahead above which nothing more is read."""

CALLS_AT_ONCE: Final = 64
"""Calls that one read may lead to before it is another peer's turn."""

GRACE: Final = 5.0
"""Seconds before a minimum rate counts: Kestrel's MinRequestBodyDataRate has the same."""

STALL: Final = 10.0
"""Seconds over which the rate of an answer is looked at: a kernel opens a slow reader's window in large steps."""

LINGER: Final = 2.0
"""Seconds for which a refused peer is still heard, so that it reads the refusal rather than a reset."""

FAREWELL: Final = 1.0
"""Seconds that an idle peer has, when the server leaves, for a request that is already on its way."""

PATIENCE: Final = 0.1
"""Seconds that it has when somebody else waits for its place."""

Address: TypeAlias = tuple[str, int, Server]
"""A peer's host and port, and where it came to: ("127.0.0.1", 50000, ("127.0.0.1", 8000)); on a Unix socket
("", 0, ("/run/app.sock", None))."""

Work: TypeAlias = Callable[[], Any]
"""An app's call, to be run anywhere, once; what it returns goes to answered(). It does not raise."""


class Phase(enum.Enum):
    """Where a connection is, one at a time."""

    IDLE = "nothing has come since the last answer"
    HEAD = "a part of a message's beginning is here"
    BODY = "the rest of a message is coming"
    DUE = "a call can be taken"
    RUNNING = "a call was taken and has not answered"
    CLOSING = "what is queued goes out, then this ends"
    CLOSED = "over"


IDLE, HEAD, BODY, DUE, CALLED, CLOSING, CLOSED = Phase


class Connection:
    """What every peer has: a codec, a phase, a deadline.

    wants     int: a sum of READ, CALL, WRITE, RUNNING; 0 means: close the socket
    deadline  float: when expired() is due if nothing else happens; math.inf for never
    phase     Phase
    peer      str: the peer's address; "" on a Unix socket; `port`, an int, is its port
    server    where it came to
    served    int: messages answered so far; `counters` is where what is done is counted
    driver    who is told what a call says before it is over; set by the driver
    successor who serves this peer from here on, once `wants` is 0: WebSocket follows on HTTP
    """

    __slots__ = (
        "_called",
        "_ended",
        "_farewell",
        "_flushed",
        "_kernel_unsent",
        "_leaving",
        "_left",
        "_limits",
        "_outgoing",
        "_patience",
        "_queued",
        "_rate_bytes",
        "_rate_since",
        "_request_pending",
        "_since",
        "_writing",
        "codec",
        "counters",
        "deadline",
        "driver",
        "peer",
        "phase",
        "port",
        "served",
        "server",
        "successor",
        "wants",
    )  # fmt: skip

    def __init__(
        self, limits: Limits, address: Address, tls: ssl.SSLContext | None, now: float, counters: CounterRow
    ) -> None:
        self.codec = Clear() if tls is None else _new_tls(tls)
        self.peer, self.port, self.server = address
        self.phase = IDLE
        self.served = 0
        self.driver: Driver | None = None
        self.successor: Connection | None = None
        self.wants = READ
        self.deadline = now + limits.head_timeout
        self._limits, self.counters = limits, counters
        self._request_pending = False  # is there a request that is not answered?
        self._outgoing: tuple[int, float] | None = None  # an answer that goes out: its status, and when it was asked
        self._since = now  # when this phase began, or what it sent had gone out
        self._flushed = True  # has what this phase sent gone out?
        self._rate_since = now  # when the rate was last looked at
        self._rate_bytes = 0  # bytes moved since
        self._kernel_unsent = -1  # bytes of ours that the kernel held then; -1 at the first look
        self._writing = False  # is there something to send?
        self._called = False  # does a call run? Also when the phase has changed meanwhile: the peer may be gone
        self._ended = self._leaving = False  # the peer says no more; the server says no more after this
        self._farewell, self._left = FAREWELL, now  # of a peer that the server leaves: its patience, and since when
        self._queued: Any = None  # what is to be done once all that is queued has gone out
        self._patience = limits.head_timeout  # seconds that the peer may take in the phase IDLE

    @property
    def address(self) -> Address:
        return self.peer, self.port, self.server

    def put_codec(self, codec: Clear, now: float) -> None:
        """Right after it was made: `codec` hears what comes first, then puts the one in its place that was there."""
        self.codec = codec
        self.enter(IDLE, now)  # who greets its peers does so later
        self._settle(now)

    # ------------------------------------------------------------ reports

    def received(self, data: bytes, now: float) -> None:
        """The socket gave `data`; b"" is end of file."""
        self._receive(data, now)
        self._settle(now)

    def received_and_called(
        self, data: bytes, now: float, run: Callable[[Work], Any], clock: Callable[[], float]
    ) -> float:
        """received(); and the calls due then have been `run`, here and now, and answered(). The time after them.

        PERF: what a request wants and until when is decided twice, not three times: a fifth of the instructions of an
        echo (callgrind)."""
        self._receive(data, now)
        for _ in range(CALLS_AT_ONCE):
            if self.phase is not DUE or (self.codec.pending and not self._may_call()):
                break
            adopt, due = clock(), now
            reply = run(self._take_work())
            now = clock()
            self.counters.called(adopt - due, now - adopt)
            if reply is PENDING:
                self._consumed(now)
                break
            self._answered(reply, now)
        self._settle(now)
        return now

    def opened(self, heard: bytes | PeerError, now: float) -> None:
        """A driver that has asked the codec itself reports what codec.received() has returned, or raised."""
        self._opened(heard, now)
        self._settle(now)

    def _receive(self, data: bytes, now: float) -> None:
        self.counters.add(BYTES_IN, len(data))
        if self.phase is CLOSING:  # not even the codec looks at it: it could only find fault again, and hold it
            self._ended = self._ended or not data
            return
        heard: bytes | PeerError | None
        try:
            heard = data if self.codec.is_clear else self.codec.received(data)
        except PeerError as error:
            heard = error
        self._opened(heard, now)

    def _opened(self, heard: bytes | PeerError | None, now: float) -> None:
        try:
            if heard is None:
                if self.codec.ready:
                    self._handshake_done(now)
            elif isinstance(heard, PeerError):
                self.close(now, linger=True)
            elif heard:
                if not self._writing:
                    self._rate_bytes += len(heard)
                self._receive_plain(heard, now)
                if self.codec.ended:  # the peer's last word came with these
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
        """The first unsent segment; b"" (codec.END) where the driver is to shut the sending side down.

        Only while wants has WRITE. Raises PeerError where the codec or a file fails: report it with lost().
        """
        return self.codec.output()

    def sent(self, count: int, now: float) -> None:
        """The socket took `count` bytes of output()."""
        self.codec.sent(count)
        self.counters.add(BYTES_OUT, count)
        self._rate_bytes += count
        self._settle(now)

    def take_call(self) -> Work:
        """The call that is due. Only while wants has CALL."""
        self.wants = self.wants - CALL | RUNNING
        return self._take_work()

    def answered(self, reply: Any, now: float) -> None:
        """The call that was taken returned `reply`."""
        self._answered(reply, now)
        self._settle(now)

    def count_served(self, count: int, now: float) -> None:
        """The driver has answered so many requests itself while this was at rest, the last of them until `now`."""
        self.served += count
        self._patience = self._idle_timeout()
        self.enter(IDLE, now)
        self._flushed = True
        self._settle(now)

    def consumed(self, now: float) -> None:
        """The call that runs has looked at what is there: perhaps it takes more than before."""
        self._consumed(now)
        self._settle(now)

    def expired(self, now: float, held: int = 0) -> None:
        """The deadline has come, which moves on while bytes still move at the minimum rate. `held`: bytes sent that the
        kernel still holds for this peer."""
        if now < self.deadline:
            return
        consumed = (
            self._rate_bytes + max(0, self._kernel_unsent) - held if self._kernel_unsent >= 0 else self._rate_bytes
        )
        if (self._writing or self.phase is BODY or self._awaits_body()) and consumed >= self._limits.min_rate * (
            now - self._rate_since
        ):
            self._rate_since = now
            self._rate_bytes = 0
            self._kernel_unsent = held
        else:
            self._expire(now)
        self._settle(now)

    def drain(self, now: float, patience: float = FAREWELL) -> None:
        """The server leaves, or others wait: answer what is asked, then close.

        An idle peer has `patience` seconds for a request that is on its way; one that never asked has FAREWELL.
        """
        if not self._leaving:
            self._leaving = True
            self._left = now  # beside `_since`: the time of a head that has begun must not begin again
            self._farewell = patience if self.served else FAREWELL
            self._settle(now)

    def lost(self, now: float) -> None:
        """The socket failed, or the server closes it: whatever was due is off."""
        self._count_aborted()
        self.codec.discard()
        self.enter(CLOSED, now)
        self._settle(now)

    def adopt(
        self, unsent: bytes, request: Any, async_call: Any, heard: bytes, requested_at: float, now: float
    ) -> None:
        """A driver that has answered itself leaves us the rest: what is to go out still; a request that it has counted,
        and whose call it has taken, and that call if it is a Live; what was heard after that; when it was asked."""
        raise NotImplementedError

    @property
    def is_idle(self) -> bool:
        """Is nothing here but a peer that may ask? A driver that can may answer it itself, and report exchanged()."""
        return False

    @property
    def is_streaming(self) -> bool:
        """Whether a call that is due gives a further piece of an answer: it runs in the thread that drives this."""
        return False

    def close_call(self) -> Work | None:
        """What the app is to do now that the peer is gone, once; None while a call of it runs still."""
        return None

    # ------------------------------------------------------------ what a kind of connection says

    def _receive_plain(self, data: bytes, now: float) -> None:
        """The peer said `data`. Raises Refusal or PeerError."""
        raise NotImplementedError

    def _receive_end(self, now: float) -> None:
        """The peer says no more. Raises Refusal or PeerError."""
        raise NotImplementedError

    def _handshake_done(self, now: float) -> None:
        """The codec had a word with the peer's, and is ready: perhaps only now."""

    def _take_work(self) -> Work:
        """The call that is due: from here on it runs."""
        raise NotImplementedError

    def _answered(self, reply: Any, now: float) -> None:
        """What the call returned that _take_work gave."""
        raise NotImplementedError

    def _consumed(self, now: float) -> None:
        """The call that runs may wait for more of what the peer says."""

    def _awaits_body(self) -> bool:
        """Does the call that runs wait for what the peer is to say?"""
        return False

    def _call_deadline(self) -> float:
        """How long may a call run, as far as the peer is concerned?"""
        return math.inf

    def _flush_done(self, now: float) -> None:
        """All that was queued has been sent, and `_queued` tells what is to be done now."""

    def _idle_timeout(self) -> float:
        """Seconds that a peer may be idle between two requests."""
        return self._limits.keep_alive

    def _buffered(self) -> int:
        """Bytes heard that no call has taken."""
        raise NotImplementedError

    def _may_call(self) -> bool:
        """In the phase DUE: may the call run, or must more be sent before?"""
        return self.codec.unsent < HIGH_WATER

    def _refuse(self, refusal: Refusal, now: float) -> None:
        """Say why, where the protocol has words for it, and close."""
        self.close(now, linger=True)

    def _expire(self, now: float) -> None:
        """The peer is too slow, or idle for too long."""
        self.lost(now)

    # ------------------------------------------------------------ what all share

    def enter(self, phase: Phase, now: float) -> None:
        """A phase begins that has a deadline of its own; DUE and CALLED have none, and are just set."""
        self.phase = phase
        self._since = now
        self._flushed = False
        if not self._writing:  # else a peer that asks and does not read would buy time with each question
            self._rate_since = now
            self._rate_bytes = 0

    def close(self, now: float, *, linger: bool = False) -> None:
        """Send what is queued, then close; with `linger`, hear (and forget) the peer for a moment more."""
        if linger or not self.codec.is_clear:
            self.codec.end()
        self._ended = self._ended or not linger
        self.enter(CLOSING, now)

    def _settle(self, now: float) -> None:
        """What is wanted from here on, and until when: the one place that decides both."""
        phase = self.phase
        pending = self.codec.pending
        if pending is not self._writing:
            self._begin_or_end_writing(pending, now)
        hears = not self._ended
        until = math.inf
        wants = 0
        if phase is IDLE:
            until = max(self._since, self._left) + self._farewell if self._leaving else self._since + self._patience
        elif phase is DUE:
            wants = CALL if not pending or self._may_call() else 0
            hears = hears and self._buffered() < HIGH_WATER
        elif phase is CALLED:
            wants = RUNNING
            until = self._call_deadline()
            hears = hears and self._buffered() < HIGH_WATER
        elif phase is HEAD:
            until = self._since + self._limits.head_timeout
        elif phase is BODY:
            until = self._rate_since + GRACE
        elif phase is CLOSING:
            until = self._since + LINGER
        else:
            pending = hears = False
        if pending:
            until = self._rate_since + (GRACE if self._kernel_unsent < 0 else STALL)
            wants |= WRITE
            hears = hears and (self.codec.unsent <= HIGH_WATER or phase is CLOSING)
        self.wants = wants | READ if hears else wants
        self.deadline = until
        if not self.wants and phase is not CLOSED:
            if phase is CLOSING or self.codec.is_clear:
                self.enter(CLOSED, now)
            else:
                self.close(now)
                self._settle(now)

    def _request_started(self) -> None:
        """A request has arrived."""
        self._request_pending = True
        self.counters.add(REQUESTS)

    def _response_queued(self, status: int, requested_at: float, now: float) -> None:
        """Its answer is queued whole. That counts once it has gone out; of those that go together, the last waits."""
        if not self._request_pending:  # who is refused in the middle of one has asked, too
            self.counters.add(REQUESTS)
        self._request_pending = False
        self.served += 1
        if self._outgoing is not None:
            self._count_outgoing(now)
        self._outgoing = (status, requested_at)
        if not self.codec.pending:  # a service's, of no bytes
            self._count_outgoing(now)

    def _count_outgoing(self, now: float) -> None:
        if self._outgoing is not None:
            self.counters.answered(self._outgoing[0], now - self._outgoing[1])
            self._outgoing = None

    def _count_aborted(self) -> None:
        """What is not answered in full never will be."""
        self.counters.add(ABORTED, self._request_pending + (self._outgoing is not None))
        self._request_pending, self._outgoing = False, None

    def _begin_or_end_writing(self, pending: bool, now: float) -> None:
        self._writing = pending
        self._rate_since = now
        self._rate_bytes = 0
        self._kernel_unsent = -1
        if not pending:
            if not self._flushed:
                self._flushed = True
                self._since = now
            if self._outgoing is not None:
                self._count_outgoing(now)
            if self._queued is not None:
                self._flush_done(now)


def _new_tls(context: ssl.SSLContext) -> Clear:
    from allcomers.connection.tls import Tls  # late: see there

    return Tls(context)
