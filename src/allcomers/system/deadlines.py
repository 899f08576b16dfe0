"""Deadlines of many connections, in a heap that is lazy: a deadline that moves later costs nothing.

Most deadlines move on before they come: each request sets its connection's anew. So the heap holds, for each key
(a descriptor: a small number), one time at or before its deadline that counts; an entry that comes out too early goes
in again. A key that is closed stays until its time comes, and serves its next owner. A deadline that moves earlier
leaves an entry that counts no more; before these are as many as those that count, they are swept out.

An entry of the heap is one int, the time in ticks and then the key: 48 bytes for each peer, where a tuple and its int
take 112 (sys.getsizeof, rounded up to what is allocated).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import ceil, floor
from typing import Final

NEVER: Final = float("inf")

TICK: Final = 2.0**-20
"""A millionth of a second that a key may come late, and never early: to scale by a power of two rounds no float."""

_KEY_BITS: Final = 32

_SLACK: Final = 64


def _entry(when: float, key: int) -> int:
    return ceil(when / TICK) << _KEY_BITS | key


class Deadlines:
    """A heap of times and their keys, at most one that counts for each key."""

    __slots__ = ("_count", "_heap", "_queued")

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._queued: list[float] = []  # by key: the time of it that counts, or NEVER
        self._count = 0  # of those that are not NEVER

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, key: int, when: float) -> None:
        """Look at `key` no later than `when`."""
        queued = self._queued
        if key >= len(queued):
            queued.extend([NEVER] * (key + _SLACK - len(queued)))
        before = queued[key]
        if when < before:
            self._count += before == NEVER
            queued[key] = when
            heapq.heappush(self._heap, _entry(when, key))
            if len(self._heap) > 2 * self._count + _SLACK:
                self._sweep()

    def _sweep(self) -> None:
        counts = [_entry(when, key) for key, when in enumerate(self._queued) if when != NEVER]
        self._heap[:] = counts  # in place: due() may be at work
        heapq.heapify(self._heap)

    def next(self) -> float:
        """Return the time of the next look; NEVER if there is nothing to wait for."""
        return (self._heap[0] >> _KEY_BITS) * TICK if self._heap else NEVER

    def due(self, now: float) -> Iterator[int]:
        """Yield each expired key once. A key whose real deadline is later must be set() again."""
        heap, queued = self._heap, self._queued
        end = floor(now / TICK) + 1 << _KEY_BITS
        while heap and heap[0] < end:
            entry = heapq.heappop(heap)
            key = entry & ((1 << _KEY_BITS) - 1)
            when = queued[key]
            if when < NEVER and _entry(when, key) == entry:
                queued[key] = NEVER
                self._count -= 1
                yield key
