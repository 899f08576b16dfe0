"""Deadlines of many connections, in a heap that is lazy: a deadline that moves later costs nothing.

Most deadlines move on before they come: each request sets its connection's anew. So the heap holds, for each key
(a descriptor: a small number), one time at or before its deadline that counts; what comes out too early goes in again.
A key that is closed stays until its time comes, and serves its next owner. A deadline that moves to an earlier time
leaves one behind that counts no more; before these are as many as those that count, they are swept out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

NEVER: Final = float("inf")

_SLACK: Final = 64


class Deadlines:
    """A heap of (time, key), at most one that counts for each key."""

    __slots__ = ("_count", "_heap", "_queued")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
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
            heapq.heappush(self._heap, (when, key))
            if len(self._heap) > 2 * self._count + _SLACK:
                self._sweep()

    def _sweep(self) -> None:
        counts = [(when, key) for key, when in enumerate(self._queued) if when != NEVER]
        self._heap[:] = counts  # in place: due() may be at work
        heapq.heapify(self._heap)

    def next(self) -> float:
        """When to look again; NEVER if there is nothing to wait for."""
        return self._heap[0][0] if self._heap else NEVER

    def due(self, now: float) -> Iterator[int]:
        """The keys whose time has come, each once. Who is not really due is to be set() again."""
        heap, queued = self._heap, self._queued
        while heap and heap[0][0] <= now:
            when, key = heapq.heappop(heap)
            if queued[key] == when:
                queued[key] = NEVER
                self._count -= 1
                yield key
