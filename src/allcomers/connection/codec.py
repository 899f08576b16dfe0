"""Codecs: between the segments that a connection wants sent and the bytes that go through the socket.

`Clear` passes them as they are; `tls.Tls` encrypts them. A codec holds what is queued and not sent: `unsent` is what
back-pressure looks at. `queued` and `gone` count all bytes: what was queued when `queued` was N has gone out once
`gone` is N.
"""

from __future__ import annotations

from allcomers.protocol.message import FileSlice, Segment
from allcomers.protocol.tls.info import TlsInfo

JOIN = 16 * 1024
"""Segments up to this size are joined to the one before: one send is cheaper than two, and TLS makes one record."""

EOF = b""
"""The segment after which nothing comes: the driver shuts the socket's sending side down."""


class Clear:
    """Bytes as they are.

    queued   int: plain bytes queued so far
    gone     int: those of them that a socket has taken, in whatever form
    unsent   int: plain bytes that wait in the queue
    pending  bool: the driver has something to send
    ready    bool: plain bytes can be sent; before a TLS handshake they cannot
    leads    bool: another codec takes its place before any plain byte comes
    ended    bool: with what received() returned last came the peer's end
    is_clear bool: received bytes are the peer's own, and no farewell precedes the close of its socket
    tls      TlsInfo of the handshake; None before it, and without one
    """

    __slots__ = ("_ending", "_held", "_queue", "gone", "pending", "queued", "unsent")
    ready = True
    leads = False
    ended = False
    is_clear = True
    tls: TlsInfo | None = None

    def __init__(self) -> None:
        self._queue: list[Segment] | None = None  # None when empty: an idle peer costs no list
        self._ending = False
        self.queued = self.gone = self.unsent = self._held = 0
        self.pending = False

    def held(self) -> int:
        """Return the bytes of memory that the queue holds: all of a segment until its last byte is sent, none of a
        file."""
        return self._held

    def push(self, segment: Segment) -> None:
        """Queue `segment` behind all others. Ignore an empty one."""
        size = len(segment)
        if not size:
            return
        self.queued += size
        self.unsent += size
        if type(segment) is not FileSlice:
            self._held += size
        self.pending = True
        queue = self._queue
        if queue is None:
            self._queue = [segment]
            return
        last = queue[-1]
        if size <= JOIN and isinstance(segment, bytes) and isinstance(last, bytes) and len(last) <= JOIN:
            queue[-1] = last + segment
        else:
            queue.append(segment)

    def end(self) -> None:
        """Queue EOF: nothing follows what is queued."""
        self._ending = self.pending = True

    def output(self) -> Segment:
        """Return the first unsent segment; EOF where the driver is to shut the sending side. Only while `pending`."""
        return self._queue[0] if self._queue else EOF

    def sent(self, count: int) -> None:
        """Drop the first `count` bytes of output(), which the socket has taken; 0 after EOF."""
        queue = self._queue
        if queue is None:
            self._ending = self.pending = False
            return
        self.gone += count
        self.unsent -= count
        segment = queue[0]
        if count < len(segment):
            if isinstance(segment, FileSlice):
                segment.skip(count)
            else:  # a view: the rest of a large response is not copied for each send
                queue[0] = memoryview(segment)[count:]
        elif len(queue) > 1:
            del queue[0]
            if not isinstance(segment, FileSlice):
                self._held -= memoryview(segment.obj).nbytes if isinstance(segment, memoryview) else len(segment)
        else:
            self._queue = None
            self._held = 0
            self.pending = self._ending

    def seal(self, plain: bytes, is_last: bool = False) -> bytes:
        """Return `plain` as it goes through the socket, for a driver that sends it itself while nothing is `pending`;
        `is_last`: with the farewell behind it, for a connection that ends. Raises OSError."""
        return plain

    def keep(self, sealed: bytes) -> None:
        """Queue the end of what seal() returned, which the socket has not taken yet."""
        self.push(sealed)

    def received(self, data: bytes) -> bytes | None:
        """Return the plain bytes in `data`; EOF at the peer's end, None where all of it was for the codec alone.

        Raises PeerError for bytes that the codec cannot read.
        """
        return data

    def discard(self) -> None:
        """Drop all that is queued: the peer is gone."""
        self._queue = None
        self.unsent = self._held = 0
        self._ending = self.pending = False
