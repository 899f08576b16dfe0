"""LeakyBucket: whether slow calls are the rule or the exception. Slow calls fill it, quick ones empty it.

Each slow call pours in as much as WEIGHT quick ones let out, so the bucket rises while more than one call in
WEIGHT + 1 is slow. When it is half full, slow calls are the rule, until it is empty: between the two nothing changes.
"""

from __future__ import annotations

from typing import Final

WEIGHT: Final = 16
"""Quick calls that make up for a slow one: to move the loop on costs a good millisecond, most of it spent waiting to
see that the call lasts, and a trip to the pool and back some 50 µs."""

HALF: Final = 8 * WEIGHT


class LeakyBucket:
    """are_slow  bool: slow calls are the rule.

    half  the level that makes them so; 1 for a loop that cannot afford a single slow one
    """

    __slots__ = ("_half", "_level", "_weight", "are_slow")

    def __init__(self, weight: int = WEIGHT, half: int = HALF) -> None:
        self.are_slow = False
        self._weight = weight
        self._half = half
        self._level = 0

    def slow(self) -> None:
        """Count a slow call."""
        self._level = min(self._level + self._weight, max(2 * self._half, self._weight))
        if self._level >= self._half:
            self.are_slow = True

    def quick(self, count: int = 1) -> None:
        """Count so many quick calls."""
        self._level = max(0, self._level - count)
        if not self._level:
            self.are_slow = False
