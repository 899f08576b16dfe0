"""Whose frame is next: streams of which something can be framed, by urgency and in turns (RFC 9218)."""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar


class Scheduled(Protocol):
    """A stream.

    urgency      int: 0 for the first to 7 for the last (RFC 9218, 4.1)
    takes_turns  bool: its frames take turns with those of others that are as urgent
    is_ready     bool: it is in line; the scheduler's own
    """

    urgency: int
    takes_turns: bool
    is_ready: bool


S = TypeVar("S", bound=Scheduled)


class StreamScheduler(Generic[S]):
    """The streams that are ready.

    An urgent one goes before all that are less urgent. Of one urgency each has a frame in turn, but where the client
    has said how it wants them: a response that is of no use in part is then sent to its end (RFC 9218, 10).
    """

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[int, deque[S]] = {}  # by urgency; none is empty

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, exchange: S, *, again: bool = False) -> None:
        """Add a stream, unless it is here; `again`: it has just had its turn."""
        if exchange.is_ready:
            return
        exchange.is_ready = True
        line = self._lines.get(exchange.urgency)
        if line is None:
            line = self._lines[exchange.urgency] = deque()
        if again and not exchange.takes_turns:
            line.appendleft(exchange)
        else:
            line.append(exchange)

    def next(self) -> S:
        """Remove the stream whose turn it is, and return it. Only while there is one."""
        lines = self._lines
        urgency = min(lines) if len(lines) > 1 else next(iter(lines))
        line = lines[urgency]
        exchange = line.popleft()
        if not line:
            del lines[urgency]
        exchange.is_ready = False
        return exchange

    def move(self, exchange: S, urgency: int, takes_turns: bool) -> None:
        """Change the priority of a stream."""
        if exchange.is_ready:
            line = self._lines[exchange.urgency]
            line.remove(exchange)
            if not line:
                del self._lines[exchange.urgency]
            exchange.is_ready = False
            exchange.urgency, exchange.takes_turns = urgency, takes_turns
            self.add(exchange)
        else:
            exchange.urgency, exchange.takes_turns = urgency, takes_turns
