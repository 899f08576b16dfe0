"""The codec of TLS: in memory (ssl.MemoryBIO), so that it needs no socket and every model has it.

A file of its own, for loading `ssl` takes longer than loading all the rest of a plain server.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from typing import Final

from allcomers.connection.codec import EOF, JOIN, Clear
from allcomers.errors import PeerError
from allcomers.protocol.message import FileSlice, Segment
from allcomers.protocol.tls import client_hello

_RECORD: Final = 16 * 1024
"""Plain bytes that a TLS record has at most (RFC 8446, 5.1): one read() of an SSLObject gives no more."""

_SEAL: Final = 4 * _RECORD
"""Plain bytes that are encrypted at a time."""


_REASON: Final = b"This port speaks HTTPS, and this was a plain HTTP request; use https://.\n"

PLAIN_HTTP: Final = b"".join(
    (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n",
        b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(_REASON),
        _REASON,
    )
)
"""The response to plain HTTP, which needs no handshake to be read. Precedent: nginx's 497, sent as 400."""


class ServerContext(ssl.SSLContext):
    """A server's context that knows what ssl tells nobody.

    protocols  for ALPN
    hosts      the names and addresses of all certificates of the server, in lower case; "*" stands for one label
    """

    protocols: Sequence[str] = ()
    hosts: Sequence[str] = ()


class Tls(Clear):
    """TLS in the server's role: the same queue, sealed piece by piece as the socket takes it (RFC 8446, 5246)."""

    __slots__ = ("_engine", "_hello", "_incoming", "_outgoing", "_protocols", "_sealed", "ended", "ready")
    is_clear = False

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._sealed: bytes | memoryview = b""
        self._protocols = context.protocols if isinstance(context, ServerContext) else ()
        self._hello: bytes | None = b"" if self._protocols else None  # what came of it; None once it is checked
        self.ready = False
        self.ended = False

    def _update(self) -> None:
        """Set `pending`: TLS sends messages of its own, and before the handshake no others."""
        self.pending = bool(self._sealed or self._outgoing.pending or (self._queue and self.ready)) or self._ending

    def held(self) -> int:
        return super().held() + len(self._sealed) + self._outgoing.pending

    def push(self, segment: Segment) -> None:
        # A small file is read at once: with the head before it, it makes one record, and one send.
        if isinstance(segment, FileSlice):
            with contextlib.suppress(OSError):  # output() fails again, and reports it
                data = segment.whole(JOIN)
                segment = segment if data is None else data
        super().push(segment)
        self._update()

    def received(self, data: bytes) -> bytes | None:
        if not data:
            return EOF
        try:
            if self._hello is not None:
                data = self._checked_hello(self._hello + data)
            self._incoming.write(data)
            return self._receive_plain()
        finally:
            self._update()

    def _checked_hello(self, data: bytes) -> bytes:
        """Return `data` once a whole ClientHello begins it, till then b"".

        Raises PeerError: it is a plain HTTP request, or no protocol is common. OpenSSL would end that handshake with
        the same alert (RFC 7301, 3.2), but ssl has it ignore the client's offer.
        """
        self._hello = data
        if (is_http := client_hello.is_http(data)) is not False:
            if is_http is None:
                return b""
            self._hello, self._sealed = None, PLAIN_HTTP
            raise PeerError("TLS: a plain HTTP request")
        offered = client_hello.offered(data)
        if offered is None:
            return b""
        self._hello = None
        if offered and not any(name.encode("ascii") in offered for name in self._protocols):
            self._sealed = client_hello.NO_APPLICATION_PROTOCOL
            raise PeerError("TLS: no application protocol in common")
        return data

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
        """Return all plain bytes received; EOF after the peer's close_notify, or set `ended` if both came at once."""
        pieces: list[bytes] = []
        try:
            while piece := self._engine.read(_RECORD):
                # PERF: most often that was all, and to return at once spares an exception.
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
            self.gone = self.queued - self.unsent
        else:
            self._sealed = memoryview(self._sealed)[count:]
        self._update()

    def discard(self) -> None:
        super().discard()
        self._sealed = b""
        self._outgoing.read()
        self._update()

    def seal(self, plain: bytes) -> bytes:
        self._engine.write(plain)
        return self._outgoing.read()

    def keep(self, sealed: bytes) -> None:
        self._sealed = sealed
        self.queued += len(sealed)  # `gone` counts them once all of it is sent
        self._update()

    def _gathered(self) -> bytes:
        """Take up to _SEAL plain bytes off the queue: as few records and as few sends as there can be."""
        pieces = [self._next_plain(_SEAL)]
        room = _SEAL - len(pieces[0])
        while room and self._queue:
            try:
                piece = self._next_plain(room)
            except (OSError, PeerError):  # a file fails: what stands before it goes out
                break
            pieces.append(piece)
            room -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next_plain(self, most: int) -> bytes:
        """Take up to `most` plain bytes of the first segment off the queue. Raises OSError, PeerError."""
        assert self._queue is not None
        segment = self._queue[0]
        plain = segment.read(most) if isinstance(segment, FileSlice) else bytes(segment[:most])
        if not plain:
            raise PeerError("a file became shorter while it was sent")
        gone = self.gone
        super().sent(len(plain))
        self.gone = gone  # the socket has yet to take them
        return plain

    def _close_notify(self) -> None:
        """Write the alert by which a peer knows an end from a cut (RFC 8446, 6.1)."""
        with contextlib.suppress(ssl.SSLError):  # the peer's own close_notify is not awaited
            self._engine.unwrap()
