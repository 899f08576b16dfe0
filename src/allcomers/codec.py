"""Codecs: between the segments that a connection wants sent and the bytes that go through the socket.

`Clear` passes them as they are; `Tls` encrypts them in memory (ssl.MemoryBIO), so that TLS needs no socket and every
model has it. A codec holds what is queued and not sent: `unsent` is what back-pressure looks at.
"""

from __future__ import annotations

import contextlib
import ssl

from allcomers.errors import PeerError
from allcomers.protocol.message import FileSlice, Segment

_JOIN = 16 * 1024
"""Segments up to this size are joined to the one before: one send is cheaper than two, and TLS makes one record."""

_SEAL = 64 * 1024
"""Plain bytes that are encrypted at a time: four full TLS records (RFC 8446, 5.1)."""

END = b""
"""The segment after which nothing comes: the driver shuts the socket's sending side down."""


class Clear:
    """Bytes as they are.

    unsent  int: bytes queued that no socket has taken yet
    ready   bool: can plain bytes be sent? Before a TLS handshake they cannot
    closes_silently  bool: the peer needs no word before the socket is closed; TLS wants its close_notify
    """

    __slots__ = ("_ending", "_queue", "unsent")
    ready = True
    closes_silently = True

    def __init__(self) -> None:
        self._queue: list[Segment] = []
        self._ending = False
        self.unsent = 0

    @property
    def pending(self) -> bool:
        """Is there something to send?"""
        return bool(self._queue) or self._ending

    def push(self, segment: Segment) -> None:
        """Queue `segment` behind what waits already. An empty one is none."""
        size = len(segment)
        queue = self._queue
        if queue and size <= _JOIN and isinstance(segment, bytes):
            last = queue[-1]
            if isinstance(last, bytes) and len(last) <= _JOIN:
                queue[-1] = last + segment
                self.unsent += size
                return
        if size:
            queue.append(segment)
            self.unsent += size

    def end(self) -> None:
        """Nothing follows what is queued: END comes after it."""
        self._ending = True

    def output(self) -> Segment:
        """The first unsent segment; END where the sending side is to be shut. Only while `pending`."""
        return self._queue[0] if self._queue else END

    def sent(self, count: int) -> None:
        """The socket has taken `count` bytes of what output() gave (0 after END)."""
        queue = self._queue
        if not queue:
            self._ending = False
            return
        self.unsent -= count
        segment = queue[0]
        if count == len(segment):
            del queue[0]
        elif isinstance(segment, FileSlice):
            segment.skip(count)
        else:  # a view: what is left of a large answer is not copied for each send
            queue[0] = memoryview(segment)[count:]

    def received(self, data: bytes) -> bytes | None:
        """What the peer said with these bytes; END where it says no more, None where only the codec was meant.

        Raises PeerError where they make no sense to the codec.
        """
        return data

    def discard(self) -> None:
        """The peer is gone: forget what is queued."""
        self._queue.clear()
        self.unsent = 0
        self._ending = False


class Tls(Clear):
    """TLS in the server's role: the same queue, sealed piece by piece as the socket takes it (RFC 8446, 5246)."""

    __slots__ = ("_engine", "_incoming", "_outgoing", "_sealed", "ready")
    closes_silently = False

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._sealed: bytes | memoryview = b""
        self.ready = False

    @property
    def pending(self) -> bool:
        return bool(self._sealed or self._outgoing.pending or self._queue) or self._ending

    def received(self, data: bytes) -> bytes | None:
        if not data:
            return END
        self._incoming.write(data)
        try:
            if not self.ready:
                self._engine.do_handshake()
                self.ready = True
            return self._opened()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as error:
            raise PeerError(f"TLS: {error.reason or 'broken off'}") from None

    def _opened(self) -> bytes:
        """All plain bytes that have come; END after the peer's close_notify."""
        pieces: list[bytes] = []
        try:
            while piece := self._engine.read(_SEAL):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            if not pieces:
                raise
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(pieces)

    def output(self) -> Segment:
        if not self._sealed:
            if self._queue:
                self._engine.write(self._taken())
            elif self._ending and self.ready:
                self._close_notify()
            self._sealed = self._outgoing.read()
        return self._sealed

    def sent(self, count: int) -> None:
        if not self._sealed:
            self._ending = False
        elif count == len(self._sealed):
            self._sealed = b""
        else:
            self._sealed = memoryview(self._sealed)[count:]

    def discard(self) -> None:
        super().discard()
        self._sealed = b""
        self._outgoing.read()

    def _taken(self) -> bytes:
        """Up to _SEAL plain bytes off the front of the queue."""
        segment = self._queue[0]
        plain = segment.read(_SEAL) if isinstance(segment, FileSlice) else bytes(segment[:_SEAL])
        if not plain:
            raise PeerError("a file became shorter while it was sent")
        super().sent(len(plain))
        return plain

    def _close_notify(self) -> None:
        """Tell the peer that this is the end and no cut (RFC 8446, 6.1)."""
        with contextlib.suppress(ssl.SSLError):  # the peer's own close_notify is not awaited
            self._engine.unwrap()
