"""Who may connect now, and who waits for a turn: so many under way at most, and so many begun per second."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from allcomers.system.deadlines import NEVER

MOST_CONNECTING: Final = 256
"""Connections that one process has under way at once: a server's backlog is of this order, and what does not fit into
it is tried again by the kernel after a whole second (tcp(7), tcp_syn_retries)."""

_SECOND: Final = 1_000_000_000


class Waiter(Protocol):
    """Somebody who wants to connect."""

    awaits_turn: bool
    """Does it wait here? The line's to set."""


W = TypeVar("W", bound=Waiter)


class ConnectQueue(Generic[W]):
    """`pace`: connections per second that may begin, from `start` (ns) on; 0 for no limit."""

    def __init__(self, pace: float, start: int) -> None:
        self._gap = int(_SECOND / pace) if pace else 0
        self._next = start
        self._connecting = 0
        self._waiting: deque[W] = deque()

    def may_connect(self, waiter: W) -> bool:
        """At once? Else it waits, until `turns` gives it."""
        if self._connecting < MOST_CONNECTING and not self._gap:
            self._connecting += 1
            return True
        if not waiter.awaits_turn:
            waiter.awaits_turn = True
            self._waiting.append(waiter)
        return False

    def connect_ended(self) -> None:
        """A connection that was under way is open, or has come to nothing."""
        self._connecting -= 1

    def next_turn(self) -> float:
        """When somebody's turn comes (ns); NEVER where that is when a connection under way has ended."""
        return self._next if self._waiting and self._connecting < MOST_CONNECTING else NEVER

    def due(self, now: int) -> Iterator[W]:
        """Those whose turn has come: each is to connect before the next is asked for."""
        while self.next_turn() <= now:
            # Who looks late makes up for it, but not for long.
            self._next = max(self._next + self._gap, now - 10 * self._gap)
            waiter = self._waiting.popleft()
            waiter.awaits_turn = False
            self._connecting += 1
            yield waiter
