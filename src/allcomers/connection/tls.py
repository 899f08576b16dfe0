"""The codec of TLS: in memory (ssl.MemoryBIO), so that it needs no socket and every model has it.

A file of its own, for loading `ssl` takes longer than loading all the rest of a plain server.

Several certificates: the name that a client asks for (SNI, RFC 6066, 3) chooses; the first has all names that no other
is for. Which names a certificate is for stands in it, and the ssl module reads no certificate but a peer's (of what a
context has loaded, get_ca_certs() tells the authorities alone). So each is shown to a client of our own, in memory: two
to three milliseconds at the start, no parser of our own and no further package, and OpenSSL says in passing what others
will hold against it.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from typing import Final

from allcomers.connection.codec import EOF, JOIN, Clear
from allcomers.errors import PeerError
from allcomers.protocol.message import FileSlice, Segment

_RECORD: Final = 16 * 1024
"""Plain bytes that a TLS record has at most (RFC 8446, 5.1): one read() of an SSLObject gives no more."""

_SEAL: Final = 4 * _RECORD
"""Plain bytes that are encrypted at a time."""


_logger = logging.getLogger("allcomers.tls")


# ---------------------------------------------------------------- the codec


class Tls(Clear):
    """TLS in the server's role: the same queue, sealed piece by piece as the socket takes it (RFC 8446, 5246)."""

    __slots__ = ("_engine", "_incoming", "_outgoing", "_sealed", "ended", "ready")
    is_clear = False

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._sealed: bytes | memoryview = b""
        self.ready = False
        self.ended = False

    def _look(self) -> None:
        """TLS has words of its own, and before the handshake it has no others."""
        self.pending = bool(self._sealed or self._outgoing.pending or (self._queue and self.ready)) or self._ending

    def push(self, segment: Segment) -> None:
        # A small file is read at once: with the head before it, it makes one record, and one send.
        if isinstance(segment, FileSlice):
            with contextlib.suppress(OSError):  # output() will meet it again, where it can be told
                data = segment.whole(JOIN)
                segment = segment if data is None else data
        super().push(segment)
        self._look()

    def received(self, data: bytes) -> bytes | None:
        if not data:
            return EOF
        self._incoming.write(data)
        try:
            return self._receive_plain()
        finally:
            self._look()

    def _receive_plain(self) -> bytes | None:
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
        """All plain bytes that have come; EOF after the peer's close_notify, or `ended` if both came at once."""
        pieces: list[bytes] = []
        try:
            while piece := self._engine.read(_RECORD):
                # PERF: most often that was all, and not to ask for more spares an exception.
                if not pieces and not self._incoming.pending and not self._engine.pending():
                    return piece
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            if not pieces:
                raise
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(pieces)

    def output(self) -> Segment:
        if not self._sealed:
            if self.ready:
                if self._queue:
                    self._engine.write(self._gathered())
                elif self._ending:
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
        self._look()

    def discard(self) -> None:
        super().discard()
        self._sealed = b""
        self._outgoing.read()
        self._look()

    def seal(self, plain: bytes) -> bytes:
        """`plain` as the peer is to get it, for a driver that sends it itself while nothing is `pending`."""
        self._engine.write(plain)
        return self._outgoing.read()

    def keep(self, sealed: bytes) -> None:
        """The end of what seal() gave, which the socket has not taken yet."""
        self._sealed = sealed
        self._look()

    def _gathered(self) -> bytes:
        """Up to _SEAL plain bytes off the queue: as few records and as few sends as there can be."""
        pieces = [self._taken(_SEAL)]
        room = _SEAL - len(pieces[0])
        while room and self._queue:
            try:
                piece = self._taken(room)
            except (OSError, PeerError):  # a file fails: what stands before it goes out
                break
            pieces.append(piece)
            room -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _taken(self, most: int) -> bytes:
        """Up to `most` plain bytes of the segment at the front of the queue. Raises OSError, PeerError."""
        assert self._queue is not None
        segment = self._queue[0]
        plain = segment.read(most) if isinstance(segment, FileSlice) else bytes(segment[:most])
        if not plain:
            raise PeerError("a file became shorter while it was sent")
        super().sent(len(plain))
        return plain

    def _close_notify(self) -> None:
        """Tell the peer that this is the end and no cut (RFC 8446, 6.1)."""
        with contextlib.suppress(ssl.SSLError):  # the peer's own close_notify is not awaited
            self._engine.unwrap()
