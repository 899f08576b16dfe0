"""How many connections each worker has, for all to see: a worker that has more than its share steps back.

All workers wait for the same listener, and the kernel wakes one of them for each peer (EPOLLEXCLUSIVE); that alone
would give most peers to whoever waited last. So a worker that has let one in goes to the end of the kernel's queue, and
one that is ahead of the others leaves the queue for a moment. A listener for each worker (SO_REUSEPORT) would be even
too, but a peer behind a busy worker waits for that one, and a worker that goes takes its backlog with it: the figures
are in docs/design.md, `python -m bench fairness` gives them.

What each has is in its row of the board (stats.py), written by that worker alone: no lock. There too all see, without
being told, whether the server is about to leave.
"""

from __future__ import annotations

from typing import Final

from allcomers.system.counters import (
    ACCEPTING,
    CHILD_ROWS,
    CONNECTIONS,
    FREE,
    HIGHEST,
    LEAVING_SOON,
    NEW,
    PLACES,
    STATE,
    CounterBoard,
    CounterRow,
)

ACCEPT_BACKOFF: Final = 0.001
"""Seconds that a worker that is ahead leaves newcomers to the others."""

TURNS: Final = 8
"""In so many turns the workers let in who waits: one by one, each with a step back, would be some 4,000 a second."""

_NOWHERE: Final = 0
"""The place of a worker for whom there is no row: it is not counted, and never steps back."""


class WorkerSlots:
    """The places, as the supervisor has them."""

    def __init__(self) -> None:
        self.board = CounterBoard()

    def acquire(self) -> WorkerSlot:
        """A place for a new worker."""
        board = self.board
        place = next((place for place in range(1, PLACES) if board.row(place)[STATE] == FREE), _NOWHERE)
        if place:
            board.head[HIGHEST] = max(board.head[HIGHEST], place)
            board.row(place)[STATE] = NEW
        return WorkerSlot(board, place)

    def leave_soon(self) -> None:
        """All are to say goodbye with their answers."""
        self.board.head[LEAVING_SOON] = 1

    def release(self, share: WorkerSlot) -> None:
        """The worker that had this place has ended."""
        share.leave()
        for row in self.board.rows(share.place) if share.place else ():
            row[CONNECTIONS] = 0
            row[STATE] = FREE


class WorkerSlot:
    """A worker's own place, and its view of the others'.

    counters  where its figures go
    """

    def __init__(self, board: CounterBoard, place: int) -> None:
        self._board = board
        self.place = place
        self.counters = CounterRow(board.row(place) if place else None)
        self._before = self._total()
        self.counters.cells[ACCEPTING] = 1

    def count(self, connections: int) -> None:
        """This worker has so many."""
        self.counters.cells[CONNECTIONS] = connections

    def leave(self) -> None:
        """This worker lets nobody in any more."""
        self.counters.cells[ACCEPTING] = 0

    @property
    def leaving_soon(self) -> bool:
        """Is each answer to be the last of its connection, while newcomers are still let in?"""
        return self._board.head[LEAVING_SOON] != 0

    @property
    def answered(self) -> int:
        """What this worker and its children have answered."""
        return self._total() - self._before

    def _total(self) -> int:
        return self._board.answered(self.place) if self.place else self.counters.answers

    def lend_row(self, child: int) -> None:
        """Before the fork of a child: it will have this one of the rows for children."""
        self.counters.cells[CHILD_ROWS] = max(self.counters.cells[CHILD_ROWS], child + 1)

    def be_child(self, child: int) -> None:
        """In the child: what it does is counted there."""
        self.counters.cells = self._board.child_row(self.place, child) if self.place else CounterRow().cells

    def is_alone(self) -> bool:
        """Does no other worker let peers in?"""
        return sum(self._board.column(ACCEPTING)) < 2

    def accept_quota(self, waiting: int) -> int:
        """Of so many who wait, how many this worker lets in before it is another's turn: one, where few wait."""
        return 1 + waiting // (TURNS * max(1, sum(self._board.column(ACCEPTING))))

    def is_over_share(self, by: int = 1) -> bool:
        """Does this worker have more than `by` connections above the mean?"""
        doors, counts = self._board.column(ACCEPTING), self._board.column(CONNECTIONS)
        inside = [count for door, count in zip(doors, counts, strict=True) if door]
        return self.place > 0 and (self.counters.cells[CONNECTIONS] - by) * len(inside) > sum(inside)
