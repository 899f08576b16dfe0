"""The codec of TLS: in memory (ssl.MemoryBIO), so that it needs no socket and every model has it.

A file of its own, for loading `ssl` takes longer than loading all the rest of a plain server.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Sequence
from typing import Any, Final

from allcomers.connection.codec import EOF, JOIN, Clear
from allcomers.errors import PeerError
from allcomers.protocol.head import remember
from allcomers.protocol.message import FileSlice, Segment
from allcomers.protocol.tls import client_hello
from allcomers.protocol.tls.info import TlsInfo

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

    protocols    for ALPN
    hosts        the names and addresses of all certificates of the server, in lower case; "*" stands for one label
    certificate  its own, in PEM; None where no client can read it
    """

    protocols: Sequence[str] = ()
    hosts: Sequence[str] = ()
    certificate: str | None = None


_suites: dict[str, int] = {}
"""The numbers of cipher suites (IANA's registry), by OpenSSL's names."""


_infos: dict[tuple[str, str, int | None, str | None], TlsInfo] = {}
"""Of clients that show no certificate: they have little to tell, and share it."""


def _suite(name: str, context: ssl.SSLContext) -> int | None:
    if name not in _suites:
        _suites.update((suite["name"], suite["id"] & 0xFFFF) for suite in context.get_ciphers())
    return _suites.get(name)


def _info(engine: ssl.SSLObject) -> TlsInfo:
    """Return what the handshake of `engine` found.

    At once, in the thread that has the connection: OpenSSL's object is not for two threads, and one that a peer breaks
    forgets all of it.
    """
    context: Any = engine.context  # which SNI may have chosen
    cipher: Any = engine.cipher()
    own = context.certificate if isinstance(context, ServerContext) else None
    common = engine.version() or "", cipher[0], _suite(cipher[0], context), own
    certificate = None if context.verify_mode == ssl.CERT_NONE else engine.getpeercert(binary_form=True)
    if certificate is None:
        info = _infos.get(common)
        if info is None:
            remember(_infos, common, info := TlsInfo(*common))
        return info
    chain = engine.get_verified_chain() if sys.version_info >= (3, 13) else []
    subject: Any
    try:
        subject = (engine.getpeercert() or {}).get("subject")
    except (ssl.SSLError, ValueError):  # it has a part that is no text
        subject = None
    return TlsInfo(*common, tuple(chain) or (certificate,), subject)


class Tls(Clear):
    """TLS in the server's role: the same queue, sealed piece by piece as the socket takes it (RFC 8446, 5246)."""

    __slots__ = (
        "_deferred", "_engine", "_hello", "_incoming", "_outgoing", "_protocols", "_sealed", "ended", "ready", "tls",
    )  # fmt: skip
    is_clear = False

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._sealed: bytes | memoryview = b""
        self._protocols = context.protocols if isinstance(context, ServerContext) else ()
        self._hello: bytes | None = b"" if self._protocols else None  # what came of it; None once it is checked
        self._deferred = 0  # bytes of _outgoing that wait for others, and need no packet of their own
        self.ready = False
        self.ended = False
        self.tls = None

    def _update(self) -> None:
        """Set `pending`: TLS sends messages of its own, and before the handshake no others."""
        has_messages = self._outgoing.pending > self._deferred
        self.pending = bool(self._sealed or has_messages or (self._queue and self.ready)) or self._ending

    def _take_outgoing(self) -> bytes:
        """Return what is encrypted, and forget it."""
        self._deferred = 0
        return self._outgoing.read()

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
            if len(data) <= _RECORD:
                self._incoming.write(data)
                return self._receive_plain()
            return self._received_much(memoryview(data))
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
                self.tls = _info(self._engine)
                if self.tls.version == "TLSv1.3":  # a server ends it with tickets alone (RFC 8446, 4.6.1)
                    self._deferred = self._outgoing.pending
            return self._opened()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as error:
            raise PeerError(f"TLS: {error.reason or 'broken off'}") from None

    def _received_much(self, data: memoryview) -> bytes | None:
        """Receive `data` in parts: a MemoryBIO keeps the room of the largest for as long as its peer stays."""
        pieces: list[bytes] = []
        for at in range(0, len(data), _RECORD):
            self._incoming.write(data[at : at + _RECORD])
            piece = self._receive_plain()
            if piece:
                pieces.append(piece)
            if self.ended:
                break
        return b"".join(pieces) if pieces else piece

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
                    self._sealed = self._encrypted(self._gathered())
                    return self._sealed
                if self._ending:
                    self._close_notify()
            self._sealed = self._take_outgoing()
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
        self._take_outgoing()
        self._update()

    def seal(self, plain: bytes, is_last: bool = False) -> bytes:
        sealed = self._encrypted(plain)
        if is_last:
            self._close_notify()
            sealed += self._take_outgoing()
        return sealed

    def _encrypted(self, plain: bytes) -> bytes:
        """Return the records of `plain`, behind what waited for them."""
        if len(plain) <= _RECORD:
            self._engine.write(plain)
            return self._take_outgoing()
        pieces = []  # a MemoryBIO keeps the room of all that was in it at once for as long as its peer stays
        view = memoryview(plain)
        for at in range(0, len(plain), _RECORD):
            self._engine.write(view[at : at + _RECORD])
            pieces.append(self._take_outgoing())
        return b"".join(pieces)

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
