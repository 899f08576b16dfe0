"""Peers that a proxy announces: a codec in front of all others, which reads the PROXY header and gives way.

So a connection that had its header costs no more than any other, and TLS begins behind it. Nothing is guessed: with
--proxy-protocol each connection must begin so, and one that does not is closed without a reply (specification, 2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from allcomers.connection.base import Connection
from allcomers.connection.call import Address
from allcomers.connection.codec import EOF, Clear
from allcomers.errors import PeerError
from allcomers.protocol import proxy_header

_logger = logging.getLogger("allcomers.proxy")


class ProxyHeaderCodec(Clear):
    """Until the header is whole, `connection` receives nothing else and sends nothing."""

    __slots__ = ("_buffer", "_connection", "_inner", "ready")
    is_clear = False

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection: Connection | None = connection
        self._inner = connection.codec
        self._buffer = b""
        self.ready = False

    def received(self, data: bytes) -> bytes | None:
        connection = self._connection
        if not data or connection is None:
            return EOF
        self._buffer += data
        try:
            header = proxy_header.parse(self._buffer)
        except PeerError as error:
            self._log_failure(str(error))
            raise
        if header is None:
            return None
        if header.address is not None:
            connection.peer, connection.port = header.address
        connection.codec = inner = self._inner
        self._connection = None
        rest = self._buffer[header.size :]
        plain = inner.received(rest) if rest else None
        self.ready = inner.ready  # for a caller that has looked up the codec before
        return plain

    def discard(self) -> None:
        super().discard()
        self._log_failure("gone before its PROXY header was whole")

    def _log_failure(self, reason: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _logger.debug("%s port %d: %s", connection.peer or "a local peer", connection.port, reason)


def with_proxy_header(connect: Callable[[Address, float], Connection]) -> Callable[[Address, float], Connection]:
    """Return a `connect` for peers that a proxy announces."""

    def connect_announced(address: Address, now: float) -> Connection:
        connection = connect(address, now)
        connection.put_codec(ProxyHeaderCodec(connection), now)
        return connection

    return connect_announced
