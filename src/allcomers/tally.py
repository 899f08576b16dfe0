"""How many connections each worker has, for all to see: a worker that has more than its share steps back.

All workers wait for the same listener, and the kernel wakes one of them for each peer (EPOLLEXCLUSIVE); that alone
would give most peers to whoever waited last. So a worker that has let one in goes to the end of the kernel's queue, and
one that is ahead of the others leaves the queue for a moment. A listener for each worker (SO_REUSEPORT) would be even
too, but a peer behind a busy worker waits for that one, and a worker that goes takes its backlog with it: the figures
are in docs/design.md, `python -m bench fairness` gives them.

A page of shared memory, a number for each worker, written by that worker alone: no lock. Beside it, what else all may
look at without being told: whether the server is about to leave, and how many messages the children of each worker have
answered (the process model; two that end in the same moment may count as one).
"""

from __future__ import annotations

import mmap
from typing import Final

PLACES: Final = 64
"""Workers that can be counted; those beyond are not, and never step back."""

_ANSWERED: Final = PLACES  # where the second column begins
_LEAVING_SOON: Final = 2 * PLACES
_CELLS: Final = 2 * PLACES + 1

_NOBODY: Final = -1  # the place is free
_LEAVING: Final = -2  # its worker lets nobody in any more

STEP_BACK: Final = 0.001
"""Seconds that a worker that is ahead leaves newcomers to the others."""


class Tally:
    """The page, as the supervisor has it."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, _CELLS * 8)).cast("q")
        self._counts = self._cells[:PLACES]
        for place in range(PLACES):
            self._counts[place] = _NOBODY

    def take_place(self) -> Share:
        """A place for a new worker."""
        free = (place for place in range(PLACES) if self._counts[place] == _NOBODY)
        return Share(self._cells, next(free, _NOBODY))

    def leave_soon(self) -> None:
        """All are to say goodbye with their answers."""
        self._cells[_LEAVING_SOON] = 1

    def give_back(self, share: Share) -> None:
        """The worker that had this place has ended."""
        share.count(_NOBODY)


class Share:
    """A worker's own place, and its view of the others'."""

    def __init__(self, cells: memoryview[int], place: int) -> None:
        self._cells = cells
        self._counts = cells[:PLACES]
        self._place = place
        self.count(0)
        if place >= 0:
            cells[_ANSWERED + place] = 0

    def count(self, connections: int) -> None:
        """This worker has so many."""
        if self._place >= 0:
            self._counts[self._place] = connections

    def leave(self) -> None:
        """This worker lets nobody in any more."""
        self.count(_LEAVING)

    @property
    def leaving_soon(self) -> bool:
        """Is each answer to be the last of its connection, while newcomers are still let in?"""
        return self._cells[_LEAVING_SOON] != 0

    @property
    def answered(self) -> int:
        """Messages that children of this worker have answered."""
        return self._cells[_ANSWERED + self._place] if self._place >= 0 else 0

    def add_answered(self, count: int) -> None:
        """A child of this worker has answered so many more."""
        if self._place >= 0:
            self._cells[_ANSWERED + self._place] += count

    def is_alone(self) -> bool:
        """Does no other worker let peers in?"""
        return sum(count >= 0 for count in self._counts) < 2

    def is_ahead(self) -> bool:
        """Does this worker have more than one connection above the mean?"""
        counts = [count for count in self._counts if count >= 0]
        return self._place >= 0 and (self._counts[self._place] - 1) * len(counts) > sum(counts)
