"""Peers of whom a proxy tells first: a codec in front of all others, which hears the PROXY header and gives way.

So a connection that had its header costs no more than any other, and TLS begins behind it. Nothing is guessed: with
--proxy-protocol each connection must begin so, and one that does not is closed without a word (specification, 2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from allcomers.connection.base import Address, Connection
from allcomers.connection.codec import EOF, Clear
from allcomers.errors import PeerError
from allcomers.protocol import proxy_header

_logger = logging.getLogger("allcomers.proxy")


class ProxyHeaderCodec(Clear):
    """Until the header is whole, `connection` hears nothing else and has nothing to say."""

    __slots__ = ("_connection", "_inner", "_receive_plain", "ready")
    is_clear = False

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection: Connection | None = connection
        self._inner = connection.codec
        self._receive_plain = b""
        self.ready = False

    def received(self, data: bytes) -> bytes | None:
        connection = self._connection
        if not data or connection is None:
            return EOF
        self._receive_plain += data
        try:
            header = proxy_header.parse(self._receive_plain)
        except PeerError as error:
            self._give_up(str(error))
            raise
        if header is None:
            return None
        if header.address is not None:
            connection.peer, connection.port = header.address
        connection.codec = inner = self._inner
        self._connection = None
        rest = self._receive_plain[header.size :]
        heard = inner.received(rest) if rest else None
        self.ready = inner.ready  # for who asks the codec that was there before
        return heard

    def discard(self) -> None:
        super().discard()
        self._give_up("gone before its PROXY header was whole")

    def _give_up(self, reason: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _logger.debug("%s port %d: %s", connection.peer or "a local peer", connection.port, reason)


def with_proxy_header(connect: Callable[[Address, float], Connection]) -> Callable[[Address, float], Connection]:
    """`connect`, where a proxy comes first."""

    def connect_announced(address: Address, now: float) -> Connection:
        connection = connect(address, now)
        connection.put_codec(ProxyHeaderCodec(connection), now)
        return connection

    return connect_announced
