"""Another protocol within a stream: a WebSocket over HTTP/2 (RFC 8441).

The connection of that protocol is the one that follows on HTTP/1, too. Here its socket is a stream: what comes in it is
received, what it sends goes out in frames, and its deadlines are looked at with those of the exchanges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from allcomers.connection.base import WRITE, Connection
from allcomers.connection.codec import Clear
from allcomers.protocol.http2 import blocks
from allcomers.protocol.message import FileSlice
from allcomers.system.counters import CounterRow

if TYPE_CHECKING:
    from allcomers.connection.call import Address, Driver
    from allcomers.connection.http.async_call import Upgrade
    from allcomers.system.memory.ledger import Ledger

_OF_HTTP_1: Final = (b"upgrade", b"connection", b"sec-websocket-accept")
"""Fields of a response 101 that have no place in a stream (RFC 8441, 5)."""


def head(upgrade: Upgrade) -> bytes:
    """Return the header block of the response that accepts: 200, with the fields of the 101."""
    fields = [line.partition(b":") for line in upgrade.head.split(b"\r\n")[1:] if line]
    kept = [(name.decode("latin-1"), value) for name, _, value in fields if name.lower() not in _OF_HTTP_1]
    parts = [blocks.field_block(name, value.strip(b" ").decode("latin-1")) for name, value in kept]
    return b"".join([blocks.status_block(200), *parts])


class _Before:
    """What the connection of the other protocol follows on: a Connection, as far as it looks at one."""

    def __init__(self, address: Address, ledger: Ledger, leaving: bool) -> None:
        self.address = address
        self.counters = CounterRow()  # of no worker: the bytes of the socket are counted already
        self._ledger = ledger
        self._leaving = leaving

    def replace_with(self, successor: Connection, now: float) -> None:
        successor.codec, successor.leaving = Clear(), self._leaving


class Tunnel:
    """A stream of another protocol.

    conn  its connection
    """

    __slots__ = ("_sending", "conn")

    def __init__(
        self, upgrade: Upgrade, address: Address, ledger: Ledger, leaving: bool, driver: Driver | None, now: float
    ) -> None:  # fmt: skip
        before: Any = _Before(address, ledger, leaving)
        self.conn: Connection = upgrade.connect(before, b"", now)
        self.conn.driver = driver
        self._sending = 0  # bytes that were taken, and are not framed yet

    @property
    def ahead(self) -> int:
        """Bytes received that its app has not consumed."""
        return self.conn._buffered()

    def receive(self, data: bytes, complete: bool, now: float) -> None:
        """Take bytes of the stream, and its end.

        Not by received(): a WebSocket would have its app go on within that, and what the app sends would come in
        between the frames of one read.
        """
        if data:
            self.conn.opened(data, now)
        if complete and self.conn.wants:
            self.conn.opened(b"", now)

    def take(self, now: float) -> bytes | None:
        """Return the next bytes to be framed, once those before are; b"" for its end, None for none now."""
        conn = self.conn
        if self._sending:
            conn.sent(self._sending, now)
            self._sending = 0
        while conn.wants & WRITE:
            segment = conn.output()
            assert not isinstance(segment, FileSlice), "a WebSocket sends no files"
            if segment:
                self._sending = len(segment)
                return bytes(segment)
            conn.sent(0, now)
            return b""
        return None if conn.wants else b""
