"""How many connections each worker has, for all to see: a worker that has more than its share steps back.

All workers wait for the same listener, and the kernel wakes one of them for each peer (EPOLLEXCLUSIVE); that alone
would give most peers to whoever waited last. So a worker that has let one in goes to the end of the kernel's queue, and
one that is ahead of the others leaves the queue for a moment. A listener for each worker (SO_REUSEPORT) would be even
too, but a peer behind a busy worker waits for that one, and a worker that goes takes its backlog with it: the figures
are in docs/design.md, `python -m bench fairness` gives them.

A page of shared memory, a number for each worker, written by that worker alone: no lock.
"""

from __future__ import annotations

import mmap
from typing import Final

PLACES: Final = 64
"""Workers that can be counted; those beyond are not, and never step back."""

_NOBODY: Final = -1  # the place is free
_LEAVING: Final = -2  # its worker lets nobody in any more

STEP_BACK: Final = 0.001
"""Seconds that a worker that is ahead leaves newcomers to the others."""


class Tally:
    """The page, as the supervisor has it."""

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, PLACES * 8)).cast("q")
        for place in range(PLACES):
            self._counts[place] = _NOBODY

    def take_place(self) -> Share:
        """A place for a new worker."""
        free = (place for place in range(PLACES) if self._counts[place] == _NOBODY)
        return Share(self._counts, next(free, _NOBODY))

    def give_back(self, share: Share) -> None:
        """The worker that had this place has ended."""
        share.count(_NOBODY)


class Share:
    """A worker's own place, and its view of the others'."""

    def __init__(self, counts: memoryview[int], place: int) -> None:
        self._counts = counts
        self._place = place
        self.count(0)

    def count(self, connections: int) -> None:
        """This worker has so many."""
        if self._place >= 0:
            self._counts[self._place] = connections

    def leave(self) -> None:
        """This worker lets nobody in any more."""
        self.count(_LEAVING)

    def is_alone(self) -> bool:
        """Does no other worker let peers in?"""
        return sum(count >= 0 for count in self._counts) < 2

    def is_ahead(self) -> bool:
        """Does this worker have more than one connection above the mean?"""
        counts = [count for count in self._counts if count >= 0]
        return self._place >= 0 and (self._counts[self._place] - 1) * len(counts) > sum(counts)
