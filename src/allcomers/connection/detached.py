"""A connection whose bytes are an app's: its call speaks with the peer itself, through a socket that it was lent.

A WSGI app speaks WebSocket that way (Flask-SocketIO, flask-sock). Nothing is heard or said here while the call runs;
when it ends, so does the connection, and what the app has said last still reaches the peer.
"""

from __future__ import annotations

from typing import Any

from allcomers.connection.base import CALLED, Connection


class DetachedConnection(Connection):
    """One peer, from the moment when the call of the connection `before` has taken its socket."""

    __slots__ = ()

    def __init__(self, before: Connection, now: float) -> None:
        super().__init__(before._limits, before.address, None, now, before.counters)
        self.codec = before.codec
        self.phase = CALLED
        self._called = True
        self._settle(now)

    def _receive_plain(self, data: bytes, now: float) -> None:
        """What comes when its call is over is for nobody."""

    def _receive_end(self, now: float) -> None:
        """As above."""

    def _buffered(self) -> int:
        return 0

    def _answered(self, reply: Any, now: float) -> None:
        """The call has ended; what it returns cannot be said any more."""
        self._called = False
        self.close(now, linger=True)
