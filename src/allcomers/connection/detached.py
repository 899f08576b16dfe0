"""A connection whose bytes are an app's: its call reaches the peer itself, through a socket that it was lent.

A WSGI app serves WebSocket that way (Flask-SocketIO, flask-sock). Nothing is received or sent here while the call runs;
when it ends, so does the connection, and what the app has sent last still reaches the peer.
"""

from __future__ import annotations

from typing import Any

from allcomers.connection.base import CALLED, Connection
from allcomers.connection.call import Call


class DetachedConnection(Connection):
    """One peer, from the moment when the call of the connection `before` has taken its socket."""

    __slots__ = ()

    def __init__(self, before: Connection, now: float) -> None:
        super().__init__(before._limits, before.address, None, now, before.counters, before._ledger)
        before.replace_with(self, now)
        self._ended = self.leaving = False  # the call decides
        self.phase = CALLED
        self._settle(now)

    def _receive_plain(self, data: bytes, now: float) -> None:
        """Drop what comes when its call is over."""

    def _receive_end(self, now: float) -> None:
        """Ignore it: its call is over."""

    def _buffered(self) -> int:
        return 0

    def _expire(self, now: float) -> None:
        self.lost(now)

    def _answered(self, call: Call | None, reply: Any, now: float) -> None:
        """Close: the call has ended, and what it returned cannot be sent any more."""
        self.close(now, linger=True)
