"""The streams of a connection: the states of both sides, and their windows (RFC 9113, 5)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from allcomers.errors import Http2Error
from allcomers.protocol import compiled
from allcomers.protocol.http2.frames import ErrorCode

_MOST_RESETS: Final = 256
"""Streams that were reset of which it is remembered: their frames may still be on their way."""

_MOST_GAPS: Final = 16
"""Ranges of ids that the peer has skipped, and so may never use."""


class Side(IntEnum):
    """How far one endpoint is with its message on a stream."""

    HEAD = 0
    BODY = 1
    ENDED = 2


HEAD, BODY, ENDED = Side

if compiled.COMPILED and not TYPE_CHECKING:
    from allcomers.protocol.http2._session import Http2Stream as Http2Stream
    from allcomers.protocol.http2._session import TableSlots
else:

    class TableSlots:
        """The slots of a StreamTable that the leaf uses."""

        __slots__ = ("last", "open")

        open: dict[int, Http2Stream]
        last: int

    class Http2Stream:
        """A stream that is not over.

        sending, receiving  Side of this endpoint and of the peer
        credit    int: what may be sent less the peer's SETTINGS_INITIAL_WINDOW_SIZE, so that this may change
        window    int: bytes of DATA that the peer may send yet
        held      int: bytes of DATA that were reported and not consumed
        returned  int: consumed bytes that no WINDOW_UPDATE has returned
        left      int: bytes of the body that Content-Length announces; None for none
        """

        __slots__ = ("credit", "held", "left", "receiving", "returned", "sending", "window")

        def __init__(self, sending: int, receiving: int, window: int, left: int | None = None) -> None:
            self.sending = sending
            self.receiving = receiving
            self.credit = 0
            self.window = window
            self.held = 0
            self.returned = 0
            self.left = left


class StreamTable(TableSlots):
    """The streams of a connection: those that are open, and what must be known of those that are over.

    Only clients open streams, for no server pushes: their ids are odd, and grow (RFC 9113, 5.1.1).

    open  the streams that are not over, by their ids
    last  int: the highest id of all
    """

    __slots__ = ("_gaps", "_resets")

    def __init__(self) -> None:
        self.open = {}
        self.last = -1  # so that the next is 1
        self._gaps: list[tuple[int, int]] = []
        self._resets: dict[int, bool] = {}  # whether by the peer

    def add(self, stream: int) -> None:
        """Note that a stream was opened, whose id is greater than all before."""
        if stream != self.last + 2:
            self._gaps = [*self._gaps[1 - _MOST_GAPS :], (self.last, stream)]
        self.last = stream

    def is_idle(self, stream: int) -> bool:
        """Return True for a stream that nobody has opened."""
        return stream > self.last or not stream & 1 or any(low < stream < high for low, high in self._gaps)

    def note_reset(self, stream: int, by_peer: bool) -> None:
        """Remember how a stream ended: frames that cross a reset of ours are ignored."""
        if len(self._resets) >= _MOST_RESETS:
            del self._resets[next(iter(self._resets))]
        self._resets[stream] = by_peer

    def check_over(self, stream: int) -> None:
        """Refuse a frame on a stream that is over, unless that frame may have crossed our RST_STREAM (RFC 9113, 5.1).
        Raises Http2Error."""
        by_peer = self._resets.get(stream)
        if by_peer is None:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "a frame on a stream that is over")
        if by_peer:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "a frame on a stream that its sender has reset", stream)
