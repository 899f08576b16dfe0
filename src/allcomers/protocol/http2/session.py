"""One connection of HTTP/2, seen from either end: bytes to events, and verbs to bytes (RFC 9113).

It knows no socket and no clock. Nothing that a peer sends makes it raise, fill memory, or answer more than it was sent:
every kind of frame that costs the peer nothing has a rate, everything that it may leave open a bound. What only time
shows is its connection's to watch: a window that stays shut, a message that does not come on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from allcomers.config.limits import Http2Limits, Limits
from allcomers.errors import Http2Error
from allcomers.protocol import compiled
from allcomers.protocol.http2 import control, frames, messages
from allcomers.protocol.http2.events import Http2Event, RequestReceived
from allcomers.protocol.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    HEAD_SIZE,
    LAST_STREAM,
    PREFACE,
    WINDOW,
    ErrorCode,
    FrameType,
    Setting,
)
from allcomers.protocol.http2.state import SessionPhase, SessionState
from allcomers.protocol.http2.streams import BODY, ENDED, HEAD, Http2Stream

HTTP2_LIMITS: Final = Http2Limits()

if TYPE_CHECKING or compiled.COMPILED:
    from allcomers.protocol.http2 import _session as leaf

_Handler: TypeAlias = Callable[[SessionState, int, int, bytes], None]

_HANDLERS: Final[dict[int, _Handler]] = {
    FrameType.DATA: messages.on_data,
    FrameType.HEADERS: messages.on_headers,
    FrameType.PRIORITY: control.on_priority,
    FrameType.RST_STREAM: control.on_reset,
    FrameType.SETTINGS: control.on_settings,
    FrameType.PUSH_PROMISE: control.on_push_promise,
    FrameType.PING: control.on_ping,
    FrameType.GOAWAY: control.on_goaway,
    FrameType.WINDOW_UPDATE: control.on_window_update,
    FrameType.CONTINUATION: messages.on_continuation,
    FrameType.PRIORITY_UPDATE: control.on_priority_update,
}
"""The functions of the frames that are known. Any other is ignored (RFC 9113, 5.5)."""


class Session(SessionState):
    """One end of a connection.

    receive() gives events. The verbs queue bytes, and output() returns them. A verb for a stream that is over does
    nothing: its end may have come in between.
    """

    __slots__ = ("_needed", "_partial")

    def __init__(
        self, *, is_server: bool, limits: Limits, http2: Http2Limits = HTTP2_LIMITS, connect: bool = False
    ) -> None:  # fmt: skip
        """Queue this end's first frames. `connect`: offer extended CONNECT (RFC 8441)."""
        super().__init__(is_server, limits, http2, connect)
        self._partial: bytes | bytearray = b""  # a frame that is not whole
        self._needed = 0  # bytes that it has at least, when it is
        if is_server:
            values = [(Setting.MAX_CONCURRENT_STREAMS, http2.max_streams), (Setting.NO_RFC7540_PRIORITIES, 1)]
        else:
            self.queue.append(PREFACE)
            values = [(Setting.ENABLE_PUSH, 0)]
        values += [(Setting.INITIAL_WINDOW_SIZE, http2.stream_window), (Setting.MAX_HEADER_LIST_SIZE, limits.max_head)]
        if connect and is_server:
            values.append((Setting.ENABLE_CONNECT_PROTOCOL, 1))
        self.queue.append(frames.settings(values))
        if self.receive_window > WINDOW:
            self.queue.append(frames.window_update(0, self.receive_window - WINDOW))

    # ------------------------------------------------------------ bytes to frames

    def receive(self, data: bytes, now: float) -> list[Http2Event]:
        """Return the events in bytes that came at `now`. Raises nothing, whatever they are: a fault in a stream is a
        StreamReset, one of the connection SessionFailed, after which nothing is read."""
        if self.phase is SessionPhase.FAILED:
            return []
        self.now = now
        try:
            if self._partial:
                if len(self._partial) + len(data) < self._needed:
                    self._partial += data
                    return []
                data = b"".join((self._partial, data))
            at = self._read(data)
            self._partial = bytearray(memoryview(data)[at:]) if at < len(data) else b""
        except Http2Error as error:
            self._partial = b""
            self.fail(error)
        events, self.events = self.events, []
        return events

    @property
    def is_partial(self) -> bool:
        """Whether a frame or a header block has begun, and is not whole; or the preface."""
        return self._partial != b"" or self.block is not None

    @property
    def buffered(self) -> int:
        """The bytes of a frame and of a header block that are not whole."""
        return len(self._partial) + (self.block.size if self.block is not None else 0)

    def _read(self, data: bytes) -> int:
        """Handle the whole frames in `data`, and return the place after them. Note how much the next one needs."""
        at = 0
        self._needed = HEAD_SIZE
        if self.phase is SessionPhase.PREFACE:
            at = self._read_preface(data)
        unpack = frames.HEAD.unpack_from
        while len(data) - at >= HEAD_SIZE and self.phase is not SessionPhase.PREFACE:
            high, low, kind, flags, stream = unpack(data, at)
            size = high << 8 | low
            end = at + HEAD_SIZE + size
            stream &= LAST_STREAM
            if size > FRAME_SIZE or self.phase is not SessionPhase.OPEN or self.block is not None:
                self._check(size, kind, flags, stream)
            if end > len(data):
                self._needed = HEAD_SIZE + size
                break
            if kind == FrameType.HEADERS and compiled.COMPILED and (after := _read_common(self, data, at)) > at:
                at = after
                continue
            handler = _HANDLERS.get(kind)
            if handler is not None:
                payload = data[at + HEAD_SIZE : end]
                if kind == FrameType.DATA and size and not flags and len(data) - end > HEAD_SIZE:
                    payload, flags, end = messages.joined_data(self, stream, payload, data, end)
                try:
                    handler(self, flags, stream, payload)
                except Http2Error as error:
                    if not error.stream:
                        raise
                    self.end_by_fault(error)
            at = end
        return at

    def _read_preface(self, data: bytes) -> int:
        """Return the place after the preface; 0 where it is not whole."""
        if data.startswith(PREFACE):
            self.phase = SessionPhase.SETTINGS
            return len(PREFACE)
        if not PREFACE.startswith(data):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the connection does not begin with the preface")
        self._needed = len(PREFACE)
        return 0

    def _check(self, size: int, kind: int, flags: int, stream: int) -> None:
        """Refuse a frame that is too large; all but SETTINGS at first (RFC 9113, 3.4), and all but CONTINUATION within
        a header block (6.10)."""
        if size > FRAME_SIZE:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, f"a frame is larger than {FRAME_SIZE} bytes")
        if self.phase is SessionPhase.SETTINGS:
            if kind != FrameType.SETTINGS or flags & ACK:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self.phase = SessionPhase.OPEN
        elif self.block is not None and (kind != FrameType.CONTINUATION or stream != self.block.stream):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "another frame within a header block")

    # ------------------------------------------------------------ messages to frames

    @property
    def pending(self) -> bool:
        """Whether output() has something."""
        return bool(self.queue)

    def output(self) -> bytes:
        """Return what is queued; it is queued no more."""
        queue = self.queue
        if len(queue) == 1:
            single: bytes = queue.pop()  # a view has a head before it
            return single
        data = b"".join(queue)
        queue.clear()
        return data

    def inform(self, stream: int, block: bytes) -> None:
        """Queue the head of an interim response (RFC 9110, 15.2)."""
        if stream in self.streams:
            self._head(stream, block, False)

    def respond(self, stream: int, block: bytes, end: bool = False) -> None:
        """Queue the head of the response; `end`: it has no body."""
        found = self.streams.get(stream)
        if found is not None:
            _expect(found, HEAD)
            self._head(stream, block, end)
            found.sending = BODY
            if end:
                self.sent(stream, found)

    def answer(self, stream: int, block: bytes, body: bytes) -> bool:
        """Queue a whole response, if it fits into one frame of each type and into both windows: return False otherwise,
        with nothing queued."""
        if compiled.COMPILED and not self.prefix and leaf.answer(self.queue, self, stream, block, body):
            return True
        found = self.streams.get(stream)
        if found is None:
            return True
        _expect(found, HEAD)
        size, block_size = len(body), len(block)
        if size > self.send_window or size > self.peer_window + found.credit or max(size, block_size) > FRAME_SIZE:
            return False
        if self.prefix:
            return False
        pack = frames.HEAD.pack
        if size:
            self.queue += (
                pack(block_size >> 8, block_size & 0xFF, FrameType.HEADERS, END_HEADERS, stream),
                block,
                pack(size >> 8, size & 0xFF, FrameType.DATA, END_STREAM, stream),
                body,
            )
            self.send_window -= size
            self.data_frames += 1
        else:
            flags = END_HEADERS | END_STREAM
            self.queue += (pack(block_size >> 8, block_size & 0xFF, FrameType.HEADERS, flags, stream), block)
        self.sent(stream, found)
        return True

    def send(self, stream: int, data: bytes | memoryview, end: bool = False) -> None:
        """Queue a piece of the body, or nothing for an empty one that is not its end. Raises ValueError for more than
        room()."""
        found = self.streams.get(stream)
        if found is not None and (data or end):
            self._count_data(stream, found, len(data), end)
            self.queue += frames.data(stream, data, end, self.max_frame - HEAD_SIZE)

    def trailers(self, stream: int, block: bytes) -> None:
        """Queue the fields after the body, which end the message."""
        found = self.streams.get(stream)
        if found is not None:
            _expect(found, BODY)
            self._head(stream, block, True)
            self.sent(stream, found)

    def _head(self, stream: int, block: bytes, end: bool) -> None:
        if self.prefix:
            block, self.prefix = self.prefix + block, b""
        self.queue += frames.headers(stream, block, end, self.max_frame)

    def _count_data(self, stream: int, found: Http2Stream, size: int, end: bool) -> None:
        _expect(found, BODY)
        if size and size > self.room(stream):
            raise ValueError("more than the windows allow")
        self.send_window -= size
        found.credit -= size
        self.data_frames += 1
        if end:
            self.sent(stream, found)

    def request(self, block: bytes, end: bool = False) -> int:
        """Queue the head of a request, and return its stream, at a client. Raises ValueError where `places` is 0."""
        if not self.places:
            raise ValueError("no stream may be opened")
        stream = self.table.last + 2
        self.table.add(stream)
        self.streams[stream] = Http2Stream(ENDED if end else BODY, HEAD, self.new_window)
        self._head(stream, block, end)
        return stream

    # ------------------------------------------------------------ windows and ends

    def consumed(self, stream: int, size: int, *, shut: bool = False) -> None:
        """Open the windows again by so many bytes of DataReceived; `shut`: that of the connection alone."""
        found = self.streams.get(stream)
        if found is not None:
            found.held -= size
            self.give_back(size)
            if not shut:
                self.give_back_on(stream, found, size)

    def reopen(self, stream: int, size: int) -> None:
        """Open the window of a stream alone, by bytes that were consumed with `shut`."""
        found = self.streams.get(stream)
        if found is not None:
            self.give_back_on(stream, found, size)

    def reset(self, stream: int, code: int = ErrorCode.NO_ERROR) -> None:
        """End a stream; nothing more is reported of it."""
        if stream in self.streams:
            self.queue.append(frames.reset(stream, code))
            self.forget(stream, by_peer=False)

    def ping(self, payload: bytes) -> None:
        """Queue a PING of 8 bytes, which PingAcknowledged reports."""
        self.queue.append(frames.ping(payload))

    def notice(self) -> None:
        """Queue a first GOAWAY: leave soon, and take what was sent before this was read (RFC 9113, 6.8)."""
        self.queue.append(frames.goaway(LAST_STREAM, ErrorCode.NO_ERROR))

    def goaway(self, code: int = ErrorCode.NO_ERROR) -> None:
        """Queue a GOAWAY: take no stream after those that have come; go on with these."""
        if self.is_server and self.phase is not SessionPhase.FAILED:
            self.goaway_last = min(self.goaway_last, max(self.table.last, 0))
        self.queue.append(frames.goaway(self.goaway_last if self.is_server else 0, code))


def _expect(found: Http2Stream, side: int) -> None:
    if found.sending != side:
        raise ValueError("not in this order: a head, a body, its end")


def _read_common(session: SessionState, data: bytes, at: int) -> int:
    """Take requests with the compiled leaf. Return the place after them; `at` where it leaves that to plain Python."""
    if session.block is not None or session.early or not session.is_server or session.goaway_last != LAST_STREAM:
        return at
    most = session.http2.max_streams - len(session.streams) - session.lingering
    known, window = session.reader.known, session.new_window
    return leaf.read_requests(data, at, most, known, session, session.events, RequestReceived, window)
