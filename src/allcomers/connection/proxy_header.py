"""Peers that a proxy announces: a codec in front of all others, which reads the PROXY header and gives way.

So a connection that had its header costs no more than any other, and TLS begins behind it. Nothing is guessed: with
--proxy-protocol each connection must begin so, and one that does not is closed without a reply (specification, 2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from allcomers.connection.base import Connection
from allcomers.connection.call import Address
from allcomers.connection.codec import EOF, Clear
from allcomers.errors import PeerError
from allcomers.protocol.proxy import proxy_header

if TYPE_CHECKING:
    from allcomers.system.client_counts import ClientLimit

_logger = logging.getLogger("allcomers.proxy")


class ProxyHeaderCodec(Clear):
    """Until the header is whole, `connection` receives nothing else and sends nothing."""

    __slots__ = ("_buffer", "_busy", "_clients", "_connection", "_inner", "ready")
    is_clear = False
    leads = True

    def __init__(self, connection: Connection, clients: ClientLimit | None, busy: bytes) -> None:
        super().__init__()
        self._connection: Connection | None = connection
        self._inner = connection.codec
        self._clients, self._busy = clients, busy
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
        connection.codec = inner = self._inner
        self._connection = None
        if header.address is not None:
            connection.peer, connection.port = header.address
            self._admit(connection)
        rest = self._buffer[header.size :]
        plain = inner.received(rest) if rest else None
        self.ready = inner.ready  # for a caller that has looked up the codec before
        return plain

    def _admit(self, connection: Connection) -> None:
        """Count the connection by the client that was announced. Raises PeerError where that has too many."""
        if self._clients is None:
            return
        if not self._clients.enter(connection.peer):
            connection.codec.push(self._busy)
            raise PeerError("the client has too many connections")
        connection.counted_as = connection.peer

    def discard(self) -> None:
        super().discard()
        self._log_failure("gone before its PROXY header was whole")

    def _log_failure(self, reason: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _logger.debug("%s port %d: %s", connection.peer or "a local peer", connection.port, reason)


def with_proxy_header(
    connect: Callable[[Address, float], Connection], clients: ClientLimit | None = None, busy: bytes = b""
) -> Callable[[Address, float], Connection]:
    """Return a `connect` for peers that a proxy announces.

    clients  the limit on the connections of one client, or None; `busy` is sent to one that has too many
    """

    def connect_announced(address: Address, now: float) -> Connection:
        connection = connect(address, now)
        connection.put_codec(ProxyHeaderCodec(connection, clients, busy), now)
        return connection

    return connect_announced
