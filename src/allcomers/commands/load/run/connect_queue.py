"""A limit on connecting clients: so many connections in progress at most, and so many started per second."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from allcomers.system.deadlines import NEVER

MOST_CONNECTING: Final = 256
"""Connections that one process has in progress at once: a server's backlog is of this order, and for what does not fit
into it the kernel tries again after a whole second (tcp(7), tcp_syn_retries)."""

_SECOND: Final = 1_000_000_000


class Waiter(Protocol):
    """A client that wants to connect."""

    awaits_turn: bool
    """Whether it is queued here; set by the queue."""


W = TypeVar("W", bound=Waiter)


class ConnectQueue(Generic[W]):
    """A queue of clients. `pace`: connections per second that may start, from `start` (ns) on; 0 for no limit."""

    def __init__(self, pace: float, start: int) -> None:
        self._gap = int(_SECOND / pace) if pace else 0
        self._next = start
        self._connecting = 0
        self._waiting: deque[W] = deque()

    def may_connect(self, waiter: W) -> bool:
        """Return True if the client may connect at once; else queue it until `due` yields it."""
        if self._connecting < MOST_CONNECTING and not self._gap:
            self._connecting += 1
            return True
        if not waiter.awaits_turn:
            waiter.awaits_turn = True
            self._waiting.append(waiter)
        return False

    def connect_ended(self) -> None:
        """Count a connection that is open now, or has failed."""
        self._connecting -= 1

    def next_turn(self) -> float:
        """Return when the next client's turn comes (ns); NEVER if a connection in progress must end first."""
        return self._next if self._waiting and self._connecting < MOST_CONNECTING else NEVER

    def due(self, now: int) -> Iterator[W]:
        """Yield the clients whose turn has come: each must start to connect before the next is yielded."""
        while self.next_turn() <= now:
            # A late call makes up for lost turns, but not for long.
            self._next = max(self._next + self._gap, now - 10 * self._gap)
            waiter = self._waiting.popleft()
            waiter.awaits_turn = False
            self._connecting += 1
            yield waiter
