"""Codecs: between the segments that a connection wants sent and the bytes that go through the socket.

`Clear` passes them as they are; `tls.Tls` encrypts them. A codec holds what is queued and not sent: `unsent` is what
back-pressure looks at.
"""

from __future__ import annotations

from allcomers.protocol.message import FileSlice, Segment

JOIN = 16 * 1024
"""Segments up to this size are joined to the one before: one send is cheaper than two, and TLS makes one record."""

EOF = b""
"""The segment after which nothing comes: the driver shuts the socket's sending side down."""


class Clear:
    """Bytes as they are.

    unsent   int: bytes queued that no socket has taken yet
    pending  bool: is there something to send?
    ready    bool: can plain bytes be sent? Before a TLS handshake they cannot
    ended    bool: has the peer said, with what received() gave last, that it says no more?
    is_clear bool: what is received is what the peer said, and it needs no word before its socket is closed
    """

    __slots__ = ("_ending", "_queue", "pending", "unsent")
    ready = True
    ended = False
    is_clear = True

    def __init__(self) -> None:
        self._queue: list[Segment] | None = None  # None when empty: an idle peer costs no list
        self._ending = False
        self.unsent = 0
        self.pending = False

    def push(self, segment: Segment) -> None:
        """Queue `segment` behind what waits already. An empty one is none."""
        size = len(segment)
        if not size:
            return
        self.unsent += size
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
        """Nothing follows what is queued: EOF comes after it."""
        self._ending = self.pending = True

    def output(self) -> Segment:
        """The first unsent segment; EOF where the sending side is to be shut. Only while `pending`."""
        return self._queue[0] if self._queue else EOF

    def sent(self, count: int) -> None:
        """The socket has taken `count` bytes of what output() gave (0 after EOF)."""
        queue = self._queue
        if queue is None:
            self._ending = self.pending = False
            return
        self.unsent -= count
        segment = queue[0]
        if count < len(segment):
            if isinstance(segment, FileSlice):
                segment.skip(count)
            else:  # a view: what is left of a large answer is not copied for each send
                queue[0] = memoryview(segment)[count:]
        elif len(queue) > 1:
            del queue[0]
        else:
            self._queue = None
            self.pending = self._ending

    def received(self, data: bytes) -> bytes | None:
        """What the peer said with these bytes; EOF where it says no more, None where only the codec was meant.

        Raises PeerError where they make no sense to the codec.
        """
        return data

    def discard(self) -> None:
        """The peer is gone: forget what is queued."""
        self._queue = None
        self.unsent = 0
        self._ending = self.pending = False
