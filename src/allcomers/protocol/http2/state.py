"""The state of a session, and the few steps that all its frames share: ends, windows, counts."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from allcomers.config.limits import Http2Limits, Limits
from allcomers.errors import Http2Error
from allcomers.protocol import compiled
from allcomers.protocol.http2 import frames
from allcomers.protocol.http2.events import Http2Event, SessionFailed, StreamReset
from allcomers.protocol.http2.frames import FRAME_SIZE, LAST_STREAM, WINDOW, ErrorCode
from allcomers.protocol.http2.heads import HeadReader
from allcomers.protocol.http2.rates import FloodGuard
from allcomers.protocol.http2.streams import ENDED, HEAD, Http2Stream, StreamTable


class SessionPhase(Enum):
    """The state of a session, by what it waits for."""

    PREFACE = "the preface"
    SETTINGS = "the first frame"
    OPEN = "any frame"
    FAILED = "nothing"


class PartialBlock(NamedTuple):
    """A header block that is not whole yet: HEADERS without END_HEADERS, and CONTINUATIONs."""

    stream: int
    complete: bool
    fragments: list[bytes]
    size: int


if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.protocol.http2._session import SessionSlots
else:

    class SessionSlots:
        """The slots of a SessionState that the leaf uses."""

        __slots__ = ("data_frames", "lingering", "peer_window", "send_window", "streams", "table")

        table: StreamTable
        streams: dict[int, Http2Stream]
        send_window: int
        peer_window: int
        data_frames: int
        lingering: int


class SessionState(SessionSlots):
    """What a session knows.

    streams         those that are not over, by their ids; `table` knows the others
    lingering       int: streams that are over, but whose calls run still: they count among those at once
    events, queue   what receive() and output() return next
    now             float: when the last bytes came, in seconds of the monotonic clock
    block           the header block that is not whole; None for none
    early           priorities of streams that are not open yet (RFC 9218, 7.1)
    receive_window  bytes of DATA that the peer may send yet on all streams; `returned` were consumed since its update
    send_window     bytes of DATA that may be sent yet on all streams
    data_frames     DATA frames that were sent since the last WINDOW_UPDATE
    goaway_last     the last stream that is taken; LAST_STREAM before a GOAWAY
    is_acknowledged whether the peer knows our SETTINGS
    peer_goaway     the last stream that the peer takes, after its GOAWAY; else None
    peer_window, peer_streams, peer_connect, max_frame   its SETTINGS
    prefix          the beginning of the next header block
    """

    __slots__ = (
        "block", "early", "events", "floods", "goaway_last", "http2", "is_acknowledged", "is_server", "limits",
        "max_frame", "now", "peer_connect", "peer_goaway", "peer_streams", "phase", "prefix", "queue", "reader",
        "receive_window", "returned",
    )  # fmt: skip

    def __init__(self, is_server: bool, limits: Limits, http2: Http2Limits, connect: bool) -> None:
        self.is_server = is_server
        self.limits = limits
        self.http2 = http2
        self.phase = SessionPhase.PREFACE if is_server else SessionPhase.SETTINGS
        self.reader = HeadReader(limits, connect)
        self.table = StreamTable()
        self.streams = self.table.open
        self.floods = FloodGuard(http2)
        self.lingering = 0
        self.events: list[Http2Event] = []
        self.queue: list[Any] = []  # bytes, and views of bodies
        self.now = 0.0
        self.block: PartialBlock | None = None
        self.early: dict[int, tuple[int, bool]] = {}
        self.receive_window = max(http2.connection_window, WINDOW)
        self.returned = 0
        self.send_window = WINDOW
        self.data_frames = 0
        self.goaway_last = LAST_STREAM
        self.is_acknowledged = False
        self.peer_goaway: int | None = None
        self.peer_window = WINDOW
        self.peer_streams = LAST_STREAM
        self.peer_connect = False
        self.max_frame = FRAME_SIZE
        self.prefix = b""

    # ------------------------------------------------------------ questions

    def is_open(self, stream: int) -> bool:
        """Return True for a stream that is not over on both sides."""
        return stream in self.streams

    def room(self, stream: int) -> int:
        """Return how many bytes of DATA may be sent now: as both windows allow; 0 for a side that has ended."""
        found = self.streams.get(stream)
        if found is None or found.sending == ENDED:
            return 0
        return max(0, min(self.send_window, self.peer_window + found.credit))

    @property
    def places(self) -> int:
        """How many requests may be made now."""
        is_open = self.phase is not SessionPhase.FAILED and self.peer_goaway is None
        if self.is_server or not is_open or self.table.last + 2 > LAST_STREAM:
            return 0
        return max(0, self.peer_streams - len(self.streams))

    @property
    def is_drained(self) -> bool:
        """Whether one side leaves, and no stream is open."""
        return not self.streams and (self.peer_goaway is not None or self.goaway_last != LAST_STREAM)

    @property
    def new_window(self) -> int:
        """The bytes of DATA that a new stream takes: before the peer knows, no less than any has."""
        window = self.http2.stream_window
        return window if self.is_acknowledged else max(window, WINDOW)

    # ------------------------------------------------------------ for a driver of the common exchanges

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing waits on either side, and nothing is uncommon: a driver may take requests that are known, and
        answer each at once, in the place of receive() and answer(). It notes their streams in `table`."""
        is_quiet = not (self.streams or self.queue or self.early or self.prefix or self.lingering)
        is_open = self.phase is SessionPhase.OPEN and self.goaway_last == LAST_STREAM and self.peer_goaway is None
        return is_quiet and is_open and self.block is None

    def reopen_last(self) -> int:
        """Open the last stream, whose request such a driver has taken and not answered. Return its id."""
        stream = self.table.last
        self.streams[stream] = Http2Stream(HEAD, ENDED, self.new_window)
        return stream

    # ------------------------------------------------------------ ends

    def fail(self, error: Http2Error) -> None:
        """End the connection by a fault of the peer (RFC 9113, 5.4.1)."""
        self.phase = SessionPhase.FAILED
        last = min(self.goaway_last, max(self.table.last, 0)) if self.is_server else 0
        self.queue.append(frames.goaway(last, error.code, error.reason.encode("ascii")))
        self.streams.clear()
        self.reader.forget()
        self.block = None
        self.events.append(SessionFailed(error.code, error.reason))

    def end_by_fault(self, error: Http2Error) -> None:
        """End a stream by a fault of the peer (RFC 9113, 5.4.2). Raises Http2Error where these are too many."""
        self.queue.append(frames.reset(error.stream, error.code))
        if self.forget(error.stream, by_peer=False):
            self.events.append(StreamReset(error.stream, error.code, error.reason, remote=False))
        self.count("faults")

    def forget(self, stream: int, *, by_peer: bool) -> bool:
        """Remove a stream that was reset. Return whether it was open."""
        self.table.note_reset(stream, by_peer)
        found = self.streams.pop(stream, None)
        if found is not None and found.held:
            self.give_back(found.held)
        return found is not None

    def received(self, stream: int, found: Http2Stream) -> None:
        """Note that the peer has ended its side."""
        found.receiving = ENDED
        if found.sending == ENDED:
            self._end(stream, found)

    def sent(self, stream: int, found: Http2Stream) -> None:
        """Note that this side has ended."""
        found.sending = ENDED
        if found.receiving == ENDED:
            self._end(stream, found)

    def _end(self, stream: int, found: Http2Stream) -> None:
        del self.streams[stream]
        if found.held:
            self.give_back(found.held)

    def check_over(self, stream: int) -> None:
        """Refuse DATA or HEADERS on a stream that is not open, unless they may have crossed its end (RFC 9113, 5.1)."""
        self.check_opened(stream)
        if stream <= self.goaway_last:
            self.table.check_over(stream)

    def check_opened(self, stream: int) -> None:
        """Refuse a frame on a stream that nobody has opened, or on none."""
        if self.table.is_idle(stream):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that was not opened")

    # ------------------------------------------------------------ counts and windows

    def count(self, name: str, paid: int = 0) -> None:
        """Count a frame that costs the peer nothing. Raises Http2Error where they are too many."""
        self.floods.count(name, self.now, paid)

    def give_back(self, size: int) -> None:
        """Open the connection's window by `size`: in steps of half of it, for each costs a frame."""
        self.returned += size
        if self.returned * 2 >= max(self.http2.connection_window, WINDOW):
            self.queue.append(frames.window_update(0, self.returned))
            self.receive_window += self.returned
            self.returned = 0

    def give_back_on(self, stream: int, found: Http2Stream, size: int) -> None:
        """Open the window of a stream; in steps, as give_back(), and not where the peer has ended."""
        found.returned += size
        if found.returned * 2 >= self.http2.stream_window and found.receiving != ENDED:
            self.queue.append(frames.window_update(stream, found.returned))
            found.window += found.returned
            found.returned = 0
