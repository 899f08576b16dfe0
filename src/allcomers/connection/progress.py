"""The progress of one body or one response: the minimum rate, and what a peer has moved of late.

An object of its own, made while something is under way and dropped after it: an idle peer has none.
"""

from __future__ import annotations

from typing import Final

GRACE: Final = 5.0
"""Seconds before a minimum rate counts: Kestrel's MinRequestBodyDataRate has the same."""

STALL: Final = 10.0
"""Seconds over which the rate of a response is measured: a kernel opens a slow reader's window in large steps."""


class Progress:
    """The bytes that one peer moves in one direction.

    since     float: when the measurement began; it is over at `deadline`
    moved     int: bytes moved since then
    writing   bool: the bytes are ours; False: they are the peer's
    """

    __slots__ = ("_held", "deadline", "moved", "since", "writing")

    def __init__(self, now: float, writing: bool) -> None:
        self.since = now
        self.deadline = now + GRACE
        self.moved = 0
        self._held = 0  # bytes of ours that the kernel held when the measurement began
        self.writing = writing

    def keeps(self, rate: float, now: float, held: int) -> bool:
        """Return whether the peer keeps the minimum `rate`, and begin a new measurement if it does.

        held  bytes sent that the kernel still holds for this peer
        """
        # What the kernel takes first, and holds, is no sign of a slow peer yet; nor is what it took of a stream before
        # the measurement began, for it takes no more until much of that has gone.
        is_first = self.deadline <= self.since + GRACE
        moved = self.moved
        if self.writing:
            moved += held if is_first else self._held - held
        if moved < rate * (now - self.since):
            return False
        self.since, self.moved, self._held = now, 0, held
        self.deadline = now + (STALL if self.writing else GRACE)
        return True

    def pause(self, now: float, resumed_at: float) -> None:
        """Leave out the time from `resumed_at` to `now`; all of it where that is 0.0."""
        self.since = min(now, self.since + now - resumed_at) if resumed_at else now
        self.deadline = self.since + GRACE
