"""Deadlines of many connections, in a heap that is lazy: a deadline that moves later costs nothing.

Most deadlines move on before they come: each request sets its connection's anew. So the heap holds, for each key
(a descriptor), one time at or before its deadline; what comes out too early goes in again. A key that is closed stays
until its time comes, and serves its next owner: the heap is never larger than the descriptors were many.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

NEVER: Final = float("inf")


class Deadlines:
    """A heap of (time, key), at most one that counts for each key."""

    __slots__ = ("_heap", "_queued")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._queued: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, key: int, when: float) -> None:
        """Look at `key` no later than `when`."""
        if when < self._queued.get(key, NEVER):
            self._queued[key] = when
            heapq.heappush(self._heap, (when, key))

    def next(self) -> float:
        """When to look again; NEVER if there is nothing to wait for."""
        return self._heap[0][0] if self._heap else NEVER

    def due(self, now: float) -> Iterator[int]:
        """The keys whose time has come, each once. Who is not really due is to be set() again."""
        heap, queued = self._heap, self._queued
        while heap and heap[0][0] <= now:
            when, key = heapq.heappop(heap)
            if queued.get(key) == when:
                del queued[key]
                yield key
