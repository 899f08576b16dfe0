"""The codec of TLS: in memory (ssl.MemoryBIO), so that it needs no socket and every model has it.

A file of its own, for loading `ssl` takes longer than loading all the rest of a plain server.
"""

from __future__ import annotations

import contextlib
import ssl

from allcomers.codec import END, Clear
from allcomers.errors import ConfigError, PeerError
from allcomers.protocol.message import FileSlice, Segment

_SEAL = 64 * 1024
"""Plain bytes that are encrypted at a time: four full TLS records (RFC 8446, 5.1)."""


def server_context(certfile: str, keyfile: str | None, ca_certs: str | None, protocols: list[str]) -> ssl.SSLContext:
    """A context for this certificate; with `ca_certs`, clients must show one too. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if protocols:
        context.set_alpn_protocols(protocols)
    try:
        # An encrypted key would ask at a terminal that a server may not have.
        context.load_cert_chain(certfile, keyfile, password=lambda: "")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(f"--certfile {certfile!r}: {_reason(error)}") from None
    if ca_certs:
        try:
            context.load_verify_locations(ca_certs)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"--ca-certs {ca_certs!r}: {_reason(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").lower().replace("_", " ")
        return f"no usable certificate and key in PEM form ({reason or error})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


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
        super().push(segment)
        self._look()

    def received(self, data: bytes) -> bytes | None:
        if not data:
            return END
        self._incoming.write(data)
        try:
            return self._heard()
        finally:
            self._look()

    def _heard(self) -> bytes | None:
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
        """All plain bytes that have come; END after the peer's close_notify, or `ended` if both came at once."""
        pieces: list[bytes] = []
        try:
            while piece := self._engine.read(_SEAL):
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
                    self._engine.write(self._taken(self._queue[0]))
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

    def _taken(self, segment: Segment) -> bytes:
        """Up to _SEAL plain bytes off the front of the queue, where `segment` is."""
        plain = segment.read(_SEAL) if isinstance(segment, FileSlice) else bytes(segment[:_SEAL])
        if not plain:
            raise PeerError("a file became shorter while it was sent")
        super().sent(len(plain))
        return plain

    def _close_notify(self) -> None:
        """Tell the peer that this is the end and no cut (RFC 8446, 6.1)."""
        with contextlib.suppress(ssl.SSLError):  # the peer's own close_notify is not awaited
            self._engine.unwrap()
